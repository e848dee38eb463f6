//! Many threads at once, and resizes, trials and refusals all the while: every job runs or is refused, exactly once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::thread::{self, ThreadId};

/// Runs jobs from several threads while another does something to the pool, until all have come. Answers how often each ran.
fn storm(pool: &ThreadPool, bringers: usize, each: usize, mut meanwhile: impl FnMut(u64)) -> u64 {
    let ran: Arc<Vec<AtomicU64>> =
        Arc::new((0..bringers * each).map(|_| AtomicU64::new(0)).collect());
    let refused = AtomicU64::new(0);
    let left = AtomicUsize::new(bringers);
    thread::scope(|scope| {
        for bringer in 0..bringers {
            let (ran, refused, left) = (&ran, &refused, &left);
            scope.spawn(move || {
                for number in 0..each {
                    let (ran, number) = (Arc::clone(ran), bringer * each + number);
                    let priority = [Priority::High, Priority::Normal, Priority::Low][number % 3];
                    let nested = (number % 7 == 0).then(|| pool.clone());
                    let job = move || {
                        ran[number].fetch_add(1, Ordering::Relaxed);
                        if let Some(pool) = nested {
                            // Refused or not, it is counted by the pool.
                            pool.spawn(|| ()).unwrap_or(());
                        }
                    };
                    if pool.spawn_at(priority, job).is_err() {
                        refused.fetch_add(1, Ordering::Relaxed);
                        thread::yield_now();
                    }
                }
                left.fetch_sub(1, Ordering::Release);
            });
        }
        let mut turn = 0;
        while left.load(Ordering::Acquire) > 0 {
            meanwhile(turn);
            turn += 1;
            thread::yield_now();
        }
    });
    assert!(ended(pool).finished, "a job is stuck: {:?}", pool.stats());
    let once: u64 = ran.iter().map(|ran| ran.load(Ordering::Relaxed)).sum();
    assert!(
        ran.iter().all(|ran| ran.load(Ordering::Relaxed) <= 1),
        "one ran twice"
    );
    let brought = u64::try_from(bringers * each).expect("few");
    assert_eq!(once + refused.into_inner(), brought, "one was lost");
    let stats = pool.stats();
    assert_eq!(stats.arrived, stats.completed + stats.rejected);
    assert_eq!((stats.queued, stats.busy, stats.threads), (0, 0, 0));
    once
}

#[test]
fn a_storm_of_resizes_loses_nothing() {
    let pool = pool(8, 100_000);
    let ran = storm(&pool, 4, 20_000, |turn| resize(&pool, 1 + turn * 7 % 16));
    assert_eq!(ran, 80_000, "there was room for all");
}

#[test]
fn a_small_queue_refuses_and_loses_nothing() {
    let pool = pool(2, 4);
    let ran = storm(&pool, 3, 5_000, |_| ());
    assert!(ran > 0);
}

#[test]
fn trials_that_come_and_go_lose_nothing() {
    let pool = pool(2, 100_000);
    let fuse = Part::fuse(&pool).expect("it has one");
    storm(&pool, 2, 10_000, |turn| {
        fuse.arm(1);
        resize(&pool, 1 + turn % 3);
        fuse.clear();
    });
}

#[test]
fn jobs_that_come_one_by_one_each_wake_someone() {
    let pool = pool(4, 10);
    for number in 0..3_000_u64 {
        assert_eq!(pool.submit(move || number).unwrap().wait(), Ok(number));
    }
    assert!(ended(&pool).finished);
    assert_eq!(pool.stats().completed, 3_000);
}

#[test]
fn what_one_worker_holds_the_others_take() {
    let pool = pool(4, 10_000);
    let inner = pool.clone();
    let whose = pool.submit(move || {
        // All of these lie in the queue of the worker that runs this, and it does not get to them.
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let ((met, meets), pool) = (channel(), inner.clone());
                let handle = pool.submit(move || {
                    met.send(()).expect("it listens");
                    thread::current().id()
                });
                (handle.unwrap(), meets)
            })
            .collect();
        let here = thread::current().id();
        let mut threads: BTreeMap<String, ThreadId> = BTreeMap::new();
        for (_, meets) in &handles {
            meets.recv_timeout(LONG).expect("another worker takes it");
        }
        for (handle, _) in handles {
            let id = handle.wait().unwrap();
            threads.insert(format!("{id:?}"), id);
        }
        threads.values().all(|id| *id != here)
    });
    assert!(whose.unwrap().wait().unwrap());
    assert!(pool.stats().stolen >= 3);
}

#[test]
fn figures_read_in_a_storm_never_go_backwards_and_add_up() {
    let pool = pool(3, 100_000);
    let mut last = pool.inner().read(boot_ns()).counters;
    storm(&pool, 3, 10_000, |_| {
        let now = pool.inner().read(boot_ns()).counters;
        for (what, before, after) in [
            ("arrived", last.arrived, now.arrived),
            ("started", last.started, now.started),
            ("completed", last.completed, now.completed),
            ("busy_us", last.busy_us, now.busy_us),
            ("wait_us", last.wait_us, now.wait_us),
            ("cpu_us", last.cpu_us, now.cpu_us),
        ] {
            assert!(after >= before, "{what}: {after:?} after {before:?}");
        }
        assert!(now.completed <= now.started && now.started <= now.arrived);
        last = now;
    });
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    EndAll,
    Workers(u64),
    QueueLimit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Begin),
        1 => Just(Step::EndAll),
        2 => (1_u64..6).prop_map(Step::Workers),
        2 => (0_u64..6).prop_map(Step::QueueLimit),
    ]
}

fn end_all(held: &mut Vec<(Sender<()>, JobHandle<()>)>) {
    let (gos, handles): (Vec<_>, Vec<_>) = held.drain(..).unzip();
    drop(gos);
    handles.into_iter().for_each(|it| it.wait().expect("done"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_pool_holds_what_its_limits_say_whatever_happened_before(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let pool = pool(2, 2);
        let (mut workers, mut places, mut held) = (2, 2, Vec::new());
        let (mut arrived, mut refused) = (0, 0);
        for step in steps {
            match step {
                Step::Begin => {
                    let (go, gone) = channel::<()>();
                    let room = held.len() < workers + places;
                    let handle = pool.submit(move || gone.recv().unwrap_or(()));
                    prop_assert_eq!(handle.is_ok(), room);
                    arrived += 1;
                    refused += u64::from(!room);
                    held.extend(handle.ok().map(|handle| (go, handle)));
                }
                Step::EndAll => end_all(&mut held),
                Step::Workers(number) => {
                    resize(&pool, number);
                    workers = usize::try_from(number).unwrap();
                }
                Step::QueueLimit(number) => {
                    pool.inner().queue_limit.store(number, Ordering::Release);
                    places = usize::try_from(number).unwrap();
                }
            }
        }
        end_all(&mut held);
        prop_assert!(ended(&pool).finished);
        let stats = pool.stats();
        let expected = (arrived, refused, arrived - refused);
        prop_assert_eq!((stats.arrived, stats.rejected, stats.completed), expected);
    }
}
