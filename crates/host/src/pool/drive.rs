//! One piece of work on its way through a pool: admitted, run, and counted.
//!
//! It is one hand-made future rather than a chain of asynchronous functions, each of which would hold its own copy of the work.

use super::admission::Admission;
use super::permit::Slot;
use super::{Inner, PoolError};
use crate::counters::Outcome;
use crate::deadline;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

pin_project! {
    /// Runs work in a pool. The fields stand in the order in which they must be dropped: the work before its permit.
    pub(super) struct Drive<'pool, F, J> {
        #[pin]
        work: Option<F>,
        slot: Option<Slot<&'pool Inner>>,
        admission: Admission<&'pool Inner>,
        judge: J,
    }
}

impl<'pool, F, J> Drive<'pool, F, J> {
    /// `judge` says how work ended that was done in time.
    pub(super) fn new(pool: &'pool Inner, asked: Option<Duration>, work: F, judge: J) -> Self {
        Self {
            work: Some(work),
            slot: None,
            admission: Admission::new(pool, asked),
            judge,
        }
    }
}

impl<F: Future, J: Fn(&F::Output) -> Outcome> Future for Drive<'_, F, J> {
    type Output = Result<F::Output, PoolError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.slot.is_none() {
            *this.slot = Some(ready!(Pin::new(this.admission).poll(context))?);
        }
        let (Some(slot), Some(work)) = (this.slot.as_mut(), this.work.as_mut().as_pin_mut()) else {
            unreachable!("a slot and its work stand here until the end");
        };
        let polled = {
            let _back = deadline::enter(Some(slot.deadline()));
            slot.pool().poll_measured(|| work.poll(context))
        };
        let ended = match polled {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => {
                ready!(slot.poll_deadline(context));
                Err(PoolError::TimedOut { waited: false })
            }
        };
        this.work.set(None);
        if let Some(slot) = this.slot.take() {
            slot.end(ended.as_ref().map_or(Outcome::TimedOut, this.judge));
        }
        Poll::Ready(ended)
    }
}
