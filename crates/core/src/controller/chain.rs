//! What the rules of a profile have moved, step after step, held against what was served before the first of these steps.
//!
//! Each step passes a proof of its own, and each may lose too little to be told from chance; many of them lose much. So what was
//! served before the first step stays known for a while. Once less of what comes ends in time than then, the steps are undone
//! together, and no rule moves that knob that way for a while.

use super::following::share_gained;
use super::rules::HARMED;
use super::trial::value;
use super::tuner::{PoolTick, Tuner};
use crate::guard::{Bounds, range_of};
use crate::moment::{Moment, Span};
use crate::number::{fraction, whole};
use crate::policy::{Proposal, Purpose};
use std::collections::BTreeMap;
use trimtab_protocol::decision::{Action, Direction, Reason, Verdict, WindowFigures};
use trimtab_protocol::name::KnobName;

/// Harm is a share of arrivals in time that is smaller by this ...
const LOST_SHARE: f64 = 0.02;
/// ... and by so many standard errors: under a trial, as the policy takes for a loss, ...
const ON_TRIAL: f64 = 2.0;
/// ... and three where it is looked at again and again, for minutes.
const AFTERWARDS: f64 = 3.0;
/// A load above so many times that of then loses for reasons of its own.
const SAME_LOAD: f64 = 1.1;
/// The steps back take at most so long: a factor of 64 by doublings, and some seconds for the host.
const BACK: Span = Span::from_secs(15);

/// The steps of rules at one knob.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// The value before the first of them.
    from: u64,
    /// What was served then.
    before: WindowFigures,
    direction: Direction,
    /// When the last of them was kept.
    kept: Moment,
    /// Until when they are being undone, once they are.
    back_until: Option<Moment>,
}

impl Chain {
    fn is_open(&self, now: Moment) -> bool {
        match self.back_until {
            Some(until) => until > now,
            None => now.since(self.kept) < HARMED,
        }
    }

    /// Whether a value still lies where the steps led.
    fn leads_to(&self, value: u64) -> bool {
        match self.direction {
            Direction::Up => value > self.from,
            Direction::Down => value < self.from,
        }
    }
}

/// What less of what comes ends in time, if that is more than chance and the load is not to blame.
fn loss(before: &WindowFigures, now: &WindowFigures, sigmas: f64) -> Option<Verdict> {
    let (gain, error) = share_gained(before, now);
    let same_load = now.arrivals_per_s <= SAME_LOAD * before.arrivals_per_s;
    let lost = before.seconds > 0.0 && gain < -LOST_SHARE && -gain > sigmas * error;
    (same_load && lost).then(|| Verdict::GoodputFell {
        loss_per_s: -gain * now.arrivals_per_s,
        error_per_s: error * now.arrivals_per_s,
    })
}

/// The chains of one pool, by knob.
pub(super) type Chains = BTreeMap<KnobName, Chain>;

impl Tuner {
    /// A step of a rule is kept: it continues what steps of the same way began.
    pub(super) fn lengthen_chain(&mut self, now: Moment, action: Action) {
        let ruled = self.trial.as_ref().filter(|trial| trial.ruled);
        let Some(trial) = ruled.filter(|_| action == Action::Confirm) else {
            return;
        };
        let known = self.chains.get_mut(&trial.knob);
        let continued = known.filter(|chain| {
            let same = chain.direction == trial.direction && chain.leads_to(trial.to);
            same && chain.is_open(now) && chain.before.seconds > 0.0
        });
        match continued {
            Some(chain) => chain.kept = now,
            None => {
                let chain = Chain {
                    from: trial.from,
                    before: trial.before_figures.clone(),
                    direction: trial.direction,
                    kept: now,
                    back_until: None,
                };
                self.chains.insert(trial.knob.clone(), chain);
            }
        }
    }

    /// What a step of a rule that is on trial loses, against what was served before the first step of its chain.
    pub(super) fn loses_on_trial(&self, workers: u64, slo_ms: Option<u64>) -> Option<Verdict> {
        let trial = self.trial.as_ref().filter(|trial| trial.ruled)?;
        let now = trial.window.figures(workers, slo_ms)?;
        let chain = self.chains.get(&trial.knob);
        let chain = chain.filter(|chain| chain.direction == trial.direction);
        let before = chain.map_or(&trial.before_figures, |chain| &chain.before);
        loss(before, &now, ON_TRIAL)
    }

    /// The way back from where rules have led, once it shows that less is served there.
    pub(super) fn unchained(&mut self, tick: &PoolTick<'_>) -> Option<Proposal> {
        if self.chains.is_empty() {
            return None;
        }
        let figures = self.figures(tick)?;
        self.chains.retain(|knob, chain| {
            let stands = value(tick.pool, knob.as_str());
            chain.is_open(tick.now) && stands.is_some_and(|stands| chain.leads_to(stands))
        });
        let loses = |chain: &Chain| {
            chain.back_until.is_some() || loss(&chain.before, &figures, AFTERWARDS).is_some()
        };
        let (knob, chain) = self.chains.iter_mut().find(|(_, chain)| loses(chain))?;
        let begins = chain.back_until.is_none();
        chain.back_until.get_or_insert_with(|| tick.now.after(BACK));
        let (knob, chain) = (knob.clone(), chain.clone());
        if begins && knob.as_str() == KnobName::WORKERS {
            self.unruled.insert(chain.direction, tick.now.after(HARMED));
        } else if begins {
            self.follow_did_harm(tick.now, &knob);
        }
        let range = range_of(knob.as_str(), tick.profile);
        let bounds = Bounds::allowed(tick.pool.knobs.get(&knob)?, range);
        let to = chain.from.clamp(bounds.min, bounds.max);
        if Some(to) == value(tick.pool, knob.as_str()) {
            self.chains.remove(&knob);
            return None;
        }
        let reason = if knob.as_str() == KnobName::WORKERS {
            Reason::Collapsed {
                workers: chain.from,
                before_per_s: chain.before.goodput_per_s,
                now_per_s: figures.goodput_per_s,
            }
        } else {
            let verdict = loss(&chain.before, &figures, 0.0);
            Reason::DidNotPay {
                verdict: verdict.unwrap_or(Verdict::NothingWaits),
            }
        };
        Some(self.ruled(tick, (knob, to), Purpose::Return, reason))
    }

    /// How far a rule may move the workers by what is known already; nothing where it is known to lose.
    ///
    /// Where nothing waits, fewer than the work needs would make it wait: the mean number in service and two standard
    /// deviations of it, by Little's law. Elsewhere the curve tells, where it stands on three sizes.
    pub(super) fn bearable(&self, tick: &PoolTick<'_>, workers: u64, to: u64) -> Option<u64> {
        let figures = self.figures(tick)?;
        let to = if to < workers && !self.work_waits(tick) {
            let needed = figures.busy + 2.0 * figures.busy.max(0.0).sqrt();
            to.max(whole(libm::ceil(needed)))
        } else {
            to
        };
        // One step at most doubles or halves.
        let next = to.clamp(workers.div_ceil(2), workers.saturating_mul(2));
        let sight = self.sight(tick, None)?;
        let promised = self.policy.promised(&sight, fraction(next));
        let loses = promised.is_some_and(|ratio| ratio < 1.0 - LOST_SHARE);
        (!loses && to != workers).then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(good: u64, arrivals_per_s: f64) -> WindowFigures {
        WindowFigures {
            seconds: 10.0,
            good,
            arrivals_per_s,
            ..WindowFigures::default()
        }
    }

    #[test]
    fn less_in_time_at_the_same_load_is_a_loss_and_at_a_larger_one_is_none() {
        let before = figures(980, 100.0);
        let fell = loss(&before, &figures(800, 100.0), AFTERWARDS);
        assert!(matches!(fell, Some(Verdict::GoodputFell { .. })));
        assert_eq!(loss(&before, &figures(1_000, 140.0), AFTERWARDS), None);
        assert_eq!(loss(&before, &figures(975, 100.0), AFTERWARDS), None);
        let unknown = WindowFigures::default();
        assert_eq!(loss(&unknown, &figures(0, 100.0), AFTERWARDS), None);
    }
}
