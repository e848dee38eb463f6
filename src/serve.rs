//! Serve shows what the sidecar knows: to people, to Prometheus, to an orchestrator's probes.
//!
//! It is read-only. It reads the newest [`View`] and the live entries, and it never makes record wait:
//! a view is a shared snapshot, and a listener that is too slow is told to read again.
//!
//! | route | what |
//! |---|---|
//! | `/` | the dashboard; the plain page where it is not in the program |
//! | `/plain` | a status page; works without scripts |
//! | `/ui/app.js` | the dashboard's script |
//! | `/ui/app.css` | its style sheet |
//! | `/livez` | 200 while this process answers at all |
//! | `/healthz` | the same under its older name |
//! | `/readyz` | 200 when every check passes, else 503; `?verbose` tells each check as JSON |
//! | `/metrics` | metrics, as OpenMetrics or as plain text, by the `Accept` header |
//! | `/flamegraph` | where the host's time goes, as a picture; `?target=host\|self`, `?host=`, `?type=`, `?seconds=`, `?hz=`, `?from=`, `?until=`, `?thread=`, `?inlined=`, `?view=`, `?format=` |
//! | `/flamegraph/diff` | two remembered times compared; `?a=FROM..UNTIL&b=FROM..UNTIL` |
//! | `/flamegraph/change/{generation}` | the seconds before a change against those after it; `?instance=`, `?seconds=` |
//! | `/heatmap` | the remembered seconds, each with a link to its graph; `?window=` |
//! | `/profile/capabilities` | what can be seen of the host, and what is in the way of more |
//! | `/profile/quality` | how good the last graphs were |
//! | `/debug/pprof/` | what there is for `go tool pprof` |
//! | `/debug/pprof/profile` | where the host's CPU time goes, as a gzipped profile; `?seconds=`, `?hz=`, `?target=` |
//! | `/api/v1/hosts` | the hosts in short |
//! | `/api/v1/hosts/{id}/status` | one host with its pools |
//! | `/api/v1/hosts/{id}/samples` | what was read, oldest first; `?since=MOMENT_NS`, `?limit=` |
//! | `/api/v1/hosts/{id}/decisions` | the ledger in memory, oldest first; `?since=ID`, `?limit=`, `?pool=`, `?action=`, `?entry=` |
//! | `/api/v1/hosts/{id}/history` | a long time as least and most in each column of a chart; `?pool=`, `?from=MS`, `?until=MS`, `?columns=` |
//! | `/api/v1/configuration` | which files are in force, what was refused, what waits for approval |
//! | `/api/v1/configuration/effective` | every key in force with where it is set, and the profiles as they are written |
//! | `/api/v1/configuration/check` | what a profile's text would change; takes POST and applies nothing |
//! | `/api/v1/events` | each new entry as a server-sent event; resumes after `Last-Event-ID` or `?since=ID`; `?status=true` adds each new status |
//!
//! Every route but the check takes GET and HEAD only, and each passes the [`guard`] first. Errors are `application/problem+json`.
//! Connections are accepted by our own loop with its own limits, see [`accept`].

pub mod accept;
mod configuration;
mod dashboard;
pub mod error;
mod events;
mod flame;
pub mod guard;
mod health;
mod history;
mod metrics;
mod overview;
mod page;
mod patience;
mod routes;

use crate::message::FlameCall;
use crate::origin::Scheme;
use crate::serve::accept::Limits;
use crate::serve::guard::Guard;
use crate::tls::Certificates;
use crate::view::{Stored, View};
use axum::Router;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use trimtab_core::moment::{Moment, Span};
use trimtab_protocol::configuration::{DraftVerdict, EffectiveConfiguration, ProfileDraft};

/// How many event streams may be open.
const STREAMS_MAX: usize = 64;

/// Renders the metrics in the OpenMetrics text format.
pub type RenderMetrics = Arc<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

/// Tells the time by the boot-time clock.
pub type Now = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Tells the time for people, in milliseconds since 1970.
pub type WallMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Tells the configuration in force in full. It may read files, so it is not called where something else would wait.
pub type Effective = Arc<dyn Fn() -> EffectiveConfiguration + Send + Sync>;

/// Says what a profile's text would change; nothing where there is no such profile. It may read files, too.
pub type Consider = Arc<dyn Fn(&ProfileDraft) -> Option<DraftVerdict> + Send + Sync>;

/// What serve needs from the others.
#[derive(Clone)]
pub struct Deps {
    /// The newest view.
    pub view: watch::Receiver<Arc<View>>,
    /// Where new entries are announced.
    pub entries: broadcast::Sender<Arc<Stored>>,
    /// Renders the metrics.
    pub metrics: RenderMetrics,
    /// Tells the time.
    pub now: Now,
    /// Tells the time for people.
    pub wall_ms: WallMs,
    /// A host whose last tick is older than this makes the sidecar not ready.
    pub stale_after: Span,
    /// Where the profiler is asked.
    pub flame: mpsc::Sender<FlameCall>,
    /// Where the host offers a profile of itself, if it does.
    pub own_profile: Option<String>,
    /// Tells the configuration in full.
    pub effective: Effective,
    /// Says what a profile's text would change.
    pub consider: Consider,
    /// Further names under which this server may be asked, each as it stands in `Host`, port included where there is one.
    pub names: Vec<String>,
}

impl fmt::Debug for Deps {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Deps")
            .field("stale_after", &self.stale_after)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Who may reach the pages, and how.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// The scheme of its own pages' addresses.
    pub scheme: Scheme,
    /// The certificate; without one the pages are not encrypted.
    pub tls: Option<Arc<Certificates>>,
    /// The file of tokens, one of which has to be shown; nobody has to show one without it.
    pub token_file: Option<PathBuf>,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    deps: Arc<Deps>,
    streams: Arc<Semaphore>,
    /// Texts that are being checked.
    checks: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
}

impl Shared {
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.deps.view.borrow())
    }
}

/// Whether an address may be one that other machines reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This machine alone.
    Loopback,
    /// Others too: a token is asked for, and either there is TLS here or a proxy does it.
    Remote,
}

/// Listens on an address, and says which port it got.
///
/// # Errors
/// The address is beyond its reach, or it cannot be bound.
pub async fn bind(addr: SocketAddr, reach: Reach) -> io::Result<(TcpListener, SocketAddr)> {
    check(addr, reach)?;
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Takes a listener over that somebody else opened, and says where it listens.
///
/// # Errors
/// It listens beyond its reach, or cannot be used.
pub fn adopt(
    listener: std::net::TcpListener,
    reach: Reach,
) -> io::Result<(TcpListener, SocketAddr)> {
    let addr = listener.local_addr()?;
    check(addr, reach)?;
    listener.set_nonblocking(true)?;
    Ok((TcpListener::from_std(listener)?, addr))
}

fn check(addr: SocketAddr, reach: Reach) -> io::Result<()> {
    if addr.ip().is_loopback() || reach == Reach::Remote {
        return Ok(());
    }
    let text = format!("{addr} is not a loopback address, and `serve.allow_remote` is not set");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// Listens where an orchestrator reaches it, on any address, and says which port it got.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind_health(addr: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

/// Serves every route until `shutdown` ends, then lets open requests finish for a moment. `further` routes stand beside them
/// with a guard of their own.
///
/// # Errors
/// The listener's own address cannot be read.
pub async fn run(
    (listener, entrance): (TcpListener, Entrance),
    deps: Deps,
    further: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    let tls = entrance.tls.clone();
    let router = router(deps, listener.local_addr()?, entrance, closing).merge(further);
    accept::run((listener, tls), router, Limits::default(), close, shutdown).await;
    Ok(())
}

/// Serves `/livez`, `/healthz`, `/readyz` and `/metrics` alone, for a listener that an orchestrator can reach. It may be asked
/// under any IP address, for a page that was tricked into asking here would send a name.
pub async fn run_health(listener: TcpListener, deps: Deps, shutdown: impl Future<Output = ()>) {
    let guard = Guard::any_address(&deps.names);
    let (close, closing) = watch::channel(false);
    let router = guard.protect(routes::health_only(deps, closing));
    accept::run((listener, None), router, Limits::health(), close, shutdown).await;
}

/// The routes behind their guard, as [`run`] serves them, for tests and for a caller with its own transport.
pub fn router(
    deps: Deps,
    addr: SocketAddr,
    entrance: Entrance,
    closing: watch::Receiver<bool>,
) -> Router {
    Guard::new(addr, &deps.names, entrance.scheme)
        .with_tokens(entrance.token_file)
        .protect(routes::all(deps, closing))
}

/// Returns once the end is asked for, or once nobody is left to ask for it.
async fn closed(mut closing: watch::Receiver<bool>) {
    drop(closing.wait_for(|closing| *closing).await);
}

#[cfg(test)]
mod tests;
