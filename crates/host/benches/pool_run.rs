//! What a pool costs: round trips through `Pool::run` against round trips of spawn and await.
//!
//! Goal: `Pool::run` in place has at least 85 % of the throughput of spawn and await. Work that is spawned *and* runs in a pool
//! pays for both; how much that matters depends on the work, so it is shown for work that does nothing and for work of
//! a microsecond.

#[path = "support/pairs.rs"]
mod pairs;
#[path = "support/work.rs"]
mod work;

use std::hint::black_box;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use trimtab_host::pool::Pool;
use trimtab_sys::clock::boot_ns;
use work::{steps_of_a_microsecond, work};

const ROUNDS: usize = 30;
const CALLERS: u32 = 4;
const TRIPS: u32 = 25_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let pool = Pool::builder("bench")
        .workers(64, 1..=512)
        .build()
        .expect("a valid pool");
    compare(&runtime, &pool, "in place", 0, |pool, steps| async move {
        pool.run(compute(steps)).await.ok()
    });
    compare(&runtime, &pool, "in a task", 0, in_a_task);
    compare(
        &runtime,
        &pool,
        "in a task, work of 1 us",
        steps_of_a_microsecond(),
        in_a_task,
    );
}

async fn in_a_task(pool: Pool, steps: u32) -> Option<u32> {
    let run = async move { pool.run(compute(steps)).await };
    tokio::spawn(run).await.expect("it does not panic").ok()
}

fn compare<F>(
    runtime: &Runtime,
    pool: &Pool,
    how: &str,
    steps: u32,
    trip: impl Fn(Pool, u32) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Option<u32>> + Send,
{
    let spawned = || {
        thousands_a_second(runtime, move || async move {
            tokio::spawn(compute(steps)).await.ok()
        })
    };
    let pooled = || {
        let (pool, trip) = (pool.clone(), trip.clone());
        thousands_a_second(runtime, move || trip(pool.clone(), steps))
    };
    let rounds = pairs::rounds(ROUNDS, spawned, pooled);
    pairs::report(&format!("Pool::run {how} / spawn"), "k/s", &rounds);
}

async fn compute(steps: u32) -> u32 {
    work(7, steps)
}

/// Round trips by several callers, in thousands a second.
fn thousands_a_second<T, F>(runtime: &Runtime, trip: impl Fn() -> F + Clone + Send + 'static) -> f64
where
    T: Send,
    F: Future<Output = T> + Send,
{
    let began = boot_ns();
    runtime.block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let trip = trip.clone();
            callers.spawn(async move {
                for _ in 0..TRIPS {
                    black_box(trip().await);
                }
            });
        }
        callers.join_all().await;
    });
    f64::from(CALLERS * TRIPS) * 1e6 / as_float(boot_ns() - began)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time is known to a few digits"
)]
fn as_float(ns: u64) -> f64 {
    ns as f64
}
