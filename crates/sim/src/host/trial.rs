//! A change of one pool, as a trial: who may begin it, what it may contain, and how it ends.

use super::{Board, Host, Refusal, refusal};
use crate::number::{count, whole};
use std::collections::BTreeMap;
use trimtab_core::decision::{Plan, Step, TrialId};
use trimtab_core::observation::{Answer, Receipt};
use trimtab_protocol::change::{
    CHANGE_WINDOW_MS, CHANGES_PER_WINDOW, ChangeReceipt, ChangeStatus, KnobReading, TRIAL_MS_MAX,
    TRIAL_MS_MIN,
};
use trimtab_protocol::knob::{KnobState, KnobValue};
use trimtab_protocol::name::{Generation, KnobName, PoolName};
use trimtab_protocol::problem::ProblemKind;

/// A change that is in force for a limited time.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) generation: Generation,
    pub(crate) deadline: f64,
    pub(crate) before: BTreeMap<KnobName, KnobValue>,
}

impl Host {
    /// Carries out one step of the sidecar's orders and answers it.
    pub fn carry_out(&mut self, step: &Step, now: f64) -> Receipt {
        let generation = generation(step);
        let answer = match step {
            Step::Try(plan) => self.begin(plan, now),
            Step::Confirm(trial) => self.end(trial, ChangeStatus::Confirmed, now),
            Step::RollBack(trial) => self.end(trial, ChangeStatus::RolledBack, now),
        };
        Receipt::Change {
            action: step.action(),
            pool: step.pool().clone(),
            generation,
            answer: match answer {
                Ok(value) => Answer::Done { value },
                Err(problem) => Answer::Refused { problem: *problem },
            },
        }
    }

    fn begin(&mut self, plan: &Plan, now: f64) -> Result<ChangeReceipt, Refusal> {
        self.check_epoch(plan.epoch())?;
        if plan.generation() <= self.generation {
            let detail = format!(
                "generation {} is not above {}",
                plan.generation(),
                self.generation
            );
            return Err(refusal(ProblemKind::Stale, detail));
        }
        let deadline = now + plan.trial_ms() as f64 / 1e3;
        let board = self.board_mut(plan.pool())?;
        board.check(plan, now)?;
        let mut before = board.targets();
        before.retain(|name, _| plan.set().contains_key(name));
        board.set(plan.set());
        board.recent.push_back(now);
        board.generation = plan.generation();
        board.trial = Some(Trial {
            generation: plan.generation(),
            deadline,
            before,
        });
        let receipt = board.receipt(plan.generation(), ChangeStatus::Trial, Some(deadline - now));
        self.generation = plan.generation();
        Ok(receipt)
    }

    fn end(
        &mut self,
        id: &TrialId,
        status: ChangeStatus,
        now: f64,
    ) -> Result<ChangeReceipt, Refusal> {
        self.check_epoch(id.epoch)?;
        let board = self.board_mut(&id.pool)?;
        let open = |trial: &Trial| trial.generation == id.generation && trial.deadline > now;
        if !board.trial.as_ref().is_some_and(open) {
            let detail = format!("change {} is no longer on trial", id.generation);
            return Err(refusal(ProblemKind::Stale, detail));
        }
        if status == ChangeStatus::Confirmed {
            board.trial = None;
            let targets = board.targets();
            if !board.proven.contains(&targets) {
                board.proven.push(targets);
            }
        } else {
            board.undo();
        }
        Ok(board.receipt(id.generation, status, None))
    }

    fn board_mut(&mut self, name: &PoolName) -> Result<&mut Board, Refusal> {
        let found = self.boards.iter_mut().find(|board| board.name == *name);
        found.ok_or_else(|| refusal(ProblemKind::Unknown, format!("there is no pool `{name}`")))
    }
}

/// The number of the change that a step is about.
pub(crate) fn generation(step: &Step) -> Generation {
    match step {
        Step::Try(plan) => plan.generation(),
        Step::Confirm(trial) | Step::RollBack(trial) => trial.generation,
    }
}

impl Board {
    fn check(&mut self, plan: &Plan, now: f64) -> Result<(), Refusal> {
        let stale = |detail: &str| Err(refusal(ProblemKind::Stale, detail));
        if plan.base_revision() != self.revision {
            return stale("the plan was made on another revision");
        }
        if self.trial.is_some() {
            return stale("a trial is open");
        }
        if !(TRIAL_MS_MIN..=TRIAL_MS_MAX).contains(&plan.trial_ms()) {
            return Err(refusal(ProblemKind::Value, "no such length of a trial"));
        }
        let mut after = self.targets();
        after.extend(plan.set().clone());
        let proven = self.proven.contains(&after);
        for (name, value) in plan.set() {
            let Some(knob) = self.knobs.get(name) else {
                return Err(refusal(
                    ProblemKind::Unknown,
                    format!("there is no knob `{name}`"),
                ));
            };
            if self.pinned_for_ms(name, now).is_some() {
                let detail = format!("a person holds `{name}`");
                return Err(refusal(ProblemKind::Pinned, detail));
            }
            if !takes(knob, value, proven) {
                let detail = format!("`{name}` does not go from {} to {value}", knob.value);
                return Err(refusal(ProblemKind::Value, detail));
            }
        }
        let window = CHANGE_WINDOW_MS as f64 / 1e3;
        while self.recent.front().is_some_and(|at| now - at >= window) {
            self.recent.pop_front();
        }
        if !proven && self.recent.len() >= CHANGES_PER_WINDOW {
            let detail = format!("{} changes within a minute", count(self.recent.len()));
            return Err(refusal(ProblemKind::TooSoon, detail));
        }
        Ok(())
    }

    pub(super) fn receipt(
        &self,
        generation: Generation,
        status: ChangeStatus,
        left: Option<f64>,
    ) -> ChangeReceipt {
        let reading = |knob: &KnobState| KnobReading {
            value: knob.value.clone(),
            effective: knob.effective.clone(),
        };
        let knobs = self.knobs.iter();
        ChangeReceipt {
            generation,
            pool: self.name.clone(),
            status,
            revision: self.revision,
            expires_in_ms: left.map(|seconds| whole(seconds * 1e3)),
            settling: self.knobs.values().any(|knob| knob.value != knob.effective),
            knobs: knobs
                .map(|(name, knob)| (name.clone(), reading(knob)))
                .collect(),
        }
    }
}

/// Whether a knob takes a value: within its bounds, and within one step unless it stood so before. One step reaches by the
/// ratio, but always one more or less, so that a small value can grow.
fn takes(knob: &KnobState, value: &KnobValue, proven: bool) -> bool {
    let (Some(now), Some(new)) = (knob.value.as_integer(), value.as_integer()) else {
        return false;
    };
    let ratio = f64::from(knob.max_ratio_bp) / 1e4;
    let high = libm::floor(now as f64 * ratio).max(now as f64 + 1.0);
    let low = libm::ceil(now as f64 / ratio).min(now as f64 - 1.0);
    let within_step = (low..=high).contains(&(new as f64));
    (knob.min..=knob.max).contains(&new) && (proven || within_step)
}
