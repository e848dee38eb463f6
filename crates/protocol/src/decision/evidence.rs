//! What a decision stands on, and what it is expected to bring.

use serde::{Deserialize, Serialize};

/// What was measured over a stretch of time at one setting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WindowFigures {
    /// How long, in seconds.
    pub seconds: f64,
    /// The worker limit then.
    pub workers: u64,
    /// Completions.
    pub completed: u64,
    /// Completions within the profile's `slo`.
    pub good: u64,
    /// Arrivals a second.
    pub arrivals_per_s: f64,
    /// Good completions a second.
    pub goodput_per_s: f64,
    /// Mean of busy workers.
    pub busy: f64,
    /// Mean of waiting work.
    pub queued: f64,
    /// Work that was turned away or timed out, a second.
    pub lost_per_s: f64,
    /// Work that failed by itself, a second.
    pub failed_per_s: f64,
    /// Median response time of successes, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 99th percentile of the response time of successes, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// 95th percentile of the waiting time of successes, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_p95_us: Option<u64>,
}

/// What a decision stood on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Evidence {
    /// The window just seen, or the one under the trial's values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<WindowFigures>,
    /// The window before the trial, to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<WindowFigures>,
    /// CPU used, as a share of the quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_share: Option<f64>,
    /// Memory used, as a share of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_share: Option<f64>,
}

/// What a trial is expected to bring; it is held against what came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Expectation {
    /// Goodput that is hoped for, a second.
    pub goodput_per_s: f64,
    /// The least difference that would count as a gain, a second.
    pub least_gain_per_s: f64,
}
