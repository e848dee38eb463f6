//! Many schedules of threads that come, wait, end, resize and burn the fuse, on the source of the host's limit.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::{Config, Runner, thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use trimtab_checks::limits::{
    ForgetsWhoCameMeanwhile, GrowsWithoutAWord, Limit, Real, TakesAboveTheLimit,
};

/// Schedules of each sort; fewer of them without optimisation.
const SCHEDULES: usize = if cfg!(debug_assertions) {
    1_000
} else {
    30_000
};

/// Work comes to a limit of one, which grows to two and shrinks again while the work runs.
fn resized<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    let (running, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..3 {
        let (limit, running, done) = (Arc::clone(&limit), Arc::clone(&running), Arc::clone(&done));
        threads.push(thread::spawn(move || {
            let admitted = limit.run(|| {
                assert!(
                    running.fetch_add(1, Ordering::SeqCst) < 2,
                    "more run than were ever allowed"
                );
                thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            });
            assert!(admitted, "there was room in the queue");
            done.fetch_add(1, Ordering::SeqCst);
        }));
    }
    limit.set_workers(2);
    thread::yield_now();
    limit.set_workers(1);
    let mut busy = limit.busy_and_queued().0;
    for _ in 0..3 {
        thread::yield_now();
        let now = limit.busy_and_queued().0;
        assert!(
            now <= busy.max(1),
            "a permit was taken above a limit that had shrunk"
        );
        busy = now;
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("it ended well"));
    assert_eq!(
        (done.load(Ordering::SeqCst), limit.busy_and_queued()),
        (3, (0, 0))
    );
}

/// Who has the only permit waits for one who has none: the limit grows, and the new permit has to be handed over.
fn grown<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    let gate = Arc::new(shuttle::sync::Barrier::new(2));
    let threads = [(); 2].map(|()| {
        let (limit, gate) = (Arc::clone(&limit), Arc::clone(&gate));
        thread::spawn(move || {
            limit.run(|| {
                gate.wait();
            })
        })
    });
    limit.set_workers(2);
    for thread in threads {
        assert!(thread.join().expect("it ended well"));
    }
}

/// Work comes while the fuse is burnt and is mended.
fn burnt<L: Limit>() {
    let limit = Arc::new(L::new(1, 8));
    limit.burn(true);
    let threads = [(); 2].map(|()| {
        let limit = Arc::clone(&limit);
        thread::spawn(move || limit.run(thread::yield_now))
    });
    thread::yield_now();
    limit.burn(false);
    for thread in threads {
        assert!(thread.join().expect("it ended well"));
    }
    assert_eq!(limit.busy_and_queued(), (0, 0));
}

/// Runs it under a scheduler. The counters of a limit are some hundred KiB, which stand on the stack while they are made.
fn run(scheduler: impl Scheduler + 'static, what: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(scheduler, config).run(what);
}

#[test]
fn no_schedule_loses_a_permit_or_a_waiter() {
    for what in [resized::<Real> as fn(), grown::<Real>, burnt::<Real>] {
        run(RandomScheduler::new(SCHEDULES), what);
        run(PctScheduler::new(3, SCHEDULES / 3), what);
    }
}

#[test]
fn a_line_that_is_wrong_in_the_limit_is_found() {
    let bugs: [(&str, fn()); 3] = [
        ("who came meanwhile", resized::<ForgetsWhoCameMeanwhile>),
        ("above the limit", resized::<TakesAboveTheLimit>),
        ("grown", grown::<GrowsWithoutAWord>),
    ];
    for (name, what) in bugs {
        let found = catch_unwind(AssertUnwindSafe(|| run(RandomScheduler::new(10_000), what)));
        assert!(found.is_err(), "{name}: not found");
    }
}
