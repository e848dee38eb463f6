//! The only module that knows all stages: it makes the channels, spawns the tasks, and drains them in order.
//!
//! Only the first stage is told to stop. Each of the others ends because its input has closed, so what was decided is still
//! sent, and what was sent is still recorded.

use crate::act::Act;
use crate::clock::{BootClock, Clock};
use crate::config::Config;
use crate::decide::Decide;
use crate::flame::{Flame, Remember};
use crate::host_client::HostClient;
use crate::record::journal::Journal;
use crate::record::ledger::JsonLines;
use crate::record::{Outlets, Recorder, Retention};
use crate::sense::{Sense, SenseSettings};
use crate::serve;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};
use trimtab_core::controller::Controller;
use trimtab_core::moment::Span;

/// How long the stages may take to end. The host undoes an open trial by itself soon after, when its lease runs out.
const DRAIN: Duration = Duration::from_millis(1_700);

/// Receipts of a few ticks: a lease and at most a few steps each.
const RECEIPTS: usize = 64;
/// Questions that may wait for the stage that carries them to the profiler.
const QUESTIONS: usize = 16;
/// Messages that may wait for record while it works on one.
const RECORDS: usize = 64;

/// Why the sidecar ended other than by being told to.
#[derive(Debug, Error)]
pub enum AppError {
    /// The address for its pages could not be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A stage ended by itself or panicked, which is a bug.
    #[error("the stage `{0}` ended by itself")]
    StageEnded(&'static str),
    /// The stages did not end in time.
    #[error("the sidecar did not end within {} ms", DRAIN.as_millis())]
    Stuck,
}

/// Runs the sidecar until `shutdown` says why it is to end.
///
/// # Errors
/// When its address cannot be had, or a stage fails.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AppError> {
    let address = config.serve.address;
    let (listener, bound) = serve::bind(address)
        .await
        .map_err(|source| AppError::Listen { address, source })?;
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let (stop, stopped) = watch::channel(false);
    let mut stages: JoinSet<&'static str> = JoinSet::new();
    let outlets = spawn_loop(&mut stages, &config, &clock, stopped);
    let (close, closed) = watch::channel(false);
    spawn_serve(&mut stages, &config, listener, outlets, &clock, closed);
    info!(address = %bound, host = %config.settings.host, mode = ?config.settings.mode, "serving");

    let early = tokio::select! {
        why = shutdown => {
            info!(why, "ending");
            None
        }
        ended = stages.join_next() => Some(stage_ended(ended)),
    };
    stop.send_replace(true);
    close.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, drain(&mut stages)).await;
    stages.shutdown().await;
    match (early, drained) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(_)) => Err(AppError::Stuck),
    }
}

/// Spawns sense, decide, act and record, joined by bounded channels.
fn spawn_loop(
    stages: &mut JoinSet<&'static str>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    stopped: watch::Receiver<bool>,
) -> Outlets {
    let settings = &config.settings;
    let interval = settings.interval;
    let (observations, observed) = mpsc::channel(1);
    let (orders, ordered) = mpsc::channel(1);
    let (receipts, received) = mpsc::channel(RECEIPTS);
    let (records, recorded) = mpsc::channel(RECORDS);

    let boot = boot_word(&**clock);
    let ledger = JsonLines::new(&config.ledger.directory, &boot, config.ledger.max_bytes);
    let (recorder, outlets) = Recorder::new(
        &boot,
        Retention::default(),
        Journal::start(Box::new(ledger)),
    );
    let sense = Sense::new(
        SenseSettings {
            host: settings.host.clone(),
            socket: config.socket.clone(),
            interval: Duration::from_nanos(interval.as_ns()),
            deadline: config.call_deadline,
        },
        received,
        Arc::clone(clock),
    );
    let act = Act {
        host: settings.host.clone(),
        holder: settings.holder.clone(),
        lease_ttl_ms: u64::try_from(config.lease_ttl.as_millis()).unwrap_or(u64::MAX),
        client: HostClient::new(config.socket.clone(), config.call_deadline),
        receipts,
        records: records.clone(),
        clock: Arc::clone(clock),
    };
    let controller = Controller::new(settings.clone());
    let decide = Decide {
        controller,
        orders,
        records,
        clock: Arc::clone(clock),
        interval,
    };

    stages.spawn(named("sense", sense.run(observations, until(stopped))));
    stages.spawn(named("decide", decide.run(observed)));
    stages.spawn(named("act", act.run(ordered)));
    stages.spawn(named("record", recorder.run(recorded)));
    outlets
}

fn spawn_serve(
    stages: &mut JoinSet<&'static str>,
    config: &Config,
    listener: TcpListener,
    outlets: Outlets,
    clock: &Arc<dyn Clock>,
    closed: watch::Receiver<bool>,
) {
    let (metrics, clock) = (outlets.metrics, Arc::clone(clock));
    let (flame, asked) = mpsc::channel(QUESTIONS);
    let remember = config.flame.remember.then_some(Remember {
        hz: config.flame.hz,
        bytes_max: config.flame.max_bytes,
    });
    stages.spawn(named(
        "flame",
        Flame::new(remember, outlets.view.clone()).run(asked),
    ));
    let deps = serve::Deps {
        view: outlets.view,
        entries: outlets.entries,
        metrics: Arc::new(move || metrics.render()),
        now: Arc::new(move || clock.now()),
        stale_after: Span::from_ns(config.settings.interval.as_ns().saturating_mul(3)),
        flame,
        own_profile: config.flame.own_profile.clone(),
        names: config.serve.allowed_hosts.clone(),
    };
    stages.spawn(named("serve", async move {
        if let Err(error) = serve::run(listener, deps, until(closed)).await {
            error!(%error, "the pages ended");
        }
    }));
}

async fn named(name: &'static str, stage: impl Future<Output = ()>) -> &'static str {
    stage.await;
    name
}

/// Waits until a switch is on, or whoever holds it is gone.
async fn until(mut switch: watch::Receiver<bool>) {
    if switch.wait_for(|on| *on).await.is_err() {
        warn!("the switch that ends a stage is gone");
    }
}

async fn drain(stages: &mut JoinSet<&'static str>) {
    while let Some(ended) = stages.join_next().await {
        if let Err(error) = ended {
            error!(%error, "a stage failed while ending");
        }
    }
}

fn stage_ended(ended: Option<Result<&'static str, JoinError>>) -> AppError {
    match ended {
        Some(Ok(name)) => AppError::StageEnded(name),
        Some(Err(error)) => {
            error!(%error, "a stage failed");
            AppError::StageEnded("unknown")
        }
        None => AppError::StageEnded("all"),
    }
}

/// A word that no other start of the sidecar has, from the randomness that every hash map starts with.
fn boot_word(clock: &dyn Clock) -> String {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(clock.now().as_boot_ns());
    format!("{:016x}", hasher.finish())
}
