//! One trial from the moment it is sent until the host's state shows how it ended.

use crate::guard::Permitted;
use crate::moment::{Moment, Span};
use crate::observation::{Answer, Receipt};
use crate::policy::{Claim, Purpose, proof};
use crate::window::{Keep, PoolDelta, Window};
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, Phase, TRIAL_MS_MAX, TRIAL_MS_MIN};
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Expectation, Reason, Verdict,
    WindowFigures,
};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::PoolState;

/// How long the host keeps a trial without a confirmation, in milliseconds: the longest settling and measuring, and some
/// ticks for lost answers. Before that the lease ends it if the sidecar is gone.
pub(super) fn trial_ms(interval: Span) -> u64 {
    let ticks = interval.as_ms().saturating_mul(6);
    (SHOWN_MAX.as_ms() + MEASURE_MAX_MS + 10_000 + ticks).clamp(TRIAL_MS_MIN, TRIAL_MS_MAX)
}

/// Ticks for which a sent change may be neither answered nor seen.
const UNSEEN_TICKS_MAX: u32 = 3;
/// Ticks without figures after which a trial is undone: one lost reading is ordinary, two are a reason.
const BLIND_TICKS_MAX: u32 = 2;
/// The longest time for the state to show a change that the host said it made.
const SHOWN_MAX: Span = Span::from_secs(10);
/// The longest measuring, for pools in which few jobs end.
const MEASURE_MAX_MS: u64 = 60_000;

/// How far a trial has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Sent; not yet answered or seen.
    Sent { unseen_ticks: u32 },
    /// In force since then, as far as is known.
    InForce { since: Moment },
    /// Confirmed or undone by us; not yet answered or seen.
    Ending { action: Action, reason: Reason },
}

/// An open trial.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) generation: Generation,
    pub(super) epoch: Epoch,
    pub(super) knob: KnobName,
    pub(super) direction: Direction,
    pub(super) from: u64,
    pub(super) to: u64,
    /// The values of the pool's other knobs when it began.
    pub(super) rest: BTreeMap<KnobName, KnobValue>,
    pub(super) claim: Claim,
    pub(super) change: ChangeSummary,
    pub(super) bound_by: Vec<Citation>,
    pub(super) expectation: Expectation,
    pub(super) before_figures: WindowFigures,
    pub(super) window: Window,
    pub(super) stage: Stage,
    /// Whether a trigger of the profile asked for it.
    pub(super) ruled: bool,
    blind_ticks: u32,
}

/// What the host's answers and state say of a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// The host never took it.
    Refused(Reason),
    /// It ended; the pool's revision is at least this.
    Ended(ChangeStatus, Revision),
}

impl Trial {
    pub(super) fn new(
        permitted: &Permitted,
        (epoch, generation): (Epoch, Generation),
        (direction, expectation): (Direction, Expectation),
        (claim, before_figures): (Claim, WindowFigures),
    ) -> Self {
        Self {
            generation,
            epoch,
            direction,
            knob: permitted.knob().clone(),
            from: permitted.from(),
            to: permitted.value(),
            rest: BTreeMap::new(),
            ruled: false,
            claim,
            change: permitted.summary(Some(generation)),
            bound_by: permitted.bound_by().to_vec(),
            expectation,
            before_figures,
            window: Window::default(),
            stage: Stage::Sent { unseen_ticks: 0 },
            blind_ticks: 0,
        }
    }

    /// Notes the values of the pool's other knobs, by which a foreign change during the trial is known.
    pub(super) fn beside(mut self, pool: &PoolState) -> Self {
        let others = pool.knobs.iter().filter(|(name, _)| **name != self.knob);
        self.rest = others
            .map(|(name, knob)| (name.clone(), knob.value.clone()))
            .collect();
        self
    }

    /// Whether any of them stands elsewhere now.
    pub(super) fn is_joined(&self, pool: &PoolState) -> bool {
        let elsewhere = |(name, value): (&KnobName, &KnobValue)| {
            pool.knobs
                .get(name)
                .is_some_and(|knob| knob.value != *value)
        };
        self.rest.iter().any(elsewhere)
    }

    /// What the receipts and the state of this tick say of it.
    pub(super) fn reconcile(
        &mut self,
        now: Moment,
        name: &PoolName,
        pool: &PoolState,
        receipts: &[Receipt],
    ) -> Fate {
        for receipt in receipts {
            if let Receipt::Change {
                action,
                pool,
                generation,
                answer,
            } = receipt
                && pool == name
                && *generation == self.generation
                && let Some(fate) = self.hear(now, *action, answer)
            {
                return fate;
            }
        }
        self.look(now, pool)
    }

    fn hear(
        &mut self,
        now: Moment,
        action: Action,
        answer: &Answer<ChangeReceipt>,
    ) -> Option<Fate> {
        match (answer, action) {
            (Answer::Done { value }, _) if value.status != ChangeStatus::Trial => {
                Some(Fate::Ended(value.status, value.revision))
            }
            (Answer::Done { .. }, _) => {
                self.takes_effect(now);
                None
            }
            (Answer::Refused { problem }, Action::Try) => Some(Fate::Refused(refused(problem))),
            (Answer::NotSent, Action::Try) => Some(Fate::Refused(Reason::NotSent)),
            // A refused or lost end is settled by what the state shows.
            (Answer::Refused { .. } | Answer::NotSent | Answer::Lost { .. }, _) => None,
        }
    }

    fn look(&mut self, now: Moment, pool: &PoolState) -> Fate {
        if pool
            .trial
            .as_ref()
            .is_some_and(|trial| trial.generation == self.generation)
        {
            self.takes_effect(now);
            return Fate::Open;
        }
        match &mut self.stage {
            Stage::Sent { unseen_ticks } if *unseen_ticks < UNSEEN_TICKS_MAX => {
                *unseen_ticks += 1;
                Fate::Open
            }
            Stage::Sent { .. } => Fate::Refused(Reason::AnswerLost {
                absence: Absence::TimedOut,
            }),
            // A state that was read before the change was applied cannot show it yet.
            Stage::InForce { since }
                if pool.generation < self.generation && now.since(*since) < SHOWN_MAX =>
            {
                Fate::Open
            }
            Stage::InForce { .. } | Stage::Ending { .. } => self.ended(pool),
        }
    }

    /// The trial is no longer in the state: by the values that stand there, how did it end?
    fn ended(&self, pool: &PoolState) -> Fate {
        let value = value(pool, self.knob.as_str());
        // A pool that is confirmed at its baseline shows the phase of the baseline.
        let confirmed = pool.phase != Phase::Trial
            && pool.generation == self.generation
            && value == Some(self.to);
        let status = if confirmed {
            ChangeStatus::Confirmed
        } else if value == Some(self.from) {
            ChangeStatus::Expired
        } else {
            ChangeStatus::Superseded
        };
        Fate::Ended(status, pool.revision)
    }

    fn takes_effect(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Sent { .. }) {
            self.stage = Stage::InForce { since: now };
        }
    }

    /// Takes in a tick that shows the pool at the new size; answers whether more of its work fails than before.
    pub(super) fn add(&mut self, delta: &Arc<PoolDelta>, slo_ms: Option<u64>) -> Option<Verdict> {
        self.blind_ticks = 0;
        self.window
            .add(Arc::clone(delta), Keep::just(Span::from_secs(120)));
        let figures = self.window.figures(self.to, slo_ms)?;
        proof::failures_rose(&self.before_figures, &figures)
    }

    /// How long it has been measured, by its own window.
    pub(super) fn measured(&self) -> Span {
        self.window.span()
    }

    /// A tick without figures for the pool. What cannot be shown to help does not stay.
    pub(super) fn blind(&mut self, absence: Absence) -> (Action, Reason) {
        if let Stage::Ending { action, reason } = &self.stage {
            return (*action, reason.clone());
        }
        if self.claim.purpose == Purpose::Return {
            return self.end(Action::Confirm, Reason::NeedsNoProof);
        }
        self.blind_ticks += 1;
        if self.blind_ticks >= BLIND_TICKS_MAX {
            return self.end(Action::RollBack, Reason::EvidenceLost { absence });
        }
        (Action::Hold, Reason::Settling)
    }

    /// Decides how it ends; the same answer is given, and sent, until the host has heard it.
    pub(super) fn end(&mut self, action: Action, reason: Reason) -> (Action, Reason) {
        self.stage = Stage::Ending {
            action,
            reason: reason.clone(),
        };
        (action, reason)
    }
}

/// A pool's worker target.
pub(super) fn workers(pool: &PoolState) -> Option<u64> {
    value(pool, KnobName::WORKERS)
}

/// A knob's target.
pub(super) fn value(pool: &PoolState, knob: &str) -> Option<u64> {
    pool.knobs.get(knob)?.value.as_integer()
}

fn refused(problem: &Problem) -> Reason {
    Reason::Refused {
        problem: problem.kind,
        detail: problem.detail.clone(),
    }
}
