//! The threads of a pool: how many there are, and how one more or one less comes about.
//!
//! Each worker has a place. The places up to the limit are taken; a smaller limit makes the upper ones retire after the job they
//! have, and a larger one fills them again. A retiring worker puts what is left in its own queue back into the common one.

use super::figures::WorkerFigures;
use super::job::Job;
use super::{Inner, worker};
use crossbeam_deque::{Stealer, Worker};
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use trimtab_sys::clock::boot_ns;

/// One worker's place; it outlives its thread.
#[derive(Default)]
pub(super) struct Place {
    stealer: OnceLock<Stealer<Job>>,
    figures: OnceLock<Box<WorkerFigures>>,
    /// The queue of a worker that has left, for the next one here.
    jobs: Mutex<Option<Worker<Job>>>,
}

/// Which places are taken.
#[derive(Debug, Default)]
pub(super) struct Crew {
    taken: Vec<bool>,
}

impl Inner {
    /// Moves the limit at once, and starts the threads that are missing.
    ///
    /// # Errors
    /// The system gives no more threads; then the limit stands where it stood.
    pub(super) fn set_workers(self: &Arc<Self>, workers: u64) -> io::Result<()> {
        let wanted = usize::try_from(workers).unwrap_or(usize::MAX);
        let mut crew = self.crew();
        let before = self.target.swap(workers, Ordering::AcqRel);
        let mut hired = Ok(());
        for index in 0..wanted.min(self.places.len()) {
            if !crew.is_taken(index) {
                hired = self.hire(&mut crew, index);
            }
            if hired.is_err() {
                self.target.store(before, Ordering::Release);
                break;
            }
        }
        self.publish(&crew);
        drop(crew);
        self.idle.call_all(|index| self.is_over(index));
        hired
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> u64 {
        self.live.load(Ordering::Acquire)
    }

    /// Whether the worker in this place has none any more.
    pub(super) fn is_over(&self, index: usize) -> bool {
        let beyond = u64::try_from(index).is_ok_and(|index| index >= self.target());
        beyond || (self.is_closed() && self.gate.held() == 0)
    }

    /// A worker leaves its place, unless it got it back meanwhile; then its queue is returned.
    pub(super) fn leave(&self, index: usize, jobs: Worker<Job>) -> Option<Worker<Job>> {
        let mut crew = self.crew();
        if !self.is_over(index) {
            return Some(jobs);
        }
        let mut handed_back = false;
        // The stack's top comes out first; the order of a few jobs is what a shrink costs.
        while let Some(job) = jobs.pop() {
            self.normal().put(job);
            handed_back = true;
        }
        if let Some(place) = self.places.get(index) {
            *place.jobs.lock().unwrap_or_else(PoisonError::into_inner) = Some(jobs);
        }
        crew.set(index, false);
        self.publish(&crew);
        drop(crew);
        self.gone.notify_all();
        if handed_back {
            self.idle.call();
        }
        None
    }

    /// Waits until all threads are gone, or this long. Whether they are.
    pub(super) fn wait_until_gone(&self, within: Duration) -> bool {
        let ends_ns = boot_ns().saturating_add(crate::deadline::as_ns(within));
        let mut crew = self.crew();
        loop {
            if crew.live() == 0 {
                return true;
            }
            let left = ends_ns.saturating_sub(boot_ns());
            if left == 0 {
                return false;
            }
            let waited = self.gone.wait_timeout(crew, Duration::from_nanos(left));
            crew = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The places at which there may be something to steal.
    pub(super) fn reach(&self) -> usize {
        self.reach.load(Ordering::Acquire)
    }

    pub(super) fn stealer(&self, index: usize) -> Option<&Stealer<Job>> {
        self.places.get(index)?.stealer.get()
    }

    pub(super) fn figures_of(&self, index: usize) -> Option<&WorkerFigures> {
        self.places.get(index)?.figures.get().map(|boxed| &**boxed)
    }

    /// What all workers that ever were have counted.
    pub(super) fn workers(&self) -> impl Iterator<Item = &WorkerFigures> {
        self.places
            .iter()
            .filter_map(|place| place.figures.get().map(|boxed| &**boxed))
    }

    fn hire(self: &Arc<Self>, crew: &mut Crew, index: usize) -> io::Result<()> {
        let Some(place) = self.places.get(index) else {
            return Ok(());
        };
        {
            // Taken out in the new thread, so that it is not lost if there is none. All workers that are ever here have the same
            // queue, so what steals from the first reaches that of the last.
            let mut spare = place.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let jobs = spare.get_or_insert_with(Worker::new_lifo);
            place.stealer.get_or_init(|| jobs.stealer());
        }
        place.figures.get_or_init(Box::default);
        let pool = Arc::clone(self);
        std::thread::Builder::new()
            .name(format!("{}-{index}", self.name))
            .spawn(move || {
                let place = pool.places.get(index);
                let jobs = place.and_then(|place| {
                    let mut spare = place.jobs.lock().unwrap_or_else(PoisonError::into_inner);
                    spare.take()
                });
                if let Some(jobs) = jobs {
                    worker::run(&pool, index, jobs);
                }
            })?;
        crew.set(index, true);
        Ok(())
    }

    fn publish(&self, crew: &Crew) {
        let live = u64::try_from(crew.live()).unwrap_or(u64::MAX);
        self.live.store(live, Ordering::Release);
        let last = crew.taken.iter().rposition(|taken| *taken);
        self.reach
            .store(last.map_or(0, |last| last + 1), Ordering::Release);
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    fn is_taken(&self, index: usize) -> bool {
        self.taken.get(index).copied().unwrap_or(false)
    }

    fn set(&mut self, index: usize, taken: bool) {
        if self.taken.len() <= index {
            self.taken.resize(index + 1, false);
        }
        self.taken[index] = taken;
    }

    fn live(&self) -> usize {
        self.taken.iter().filter(|taken| **taken).count()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.stealer.get().is_some();
        out.debug_struct("Place").field("used", &used).finish()
    }
}
