//! The only module that knows all stages: it makes the channels, spawns the tasks, and drains them in order.
//!
//! Only the first stage is told to stop. Each of the others ends because its input has closed, so what was decided is still
//! sent, and what was sent is still recorded.

mod listen;
mod shut;

use crate::act::Act;
use crate::act::operator::Errands;
use crate::clock::{BootClock, Clock};
use crate::config::{Config, NewSet};
use crate::decide::{Calm, Decide};
use crate::flame::{Flame, Keeper, Push, Remember};
use crate::host_client::HostClient;
use crate::intake::door::Door;
use crate::intake::latch::Latch;
use crate::intake::{self, Intake};
use crate::message::{FlameCall, ProfileOrder, Recorded, Ruling};
use crate::record::journal::Journal;
use crate::record::ledger::JsonLines;
use crate::record::past::Past;
use crate::record::{Outlets, Recorder, Retention, starts};
use crate::reload::Reload;
use crate::sense::{Sense, SenseSettings};
use crate::serve::{self, Entrance};
use crate::supervisor::Supervisor;
use crate::tape::Tape;
use crate::tls::TlsFault;
use crate::view::View;
use axum::Router;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info, warn};
use trimtab_core::controller::Controller;
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::Receipt;
use trimtab_core::profile::Settings;
use trimtab_protocol::decision::Mode;

/// How long the stages may take to end. The host undoes an open trial by itself soon after, when its lease runs out.
const DRAIN: Duration = Duration::from_millis(1_700);

/// Receipts of a few ticks: a lease and at most a few steps each.
const RECEIPTS: usize = 64;
/// Operators' words that may wait; they come one at a time.
const RULINGS: usize = 4;
/// Questions that may wait for the stage that carries them to the profiler.
const QUESTIONS: usize = 16;
/// Operators' commands that may wait; there is one at a time, and its parts.
const COMMANDS: usize = 4;
/// How long the disk may take for what an operator told.
const DISK: Duration = Duration::from_secs(2);
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
    /// The certificate that was good when the configuration was read is so no more.
    #[error("the pages cannot be encrypted: {0}")]
    Tls(#[from] TlsFault),
    /// The address for health and metrics could not be had.
    #[error("cannot listen for probes on {address}: {source}")]
    Health {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The recording that was asked for cannot be begun.
    #[error("cannot begin the recording: {0}")]
    Record(io::Error),
    /// A stage ended by itself or panicked, which is a bug.
    #[error("the stage `{0}` ended by itself")]
    StageEnded(&'static str),
    /// The stages did not end in time.
    #[error("the sidecar did not end within {} ms", DRAIN.as_millis())]
    Stuck,
}

/// Runs the sidecar until `shutdown` says why it is to end. With `caged` it shuts itself in as soon as its listeners are open.
///
/// # Errors
/// When its address cannot be had, or a stage fails.
pub async fn run(
    config: Config,
    caged: bool,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AppError> {
    let entrance = listen::entrance(&config)?;
    let (listener, bound) = listen::pages(&config).await?;
    let probes = listen::probes(&config).await?;
    let supervisor = supervisor();
    // The file is made while files may be made; the thread that writes it is shut in with the rest.
    let recording = config.recording.as_deref().map(File::create);
    let recording = recording.transpose().map_err(AppError::Record)?;
    let keeper = if caged { shut::shut_in(&config) } else { None };
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let (stop, stopped) = watch::channel(false);
    let mut stages: JoinSet<&'static str> = JoinSet::new();
    let tape = recording.map(Tape::start);
    let tape = tape.transpose().map_err(AppError::Record)?;
    let (outlets, intake, in_force) = spawn_loop(&mut stages, (&config, tape), &clock, stopped);
    let (close, closed) = watch::channel(false);
    let view = outlets.view.clone();
    spawn_door(&mut stages, &config, &intake, closed.clone());
    let commanded = intake.finish(until(closed.clone()));
    stages.spawn(named("commands", commanded));
    let commands = match &config.intake.token_file {
        Some(file) => {
            let place = (bound, entrance.scheme);
            intake.for_http(place, &config.serve.allowed_hosts, file.clone())
        }
        None => Router::new(),
    };
    let flame = spawn_flame(&mut stages, &config, &clock, &outlets.view, keeper);
    let deps = serve_deps(&config, outlets, &clock, (flame, in_force));
    if let Some(listener) = probes {
        let (deps, closed) = (deps.clone(), until(closed.clone()));
        stages.spawn(named("health", serve::run_health(listener, deps, closed)));
    }
    spawn_serve(&mut stages, (listener, entrance), commands, deps, closed);
    if let Some(supervisor) = supervisor {
        supervisor.ready();
        stages.spawn(named(
            "supervisor",
            follow(supervisor, view, close.subscribe()),
        ));
    }
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
    drop(intake);
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
    (config, tape): (&Config, Option<Tape>),
    clock: &Arc<dyn Clock>,
    stopped: watch::Receiver<bool>,
) -> (Outlets, Intake, watch::Receiver<Arc<Config>>) {
    let settings = &config.settings;
    let interval = settings.interval;
    let (observations, observed) = mpsc::channel(1);
    let (orders, ordered) = mpsc::channel(1);
    let (receipts, received) = mpsc::channel(RECEIPTS);
    let (records, recorded) = mpsc::channel(RECORDS);
    let (wishes, wished) = mpsc::channel(COMMANDS);
    let latch = latch(config);
    let (recorder, outlets, calm_until) = recorder(config, clock);
    let sense = sense(config, clock, received);
    let act = Act {
        host: settings.host.clone(),
        holder: settings.holder.clone(),
        lease_ttl_ms: u64::try_from(config.lease_ttl.as_millis()).unwrap_or(u64::MAX),
        client: HostClient::new(config.control.clone(), config.call_deadline),
        receipts,
        records: records.clone(),
        clock: Arc::clone(clock),
        frozen: latch.subscribe(),
    };
    let frozen = latch.subscribe();
    let (rulings, ruled) = mpsc::channel(RULINGS);
    let (errands, intake) = open_intake(
        config,
        clock,
        latch,
        Wants {
            wishes,
            rulings,
            records: records.clone(),
        },
    );
    let (new_settings, adopted) = mpsc::channel(1);
    let reload = Reload::new(
        config.clone(),
        new_settings,
        records.clone(),
        Arc::clone(clock),
    );
    let in_force = reload.in_force();
    let (controller, calm) = controller(settings, calm_until);
    let decide = Decide {
        controller,
        calm,
        orders,
        records,
        clock: Arc::clone(clock),
        interval,
        frozen,
        tape,
        wishes: wished,
    };

    let told = until(stopped.clone());
    stages.spawn(named("reload", reload.run(sets(config), ruled, told)));
    stages.spawn(named("sense", sense.run(observations, until(stopped))));
    stages.spawn(named("decide", decide.run(observed, adopted)));
    stages.spawn(named("act", act.run(ordered)));
    stages.spawn(named("errands", errands));
    stages.spawn(named("record", recorder.run(recorded)));
    (outlets, intake, in_force)
}

/// The freeze as it stood when the last sidecar ended.
fn latch(config: &Config) -> Latch {
    let latch = Latch::open(&config.ledger.directory, DISK);
    if latch.is_frozen() {
        warn!("an operator froze this sidecar before it was started; only an operator lifts that");
    }
    latch
}

/// What keeps the ledger, with what earlier starts wrote into it, and until when only to watch after a row of crashes.
fn recorder(config: &Config, clock: &Arc<dyn Clock>) -> (Recorder, Outlets, Option<Moment>) {
    let boot = boot_word(&**clock);
    let ledger = JsonLines::new(&config.ledger.directory, &boot, config.ledger.max_bytes);
    let (past, calm_until) = look_back(&config.ledger.directory, clock.now());
    let (recorder, outlets) = Recorder::new(
        &boot,
        Retention::default(),
        Journal::start(Box::new(ledger)),
    );
    (recorder.after(past), outlets, calm_until)
}

fn sense(config: &Config, clock: &Arc<dyn Clock>, receipts: mpsc::Receiver<Receipt>) -> Sense {
    let settings = SenseSettings {
        host: config.settings.host.clone(),
        place: config.control.clone(),
        interval: Duration::from_nanos(config.settings.interval.as_ns()),
        deadline: config.call_deadline,
    };
    Sense::new(settings, receipts, Arc::clone(clock))
}

/// New sets of the configuration's files, as they come. Without a watch the sidecar runs on with what it read.
fn sets(config: &Config) -> Option<mpsc::Receiver<NewSet>> {
    config.watch().unwrap_or_else(|error| {
        warn!(%error, "the configuration's files are not watched");
        None
    })
}

/// The controller, which after a row of crashes only watches for a while.
fn controller(settings: &Settings, calm_until: Option<Moment>) -> (Controller, Option<Calm>) {
    let mut settings = settings.clone();
    let calm = calm_until.map(|until| Calm {
        until,
        mode: std::mem::replace(&mut settings.mode, Mode::Observe),
    });
    (Controller::new(settings), calm)
}

/// Where what operators want goes.
struct Wants {
    wishes: mpsc::Sender<ProfileOrder>,
    rulings: mpsc::Sender<Ruling>,
    records: mpsc::Sender<Recorded>,
}

/// What takes operators' commands, and the task that carries them to the host.
fn open_intake(
    config: &Config,
    clock: &Arc<dyn Clock>,
    latch: Latch,
    wants: Wants,
) -> (impl Future<Output = ()> + Send + use<>, Intake) {
    let (errands, errand) = mpsc::channel(COMMANDS);
    let operators = Errands {
        client: HostClient::new(config.intake.host_socket.clone(), config.call_deadline),
    };
    let intake = Intake::new(intake::Deps {
        host: config.settings.host.clone(),
        latch,
        errands,
        wishes: wants.wishes,
        rulings: Some(wants.rulings),
        records: wants.records,
        clock: Arc::clone(clock),
        patience: config.call_deadline.saturating_add(DISK),
    });
    (operators.run(errand), intake)
}

/// A supervisor that cannot be told is no reason not to run.
fn supervisor() -> Option<Supervisor> {
    Supervisor::of(|name| std::env::var_os(name)).unwrap_or_else(|error| {
        warn!(%error, "the supervisor cannot be told anything");
        None
    })
}

/// Tells the supervisor of each tick until the end is asked for, and then of that.
async fn follow(
    supervisor: Supervisor,
    view: watch::Receiver<Arc<View>>,
    closed: watch::Receiver<bool>,
) {
    tokio::select! {
        () = supervisor.follow(view) => {}
        () = until(closed) => supervisor.stopping(),
    }
}

/// A sidecar without its operator's socket still tunes within all bounds, and the host has a socket for its operators.
fn spawn_door(
    stages: &mut JoinSet<&'static str>,
    config: &Config,
    intake: &Intake,
    closed: watch::Receiver<bool>,
) {
    let path = &config.intake.socket;
    match Door::open(path, &config.intake.uids) {
        Ok(door) => {
            let run = door.run(intake.for_socket(), until(closed));
            stages.spawn(named("door", run));
        }
        Err(error) => {
            error!(path = %path.display(), %error, "no commands are taken: the operator's socket cannot be opened");
        }
    }
}

/// Spawns the stage that carries questions to the profiler; the sender is where they go.
fn spawn_flame(
    stages: &mut JoinSet<&'static str>,
    config: &Config,
    clock: &Arc<dyn Clock>,
    view: &watch::Receiver<Arc<View>>,
    keeper: Option<Keeper>,
) -> mpsc::Sender<FlameCall> {
    let (flame, asked) = mpsc::channel(QUESTIONS);
    let remember = config.flame.remember.then_some(Remember {
        hz: config.flame.hz,
        bytes_max: config.flame.max_bytes,
    });
    let push = config.flame.push.clone().map(|server| Push {
        server,
        name: config.settings.host.to_string(),
    });
    let mut stage = Flame::new(remember, push, Arc::clone(clock), view.clone());
    if let Some(keeper) = keeper {
        stage = stage.kept_by(keeper);
    }
    stages.spawn(named("flame", stage.run(asked)));
    flame
}

fn serve_deps(
    config: &Config,
    outlets: Outlets,
    clock: &Arc<dyn Clock>,
    (flame, in_force): (mpsc::Sender<FlameCall>, watch::Receiver<Arc<Config>>),
) -> serve::Deps {
    let (started, newest) = (config.clone(), in_force.clone());
    // The lock on what is in force is let go before any file is read.
    let now = move |of: &watch::Receiver<Arc<Config>>| Arc::clone(&of.borrow());
    let (metrics, clock, wall) = (outlets.metrics, Arc::clone(clock), Arc::clone(clock));
    serve::Deps {
        view: outlets.view,
        entries: outlets.entries,
        metrics: Arc::new(move || metrics.render()),
        now: Arc::new(move || clock.now()),
        wall_ms: Arc::new(move || wall.wall_ms()),
        stale_after: Span::from_ns(config.settings.interval.as_ns().saturating_mul(3)),
        flame,
        effective: Arc::new(move || now(&newest).effective(&started)),
        consider: Arc::new(move |draft| now(&in_force).consider(draft)),
        own_profile: config.flame.own_profile.clone(),
        names: config.serve.allowed_hosts.clone(),
    }
}

fn spawn_serve(
    stages: &mut JoinSet<&'static str>,
    door: (TcpListener, Entrance),
    commands: Router,
    deps: serve::Deps,
    closed: watch::Receiver<bool>,
) {
    stages.spawn(named("serve", async move {
        if let Err(error) = serve::run(door, deps, commands, until(closed)).await {
            error!(%error, "the pages ended");
        }
    }));
}

/// What earlier starts left behind, and until when this one only watches because they were too many.
fn look_back(ledger: &Path, now: Moment) -> (Past, Option<Moment>) {
    let past = Past::read(ledger).unwrap_or_else(|error| {
        warn!(%error, "the ledger of earlier starts cannot be read");
        Past::default()
    });
    for open in &past.open {
        let (pool, generation) = (&open.pool, open.generation);
        warn!(%pool, %generation, text = %open.text, "an earlier start never heard what came of this; the host's state will tell");
    }
    let starts = starts::note(ledger, now).unwrap_or_else(|error| {
        warn!(%error, "this start cannot be written down");
        1
    });
    let loops = starts >= starts::STARTS_MAX;
    if loops {
        warn!(
            starts,
            "too many starts within a minute: for ten minutes nothing is changed"
        );
    }
    (past, loops.then(|| now.after(starts::CALM)))
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
