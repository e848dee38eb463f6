//! What only an operator may ask: freeze, pin, reset.

use crate::knob::KnobValue;
use crate::name::{KnobName, PoolName, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stops all tuning: open trials are rolled back and no change is taken until the freeze is lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FreezeRequest {
    /// Why, for the next person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Holds one knob at a value for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// The value.
    pub value: KnobValue,
    /// For how long, in milliseconds; afterwards the knob goes back to its last confirmed value.
    pub for_ms: u64,
}

/// Goes back to the baseline, for one pool or for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// The pool; without it, every pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
}

/// The host's answer to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperatorReceipt {
    /// Whether the host is frozen now.
    pub frozen: bool,
    /// Whether a freeze survives a restart of the host.
    pub freeze_persistent: bool,
    /// The pools that were touched, with their revision and the values now in force.
    pub pools: BTreeMap<PoolName, PoolReceipt>,
}

/// A pool after an operator's call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolReceipt {
    /// The pool's revision.
    pub revision: Revision,
    /// The targets now in force.
    pub values: BTreeMap<KnobName, KnobValue>,
}
