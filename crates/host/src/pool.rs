//! A pool: work runs in it up to a limit, waits before it in a queue, and has one deadline for both.
//!
//! A pool has no threads of its own. It runs each piece of work in the task that brought it, so what a service already spawns
//! stays as it is; the pool only says when the work may begin and how long it may take. Its limit, its queue and its
//! timeout can be changed while it runs ([`Pool`] is a [`Part`](crate::part::Part)). A shrink never interrupts what runs, and
//! growth admits at once whoever waits.
//!
//! Work that has to wait, or whose future does, needs a tokio runtime with its timer.
//!
//! ```
//! use trimtab_host::pool::{Pool, PoolError};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder("thumbnails").workers(4, 1..=64).build()?;
//! match pool.run(async { 6 * 7 }).await {
//!     Ok(answer) => assert_eq!(answer, 42),
//!     Err(PoolError::Full { retry_after }) => println!("come back in {retry_after:?}"),
//!     Err(late) => println!("{late}"),
//! }
//! # Ok(())
//! # }
//! ```

mod admission;
mod build;
pub(crate) mod cpu;
mod drive;
mod part;
mod permit;

use crate::counters::Outcome;
use crate::counters::reading::Reader;
use crate::limit::Limit;
use crate::limit::line::LineReading;
use crate::part::PartFigures;
use crate::timer::Sweeper;
use drive::Drive;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use thiserror::Error;
use trimtab_protocol::name::PoolName;
pub use trimtab_protocol::state::PoolKind;
use trimtab_sys::clock::boot_ns;

pub use admission::Enter;
pub(crate) use build::check_pool_name;
pub use build::{BuildError, PoolBuilder};
pub use permit::{Exempt, Permit};

/// A pool of work. Clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// Why a pool did not do a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// All workers are busy and the queue is full; nothing was begun.
    #[error("the pool is full")]
    Full {
        /// When there is likely room again: how long the queue now takes, from the mean time of the work so far.
        retry_after: Duration,
    },
    /// The pool's timeout passed. Work that ran was dropped.
    #[error("the pool's timeout passed while the work {}", if *waited { "waited" } else { "ran" })]
    TimedOut {
        /// Whether the work was still waiting and had not begun.
        waited: bool,
    },
}

impl Pool {
    /// Describes a new pool.
    pub fn builder(name: &str) -> PoolBuilder {
        PoolBuilder::new(name)
    }

    /// Runs a piece of work in the calling task, as soon as the pool lets it. What it yields counts as completed.
    ///
    /// Dropping the returned future drops the work and counts it as abandoned; a panic in the work counts as failed.
    ///
    /// # Errors
    /// [`PoolError`] if the work was not begun or not finished in time.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = Result<F::Output, PoolError>> {
        Drive::new(&self.inner, None, work, |_: &F::Output| Outcome::Completed)
    }

    /// Like [`Pool::run`], with a time of the caller's own instead of the pool's timeout, up to the pool's maximum. It counts from
    /// the arrival and covers waiting and running.
    ///
    /// # Errors
    /// [`PoolError`] if the work was not begun or not finished in time.
    pub fn run_within<F: Future>(
        &self,
        time: Duration,
        work: F,
    ) -> impl Future<Output = Result<F::Output, PoolError>> {
        let judge = |_: &F::Output| Outcome::Completed;
        Drive::new(&self.inner, Some(time), work, judge)
    }

    /// Like [`Pool::run`], for work that may end in an error of its own, which then counts as failed.
    ///
    /// # Errors
    /// [`PoolError`] if the work was not begun or not finished in time; the work's own error is the inner one.
    pub fn run_fallible<T, E, F>(
        &self,
        work: F,
    ) -> impl Future<Output = Result<Result<T, E>, PoolError>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let judge = |done: &Result<T, E>| match done {
            Ok(_) => Outcome::Completed,
            Err(_) => Outcome::Failed,
        };
        Drive::new(&self.inner, None, work, judge)
    }

    /// Waits for a permit, for work that is not one future. Whoever holds the permit keeps to its deadline by itself.
    pub fn enter(&self) -> Enter {
        Enter::new(Arc::clone(&self.inner), None)
    }

    /// Like [`Pool::enter`], with a time of the caller's own instead of the pool's timeout, up to the pool's maximum.
    pub fn enter_within(&self, time: Duration) -> Enter {
        Enter::new(Arc::clone(&self.inner), Some(time))
    }

    /// Lets work pass outside the limit and the timeout, and counts it as exempt.
    pub fn exempt(&self) -> Exempt {
        Exempt::new(Arc::clone(&self.inner))
    }

    fn over(inner: Inner) -> Self {
        let inner = Arc::new(inner);
        let waiting: Weak<Inner> = Arc::downgrade(&inner);
        inner.limit.fuse.watch(move || {
            if let Some(pool) = waiting.upgrade() {
                pool.limit.dispatch();
            }
        });
        Self { inner }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pool")
            .field("name", &self.inner.name)
            .field("workers", &self.inner.limit.workers())
            .field("busy", &self.inner.limit.busy())
            .field("queued", &self.inner.limit.queued())
            .finish_non_exhaustive()
    }
}

/// A knob's baseline and the bounds that it never leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) baseline: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Bounds {
    pub(crate) fn holds(self, value: u64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

/// What all clones of a pool share.
#[derive(Debug)]
pub(crate) struct Inner {
    name: PoolName,
    kind: PoolKind,
    workers: Bounds,
    queue_limit: Bounds,
    timeout_ms: Bounds,
    /// The longest that work may take whatever is asked for, if that is a knob; else it is the timeout's largest value.
    timeout_max_ms: Option<Bounds>,
    timeout_ms_now: AtomicU64,
    timeout_max_ms_now: AtomicU64,
    pub(crate) sweeper: Arc<Sweeper>,
    limit: Limit,
    reader: Mutex<(Reader, LineReading)>,
}

impl Inner {
    fn new(
        name: PoolName,
        kind: PoolKind,
        workers: Bounds,
        queue_limit: Bounds,
        timeout_ms: Bounds,
        timeout_max_ms: Option<Bounds>,
    ) -> Self {
        let timeout_max = timeout_max_ms.map_or(timeout_ms.max, |max| max.baseline);
        let held_max = workers.max + queue_limit.max;
        Self {
            name,
            kind,
            workers,
            queue_limit,
            timeout_ms,
            timeout_max_ms,
            timeout_ms_now: AtomicU64::new(timeout_ms.baseline),
            timeout_max_ms_now: AtomicU64::new(timeout_max),
            sweeper: Sweeper::new(),
            limit: Limit::new(workers.baseline, queue_limit.baseline, held_max),
            reader: Mutex::default(),
        }
    }

    /// Runs one poll of the pool's work, and counts its CPU time if it is its turn.
    pub(crate) fn poll_measured<T>(&self, poll: impl FnOnce() -> T) -> T {
        let (polled, cpu_ns) = cpu::sampled(poll);
        if let Some(ns) = cpu_ns {
            self.limit.counters.add_cpu(ns);
        }
        polled
    }

    /// How long work may take that did not ask for a time of its own.
    fn timeout(&self) -> Duration {
        let timeout_ms = self.timeout_ms_now.load(Ordering::Acquire);
        Duration::from_millis(timeout_ms).min(self.timeout_max())
    }

    fn timeout_max(&self) -> Duration {
        Duration::from_millis(self.timeout_max_ms_now.load(Ordering::Acquire))
    }

    /// How long work may take that perhaps asked for a time.
    fn time_for(&self, asked: Option<Duration>) -> Duration {
        asked.map_or_else(|| self.timeout(), |asked| asked.min(self.timeout_max()))
    }

    fn timeout_baseline(&self) -> Duration {
        Duration::from_millis(self.timeout_ms.baseline)
    }

    fn full(&self) -> PoolError {
        let ahead = self.limit.queued() + 1;
        let mean_us = self.limit.counters.mean_service_us(boot_ns());
        let drained = Duration::from_micros(ahead.saturating_mul(mean_us) / self.limit.workers());
        PoolError::Full {
            retry_after: drained.clamp(RETRY_AFTER_MIN, self.timeout().max(RETRY_AFTER_MIN)),
        }
    }

    fn figures(&self, now_ns: u64) -> PartFigures {
        let mut held = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, last_line) = &mut *held;
        *last_line = self.limit.line().unwrap_or(*last_line);
        reader.read(&self.limit.counters, self.limit.busy(), *last_line, now_ns)
    }
}

/// Coming back at once only fills the queue again.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
