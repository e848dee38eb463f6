use super::*;
use crate::knob::Knob;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use trimtab_sys::clock::boot_ns;

async fn keep(number: u64) -> Result<u64, Infallible> {
    Ok(number)
}

fn knob<T: Send>(pipeline: &Pipeline<T>, part: &str, name: &str) -> Arc<dyn Knob> {
    let parts = pipeline.parts();
    let part = parts.iter().find(|it| it.name().as_str() == part).unwrap();
    let knobs = part.knobs();
    let knob = knobs.iter().find(|knob| knob.spec.name.as_str() == name);
    Arc::clone(&knob.unwrap().knob)
}

fn figures<T: Send>(pipeline: &Pipeline<T>, part: &str) -> crate::part::PartFigures {
    let parts = pipeline.parts();
    let part = parts.iter().find(|it| it.name().as_str() == part);
    part.unwrap().figures(boot_ns())
}

async fn all<T>(outlet: &mut Outlet<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(item) = outlet.next().await {
        all.push(item);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_through_every_stage_once() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .stage(Stage::new("double"), |number| keep(number * 2))
        .fan_out(Stage::new("both"), |number| async move {
            Ok::<_, Infallible>(vec![number, number + 1])
        })
        .stage(Stage::new("last").workers(2, 1..=8), keep)
        .build_with_outlet(1_000)
        .unwrap();
    let sender = pipeline.clone();
    let sending = tokio::spawn(async move {
        for number in 0..500 {
            sender.send(number).await.unwrap();
        }
        sender.close().await;
    });
    let mut out = all(&mut outlet).await;
    sending.await.unwrap();
    out.sort_unstable();
    assert_eq!(out, (0..1_000).collect::<Vec<_>>());
    let counters = figures(&pipeline, "both").counters;
    assert_eq!(
        (counters.arrived, counters.completed),
        (Some(500), Some(500))
    );
    assert!(figures(&pipeline, "both").histograms.wait_us.unwrap().count == 500);
}

#[tokio::test(start_paused = true)]
async fn the_order_is_kept_where_it_is_asked_for() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .stage(
            Stage::new("uneven").workers(16, 1..=16).ordered(8),
            |number| async move {
                sleep(Duration::from_millis(number * 37 % 50)).await;
                if number % 10 == 3 {
                    return Err(io::Error::other("a three"));
                }
                Ok(number)
            },
        )
        .build_with_outlet(4)
        .unwrap();
    let sender = pipeline.clone();
    tokio::spawn(async move {
        for number in 0..200 {
            sender.send(number).await.unwrap();
        }
        sender.close().await;
    });
    drop(pipeline);
    let out = all(&mut outlet).await;
    let expected: Vec<u64> = (0..200).filter(|number| number % 10 != 3).collect();
    assert_eq!(out, expected);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stage_holds_back_the_caller() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .stage(
            Stage::new("quick").workers(1, 1..=4).queue_limit(2, 1..=9),
            keep,
        )
        .stage(
            Stage::new("slow").workers(1, 1..=4).queue_limit(2, 1..=9),
            |_| pending::<Result<u64, Infallible>>(),
        )
        .build_with_outlet(1)
        .unwrap();
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_secs(5), pipeline.send(sent))
        .await
        .is_ok()
    {
        sent += 1;
    }
    // One is worked on and two wait before the slow stage; one is held by the quick one, and two wait before it.
    assert_eq!(sent, 6);
    assert!(matches!(pipeline.try_send(9), Err(NotSent::Full(9))));
    assert_eq!(figures(&pipeline, "slow").gauges.queued, Some(2));
    assert_eq!(figures(&pipeline, "quick").counters.rejected, Some(1));
    let nothing = tokio::time::timeout(Duration::from_secs(5), outlet.next()).await;
    assert!(nothing.is_err());
}

#[tokio::test(start_paused = true)]
async fn workers_come_and_go_while_it_runs() {
    let running = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let seen = Arc::clone(&running);
    let pipeline = Pipeline::<()>::builder()
        .stage(
            Stage::new("work")
                .workers(2, 1..=32)
                .queue_limit(500, 1..=500),
            move |()| {
                let seen = Arc::clone(&seen);
                async move {
                    let now = seen.0.fetch_add(1, Ordering::Relaxed) + 1;
                    seen.1.fetch_max(now, Ordering::Relaxed);
                    sleep(Duration::from_secs(1)).await;
                    seen.0.fetch_sub(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(())
                }
            },
        )
        .build()
        .unwrap();
    for _ in 0..200 {
        pipeline.send(()).await.unwrap();
    }
    let workers = knob(&pipeline, "work", "workers");
    let mut most = Vec::new();
    for size in [2_u64, 16, 3] {
        workers.apply(&size.into()).await;
        sleep(Duration::from_millis(2_500)).await;
        most.push(running.0.load(Ordering::Relaxed));
    }
    assert_eq!(most, [2, 16, 3]);
    assert_eq!(workers.read().await.unwrap().effective, 3.into());
    let began = Instant::now();
    pipeline.close().await;
    assert_eq!(figures(&pipeline, "work").counters.completed, Some(200));
    assert!(began.elapsed() > Duration::from_secs(30), "three at a time");
    assert!(matches!(pipeline.send(()).await, Err(Closed(()))));
}

#[tokio::test]
async fn trouble_is_told_and_ends_nothing_else() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .on_trouble(move |trouble| telling.lock().unwrap().push(format!("{trouble:?}")))
        .stage(
            Stage::new("fragile").workers(1, 1..=1).ordered(1),
            |number| {
                assert!(number != 1, "before it has begun");
                async move {
                    assert!(number != 2, "while it runs");
                    if number == 3 {
                        return Err(io::Error::other("in its own words"));
                    }
                    Ok(number)
                }
            },
        )
        .build_with_outlet(10)
        .unwrap();
    for number in 0..5 {
        pipeline.send(number).await.unwrap();
    }
    pipeline.close().await;
    assert_eq!(all(&mut outlet).await, [0, 4]);
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 3);
    assert!(told[0].contains("Panicked") && told[1].contains("Panicked"));
    assert!(told[2].contains("in its own words"));
    assert_eq!(figures(&pipeline, "fragile").counters.failed, Some(3));
}

#[tokio::test]
async fn dropping_the_last_handle_works_off_what_is_in_it() {
    let (done, mut seen) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let pipeline = Pipeline::<u64>::builder()
        .stage(Stage::new("first"), move |number| {
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(number)
            }
        })
        .stage(Stage::new("second"), move |number| {
            let done = done.clone();
            async move { done.send(number) }
        })
        .build()
        .unwrap();
    for number in 0..20 {
        pipeline.send(number).await.unwrap();
    }
    drop(pipeline);
    gate.add_permits(20);
    let mut out = Vec::new();
    while let Some(number) = seen.recv().await {
        out.push(number);
    }
    out.sort_unstable();
    assert_eq!(out, (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_leaves_when_it_is_full_or_has_lingered() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .batch(
            Batch::new("batch")
                .size(3, 1..=10)
                .linger_ms(100, 0..=1_000),
        )
        .build_with_outlet(10)
        .unwrap();
    let began = Instant::now();
    for number in 0..4 {
        pipeline.send(number).await.unwrap();
    }
    assert_eq!(outlet.next().await, Some(vec![0, 1, 2]));
    assert!(began.elapsed() < Duration::from_millis(50));
    assert_eq!(outlet.next().await, Some(vec![3]));
    // The batch before was full at once, so this one was not held for the whole linger.
    assert!(began.elapsed() < Duration::from_millis(50));
    knob(&pipeline, "batch", "batch_size")
        .apply(&1.into())
        .await;
    pipeline.send(9).await.unwrap();
    assert_eq!(outlet.next().await, Some(vec![9]));
    let named = figures(&pipeline, "batch").gauges.named;
    assert_eq!((named["batches"], named["batch_full"]), (3, 2));
    pipeline.close().await;
    assert_eq!(outlet.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_linger_is_a_knob_and_the_rest_leaves_when_it_closes() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .batch(
            Batch::new("batch")
                .size(10, 1..=10)
                .linger_ms(100, 0..=1_000),
        )
        .build_with_outlet(10)
        .unwrap();
    knob(&pipeline, "batch", "linger_ms")
        .apply(&700.into())
        .await;
    let began = Instant::now();
    pipeline.send(1).await.unwrap();
    assert_eq!(outlet.next().await, Some(vec![1]));
    assert_eq!(began.elapsed().as_millis() / 10, 70);
    pipeline.send(2).await.unwrap();
    pipeline.close().await;
    assert_eq!(outlet.next().await, Some(vec![2]));
}

#[tokio::test]
async fn a_key_is_in_a_batch_only_once() {
    let (pipeline, mut outlet) = Pipeline::<(char, u64)>::builder()
        .batch_by_key(
            Batch::new("batch")
                .size(2, 1..=10)
                .linger_ms(1_000, 0..=1_000),
            |(key, _)| {
                assert!(*key != '!', "no key");
                *key
            },
            |kept, later| kept.1 += later.1,
        )
        .build_with_outlet(10)
        .unwrap();
    for item in [('a', 1), ('a', 2), ('!', 3), ('a', 4), ('b', 5), ('a', 6)] {
        pipeline.send(item).await.unwrap();
    }
    assert_eq!(outlet.next().await, Some(vec![('a', 7), ('b', 5)]));
    pipeline.close().await;
    assert_eq!(outlet.next().await, Some(vec![('a', 6)]));
    let figures = figures(&pipeline, "batch");
    assert_eq!(figures.counters.failed, Some(1));
    assert_eq!(figures.gauges.named["batch_merged"], 2);
}

#[tokio::test]
async fn a_stage_that_cannot_be_is_refused() {
    let named = Pipeline::<u64>::builder()
        .stage(Stage::new("a stage"), keep)
        .build();
    assert!(matches!(named, Err(BuildError::Name(_))));
    let none = Pipeline::<u64>::builder()
        .stage(Stage::new("fine"), keep)
        .stage(Stage::new("none").workers(0, 0..=3), keep)
        .build();
    assert!(matches!(none, Err(BuildError::Bounds { .. })));
}

/// Work that fails in each way there is, told to somebody who panics.
#[tokio::test(start_paused = true)]
async fn who_panics_when_told_of_trouble_stops_no_worker() {
    for ordered in [false, true] {
        let stage = Stage::new("fragile").workers(2, 1..=2);
        let stage = if ordered { stage.ordered(2) } else { stage };
        let (pipeline, mut outlet) = Pipeline::<u64>::builder()
            .on_trouble(|trouble| panic!("told of {trouble:?}"))
            .stage(stage, |number| {
                assert!(number % 5 != 1, "before it has begun");
                async move {
                    assert!(number % 5 != 2, "while it runs");
                    if number % 5 == 3 {
                        return Err(io::Error::other("an error"));
                    }
                    Ok(number)
                }
            })
            .build_with_outlet(100)
            .unwrap();
        for number in 0..50 {
            let sent = tokio::time::timeout(Duration::from_secs(60), pipeline.send(number));
            sent.await.expect("the workers go on").unwrap();
        }
        let closed = tokio::time::timeout(Duration::from_secs(60), pipeline.close());
        closed.await.expect("all goes through");
        assert_eq!(all(&mut outlet).await.len(), 20);
        let figures = figures(&pipeline, "fragile");
        assert_eq!(figures.counters.failed, Some(30));
        assert_eq!(figures.gauges.busy, Some(0), "nobody is busy any more");
    }
}

#[tokio::test(start_paused = true)]
async fn who_panics_when_told_of_trouble_costs_no_batch() {
    let (pipeline, mut outlet) = Pipeline::<u64>::builder()
        .on_trouble(|trouble| panic!("told of {trouble:?}"))
        .batch_by_key(
            Batch::new("batch")
                .size(3, 1..=10)
                .linger_ms(1_000, 0..=1_000),
            |number| {
                assert!(*number != 2, "no key");
                *number
            },
            |_, _| (),
        )
        .build_with_outlet(10)
        .unwrap();
    for number in 0..5 {
        pipeline.send(number).await.unwrap();
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), pipeline.close());
    closed.await.expect("all goes through");
    assert_eq!(all(&mut outlet).await, [vec![0, 1, 3], vec![4]]);
}

/// Panics when it is dropped.
struct Touchy;

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "touched");
    }
}

#[tokio::test(start_paused = true)]
async fn what_panics_when_nobody_takes_it_ends_no_worker() {
    let (pipeline, outlet) = Pipeline::<()>::builder()
        .stage(
            Stage::new("touchy").workers(1, 1..=1).ordered(1),
            |()| async { Ok::<_, Infallible>(Touchy) },
        )
        .build_with_outlet(10)
        .unwrap();
    drop(outlet);
    for _ in 0..5 {
        pipeline.send(()).await.unwrap();
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), pipeline.close());
    closed.await.expect("all goes through");
    assert_eq!(figures(&pipeline, "touchy").gauges.busy, Some(0));
}
