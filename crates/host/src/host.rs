//! The host: what a service starts so that it can be tuned.
//!
//! The control side runs on a thread of its own, `trimtab-control`, with a runtime of its own, so that it answers and undoes
//! while every worker of the service is blocked. Starting it changes nothing in the service.

use crate::control::{Control, Identity, Setup};
use crate::governor::Governor;
use crate::part::Part;
use crate::registry::Registry;
use crate::router::Caller;
use crate::server::{self, CONTROL_CONNECTIONS, OPERATOR_CONNECTIONS};
use crate::socket::Socket;
use crate::state_dir::StateDir;
use crate::tasks::RuntimeHandle;
use crate::tcp::TcpDoor;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt};
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_sys::clock::boot_ns;

pub use crate::registry::PartError;
pub use crate::socket::SocketError;
pub use crate::tcp::TcpError;

/// The name of the control socket within its directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// The name of the operator's socket within its directory.
pub const OPERATOR_SOCKET: &str = "operator.sock";
/// How long a confirmed set is held while nobody holds the lease, where nothing else is said.
pub const HOLD_FOR_DEFAULT: Duration = Duration::from_hours(24);
/// The environment variable that switches control off, when it is set to anything but nothing or `0`.
pub const DISABLE_VARIABLE: &str = "TRIMTAB_DISABLE";

/// Why a host did not start. Nothing was changed in the service, which can go on without it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No directory for the sockets was named.
    #[error("a host needs a directory for its sockets")]
    NoSocketDir,
    /// A part cannot be offered.
    #[error(transparent)]
    Part(#[from] PartError),
    /// A socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The control API cannot be had over TCP.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// There was no randomness for the instance's name.
    #[error("the instance has no name")]
    Random(#[source] getrandom::Error),
    /// The control thread could not be started.
    #[error("the control thread did not start")]
    Thread(#[source] io::Error),
}

/// The host and the way to start it.
#[derive(Debug)]
pub struct Host {}

impl Host {
    /// Begins a host for a service of this name.
    pub fn builder(app: &str) -> HostBuilder {
        HostBuilder {
            app: app.to_owned(),
            version: String::new(),
            labels: BTreeMap::new(),
            socket_dir: None,
            state_dir: None,
            tcp: None,
            parts: Vec::new(),
            runtimes: Vec::new(),
            hold_for: HOLD_FOR_DEFAULT,
            disabled: false,
        }
    }
}

/// What a host is to be; see [`Host::builder`].
#[derive(Debug)]
#[must_use]
pub struct HostBuilder {
    app: String,
    version: String,
    labels: BTreeMap<String, String>,
    socket_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    tcp: Option<(SocketAddr, PathBuf)>,
    parts: Vec<Arc<dyn Part>>,
    runtimes: Vec<RuntimeHandle>,
    hold_for: Duration,
    disabled: bool,
}

impl HostBuilder {
    /// The service's version, as the state shows it.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// A word that tells this host from its siblings.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The directory for `control.sock` and `operator.sock`; it is made where it is missing.
    pub fn socket_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(path.into());
        self
    }

    /// The control API over TCP as well, at a loopback address, for a sidecar that cannot reach the socket. Whoever calls there
    /// shows a token of this file, which nobody but the host's user may read; operators' calls are not offered there.
    pub fn tcp(mut self, address: SocketAddr, token_file: impl Into<PathBuf>) -> Self {
        self.tcp = Some((address, token_file.into()));
        self
    }

    /// A directory in which a freeze survives a restart. A file `disable` in it switches control off.
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// A part whose knobs may be turned.
    pub fn part(mut self, part: Arc<dyn Part>) -> Self {
        self.parts.push(part);
        self
    }

    /// An async runtime of the service, whose tasks the state then counts.
    pub fn runtime(mut self, name: &str, handle: Handle) -> Self {
        self.runtimes.push(RuntimeHandle::new(name, handle));
        self
    }

    /// How long a confirmed set is held while nobody holds the lease.
    pub fn hold_for(mut self, hold_for: Duration) -> Self {
        self.hold_for = hold_for;
        self
    }

    /// Starts with control switched off or not; the environment and the state directory can switch it off too.
    pub fn control_disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Starts the control thread and opens the sockets.
    ///
    /// # Errors
    /// See [`HostError`]. A state directory that cannot be used is no error: the state says `freeze_persistent: false`.
    pub fn start(self) -> Result<HostHandle, HostError> {
        let socket_dir = self.socket_dir.ok_or(HostError::NoSocketDir)?;
        let (registry, specs) = Registry::new(self.parts)?;
        let instance = draw_instance().map_err(HostError::Random)?;
        let control_socket = Socket::bind(&socket_dir, CONTROL_SOCKET)?;
        let operator_socket = Socket::bind(&socket_dir, OPERATOR_SOCKET)?;
        let tcp = self
            .tcp
            .map(|(address, tokens)| TcpDoor::open(address, tokens));
        let tcp = tcp.transpose()?.map(Arc::new);
        let (state_dir, freeze_persistent) = open_state_dir(self.state_dir);
        let hold_ns = u64::try_from(self.hold_for.as_nanos()).unwrap_or(u64::MAX);
        let control = Arc::new(Control::new(Setup {
            identity: Identity {
                app: self.app,
                version: self.version,
                labels: self.labels,
                started_ns: boot_ns(),
            },
            registry,
            governor: Governor::new(instance.clone(), specs, hold_ns, boot_ns()),
            state_dir,
            freeze_persistent,
            disabled_from_outside: switches_off(std::env::var_os(DISABLE_VARIABLE).as_deref()),
            runtimes: self.runtimes,
        }));
        control.set_disabled(self.disabled);
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (ended, end) = oneshot::channel();
        let handle = HostHandle {
            instance,
            control_path: control_socket.path.clone(),
            operator_path: operator_socket.path.clone(),
            tcp_address: tcp.as_ref().map(|door| door.address()),
            control: Arc::clone(&control),
            orders,
            end,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let fuses = ClearFuses(Arc::clone(&control));
                let sockets = (control_socket, operator_socket, tcp);
                runtime.block_on(run(control, sockets, inbox));
                runtime.shutdown_background();
                drop(fuses);
                if ended.send(()).is_err() {
                    tracing::debug!("the host ended without anybody waiting for it");
                }
            })
            .map_err(HostError::Thread)?;
        Ok(handle)
    }
}

/// A running host. When it is dropped the host ends: open trials are undone, and the sockets are removed.
#[derive(Debug)]
#[must_use = "the host ends when its handle is dropped"]
pub struct HostHandle {
    instance: InstanceId,
    control_path: PathBuf,
    operator_path: PathBuf,
    tcp_address: Option<SocketAddr>,
    control: Arc<Control>,
    orders: mpsc::Sender<Order>,
    end: oneshot::Receiver<()>,
}

impl HostHandle {
    /// This run of the host.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The socket that a sidecar connects to.
    #[must_use]
    pub fn control_socket(&self) -> &Path {
        &self.control_path
    }

    /// The socket that an operator connects to.
    #[must_use]
    pub fn operator_socket(&self) -> &Path {
        &self.operator_path
    }

    /// Where the control API is over TCP, if it is.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp_address
    }

    /// Rolls open trials back and freezes, as an operator does.
    ///
    /// # Errors
    /// `internal` when the control thread is gone.
    pub async fn freeze(&self, reason: Option<String>) -> Result<OperatorReceipt, Box<Problem>> {
        self.order(|reply| Order::Freeze(FreezeRequest { reason }, reply))
            .await
    }

    /// Lifts the freeze, as an operator does.
    ///
    /// # Errors
    /// `internal` when the control thread is gone, or the file of the freeze cannot be removed.
    pub async fn unfreeze(&self) -> Result<OperatorReceipt, Box<Problem>> {
        self.order(Order::Unfreeze).await
    }

    /// Switches control off or on. Switching it off undoes open trials, soon after the call.
    pub fn set_control_disabled(&self, disabled: bool) {
        self.control.set_disabled(disabled);
    }

    /// Undoes open trials, removes the sockets, and waits until that is done.
    pub async fn shutdown(self) {
        let Self { orders, end, .. } = self;
        drop(orders);
        // An error means that the thread is gone already.
        drop(end.await);
    }

    async fn order(
        &self,
        order: impl FnOnce(Reply) -> Order,
    ) -> Result<OperatorReceipt, Box<Problem>> {
        let gone = || {
            Box::new(Problem::new(
                ProblemKind::Internal,
                "the control thread is gone",
            ))
        };
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

type Reply = oneshot::Sender<Result<OperatorReceipt, Box<Problem>>>;

/// What the service itself asks of the control thread.
#[derive(Debug)]
enum Order {
    Freeze(FreezeRequest, Reply),
    Unfreeze(Reply),
}

const THREAD: &str = "trimtab-control";
/// Orders that may wait; each is carried out before the next is taken.
const ORDERS: usize = 4;

/// Opens the fuses when the control thread ends, however it ends.
struct ClearFuses(Arc<Control>);

impl Drop for ClearFuses {
    fn drop(&mut self) {
        self.0.registry().clear_fuses();
    }
}

/// The control thread's work, until the handle is gone.
async fn run(
    control: Arc<Control>,
    (control_socket, operator_socket, tcp): (Socket, Socket, Option<Arc<TcpDoor>>),
    mut inbox: mpsc::Receiver<Order>,
) {
    let sidecars = server::serve(
        control_socket,
        Arc::clone(&control),
        Caller::Sidecar,
        CONTROL_CONNECTIONS,
    );
    let operators = server::serve(
        operator_socket,
        Arc::clone(&control),
        Caller::Operator,
        OPERATOR_CONNECTIONS,
    );
    let mut servers = vec![tokio::spawn(sidecars), tokio::spawn(operators)];
    if let Some(door) = tcp {
        let control = Arc::clone(&control);
        servers.push(tokio::spawn(server::serve_tcp(door, control)));
    }
    let timers = tokio::spawn(Arc::clone(&control).keep_time());
    let tending = tokio::spawn(Arc::clone(&control).upkeep());
    while let Some(order) = inbox.recv().await {
        let host = Arc::clone(&control);
        let (answer, reply) = match order {
            Order::Freeze(request, reply) => (control.run(host.freeze(request)).await, reply),
            Order::Unfreeze(reply) => (control.run(host.unfreeze()).await, reply),
        };
        // Whoever asked may have gone; it is done all the same.
        drop(reply.send(answer));
    }
    for task in servers {
        task.abort();
        // The task owns the socket, which is removed once the task is gone.
        drop(task.await);
    }
    timers.abort();
    tending.abort();
    control.close().await;
}

fn draw_instance() -> Result<InstanceId, getrandom::Error> {
    let mut bytes = [0_u8; 12];
    getrandom::fill(&mut bytes)?;
    let mut text = String::with_capacity(24);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes what is written to it");
    }
    Ok(InstanceId::from(text))
}

fn open_state_dir(path: Option<PathBuf>) -> (Option<StateDir>, bool) {
    let Some(path) = path else {
        return (None, false);
    };
    let (dir, usable) = StateDir::open(path);
    if let Err(error) = &usable {
        tracing::debug!(%error, "a freeze will not survive a restart");
    }
    (Some(dir), usable.is_ok())
}

fn switches_off(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_switches_off_unless_it_is_empty_or_0() {
        for (value, off) in [("1", true), ("yes", true), ("0", false), ("", false)] {
            assert_eq!(switches_off(Some(OsStr::new(value))), off, "{value}");
        }
        assert!(!switches_off(None));
    }

    #[test]
    fn each_run_has_another_name() {
        let draw = || draw_instance().expect("there is randomness");
        assert_ne!(draw(), draw());
        assert_eq!(draw().as_str().len(), 24);
    }

    #[test]
    fn a_host_needs_a_directory() {
        let host = Host::builder("shop").start();
        assert!(matches!(host, Err(HostError::NoSocketDir)));
    }
}
