//! The host's process: its pools and other parts, its routes, its control sockets, and its way out.

use super::child::{Process, announce, parent_gone};
use super::downstream::{DownstreamAnnouncement, DownstreamOptions};
use super::jobs::Job;
use super::line::LineClient;
use super::settings::{self, Guesses};
use super::{api, jobs, web};
use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use minijinja::Environment;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use trimtab_host::host::{Host, HostHandle};
use trimtab_host::layer::PoolLayer;
use trimtab_host::memory::Memory;
use trimtab_host::object_pool::ObjectPool;
use trimtab_host::pipeline::Pipeline;
use trimtab_host::pool::{Pool, PoolError};
use trimtab_host::slab::Slab;
use trimtab_host::threads::{JobError, JobKind, ThreadPool};
use trimtab_protocol::state::PoolKind;

/// What the host is started with.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HostOptions {
    /// Where it serves HTTP; port 0 takes a free one.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    pub(crate) listen: SocketAddr,
    /// The directory of its control sockets; without it a new one that is removed at the end.
    #[arg(long)]
    pub(crate) socket_dir: Option<PathBuf>,
    /// End when the standard input closes, as well as on SIGTERM and Ctrl-C.
    #[arg(long)]
    pub(crate) end_with_input: bool,
    /// What the pools start with.
    #[command(flatten)]
    pub(crate) guesses: Guesses,
    /// What the service behind it is like.
    #[command(flatten)]
    pub(crate) downstream: DownstreamOptions,
}

/// What the host says of itself once it serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HostAnnouncement {
    /// Where it serves HTTP.
    pub(crate) http: SocketAddr,
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// Its process id.
    pub(crate) pid: u32,
}

/// What the handlers work with.
pub(crate) struct Service {
    pub(crate) downstream: Arc<LineClient>,
    pub(crate) templates: Environment<'static>,
    /// Buffers into which pages are rendered.
    pub(crate) pages: ObjectPool<Vec<u8>>,
    /// Chunks into which receipts are compressed.
    pub(crate) receipts: Slab,
    /// Real threads for what computes, and how long such a job takes.
    pub(crate) computing: ThreadPool,
    pub(crate) digesting: JobKind,
    /// Exports.
    pub(crate) background: Pipeline<Job>,
    /// How long a client is kept waiting for the end of its job.
    pub(crate) job_patience: Duration,
    /// How many jobs were submitted.
    pub(crate) jobs: AtomicU64,
}

/// Serves until it is told to end, then finishes what it has begun.
pub(crate) async fn run(options: &HostOptions) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("no directory for sockets and exports")?;
    let socket_dir = match &options.socket_dir {
        Some(directory) => directory.clone(),
        None => scratch.path().to_path_buf(),
    };
    let (downstream, behind) = start_downstream(&options.downstream).await?;

    let guesses = &options.guesses;
    let web = guesses.web.pool("web", PoolKind::Web)?;
    let api = guesses.api.pool("api", PoolKind::Api)?;
    let downstream_client = Arc::new(LineClient::new(behind.address));
    let exports = scratch.path().to_path_buf();
    let service = Arc::new(Service {
        templates: web::templates()?,
        pages: settings::page_buffers()?,
        receipts: settings::receipt_chunks()?,
        computing: settings::computing()?,
        digesting: JobKind::new(),
        background: jobs::pipeline(guesses.background, Arc::clone(&downstream_client), exports)?,
        job_patience: Duration::from_millis(guesses.background.timeout_ms),
        downstream: downstream_client,
        jobs: AtomicU64::new(0),
    });
    let control = offer(&service, [&web, &api], &socket_dir, scratch.path())?;

    let listener = TcpListener::bind(options.listen).await?;
    announce(&HostAnnouncement {
        http: listener.local_addr()?,
        socket: socket_dir.join("control.sock"),
        pid: std::process::id(),
    })?;
    axum::serve(listener, routes(Arc::clone(&service), web, api))
        .with_graceful_shutdown(told_to_end(options.end_with_input)?)
        .await?;
    service.background.close().await;
    control.shutdown().await;
    downstream.end().await
}

/// Offers all parts to whoever tunes them.
fn offer(
    service: &Service,
    pools: [&Pool; 2],
    socket_dir: &Path,
    state_dir: &Path,
) -> anyhow::Result<HostHandle> {
    let mut builder = Host::builder("reference")
        .version(env!("CARGO_PKG_VERSION"))
        .socket_dir(socket_dir)
        .state_dir(state_dir)
        .part(Arc::new(service.pages.clone()))
        .part(Arc::new(service.receipts.clone()))
        .part(Arc::new(service.computing.clone()))
        .runtime("main", tokio::runtime::Handle::current());
    for pool in pools {
        builder = builder.part(Arc::new(pool.clone()));
    }
    for stage in service.background.parts() {
        builder = builder.part(stage);
    }
    // On a machine with neither jemalloc nor glibc the process has one knob less.
    if let Ok(memory) = Memory::detect() {
        builder = builder.part(Arc::new(memory));
    }
    Ok(builder.start()?)
}

/// The routes, those of web and api each in their pool. Jobs enter theirs by themselves, after the request was answered.
fn routes(service: Arc<Service>, web: Pool, api: Pool) -> Router {
    let pages = Router::new()
        .route("/pages/{customer}", get(web::page))
        .layer(PoolLayer::new(web));
    let payments = Router::new()
        .route("/payments/{from}/{to}/{amount}", post(api::payment))
        .layer(PoolLayer::new(api));
    Router::new()
        .merge(pages)
        .merge(payments)
        .route("/jobs", post(jobs::submit))
        .with_state(service)
}

/// Starts this very binary again, as the service behind the host.
async fn start_downstream(
    options: &DownstreamOptions,
) -> anyhow::Result<(Process, DownstreamAnnouncement)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("downstream").args(options.to_args());
    Process::start(&mut command).await
}

/// Registers for the signals now, and yields what waits for them.
fn told_to_end(with_input: bool) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = parent_gone(), if with_input => {}
        }
    })
}

/// Why a request got no result: the pool's refusal, or what went wrong in the work.
#[derive(Debug)]
pub(crate) struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let status = match self.0.downcast_ref() {
            Some(PoolError::Full { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Some(_) => StatusCode::GATEWAY_TIMEOUT,
            None => match self.0.downcast_ref() {
                Some(JobError::Full { .. } | JobError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
                Some(JobError::Late { .. }) => StatusCode::GATEWAY_TIMEOUT,
                _ if self.0.downcast_ref().is_some_and(late) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
        };
        (status, format!("{:#}", self.0)).into_response()
    }
}
