//! The way into a pool: at once, after waiting in the queue, or not at all.

use super::permit::{Permit, Slot};
use super::{Inner, PoolError};
use crate::counters::{Counters, Outcome};
use crate::deadline::{Deadline, as_ns};
use crate::limit::Answer;
use crate::limit::waiter::{Standing, Waiter};
use crate::timer::Ticket;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use trimtab_sys::clock::boot_ns;

/// Waits for a permit; made by [`Pool::enter`](super::Pool::enter). The work arrives when this is first polled, and
/// dropping it while it waits gives the place in the queue up.
#[must_use = "a future does nothing unless it is polled"]
pub struct Enter(Admission<Arc<Inner>>);

impl Enter {
    pub(super) fn new(pool: Arc<Inner>, asked: Option<Duration>) -> Self {
        Self(Admission::new(pool, asked))
    }

    /// The arrival, ahead of the first poll. Answers unless the work has to wait.
    #[cfg(feature = "layer")]
    pub(crate) fn arrive(&mut self) -> Poll<Result<Permit, PoolError>> {
        self.0.arrive().map_ok(Permit::new)
    }
}

impl Future for Enter {
    type Output = Result<Permit, PoolError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let entered = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(entered.map(Permit::new))
    }
}

impl fmt::Debug for Enter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.0.waiting.is_some();
        out.debug_struct("Enter").field("waits", &waits).finish()
    }
}

/// Waits for a slot of a pool that is borrowed or shared.
pub(super) struct Admission<P: Deref<Target = Inner>> {
    /// Taken when the answer is given.
    pool: Option<P>,
    /// The time that the caller asked for.
    asked: Option<Duration>,
    waiting: Option<Box<Waiting>>,
}

struct Waiting {
    waiter: Arc<Waiter>,
    arrived_at: Instant,
    asked: Option<Duration>,
    /// The deadline in force where the work arrived.
    parent: Option<Instant>,
    deadline: Deadline,
    ticket: Option<Ticket>,
    /// Whether it arrived during a burnt fuse, so that its timeout is that of after.
    held: bool,
}

impl<P: Deref<Target = Inner> + Unpin> Admission<P> {
    pub(super) fn new(pool: P, asked: Option<Duration>) -> Self {
        Self {
            pool: Some(pool),
            asked,
            waiting: None,
        }
    }

    /// The arrival. Answers unless the work has to wait.
    fn arrive(&mut self) -> Poll<Result<Slot<P>, PoolError>> {
        let pool = self.pool.take().expect("polled after it was ready");
        match pool.limit.arrive(boot_ns()) {
            Answer::Admitted(stint) => {
                let time_ns = as_ns(pool.time_for(self.asked));
                let own = Deadline::at_boot_ns(stint.arrived_ns.saturating_add(time_ns));
                Poll::Ready(Ok(Slot::new(pool, stint, own.under_current(), None)))
            }
            Answer::Full => Poll::Ready(Err(pool.full())),
            Answer::Waits(waiter) => {
                let held = waiter.is_held();
                let time = match self.asked {
                    // The timeout may be on trial too, and must not be what ends the wait.
                    None if held => pool.timeout().max(pool.timeout_baseline()),
                    asked => pool.time_for(asked),
                };
                let arrived_at = Instant::now();
                let mut waiting = Waiting {
                    waiter,
                    arrived_at,
                    asked: self.asked,
                    parent: Deadline::current().map(Deadline::instant),
                    deadline: Deadline::at(arrived_at),
                    ticket: None,
                    held,
                };
                waiting.deadline = waiting.after(time);
                self.waiting = Some(Box::new(waiting));
                self.pool = Some(pool);
                Poll::Pending
            }
        }
    }

    fn poll_waiting(
        &mut self,
        context: &mut Context<'_>,
        mut waiting: Box<Waiting>,
    ) -> Poll<Result<Slot<P>, PoolError>> {
        let pool = self.pool.take().expect("polled after it was ready");
        loop {
            match waiting.waiter.poll(context) {
                Standing::Admitted(since_ns) => {
                    return Poll::Ready(Ok(waiting.admitted(pool, since_ns)));
                }
                Standing::Refused => {
                    waiting.disarm(&pool);
                    return Poll::Ready(Err(pool.full()));
                }
                Standing::Waiting => {}
            }
            waiting.judged(&pool);
            let Waiting {
                ticket, deadline, ..
            } = &mut *waiting;
            let watched = pool.sweeper.poll(ticket, deadline, context);
            if watched.is_pending() {
                (self.pool, self.waiting) = (Some(pool), Some(waiting));
                return Poll::Pending;
            }
            let now_ns = boot_ns();
            if pool.limit.leave(&waiting.waiter, now_ns) {
                let arrived_ns = waiting.waiter.arrived_ns;
                let counters = &pool.limit.counters;
                counters.left_queue(Outcome::TimedOut, arrived_ns, now_ns);
                waiting.disarm(&pool);
                return Poll::Ready(Err(PoolError::TimedOut { waited: true }));
            }
            // It was settled in this very moment, and the next round says how.
        }
    }
}

impl<P: Deref<Target = Inner> + Unpin> Future for Admission<P> {
    type Output = Result<Slot<P>, PoolError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let answer = this.arrive();
            if answer.is_ready() {
                return answer;
            }
        }
        match this.waiting.take() {
            Some(waiting) => this.poll_waiting(context, waiting),
            None => Poll::Pending,
        }
    }
}

impl<P: Deref<Target = Inner>> Drop for Admission<P> {
    fn drop(&mut self) {
        let (Some(pool), Some(mut waiting)) = (self.pool.take(), self.waiting.take()) else {
            return;
        };
        let now_ns = boot_ns();
        if pool.limit.leave(&waiting.waiter, now_ns) {
            let arrived_ns = waiting.waiter.arrived_ns;
            let counters = &pool.limit.counters;
            counters.left_queue(Outcome::Abandoned, arrived_ns, now_ns);
            waiting.disarm(&pool);
        } else if let Standing::Admitted(since_ns) = waiting.waiter.standing() {
            // The permit came too late for its work; dropping the slot hands it on.
            drop(waiting.admitted(pool, since_ns));
        } else {
            waiting.disarm(&pool);
        }
    }
}

impl Waiting {
    /// So long after the arrival, or at the parent's deadline if that is earlier.
    fn after(&self, time: Duration) -> Deadline {
        let own = self.arrived_at + time;
        Deadline::at(self.parent.map_or(own, |parent| parent.min(own)))
    }

    /// Once the fuse is whole again, the timeout in force is the one that counts.
    fn judged(&mut self, pool: &Inner) {
        if self.held && !self.waiter.is_held() {
            self.held = false;
            self.disarm(pool);
            self.deadline = self.after(pool.time_for(self.asked));
        }
    }

    /// Its deadline is watched no longer.
    fn disarm(&mut self, pool: &Inner) {
        if let Some(ticket) = self.ticket.take() {
            pool.sweeper.forget(&ticket);
        }
    }

    fn admitted<P: Deref<Target = Inner>>(&mut self, pool: P, since_ns: u64) -> Slot<P> {
        let arrived_ns = self.waiter.arrived_ns;
        let stint = Counters::queued_stint(self.waiter.ticket, arrived_ns, since_ns);
        if self.held {
            self.disarm(&pool);
            self.deadline = self.after(pool.time_for(self.asked));
        }
        // The same deadline goes on, and whoever watches it need not be told.
        let ticket = self.ticket.take();
        Slot::new(pool, stint, self.deadline, ticket)
    }
}
