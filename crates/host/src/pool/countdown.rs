//! The timer of work that runs.

use super::Inner;
use super::permit::Slot;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Sleep, sleep_until};

/// Runs down to a slot's deadline. It costs nothing until it is polled, which is when the work first has to wait; in its own
/// box, for a timer is larger than most work, and work is moved about before it is begun.
#[derive(Debug, Default)]
pub(crate) struct Countdown {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Countdown {
    /// Ready when the slot's time is up.
    pub(crate) fn poll<P: Deref<Target = Inner>>(
        &mut self,
        context: &mut Context<'_>,
        slot: &Slot<P>,
    ) -> Poll<()> {
        self.timer
            .get_or_insert_with(|| Box::pin(sleep_until(slot.deadline())))
            .as_mut()
            .poll(context)
    }
}
