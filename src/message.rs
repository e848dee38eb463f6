//! What passes between the stages besides what the core defines.
//!
//! Stages do not import one another, so the words in which decide and act speak to record stand here.

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;
use trimtab_core::decision::Decision;
use trimtab_core::moment::{Moment, Span};
use trimtab_flame::ask::{Ask, Outcome};
use trimtab_protocol::name::{HostId, InstanceId, PoolName};
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
