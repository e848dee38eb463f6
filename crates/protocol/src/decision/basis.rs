//! Why a pool follows the profile that it does.

use serde::{Deserialize, Serialize};

/// Why a pool follows the profile that it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "basis", rename_all = "snake_case")]
pub enum ProfileBasis {
    /// An operator said so.
    Operator {
        /// Who.
        who: String,
        /// For how many seconds still; without it, until the sidecar is started again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
    },
    /// The configuration says so.
    Configured,
    /// The host declares what sort of work it is.
    Declared,
    /// Jobs take long.
    LongJobs {
        /// What a job takes on average, in milliseconds.
        job_ms: f64,
        /// Seconds of evidence.
        seconds: f64,
    },
    /// Jobs are short and compute.
    Computes {
        /// CPU time as a share of the time that workers were busy.
        cpu_share: f64,
        /// What a job takes on average, in milliseconds.
        job_ms: f64,
        /// Seconds of evidence.
        seconds: f64,
    },
    /// Jobs are short and mostly wait.
    Waits {
        /// CPU time as a share of the time that workers were busy.
        cpu_share: f64,
        /// What a job takes on average, in milliseconds.
        job_ms: f64,
        /// Seconds of evidence.
        seconds: f64,
    },
    /// Nothing is known that would tell.
    Unknown,
}
