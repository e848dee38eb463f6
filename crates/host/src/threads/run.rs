//! The ways for a job into the pool.

use super::job::{Call, Ended, Job, Priority};
use super::worker;
use super::{Inner, JobError, JobHandle, JobKind, ThreadPool, fork};
use crate::counters::{Outcome, Stint};
use crate::deadline::{self, Deadline};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use trimtab_sys::clock::boot_ns;

impl ThreadPool {
    /// Hands a job over, and asks no more about it.
    ///
    /// # Errors
    /// [`JobError::Full`] or [`JobError::Closed`]; then the job is dropped.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), JobError> {
        self.spawn_at(Priority::Normal, job)
    }

    /// Like [`ThreadPool::spawn`], with a priority.
    ///
    /// # Errors
    /// As there.
    pub fn spawn_at(
        &self,
        priority: Priority,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), JobError> {
        let work = move |call: Call, _: &dyn Fn()| match call {
            Call::Run => {
                job();
                Ended::Completed
            }
            Call::Refuse(_) => Ended::Skipped,
        };
        let handed = self.inner().hand_over(priority, work);
        handed.map(|_| ()).map_err(|(error, _)| error)
    }

    /// Hands a job over, and answers what waits for its result.
    ///
    /// # Errors
    /// [`JobError::Full`] or [`JobError::Closed`]; then the job is dropped.
    pub fn submit<T, F>(&self, job: F) -> Result<JobHandle<T>, JobError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.submit_at(Priority::Normal, job)
    }

    /// Like [`ThreadPool::submit`], with a priority.
    ///
    /// # Errors
    /// As there.
    pub fn submit_at<T, F>(&self, priority: Priority, job: F) -> Result<JobHandle<T>, JobError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.submit_judged(priority, job, |_| Ended::Completed)
            .map_err(|(error, _)| error)
    }

    /// Like [`ThreadPool::submit`], for a job that may end in an error of its own, which then counts as failed.
    ///
    /// # Errors
    /// As there; the job's own error is what the handle yields.
    pub fn submit_fallible<T, E, F>(&self, job: F) -> Result<JobHandle<Result<T, E>>, JobError>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        let judge = |done: &Result<T, E>| match done {
            Ok(_) => Ended::Completed,
            Err(_) => Ended::Failed,
        };
        self.submit_judged(Priority::Normal, job, judge)
            .map_err(|(error, _)| error)
    }

    /// Runs a job on the pool's threads and waits for it in an async task. Dropping the returned future drops the job unless it
    /// has begun.
    ///
    /// # Errors
    /// [`JobError`] if the job was not begun, not done in time, or panicked.
    pub fn run<T, F>(&self, job: F) -> impl Future<Output = Result<T, JobError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let pool = self.clone();
        async move { pool.submit(job)?.await }
    }

    /// Hands a job over, or runs it in place: where its kind is known to take less time than handing it over, and where the
    /// pool has no room. In place it takes the calling thread's time, so for async code this is right only for kinds that
    /// are short, or where slow is better than refused.
    ///
    /// What the job yields is in the handle, at once if it ran in place.
    ///
    /// # Errors
    /// [`JobError::Closed`] when the pool is closed.
    pub fn run_or_inline<T, F>(&self, kind: &JobKind, job: F) -> Result<JobHandle<T>, JobError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let inner = self.inner();
        if inner.is_closed() {
            return Err(JobError::Closed);
        }
        if kind.is_shorter_than(&inner.handover) && !inner.fuse.is_burnt() {
            return Ok(JobHandle::done(inner, inner.run_in_place(kind, job)));
        }
        let (learns, began_ns) = (kind.clone(), boot_ns());
        let timed = move || {
            let began_ns = boot_ns();
            let done = job();
            learns.learn(boot_ns().saturating_sub(began_ns));
            done
        };
        match self.submit_judged(Priority::Normal, timed, |_| Ended::Completed) {
            Ok(handle) => {
                inner.handover.learn(boot_ns().saturating_sub(began_ns));
                Ok(handle)
            }
            Err((JobError::Full { .. }, job)) => {
                Ok(JobHandle::done(inner, inner.run_in_place(kind, job)))
            }
            Err((error, _)) => Err(error),
        }
    }

    /// Runs jobs side by side and waits for all of them on this thread, at the longest until the deadline in force or the
    /// pool's timeout. What they yield comes in their order. A worker of this pool that forks runs jobs meanwhile; what the pool
    /// has no room for runs on this thread. Not for async tasks, whose runtime it would hold up.
    pub fn fork<T, F>(&self, jobs: impl IntoIterator<Item = F>) -> Vec<Result<T, JobError>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        fork::fork(self.inner(), jobs.into_iter().collect())
    }

    fn submit_judged<T, F>(
        &self,
        priority: Priority,
        job: F,
        judge: impl FnOnce(&T) -> Ended + Send + 'static,
    ) -> Result<JobHandle<T>, (JobError, F)>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let mut job = Some(job);
        // The job stays outside until there is room for it, for whoever is refused may want it back.
        let room = self.inner().admit();
        let (arrived_ns, local) = match room {
            Ok(admitted) => admitted,
            Err(error) => {
                let job = job.take().expect("it was put there above");
                return Err((error, job));
            }
        };
        let deadline_ns = self.inner().deadline_ns(arrived_ns);
        let work = move |call: Call, leave: &dyn Fn()| {
            let Some(job) = job.take() else {
                return Ended::Skipped;
            };
            let result = match call {
                Call::Refuse(error) => Err(error),
                Call::Run if sender.is_closed() => return Ended::Skipped,
                Call::Run => Ok(job()),
            };
            let ended = result.as_ref().map_or(Ended::Skipped, judge);
            leave();
            // Whoever waited may have gone.
            drop(sender.send(result));
            ended
        };
        let handle = JobHandle::waits(self.inner(), receiver, deadline_ns);
        self.inner().put(
            priority,
            local,
            Job {
                arrived_ns,
                deadline_ns,
                work: Box::new(work),
            },
        );
        Ok(handle)
    }
}

impl Inner {
    /// Hands a job over, or gives it back with the reason.
    pub(super) fn hand_over<W>(
        self: &Arc<Self>,
        priority: Priority,
        work: W,
    ) -> Result<(), (JobError, W)>
    where
        W: FnOnce(Call, &dyn Fn()) -> Ended + Send + 'static,
    {
        let (arrived_ns, local) = match self.admit() {
            Ok(admitted) => admitted,
            Err(error) => return Err((error, work)),
        };
        let job = Job {
            arrived_ns,
            deadline_ns: self.deadline_ns(arrived_ns),
            work: Box::new(work),
        };
        self.put(priority, local, job);
        Ok(())
    }

    /// When work that arrives now must be done: the pool's timeout from now, or earlier if the deadline in force is.
    pub(super) fn deadline_ns(&self, arrived_ns: u64) -> u64 {
        let timeout_ms = self.timeout_ms.load(Ordering::Relaxed);
        let own_ns = arrived_ns.saturating_add(timeout_ms.saturating_mul(1_000_000));
        Deadline::current().map_or(own_ns, |parent| parent.boot_ns().min(own_ns))
    }

    /// A job that runs where it was called for begins.
    pub(super) fn begin_in_place(&self) -> Stint {
        self.in_place.fetch_add(1, Ordering::Relaxed);
        self.counters.begin_direct(boot_ns())
    }

    /// And ends; nothing means that it panicked.
    pub(super) fn end_in_place(&self, stint: Stint, ended: Option<Ended>, deadline_ns: u64) -> u64 {
        let now_ns = boot_ns();
        let outcome = match ended {
            Some(Ended::Completed) if now_ns <= deadline_ns => Outcome::Completed,
            Some(Ended::Completed | Ended::Skipped) => Outcome::Abandoned,
            Some(Ended::Failed) => Outcome::Failed,
            None => {
                self.panicked.fetch_add(1, Ordering::Relaxed);
                Outcome::Failed
            }
        };
        self.counters.end(stint, outcome, now_ns);
        now_ns.saturating_sub(stint.started_ns)
    }

    fn run_in_place<T>(&self, kind: &JobKind, job: impl FnOnce() -> T) -> Result<T, JobError> {
        let stint = self.begin_in_place();
        let deadline_ns = self.deadline_ns(stint.started_ns);
        if deadline_ns <= stint.started_ns {
            self.end_in_place(stint, Some(Ended::Skipped), deadline_ns);
            return Err(JobError::Late { waited: true });
        }
        let back = deadline::enter(Some(Deadline::at_boot_ns(deadline_ns)));
        let done = catch_unwind(AssertUnwindSafe(job));
        drop(back);
        let ended = done.as_ref().ok().map(|_| Ended::Completed);
        kind.learn(self.end_in_place(stint, ended, deadline_ns));
        done.map_err(|_| JobError::Panicked)
    }

    /// Lets a job in: when it arrived, and whether one of this pool's workers brought it.
    fn admit(self: &Arc<Self>) -> Result<(u64, bool), JobError> {
        let local = worker::is_here(self);
        // What a job of this pool hands over is part of that job, which is done to its end.
        if self.is_closed() && (!local || self.drops()) {
            return Err(JobError::Closed);
        }
        let now_ns = boot_ns();
        let capacity = if local || !self.fuse.is_burnt() {
            self.capacity()
        } else {
            // The limits in force may be a trial's that is over; they are asked again when it is undone.
            self.worker_bounds.max + self.queue_bounds.max
        };
        if self.gate.enter(capacity) {
            return Ok((now_ns, local));
        }
        self.counters.refused();
        Err(self.full())
    }

    fn put(self: &Arc<Self>, priority: Priority, local: bool, job: Job) {
        self.gate.wait(job.arrived_ns);
        if !local && self.fuse.is_burnt() {
            return self.hold(priority, job);
        }
        self.line_up(priority, local, job);
        self.idle.call();
    }

    fn line_up(self: &Arc<Self>, priority: Priority, local: bool, job: Job) {
        let job = if local && priority == Priority::Normal {
            worker::put_here(self, job)
        } else {
            Some(job)
        };
        if let (Some(job), Some(queue)) = (job, self.queues.get(priority.index())) {
            queue.put(job);
        }
    }

    /// Keeps a job back until the fuse is whole again.
    fn hold(self: &Arc<Self>, priority: Priority, job: Job) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again with the lock, which is taken after the fuse was mended by whoever lets go what is held.
        if self.fuse.is_burnt() {
            held.push_back((priority, job));
            return;
        }
        drop(held);
        self.line_up(priority, false, job);
        self.idle.call();
    }

    /// The fuse is whole again: what was held goes on as far as the limits now in force have room, and the rest is refused.
    pub(super) fn release_held(self: &Arc<Self>) {
        if self.fuse.is_burnt() {
            return;
        }
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let count = u64::try_from(held.len()).unwrap_or(u64::MAX);
        let ahead = self.gate.held().saturating_sub(count);
        let mut room = self.capacity().saturating_sub(ahead);
        for (priority, job) in held {
            if room == 0 {
                self.counters.refused_late();
                self.turn_away(job, self.full());
            } else {
                room -= 1;
                self.line_up(priority, false, job);
            }
        }
        self.idle.call_all(|_| true);
    }

    /// A job that waited will not be begun.
    pub(super) fn turn_away(&self, job: Job, error: JobError) {
        self.gate.leave(boot_ns());
        let work = job.work;
        // It only says no to whoever waits; should that panic, it is theirs.
        drop(catch_unwind(AssertUnwindSafe(|| {
            work(Call::Refuse(error), &|| ())
        })));
        self.gate.end(0);
    }

    /// How much runs and waits at the most.
    fn capacity(&self) -> u64 {
        self.target() + self.queue_limit.load(Ordering::Relaxed)
    }

    fn full(&self) -> JobError {
        let ahead = self.gate.held().saturating_sub(self.target()) + 1;
        let mean_us = self.service_us.load(Ordering::Relaxed);
        let drained_us = ahead.saturating_mul(mean_us) / self.target().max(1);
        let timeout = Duration::from_millis(self.timeout_ms.load(Ordering::Relaxed));
        JobError::Full {
            retry_after: Duration::from_micros(drained_us)
                .clamp(RETRY_AFTER_MIN, timeout.max(RETRY_AFTER_MIN)),
        }
    }
}

/// Coming back at once only fills the queue again.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(1);
