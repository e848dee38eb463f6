//! The state of a host: one consistent reading of everything that a sidecar needs.

use crate::change::{Phase, TrialState};
use crate::figure;
use crate::histogram::Histogram;
use crate::knob::KnobState;
use crate::lease::LeaseState;
use crate::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a host offers beyond the state itself; a sidecar asks only for what is listed.
pub mod feature {
    /// Changes as trials, with confirm and rollback.
    pub const CHANGES: &str = "changes";
    /// The lease with epochs.
    pub const LEASE: &str = "lease";
    /// Freeze and unfreeze.
    pub const FREEZE: &str = "freeze";
    /// Pins with a time limit.
    pub const PINS: &str = "pins";
    /// Back to the baseline.
    pub const RESET: &str = "reset";
}

/// The answer to `GET /trimtab/v1/state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostState {
    /// The version of the control API; this crate describes version 1.
    pub api: u32,
    /// What the host offers; see [`feature`].
    #[serde(default)]
    pub features: Vec<String>,
    /// The service's name.
    pub app: String,
    /// The service's version.
    #[serde(default)]
    pub version: String,
    /// Words that tell this host from its siblings.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// This run of the host.
    pub instance: InstanceId,
    /// When the state was read, in nanoseconds of the boot-time clock.
    pub at_ns: u64,
    /// The process id as the host sees it; for display only.
    #[serde(default)]
    pub pid: u32,
    /// How long the host has been running, in milliseconds.
    #[serde(default)]
    pub uptime_ms: u64,
    /// The number of the last lease granted.
    #[serde(default)]
    pub epoch: Epoch,
    /// The highest generation accepted in this instance, over all pools.
    #[serde(default)]
    pub generation: Generation,
    /// The lease in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseState>,
    /// Whether an operator froze the host.
    #[serde(default)]
    pub frozen: bool,
    /// Whether a freeze survives a restart of the host.
    #[serde(default)]
    pub freeze_persistent: bool,
    /// Whether control is switched off in the host.
    #[serde(default)]
    pub control_disabled: bool,
    /// The process as the host reads it itself, for a sidecar that cannot see its `/proc`.
    #[serde(default)]
    pub process: ProcessFigures,
    /// The pools by name.
    #[serde(default)]
    pub pools: BTreeMap<PoolName, PoolState>,
}

impl HostState {
    /// Whether the host lists a feature.
    #[must_use]
    pub fn offers(&self, feature: &str) -> bool {
        self.features.iter().any(|listed| listed == feature)
    }
}

/// The host's own process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ProcessFigures {
    /// CPU time used since the start, in microseconds.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_us: Option<u64>,
    /// Resident memory, in bytes.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub rss_bytes: Option<u64>,
    /// Threads.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub threads: Option<u64>,
    /// Live tasks of the async runtimes that the host named.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub tasks: Option<u64>,
    /// Live tasks by runtime.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runtimes: BTreeMap<String, RuntimeFigures>,
    /// The control group, as the host sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupFigures>,
    /// Requests that passed the kit unmanaged because of a failure in it.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub kit_failures: Option<u64>,
}

/// One async runtime of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RuntimeFigures {
    /// Worker threads.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub workers: Option<u64>,
    /// Live tasks.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub tasks: Option<u64>,
    /// Tasks that wait in the runtime's global queue.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub global_queue: Option<u64>,
}

/// Limits and use of a control group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct CgroupFigures {
    /// CPU quota in thousandths of a core; absent when there is none.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_quota_millicores: Option<u64>,
    /// Time for which the group was throttled, in microseconds.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub throttled_us: Option<u64>,
    /// Memory in use, page cache included, in bytes.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub memory_bytes: Option<u64>,
    /// Memory limit in bytes; absent when there is none.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub memory_limit_bytes: Option<u64>,
}

/// What sort of work a pool does, as the host declares it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// Pages and other short requests that mostly wait.
    Web,
    /// Calls that compute or ask other services.
    Api,
    /// Jobs that nobody waits for.
    Background,
    /// Anything else.
    #[default]
    #[serde(other)]
    Other,
}

/// One pool of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolState {
    /// What sort of work it does.
    #[serde(default)]
    pub kind: PoolKind,
    /// The last change of this pool.
    #[serde(default)]
    pub generation: Generation,
    /// How often its values changed.
    #[serde(default)]
    pub revision: Revision,
    /// Where it stands.
    pub phase: Phase,
    /// The open trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialState>,
    /// Whether some effective value is still following its target.
    #[serde(default)]
    pub settling: bool,
    /// The knobs by name.
    #[serde(default)]
    pub knobs: BTreeMap<KnobName, KnobState>,
    /// Counters since the start.
    #[serde(default)]
    pub counters: Counters,
    /// What is true right now.
    #[serde(default)]
    pub gauges: Gauges,
    /// How long work took.
    #[serde(default)]
    pub histograms: Histograms,
}

/// Counters of a pool; they only ever rise within an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Counters {
    /// Work that came to the pool.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub arrived: Option<u64>,
    /// Work that was begun.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub started: Option<u64>,
    /// Work that ended well.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub completed: Option<u64>,
    /// Work that ended in an error of its own.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub failed: Option<u64>,
    /// Work that was turned away because the queue was full.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub rejected: Option<u64>,
    /// Work that ran out of time, waiting or running.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub timed_out: Option<u64>,
    /// Work whose caller went away before it ended.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub abandoned: Option<u64>,
    /// Work that the pool let pass uncounted in its limit: upgrades and event streams.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub exempt: Option<u64>,
    /// Worker time in use: the integral of `busy` up to `at_ns`, in microseconds.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub busy_us: Option<u64>,
    /// Waiting time: the integral of `queued` up to `at_ns`, in microseconds.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub wait_us: Option<u64>,
    /// CPU time of the pool's work, in microseconds, where the host can tell it.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub cpu_us: Option<u64>,
}

/// Gauges of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Gauges {
    /// Work that runs.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub busy: Option<u64>,
    /// Work that waits.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub queued: Option<u64>,
    /// How long the oldest of it has waited, in milliseconds.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub oldest_wait_ms: Option<u64>,
    /// Live tasks of the pool.
    #[serde(
        deserialize_with = "figure::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub tasks: Option<u64>,
    /// Figures of the part's own by name, such as `object_pool_kept`; what a pool of work has is above.
    #[serde(
        deserialize_with = "figure::lenient_map",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub named: BTreeMap<String, u64>,
}

/// Histograms of a pool. The first three are of successes; timeouts stand apart, for they only say where the limit was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Histograms {
    /// From arrival to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_us: Option<Histogram>,
    /// From arrival to begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<Histogram>,
    /// From begin to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_us: Option<Histogram>,
    /// How long work had been there when its time ran out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<Histogram>,
}
