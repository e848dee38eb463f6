//! A knob: one setting that can change while the service runs.
//!
//! A knob may be a number in memory or a command to another program, so reading and applying are asynchronous and may fail.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use trimtab_protocol::change::MAX_RATIO_BP_DEFAULT;
use trimtab_protocol::knob::{KnobKind, KnobValue, Shrink};
use trimtab_protocol::name::KnobName;

/// A future as a knob returns it.
pub type KnobFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A knob's target and what is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnobReading {
    /// The target.
    pub value: KnobValue,
    /// What is in effect; it follows the target as work ends.
    pub effective: KnobValue,
}

/// How applying a value went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The value is the target and in effect.
    Done,
    /// The value is the target, and the effective value is still following.
    Settling,
    /// The value was not taken, and the old one stands; with the reason in words.
    Refused(String),
}

/// One setting that can change while the service runs.
pub trait Knob: Send + Sync + 'static {
    /// Reads the target and what is in effect.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read now.
    fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>>;

    /// Makes a value the target, at once. Work in flight is never interrupted, unless [`Knob::shrink`] says so.
    fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied>;

    /// Whether the value survives a restart of the service.
    fn persists(&self) -> bool {
        false
    }

    /// What a smaller value does to running work.
    fn shrink(&self) -> Shrink {
        Shrink::Drains
    }
}

/// What a knob takes, fixed for the life of the host. The host enforces it, whatever the sidecar sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnobSpec {
    /// Its name within the pool.
    pub name: KnobName,
    /// What sort of value it takes.
    pub kind: KnobKind,
    /// The value that the host starts with.
    pub baseline: KnobValue,
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// Values are `min` plus a multiple of this, at least 1.
    pub granularity: u64,
    /// The largest ratio of one change, both ways, in basis points.
    pub max_ratio_bp: u32,
    /// The unit in words, for people.
    pub unit: &'static str,
    /// The words it takes, for a knob of kind `choice`.
    pub choices: Vec<String>,
}

impl KnobSpec {
    /// A knob that takes whole numbers from `min` to `max`, with granularity 1 and the usual ratio.
    #[must_use]
    pub fn integer(name: &str, unit: &'static str, baseline: u64, min: u64, max: u64) -> Self {
        Self {
            name: KnobName::from(name),
            kind: KnobKind::Integer,
            baseline: KnobValue::Integer(baseline),
            min,
            max,
            granularity: 1,
            max_ratio_bp: MAX_RATIO_BP_DEFAULT,
            unit,
            choices: Vec::new(),
        }
    }

    /// A knob that takes milliseconds from `min` to `max`.
    #[must_use]
    pub fn duration_ms(name: &str, baseline: u64, min: u64, max: u64) -> Self {
        Self {
            kind: KnobKind::DurationMs,
            ..Self::integer(name, "ms", baseline, min, max)
        }
    }

    /// A knob that takes one of a list of words.
    #[must_use]
    pub fn choice(name: &str, unit: &'static str, baseline: &str, choices: &[&str]) -> Self {
        let most = u64::try_from(choices.len().saturating_sub(1)).unwrap_or(u64::MAX);
        Self {
            kind: KnobKind::Choice,
            baseline: KnobValue::Choice(baseline.to_owned()),
            choices: choices.iter().map(|&word| word.to_owned()).collect(),
            ..Self::integer(name, unit, 0, 0, most)
        }
    }
}

impl fmt::Debug for dyn Knob {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Knob")
    }
}
