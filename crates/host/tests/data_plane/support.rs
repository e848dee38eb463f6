//! A small pool and what the tests ask of it.

use std::sync::Arc;
use trimtab_host::fuse::Fuse;
use trimtab_host::knob::{Applied, KnobReading};
use trimtab_host::part::{Part, PartFigures};
use trimtab_host::pool::Pool;
use trimtab_protocol::knob::KnobValue;
use trimtab_sys::clock::boot_ns;

/// A pool of this many workers and places, with a timeout of 30 s.
pub(crate) fn pool(workers: u64, places: u64) -> Pool {
    Pool::builder("web")
        .workers(workers, 1..=512)
        .queue_limit(places, 0..=1_000)
        .timeout_ms(30_000, 100..=600_000)
        .build()
        .expect("a valid pool")
}

/// Sets a knob as the control side does.
pub(crate) async fn apply(pool: &Pool, name: &str, value: u64) -> Applied {
    let knobs = pool.knobs();
    let part = knobs.iter().find(|part| part.spec.name.as_str() == name);
    part.expect("a knob of the pool")
        .knob
        .apply(&KnobValue::Integer(value))
        .await
}

/// Reads a knob: its target and what is in effect.
pub(crate) async fn read(pool: &Pool, name: &str) -> (u64, u64) {
    let knobs = pool.knobs();
    let part = knobs.iter().find(|part| part.spec.name.as_str() == name);
    let KnobReading { value, effective } = part
        .expect("a knob of the pool")
        .knob
        .read()
        .await
        .expect("always readable");
    let number = |value: KnobValue| value.as_integer().expect("a number");
    (number(value), number(effective))
}

pub(crate) fn fuse(pool: &Pool) -> Arc<Fuse> {
    Part::fuse(pool).expect("a pool admits")
}

pub(crate) fn figures(pool: &Pool) -> PartFigures {
    pool.figures(boot_ns())
}

/// What runs, and what waits.
pub(crate) fn busy_and_queued(pool: &Pool) -> (u64, u64) {
    let gauges = figures(pool).gauges;
    (gauges.busy.expect("known"), gauges.queued.expect("known"))
}

/// Completed, failed, rejected, timed out, abandoned, exempt.
pub(crate) fn outcomes(pool: &Pool) -> [u64; 6] {
    let counters = figures(pool).counters;
    [
        counters.completed,
        counters.failed,
        counters.rejected,
        counters.timed_out,
        counters.abandoned,
        counters.exempt,
    ]
    .map(|counter| counter.expect("known"))
}

/// Checks that a pool at rest has lost nothing.
#[track_caller]
pub(crate) fn assert_drained(pool: &Pool) {
    let figures = figures(pool);
    assert_eq!(figures.gauges.busy, Some(0));
    assert_eq!(figures.gauges.queued, Some(0));
    assert_eq!(figures.gauges.tasks, Some(0));
    assert_eq!(
        figures.counters.arrived,
        Some(outcomes(pool).iter().sum::<u64>())
    );
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
