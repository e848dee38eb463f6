//! A workload profile: within which bounds a pool may be tuned, and for what goal.
//!
//! The values come validated, each with the line that set it, so that a decision can cite the line that bound it.

use crate::moment::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trimtab_protocol::decision::{Citation, Mode};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{HostId, KnobName, PoolName};

/// A value and the line that set it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cited<T> {
    /// The value.
    pub value: T,
    /// Where it was set.
    pub citation: Citation,
}

/// The range of one knob and where to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnobRange {
    /// The size to go to first when the pool is short of it.
    pub start: Cited<u64>,
    /// The smallest value.
    pub min: Cited<u64>,
    /// The largest value.
    pub max: Cited<u64>,
}

/// A workload profile. `min <= start <= max` holds in each range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The knob `workers`.
    pub workers: KnobRange,
    /// The knob `queue_limit`.
    pub queue_limit: KnobRange,
    /// The knob `timeout_ms`, in milliseconds.
    pub timeout_ms: KnobRange,
    /// Work counts as good when it ends within this many milliseconds; without it, within the timeout.
    pub slo_ms: Option<Cited<u64>>,
    /// The most trials of one pool within the window.
    pub changes_per_window: Cited<u32>,
    /// The window over which trials are counted.
    pub change_window: Cited<Span>,
    /// Knobs that the profile names beyond these, such as `memory_level`; a host that lacks one leaves it inert.
    pub others: BTreeMap<KnobName, Cited<KnobValue>>,
}

/// Everything that the controller of one host is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The host.
    pub host: HostId,
    /// How far the controller may go.
    pub mode: Mode,
    /// The name under which the lease is taken.
    pub holder: String,
    /// The time between two samples.
    pub interval: Span,
    /// The profiles by name: at least `default`.
    pub profiles: BTreeMap<String, Profile>,
    /// Which profile a pool follows, where the configuration says so; else its kind, else `default`.
    pub assigned: BTreeMap<PoolName, String>,
}
