//! A permit: the right of one piece of work to run, from its admission to its end.

use super::Inner;
use crate::counters::{Outcome, Stint};
use crate::deadline::Deadline;
use crate::timer::Ticket;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
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

    /// How much time is left. The holder keeps to it by itself.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.deadline.remaining()
    }

    /// Until when the work must be done; for [`Deadline::scope`] or [`Deadline::run`], so that what the work calls knows it too.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.0.deadline
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

    #[cfg(feature = "layer")]
    pub(crate) fn slot_mut(&mut self) -> &mut Slot<Arc<Inner>> {
        &mut self.0
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
    deadline: Deadline,
    /// Its deadline among those that are watched, from when the work first had to wait.
    ticket: Option<Ticket>,
    ended: bool,
}

impl<P: Deref<Target = Inner>> Slot<P> {
    pub(super) fn new(pool: P, stint: Stint, deadline: Deadline, ticket: Option<Ticket>) -> Self {
        Self {
            pool,
            stint,
            deadline,
            ticket,
            ended: false,
        }
    }

    pub(crate) fn pool(&self) -> &Inner {
        &self.pool
    }

    /// When the work must be done.
    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Ready when the time is up. It costs nothing until it is polled, which is when the work first has to wait.
    pub(crate) fn poll_deadline(&mut self, context: &Context<'_>) -> Poll<()> {
        let sweeper = &self.pool.sweeper;
        sweeper.poll(&mut self.ticket, &mut self.deadline, context)
    }

    /// The work is done as far as its deadline goes.
    pub(crate) fn disarm(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pool.sweeper.forget(&ticket);
        }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.disarm();
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
