//! A knob: one setting of a pool that can change while the host runs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A knob's value: a whole number in the knob's unit, or one of its choices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum KnobValue {
    /// A number, in the knob's unit.
    Integer(u64),
    /// A word out of the knob's `choices`.
    Choice(String),
}

impl KnobValue {
    /// The number, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<u64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Choice(_) => None,
        }
    }
}

impl From<u64> for KnobValue {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl fmt::Display for KnobValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(out),
            Self::Choice(word) => word.fmt(out),
        }
    }
}

/// What sort of value a knob takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KnobKind {
    /// A count.
    Integer,
    /// A duration in milliseconds.
    DurationMs,
    /// A size in bytes.
    Bytes,
    /// One of a list of words.
    Choice,
}

/// What a shrink does to work that is already running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Shrink {
    /// Running work ends in its own time; the effective value follows.
    Drains,
    /// Running work would be killed, so the host refuses to go below what is busy.
    Kills,
}

/// A knob as the state shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnobState {
    /// The target: what was last asked for.
    pub value: KnobValue,
    /// What is in effect now; it follows the target as work ends.
    pub effective: KnobValue,
    /// The value that the host started with.
    pub baseline: KnobValue,
    /// The smallest value that the host takes from anyone.
    pub min: u64,
    /// The largest value that the host takes from anyone.
    pub max: u64,
    /// Values are `min` plus a multiple of this.
    #[serde(default = "one")]
    pub granularity: u64,
    /// The largest ratio of one change, both ways, in basis points (20,000 doubles or halves).
    pub max_ratio_bp: u32,
    /// The unit in words, for people: `workers`, `jobs`, `ms`.
    pub unit: String,
    /// What sort of value it takes.
    pub kind: KnobKind,
    /// The words it takes, for a knob of kind `choice`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What a shrink does to running work.
    pub shrink: Shrink,
    /// Whether the value survives a restart of the host.
    pub persists: bool,
    /// How long an operator still holds this knob, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_for_ms: Option<u64>,
}

fn one() -> u64 {
    1
}
