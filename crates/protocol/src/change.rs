//! A change of one pool's knobs: asked for as a trial, then confirmed or undone.

use crate::knob::KnobValue;
use crate::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shortest trial, in milliseconds.
pub const TRIAL_MS_MIN: u64 = 1_000;
/// The longest trial, in milliseconds.
pub const TRIAL_MS_MAX: u64 = 600_000;
/// The largest ratio of one change where a knob states no other, in basis points.
pub const MAX_RATIO_BP_DEFAULT: u32 = 20_000;
/// The most changes of one pool within [`CHANGE_WINDOW_MS`].
pub const CHANGES_PER_WINDOW: usize = 12;
/// The window over which a host counts changes, in milliseconds.
pub const CHANGE_WINDOW_MS: u64 = 60_000;
/// How many past generations a host remembers, so that a retry gets the first answer.
pub const REMEMBERED_GENERATIONS: usize = 64;

/// Applies all of `set` as a trial, or none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The run of the host that is meant.
    pub instance: InstanceId,
    /// The lease under which the change is made.
    pub epoch: Epoch,
    /// The number of the change, larger than any accepted before.
    pub generation: Generation,
    /// The pool whose knobs change.
    pub pool: PoolName,
    /// The revision of the pool that the change was planned on.
    pub base_revision: Revision,
    /// How long the host keeps the change without a confirmation, in milliseconds.
    pub trial_ms: u64,
    /// The new targets.
    pub set: BTreeMap<KnobName, KnobValue>,
    /// Why, in a sentence; the host only shows it.
    pub reason: String,
}

/// Ends a trial: the body of `confirm` and `rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EndTrialRequest {
    /// The run of the host that is meant.
    pub instance: InstanceId,
    /// The lease under which the trial was begun.
    pub epoch: Epoch,
    /// The pool whose trial ends.
    pub pool: PoolName,
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// It is in force for a limited time.
    Trial,
    /// It was kept.
    Confirmed,
    /// It was undone on request.
    RolledBack,
    /// The host undid it because its time or its lease ran out.
    Expired,
    /// Someone else's change ended it.
    Superseded,
}

/// A knob's target and what is in effect, right after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnobReading {
    /// The target.
    pub value: KnobValue,
    /// What is in effect now.
    pub effective: KnobValue,
}

/// The host's answer to a change, a confirmation or a rollback; the same request gets the same answer again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeReceipt {
    /// The change that is meant.
    pub generation: Generation,
    /// Its pool.
    pub pool: PoolName,
    /// What has become of it.
    pub status: ChangeStatus,
    /// The pool's revision after the call.
    pub revision: Revision,
    /// How long the trial still runs, in milliseconds, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Whether some effective value is still following its target.
    pub settling: bool,
    /// All knobs of the pool as they now stand.
    pub knobs: BTreeMap<KnobName, KnobReading>,
}

/// Where a pool stands between its start and its last proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The values that the host started with.
    Baseline,
    /// A change is in force for a limited time.
    Trial,
    /// The last change was kept, or an operator set the values.
    Confirmed,
}

/// The open trial of a pool, as the state shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialState {
    /// The change on trial.
    pub generation: Generation,
    /// How long the host still keeps it, in milliseconds.
    pub expires_in_ms: u64,
    /// The values that come back when it is undone.
    pub before: BTreeMap<KnobName, KnobValue>,
}
