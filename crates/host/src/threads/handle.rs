//! What a job yields, for whoever handed it over.

use super::worker::{self, Until};
use super::{Inner, JobError};
use crate::deadline::Deadline;
use crate::timer::Ticket;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use trimtab_sys::clock::boot_ns;

/// Waits for a job's result: as a future, or with [`JobHandle::wait`] on a thread.
///
/// At the job's deadline it yields [`JobError::Late`]; a job that runs goes on, and counts as abandoned. Dropping the handle drops a
/// job that has not begun. Outside a tokio runtime with its timer the future waits for the job however long it takes.
#[must_use = "dropping the handle drops the job if it has not begun"]
pub struct JobHandle<T> {
    pool: Arc<Inner>,
    state: State<T>,
    deadline: Deadline,
    ticket: Option<Ticket>,
}

enum State<T> {
    Done(Option<Result<T, JobError>>),
    Waits(oneshot::Receiver<Result<T, JobError>>),
}

impl<T> JobHandle<T> {
    pub(super) fn done(pool: &Arc<Inner>, result: Result<T, JobError>) -> Self {
        Self {
            pool: Arc::clone(pool),
            state: State::Done(Some(result)),
            deadline: Deadline::at_boot_ns(0),
            ticket: None,
        }
    }

    pub(super) fn waits(
        pool: &Arc<Inner>,
        receiver: oneshot::Receiver<Result<T, JobError>>,
        deadline_ns: u64,
    ) -> Self {
        Self {
            pool: Arc::clone(pool),
            state: State::Waits(receiver),
            deadline: Deadline::at_boot_ns(deadline_ns),
            ticket: None,
        }
    }

    /// Whether the result is there, so that neither waiting nor awaiting takes any time.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.state {
            State::Done(_) => true,
            State::Waits(receiver) => !receiver.is_empty(),
        }
    }

    /// Waits on this thread. On a worker of the same pool, other jobs are run meanwhile. Not for async tasks, whose runtime it
    /// would hold up.
    ///
    /// # Errors
    /// [`JobError`] if the job was not done in time, or panicked.
    pub fn wait(mut self) -> Result<T, JobError> {
        let alarm = Alarm::here();
        let waker = Waker::from(Arc::clone(&alarm));
        let deadline_ns = self.deadline.boot_ns();
        loop {
            if let Poll::Ready(result) = self.poll_result(&mut Context::from_waker(&waker)) {
                return result;
            }
            if boot_ns() >= deadline_ns {
                return Err(JobError::Late { waited: false });
            }
            alarm.sleep(&self.pool, deadline_ns);
        }
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<T, JobError>> {
        match &mut self.state {
            State::Done(result) => Poll::Ready(result.take().expect("polled after it was ready")),
            // A job that ends without a result has panicked.
            State::Waits(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|sent| sent.unwrap_or(Err(JobError::Panicked))),
        }
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T, JobError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(result) = this.poll_result(context) {
            return Poll::Ready(result);
        }
        if Handle::try_current().is_err() {
            return Poll::Pending;
        }
        let sweeper = &this.pool.sweeper;
        let late = sweeper.poll(&mut this.ticket, &mut this.deadline, context);
        late.map(|()| Err(JobError::Late { waited: false }))
    }
}

// Nothing in it is pinned.
impl<T> Unpin for JobHandle<T> {}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.pool.sweeper.forget(ticket);
        }
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("JobHandle")
            .field("done", &self.is_done())
            .finish_non_exhaustive()
    }
}

/// Wakes a thread that waits.
pub(super) struct Alarm {
    thread: Thread,
    rang: AtomicBool,
}

impl Alarm {
    pub(super) fn here() -> Arc<Self> {
        Arc::new(Self {
            thread: std::thread::current(),
            rang: AtomicBool::new(false),
        })
    }

    pub(super) fn ring(&self) {
        self.rang.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }

    /// Sleeps until it rings, or until the deadline; a worker of this pool runs other jobs instead.
    pub(super) fn sleep(&self, pool: &Arc<Inner>, deadline_ns: u64) {
        let until = Until {
            over: &|| self.rang.load(Ordering::SeqCst),
            deadline_ns: Some(deadline_ns),
        };
        let helped = worker::here(pool, |worker| worker.help(&until));
        while helped.is_none() && !until.is_over() {
            let left_ns = deadline_ns.saturating_sub(boot_ns());
            std::thread::park_timeout(Duration::from_nanos(left_ns));
        }
        self.rang.store(false, Ordering::SeqCst);
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
