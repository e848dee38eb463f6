//! Whether a job is handed over or run in place: what its kind takes, and what handing over costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Jobs that take about as long as each other, such as the resizing of a picture. Clones are the same kind.
///
/// A kind learns from each of its jobs how long they take; see [`ThreadPool::run_or_inline`](super::ThreadPool::run_or_inline).
#[derive(Clone, Debug, Default)]
pub struct JobKind {
    time: Arc<Mean>,
}

impl JobKind {
    /// A kind of which nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long its jobs take, in nanoseconds: a mean in which each job counts an eighth. 0 while nothing is known.
    #[must_use]
    pub fn mean_ns(&self) -> u64 {
        self.time.mean_ns()
    }

    pub(super) fn learn(&self, ns: u64) {
        self.time.learn(ns);
    }

    /// Whether a job of this kind is over sooner than it is handed over. Not while either is unknown.
    pub(super) fn is_shorter_than(&self, handover: &Mean) -> bool {
        let (own, handover) = (self.mean_ns(), handover.mean_ns());
        own > 0 && handover > 0 && own < handover
    }
}

/// A mean that forgets: each new value counts an eighth, enough to follow a change within some ten values and not to jump at one.
#[derive(Debug, Default)]
pub(super) struct Mean(AtomicU64);

impl Mean {
    pub(super) fn mean_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Two threads that learn at once may forget one of the two values, which a mean survives.
    pub(super) fn learn(&self, ns: u64) {
        let mean = self.mean_ns();
        let next = if mean == 0 {
            ns
        } else {
            mean - mean / 8 + ns / 8
        };
        self.0.store(next.max(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_follows_what_it_learns() {
        let mean = Mean::default();
        mean.learn(800);
        assert_eq!(mean.mean_ns(), 800);
        mean.learn(1_600);
        assert_eq!(mean.mean_ns(), 900);
        (0..100).for_each(|_| mean.learn(1_600));
        assert!(mean.mean_ns() > 1_500);
    }

    #[test]
    fn what_is_not_known_is_handed_over() {
        let (kind, handover) = (JobKind::new(), Mean::default());
        assert!(!kind.is_shorter_than(&handover));
        kind.learn(10);
        assert!(!kind.is_shorter_than(&handover));
        handover.learn(500);
        assert!(kind.is_shorter_than(&handover));
        (0..100).for_each(|_| kind.learn(9_000));
        assert!(!kind.is_shorter_than(&handover));
    }
}
