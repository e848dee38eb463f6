//! A workload profile: within which bounds a pool may be tuned, and for what goal.
//!
//! The values come validated, each with the line that set it, so that a decision can cite the line that bound it.

use crate::expression::Expression;
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

impl<T> Cited<T> {
    /// A value that no file sets.
    #[must_use]
    pub fn built_in(key: &str, value: T) -> Self {
        let citation = Citation {
            key: key.to_owned(),
            file: String::new(),
            line: 0,
            column: 0,
        };
        Self { value, citation }
    }
}

/// The range of one knob and where to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnobRange {
    /// Where to go first: workers when the pool is short of them, any other knob on its way from the baseline.
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
    /// The shortest time between two looks for a new trial; without it, every sample is one. Trials are watched at every
    /// sample all the same.
    #[serde(default)]
    pub decide_every: Option<Cited<Span>>,
    /// From which load on how bold a change may be.
    #[serde(default)]
    pub levels: Levels,
    /// What is done as memory runs short.
    #[serde(default)]
    pub ladder: MemoryLadder,
    /// What is to be tried when a condition holds; the first that can be followed counts.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
}

/// The loads at which the levels begin, as shares. `0 < moderate < aggressive < maximum <= 1` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Levels {
    /// Below this nothing new is tried; above it a change is at most a quarter.
    pub moderate: Cited<f64>,
    /// Above this a change is at most a half.
    pub aggressive: Cited<f64>,
    /// Above this a change at most doubles or halves.
    pub maximum: Cited<f64>,
}

impl Default for Levels {
    /// A fifth, a half and four fifths: at half the load there is as much room above as below.
    fn default() -> Self {
        Self {
            moderate: Cited::built_in("levels.moderate", 0.2),
            aggressive: Cited::built_in("levels.aggressive", 0.5),
            maximum: Cited::built_in("levels.maximum", 0.8),
        }
    }
}

/// Shares of the memory limit, each with what is done above it. `0 < level <= no_growth <= step_down <= 1` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryLadder {
    /// The knob `memory_level` goes to `aggressive`, so that freed memory is given back.
    pub level: Cited<f64>,
    /// Nothing grows any more.
    pub no_growth: Cited<f64>,
    /// Workers go down by steps.
    pub step_down: Cited<f64>,
}

impl Default for MemoryLadder {
    /// Giving back costs little, so it comes early; a step down costs work, so it comes last, yet with room for what is still
    /// in flight.
    fn default() -> Self {
        Self {
            level: Cited::built_in("memory.level", 0.70),
            no_growth: Cited::built_in("memory.no_growth", 0.85),
            step_down: Cited::built_in("memory.step_down", 0.92),
        }
    }
}

/// A rule of the profile: what to try when a condition holds. It only proposes; what it proposes passes the same guard and
/// the same proof as everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The condition.
    pub when: Cited<Expression>,
    /// For how long it must have held without a pause.
    pub lasting: Span,
    /// What to try then.
    pub action: Cited<TriggerAction>,
    /// Why, in the author's words; may be empty.
    pub because: String,
    /// What a smaller size is good for. A rule that shrinks without naming it is never followed.
    pub benefit: Option<Benefit>,
}

/// What a trigger tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerAction {
    /// One step more workers.
    Grow,
    /// One step fewer workers.
    Shrink,
    /// One knob of the pool, or else of the process, to one value.
    Set {
        /// The knob.
        knob: KnobName,
        /// The value.
        value: KnobValue,
    },
}

/// What a smaller size is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benefit {
    /// Less memory is used.
    Memory,
    /// Workers stand less in each other's way.
    Contention,
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
