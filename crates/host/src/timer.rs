//! One timer for all the work of a pool.
//!
//! Nearly all work ends long before its deadline, so a timer of its own for each piece is set and taken back in vain, and each
//! that is the nearest of its runtime costs a system call. Here a deadline is an entry in a map, and one task sleeps
//! until the nearest. Taking an entry back moves nothing: the task wakes at a time that no longer matters, sees so and goes to
//! sleep again, at most once in the length of a timeout. Only an entry nearer than all others makes it wake at once.
//!
//! Time is tokio's, so it is a few milliseconds late and never early. The task runs on the runtime of whoever came
//! first, and ends when nothing waits; when that runtime ends, those who wait are woken and start it on theirs.

use crate::deadline::{Deadline, as_ns};
use crate::sharded::{self, Sharded};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The deadlines of a pool's work.
pub(crate) struct Sweeper {
    base: Instant,
    shards: Sharded<Mutex<Shard>>,
    /// When the task looks next, in nanoseconds since the base; [`NEVER`] while it looks or does not run.
    looks_ns: AtomicU64,
    /// Up to when it has looked.
    swept_ns: AtomicU64,
    runs: AtomicBool,
    nearer: Notify,
}

#[derive(Default)]
struct Shard {
    waiting: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

/// One deadline among the others. It stays among them until it is handed to [`Sweeper::forget`].
pub(crate) struct Ticket {
    shard: usize,
    /// The deadline in nanoseconds since the base, and a number that tells it from others.
    key: (u64, u64),
}

const NEVER: u64 = u64::MAX;

impl Sweeper {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            shards: Sharded::default(),
            looks_ns: AtomicU64::new(NEVER),
            swept_ns: AtomicU64::new(0),
            runs: AtomicBool::new(false),
            nearer: Notify::new(),
        })
    }

    /// Ready once the deadline has passed; until then the task is woken when it does. From then on the deadline is told by
    /// tokio's clock; a later call with another one changes nothing.
    ///
    /// # Panics
    /// Where it has to wait outside a tokio runtime.
    pub(crate) fn poll(
        self: &Arc<Self>,
        ticket: &mut Option<Ticket>,
        deadline: &mut Deadline,
        context: &Context<'_>,
    ) -> Poll<()> {
        let Some(held) = ticket else {
            let Some(instant) = deadline.ahead() else {
                return Poll::Ready(());
            };
            *deadline = Deadline::at(instant);
            *ticket = Some(self.enter(instant, context.waker()));
            return Poll::Pending;
        };
        if self.swept_ns.load(Ordering::Acquire) >= held.key.0 {
            return Poll::Ready(());
        }
        let mut shard = self.lock(held.shard);
        match shard.waiting.get_mut(&held.key) {
            Some(waker) => waker.clone_from(context.waker()),
            // It is being woken this very moment.
            None => context.waker().wake_by_ref(),
        }
        drop(shard);
        if !self.runs.load(Ordering::Relaxed) {
            self.start();
        }
        Poll::Pending
    }

    /// Takes a deadline back.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        let waker = self.lock(ticket.shard).waiting.remove(&ticket.key);
        // Dropped without the lock, for a waker may be the last that holds a task.
        drop(waker);
    }

    fn enter(self: &Arc<Self>, deadline: Instant, waker: &Waker) -> Ticket {
        let due_ns = as_ns(deadline.saturating_duration_since(self.base)).min(NEVER - 1);
        let shard = sharded::mine();
        let number = {
            let mut held = self.lock(shard);
            let number = held.next;
            held.next += 1;
            held.waiting.insert((due_ns, number), waker.clone());
            number
        };
        if due_ns < self.looks_ns.load(Ordering::SeqCst) {
            if self.runs.load(Ordering::SeqCst) {
                self.nearer.notify_one();
            }
            self.start();
        }
        Ticket {
            shard,
            key: (due_ns, number),
        }
    }

    /// Starts the task unless it runs.
    fn start(self: &Arc<Self>) {
        if !self.runs.swap(true, Ordering::SeqCst) {
            tokio::spawn(run(Arc::clone(self)));
        }
    }

    /// Wakes those whose time is up, and answers the nearest deadline of the others.
    fn sweep(&self) -> Option<u64> {
        self.looks_ns.store(NEVER, Ordering::SeqCst);
        let now_ns = as_ns(Instant::now().saturating_duration_since(self.base));
        self.swept_ns.fetch_max(now_ns, Ordering::AcqRel);
        let mut late = Vec::new();
        let mut nearest = None;
        for shard in self.shards.iter() {
            let mut held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(first) = held.waiting.first_entry() {
                let due_ns = first.key().0;
                if due_ns > now_ns {
                    nearest = Some(nearest.map_or(due_ns, |nearest: u64| nearest.min(due_ns)));
                    break;
                }
                late.push(first.remove());
            }
        }
        late.into_iter().for_each(Waker::wake);
        nearest
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            held.waiting.is_empty()
        })
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        let shard = self.shards.at(shard);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sweeper").finish_non_exhaustive()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Ticket").field(&self.key).finish()
    }
}

async fn run(sweeper: Arc<Sweeper>) {
    let mut stopped = Stopped(Some(sweeper.clone()));
    loop {
        if let Some(due_ns) = sweeper.sweep() {
            // Whoever comes between the sweep and this store finds `NEVER` and leaves word, which ends the wait at once.
            sweeper.looks_ns.store(due_ns, Ordering::SeqCst);
            let at = sweeper.base + std::time::Duration::from_nanos(due_ns);
            // Either way it is time to look.
            drop(tokio::time::timeout_at(at, sweeper.nearer.notified()).await);
            continue;
        }
        sweeper.runs.store(false, Ordering::SeqCst);
        if sweeper.is_empty() || sweeper.runs.swap(true, Ordering::SeqCst) {
            // Nothing waits, or whoever came last has started another.
            stopped.0 = None;
            return;
        }
    }
}

/// The runtime that the task ran on has ended: those who wait are woken, and start it on their own.
struct Stopped(Option<Arc<Sweeper>>);

impl Drop for Stopped {
    fn drop(&mut self) {
        let Some(sweeper) = self.0.take() else {
            return;
        };
        sweeper.looks_ns.store(NEVER, Ordering::SeqCst);
        sweeper.runs.store(false, Ordering::SeqCst);
        for shard in sweeper.shards.iter() {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let wakers: Vec<Waker> = held.waiting.values().cloned().collect();
            drop(held);
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    async fn wait(sweeper: &Arc<Sweeper>, deadline: Instant) -> Instant {
        let (mut ticket, mut deadline) = (None, Deadline::at(deadline));
        poll_fn(|context| sweeper.poll(&mut ticket, &mut deadline, context)).await;
        if let Some(ticket) = &ticket {
            sweeper.forget(ticket);
        }
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_woken_at_its_deadline_whatever_the_order_of_arrival() {
        let (sweeper, began) = (Sweeper::new(), Instant::now());
        let at = |seconds: u32| wait(&sweeper, began + SECOND * seconds);
        let (five, one, three, again) = tokio::join!(at(5), at(1), at(3), at(3));
        let after = |instant: Instant| instant.duration_since(began).as_millis();
        assert_eq!(
            [one, three, again, five].map(after),
            [1_000, 3_000, 3_000, 5_000]
        );
        tokio::task::yield_now().await;
        assert!(!sweeper.runs.load(Ordering::SeqCst), "it ends when idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_needs_no_waiting() {
        let (sweeper, now) = (Sweeper::new(), Instant::now());
        assert_eq!(wait(&sweeper, now).await, now);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_back_is_forgotten_and_the_task_goes() {
        let sweeper = Sweeper::new();
        for _ in 0..100 {
            let waits = wait(&sweeper, Instant::now() + SECOND);
            drop(tokio::time::timeout(Duration::from_millis(1), waits).await);
        }
        // The dropped futures above kept their tickets, as a pool's slots never do.
        assert!(!sweeper.is_empty());
        tokio::time::sleep(SECOND * 2).await;
        assert!(sweeper.is_empty());
        assert!(!sweeper.runs.load(Ordering::SeqCst));
    }

    #[test]
    fn the_end_of_a_runtime_strands_nobody_on_another() {
        let sweeper = Sweeper::new();
        let build = || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()
                .expect("a runtime")
        };
        let (first, second) = (build(), build());
        let soon = Instant::now() + Duration::from_millis(300);
        let (entered, here) = std::sync::mpsc::channel();
        let held = Arc::clone(&sweeper);
        first.spawn(async move {
            let (mut ticket, mut deadline) = (None, Deadline::at(soon + SECOND));
            poll_fn(|context| {
                let polled = held.poll(&mut ticket, &mut deadline, context);
                entered.send(()).expect("it listens");
                polled
            })
            .await;
        });
        here.recv().expect("entered");
        let waits = second.spawn(async move { wait(&sweeper, soon).await });
        first.shutdown_background();
        let woken = second.block_on(waits).expect("it ends well");
        assert!(woken >= soon);
    }
}
