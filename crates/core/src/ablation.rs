//! Parts of the controller that can be left out, to measure what each of them earns.
//!
//! In no build but one made for that, with the feature `ablation`: without it nothing can be left out and nothing here is
//! compiled into the controller.

/// A part of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// Growth to what the load needs by Little's law.
    Climb,
    /// Sizing for where a rising load will be.
    Rise,
    /// The look below after a climb that paid less than half.
    LookBack,
    /// The look below at once, where a large pool loses work from the start.
    LookAtOnce,
    /// Steps to where the fitted curve promises more.
    Curve,
    /// Looks at sizes of which too little is known.
    Looks,
    /// The share of work that is in time, in what a curve promises.
    InTime,
    /// Estimates by logarithms, where work is uneven.
    Logarithms,
    /// The curve as judge of trials that two windows leave undecided.
    Pooled,
    /// The return to the baseline on a surge.
    Surge,
    /// The return to the baseline when the service seems to be faster.
    Refuge,
    /// Going on with a return of which the host allowed only a step.
    Returning,
    /// Alarms that the service is another one.
    Surprise,
    /// What was learnt of an earlier service, taken up again.
    Shelf,
    /// No looks near the baseline.
    NearHome,
    /// Giving back what was not needed.
    Relax,
    /// Down while the CPU is full.
    CpuFull,
    /// No growth during an incident.
    Lid,
    /// The budget of what trials may cost.
    HarmBudget,
    /// The queue's limit and the timeout that follow.
    Following,
    /// Room for jobs that hang, and a close timeout meanwhile.
    Hanging,
    /// Not down with a full CPU where long jobs are late anyhow.
    Hopeless,
    /// No step down that the curve says to lose, however little waits at the moment.
    KnownLoss,
    /// No climb to sizes that were seen to do less.
    KnownClimb,
    /// A direction rests the longer, the more a trial in it has lost.
    PricedRest,
}

impl Part {
    /// All parts, with the names by which they are left out.
    pub const ALL: [(&'static str, Self); 25] = [
        ("climb", Self::Climb),
        ("rise", Self::Rise),
        ("look-back", Self::LookBack),
        ("look-at-once", Self::LookAtOnce),
        ("curve", Self::Curve),
        ("looks", Self::Looks),
        ("in-time", Self::InTime),
        ("logarithms", Self::Logarithms),
        ("pooled", Self::Pooled),
        ("surge", Self::Surge),
        ("refuge", Self::Refuge),
        ("returning", Self::Returning),
        ("surprise", Self::Surprise),
        ("shelf", Self::Shelf),
        ("near-home", Self::NearHome),
        ("relax", Self::Relax),
        ("cpu-full", Self::CpuFull),
        ("lid", Self::Lid),
        ("harm-budget", Self::HarmBudget),
        ("following", Self::Following),
        ("hanging", Self::Hanging),
        ("hopeless", Self::Hopeless),
        ("known-loss", Self::KnownLoss),
        ("known-climb", Self::KnownClimb),
        ("priced-rest", Self::PricedRest),
    ];
}

#[cfg(feature = "ablation")]
static LEFT_OUT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Leaves these parts out of all controllers of this process, and no others.
#[cfg(feature = "ablation")]
pub fn leave_out(parts: &[Part]) {
    let bits = parts.iter().fold(0, |bits, part| bits | bit(*part));
    LEFT_OUT.store(bits, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "ablation")]
const fn bit(part: Part) -> u32 {
    1 << part as u32
}

/// Whether a part is left out.
#[cfg(feature = "ablation")]
pub(crate) fn lacks(part: Part) -> bool {
    LEFT_OUT.load(std::sync::atomic::Ordering::Relaxed) & bit(part) != 0
}

/// Whether a part is left out: never.
#[cfg(not(feature = "ablation"))]
pub(crate) const fn lacks(_: Part) -> bool {
    false
}
