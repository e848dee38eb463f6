//! What a resize costs, and that it loses nothing: 8 workers to 512 and back under a load that always waits.
//!
//! Goal: the median call takes effect within 1 ms, and every piece of work ends well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use trimtab_host::knob::Knob;
use trimtab_host::part::Part;
use trimtab_host::pool::Pool;
use trimtab_protocol::knob::KnobValue;
use trimtab_sys::clock::boot_ns;

const RESIZES: u32 = 200;
const TASKS: usize = 700;
const SMALL: u64 = 8;
const LARGE: u64 = 512;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let pool = Pool::builder("bench")
        .workers(SMALL, 1..=LARGE)
        .build()
        .expect("a valid pool");
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut done = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let work = tokio::time::sleep(Duration::from_millis(2));
                pool.run(work).await.expect("there is room for all");
                done += 1;
            }
            done
        });
    }
    let knob = Arc::clone(&pool.knobs()[0].knob);
    let (mut grown, mut shrunk) = (Vec::new(), Vec::new());
    let mut admitted = 0;
    for _ in 0..RESIZES {
        tokio::time::sleep(Duration::from_millis(5)).await;
        grown.push(resize(&*knob, LARGE).await);
        admitted += u32::from(busy(&pool) > SMALL);
        tokio::time::sleep(Duration::from_millis(5)).await;
        shrunk.push(resize(&*knob, SMALL).await);
    }
    stop.store(true, Ordering::Relaxed);
    let done: u64 = tasks.join_all().await.into_iter().sum();
    tell(&pool, done, admitted, grown, shrunk);
}

/// Sets the limit and answers how long the call took, in microseconds. It has taken effect when it returns: a larger limit has
/// handed its permits out, and a smaller one admits nobody above it.
async fn resize(knob: &dyn Knob, workers: u64) -> u64 {
    let began = boot_ns();
    knob.apply(&KnobValue::Integer(workers)).await;
    (boot_ns() - began) / 1_000
}

fn busy(pool: &Pool) -> u64 {
    pool.figures(boot_ns()).gauges.busy.unwrap_or(0)
}

#[expect(clippy::print_stdout, reason = "a bench speaks to its reader")]
fn tell(pool: &Pool, done: u64, admitted: u32, grown: Vec<u64>, shrunk: Vec<u64>) {
    let counters = pool.figures(boot_ns()).counters;
    assert_eq!(counters.completed, Some(done), "every piece of work ended");
    assert_eq!(counters.arrived, Some(done), "and nothing else arrived");
    println!(
        "growth {SMALL} -> {LARGE}: median {} us; waiting work ran at once after {admitted} of {RESIZES} calls",
        median(grown)
    );
    println!(
        "shrink {LARGE} -> {SMALL}: median {} us; all {done} pieces of work ended well",
        median(shrunk)
    );
}

fn median(mut calls: Vec<u64>) -> u64 {
    calls.sort_unstable();
    calls[calls.len() / 2]
}
