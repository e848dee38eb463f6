//! A stage: workers that take from their queue, do the work, and put what it yields into the next.

use super::order::Order;
use super::queue::{Gone, Leave, Queue, Taken};
use super::{Exit, Report, TroubleKind, tell};
use crate::counters::reading::Reader;
use crate::counters::{Outcome, RUNNING_MAX};
use crate::dial::{Dial, DialKnob};
use crate::fuse::Fuse;
use crate::limit::line::LineReading;
use crate::part::{Part, PartFigures, PartKnob};
use crate::pool::{BuildError, cpu};
use std::error::Error;
use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Poll;
use tokio::runtime::Handle;
use trimtab_protocol::knob::KnobKind;
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;
use trimtab_sys::clock::boot_ns;

/// Describes a stage: its name in the host's state, how many workers it has, and how much may wait before it.
#[derive(Debug)]
#[must_use = "a stage does nothing until it is part of a pipeline"]
pub struct Stage {
    name: String,
    kind: PoolKind,
    workers: Dial,
    queue_limit: Dial,
    held: Option<u64>,
}

/// The longest queue between two stages; beyond, it is no back-pressure any more.
const QUEUE_MAX: u64 = 1_000_000;

impl Stage {
    /// A stage of 4 workers, of 1 to 256, before which 64 pieces may wait, of 1 to 10,000.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PoolKind::Other,
            workers: Dial::new(4, &(1..=256)),
            queue_limit: Dial::new(64, &(1..=10_000)),
            held: None,
        }
    }

    /// What sort of work it does; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// How many pieces are worked on at once: the baseline, and the bounds. At least 1.
    pub fn workers(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.workers = Dial::new(baseline, &bounds);
        self
    }

    /// How much may wait before the stage; whoever finds it full waits: the baseline, and the bounds. At least 1.
    pub fn queue_limit(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.queue_limit = Dial::new(baseline, &bounds);
        self
    }

    /// What the stage yields keeps the order in which it came. At most `held` results wait for those before them; more
    /// workers than that have nothing to do.
    pub fn ordered(mut self, held: u64) -> Self {
        self.held = Some(held);
        self
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        if !is_plain_name(&self.name) {
            return Err(BuildError::Name(self.name.clone()));
        }
        if self.name == PoolName::PROCESS {
            return Err(BuildError::Reserved);
        }
        self.workers.check(KnobName::WORKERS, 1, RUNNING_MAX)?;
        self.queue_limit.check(KnobName::QUEUE_LIMIT, 1, QUEUE_MAX)
    }
}

/// What a piece of work yields.
#[derive(Debug)]
pub(super) enum Yield<O> {
    One(O),
    Many(Vec<O>),
}

type Failure = Box<dyn Error + Send + Sync>;

/// A stage at work.
pub(super) struct Core<I, O> {
    name: PoolName,
    kind: PoolKind,
    pub(super) queue: Arc<Queue<I>>,
    exit: Exit<O>,
    workers: Dial,
    order: Option<Order<Option<Yield<O>>>>,
    /// Workers that live, whether they work or wait.
    alive: AtomicU64,
    busy: AtomicU64,
    report: Report,
    reader: Mutex<(Reader, LineReading)>,
    /// Starts one more worker; set once there is a runtime.
    hire: OnceLock<Box<dyn Fn(Arc<Self>) + Send + Sync>>,
}

impl<I: Send + 'static, O: Send + 'static> Core<I, O> {
    pub(super) fn new(stage: Stage, exit: Exit<O>, report: Report) -> Arc<Self> {
        let queue = Arc::new(Queue::new(stage.queue_limit));
        let watching = Arc::downgrade(&queue);
        queue.fuse.watch(move || {
            if let Some(queue) = Weak::upgrade(&watching) {
                queue.look_again();
            }
        });
        Arc::new(Self {
            name: PoolName::from(stage.name),
            kind: stage.kind,
            queue,
            exit,
            workers: stage.workers,
            order: stage.held.map(Order::new),
            alive: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            report,
            reader: Mutex::default(),
            hire: OnceLock::new(),
        })
    }

    /// Starts the workers, on this runtime.
    pub(super) fn start<F, W>(self: &Arc<Self>, runtime: &Handle, work: F)
    where
        F: Fn(I) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Yield<O>, Failure>> + Send,
    {
        let (runtime, work) = (runtime.clone(), Arc::new(work));
        let hire = move |core: Arc<Self>| {
            let work = Arc::clone(&work);
            runtime.spawn(async move {
                let worker = Worker(core);
                worker.0.keep_working(&*work).await;
            });
        };
        // It is started once, when the pipeline is built.
        drop(self.hire.set(Box::new(hire)));
        self.fill_up();
    }

    /// Starts workers until there are as many as wanted.
    fn fill_up(self: &Arc<Self>) {
        let Some(hire) = self.hire.get() else { return };
        let below = |alive| (alive < self.workers.get()).then_some(alive + 1);
        while self
            .alive
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below)
            .is_ok()
        {
            hire(Arc::clone(self));
        }
    }

    async fn keep_working<F, W>(&self, work: &F)
    where
        F: Fn(I) -> W + Sync,
        W: Future<Output = Result<Yield<O>, Failure>> + Send,
    {
        let may = |first: Option<u64>| {
            let above = |alive| (alive > self.workers.get()).then(|| alive - 1);
            let retires = self.alive.load(Ordering::Acquire) > self.workers.get()
                && self
                    .alive
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, above)
                    .is_ok();
            match (&self.order, first) {
                _ if retires => Leave::Retire,
                (Some(order), Some(first)) if !order.has_place_for(first) => Leave::Wait,
                _ => Leave::Take,
            }
        };
        // Handing on takes no time worth another look at the clock, unless it has to wait.
        let mut now_ns = None;
        let gone = loop {
            match self.queue.take(now_ns, may).await {
                Ok(taken) => now_ns = self.work_off(taken, work).await,
                Err(gone) => break gone,
            }
            // Queues that are never empty must not keep a worker on its thread for ever.
            tokio::task::coop::consume_budget().await;
        };
        if gone == Gone::Closed && self.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The last one out of a closed and empty queue: nothing will come for those behind.
            self.exit.close();
        }
    }

    /// Does one piece of work and hands on what it yields; the time, if that took none worth mentioning.
    async fn work_off<F, W>(&self, taken: Taken<I>, work: &F) -> Option<u64>
    where
        F: Fn(I) -> W + Sync,
        W: Future<Output = Result<Yield<O>, Failure>> + Send,
    {
        let Taken {
            item,
            ticket,
            stint,
        } = taken;
        let busy = Busy::of(&self.busy);
        let (outcome, result) = match self.contained(|| work(item)).await {
            Ok(Ok(result)) => (Outcome::Completed, Some(result)),
            Ok(Err(error)) => {
                tell(&self.report, &self.name, TroubleKind::Failed(error));
                (Outcome::Failed, None)
            }
            Err(Panicked) => {
                tell(&self.report, &self.name, TroubleKind::Panicked);
                (Outcome::Failed, None)
            }
        };
        drop(busy);
        let now_ns = boot_ns();
        self.queue.counters.end(stint, outcome, now_ns);
        match &self.order {
            None => return self.send(result, now_ns).await.then_some(now_ns),
            Some(order) => {
                let mut next = order.bring(ticket, result);
                while let Some(result) = next {
                    self.send(result, boot_ns()).await;
                    next = order.next();
                }
                self.queue.look_again();
            }
        }
        None
    }

    /// Hands on what a piece of work yielded; whether there was room at once.
    async fn send(&self, result: Option<Yield<O>>, now_ns: u64) -> bool {
        match result {
            None => true,
            Some(Yield::One(item)) => self.exit.put(item, now_ns).await,
            Some(Yield::Many(items)) => {
                for item in items {
                    self.exit.put(item, boot_ns()).await;
                }
                false
            }
        }
    }

    /// Runs work whose panic ends nothing but itself. What it holds goes within its last poll, or while it unwinds.
    async fn contained<W: Future>(&self, begin: impl FnOnce() -> W) -> Result<W::Output, Panicked> {
        let begun = catch_unwind(AssertUnwindSafe(begin)).map_err(|_| Panicked)?;
        let mut work = pin!(begun);
        poll_fn(|context| {
            let poll = || catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
            let (polled, cpu_ns) = cpu::sampled(poll);
            if let Some(ns) = cpu_ns {
                self.queue.counters.add_cpu(ns);
            }
            match polled {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                Err(_) => Poll::Ready(Err(Panicked)),
            }
        })
        .await
    }
}

/// A worker is busy, until this is dropped.
struct Busy<'a>(&'a AtomicU64);

impl<'a> Busy<'a> {
    fn of(busy: &'a AtomicU64) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker. Where one dies of a panic in spite of all another takes its place, so that the stage neither loses it nor waits for it.
struct Worker<I: Send + 'static, O: Send + 'static>(Arc<Core<I, O>>);

impl<I: Send + 'static, O: Send + 'static> Drop for Worker<I, O> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.alive.fetch_sub(1, Ordering::AcqRel);
            self.0.fill_up();
        }
    }
}

/// The work panicked.
struct Panicked;

/// The side of a stage that the host sees.
pub(super) struct StagePart<I, O>(pub(super) Arc<Core<I, O>>);

impl<I: Send + 'static, O: Send + 'static> Part for StagePart<I, O> {
    fn name(&self) -> &PoolName {
        &self.0.name
    }

    fn kind(&self) -> PoolKind {
        self.0.kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let core = &self.0;
        let workers = PartKnob {
            spec: core
                .workers
                .spec(KnobName::WORKERS, "workers", KnobKind::Integer),
            knob: Arc::new(DialKnob {
                owner: Arc::clone(core),
                dial: |core| &core.workers,
                effective: |core, target| target.max(core.busy.load(Ordering::Relaxed)),
                turned: |core| {
                    core.fill_up();
                    core.queue.look_again();
                },
            }),
        };
        let queue_limit = PartKnob {
            spec: core
                .queue
                .limit
                .spec(KnobName::QUEUE_LIMIT, "places", KnobKind::Integer),
            knob: Arc::new(DialKnob {
                owner: Arc::clone(core),
                dial: |core| &core.queue.limit,
                effective: |core, target| target.max(core.queue.queued()),
                turned: |core| core.queue.look_again(),
            }),
        };
        vec![workers, queue_limit]
    }

    fn figures(&self, now_ns: u64) -> PartFigures {
        let core = &self.0;
        let mut held = core.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, last_line) = &mut *held;
        *last_line = core.queue.line().unwrap_or(*last_line);
        let busy = core.busy.load(Ordering::Relaxed);
        reader.read(&core.queue.counters, busy, *last_line, now_ns)
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        Some(Arc::clone(&self.0.queue.fuse))
    }
}
