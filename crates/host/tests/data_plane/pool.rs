//! A pool: admission, queue, timeout, resize, and what is counted.

use crate::support::{
    apply, assert_drained, busy_and_queued, figures, outcomes, pool, read, settle,
};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};
use trimtab_host::knob::Applied;
use trimtab_host::pool::PoolError;

#[tokio::test(start_paused = true)]
async fn work_runs_up_to_the_limit_and_the_rest_waits_in_order() {
    let pool = pool(2, 10);
    let gate = Arc::new(Semaphore::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let (pool, gate, order) = (pool.clone(), Arc::clone(&gate), Arc::clone(&order));
        tasks.spawn(async move {
            let work = async {
                order.lock().unwrap().push(number);
                gate.acquire().await.unwrap().forget();
            };
            pool.run(work).await.unwrap();
        });
    }
    settle().await;
    assert_eq!(busy_and_queued(&pool), (2, 4));
    assert_eq!(*order.lock().unwrap(), [0, 1]);
    gate.add_permits(1);
    settle().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    gate.add_permits(5);
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(outcomes(&pool), [6, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_turns_work_away_and_says_when_to_come_back() {
    let pool = pool(1, 0);
    let permit = pool.enter().await.unwrap();
    let refused = pool.run(async {}).await;
    let Err(PoolError::Full { retry_after }) = refused else {
        panic!("{refused:?}");
    };
    assert!(retry_after >= Duration::from_millis(1) && retry_after <= Duration::from_secs(30));
    permit.complete();
    pool.run(async {}).await.unwrap();
    assert_eq!(outcomes(&pool), [2, 0, 1, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn one_deadline_covers_waiting_and_running() {
    let pool = pool(1, 10);
    let began = Instant::now();
    let first = pool.run(sleep(Duration::from_secs(20)));
    let second = pool.run(pending::<()>());
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, Ok(()));
    assert_eq!(second, Err(PoolError::TimedOut { waited: false }));
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(outcomes(&pool), [1, 0, 0, 1, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn work_that_waits_too_long_leaves_the_queue() {
    let pool = pool(1, 10);
    let permit = pool.enter().await.unwrap();
    let late = pool.run(async {}).await;
    assert_eq!(late, Err(PoolError::TimedOut { waited: true }));
    assert_eq!(busy_and_queued(&pool), (1, 0));
    permit.complete();
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_new_timeout_applies_to_later_arrivals_only() {
    let pool = pool(2, 0);
    let began = Instant::now();
    let before = pool.clone();
    let earlier = tokio::spawn(async move { before.run(pending::<()>()).await });
    settle().await;
    assert_eq!(apply(&pool, "timeout_ms", 1_000).await, Applied::Done);
    let later = pool.run(pending::<()>()).await;
    assert_eq!(later, Err(PoolError::TimedOut { waited: false }));
    assert_eq!(began.elapsed().as_secs(), 1);
    earlier.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_shrink_of_a_saturated_pool_interrupts_nothing_and_is_paid_as_work_ends() {
    let pool = pool(4, 10);
    let mut running = Vec::new();
    for _ in 0..4 {
        running.push(pool.enter().await.unwrap());
    }
    let waiting = tokio::spawn(pool.enter());
    settle().await;
    assert_eq!(apply(&pool, "workers", 2).await, Applied::Settling);
    assert_eq!(read(&pool, "workers").await, (2, 4));
    for busy in [3, 2] {
        running.pop().unwrap().complete();
        settle().await;
        assert_eq!(busy_and_queued(&pool), (busy, 1));
        assert_eq!(read(&pool, "workers").await, (2, busy));
    }
    running.pop().unwrap().complete();
    settle().await;
    assert_eq!(busy_and_queued(&pool), (2, 0));
    waiting.await.unwrap().unwrap().complete();
    running.pop().unwrap().complete();
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn growth_admits_at_once_whoever_waits() {
    let pool = pool(1, 10);
    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        tasks.spawn(pool.enter());
    }
    settle().await;
    assert_eq!(busy_and_queued(&pool), (1, 4));
    assert_eq!(apply(&pool, "workers", 3).await, Applied::Done);
    assert_eq!(busy_and_queued(&pool), (3, 2));
    apply(&pool, "workers", 8).await;
    assert_eq!(busy_and_queued(&pool), (5, 0));
    for permit in tasks.join_all().await {
        permit.unwrap().complete();
    }
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn what_waits_above_a_lowered_queue_limit_is_kept() {
    let pool = pool(1, 3);
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        tasks.spawn(pool.enter());
    }
    settle().await;
    assert_eq!(apply(&pool, "queue_limit", 1).await, Applied::Settling);
    assert_eq!(read(&pool, "queue_limit").await, (1, 3));
    assert!(pool.enter().await.is_err());
    while let Some(permit) = tasks.join_next().await {
        permit.unwrap().unwrap().complete();
    }
    assert_eq!(read(&pool, "queue_limit").await, (1, 1));
    assert_eq!(outcomes(&pool), [4, 0, 1, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_value_outside_the_bounds_is_refused_and_changes_nothing() {
    let pool = pool(4, 10);
    for (knob, value) in [("workers", 0), ("workers", 513), ("timeout_ms", 99)] {
        let applied = apply(&pool, knob, value).await;
        assert!(matches!(applied, Applied::Refused(_)), "{knob} {value}");
    }
    assert_eq!(read(&pool, "workers").await, (4, 4));
    assert_eq!(read(&pool, "timeout_ms").await, (30_000, 30_000));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_goes_away_costs_no_permit() {
    let pool = pool(1, 10);
    let permit = pool.enter().await.unwrap();
    let (gone, stays) = (tokio::spawn(pool.enter()), tokio::spawn(pool.enter()));
    settle().await;
    gone.abort();
    settle().await;
    assert_eq!(busy_and_queued(&pool), (1, 1));
    permit.complete();
    stays.await.unwrap().unwrap().complete();
    assert_eq!(outcomes(&pool), [2, 0, 0, 0, 1, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_permit_handed_to_a_waiter_that_just_went_away_goes_on_to_the_next() {
    let pool = pool(1, 10);
    let permit = pool.enter().await.unwrap();
    let (gone, stays) = (tokio::spawn(pool.enter()), tokio::spawn(pool.enter()));
    settle().await;
    permit.complete();
    // Handed over, and aborted before its task ran again.
    gone.abort();
    stays.await.unwrap().unwrap().complete();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(outcomes(&pool), [2, 0, 0, 0, 1, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_work_gives_the_permit_back_and_counts_as_failed() {
    let pool = pool(1, 0);
    let worker = pool.clone();
    let panicked = tokio::spawn(async move {
        let work = async { panic!("the work's own mistake") };
        worker.run(work).await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    pool.run(async {}).await.unwrap();
    assert_eq!(outcomes(&pool), [1, 1, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_work_itself_counts_as_failed() {
    let pool = pool(1, 0);
    let good = pool.run_fallible(async { Ok::<_, String>(1) }).await;
    let bad = pool.run_fallible(async { Err::<u8, _>("no") }).await;
    assert_eq!((good, bad), (Ok(Ok(1)), Ok(Err("no"))));
    assert_eq!(outcomes(&pool), [1, 1, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_dropped_half_way_is_abandoned() {
    let pool = pool(1, 0);
    {
        let mut run = std::pin::pin!(pool.run(pending::<()>()));
        tokio::select! {
            biased;
            _ = &mut run => unreachable!("it never ends"),
            () = settle() => {}
        }
        assert_eq!(busy_and_queued(&pool), (1, 0));
    }
    drop(pool.enter().await.unwrap());
    assert_eq!(outcomes(&pool), [0, 0, 0, 0, 2, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn work_that_is_never_polled_never_arrived() {
    let pool = pool(1, 0);
    drop(pool.enter());
    drop(pool.run(async {}));
    assert_eq!(figures(&pool).counters.arrived, Some(0));
}

#[tokio::test(start_paused = true)]
async fn exempt_work_needs_no_worker_and_is_counted() {
    let pool = pool(1, 0);
    let permit = pool.enter().await.unwrap();
    let exempt = pool.exempt();
    assert_eq!(figures(&pool).gauges.tasks, Some(2));
    let turned = permit.into_exempt();
    assert_eq!(busy_and_queued(&pool), (0, 0));
    assert_eq!(figures(&pool).gauges.tasks, Some(2));
    drop((exempt, turned));
    assert_eq!(outcomes(&pool), [0, 0, 0, 0, 0, 2]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_permit_knows_how_much_time_is_left_after_the_wait() {
    let pool = pool(1, 1);
    let permit = pool.enter().await.unwrap();
    let waiting = tokio::spawn(pool.enter());
    settle().await;
    advance(Duration::from_secs(10)).await;
    permit.complete();
    let late = waiting.await.unwrap().unwrap();
    assert_eq!(late.remaining(), Duration::from_secs(20));
    advance(Duration::from_secs(40)).await;
    assert_eq!(late.remaining(), Duration::ZERO);
    late.time_out();
    assert_eq!(outcomes(&pool), [1, 0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn cpu_time_of_the_work_is_told() {
    let pool = pool(1, 0);
    let spin = async {
        let began = trimtab_sys::clock::thread_cpu_ns().unwrap();
        while trimtab_sys::clock::thread_cpu_ns().unwrap() < began + 2_000_000 {}
    };
    pool.run(spin).await.unwrap();
    let cpu_us = figures(&pool).counters.cpu_us.unwrap();
    assert!(cpu_us >= 2_000, "{cpu_us}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_among_threads_while_the_limit_moves() {
    let pool = pool(2, 1_000);
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for turn in 0..200 {
                let work = async {
                    if turn % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                };
                pool.run(work).await.unwrap();
            }
        });
    }
    for turn in 0_u64..400 {
        apply(&pool, "workers", 1 + turn % 7).await;
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert_eq!(outcomes(&pool), [10_000, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}
