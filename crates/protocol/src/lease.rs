//! The lease: the right to change a host, held by one sidecar at a time.

use crate::name::{Epoch, InstanceId};
use serde::{Deserialize, Serialize};

/// The time for which a lease is asked when nothing else is configured, in milliseconds; it is renewed each tick.
pub const TTL_MS_DEFAULT: u64 = 5_000;
/// The shortest lease a host grants, in milliseconds.
pub const TTL_MS_MIN: u64 = 500;
/// The longest lease a host grants, in milliseconds.
pub const TTL_MS_MAX: u64 = 60_000;

/// Takes the lease, or renews it when `epoch` names the one that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// The run of the host that is meant.
    pub instance: InstanceId,
    /// Who asks; the same holder retakes its lease at once, with a new epoch.
    pub holder: String,
    /// For how long, in milliseconds.
    pub ttl_ms: u64,
    /// The epoch that is renewed; without it a new lease is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// Gives the lease back; its open trials are rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LeaseRelease {
    /// The run of the host that is meant.
    pub instance: InstanceId,
    /// The lease that ends.
    pub epoch: Epoch,
}

/// The host's answer to a lease that was granted or renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseGrant {
    /// The number of the lease; it goes into every change.
    pub epoch: Epoch,
    /// How long it is good for from now, in milliseconds.
    pub expires_in_ms: u64,
}

/// The lease as the state shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeaseState {
    /// Who holds it.
    pub holder: String,
    /// How long it is still good for, in milliseconds.
    pub expires_in_ms: u64,
}
