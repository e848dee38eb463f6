//! Intake takes operators' commands: it holds every route of the sidecar that changes something.
//!
//! There are two doors. The operator's Unix socket asks the kernel who is at the other end; the HTTP listener takes these
//! routes only when a file of tokens is configured, and then asks for one. See [`door`] and `guard`.
//!
//! | route | what |
//! |---|---|
//! | `/api/v1/hosts/{id}/freeze` | undo open trials, and change nothing until an operator lifts it |
//! | `/api/v1/hosts/{id}/unfreeze` | lift the freeze |
//! | `/api/v1/hosts/{id}/pin` | hold one knob for a time |
//! | `/api/v1/hosts/{id}/unpin` | release it |
//! | `/api/v1/hosts/{id}/reset` | one pool, or all, back to the baseline |
//! | `/api/v1/hosts/{id}/profile` | let a pool follow another profile |
//! | `/api/v1/hosts/{id}/approve` | take the configuration that waits |
//! | `/api/v1/hosts/{id}/reject` | drop it |
//!
//! Every route takes POST with a JSON body, and `?dry_run=true`, which says what would happen and changes nothing. Every
//! command of a caller who is known, dry or not, refused or not, becomes an entry of the ledger: who, from where, when, what,
//! and what came of it. Over the operator's socket GET of `/api/v1/hosts` tells which host this is, so that nobody has to know.
//!
//! A command that was accepted is carried out to its end, in a task of its own, whoever asked for it still waiting or not.
//!
//! Intake decides nothing about sizes. A freeze sets a latch that act and decide look at by themselves, so it waits for
//! neither; calls to the host are made by act, and profiles are changed by decide.

mod ask;
pub mod door;
mod ending;
mod guard;
pub mod latch;
mod preview;
mod routes;
mod work;

use crate::clock::Clock;
use crate::intake::ending::Ending;
use crate::intake::guard::Tokens;
use crate::intake::latch::Latch;
use crate::message::{Errand, ProfileOrder, Recorded, Ruling};
use crate::origin::{Names, Scheme};
use axum::Router;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, mpsc};
use trimtab_protocol::name::HostId;
use trimtab_protocol::problem::{Problem, ProblemKind};

/// Commands that may be under way at once, without freezes.
const SEATS: usize = 32;

/// What intake needs from the others.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The host.
    pub host: HostId,
    /// The freeze of this sidecar.
    pub latch: Latch,
    /// Where calls to the host go.
    pub errands: mpsc::Sender<Errand>,
    /// Where wishes about profiles go.
    pub wishes: mpsc::Sender<ProfileOrder>,
    /// Where an operator's word on a configuration that waits goes; nothing where none ever waits.
    pub rulings: Option<mpsc::Sender<Ruling>>,
    /// Where audit entries go.
    pub records: mpsc::Sender<Recorded>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long a stage or the disk may take to answer. A call to the host has its own deadline, which is shorter.
    pub patience: Duration,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Shared {
    deps: Arc<Deps>,
    /// One command at a time; only a freeze takes effect before it is its turn.
    turn: Arc<Mutex<()>>,
    /// Commands that wait for their turn or run. They go on without their callers, so their number has a bound of its own.
    seats: Arc<Semaphore>,
    ending: Ending,
}

/// Both routers, which share one turn.
#[derive(Clone, Debug)]
pub struct Intake {
    shared: Shared,
}

impl Intake {
    /// Takes commands and hands them on to these.
    #[must_use]
    pub fn new(deps: Deps) -> Self {
        let shared = Shared {
            deps: Arc::new(deps),
            turn: Arc::default(),
            seats: Arc::new(Semaphore::new(SEATS)),
            ending: Ending::default(),
        };
        Self { shared }
    }

    /// Waits until `shutdown` ends, and then lets the commands that run finish for a moment. Those that take longer wait for
    /// nobody any more, and the ledger tells what came of them.
    pub fn finish<F: Future<Output = ()>>(&self, shutdown: F) -> impl Future<Output = ()> + use<F> {
        self.shared.ending.clone().run(shutdown)
    }

    /// The routes for the operator's socket, where the connection says who asks.
    pub fn for_socket(&self) -> Router {
        let commands = routes::all(self.shared.clone());
        guard::for_socket(commands.merge(routes::hosts(self.shared.clone())))
    }

    /// The routes for an HTTP listener at this address, behind a guard that asks for a token of this file.
    pub fn for_http(
        &self,
        (addr, scheme): (SocketAddr, Scheme),
        names: &[String],
        token_file: PathBuf,
    ) -> Router {
        let tokens = Tokens {
            names: Names::of(addr, names, scheme),
            file: token_file,
        };
        tokens.protect(routes::all(self.shared.clone()))
    }
}

/// Why a command was not carried out; nothing has changed then.
type Refusal = Box<Problem>;

fn refused(kind: ProblemKind, detail: impl Into<String>) -> Refusal {
    Box::new(Problem::new(kind, detail))
}

#[cfg(test)]
mod tests;
