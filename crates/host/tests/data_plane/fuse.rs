//! A trial that has ended and not been undone yet: nobody is admitted at its values, and nobody is forgotten afterwards.

use crate::support::{apply, assert_drained, busy_and_queued, fuse, outcomes, pool, settle};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::advance;
use trimtab_host::pool::PoolError;

#[tokio::test(start_paused = true)]
async fn nobody_is_admitted_while_the_fuse_is_burnt() {
    let (pool, mut tasks) = (pool(2, 10), JoinSet::new());
    fuse(&pool).arm(1);
    for _ in 0..3 {
        tasks.spawn(pool.enter());
    }
    settle().await;
    assert_eq!(busy_and_queued(&pool), (0, 3));
    apply(&pool, "workers", 1).await;
    settle().await;
    assert_eq!(busy_and_queued(&pool), (0, 3));
    fuse(&pool).clear();
    assert_eq!(busy_and_queued(&pool), (1, 2));
    while let Some(permit) = tasks.join_next().await {
        permit.unwrap().unwrap().complete();
    }
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_back_while_the_fuse_is_burnt_is_handed_to_nobody() {
    let pool = pool(1, 10);
    let running = pool.enter().await.unwrap();
    let waiting = tokio::spawn(pool.enter());
    settle().await;
    fuse(&pool).arm(1);
    running.complete();
    settle().await;
    assert_eq!(busy_and_queued(&pool), (0, 1));
    fuse(&pool).clear();
    waiting.await.unwrap().unwrap().complete();
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_moved_on_admits_those_who_waited() {
    let pool = pool(1, 10);
    fuse(&pool).arm(1);
    let waiting = tokio::spawn(pool.enter());
    settle().await;
    assert_eq!(busy_and_queued(&pool), (0, 1));
    fuse(&pool).arm(u64::MAX);
    waiting.await.unwrap().unwrap().complete();
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn arrivals_are_judged_by_the_queue_limit_after_the_trial() {
    let pool = pool(1, 2);
    apply(&pool, "queue_limit", 0).await;
    fuse(&pool).arm(1);
    let mut tasks = Vec::new();
    for _ in 0..5 {
        tasks.push(tokio::spawn(pool.enter()));
        settle().await;
    }
    assert_eq!(busy_and_queued(&pool), (0, 5));
    apply(&pool, "queue_limit", 2).await;
    fuse(&pool).clear();
    assert_eq!(busy_and_queued(&pool), (1, 2));
    let mut ended = Vec::new();
    for task in tasks {
        let entered = task.await.unwrap();
        ended.push(entered.map(|permit| permit.complete()).is_ok());
    }
    assert_eq!(ended, [true, true, true, false, false]);
    assert_eq!(outcomes(&pool), [3, 0, 2, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn arrivals_have_the_timeout_after_the_trial() {
    let pool = pool(1, 2);
    let running = pool.enter().await.unwrap();
    apply(&pool, "timeout_ms", 200).await;
    fuse(&pool).arm(1);
    let waiting = tokio::spawn(pool.enter());
    settle().await;
    advance(Duration::from_secs(5)).await;
    settle().await;
    assert_eq!(busy_and_queued(&pool), (1, 1));
    apply(&pool, "timeout_ms", 10_000).await;
    fuse(&pool).clear();
    settle().await;
    advance(Duration::from_secs(4)).await;
    settle().await;
    assert_eq!(busy_and_queued(&pool), (1, 1));
    advance(Duration::from_secs(2)).await;
    let late = waiting.await.unwrap();
    assert_eq!(late.unwrap_err(), PoolError::TimedOut { waited: true });
    running.complete();
    assert_drained(&pool);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_forgotten_while_trials_come_and_go() {
    let pool = pool(2, 1_000);
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for _ in 0..200 {
                pool.run(tokio::task::yield_now()).await.unwrap();
            }
        });
    }
    while !tasks.is_empty() {
        fuse(&pool).arm(1);
        tokio::task::yield_now().await;
        apply(&pool, "workers", 1).await;
        fuse(&pool).clear();
        apply(&pool, "workers", 3).await;
        while let Some(ended) = tasks.try_join_next() {
            ended.unwrap();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(outcomes(&pool), [4_000, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}
