//! What is decided about a trial that is open.

use super::trial::{Stage, Trial};
use super::tuner::{Choice, PoolTick, Tuner};
use crate::decision::{Step, TrialId};
use crate::guard;
use crate::moment::Span;
use crate::number::fraction;
use crate::policy::verdict::Judgement;
use crate::policy::{COMPLETIONS_MIN, Purpose, Urge};
use crate::regime::is_starved;
use crate::window::PoolDelta;
use std::sync::Arc;
use trimtab_protocol::decision::{Absence, Action, Direction, Reason, Regime, Verdict};
use trimtab_protocol::name::PoolName;

/// A trial under which nothing waits makes room for a pool that does, after so many seconds.
const CONTENDED_MIN: Span = Span::from_secs(3);

/// Why no growth may stay, if memory has run out.
fn out_of_memory(tick: &PoolTick<'_>) -> Option<Reason> {
    let share = tick.signals.memory_share?;
    // Above the ladder's step it steps down by itself; a share between the two is only the error of the prediction.
    let most = guard::MEMORY_SHARE_MAX.min(tick.profile.ladder.step_down.value);
    (share > most).then_some(Reason::MemoryForbids {
        predicted_share: share,
        allowed_share: most,
    })
}

impl Tuner {
    /// Decides about an open trial, which comes before anything else; nothing when none is open.
    /// `contended` says that another pool waits for workers meanwhile.
    pub(super) fn decide_trial(&mut self, tick: &PoolTick<'_>, contended: bool) -> Option<Choice> {
        if self.trial.is_none() {
            return self.reclaim(tick);
        }
        if let Some(reason) = self.given_up.take() {
            let trial = self.trial.as_mut()?;
            let (action, reason) = trial.end(Action::RollBack, reason);
            return Some(trial_choice(tick.name, trial, action, reason));
        }
        let (action, reason) = match (&self.trial.as_ref()?.stage, tick.delta) {
            // What was about to be kept is not kept either.
            _ if tick.frozen => self.trial.as_mut()?.end(Action::RollBack, Reason::Frozen),
            (Stage::Ending { action, reason }, _) => (*action, reason.clone()),
            (Stage::Sent { .. }, _) => (Action::Hold, Reason::Settling),
            (Stage::InForce { .. }, Err((_, absence))) => self.trial.as_mut()?.blind(absence),
            (Stage::InForce { .. }, Ok(delta)) => {
                let (action, reason) = self.judge(tick, delta, contended)?;
                self.weigh_rule(tick.now, action, &reason);
                self.lengthen_chain(tick.now, action);
                match action {
                    Action::Confirm | Action::RollBack => self.trial.as_mut()?.end(action, reason),
                    Action::Hold | Action::Try | Action::Advise => (action, reason),
                }
            }
        };
        let trial = self.trial.as_ref()?;
        Some(trial_choice(tick.name, trial, action, reason))
    }

    /// Judges the trial in force by a tick.
    fn judge(
        &mut self,
        tick: &PoolTick<'_>,
        delta: &Arc<PoolDelta>,
        contended: bool,
    ) -> Option<(Action, Reason)> {
        let slo_ms = Self::slo_ms(tick.pool, tick.profile);
        let trial = self.trial.as_mut()?;
        let (claim, direction, to) = (trial.claim, trial.direction, trial.to);
        let undo = |reason| Some((Action::RollBack, reason));
        let failures = if self.policy.is_clean() {
            trial.add(delta, slo_ms)
        } else {
            None
        };
        let measured = trial.measured();
        if claim.purpose == Purpose::Return {
            return Some((Action::Confirm, Reason::NeedsNoProof));
        }
        if let Some(dry) = self.watch.stuck_for(tick.now) {
            if claim.purpose != Purpose::Follow {
                self.policy.did_not_pay(direction, tick.seconds());
            }
            return undo(Reason::Stuck {
                seconds: dry.as_secs_f64(),
            });
        }
        let sized = claim.purpose != Purpose::Follow;
        if let Some(reason) = out_of_memory(tick).filter(|_| sized && direction == Direction::Up) {
            self.policy.did_not_pay(direction, tick.seconds());
            return undo(reason);
        }
        if let Some(verdict) = failures {
            self.policy.did_not_pay(direction, tick.seconds());
            return undo(Reason::DidNotPay { verdict });
        }
        let sight = self.sight(tick, Some(&claim))?;
        match self.policy.urge() {
            // The way back leads there as well.
            Some(Urge::Go(urge))
                if claim.purpose != Purpose::Follow
                    && is_about(urge.value, self.trial.as_ref()?.from) =>
            {
                return undo(urge.reason.clone());
            }
            Some(Urge::Go(urge)) => return Some((Action::Confirm, urge.reason.clone())),
            Some(Urge::Keep(reason)) => return Some((Action::Confirm, reason.clone())),
            None => {}
        }
        if let Some(verdict) = self.loses_on_trial(sight.workers, slo_ms).filter(|_| sized) {
            self.policy.did_not_pay(direction, tick.seconds());
            return undo(Reason::DidNotPay { verdict });
        }
        if claim.purpose == Purpose::Follow {
            return Some(self.judge_following(sight.workers, slo_ms, contended));
        }
        let draining = delta.busy() > 1.1 * fraction(to) || tick.pool.settling;
        let judgement = self.policy.judge(&sight, &claim, draining);
        // Nothing waits here any more and something does elsewhere: the host's one trial is of more use there.
        let idle = contended && !is_starved(delta, to) && measured >= CONTENDED_MIN;
        match judgement {
            Judgement::Open(_) if idle => undo(self.too_few()?),
            Judgement::Open(reason) => Some((Action::Hold, reason)),
            Judgement::Keep(reason) => Some((Action::Confirm, reason)),
            Judgement::Undo(reason) => undo(reason),
        }
    }

    /// The trial ends before enough was seen.
    fn too_few(&self) -> Option<Reason> {
        let verdict = Verdict::TooFew {
            completed: self.trial.as_ref()?.window.completed(),
            needed: COMPLETIONS_MIN,
        };
        Some(Reason::DidNotPay { verdict })
    }

    /// The host cannot be read: an open trial is undone once that has lasted.
    pub(super) fn decide_blind(&mut self, name: &PoolName, absence: Absence) -> Option<Choice> {
        self.regime = Some(Regime::Blind);
        self.triggers.clear();
        let trial = self.trial.as_mut()?;
        let (action, reason) = trial.blind(absence);
        Some(trial_choice(name, trial, action, reason))
    }

    /// The sidecar ends: an open trial is not left behind.
    pub(super) fn decide_shutdown(&mut self, name: &PoolName) -> Option<Choice> {
        let trial = self.trial.as_mut()?;
        let (action, reason) = trial.end(Action::RollBack, Reason::ShuttingDown);
        Some(trial_choice(name, trial, action, reason))
    }
}

/// Whether two sizes are within a quarter of each other.
fn is_about(left: u64, right: u64) -> bool {
    let (left, right) = (fraction(left.max(1)), fraction(right.max(1)));
    left.max(right) <= 1.25 * left.min(right)
}

fn trial_choice(name: &PoolName, trial: &Trial, action: Action, reason: Reason) -> Choice {
    let id = TrialId {
        pool: name.clone(),
        epoch: trial.epoch,
        generation: trial.generation,
    };
    let step = match action {
        Action::Confirm => Some(Step::Confirm(id)),
        Action::RollBack => Some(Step::RollBack(id)),
        Action::Hold | Action::Try | Action::Advise => None,
    };
    Choice {
        action,
        reason,
        expectation: Some(trial.expectation.clone()),
        change: Some(trial.change.clone()),
        bound_by: trial.bound_by.clone(),
        step,
    }
}
