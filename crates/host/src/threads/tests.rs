//! A pool of threads, with real threads and no guessed times: whatever must happen first is waited for.

use super::*;
use crate::deadline::Deadline;
use crate::part::Part;
mod storm;

use std::sync::mpsc::{Receiver, Sender, channel};
use trimtab_protocol::knob::KnobValue;

/// Longer than any test takes on any machine, and an end to one that hangs.
const LONG: Duration = Duration::from_secs(120);

fn pool(workers: u64, queue_limit: u64) -> ThreadPool {
    ThreadPool::builder("test")
        .workers(workers, 1..=16)
        .queue_limit(queue_limit, 0..=100_000)
        .timeout_ms(120_000, 1..=600_000)
        .scaling(Scaling::Never)
        .build()
        .expect("a valid pool")
}

/// A job that runs until it is let go.
struct Busy {
    go: Sender<()>,
    handle: JobHandle<()>,
}

impl Busy {
    fn begin(pool: &ThreadPool) -> Self {
        let ((go, gone), (began, begins)) = (channel(), channel());
        let job = move || {
            began.send(()).expect("it listens");
            gone.recv().expect("it is let go");
        };
        let handle = pool.submit(job).expect("there is room");
        begins.recv_timeout(LONG).expect("it begins");
        Self { go, handle }
    }

    fn end(self) {
        self.go.send(()).expect("it waits");
        self.handle.wait().expect("it ends well");
    }
}

async fn apply(pool: &ThreadPool, knob: &str, value: u64) {
    let knobs = pool.knobs();
    let knob = knobs.iter().find(|it| it.spec.name.as_str() == knob);
    let value = KnobValue::Integer(value);
    drop(knob.expect("it has it").knob.apply(&value).await);
}

fn resize(pool: &ThreadPool, workers: u64) {
    pool.inner().set_workers(workers).expect("threads");
}

fn ended(pool: &ThreadPool) -> Shutdown {
    pool.shutdown(LONG)
}

#[test]
fn a_job_runs_and_its_result_comes_back() {
    let pool = pool(2, 10);
    let handles: Vec<_> = (0..10_u64)
        .map(|number| pool.submit(move || number * number).expect("room"))
        .collect();
    let results: Vec<_> = handles.into_iter().map(|it| it.wait().unwrap()).collect();
    assert_eq!(results, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
    assert!(ended(&pool).finished);
    let stats = pool.stats();
    assert_eq!((stats.arrived, stats.completed, stats.threads), (10, 10, 0));
}

#[tokio::test]
async fn a_task_awaits_a_job() {
    let pool = pool(1, 10);
    assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
    let failed = pool.submit_fallible(|| Err::<(), _>("no")).unwrap().await;
    assert_eq!(failed, Ok(Err("no")));
    assert!(ended(&pool).finished);
    assert_eq!((pool.stats().completed, pool.stats().failed), (1, 1));
}

#[test]
fn a_full_pool_refuses_and_says_when_to_come_back() {
    let pool = pool(1, 2);
    let busy = Busy::begin(&pool);
    let waiting: Vec<_> = (0..2).map(|_| pool.submit(|| ()).unwrap()).collect();
    let refused = pool.spawn(|| ()).unwrap_err();
    assert!(matches!(refused, JobError::Full { retry_after } if !retry_after.is_zero()));
    let stats = pool.stats();
    assert_eq!((stats.busy, stats.queued, stats.rejected), (1, 2, 1));
    busy.end();
    waiting.into_iter().for_each(|it| it.wait().unwrap());
    assert!(ended(&pool).finished);
}

#[test]
fn without_a_queue_a_free_worker_still_takes_a_job() {
    let pool = pool(1, 0);
    let busy = Busy::begin(&pool);
    assert!(pool.spawn(|| ()).is_err());
    busy.end();
    for _ in 0..1_000 {
        // Whoever has a result finds the place of its job free.
        pool.submit(|| ()).expect("room").wait().expect("done");
    }
}

#[test]
fn urgent_jobs_go_first_and_those_without_hurry_last() {
    let pool = pool(1, 100);
    let busy = Busy::begin(&pool);
    let (said, heard) = channel();
    for priority in [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Normal,
    ] {
        let said = said.clone();
        let job = move || said.send(priority).expect("it listens");
        pool.spawn_at(priority, job).expect("room");
    }
    drop(said);
    busy.end();
    let order: Vec<_> = heard.iter().collect();
    let first_two = [Priority::High, Priority::Normal];
    assert_eq!(order[..2], first_two);
    assert_eq!(order[2..], [Priority::Normal, Priority::Low]);
}

/// A job that hands over the next one, and so on.
fn chain(pool: &ThreadPool, links: u64, done: &Arc<AtomicU64>) {
    let (next, counted) = (pool.clone(), Arc::clone(done));
    let link = move || {
        if counted.fetch_add(1, Ordering::Relaxed) < links {
            chain(&next, links, &counted);
        }
    };
    pool.spawn(link).expect("room");
}

#[test]
fn what_a_job_hands_over_does_not_starve_the_others() {
    let pool = pool(1, 1_000);
    let busy = Busy::begin(&pool);
    let links = Arc::default();
    chain(&pool, 500, &links);
    let seen = Arc::clone(&links);
    let low = pool.submit_at(Priority::Low, move || seen.load(Ordering::Relaxed));
    busy.end();
    let at = low.expect("room").wait().expect("done");
    assert!(at < 100, "it came after {at} links");
    assert!(ended(&pool).finished);
    assert!(links.load(Ordering::Relaxed) > 500);
}

#[test]
fn a_late_job_is_dropped_before_it_begins_and_counted_when_it_runs() {
    let pool = pool(1, 10);
    let busy = Busy::begin(&pool);
    pool.inner().timeout_ms.store(1, Ordering::Relaxed);
    let late = pool.submit(|| ()).unwrap();
    assert_eq!(late.wait(), Err(JobError::Late { waited: false }));
    pool.inner().timeout_ms.store(600_000, Ordering::Relaxed);
    let begun = pool
        .submit(|| Deadline::current().map(Deadline::remaining))
        .unwrap();
    busy.end();
    let left = begun.wait().unwrap().expect("a deadline is in force");
    assert!(left > LONG);
    // A job in time when it begins, whose parent's deadline passes while it runs.
    let runs_late = || Deadline::current().map_or((), |it| while !it.is_past() {});
    let parent = Deadline::after(Duration::from_millis(50));
    let spawned = parent.run(|| pool.spawn(runs_late));
    spawned.expect("room");
    assert!(ended(&pool).finished);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.abandoned, stats.failed), (2, 2, 0));
}

#[test]
fn a_nested_job_never_outlives_its_parent() {
    let pool = pool(2, 10);
    let parent = Deadline::after(Duration::from_secs(60));
    let child = pool.clone();
    let grandchild = move || {
        let nested = child.submit(|| Deadline::current().map(Deadline::remaining));
        nested.unwrap().wait().unwrap()
    };
    let left = parent
        .run(|| pool.submit(grandchild))
        .unwrap()
        .wait()
        .unwrap();
    assert!(left.expect("in force") <= Duration::from_secs(60));
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_any_more_is_not_begun() {
    let pool = pool(1, 10);
    let busy = Busy::begin(&pool);
    let (ran, runs) = channel::<()>();
    drop(
        pool.submit(move || ran.send(()).expect("it listens"))
            .unwrap(),
    );
    busy.end();
    assert!(ended(&pool).finished);
    assert!(runs.recv().is_err());
    assert_eq!(pool.stats().abandoned, 1);
}

#[test]
fn a_panic_is_caught_and_counted_and_the_worker_goes_on() {
    let pool = pool(1, 10);
    let panics = pool.submit(|| panic!("the job's own mistake")).unwrap();
    assert_eq!(panics.wait(), Err(JobError::Panicked));
    assert_eq!(pool.submit(|| 1).unwrap().wait(), Ok(1));
    let forked = pool.fork((0..3).map(|number| move || assert_ne!(number, 1)));
    assert_eq!(forked, [Ok(()), Err(JobError::Panicked), Ok(())]);
    assert_eq!(pool.stats().threads, 1);
    assert!(ended(&pool).finished);
    assert_eq!((pool.stats().panicked, pool.stats().failed), (2, 2));
}

#[test]
fn a_shrink_interrupts_nothing_and_retires_workers_after_their_job() {
    let pool = pool(4, 10);
    let busy: Vec<_> = (0..4).map(|_| Busy::begin(&pool)).collect();
    resize(&pool, 1);
    let stats = pool.stats();
    assert_eq!((stats.workers, stats.threads, stats.busy), (1, 4, 4));
    busy.into_iter().for_each(Busy::end);
    while pool.stats().threads > 1 {
        std::thread::yield_now();
    }
    assert_eq!(pool.submit(|| 7).unwrap().wait(), Ok(7));
    resize(&pool, 3);
    let busy: Vec<_> = (0..3).map(|_| Busy::begin(&pool)).collect();
    busy.into_iter().for_each(Busy::end);
    assert!(ended(&pool).finished);
    assert_eq!(pool.stats().completed, 8);
}

#[tokio::test]
async fn the_knobs_move_at_once_and_settle_as_work_ends() {
    let pool = pool(2, 10);
    let busy: Vec<_> = (0..2).map(|_| Busy::begin(&pool)).collect();
    apply(&pool, "workers", 1).await;
    let read = async || pool.knobs()[0].knob.read().await.expect("it answers");
    assert_eq!(read().await.value, KnobValue::Integer(1));
    assert_eq!(read().await.effective, KnobValue::Integer(2));
    busy.into_iter().for_each(Busy::end);
    while read().await.effective != KnobValue::Integer(1) {
        tokio::task::yield_now().await;
    }
    apply(&pool, "queue_limit", 0).await;
    apply(&pool, "workers", 99).await;
    assert_eq!(pool.stats().workers, 1, "it is out of bounds");
    let busy = Busy::begin(&pool);
    assert!(pool.spawn(|| ()).is_err());
    busy.end();
}

#[test]
fn nothing_begins_while_the_fuse_is_burnt_and_nothing_is_forgotten() {
    let pool = pool(1, 1);
    let fuse = Part::fuse(&pool).expect("it has one");
    fuse.arm(1);
    let waits: Vec<_> = (0..3).map(|_| pool.submit(|| 1).unwrap()).collect();
    let stats = pool.stats();
    assert_eq!((stats.busy, stats.queued), (0, 3));
    fuse.clear();
    let ends: Vec<_> = waits.into_iter().map(JobHandle::wait).collect();
    assert_eq!(ends[..2], [Ok(1), Ok(1)]);
    assert!(matches!(ends[2], Err(JobError::Full { .. })));
    assert!(ended(&pool).finished);
    let stats = pool.stats();
    assert_eq!((stats.arrived, stats.completed, stats.rejected), (3, 2, 1));
}

#[test]
fn a_fork_yields_in_order_also_within_a_fork_and_beyond_the_queue() {
    let pool = pool(2, 3);
    let inner = pool.clone();
    let sums = pool.fork((0..20_u64).map(|outer| {
        let pool = inner.clone();
        move || -> u64 {
            let parts = pool.fork((0..20_u64).map(|inner| move || outer * inner));
            parts.into_iter().map(|part| part.expect("done")).sum()
        }
    }));
    let expected: Vec<_> = (0..20).map(|outer| Ok(outer * 190)).collect();
    assert_eq!(sums, expected);
    drop(inner);
    assert!(ended(&pool).finished);
    let stats = pool.stats();
    assert!(stats.in_place > 0, "the queue holds three");
    // What was refused for want of room ran in place, and so came twice.
    assert_eq!(stats.completed, 20 + 400);
    assert_eq!(stats.arrived, 420 + stats.rejected);
}

#[test]
fn a_short_kind_runs_in_place_and_a_long_one_does_not() {
    let pool = pool(1, 10);
    let here = std::thread::current().id();
    let (short, long) = (JobKind::new(), JobKind::new());
    let thread = |kind: &JobKind| {
        let handle = pool.run_or_inline(kind, || std::thread::current().id());
        handle.expect("open").wait().expect("done")
    };
    assert_ne!(thread(&short), here, "nothing is known yet");
    pool.inner().handover.learn(1_000_000);
    (0..50).for_each(|_| short.learn(100));
    (0..50).for_each(|_| long.learn(900_000_000));
    assert_eq!(thread(&short), here);
    assert_ne!(thread(&long), here);
    assert_eq!(pool.stats().in_place, 1);
    assert!(short.mean_ns() > 0 && pool.stats().handover_ns > 0);
}

#[test]
fn what_the_pool_has_no_room_for_runs_in_place() {
    let pool = pool(1, 0);
    let busy = Busy::begin(&pool);
    let here = std::thread::current().id();
    let handle = pool.run_or_inline(&JobKind::new(), || std::thread::current().id());
    let handle = handle.expect("open");
    assert!(handle.is_done());
    assert_eq!(handle.wait(), Ok(here));
    busy.end();
}

#[test]
fn a_shutdown_waits_for_the_work_and_takes_no_more() {
    let pool = pool(2, 1_000);
    let (said, heard): (Sender<u64>, Receiver<u64>) = channel();
    for number in 0..500 {
        let (said, nested) = (said.clone(), pool.clone());
        let job = move || {
            let after = move || said.send(number).expect("it listens");
            nested.spawn(after).expect("a job's own jobs go on");
        };
        pool.spawn(job).expect("room");
    }
    drop(said);
    let end = ended(&pool);
    assert_eq!((end.finished, end.dropped), (true, 0));
    assert_eq!(heard.iter().count(), 500);
    assert_eq!(pool.spawn(|| ()), Err(JobError::Closed));
    assert_eq!(pool.stats().threads, 0);
}

#[test]
fn a_shutdown_whose_time_is_up_drops_what_waits_and_interrupts_nothing() {
    let pool = pool(1, 10);
    let busy = Busy::begin(&pool);
    let waits: Vec<_> = (0..3).map(|_| pool.submit(|| ()).unwrap()).collect();
    let end = pool.shutdown(Duration::ZERO);
    assert_eq!((end.finished, end.dropped), (false, 3));
    for waiting in waits {
        assert_eq!(waiting.wait(), Err(JobError::Closed));
    }
    busy.end();
    assert!(ended(&pool).finished);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.abandoned), (1, 3));
}

#[test]
fn a_dropped_pool_does_what_it_has_and_ends() {
    let pool = pool(1, 100);
    let inner = Arc::clone(pool.inner());
    let busy = Busy::begin(&pool);
    let (said, heard) = channel();
    for _ in 0..50 {
        let said = said.clone();
        pool.spawn(move || said.send(()).expect("it listens"))
            .unwrap();
    }
    drop((said, pool));
    busy.end();
    assert_eq!(heard.iter().count(), 50);
    assert!(inner.wait_until_gone(LONG));
}

#[test]
fn workers_stay_on_the_cores_that_were_asked_for_or_say_that_they_do_not() {
    let usable = rustix::thread::sched_getaffinity(None).expect("known");
    let core = (0..1_024).find(|core| usable.is_set(*core)).expect("one");
    let pool = |core| {
        let builder = ThreadPool::builder("pinned").workers(2, 1..=2);
        builder.cores([core]).build().expect("a valid pool")
    };
    let pinned = pool(core);
    let allowed = pinned.submit(|| rustix::thread::sched_getaffinity(None));
    let allowed = allowed.unwrap().wait().unwrap().expect("known");
    assert!(allowed.is_set(core) && allowed.count() == 1);
    assert_eq!(pinned.stats().unpinned, 0);
    let nowhere = pool(1_000_000);
    assert_eq!(nowhere.submit(|| 1).unwrap().wait(), Ok(1));
    assert!(ended(&nowhere).finished);
    assert_eq!(nowhere.stats().unpinned, 2);
}
