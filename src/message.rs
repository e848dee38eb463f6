//! What passes between the stages besides what the core defines.
//!
//! Stages do not import one another, so the words in which decide and act speak to record, and intake to all three, stand here.

use bytes::Bytes;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::oneshot;
use trimtab_core::controller::{ProfileSwitch, ProfileWish};
use trimtab_core::decision::Decision;
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::Answer;
use trimtab_core::profile::Settings;
use trimtab_flame::ask::{Ask, Outcome};
use trimtab_protocol::command::CommandRecord;
use trimtab_protocol::configuration::{ConfigurationStatus, ReloadRecord};
use trimtab_protocol::name::{HostId, InstanceId, KnobName, PoolName};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::{IntentRecord, OutcomeRecord};

/// What record takes.
#[derive(Debug)]
pub enum Recorded {
    /// What was decided at one tick of one host, with the sample that it stands on in the decision's status.
    Tick(Box<Tick>),
    /// What is about to be sent to the host.
    Intent {
        /// When, and about what.
        about: About,
        /// What will be asked.
        intent: IntentRecord,
        /// Answered once the intent is durable, or refused.
        done: oneshot::Sender<Result<(), NotDurable>>,
    },
    /// What came of it.
    Outcome {
        /// When, and about what.
        about: About,
        /// What came of it.
        outcome: OutcomeRecord,
    },
    /// What an operator told the sidecar, and what came of it.
    Command {
        /// When, and about what.
        about: About,
        /// Who told what.
        record: CommandRecord,
        /// Answered once the entry is durable, or refused.
        done: oneshot::Sender<Result<(), NotDurable>>,
    },
    /// The configuration: how it stands now, and what became of the files if they were read anew.
    Configuration {
        /// When, and about which host.
        about: About,
        /// How it stands.
        status: Arc<ConfigurationStatus>,
        /// What became of the files.
        reload: Option<ReloadRecord>,
    },
}

/// Settings that the controller is to take over between two ticks.
#[derive(Debug)]
pub struct Adopt {
    /// What it is told from now on.
    pub settings: Box<Settings>,
    /// Answered once they are in force.
    pub done: oneshot::Sender<()>,
}

/// One tick of one host.
#[derive(Debug)]
pub struct Tick {
    /// What was decided.
    pub decision: Decision,
    /// How much later than planned the tick began.
    pub lag: Span,
    /// How many ticks were left out since the one before.
    pub dropped: u64,
}

/// When an intent or an outcome came about, and what it is about.
#[derive(Clone, Debug)]
pub struct About {
    /// The host.
    pub host: HostId,
    /// The run of the host, once it is known.
    pub instance: Option<InstanceId>,
    /// The pool.
    pub pool: Option<PoolName>,
    /// By the boot-time clock.
    pub at: Moment,
    /// The same for people, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The ledger did not take an intent, so it must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the ledger could not take the intent")]
pub struct NotDurable;

/// A question to the profiler.
#[derive(Debug)]
pub struct FlameCall {
    /// The question.
    pub ask: Ask,
    /// Where the answer goes.
    pub answer: oneshot::Sender<FlameAnswer>,
}

/// What the profiler answered.
#[derive(Debug)]
pub struct FlameAnswer {
    /// What came of it.
    pub outcome: Outcome,
    /// The graph, if there is one.
    pub bytes: Bytes,
}

/// Something that intake wants of the host, as its operator.
#[derive(Debug)]
pub struct Errand {
    /// What is to be asked.
    pub call: HostCall,
    /// Where the host's answer goes.
    pub answer: oneshot::Sender<Answer<HostAnswer>>,
}

/// What may be asked of a host over its operator socket.
#[derive(Clone, Debug)]
pub enum HostCall {
    /// How it stands.
    State,
    /// To roll open trials back and freeze.
    Freeze(FreezeRequest),
    /// To lift the freeze.
    Unfreeze,
    /// To hold a knob.
    Pin(PoolName, KnobName, PinRequest),
    /// To release a knob.
    Unpin(PoolName, KnobName),
    /// To go back to the baseline.
    Reset(ResetRequest),
}

/// What a host answers to its operator.
#[derive(Clone, Debug)]
pub enum HostAnswer {
    /// To the question how it stands.
    State(Box<HostState>),
    /// To everything else.
    Receipt(OperatorReceipt),
}

/// An operator's wish that a pool follow another profile, for decide.
#[derive(Debug)]
pub struct ProfileOrder {
    /// The wish.
    pub wish: ProfileWish,
    /// Whether to say only what would happen.
    pub dry_run: bool,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<ProfileSwitch, Box<Problem>>>,
}

/// An operator's word on the configuration that waits for one.
#[derive(Debug)]
pub struct Ruling {
    /// Whether it is to be taken; else it is dropped.
    pub approve: bool,
    /// Whether to say only what would happen.
    pub dry_run: bool,
    /// What was done, or why nothing was, in a sentence without its full stop.
    pub answer: oneshot::Sender<Result<String, String>>,
}
