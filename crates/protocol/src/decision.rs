//! The words in which a decision is explained: regime, level, reason, evidence, expectation, outcome.
//!
//! Reasons are enums with numbers. The sentence that a person reads is made from them when they are recorded, so that a
//! program can count reasons and a test can compare them.

mod basis;
mod citation;
mod evidence;
mod verdict;

pub use basis::ProfileBasis;
pub use citation::Citation;
pub use evidence::{Evidence, Expectation, WindowFigures};
pub use verdict::Verdict;

use crate::change::ChangeStatus;
use crate::knob::KnobValue;
use crate::name::{Generation, KnobName};
use crate::problem::ProblemKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far the sidecar may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Look only.
    Observe,
    /// Say what it would do.
    #[default]
    Advise,
    /// Do it.
    Act,
}

/// What limits a pool now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// The figures that would tell are missing.
    Blind,
    /// Work is in the pool and none of it ends.
    Stuck,
    /// Memory is about to run out.
    MemoryRisk,
    /// Work waits, and the CPU quota is used up.
    CpuBound,
    /// Work waits, more workers did not help, and the CPU has room.
    DownstreamBound,
    /// Work waits for a worker.
    Starved,
    /// Little to do.
    Idle,
    /// Work flows and nothing waits.
    Ample,
}

/// How bold a change may be, by the pool's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Roll back only.
    Conservative,
    /// A change is at most a quarter.
    Moderate,
    /// A change is at most a half.
    Aggressive,
    /// A change at most doubles or halves.
    Maximum,
}

/// Which way a size is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger.
    Up,
    /// Smaller.
    Down,
}

/// What a decision does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Change nothing this tick.
    Hold,
    /// Begin a trial.
    Try,
    /// Keep the trial's values.
    Confirm,
    /// Undo the trial.
    RollBack,
    /// What would be tried if the mode were `act`.
    Advise,
}

/// Why a figure that is needed is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// Nothing was asked yet.
    NotYet,
    /// There is no socket, or nothing listens on it.
    Unreachable,
    /// The answer did not come in time.
    TimedOut,
    /// The answer was longer than is read.
    TooLarge,
    /// The answer was no state: another program, broken JSON, an error status.
    Garbage,
    /// The answer was a redirect, which is never followed.
    Redirected,
    /// The host speaks another version of the API.
    WrongVersion,
    /// The process is gone.
    Gone,
    /// The host runs as a user that this process does not trust.
    NotTrusted,
    /// The figure is not offered here.
    NotOffered,
    /// The figure went backwards or was impossible.
    Impossible,
}

/// Why a decision is what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    // Nothing to decide on.
    /// The figures are missing.
    Blind {
        /// Which.
        missing: String,
        /// Why.
        absence: Absence,
    },
    /// After a start, a gap or a restart of the host, some ticks are watched before anything is done.
    WarmingUp {
        /// Good ticks seen.
        seen: u32,
        /// Good ticks needed.
        needed: u32,
    },
    /// Work is in the pool and none of it ends; whatever is measured now says nothing about the size.
    Stuck {
        /// For how many seconds.
        seconds: f64,
    },
    // Not allowed to act.
    /// The mode does not allow changes.
    ModeObserves,
    /// Another sidecar holds the lease.
    Standby {
        /// Who.
        holder: String,
        /// For how long still, in milliseconds.
        expires_in_ms: u64,
    },
    /// The lease is asked for and not granted yet.
    LeasePending,
    /// An operator froze the host.
    Frozen,
    /// Control is switched off in the host, or the host offers no changes.
    NotOffered,
    /// An operator holds the knob.
    Pinned {
        /// Which.
        knob: KnobName,
    },
    /// Someone else changed the pool; their values are left alone for a while.
    Yielding {
        /// For how many seconds still.
        seconds: f64,
    },
    /// The pool follows another profile from now on.
    ProfileChosen {
        /// Which.
        profile: String,
        /// The one before.
        before: String,
        /// Why.
        because: ProfileBasis,
    },
    // Nothing to do.
    /// Little to do.
    Idle,
    /// Work flows and nothing waits.
    Ample,
    /// Nothing that may be tried promises a gain.
    NothingToGain,
    /// Every knob stands where the profile has it, as far as the host lets it.
    InPlace,
    /// Too little work for a conclusion.
    TooFew {
        /// Completions seen.
        completed: u64,
        /// Completions needed.
        needed: u64,
    },
    // Waiting.
    /// Work waits, but only for a moment so far: that may be a burst.
    Watching {
        /// For how many seconds it has.
        seconds: f64,
        /// For how many it must before anything is tried.
        needed_s: f64,
    },
    /// A change is on its way or still taking effect.
    Settling,
    /// The trial's window is not full yet.
    Measuring {
        /// Seconds measured.
        seconds: f64,
        /// The comparison so far.
        verdict: Verdict,
    },
    /// A size is on trial or work waits, and this can wait.
    QuietAwaited,
    /// The last change was refused or undone, and nothing is asked for a while.
    Pausing {
        /// For how many seconds still.
        seconds: f64,
    },
    /// Another pool has the host's one trial.
    OtherTrial {
        /// Which pool.
        pool: String,
    },
    /// This direction did not pay a while ago.
    Resting {
        /// Which way.
        direction: Direction,
        /// For how many seconds still.
        seconds: f64,
    },
    // The guard's veto.
    /// The bound is reached.
    AtBound {
        /// Which knob.
        knob: KnobName,
        /// Its bound.
        bound: u64,
    },
    /// The load is too low for changes.
    LevelForbids {
        /// The level.
        level: Level,
        /// The load, as a share.
        load: f64,
    },
    /// Enough was changed within the last minute.
    RateLimited {
        /// Changes made.
        changes: u32,
        /// Changes allowed.
        allowed: u32,
        /// The window, in seconds.
        window_s: f64,
    },
    /// The size would need more memory than there is.
    MemoryForbids {
        /// Memory that it would take, as a share of the limit.
        predicted_share: f64,
        /// The share that is allowed.
        allowed_share: f64,
    },
    /// A trigger of the profile holds and is not followed.
    TriggerLacks {
        /// Its condition.
        when: String,
        /// What it lacks.
        lacks: TriggerLack,
    },
    /// The pool looked for a new trial a moment ago.
    BetweenDecisions {
        /// For how many seconds still it does not.
        seconds: f64,
    },
    /// What trials may cost within a minute is spent.
    HarmBudget {
        /// What this one is predicted to cost, as a share of a minute's work.
        predicted_share: f64,
        /// What others cost within the last minute.
        spent_share: f64,
        /// What is allowed.
        allowed_share: f64,
    },
    // Acting.
    /// A trigger of the profile holds.
    Triggered {
        /// Its condition.
        when: String,
        /// Why, in the author's words; may be empty.
        because: String,
    },
    /// Work waits for workers.
    Starved {
        /// Mean of waiting work.
        queued: f64,
        /// Lost work, a second.
        lost_per_s: f64,
    },
    /// Work waits, and whether fewer workers do as much is not known yet.
    LookBelow {
        /// Mean of waiting work.
        queued: f64,
        /// Lost work, a second.
        lost_per_s: f64,
    },
    /// A job takes longer than the goal once it is begun: nothing is in time at this size.
    TooLate {
        /// What a job takes in service, at least, in microseconds.
        service_us: u64,
        /// The goal, in microseconds.
        slo_us: u64,
    },
    /// Work waits and jobs do not crowd each other: the size that the load needs by Little's law.
    Climbing {
        /// What a job takes in service, on average, in microseconds.
        service_us: u64,
        /// Arrivals a second.
        arrivals_per_s: f64,
    },
    /// The curve through the sizes that were seen promises more.
    Predicted {
        /// How many sizes it stands on.
        sizes: u32,
        /// The gain that it promises, as a share.
        gain_share: f64,
    },
    /// The load rose beyond chance: back to the size that people chose.
    Surge {
        /// Arrivals a second before.
        before_per_s: f64,
        /// And now.
        now_per_s: f64,
    },
    /// Jobs take another time than was known of this size; whether the service changed is not sure yet.
    Suspicious {
        /// Whether they take longer.
        slower: bool,
    },
    /// The service behind the pool is another one than was learnt.
    ServiceChanged {
        /// Whether jobs take longer than they did.
        slower: bool,
        /// What a job was expected to take, in microseconds.
        expected_us: u64,
        /// What it takes.
        seen_us: u64,
    },
    /// The service is as it was before its last change: back to the size of then.
    KnownAgain {
        /// That size.
        workers: u64,
    },
    /// A smaller number in service did more than twice the work.
    Collapsed {
        /// That number.
        workers: u64,
        /// What it did, a second.
        before_per_s: f64,
        /// What is done now, a second.
        now_per_s: f64,
    },
    /// The queue's limit follows what can still be served in time.
    QueueFollows {
        /// What the pool does, a second.
        done_per_s: f64,
        /// 99th percentile of the service time, in microseconds.
        p99_us: u64,
    },
    /// The timeout follows the slowest successes.
    TimeoutFollows {
        /// 99.9th percentile of the service time of successes, in microseconds.
        p999_us: u64,
        /// How many successes that stands on.
        successes: u64,
    },
    /// Nothing waited for a while, and less is enough.
    Relaxed {
        /// What the busiest second needed, with room to spare.
        needed: u64,
    },
    /// The CPU quota is used up: fewer workers stand in each other's way less.
    CpuFull {
        /// CPU used, as a share of the quota.
        cpu_share: f64,
    },
    /// The profile names these values, and the knobs stand elsewhere.
    ProfileSets,
    /// Memory has come to the step of the ladder at which it is given back at once.
    MemoryHigh {
        /// Memory used, as a share of the limit.
        share: f64,
        /// The step, as a share of the limit.
        at_share: f64,
    },
    /// Memory has been well below that step for a while: the level goes back to what it was.
    MemoryEased {
        /// Memory used, as a share of the limit.
        share: f64,
        /// The step, as a share of the limit.
        at_share: f64,
    },
    /// The new values are in effect, and as much work is done as before.
    TookEffect,
    /// The new values did not come into effect.
    NoEffect {
        /// How long that was waited for, in seconds.
        seconds: f64,
    },
    /// The trial paid.
    Paid {
        /// How.
        verdict: Verdict,
    },
    /// A return to what was proven, or to what people chose, needs no proof.
    NeedsNoProof,
    /// The trial did not pay.
    DidNotPay {
        /// How.
        verdict: Verdict,
    },
    /// What would show whether the trial helped is missing.
    EvidenceLost {
        /// Why.
        absence: Absence,
    },
    /// The sidecar ends; its trial is not left behind.
    ShuttingDown,
    /// The trial was begun under settings that no longer hold.
    SettingsChanged,
    // What became of it, as the host tells.
    /// The trial ended without us.
    TrialEnded {
        /// How.
        status: ChangeStatus,
    },
    /// The host refused.
    Refused {
        /// The kind of refusal.
        problem: ProblemKind,
        /// Its words.
        detail: String,
    },
    /// It was not sent: the sidecar's own journal could not take the intent, or a freeze came first.
    NotSent,
    /// The answer is not known; the host is read again before anything else is done.
    AnswerLost {
        /// Why.
        absence: Absence,
    },
}

/// What a trigger lacks that would make something smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TriggerLack {
    /// A benefit that its author named.
    Benefit,
    /// Enough completions to see what it would cost.
    Completions,
    /// The figure in which the benefit would show.
    Figure,
}

/// A change of values: from what to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValueChange {
    /// The target before.
    pub from: KnobValue,
    /// The target after.
    pub to: KnobValue,
}

/// The change that a decision makes, keeps, undoes or would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeSummary {
    /// Its number; absent for mere advice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// The knobs.
    pub set: BTreeMap<KnobName, ValueChange>,
}
