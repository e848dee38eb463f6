//! The way into a pool: at once, after waiting in the queue, or not at all.

use super::permit::{Permit, Slot};
use super::{Inner, PoolError};
use crate::counters::{Counters, Outcome};
use crate::limit::Answer;
use crate::limit::waiter::{Standing, Waiter};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use trimtab_sys::clock::boot_ns;

/// Waits for a permit; made by [`Pool::enter`](super::Pool::enter). The work arrives when this is first polled, and
/// dropping it while it waits gives the place in the queue up.
#[must_use = "a future does nothing unless it is polled"]
pub struct Enter(Admission<Arc<Inner>>);

impl Enter {
    pub(super) fn new(pool: Arc<Inner>) -> Self {
        Self(Admission::new(pool))
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
    waiting: Option<Box<Waiting>>,
}

struct Waiting {
    waiter: Arc<Waiter>,
    arrived_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whether it arrived during a burnt fuse, so that its timeout is that of after.
    held: bool,
}

impl<P: Deref<Target = Inner> + Unpin> Admission<P> {
    pub(super) fn new(pool: P) -> Self {
        Self {
            pool: Some(pool),
            waiting: None,
        }
    }

    /// The arrival. Answers unless the work has to wait.
    fn arrive(&mut self) -> Poll<Result<Slot<P>, PoolError>> {
        let pool = self.pool.take().expect("polled after it was ready");
        match pool.limit.arrive(boot_ns()) {
            Answer::Admitted(stint) => {
                let timeout = pool.timeout();
                Poll::Ready(Ok(Slot::new(pool, stint, timeout, None)))
            }
            Answer::Full => Poll::Ready(Err(pool.full())),
            Answer::Waits(waiter) => {
                let held = waiter.is_held();
                let timeout = if held {
                    // The timeout may be on trial too, and must not be what ends the wait.
                    pool.timeout().max(pool.timeout_baseline())
                } else {
                    pool.timeout()
                };
                let arrived_at = Instant::now();
                self.waiting = Some(Box::new(Waiting {
                    waiter,
                    arrived_at,
                    timer: Box::pin(sleep_until(arrived_at + timeout)),
                    held,
                }));
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
                Standing::Refused => return Poll::Ready(Err(pool.full())),
                Standing::Waiting => {}
            }
            waiting.judged(pool.timeout());
            if waiting.timer.as_mut().poll(context).is_pending() {
                (self.pool, self.waiting) = (Some(pool), Some(waiting));
                return Poll::Pending;
            }
            let now_ns = boot_ns();
            if pool.limit.leave(&waiting.waiter, now_ns) {
                let arrived_ns = waiting.waiter.arrived_ns;
                let counters = &pool.limit.counters;
                counters.left_queue(Outcome::TimedOut, arrived_ns, now_ns);
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
        let (Some(pool), Some(waiting)) = (self.pool.take(), self.waiting.take()) else {
            return;
        };
        let now_ns = boot_ns();
        if pool.limit.leave(&waiting.waiter, now_ns) {
            let arrived_ns = waiting.waiter.arrived_ns;
            let counters = &pool.limit.counters;
            counters.left_queue(Outcome::Abandoned, arrived_ns, now_ns);
        } else if let Standing::Admitted(since_ns) = waiting.waiter.standing() {
            // The permit came too late for its work; dropping the slot hands it on.
            drop(waiting.admitted(pool, since_ns));
        }
    }
}

impl Waiting {
    /// Once the fuse is whole again, the timeout in force is the one that counts.
    fn judged(&mut self, timeout: Duration) {
        if self.held && !self.waiter.is_held() {
            self.held = false;
            self.timer.as_mut().reset(self.arrived_at + timeout);
        }
    }

    fn admitted<P: Deref<Target = Inner>>(&self, pool: P, since_ns: u64) -> Slot<P> {
        let arrived_ns = self.waiter.arrived_ns;
        let stint = Counters::queued_stint(self.waiter.ticket, arrived_ns, since_ns);
        let timeout = pool.timeout();
        let deadline = if self.held {
            self.arrived_at + timeout
        } else {
            self.timer.deadline()
        };
        Slot::new(pool, stint, timeout, Some(deadline))
    }
}
