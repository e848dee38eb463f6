//! The figures of `/metrics` that are true at one moment: what each is called, what it says, and where it is found.

use super::{flag, float, length};
use crate::view::HostView;
use prometheus_client::registry::Unit;
use trimtab_protocol::name::KnobName;
use trimtab_protocol::view::{PoolSample, PoolStatus};

/// A gauge of a host: its name, what it says, its unit, and where it is found.
pub(super) type HostGauge = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&HostView) -> Option<f64>,
);

/// The same of a pool.
pub(super) type PoolGauge = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&PoolStatus, Option<&PoolSample>) -> Option<f64>,
);

/// The gauges of a host.
pub(super) const HOST_GAUGES: [HostGauge; 14] = [
    (
        "host_up",
        "Whether the last reading of the host was good.",
        None,
        |host| Some(flag(host.status.absent.is_none())),
    ),
    (
        "host_frozen",
        "Whether an operator froze the host.",
        None,
        |host| Some(flag(host.status.frozen)),
    ),
    (
        "host_lease_held",
        "Whether this sidecar holds the host's lease.",
        None,
        |host| Some(flag(host.status.lease_ours)),
    ),
    (
        "host_conformance",
        "How far the host goes along: 0 state only, 1 changes, 2 all of it.",
        None,
        |host| Some(f64::from(host.status.conformance)),
    ),
    (
        "host_cpu_cores",
        "CPU used by the host's process, in cores.",
        None,
        |host| host.status.sample.cpu_cores,
    ),
    (
        "host_cpu_quota_cores",
        "CPU quota of the host's process, in cores.",
        None,
        |host| host.status.sample.quota_cores,
    ),
    (
        "host_cpu_throttled_ratio",
        "Share of the time for which the control group was throttled.",
        None,
        |host| host.status.sample.throttled_share,
    ),
    (
        "host_resident_memory",
        "Resident memory of the host's process.",
        Some(Unit::Bytes),
        |host| host.status.sample.rss_bytes.map(float),
    ),
    (
        "host_memory_limit",
        "Memory limit of the host's process.",
        Some(Unit::Bytes),
        |host| host.status.sample.memory_limit_bytes.map(float),
    ),
    (
        "host_threads",
        "Threads of the host's process.",
        None,
        |host| host.status.sample.threads.map(float),
    ),
    (
        "host_tasks",
        "Live tasks of the host's process.",
        None,
        |host| host.status.sample.tasks.map(float),
    ),
    ("history_samples", "Samples kept in memory.", None, |host| {
        Some(length(host.samples.len()))
    }),
    (
        "history_entries",
        "Ledger entries kept in memory.",
        None,
        |host| Some(length(host.entries.len())),
    ),
    (
        "history",
        "Memory that samples and entries take.",
        Some(Unit::Bytes),
        |host| Some(length(host.samples.bytes() + host.entries.bytes())),
    ),
];

/// The gauges of a pool.
pub(super) const POOL_GAUGES: [PoolGauge; 12] = [
    (
        "pool_workers",
        "Workers that the pool may use: the target.",
        None,
        |_, sample| sample?.workers.map(float),
    ),
    (
        "pool_workers_baseline",
        "Workers that the host started the pool with.",
        None,
        |pool, _| {
            pool.knobs
                .get(KnobName::WORKERS)?
                .baseline
                .as_integer()
                .map(float)
        },
    ),
    (
        "pool_queue_limit",
        "How much work may wait.",
        None,
        |_, sample| sample?.queue_limit.map(float),
    ),
    (
        "pool_timeout",
        "How long a piece of work may take, waiting included.",
        Some(Unit::Seconds),
        |_, sample| sample?.timeout_ms.map(|ms| float(ms) / 1e3),
    ),
    (
        "pool_busy",
        "Mean of busy workers since the last sample.",
        None,
        |_, sample| sample?.busy,
    ),
    (
        "pool_queued",
        "Mean of waiting work since the last sample.",
        None,
        |_, sample| sample?.queued,
    ),
    ("pool_load_ratio", "The pool\'s load.", None, |pool, _| {
        pool.decision.as_ref()?.load
    }),
    (
        "pool_arrivals_per_second",
        "Arrivals a second.",
        None,
        |_, sample| sample?.arrivals_per_s,
    ),
    (
        "pool_completions_per_second",
        "Completions a second.",
        None,
        |_, sample| sample?.completions_per_s,
    ),
    (
        "pool_goodput_per_second",
        "Completions within the profile's aim, a second.",
        None,
        |_, sample| sample?.goodput_per_s,
    ),
    (
        "pool_lost_per_second",
        "Rejected and timed out, a second.",
        None,
        |_, sample| sample?.lost_per_s,
    ),
    (
        "pool_failed_per_second",
        "Failed by itself, a second.",
        None,
        |_, sample| sample?.failed_per_s,
    ),
];
