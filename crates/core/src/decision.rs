//! What the controller returns each tick.

use crate::moment::Moment;
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::{Epoch, Generation, HostId, InstanceId, PoolName};
use trimtab_protocol::view::{DecisionRecord, HostStatus};

pub use crate::guard::Plan;

/// All that was decided at one tick: a record for every pool, and what is to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The host.
    pub host: HostId,
    /// The observation's time.
    pub at: Moment,
    /// The same for people, in milliseconds since 1970.
    pub at_ms: u64,
    /// The run of the host, once it is known.
    pub instance: Option<InstanceId>,
    /// One record a pool, and a second where a trial ends and the next one begins; exactly one without a pool when the host
    /// could not be read.
    pub records: Vec<(Option<PoolName>, DecisionRecord)>,
    /// What is to be sent.
    pub orders: Orders,
    /// The host as the controller now sees it, for people.
    pub status: HostStatus,
}

/// What act is to send, in this order: the lease first, then the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    /// The run of the host that is meant; without it nothing is sent.
    pub instance: Option<InstanceId>,
    /// What to do about the lease.
    pub lease: LeaseWish,
    /// Rollbacks and confirmations before trials.
    pub steps: Vec<Step>,
}

/// What to do about the lease this tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseWish {
    /// Neither take nor renew.
    #[default]
    Leave,
    /// Take it.
    Take,
    /// Renew the one that is held.
    Renew(Epoch),
    /// Give the one that is held back, after the steps.
    Release(Epoch),
}

/// One thing to send about one pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Begin a trial.
    Try(Plan),
    /// Keep a trial's values.
    Confirm(TrialId),
    /// Undo a trial.
    RollBack(TrialId),
}

impl Step {
    /// The pool it is about.
    #[must_use]
    pub fn pool(&self) -> &PoolName {
        match self {
            Self::Try(plan) => plan.pool(),
            Self::Confirm(trial) | Self::RollBack(trial) => &trial.pool,
        }
    }

    /// What it does.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Try(_) => Action::Try,
            Self::Confirm(_) => Action::Confirm,
            Self::RollBack(_) => Action::RollBack,
        }
    }
}

/// Which trial is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialId {
    /// The pool.
    pub pool: PoolName,
    /// The lease under which it was begun.
    pub epoch: Epoch,
    /// Its number.
    pub generation: Generation,
}
