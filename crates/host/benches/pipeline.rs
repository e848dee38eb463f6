//! What a pipeline costs: throughput against one written by hand with tokio's channels.
//!
//! Both have three stages of four workers with bounded queues of 64 between them. By hand each stage's workers share the receiver
//! of an mpsc channel behind an async mutex and send into the next channel: no figures, no knobs, no order, and a panic ends a
//! worker. It is measured with work of three microseconds, as stages have, and with work that does nothing, which shows the bare
//! cost of handing on.
//!
//! Goal: at least 90 % of the throughput of the one by hand, with work of three microseconds.

#[path = "support/pairs.rs"]
mod pairs;
#[path = "support/work.rs"]
mod work;

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use trimtab_host::pipeline::{Pipeline, Stage};
use trimtab_sys::clock::boot_ns;
use work::{steps_of_a_microsecond, work};

const ROUNDS: usize = 25;
const WORKERS: u64 = 4;
const QUEUE: u64 = 64;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    for (what, steps, items) in [
        ("work of 3 us", 3 * steps_of_a_microsecond(), 6_000),
        ("work that does nothing", 0, 40_000),
    ] {
        let rounds = pairs::rounds(
            ROUNDS,
            || thousands_a_second(items, || runtime.block_on(by_hand(steps, items))),
            || thousands_a_second(items, || runtime.block_on(piped(steps, items))),
        );
        pairs::report(&format!("pipeline / by hand, {what}"), "k/s", &rounds);
    }
}

async fn piped(steps: u32, items: u32) -> u64 {
    let stage = |name| {
        Stage::new(name)
            .workers(WORKERS, 1..=64)
            .queue_limit(QUEUE, 1..=1_000)
    };
    let step = move |item| async move { Ok::<_, Infallible>(work(item, steps)) };
    let (pipeline, mut outlet) = Pipeline::builder()
        .stage(stage("one"), step)
        .stage(stage("two"), step)
        .stage(stage("three"), step)
        .build_with_outlet(QUEUE)
        .expect("it can be");
    let sending = tokio::spawn(async move {
        for item in 0..items {
            pipeline.send(item).await.expect("it is open");
        }
        pipeline.close().await;
    });
    let mut came = 0;
    while let Some(item) = outlet.next().await {
        black_box(item);
        came += 1;
    }
    sending.await.expect("no panic");
    came
}

async fn by_hand(steps: u32, items: u32) -> u64 {
    let queue = usize::try_from(QUEUE).expect("small");
    let (first, mut tail) = mpsc::channel::<u32>(queue);
    let mut workers = JoinSet::new();
    for _ in 0..3 {
        let (next, out) = mpsc::channel(queue);
        let shared = Arc::new(Mutex::new(tail));
        for _ in 0..WORKERS {
            let (shared, next) = (Arc::clone(&shared), next.clone());
            workers.spawn(async move {
                loop {
                    let item = shared.lock().await.recv().await;
                    let Some(item) = item else { break };
                    if next.send(work(item, steps)).await.is_err() {
                        break;
                    }
                }
            });
        }
        tail = out;
    }
    let sending = tokio::spawn(async move {
        for item in 0..items {
            first.send(item).await.expect("it is open");
        }
    });
    let mut came = 0;
    while let Some(item) = tail.recv().await {
        black_box(item);
        came += 1;
    }
    sending.await.expect("no panic");
    workers.join_all().await;
    came
}

fn thousands_a_second(items: u32, run: impl FnOnce() -> u64) -> f64 {
    let began = boot_ns();
    let came = run();
    assert_eq!(came, u64::from(items), "all of it must come out");
    f64::from(items) * 1e6 / as_float(boot_ns() - began)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time is known to a few digits"
)]
fn as_float(ns: u64) -> f64 {
    ns as f64
}
