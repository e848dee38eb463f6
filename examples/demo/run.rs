//! One run of the load against one host.

use super::client::Connections;
use super::load::{Arrival, Workload};
use super::tally::Tally;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The most connections for one pool; more than the pools and their queues hold at any size that is of use.
const CONNECTIONS_MAX: usize = 512;
/// How long after a request was due the generator gives it up.
const GIVE_UP: Duration = Duration::from_secs(8);

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunPlan {
    /// How long.
    pub(crate) length: Duration,
    /// The rate in its middle third, as a multiple.
    pub(crate) surge: f64,
    /// What chooses the requests.
    pub(crate) seed: u64,
}

/// Sends each workload's requests when they are due, and yields what came back, by pool.
pub(crate) async fn run(
    host: SocketAddr,
    workloads: &[Workload],
    plan: RunPlan,
    title: String,
) -> anyhow::Result<BTreeMap<&'static str, Tally>> {
    let began = Instant::now();
    let mut runs = JoinSet::new();
    let mut tallies = BTreeMap::new();
    for workload in workloads {
        let tally = Arc::new(Mutex::new(Tally::new(workload.slo)?));
        tallies.insert(workload.pool, Arc::clone(&tally));
        let arrivals = workload.schedule(plan.length, plan.surge, plan.seed);
        runs.spawn(send_all(host, workload.clone(), arrivals, tally, began));
    }
    let bar = progress_bar(plan.length, title);
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            ended = runs.join_next() => match ended {
                Some(ended) => ended??,
                None => break,
            },
            _ = tick.tick() => bar.set_position(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)),
        }
    }
    bar.finish_and_clear();
    Ok(tallies
        .into_iter()
        .map(|(pool, tally)| {
            (
                pool,
                tally.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            )
        })
        .collect())
}

/// Sends one pool's requests, each in a task of its own, and waits until the last was answered or given up.
async fn send_all(
    host: SocketAddr,
    workload: Workload,
    arrivals: Vec<Arrival>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
) -> anyhow::Result<()> {
    let connections = Arc::new(Connections::new(host, CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    for Arrival { due, third, word } in arrivals {
        let due = began + due;
        sleep_until(due).await;
        let request = workload.request(host, word)?;
        let (connections, tally) = (Arc::clone(&connections), Arc::clone(&tally));
        open.spawn(async move {
            let answer = timeout_at(due + GIVE_UP, connections.exchange(request)).await;
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(
                third,
                answer.ok(),
                due.elapsed(),
            );
        });
        while open.try_join_next().is_some() {}
    }
    while let Some(ended) = open.join_next().await {
        ended?;
    }
    Ok(())
}

/// A bar on the terminal; where there is none, nothing is drawn.
fn progress_bar(length: Duration, title: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
        .with_style(style)
        .with_message(title)
}
