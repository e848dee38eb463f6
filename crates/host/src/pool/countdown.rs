//! The timer of work that runs.

use super::Inner;
use super::permit::Slot;
use pin_project_lite::pin_project;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Sleep, sleep_until};

pin_project! {
    /// Runs down to a slot's deadline. It costs nothing until it is polled, which is when the work first has to wait.
    #[derive(Debug, Default)]
    pub(crate) struct Countdown {
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Countdown {
    /// Ready when the slot's time is up.
    pub(crate) fn poll<P: Deref<Target = Inner>>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slot: &Slot<P>,
    ) -> Poll<()> {
        let mut this = self.project();
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(slot.deadline())));
        }
        match this.timer.as_pin_mut() {
            Some(timer) => timer.poll(context),
            None => Poll::Pending,
        }
    }
}
