//! What became of the last changes, and how a trial is confirmed or rolled back.
//!
//! The answer to a change, a confirmation or a rollback is kept, so that a request whose answer was lost is simply sent again.
//! A confirmation is answered with a receipt when the change stands as confirmed, a rollback when the change no longer stands;
//! otherwise the answer is `stale` and its `receipt` tells what became of the change.

use super::{Governor, Refusal};
use std::collections::VecDeque;
use trimtab_protocol::change::{
    ChangeReceipt, ChangeRequest, ChangeStatus, EndTrialRequest, REMEMBERED_GENERATIONS,
};
use trimtab_protocol::name::{Generation, PoolName};
use trimtab_protocol::problem::{Fence, Problem, ProblemKind};

/// How a sidecar ends a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Keep the change.
    Confirm,
    /// Undo it.
    RollBack,
}

/// What is to be done to end a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndStep {
    /// Nothing: it had ended before, and this is the answer.
    Answered(ChangeReceipt),
    /// Pay what is owed, then finish.
    Finish,
}

/// How many confirmed sets of a pool are remembered.
const PROVEN_SETS: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    kept: VecDeque<Outcome>,
}

#[derive(Clone, Debug)]
struct Outcome {
    request: ChangeRequest,
    status: ChangeStatus,
    receipt: ChangeReceipt,
    confirm: Option<(EndTrialRequest, Result<ChangeReceipt, Refusal>)>,
    roll_back: Option<(EndTrialRequest, Result<ChangeReceipt, Refusal>)>,
}

impl Outcomes {
    pub(super) fn began(&mut self, request: ChangeRequest, receipt: ChangeReceipt) {
        if self.kept.len() >= REMEMBERED_GENERATIONS {
            self.kept.pop_front();
        }
        self.kept.push_back(Outcome {
            request,
            status: ChangeStatus::Trial,
            receipt,
            confirm: None,
            roll_back: None,
        });
    }

    pub(super) fn ended(&mut self, generation: Generation, status: ChangeStatus) {
        if let Some(outcome) = self.find_mut(generation) {
            outcome.status = status;
        }
    }

    /// The first answer to exactly this request, if it was accepted.
    pub(super) fn answer(&self, request: &ChangeRequest) -> Option<ChangeReceipt> {
        let outcome = self.find(request.generation)?;
        (outcome.request == *request).then(|| outcome.receipt.clone())
    }

    pub(super) fn receipt_mut(&mut self, generation: Generation) -> Option<&mut ChangeReceipt> {
        Some(&mut self.find_mut(generation)?.receipt)
    }

    fn find(&self, generation: Generation) -> Option<&Outcome> {
        self.kept
            .iter()
            .find(|outcome| outcome.request.generation == generation)
    }

    fn find_mut(&mut self, generation: Generation) -> Option<&mut Outcome> {
        self.kept
            .iter_mut()
            .find(|outcome| outcome.request.generation == generation)
    }
}

impl Outcome {
    fn end_mut(
        &mut self,
        end: End,
    ) -> &mut Option<(EndTrialRequest, Result<ChangeReceipt, Refusal>)> {
        match end {
            End::Confirm => &mut self.confirm,
            End::RollBack => &mut self.roll_back,
        }
    }

    fn answered(
        &self,
        end: End,
        request: &EndTrialRequest,
    ) -> Option<Result<ChangeReceipt, Refusal>> {
        let kept = match end {
            End::Confirm => &self.confirm,
            End::RollBack => &self.roll_back,
        };
        let (first, answer) = kept.as_ref()?;
        (first == request).then(|| answer.clone())
    }
}

impl Governor {
    /// Ends a trial as a sidecar asked.
    ///
    /// # Errors
    /// `stale` when instance or epoch do not fit, when the change is too old to be remembered, or when it ended otherwise than
    /// asked; `unknown` when there was no such change in this pool.
    pub fn end(
        &mut self,
        end: End,
        generation: Generation,
        request: &EndTrialRequest,
    ) -> Result<EndStep, Refusal> {
        self.check_instance(&request.instance)?;
        let outcome = self.known(generation, &request.pool)?;
        if let Some(answer) = outcome.answered(end, request) {
            return answer.map(EndStep::Answered);
        }
        let (began_in, status) = (outcome.request.epoch, outcome.status);
        if request.epoch != began_in {
            let detail = format!("the change was made in epoch {began_in}");
            return Err(self.stale(Some(Fence::Epoch), Some(&request.pool), detail));
        }
        if status != ChangeStatus::Trial {
            return self
                .too_late(end, generation, request, status)
                .map(EndStep::Answered);
        }
        self.check_epoch(request.epoch, Some(&request.pool))?;
        match end {
            End::Confirm => self.keep(&request.pool),
            End::RollBack => self.end_trial(&request.pool, ChangeStatus::RolledBack),
        }
        Ok(EndStep::Finish)
    }

    /// The answer to a confirmation or rollback that was just carried out.
    #[must_use]
    pub fn finish_end(
        &mut self,
        end: End,
        generation: Generation,
        request: &EndTrialRequest,
    ) -> ChangeReceipt {
        let status = match end {
            End::Confirm => ChangeStatus::Confirmed,
            End::RollBack => ChangeStatus::RolledBack,
        };
        let receipt = self.receipt(generation, &request.pool, status);
        if let Some(outcome) = self.outcomes.find_mut(generation) {
            *outcome.end_mut(end) = Some((request.clone(), Ok(receipt.clone())));
        }
        receipt
    }

    fn known(&self, generation: Generation, pool: &PoolName) -> Result<&Outcome, Refusal> {
        match self.outcomes.find(generation) {
            Some(outcome) if outcome.request.pool == *pool => Ok(outcome),
            None if generation <= self.generation && generation.0 > 0 => {
                let detail = format!("change {generation} is not remembered");
                Err(self.stale(Some(Fence::Generation), Some(pool), detail))
            }
            Some(_) | None => {
                let detail = format!("there was no change {generation} of pool `{pool}`");
                Err(Box::new(Problem::new(ProblemKind::Unknown, detail)))
            }
        }
    }

    fn too_late(
        &mut self,
        end: End,
        generation: Generation,
        request: &EndTrialRequest,
        status: ChangeStatus,
    ) -> Result<ChangeReceipt, Refusal> {
        let receipt = self.receipt(generation, &request.pool, status);
        let kept = status == ChangeStatus::Confirmed;
        let answer = if kept == (end == End::Confirm) {
            Ok(receipt)
        } else {
            let detail = format!("change {generation} is no longer on trial");
            let mut refusal = self.stale(None, Some(&request.pool), detail);
            refusal.receipt = Some(receipt);
            Err(refusal)
        };
        if let Some(outcome) = self.outcomes.find_mut(generation) {
            *outcome.end_mut(end) = Some((request.clone(), answer.clone()));
        }
        answer
    }

    /// Makes the values on trial the confirmed ones.
    fn keep(&mut self, name: &PoolName) {
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        let Some(trial) = pool.trial.take() else {
            return;
        };
        for knob in trial.before.keys() {
            if let Some(knob) = pool.knobs.get_mut(knob) {
                knob.confirmed = knob.target.clone();
                knob.tuned = true;
            }
        }
        let targets = pool.targets();
        if !pool.proven.contains(&targets) {
            if pool.proven.len() >= PROVEN_SETS {
                pool.proven.pop_front();
            }
            pool.proven.push_back(targets);
        }
        self.outcomes
            .ended(trial.generation, ChangeStatus::Confirmed);
    }
}
