//! A worker: one thread that takes jobs and runs them.
//!
//! It looks in the queue of urgent jobs, in its own queue, in the common one, in those of the other workers, and last in that of jobs
//! without hurry. Its own queue is a stack for itself, so that what a job hands over is done while its data is near, and a line
//! for others, who take the oldest. A worker that waits for jobs it has forked runs others meanwhile.

use super::Inner;
use super::figures::WorkerFigures;
use super::idle::Sleeper;
use super::job::{Call, Ended, Job};
use super::queue::stolen;
use super::{JobError, affinity};
use crate::counters::tally::bump;
use crate::deadline::{self, Deadline};
use crossbeam_deque::Worker;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trimtab_sys::clock::{boot_ns, thread_cpu_ns};

thread_local! {
    static HERE: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// A worker as its own thread sees it.
pub(super) struct Local {
    pub(super) pool: Arc<Inner>,
    index: usize,
    jobs: Worker<Job>,
    sleeper: Arc<Sleeper>,
    /// How many jobs it runs: more than one while a job waits for others.
    depth: Cell<u32>,
    /// Whether it counts as busy.
    busy: Cell<bool>,
    ended_ns: Cell<u64>,
    cpu_told_ns: Cell<u64>,
    cpu_told_at_ns: Cell<u64>,
    turn: Cell<u32>,
    noise: Cell<u32>,
}

/// What ends a worker's wait other than a job.
pub(super) struct Until<'a> {
    pub(super) over: &'a dyn Fn() -> bool,
    /// On the boot-time clock.
    pub(super) deadline_ns: Option<u64>,
}

/// One turn in so many begins with the jobs that would else come last. A prime, so that it keeps step with no pattern of the jobs.
const LAST_FIRST: u32 = 61;
/// How often a worker looks for work before it sleeps: first at once, then letting others run. Sleeping and being woken cost more than this.
const LOOKS: u32 = 32;
const LOOKS_AT_ONCE: u32 = 5;
/// How often a busy worker tells its CPU time, for reading the clock is a system call.
const CPU_TOLD_NS: u64 = 10_000_000;

/// The calling thread's worker, if it is one of this pool's.
pub(super) fn here<T>(pool: &Arc<Inner>, ask: impl FnOnce(&Rc<Local>) -> T) -> Option<T> {
    let local = HERE.try_with(|here| here.borrow().clone()).ok()??;
    Arc::ptr_eq(&local.pool, pool).then(|| ask(&local))
}

/// Whether the calling thread is a worker of this pool.
pub(super) fn is_here(pool: &Arc<Inner>) -> bool {
    let is_it = |local: &Rc<Local>| Arc::ptr_eq(&local.pool, pool);
    let asked = HERE.try_with(|here| here.borrow().as_ref().is_some_and(is_it));
    asked.unwrap_or(false)
}

/// Puts a job on top of the calling worker's own queue, or gives it back where the thread is none of this pool's.
pub(super) fn put_here(pool: &Arc<Inner>, job: Job) -> Option<Job> {
    HERE.with(|here| match &*here.borrow() {
        Some(local) if Arc::ptr_eq(&local.pool, pool) => {
            local.jobs.push(job);
            None
        }
        _ => Some(job),
    })
}

/// The thread of a worker, from its first job to its last.
pub(super) fn run(pool: &Arc<Inner>, index: usize, mut jobs: Worker<Job>) {
    affinity::pin(pool, index);
    loop {
        let local = Rc::new(Local {
            pool: Arc::clone(pool),
            index,
            jobs,
            sleeper: Sleeper::mine(index),
            depth: Cell::new(0),
            busy: Cell::new(false),
            ended_ns: Cell::new(0),
            cpu_told_ns: Cell::new(thread_cpu_ns().unwrap_or(0)),
            cpu_told_at_ns: Cell::new(0),
            turn: Cell::new(0),
            noise: Cell::new(0x9e37_79b9 ^ u32::try_from(index).unwrap_or(1)),
        });
        HERE.with(|here| *here.borrow_mut() = Some(Rc::clone(&local)));
        local.serve();
        HERE.with(|here| here.borrow_mut().take());
        let local = Rc::into_inner(local).expect("no job runs that could hold it");
        match pool.leave(index, local.jobs) {
            Some(again) => jobs = again,
            None => return,
        }
    }
}

impl Local {
    /// Runs jobs until its place is gone.
    fn serve(&self) {
        let over = || self.pool.is_over(self.index);
        while !over() {
            let until = Until {
                over: &over,
                deadline_ns: None,
            };
            if let Some(job) = self.next(&until) {
                self.work(job);
            }
        }
        self.rest();
        self.tell_cpu(self.ended_ns.get());
    }

    /// Runs other jobs until it is over, for a job that waits.
    pub(super) fn help(&self, until: &Until<'_>) {
        while !until.is_over() {
            if let Some(job) = self.next(until) {
                self.work(job);
            }
        }
    }

    /// Waits for a job, or until it is over.
    fn next(&self, until: &Until<'_>) -> Option<Job> {
        if let Some(job) = self.find() {
            return Some(job);
        }
        self.rest();
        let mut searching = self.pool.idle.search(self.pool.target());
        loop {
            if searching {
                for look in 0..LOOKS {
                    let found = self.find();
                    if found.is_some() || until.is_over() {
                        self.stop_searching();
                        return found;
                    }
                    breathe(look);
                }
            }
            if self.depth.get() == 0 {
                self.tell_cpu(self.ended_ns.get());
            }
            self.pool.idle.lie_down(&self.sleeper, searching);
            // Whatever came before it lay down woke nobody.
            let wanted = self.pool.has_work() || until.is_over();
            if !(wanted && self.pool.idle.get_up(&self.sleeper)) {
                self.sleep(until);
            }
            searching = true;
        }
    }

    /// Sleeps until it is called, or until it is over. Either way it counts among those who search.
    fn sleep(&self, until: &Until<'_>) {
        loop {
            if self.sleeper.is_called() {
                return;
            }
            if until.is_over() && self.pool.idle.get_up(&self.sleeper) {
                return;
            }
            match until.deadline_ns {
                Some(deadline_ns) => {
                    let left = deadline_ns.saturating_sub(boot_ns());
                    std::thread::park_timeout(Duration::from_nanos(left));
                }
                None => std::thread::park(),
            }
        }
    }

    fn stop_searching(&self) {
        if self.pool.idle.found() && self.pool.has_work() {
            self.pool.idle.call();
        }
    }

    /// Takes the next job, if there is one and it may begin.
    fn find(&self) -> Option<Job> {
        if self.pool.fuse.is_burnt() {
            return None;
        }
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let [high, normal, low] = &self.pool.queues;
        if turn.is_multiple_of(LAST_FIRST) {
            let last = low.take().or_else(|| normal.take());
            if last.is_some() {
                return last;
            }
        }
        high.take()
            .or_else(|| self.jobs.pop())
            .or_else(|| normal.take_some(&self.jobs))
            .or_else(|| self.steal())
            .or_else(|| low.take())
    }

    /// Takes the oldest job of another worker, beginning with any of them.
    fn steal(&self) -> Option<Job> {
        let others = self.pool.reach();
        if others < 2 {
            return None;
        }
        let first = self.draw() % others;
        let stolen = (0..others)
            .map(|step| (first + step) % others)
            .filter(|place| *place != self.index)
            .filter_map(|place| self.pool.stealer(place))
            .find_map(|stealer| {
                if stealer.is_empty() {
                    return None;
                }
                stolen(|| stealer.steal())
            });
        if stolen.is_some() {
            self.figures(|figures| bump(&figures.stolen, 1));
        }
        stolen
    }

    fn draw(&self) -> usize {
        let mut noise = self.noise.get();
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        self.noise.set(noise);
        usize::try_from(noise).unwrap_or(0)
    }

    /// Runs a job, or tells it that it is too late.
    fn work(&self, job: Job) {
        let pool = &*self.pool;
        // Where one job follows the other, the end of the one is the begin of the other, and one look at the clock is saved.
        let started_ns = if self.busy.get() && self.depth.get() == 0 {
            self.ended_ns.get().max(job.arrived_ns)
        } else {
            boot_ns()
        };
        let refusal = if pool.drops() {
            Some(JobError::Closed)
        } else if job.deadline_ns <= started_ns {
            Some(JobError::Late { waited: true })
        } else {
            None
        };
        self.figures(|figures| {
            if !self.busy.replace(true) {
                figures.begin_work(started_ns);
            }
            figures.take(started_ns);
            if refusal.is_none() {
                bump(&figures.started, 1);
            }
        });
        self.depth.set(self.depth.get() + 1);
        let back = deadline::enter(Some(Deadline::at_boot_ns(job.deadline_ns)));
        let work = job.work;
        let call = refusal.map_or(Call::Run, Call::Refuse);
        let left = Cell::new(false);
        let leave = || {
            if !left.replace(true) {
                pool.gate.end(self.index);
            }
        };
        let ended = catch_unwind(AssertUnwindSafe(|| work(call, &leave)));
        drop(back);
        self.depth.set(self.depth.get() - 1);
        let ended_ns = boot_ns();
        self.ended_ns.set(ended_ns);
        self.figures(|figures| match ended {
            Ok(Ended::Completed) if ended_ns <= job.deadline_ns => {
                figures.complete(job.arrived_ns, started_ns, ended_ns);
            }
            Ok(Ended::Completed | Ended::Skipped) => {
                bump(&figures.abandoned, 1);
            }
            Ok(Ended::Failed) => bump(&figures.failed, 1),
            Err(_) => {
                pool.panicked.fetch_add(1, Ordering::Relaxed);
                bump(&figures.failed, 1);
            }
        });
        if ended_ns.saturating_sub(self.cpu_told_at_ns.get()) > CPU_TOLD_NS {
            self.tell_cpu(ended_ns);
        }
        leave();
        pool.one_ended();
    }

    /// It has nothing to do, and is no longer busy since its last job ended.
    fn rest(&self) {
        if self.depth.get() == 0 && self.busy.replace(false) {
            let ended_ns = self.ended_ns.get();
            self.figures(|figures| figures.end_work(ended_ns));
        }
    }

    fn tell_cpu(&self, now_ns: u64) {
        self.cpu_told_at_ns.set(now_ns);
        if let Some(used_ns) = thread_cpu_ns() {
            let before = self.cpu_told_ns.replace(used_ns);
            self.figures(|figures| {
                figures.add_cpu(used_ns.saturating_sub(before));
                self.pool.tell_service(figures.mean_service_us());
            });
        }
    }

    fn figures(&self, count: impl FnOnce(&WorkerFigures)) {
        if let Some(figures) = self.pool.figures_of(self.index) {
            count(figures);
        }
    }
}

impl Until<'_> {
    pub(super) fn is_over(&self) -> bool {
        (self.over)() || self.deadline_ns.is_some_and(|at_ns| boot_ns() >= at_ns)
    }
}

fn breathe(look: u32) {
    if look < LOOKS_AT_ONCE {
        (0..1 << look).for_each(|_| std::hint::spin_loop());
    } else {
        std::thread::yield_now();
    }
}
