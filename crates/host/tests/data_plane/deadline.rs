//! Deadlines: a default, a maximum, and what nested calls inherit; in virtual time.

use crate::support::{apply, assert_drained, outcomes, pool, settle};
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use trimtab_host::deadline::Deadline;
use trimtab_host::part::Part;
use trimtab_host::pool::{Pool, PoolError};

const LATE: Result<(), PoolError> = Err(PoolError::TimedOut { waited: false });

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A pool with a timeout of 1 s, and a maximum of 3 s.
fn capped() -> Pool {
    Pool::builder("capped")
        .workers(2, 1..=8)
        .timeout_ms(1_000, 100..=10_000)
        .timeout_max_ms(3_000, 100..=10_000)
        .build()
        .expect("a valid pool")
}

/// Whether some time is as long as it should be. The moments between the arrival and the first wait pass on the real clock and are taken
/// off, which even on a machine that stands still for a while is less than this allows.
fn is_about(time: Duration, expected: Duration) -> bool {
    time <= expected + ms(1) && time + ms(90) > expected
}

/// How long a call that never ends by itself goes on, to a tenth of a second.
async fn lasts<T: PartialEq + std::fmt::Debug>(call: impl Future<Output = T>, end: T) -> u64 {
    let began = Instant::now();
    assert_eq!(call.await, end);
    let lasted = began.elapsed();
    let rounded = u64::try_from(lasted.as_millis())
        .expect("short")
        .div_ceil(100)
        * 100;
    assert!(is_about(lasted, ms(rounded)), "{lasted:?}");
    rounded
}

#[tokio::test(start_paused = true)]
async fn the_default_holds_where_the_caller_asks_for_nothing_and_the_maximum_where_it_asks_for_more()
 {
    let pool = capped();
    assert_eq!(lasts(pool.run(pending()), LATE).await, 1_000);
    let asked = |time| lasts(pool.run_within(time, pending()), LATE);
    assert_eq!(asked(ms(400)).await, 400);
    assert_eq!(asked(ms(2_000)).await, 2_000);
    assert_eq!(asked(ms(60_000)).await, 3_000);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn both_can_be_changed_live_for_calls_that_start_later() {
    let pool = capped();
    let began = Instant::now();
    let running = pool.run(pending());
    let changes = async {
        sleep(ms(500)).await;
        apply(&pool, "timeout_ms", 200).await;
        apply(&pool, "timeout_max_ms", 300).await;
        let asked = lasts(pool.run_within(ms(9_000), pending()), LATE);
        let default = lasts(pool.run(pending()), LATE);
        tokio::join!(default, asked)
    };
    let (first, then) = tokio::join!(running, changes);
    assert_eq!((first, then), (LATE, (200, 300)));
    assert_eq!(
        began.elapsed(),
        ms(1_000),
        "a deadline once given never moves"
    );
    apply(&pool, "timeout_ms", 5_000).await;
    assert_eq!(lasts(pool.run(pending()), LATE).await, 300);
    let knobs = pool.knobs();
    let names = knobs.iter().map(|knob| knob.spec.name.as_str());
    assert!(names.eq(["workers", "queue_limit", "timeout_ms", "timeout_max_ms"]));
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_never_outlives_its_parent() {
    let (outer, inner) = (capped(), pool(4, 4));
    let began = Instant::now();
    let nested = async {
        sleep(ms(600)).await;
        // Asks for ten seconds and gets what its parent has left, also in a task of its own.
        let task = inner.clone();
        let spawned = trimtab_host::spawn(async move {
            let end = task.run_within(ms(10_000), pending()).await;
            (end, Instant::now())
        });
        let left = Deadline::current().expect("in force").remaining();
        (left, spawned)
    };
    let (left, spawned) = outer.run(nested).await.expect("in time");
    assert!(is_about(left, ms(400)));
    let (end, at) = spawned.await.expect("it ends well");
    assert_eq!(end, LATE);
    assert!(is_about(at - began, ms(1_000)));
    assert!(Deadline::current().is_none());
    assert_drained(&inner);
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_that_waits_is_given_up_with_its_parent() {
    let (outer, inner) = (capped(), pool(1, 4));
    let held = inner.enter().await.expect("free");
    let nested = inner.clone();
    let waits = outer.run(async move {
        let child = trimtab_host::spawn(async move { nested.run(pending::<()>()).await });
        child.await.expect("it ends well")
    });
    let began = Instant::now();
    let ended = waits.await;
    assert!(is_about(began.elapsed(), ms(1_000)));
    assert!(ended.is_err() || ended == Ok(Err(PoolError::TimedOut { waited: true })));
    settle().await;
    assert_eq!(outcomes(&inner)[3], 1);
    held.complete();
    assert_drained(&inner);
}

#[tokio::test(start_paused = true)]
async fn a_permit_tells_its_deadline_and_what_is_left() {
    let pool = capped();
    let permit = pool.enter_within(ms(700)).await.expect("free");
    assert!(permit.remaining() <= ms(700));
    let bound = permit.deadline().bound(pending::<()>()).await;
    assert!(bound.is_err());
    permit.time_out();
    assert_eq!(outcomes(&pool)[3], 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_deadlines_in_any_order_are_all_kept() {
    let pool = pool(8, 0);
    let started = Instant::now();
    apply(&pool, "workers", 8).await;
    for round in 0..125_u64 {
        let calls = (0..8_u64).map(|number| {
            let time = ms(100 * (1 + (round * 8 + number).wrapping_mul(7_919) % 50));
            let pool = pool.clone();
            tokio::spawn(async move { (lasts(pool.run_within(time, pending()), LATE).await, time) })
        });
        for call in calls.collect::<Vec<_>>() {
            let (lasted, asked) = call.await.expect("it ends well");
            assert_eq!(ms(lasted), asked);
        }
    }
    assert!(started.elapsed() > ms(1_000));
    assert_drained(&pool);
}
