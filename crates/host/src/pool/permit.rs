//! A permit: the right of one piece of work to run, from its admission to its end.

use super::Inner;
use crate::counters::{Outcome, Stint};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use trimtab_sys::clock::boot_ns;

/// The right of one piece of work to run in a pool. It holds one of the pool's workers until it is ended.
///
/// Dropped without a word it counts as abandoned, or as failed if its thread panics.
#[derive(Debug)]
#[must_use = "dropping a permit at once counts the work as abandoned"]
pub struct Permit(Slot<Arc<Inner>>);

impl Permit {
    pub(super) fn new(slot: Slot<Arc<Inner>>) -> Self {
        Self(slot)
    }

    /// The work ended well.
    pub fn complete(self) {
        self.0.end(Outcome::Completed);
    }

    /// The work ended in an error of its own.
    pub fn fail(self) {
        self.0.end(Outcome::Failed);
    }

    /// The work ran out of time and was given up.
    pub fn time_out(self) {
        self.0.end(Outcome::TimedOut);
    }

    /// How much of the pool's timeout is left, counted from the arrival. The holder keeps to it by itself.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.deadline().duration_since(Instant::now())
    }

    /// The work turned out to be an upgrade or an event stream: the worker is free again, and the rest runs outside the limit.
    pub fn into_exempt(self) -> Exempt {
        let pool = Arc::clone(&self.0.pool);
        self.0.end(Outcome::Exempt);
        pool.limit.counters.exempt_begins();
        Exempt(pool)
    }

    #[cfg(feature = "layer")]
    pub(crate) fn slot(&self) -> &Slot<Arc<Inner>> {
        &self.0
    }
}

/// Work that a pool lets pass outside its limit, until this is dropped.
#[derive(Debug)]
#[must_use = "exempt work ends when this is dropped"]
pub struct Exempt(Arc<Inner>);

impl Exempt {
    pub(super) fn new(pool: Arc<Inner>) -> Self {
        pool.limit.counters.passed();
        Self(pool)
    }

    #[cfg(feature = "layer")]
    pub(crate) fn pool(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Exempt {
    fn drop(&mut self) {
        self.0.limit.counters.exempt_ends();
    }
}

/// A permit, whether it borrows its pool or shares it.
#[derive(Debug)]
pub(crate) struct Slot<P: Deref<Target = Inner>> {
    pool: P,
    stint: Stint,
    timeout: Duration,
    /// Known once it has mattered: work that was admitted at once and never waits needs no timer.
    deadline: Option<Instant>,
    ended: bool,
}

impl<P: Deref<Target = Inner>> Slot<P> {
    pub(super) fn new(pool: P, stint: Stint, timeout: Duration, deadline: Option<Instant>) -> Self {
        Self {
            pool,
            stint,
            timeout,
            deadline,
            ended: false,
        }
    }

    pub(crate) fn pool(&self) -> &Inner {
        &self.pool
    }

    /// When the work must be done.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline.unwrap_or_else(|| {
            let spent = boot_ns().saturating_sub(self.stint.arrived_ns);
            let left = self.timeout.saturating_sub(Duration::from_nanos(spent));
            Instant::now() + left
        })
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.pool.limit.counters.end(self.stint, outcome, boot_ns());
            self.pool.limit.put_back();
        }
    }
}

impl<P: Deref<Target = Inner>> Drop for Slot<P> {
    fn drop(&mut self) {
        if !self.ended {
            self.close(if std::thread::panicking() {
                Outcome::Failed
            } else {
                Outcome::Abandoned
            });
        }
    }
}
