//! How a pool of threads is described before it is made.

use super::{Inner, Scaling, ThreadPool, scale};
use crate::pool::{Bounds, BuildError, PoolKind, check_pool_name};
use std::io;
use std::ops::RangeInclusive;
use thiserror::Error;
use trimtab_protocol::name::{KnobName, PoolName};

/// Why a pool of threads cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ThreadBuildError {
    /// What was described cannot be.
    #[error(transparent)]
    Description(#[from] BuildError),
    /// The system does not give the threads.
    #[error("the threads cannot be started")]
    Threads(#[source] io::Error),
}

/// Describes a pool of threads: its name, what sort of work it does, and each knob's baseline with its bounds.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ThreadPoolBuilder {
    name: String,
    kind: PoolKind,
    workers: Bounds,
    queue_limit: Bounds,
    timeout_ms: Bounds,
    cores: Vec<usize>,
    scaling: Scaling,
}

/// More threads than this only wait for each other, and each has a stack.
const THREADS_MAX: u64 = 1_024;
/// What waits and what runs is counted together in 20 bits.
const QUEUE_MAX: u64 = 1_000_000;
/// A day; a longer timeout is none.
const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

impl ThreadPoolBuilder {
    /// Begins a description with as many workers as there are cores, of 1 to 64, a queue of 1,000 of up to 100,000, and a timeout
    /// of 30 s, from 0.1 s to 10 min.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PoolKind::Other,
            workers: Bounds::new(scale::cores().min(64), &(1..=64)),
            queue_limit: Bounds::new(1_000, &(0..=100_000)),
            timeout_ms: Bounds::new(30_000, &(100..=600_000)),
            cores: Vec::new(),
            scaling: Scaling::Alone,
        }
    }

    /// What sort of work the pool does; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// How many threads: the baseline, and the bounds that no change may leave. At least 1, at most 1,024.
    pub fn workers(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.workers = Bounds::new(baseline, &bounds);
        self
    }

    /// How much may wait: the baseline, and the bounds. 0 means that a job is refused unless a worker is free.
    pub fn queue_limit(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.queue_limit = Bounds::new(baseline, &bounds);
        self
    }

    /// How long a job may take in all, waiting and running, in milliseconds: the baseline, and the bounds. A job that has to wait
    /// longer is not begun; one that runs is not interrupted.
    pub fn timeout_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.timeout_ms = Bounds::new(baseline, &bounds);
        self
    }

    /// Keeps each worker on one of these cores, in turn. Without any, the system chooses. It helps where the workers' data
    /// fits a core's cache and nothing else needs the cores; else it only takes choices away.
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = cores.into_iter().collect();
        self
    }

    /// Whether the pool scales itself between its bounds while nobody tunes it.
    pub fn scaling(mut self, scaling: Scaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Makes the pool and starts its threads.
    ///
    /// # Errors
    /// [`ThreadBuildError`] if the name needs escaping or is reserved, a baseline or its bounds are out of range, or there are
    /// no threads to be had.
    pub fn build(self) -> Result<ThreadPool, ThreadBuildError> {
        check_pool_name(&self.name)?;
        self.workers.check(KnobName::WORKERS, 1, THREADS_MAX)?;
        self.queue_limit
            .check(KnobName::QUEUE_LIMIT, 0, QUEUE_MAX)?;
        self.timeout_ms
            .check(KnobName::TIMEOUT_MS, 1, TIMEOUT_MS_MAX)?;
        let inner = Inner::new(
            (PoolName::from(self.name), self.kind),
            self.workers,
            self.queue_limit,
            self.timeout_ms,
            self.cores,
        );
        ThreadPool::start(inner, self.scaling).map_err(ThreadBuildError::Threads)
    }
}
