//! A pool of real threads, for work that computes or blocks and so must not run in an async task.
//!
//! Workers take jobs from three common queues by [`Priority`], keep what their own jobs hand over in queues of their own, and
//! steal from each other when they run out. Its number of threads, its queue and its timeout can be changed while it runs
//! ([`ThreadPool`] is a [`Part`](crate::part::Part) like an async [`Pool`](crate::pool::Pool)): a shrink retires workers after the job
//! they have, and interrupts nothing. While nobody tunes it, it may scale itself ([`Scaling`]).
//!
//! A job has a deadline, as [`deadline`](crate::deadline) says. One that is late before it begins is dropped; one that is late while it
//! runs goes on, for a thread cannot be interrupted; both count as abandoned. A panic in a job is caught and counts as failed.
//!
//! ```
//! use trimtab_host::threads::{Priority, ThreadPool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = ThreadPool::builder("hashing").workers(2, 1..=16).build()?;
//! let sum = pool.run(|| (1..=1_000_u64).sum::<u64>()).await?; // from async code
//! let again = pool.submit_at(Priority::High, move || sum * 2)?.wait()?; // from a thread
//! let parts = pool.fork((0..4_u64).map(|part| move || part * part));
//! assert_eq!((sum, again, parts.len()), (500_500, 1_001_000, 4));
//! # Ok(())
//! # }
//! ```

mod affinity;
mod build;
mod crew;
mod figures;
mod fork;
mod gate;
mod handle;
mod idle;
mod job;
mod kind;
mod part;
mod queue;
mod run;
mod scale;
#[cfg(test)]
mod tests;
mod worker;

use crate::counters::Counters;
use crate::fuse::Fuse;
use crate::pool::{Bounds, PoolKind};
use crate::timer::Sweeper;
use crew::{Crew, Place};
use figures::ThreadReader;
use gate::Gate;
use idle::Idle;
use job::{Job, Priority as P};
use kind::Mean;
use queue::Queue;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;
use thiserror::Error;
use trimtab_protocol::name::PoolName;
use trimtab_sys::clock::boot_ns;

pub use build::{ThreadBuildError, ThreadPoolBuilder};
pub use handle::JobHandle;
pub use job::Priority;
pub use kind::JobKind;
pub use scale::Scaling;

/// A pool of threads. Clones are the same pool; when the last one is dropped, the pool takes no more jobs, does those that it
/// has, and ends.
#[derive(Clone)]
pub struct ThreadPool {
    owner: Arc<Owner>,
}

/// Why a job was not done, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JobError {
    /// The pool is closed, or was closed before the job began.
    #[error("the pool is closed")]
    Closed,
    /// All workers are busy and the queue is full; nothing was begun.
    #[error("the pool is full")]
    Full {
        /// When there is likely room again: how long the queue now takes, from the mean time of the jobs so far.
        retry_after: Duration,
    },
    /// The deadline passed.
    #[error("the deadline passed {}", if *waited { "before the job began" } else { "while the job was under way" })]
    Late {
        /// Whether it is certain that the job was not begun.
        waited: bool,
    },
    /// The job panicked.
    #[error("the job panicked")]
    Panicked,
}

/// What a pool of threads did and does; the counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// How many workers there are to be.
    pub workers: u64,
    /// How many threads there are; more than that while some retire.
    pub threads: u64,
    /// How many jobs run, those in place included.
    pub busy: u64,
    /// How many jobs wait.
    pub queued: u64,
    /// Jobs that came, refused ones included.
    pub arrived: u64,
    /// Jobs that ended well and in time.
    pub completed: u64,
    /// Jobs that ended in an error of their own or a panic.
    pub failed: u64,
    /// Jobs that found no room.
    pub rejected: u64,
    /// Jobs that were late, or that nobody waited for any more.
    pub abandoned: u64,
    /// Jobs that a worker took from another worker.
    pub stolen: u64,
    /// Jobs that ran where they were called for and were not handed over.
    pub in_place: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Workers that could not be kept on the core that was asked for.
    pub unpinned: u64,
    /// The mean wait of the completed jobs, in microseconds.
    pub mean_wait_us: u64,
    /// What it costs to hand a job over, as measured lately, in nanoseconds. 0 while nothing was measured.
    pub handover_ns: u64,
}

/// How a pool's end went; see [`ThreadPool::shutdown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether all jobs were done and all threads are gone.
    pub finished: bool,
    /// How many jobs were dropped before they began.
    pub dropped: u64,
}

/// What keeps a pool open.
#[derive(Debug)]
struct Owner {
    inner: Arc<Inner>,
    /// The thread that scales the pool, if one does.
    scaler: Option<Thread>,
}

/// What the pool and its threads share.
#[derive(Debug)]
pub(crate) struct Inner {
    name: PoolName,
    kind: PoolKind,
    worker_bounds: Bounds,
    queue_bounds: Bounds,
    timeout_bounds: Bounds,
    cores: Vec<usize>,
    /// How many workers there are to be.
    target: AtomicU64,
    /// How many threads there are.
    live: AtomicU64,
    queue_limit: AtomicU64,
    timeout_ms: AtomicU64,
    gate: Gate,
    /// By priority, the most urgent first.
    queues: [Queue; 3],
    /// What came while the fuse was burnt.
    held: Mutex<VecDeque<(P, Job)>>,
    places: Box<[Place]>,
    /// The first place behind the last that is taken.
    reach: AtomicUsize,
    crew: Mutex<Crew>,
    gone: Condvar,
    idle: Idle,
    fuse: Arc<Fuse>,
    /// Refusals, and jobs that run in place.
    counters: Counters,
    in_place: AtomicU64,
    panicked: AtomicU64,
    unpinned: AtomicU64,
    /// The mean time of a job as a worker last told it, in microseconds.
    service_us: AtomicU64,
    handover: Mean,
    sweeper: Arc<Sweeper>,
    reader: Mutex<ThreadReader>,
    /// Someone else decides about the knobs.
    steered: AtomicBool,
    closed: AtomicBool,
    /// What has not begun is dropped.
    drops: AtomicBool,
}

impl ThreadPool {
    /// Describes a new pool.
    pub fn builder(name: &str) -> ThreadPoolBuilder {
        ThreadPoolBuilder::new(name)
    }

    fn start(inner: Inner, scaling: Scaling) -> io::Result<Self> {
        let inner = Arc::new(inner);
        let waiting = Arc::downgrade(&inner);
        inner.fuse.watch(move || {
            if let Some(pool) = waiting.upgrade() {
                pool.release_held();
            }
        });
        // From here on, whatever fails closes what was begun.
        let mut owner = Owner {
            inner,
            scaler: None,
        };
        owner
            .inner
            .set_workers(owner.inner.worker_bounds.baseline)?;
        if scaling == Scaling::Alone {
            let pool = Arc::clone(&owner.inner);
            let scaler = std::thread::Builder::new()
                .name(format!("{}-scale", pool.name))
                .spawn(move || scale::run(&pool))?;
            owner.scaler = Some(scaler.thread().clone());
        }
        Ok(Self {
            owner: Arc::new(owner),
        })
    }

    /// What the pool does and did.
    #[must_use]
    pub fn stats(&self) -> ThreadStats {
        self.inner().stats_at(boot_ns())
    }

    /// Takes no more jobs, and waits on this thread until all are done or this much time is over. What has not begun by then is
    /// dropped; what runs is not interrupted, and its thread ends with it. Not for a job of this pool, which would wait for itself.
    pub fn shutdown(&self, within: Duration) -> Shutdown {
        let inner = self.inner();
        self.owner.close();
        let mut finished = inner.wait_until_gone(within);
        let mut dropped = 0;
        if !finished {
            dropped = inner.drop_waiting();
            finished = inner.wait_until_gone(Duration::ZERO);
        }
        Shutdown { finished, dropped }
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.owner.inner
    }
}

impl Owner {
    fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.idle.call_all(|_| true);
        if let Some(scaler) = &self.scaler {
            scaler.unpark();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ThreadPool")
            .field("name", &self.inner().name)
            .field("workers", &self.inner().target())
            .field("held", &self.inner().gate.held())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn new(
        (name, kind): (PoolName, PoolKind),
        workers: Bounds,
        queue_limit: Bounds,
        timeout_ms: Bounds,
        cores: Vec<usize>,
    ) -> Self {
        let places = usize::try_from(workers.max).unwrap_or(0);
        Self {
            name,
            kind,
            worker_bounds: workers,
            queue_bounds: queue_limit,
            timeout_bounds: timeout_ms,
            cores,
            target: AtomicU64::new(0),
            live: AtomicU64::new(0),
            queue_limit: AtomicU64::new(queue_limit.baseline),
            timeout_ms: AtomicU64::new(timeout_ms.baseline),
            gate: Gate::default(),
            queues: Default::default(),
            held: Mutex::default(),
            places: (0..places).map(|_| Place::default()).collect(),
            reach: AtomicUsize::new(0),
            crew: Mutex::default(),
            gone: Condvar::new(),
            idle: Idle::default(),
            fuse: Arc::default(),
            counters: Counters::default(),
            in_place: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            unpinned: AtomicU64::new(0),
            service_us: AtomicU64::new(0),
            handover: Mean::default(),
            sweeper: Sweeper::new(),
            reader: Mutex::default(),
            steered: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            drops: AtomicBool::new(false),
        }
    }

    fn target(&self) -> u64 {
        self.target.load(Ordering::Acquire)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn drops(&self) -> bool {
        self.drops.load(Ordering::Relaxed)
    }

    fn normal(&self) -> &Queue {
        &self.queues[P::Normal.index()]
    }

    /// Whether there is a job that a worker may begin.
    fn has_work(&self) -> bool {
        if self.fuse.is_burnt() {
            return false;
        }
        let common = self.queues.iter().any(|queue| !queue.is_empty());
        common
            || (0..self.reach())
                .filter_map(|place| self.stealer(place))
                .any(|stealer| !stealer.is_empty())
    }

    fn oldest_wait_ns(&self, now_ns: u64) -> u64 {
        let waits = self.queues.iter().map(|queue| queue.oldest_wait_ns(now_ns));
        waits.max().unwrap_or(0)
    }

    fn tell_service(&self, mean_us: u64) {
        self.service_us.store(mean_us, Ordering::Relaxed);
    }

    /// A worker's job has ended, in whatever way.
    fn one_ended(&self) {
        if self.closed.load(Ordering::Relaxed) && self.gate.held() == 0 {
            // Those who sleep may go now.
            self.idle.call_all(|_| true);
        }
    }

    /// Drops what waits, and says so to whoever waits for it.
    fn drop_waiting(&self) -> u64 {
        self.drops.store(true, Ordering::Release);
        let mut dropped = 0;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held: Vec<Job> = held.drain(..).map(|(_, job)| job).collect();
        let common = self.queues.iter();
        let common = common.flat_map(|queue| std::iter::from_fn(|| queue.take()));
        let own = (0..self.reach()).filter_map(|place| self.stealer(place));
        let own = own.flat_map(|own| std::iter::from_fn(|| queue::stolen(|| own.steal())));
        for job in held.into_iter().chain(common).chain(own) {
            self.turn_away(job, JobError::Closed);
            self.counters.left_unbegun();
            dropped += 1;
        }
        self.idle.call_all(|_| true);
        dropped
    }
}
