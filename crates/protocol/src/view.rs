//! What the sidecar itself serves and writes: its status, its samples, its ledger.

use crate::change::Phase;
use crate::command::CommandRecord;
use crate::configuration::ReloadRecord;
use crate::decision::{
    Absence, Action, ChangeSummary, Citation, Evidence, Expectation, Level, Mode, ProfileBasis,
    Reason, Regime,
};
use crate::knob::KnobValue;
use crate::name::{Epoch, Generation, HostId, InstanceId, KnobName, PoolName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The id of a ledger entry, and of the event that carries it: which start of the sidecar, and which entry since.
///
/// Written `boot-sequence`, for example `18c2f1a0-42`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EntryId {
    /// The start of the sidecar, a random word.
    pub boot: String,
    /// The entry's number within it, from 1.
    pub sequence: u64,
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.boot, self.sequence)
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for EntryId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text
            .rsplit_once('-')
            .and_then(|(boot, sequence)| Some((boot, sequence.parse().ok()?)));
        match parsed {
            Some((boot, sequence)) if !boot.is_empty() => Ok(Self {
                boot: boot.to_owned(),
                sequence,
            }),
            _ => Err(format!(
                "`{text}` is not an entry's id, which looks like `18c2f1a0-42`"
            )),
        }
    }
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Entry {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: EntryId,
    /// When it was written, in milliseconds since 1970, for people.
    pub at_ms: u64,
    /// When it was decided, in nanoseconds of the boot-time clock.
    pub moment_ns: u64,
    /// The host.
    pub host: HostId,
    /// The run of the host, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The pool; absent where the entry is about the host as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// What the entry says.
    #[serde(flatten)]
    pub body: EntryBody,
    /// The entry in one sentence.
    pub text: String,
}

/// What a ledger entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "entry", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "decisions are the common case, and entries live in a queue, not in bulk"
)]
pub enum EntryBody {
    /// A decision; there is one a tick and pool.
    Decision(DecisionRecord),
    /// What is about to be sent to the host; written before it is sent.
    Intent(IntentRecord),
    /// What came of an intent.
    Outcome(OutcomeRecord),
    /// What an operator told the sidecar.
    Command(CommandRecord),
    /// The sidecar's configuration was read anew.
    Reload(ReloadRecord),
}

/// A decision about one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecisionRecord {
    /// What it does.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What limits the pool.
    pub regime: Regime,
    /// How bold a change may be.
    pub level: Level,
    /// The load, as a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// The profile it was decided by.
    pub profile: String,
    /// What it stood on.
    #[serde(default)]
    pub evidence: Evidence,
    /// What is expected of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expectation: Option<Expectation>,
    /// The change that it makes, keeps, undoes or would make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeSummary>,
    /// The lines of the profile that bounded it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bound_by: Vec<Citation>,
}

/// What is about to be sent to the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IntentRecord {
    /// What is asked.
    pub action: Action,
    /// Under which lease.
    pub epoch: Epoch,
    /// The change.
    pub generation: Generation,
    /// The new targets, for a trial.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<KnobName, KnobValue>,
}

/// What came of an intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutcomeRecord {
    /// What was asked.
    pub action: Action,
    /// The change.
    pub generation: Generation,
    /// How it ended; absent when the host did as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How long the host took to answer, in microseconds.
    pub took_us: u64,
}

/// The status of one host as the sidecar sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostStatus {
    /// What the configuration calls it.
    pub host: HostId,
    /// How far the sidecar may go.
    pub mode: Mode,
    /// Whether the last reading was good, and if not, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<Absence>,
    /// What to know about it in one sentence.
    pub summary: String,
    /// The service's name and version.
    pub app: String,
    /// The service's version.
    pub version: String,
    /// This run of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The process id that the socket's peer credentials gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Whether an operator froze it.
    pub frozen: bool,
    /// Who holds the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_holder: Option<String>,
    /// Whether that is this sidecar.
    pub lease_ours: bool,
    /// How long the lease was still good for at the last reading, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_expires_in_ms: Option<u64>,
    /// The number of the last lease that was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// How long the host had been running at the last reading, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// How old the last good reading is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How far the host goes along with changes: 0 state only, 1 changes, 2 all of it.
    pub conformance: u8,
    /// The process and the machine.
    pub sample: Sample,
    /// The pools.
    pub pools: BTreeMap<PoolName, PoolStatus>,
    /// How often a decision was to change nothing since the sidecar's start, by the kind of its reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, u64>,
}

/// One pool as the sidecar sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStatus {
    /// The profile in force.
    pub profile: String,
    /// Why it is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_basis: Option<ProfileBasis>,
    /// Where it stands.
    pub phase: Phase,
    /// The last change.
    pub generation: Generation,
    /// How long the open trial still had at the last reading, in milliseconds; then the host undoes it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_expires_in_ms: Option<u64>,
    /// The knobs: target, effective, baseline.
    pub knobs: BTreeMap<KnobName, KnobStatus>,
    /// Figures of the part's own by name, as the host tells them, such as the hits and misses of a pool of objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, u64>,
    /// Keys of the profile whose knob this host lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inert: Vec<String>,
    /// The decision of the last tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
    /// The same in one sentence.
    pub text: String,
    /// Trials begun, kept, rolled back since the sidecar's start.
    pub changes: ChangeCounts,
}

/// One knob of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnobStatus {
    /// The target.
    pub value: KnobValue,
    /// What is in effect.
    pub effective: KnobValue,
    /// What the host started with.
    pub baseline: KnobValue,
    /// The smallest value that profile and host allow.
    pub min: u64,
    /// The largest value that profile and host allow.
    pub max: u64,
    /// For how long an operator still holds it, in milliseconds; absent when nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_for_ms: Option<u64>,
}

/// How many changes were made, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeCounts {
    /// Trials begun.
    pub made: u64,
    /// Trials kept.
    pub kept: u64,
    /// Trials undone, by whomever.
    pub rolled_back: u64,
    /// Requests that the host refused.
    pub refused: u64,
}

/// What was read at one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    /// When, in milliseconds since 1970, for people.
    pub at_ms: u64,
    /// When, in nanoseconds of the boot-time clock.
    pub moment_ns: u64,
    /// CPU used by the process since the last sample, in cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<f64>,
    /// The CPU quota or the machine's cores, whichever is smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_cores: Option<f64>,
    /// Share of the time for which the control group was throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_share: Option<f64>,
    /// Resident memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    /// Memory limit, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// Threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    /// Live tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Bytes a second that the process read from disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes_per_s: Option<f64>,
    /// Bytes a second that it wrote towards disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes_per_s: Option<f64>,
    /// Bytes a second that came into its network namespace, loopback left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes_per_s: Option<f64>,
    /// Bytes a second that left it, loopback left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes_per_s: Option<f64>,
    /// The pools.
    #[serde(default)]
    pub pools: BTreeMap<PoolName, PoolSample>,
}

/// What was read of one pool at one tick; rates are since the last sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolSample {
    /// The worker target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<u64>,
    /// The timeout, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The queue's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_limit: Option<u64>,
    /// Mean of busy workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<f64>,
    /// Mean of waiting work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<f64>,
    /// Arrivals a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals_per_s: Option<f64>,
    /// Completions a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions_per_s: Option<f64>,
    /// Completions within the profile's `slo`, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput_per_s: Option<f64>,
    /// Rejected and timed out, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_per_s: Option<f64>,
    /// Failed by itself, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_per_s: Option<f64>,
    /// Median response time of successes, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// 95th percentile, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_us: Option<u64>,
    /// 99th percentile, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// 95th percentile of the waiting time, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_p95_us: Option<u64>,
}

/// The answer of `/api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hosts {
    /// The hosts by name.
    pub hosts: Vec<HostBrief>,
}

/// One host in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostBrief {
    /// What the configuration calls it.
    pub host: HostId,
    /// How far the sidecar may go.
    pub mode: Mode,
    /// Why the last reading was not good, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<Absence>,
    /// What to know about it in one sentence.
    pub summary: String,
    /// The names of its pools.
    pub pools: Vec<PoolName>,
}

/// The answer of `/api/v1/hosts/{id}/decisions`: newest last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decisions {
    /// The host.
    pub host: HostId,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// The answer of `/api/v1/hosts/{id}/samples`: newest last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Samples {
    /// The host.
    pub host: HostId,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// The least and the most of one figure in each column of a time; a column without a reading has `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Range {
    /// The smallest reading of each column, to four digits.
    pub least: Vec<Option<f64>>,
    /// The largest reading of each column, to four digits.
    pub most: Vec<Option<f64>>,
}

/// A long time in as many columns as a chart has pixels: the answer of `/api/v1/hosts/{id}/history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// The host.
    pub host: HostId,
    /// The pool whose figures are among these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// When the first column begins, in milliseconds since 1970.
    pub from_ms: u64,
    /// When the last column ends.
    pub until_ms: u64,
    /// How many columns there are; all have the same width.
    pub columns: usize,
    /// The oldest sample that is kept, whether asked for or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    /// The figures of the host by their names in a `Sample`.
    pub host_figures: BTreeMap<String, Range>,
    /// The figures of the pool by their names in a `PoolSample`.
    pub pool_figures: BTreeMap<String, Range>,
}

/// The answer of `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// Whether all checks passed.
    pub ready: bool,
    /// Each check with its verdict in words.
    pub checks: BTreeMap<String, Check>,
}

/// One check of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// Whether it passed.
    pub ok: bool,
    /// What was found, and what to do about it.
    pub text: String,
}
