//! A queue that all workers share, one for each priority.

use super::job::Job;
use crate::sharded::Padded;
use crossbeam_deque::{Injector, Steal, Worker};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Queue {
    jobs: Injector<Job>,
    /// When the last job came that was put in.
    put_ns: Padded<AtomicU64>,
    /// When the last job came that was taken out.
    taken_ns: Padded<AtomicU64>,
}

/// A worker takes this many at a time at the most; what it does not get to, others take from it.
const BATCH_MAX: usize = 16;

impl Queue {
    pub(super) fn put(&self, job: Job) {
        self.put_ns.0.store(job.arrived_ns, Ordering::Relaxed);
        self.jobs.push(job);
    }

    /// Takes the first job, and some more into a worker's own queue.
    pub(super) fn take_some(&self, own: &Worker<Job>) -> Option<Job> {
        self.taken(|| self.jobs.steal_batch_with_limit_and_pop(own, BATCH_MAX))
    }

    /// Takes the first job.
    pub(super) fn take(&self) -> Option<Job> {
        self.taken(|| self.jobs.steal())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How long the first job has waited, as if what waits had come at one pace: nobody can look at it without taking it.
    pub(super) fn oldest_wait_ns(&self, now_ns: u64) -> u64 {
        let waiting = u64::try_from(self.jobs.len()).unwrap_or(u64::MAX);
        let (put, taken) = (&self.put_ns.0, &self.taken_ns.0);
        let (put_ns, taken_ns) = (put.load(Ordering::Relaxed), taken.load(Ordering::Relaxed));
        match waiting {
            0 => 0,
            _ if taken_ns == 0 => now_ns.saturating_sub(put_ns),
            _ => {
                let pace_ns = put_ns.saturating_sub(taken_ns) / waiting;
                now_ns.saturating_sub(taken_ns.saturating_add(pace_ns))
            }
        }
    }

    fn taken(&self, steal: impl Fn() -> Steal<Job>) -> Option<Job> {
        if self.jobs.is_empty() {
            return None;
        }
        let job = stolen(steal)?;
        self.taken_ns.0.store(job.arrived_ns, Ordering::Relaxed);
        Some(job)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.jobs.len();
        out.debug_struct("Queue")
            .field("waiting", &waiting)
            .finish()
    }
}

/// Tries until it is known whether there was something.
pub(super) fn stolen(steal: impl Fn() -> Steal<Job>) -> Option<Job> {
    loop {
        match steal() {
            Steal::Success(job) => return Some(job),
            Steal::Empty => return None,
            Steal::Retry => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::job::Ended;

    fn job(arrived_ns: u64) -> Job {
        Job {
            arrived_ns,
            deadline_ns: u64::MAX,
            work: Box::new(|_, _| Ended::Completed),
        }
    }

    #[test]
    fn the_oldest_is_told_from_the_pace_of_what_waits() {
        let queue = Queue::default();
        assert_eq!(queue.oldest_wait_ns(1_000), 0);
        (1..=11).for_each(|number| queue.put(job(number * 100)));
        assert_eq!(queue.take().expect("there").arrived_ns, 100);
        assert_eq!(queue.oldest_wait_ns(2_000), 1_800);
        (0..9).for_each(|_| drop(queue.take()));
        assert_eq!(queue.oldest_wait_ns(2_000), 900);
        drop(queue.take());
        assert_eq!(queue.oldest_wait_ns(2_000), 0);
    }
}
