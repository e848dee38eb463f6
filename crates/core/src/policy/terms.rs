//! What goes in and out of the policy.

use crate::number::fraction;
use crate::window::PoolDelta;
use trimtab_protocol::decision::{Direction, Expectation, Reason};
use trimtab_protocol::name::KnobName;

/// Cores where nothing tells of them: one, the most careful guess.
const CORES_UNKNOWN: f64 = 1.0;

/// Which rule makes a proposal, and so what proof it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Growth to what the load needs while jobs do not crowd each other.
    Climb,
    /// A step to where the fitted curve promises more.
    Predict,
    /// A look at a size of which too little is known.
    Look,
    /// A shrink that only gives back what has not been needed for a while.
    Relax,
    /// A return to what was proven or set by people. It needs no proof.
    Return,
    /// A queue limit or a timeout that follows what the pool does.
    Follow,
}

/// A value to try, before the guard has seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Which knob.
    pub knob: KnobName,
    /// The target: workers, waiting work, or milliseconds.
    pub value: u64,
    /// Which way.
    pub direction: Direction,
    /// Which rule.
    pub purpose: Purpose,
    /// Whether so much is lost, or so little known, that more changes a minute are worth it.
    pub pressing: bool,
    /// Why.
    pub reason: Reason,
    /// What it should bring.
    pub expectation: Expectation,
    /// What the trial may cost: goodput lost while it is measured, as jobs over goodput, in seconds of the pool's work.
    pub cost_s: f64,
}

/// What a trial is held against; made when it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The size before.
    pub from: f64,
    /// The size on trial.
    pub to: f64,
    /// Which rule.
    pub purpose: Purpose,
    /// Throughput before, and for how many seconds it was measured.
    pub(super) before: (f64, f64),
    /// What arrived a second when it began.
    pub(super) load: f64,
    /// Throughput that the curve promised, where it stood on three sizes.
    pub(super) promised: Option<f64>,
    /// Whether the size before had been in force for long enough to be compared with.
    pub(super) fair: bool,
    /// How long a job took once it was begun, in seconds, where that was longer than the goal.
    pub(super) late_s: Option<f64>,
    /// When it began, in seconds.
    pub(super) since_s: f64,
}

/// What the policy looks at, each tick.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Now, in seconds.
    pub now_s: f64,
    /// The worker target in force.
    pub workers: u64,
    /// The tick.
    pub delta: &'a PoolDelta,
    /// Cores that the host may use.
    pub cores: Option<f64>,
    /// CPU used, as a share of them.
    pub cpu_share: Option<f64>,
    /// Memory used, as a share of its limit.
    pub memory_share: Option<f64>,
    /// The largest share of it that a size may be predicted to use.
    pub memory_share_max: f64,
    /// The goal, in seconds.
    pub slo_s: Option<f64>,
    /// The sizes that profile and host allow.
    pub bounds: (u64, u64),
    /// The size that people chose: the baseline, or what someone set since.
    pub home: u64,
    /// The size that the profile says to go to first when the pool is short of workers.
    pub start: u64,
    /// Workers that are held by jobs which never end by themselves.
    pub held: f64,
    /// Workers that such jobs would hold if every job that comes were begun.
    pub held_at_load: f64,
    /// Changes of this pool within the last minute.
    pub changes: u32,
    /// The trial in force.
    pub trial: Option<&'a Claim>,
    /// Whether a change is on its way.
    pub pending: bool,
    /// Whether anything may be changed: nobody else's values are yielded to.
    pub free: bool,
}

impl Sight<'_> {
    pub(super) fn size(&self) -> f64 {
        fraction(self.workers)
    }

    pub(super) fn home(&self) -> f64 {
        fraction(self.home)
    }

    pub(super) fn cores(&self) -> f64 {
        self.cores.unwrap_or(CORES_UNKNOWN).max(0.1)
    }
}
