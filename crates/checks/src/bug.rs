//! Bugs that are put into a host or a sidecar on purpose, one a promise at the least.

/// What is wrong with a host, or with the sidecars beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A refused value is written all the same.
    WritesBeforeItChecks,
    /// A change is taken whatever its epoch.
    IgnoresTheEpoch,
    /// A change for an earlier run of the host is taken.
    IgnoresTheInstance,
    /// A change that comes twice is made twice.
    ForgetsWhatItAnswered,
    /// Of a change of two knobs only the first is made.
    SetsHalfOfAChange,
    /// While a trial is open, nothing is looked at that may be due.
    SleepsThroughDeadlines,
    /// A trial is not bound to its lease.
    LetsATrialOutliveItsLease,
    /// A knob moves further than its ratio in one change.
    LeapsBeyondTheRatio,
    /// A freeze that comes during a trial is not taken.
    PutsAFreezeOffDuringATrial,
    /// A freeze is gone after a restart.
    ForgetsTheFreeze,
    /// What somebody else has set is not looked at.
    OverlooksForeignValues,
    /// A pin is lifted when a sidecar asks for a change.
    LiftsPinsForSidecars,
    /// A sidecar sends a change whose intent its disk has not taken.
    SendsBeforeItIsWritten,
}

impl Bug {
    /// All those of hosts.
    pub const ALL: [Self; 12] = [
        Self::WritesBeforeItChecks,
        Self::IgnoresTheEpoch,
        Self::IgnoresTheInstance,
        Self::ForgetsWhatItAnswered,
        Self::SetsHalfOfAChange,
        Self::SleepsThroughDeadlines,
        Self::LetsATrialOutliveItsLease,
        Self::LeapsBeyondTheRatio,
        Self::PutsAFreezeOffDuringATrial,
        Self::ForgetsTheFreeze,
        Self::OverlooksForeignValues,
        Self::LiftsPinsForSidecars,
    ];
}
