//! One piece of work that waits in a queue: what the queue and the waiting task share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

/// The place of one piece of work in the queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// Its number in the order of arrival.
    pub(crate) ticket: u64,
    pub(crate) arrived_ns: u64,
    /// [`WAITING`], [`REFUSED`], or when it was admitted.
    state: AtomicU64,
    /// Whether it arrived while the fuse was burnt and has not been judged yet.
    held: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// What became of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    /// It has a permit, since this time.
    Admitted(u64),
    Refused,
}

const WAITING: u64 = 0;
const REFUSED: u64 = u64::MAX;

impl Waiter {
    pub(crate) fn new(ticket: u64, arrived_ns: u64, held: bool) -> Self {
        Self {
            ticket,
            arrived_ns,
            state: AtomicU64::new(WAITING),
            held: AtomicBool::new(held),
            waker: Mutex::new(None),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        match self.state.load(Ordering::Acquire) {
            WAITING => Standing::Waiting,
            REFUSED => Standing::Refused,
            since_ns => Standing::Admitted(since_ns),
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Where it stands; while it waits, the task is woken at the next change.
    pub(crate) fn poll(&self, context: &Context<'_>) -> Standing {
        let standing = self.standing();
        if standing != Standing::Waiting {
            return standing;
        }
        let mut waker = self.waker();
        match waker.as_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        drop(waker);
        // Whoever settled it before the waker stood there woke nobody.
        self.standing()
    }

    /// Gives it a permit; the caller wakes it after letting go of the queue's lock.
    pub(crate) fn admit(&self, now_ns: u64) {
        self.state
            .store(now_ns.clamp(1, REFUSED - 1), Ordering::Release);
    }

    /// Turns it away.
    pub(crate) fn refuse(&self) {
        self.state.store(REFUSED, Ordering::Release);
    }

    /// It stays in the queue under the limits that now stand.
    pub(crate) fn keep(&self) {
        self.held.store(false, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
