//! What was read at one tick, and how good each reading is.

use crate::moment::{Moment, Span};
use serde::{Deserialize, Serialize};
use trimtab_protocol::change::ChangeReceipt;
use trimtab_protocol::decision::{Absence, Action};
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::name::{Generation, HostId, PoolName};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::HostState;

/// A reading with its evidence. Missing is not zero: what is absent says why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub enum Reading<T> {
    /// Read for this tick.
    Fresh {
        /// What was read.
        value: T,
    },
    /// Read for an earlier tick, because this one's came late.
    Stale {
        /// What was read.
        value: T,
        /// How old it is.
        age: Span,
    },
    /// Not there.
    Absent {
        /// Why.
        absence: Absence,
    },
}

impl<T> Reading<T> {
    /// The value if it was read for this tick.
    #[must_use]
    pub fn fresh(&self) -> Option<&T> {
        match self {
            Self::Fresh { value } => Some(value),
            Self::Stale { .. } | Self::Absent { .. } => None,
        }
    }

    /// Why there is no fresh value; a stale one came too late.
    pub fn absence(&self) -> Option<Absence> {
        match self {
            Self::Fresh { .. } => None,
            Self::Stale { .. } => Some(Absence::TimedOut),
            Self::Absent { absence } => Some(*absence),
        }
    }
}

/// Everything that was read at one tick of one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The host.
    pub host: HostId,
    /// When, by the sidecar's boot-time clock.
    pub at: Moment,
    /// The same for people, in milliseconds since 1970. Nothing is decided by it.
    pub at_ms: u64,
    /// The host's own state.
    pub state: Reading<HostState>,
    /// The host's process, from outside where `/proc` shows it, else as the host reads it itself.
    pub process: Reading<ProcessSample>,
    /// Its control group.
    pub cgroup: Reading<CgroupSample>,
    /// The machine.
    pub machine: Reading<MachineSample>,
    /// The process id from the socket's peer credentials.
    pub pid: Option<u32>,
    /// What act last heard from the host, in the order in which it was heard.
    pub receipts: Vec<Receipt>,
}

/// CPU, memory and threads of the host's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// When it was read, by the boot-time clock.
    pub at: Moment,
    /// CPU time used since the process began, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Bytes to and from disk and network.
    #[serde(default)]
    pub io: ProcessIo,
}

/// Bytes that went to and from disk and network since the beginning, each where the kernel offers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIo {
    /// Read from disk by the process.
    pub read_bytes: Option<u64>,
    /// Written towards disk by the process.
    pub written_bytes: Option<u64>,
    /// Received in the process's network namespace, loopback left out.
    pub received_bytes: Option<u64>,
    /// Sent from it, loopback left out.
    pub sent_bytes: Option<u64>,
}

/// Limits, use and pressure of the host's control group; each figure where the kernel offers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupSample {
    /// CPU quota in thousandths of a core; absent when there is none.
    pub cpu_quota_millicores: Option<u64>,
    /// CPU time used by the group, in microseconds.
    pub cpu_usage_us: Option<u64>,
    /// Time for which the group was throttled, in microseconds.
    pub throttled_us: Option<u64>,
    /// Memory in use, page cache included, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory in use without the page cache that could go at once, in bytes.
    pub working_set_bytes: Option<u64>,
    /// Memory limit in bytes, the smallest on the way up; absent when there is none.
    pub memory_limit_bytes: Option<u64>,
    /// How often the kernel killed a process of the group for memory.
    pub oom_kills: Option<u64>,
    /// Share of the last ten seconds in which some task waited for CPU, 0 to 1.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
}

/// The machine as a whole, read at a slower pace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineSample {
    /// Cores that the process may use.
    pub cores: f64,
    /// CPU in use by anyone, as a share of all cores.
    pub cpu_share: Option<f64>,
    /// Memory of the machine, in bytes.
    pub memory_total_bytes: u64,
    /// Memory that could be had without swapping, in bytes.
    pub memory_available_bytes: u64,
}

/// What the host answered to something that was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "receipt", rename_all = "snake_case")]
pub enum Receipt {
    /// To a request for the lease.
    Lease {
        /// The grant, or why there is none.
        answer: Answer<LeaseGrant>,
    },
    /// To a change, a confirmation or a rollback.
    Change {
        /// What was asked.
        action: Action,
        /// The pool.
        pool: PoolName,
        /// The change.
        generation: Generation,
        /// The host's receipt, or why there is none.
        answer: Answer<ChangeReceipt>,
    },
}

/// An answer, a refusal, or silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few answers a tick at most"
)]
pub enum Answer<T> {
    /// Done.
    Done {
        /// What the host said.
        value: T,
    },
    /// Refused; nothing changed.
    Refused {
        /// Why.
        problem: Problem,
    },
    /// No answer, or none that can be read: whether it took effect is not known.
    Lost {
        /// Why.
        absence: Absence,
    },
    /// It was not sent, because the sidecar's own journal could not take the intent, or a freeze came first.
    NotSent,
}
