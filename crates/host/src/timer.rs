//! One timer for all the work of a pool.
//!
//! Nearly all work ends long before its deadline, so a timer of its own for each piece is set and taken back in vain, and each
//! that is the nearest of its runtime costs a system call. Here a deadline is an entry in a map, and one task sleeps
//! until the nearest. Taking an entry back moves nothing: the task wakes at a time that no longer matters, sees so and goes to
//! sleep again, at most once in the length of a timeout. Only an entry nearer than all others makes it wake at once.
//!
//! Time is tokio's, so it is a few milliseconds late and never early. The task runs on the runtime of whoever came
//! first, and ends when nothing waits; when that runtime ends, those who wait are woken and start it on theirs. A runtime
//! that is kept and polled by nobody ends without a word, so a thread looks after the task: see [`guard`].

mod guard;

use crate::deadline::{Deadline, as_ns};
use crate::sharded::{self, Sharded};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Handle;
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
    /// The number of the task that looks. One that comes back from a runtime that stood still finds another number here, and goes.
    /// Held while deadlines are looked through, so that two tasks never tell each other's time.
    era: Mutex<u64>,
    /// Whether the guard knows it.
    guarded: AtomicBool,
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
            era: Mutex::new(0),
            guarded: AtomicBool::new(false),
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
        if self.runs.load(Ordering::SeqCst) {
            return;
        }
        let runtime = Handle::current();
        let mut reign = Reign {
            sweeper: Some(Arc::clone(self)),
            era: 0,
        };
        if !self.takes_over(&mut reign.era) {
            reign.sweeper = None;
            return;
        }
        if !self.guarded.swap(true, Ordering::SeqCst) {
            guard::watch(self);
        }
        // A runtime that is ending drops the task at once, and with it the reign.
        runtime.spawn(run(reign));
    }

    /// Makes the caller's the task that looks, unless there is one.
    fn takes_over(&self, era: &mut u64) -> bool {
        let current = self.era();
        *era = *current;
        !self.runs.swap(true, Ordering::SeqCst)
    }

    /// Nobody looks any more, if the task of this era did.
    fn stands_down(&self, era: u64) -> bool {
        let current = self.era();
        if *current != era {
            return false;
        }
        self.looks_ns.store(NEVER, Ordering::SeqCst);
        self.runs.store(false, Ordering::SeqCst);
        true
    }

    /// Whatever task looked is one of the past.
    fn depose(&self) {
        let mut current = self.era();
        *current += 1;
        self.looks_ns.store(NEVER, Ordering::SeqCst);
        self.runs.store(false, Ordering::SeqCst);
        // It must not be the one who hears of what comes from now on.
        self.nearer.notify_waiters();
    }

    /// Wakes those whose time is up, and answers the nearest deadline of the others. Nothing where another task does so by now.
    fn sweep(&self, era: u64) -> Option<Nearest> {
        let mut late = Vec::new();
        let mut nearest = None;
        let current = self.era();
        if *current != era {
            return None;
        }
        self.looks_ns.store(NEVER, Ordering::SeqCst);
        let now_ns = self.now_ns();
        self.swept_ns.fetch_max(now_ns, Ordering::AcqRel);
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
        // Whoever came between the look and this store found `NEVER` and left word, which ends the wait at once.
        self.looks_ns
            .store(nearest.unwrap_or(NEVER), Ordering::SeqCst);
        drop(current);
        late.into_iter().for_each(Waker::wake);
        Some(nearest.map_or(Nearest::None, Nearest::At))
    }

    /// Wakes those who are overdue by so much, for the task that should have done so stands still: they start another on their own
    /// runtime. Whether there is anything to look after any more.
    fn tend(&self, margin: Duration) -> bool {
        let late_ns = self.now_ns().saturating_sub(as_ns(margin));
        let mut overdue: Vec<Waker> = Vec::new();
        for shard in self.shards.iter() {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let late = held.waiting.range(..=(late_ns, u64::MAX));
            overdue.extend(late.map(|(_, waker)| waker.clone()));
        }
        if !overdue.is_empty() {
            self.depose();
            overdue.into_iter().for_each(Waker::wake);
        }
        self.guarded.store(false, Ordering::SeqCst);
        // Whoever starts the task from now on makes it known anew.
        let is_needed = self.runs.load(Ordering::SeqCst) || !self.is_empty();
        is_needed && !self.guarded.swap(true, Ordering::SeqCst)
    }

    fn now_ns(&self) -> u64 {
        as_ns(Instant::now().saturating_duration_since(self.base))
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            held.waiting.is_empty()
        })
    }

    fn era(&self) -> MutexGuard<'_, u64> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What a look through the deadlines found ahead.
enum Nearest {
    At(u64),
    None,
}

async fn run(mut reign: Reign) {
    let Some(sweeper) = reign.sweeper.clone() else {
        return;
    };
    loop {
        // Made before the look, so that it hears of being deposed after it.
        let nearer = sweeper.nearer.notified();
        let is_done = match sweeper.sweep(reign.era) {
            Some(Nearest::At(due_ns)) => {
                let at = sweeper.base + Duration::from_nanos(due_ns);
                // Either way it is time to look.
                drop(tokio::time::timeout_at(at, nearer).await);
                continue;
            }
            Some(Nearest::None) => sweeper.stands_down(reign.era) && sweeper.is_empty(),
            None => false,
        };
        if is_done {
            break;
        }
        if !sweeper.takes_over(&mut reign.era) {
            // Another looks. It may have been told of something by a word that came here.
            sweeper.nearer.notify_one();
            break;
        }
    }
    reign.sweeper = None;
}

/// The task of an era. Where it is dropped with its runtime, those who wait are woken, and start another on their own.
struct Reign {
    sweeper: Option<Arc<Sweeper>>,
    era: u64,
}

impl Drop for Reign {
    fn drop(&mut self) {
        let Some(sweeper) = self.sweeper.take() else {
            return;
        };
        if !sweeper.stands_down(self.era) {
            return;
        }
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

    /// Polled while it is in use, and then kept.
    fn idle() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime")
    }

    /// Leaves a deadline of an hour behind, with the task on this runtime.
    async fn arm_far_ahead(sweeper: &Arc<Sweeper>) {
        let waits = wait(sweeper, Instant::now() + SECOND * 3_600);
        drop(tokio::time::timeout(Duration::from_millis(1), waits).await);
        assert!(sweeper.runs.load(Ordering::SeqCst));
    }

    #[test]
    fn a_runtime_that_is_kept_and_not_polled_strands_nobody_on_another() {
        let sweeper = Sweeper::new();
        let (stands, lives) = (idle(), idle());
        let ends = async |what: &str| {
            let waits = wait(&sweeper, Instant::now() + SECOND / 20);
            let ended = tokio::time::timeout(SECOND * 30, waits).await;
            ended.unwrap_or_else(|_| panic!("{what}: a deadline was never told"));
        };
        stands.block_on(arm_far_ahead(&sweeper));
        lives.block_on(ends("beside a runtime that stands still"));
        lives.block_on(ends("with a task of its own"));
        // The old task comes back, sees that there is another, and goes.
        stands.block_on(tokio::task::yield_now());
        lives.block_on(ends("after the old one came back"));
        drop(stands);
        assert!(sweeper.runs.load(Ordering::SeqCst), "one still looks");
        lives.block_on(ends("after the old one's runtime ended"));
    }

    #[test]
    fn who_waits_alone_beside_a_runtime_that_stands_still_is_woken_without_anybody_else_coming() {
        let sweeper = Sweeper::new();
        let (stands, lives) = (idle(), idle());
        stands.block_on(async {
            let waits = wait(&sweeper, Instant::now() + SECOND / 20);
            drop(tokio::time::timeout(Duration::from_millis(1), waits).await);
        });
        // Later than what the task waits for, so nothing is said to it.
        let waits = async { wait(&sweeper, Instant::now() + SECOND / 10).await };
        let ended = lives.block_on(async { tokio::time::timeout(SECOND * 30, waits).await });
        ended.expect("the deadline is told");
    }

    #[test]
    fn a_wait_outside_any_runtime_spoils_nothing_for_others() {
        let sweeper = Sweeper::new();
        let far = Instant::now() + SECOND * 3_600;
        let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut ticket, mut deadline) = (None, Deadline::at(far));
            let context = &mut Context::from_waker(Waker::noop());
            sweeper.poll(&mut ticket, &mut deadline, context).is_ready()
        }));
        outside.expect_err("there is nothing to wait with");
        let waits = async { wait(&sweeper, Instant::now() + SECOND / 20).await };
        let ended = idle().block_on(async { tokio::time::timeout(SECOND * 30, waits).await });
        ended.expect("the deadline is told");
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
