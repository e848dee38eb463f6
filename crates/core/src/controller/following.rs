//! The queue's limit and the timeout: when they follow, and whether a change of them did harm.

use super::trial::value;
use super::tuner::{Choice, MINUTE, PoolTick, Tuner};
use crate::ablation::{Part, lacks};
use crate::guard::{Bounds, range_of};
use crate::number::fraction;
use crate::policy::follow::Wish;
use crate::policy::{Proposal, Purpose};
use crate::regime::is_starved;
use trimtab_protocol::decision::{Action, Direction, Expectation, Reason, Verdict, WindowFigures};
use trimtab_protocol::name::KnobName;

/// A pool must have been steady at its size for so many seconds before its other knobs follow: workers come first.
const STEADY_S: f64 = 5.0;
/// A change of them is watched for so many seconds ...
const WATCH_S: f64 = 3.0;
/// ... but a timeout hardly at all while jobs hang or work waits in another pool, for then workers wait for their turn.
const MAKING_ROOM_S: f64 = 0.5;
/// ... and undone when the share of work that ends in time fell by so many standard errors and this share.
const FELL: (f64, f64) = (3.0, 0.02);
/// With more changes than this within a minute, what is left of the rate is for the workers.
const CHANGES_SPARE: u32 = 6;

impl Tuner {
    /// What follows when nothing is to be done about the workers.
    ///
    /// # Errors
    /// A hold for the reason given, when nothing follows.
    pub(super) fn follow_up(
        &mut self,
        tick: &PoolTick<'_>,
        held: Reason,
    ) -> Result<Proposal, Box<Choice>> {
        if lacks(Part::Following) {
            return Err(Box::new(Choice::hold(held)));
        }
        let quiet = matches!(
            held,
            Reason::Ample
                | Reason::Idle
                | Reason::NothingToGain
                | Reason::TooFew { .. }
                | Reason::Watching { .. }
                | Reason::Resting { .. }
                | Reason::MemoryForbids { .. }
        );
        let spare = self.changes.within(tick.now, MINUTE) < CHANGES_SPARE;
        let steady = self.policy.steady();
        let calm = quiet && spare && steady.is_some_and(|(seconds, _)| seconds >= STEADY_S);
        let wish = self
            .wished_timeout(tick)
            .filter(|wish| calm || wish.at_once);
        let timeout = wish.and_then(|wish| self.wish(tick, KnobName::TIMEOUT_MS, wish));
        let queue = || {
            let wish = self.wished_queue(tick).filter(|_| calm)?;
            self.wish(tick, KnobName::QUEUE_LIMIT, wish)
        };
        timeout
            .or_else(queue)
            .ok_or_else(|| Box::new(Choice::hold(held)))
    }

    /// Nothing ends well any more, and what is begun is cut by a timeout that is closer than the one that people chose: that was
    /// made for times that are over, and goes back by steps, without proof.
    pub(super) fn loosened_timeout(&self, tick: &PoolTick<'_>) -> Option<Proposal> {
        let knob = tick.pool.knobs.get(KnobName::TIMEOUT_MS)?;
        let (now, chosen) = (knob.value.as_integer()?, knob.baseline.as_integer()?);
        let (_, most) = bounds(tick, KnobName::TIMEOUT_MS)?;
        let value = now.saturating_mul(2).min(chosen).min(most);
        if value <= now || !self.follow.cuts_many() || self.watch.stuck_for(tick.now).is_none() {
            return None;
        }
        let (p999_us, successes) = self.follow.seen()?;
        let reason = Reason::TimeoutFollows { p999_us, successes };
        Some(Proposal {
            knob: KnobName::from(KnobName::TIMEOUT_MS),
            value,
            direction: Direction::Up,
            purpose: Purpose::Return,
            pressing: true,
            reason,
            expectation: Expectation {
                goodput_per_s: 0.0,
                least_gain_per_s: 0.0,
            },
            cost_s: 0.0,
        })
    }

    fn wished_timeout(&mut self, tick: &PoolTick<'_>) -> Option<Wish> {
        let now = value(tick.pool, KnobName::TIMEOUT_MS)?;
        let bounds = bounds(tick, KnobName::TIMEOUT_MS)?;
        let goal = tick.profile.slo_ms.as_ref().map(|slo| slo.value);
        self.follow.timeout(tick.seconds(), now, goal, bounds)
    }

    fn wished_queue(&self, tick: &PoolTick<'_>) -> Option<Wish> {
        let (_, throughput) = self.policy.steady()?;
        let size = value(tick.pool, KnobName::WORKERS)?;
        // While nothing waits, what the pool could do is not known.
        if !is_starved(tick.delta.ok()?, size) {
            return None;
        }
        // ... and a queue does no harm until those who waited in it come late.
        let slo_ms = Self::slo_ms(tick.pool, tick.profile)?;
        let figures = self.window.figures(size, Some(slo_ms))?;
        let waits_us = figures.wait_p95_us?;
        if waits_us < slo_ms.saturating_mul(500) {
            return None;
        }
        let now = value(tick.pool, KnobName::QUEUE_LIMIT)?;
        let bounds = bounds(tick, KnobName::QUEUE_LIMIT)?;
        let wish = self
            .follow
            .queue(throughput, now, fraction(slo_ms) / 1e3, bounds)?;
        (wish.value < now).then_some(wish)
    }

    fn wish(&self, tick: &PoolTick<'_>, knob: &'static str, wish: Wish) -> Option<Proposal> {
        let now = value(tick.pool, knob)?;
        let baseline = tick.pool.knobs.get(knob)?.baseline.as_integer();
        let start = range_of(knob, tick.profile).map(|range| range.start.value);
        let to = baseline
            .zip(start)
            .map_or(wish.value, |by| first_stop(now, wish.value, by));
        let direction = match to.cmp(&now) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => Direction::Up,
            std::cmp::Ordering::Less => Direction::Down,
        };
        // What it would cut is known already.
        if knob == KnobName::TIMEOUT_MS && direction == Direction::Down && !wish.at_once {
            let slo_ms = Self::slo_ms(tick.pool, tick.profile);
            if self.follow.would_cut(to, slo_ms) {
                return None;
            }
        }
        // What a trigger says it is to be, it is; and what did harm a while ago is not done again so soon.
        let rests = !wish.at_once && self.follow_rests(tick.now, knob);
        if rests || self.is_asked(tick, knob) {
            return None;
        }
        let (_, throughput) = self.policy.steady().unwrap_or_default();
        Some(Proposal {
            knob: KnobName::from(knob),
            value: to,
            direction,
            purpose: Purpose::Follow,
            pressing: wish.at_once,
            reason: wish.reason,
            expectation: Expectation {
                goodput_per_s: throughput,
                least_gain_per_s: 0.0,
            },
            cost_s: 0.0,
        })
    }

    /// A timeout does harm only by cutting work that would have ended. The share of good work says little about it: it moves
    /// with the load, which is often why the timeout moves.
    fn judge_timeout(&self, now: &WindowFigures, contended: bool) -> Option<(Action, Reason)> {
        let trial = self.trial.as_ref()?;
        if trial.knob.as_str() != KnobName::TIMEOUT_MS {
            return None;
        }
        let cuts = self.follow.cuts(trial.to);
        let (gain_per_s, error_per_s) = (0.0, 0.0);
        let verdict = if cuts {
            let loss_per_s = now.lost_per_s;
            Verdict::GoodputFell {
                loss_per_s,
                error_per_s,
            }
        } else {
            Verdict::NoDifference {
                gain_per_s,
                error_per_s,
            }
        };
        let hangs = self.follow.held(Some(trial.to)) > 0.0;
        let least_s = if hangs || contended {
            MAKING_ROOM_S
        } else {
            WATCH_S
        };
        let watched = now.seconds >= least_s;
        let seconds = now.seconds;
        Some(if cuts && trial.direction == Direction::Down {
            (Action::RollBack, Reason::DidNotPay { verdict })
        } else if watched {
            (Action::Confirm, Reason::Paid { verdict })
        } else {
            (Action::Hold, Reason::Measuring { seconds, verdict })
        })
    }

    /// A knob that follows stays where it is unless less work ends in time under it.
    pub(super) fn judge_following(
        &self,
        workers: u64,
        slo_ms: Option<u64>,
        contended: bool,
    ) -> (Action, Reason) {
        let figures = |trial: &super::trial::Trial| {
            let now = trial.window.figures(workers, slo_ms)?;
            Some((trial.before_figures.clone(), now))
        };
        let Some((before, now)) = self.trial.as_ref().and_then(figures) else {
            return (Action::Hold, Reason::Settling);
        };
        if let Some(verdict) = self.loses_on_trial(workers, slo_ms) {
            return (Action::RollBack, Reason::DidNotPay { verdict });
        }
        if let Some(judged) = self.judge_timeout(&now, contended) {
            return judged;
        }
        let (gain, error) = share_gained(&before, &now);
        let (gain_per_s, error_per_s) = (gain * now.arrivals_per_s, error * now.arrivals_per_s);
        if gain < -FELL.1 && -gain > FELL.0 * error {
            let verdict = Verdict::GoodputFell {
                loss_per_s: -gain_per_s,
                error_per_s,
            };
            return (Action::RollBack, Reason::DidNotPay { verdict });
        }
        let verdict = Verdict::NoDifference {
            gain_per_s,
            error_per_s,
        };
        if now.seconds >= WATCH_S {
            (Action::Confirm, Reason::Paid { verdict })
        } else {
            let seconds = now.seconds;
            (Action::Hold, Reason::Measuring { seconds, verdict })
        }
    }
}

/// Where a knob goes on its way to a value: where the profile's start lies on the way from what people chose, it stops there
/// first.
fn first_stop(now: u64, to: u64, (baseline, start): (u64, u64)) -> u64 {
    let up = baseline <= now && now < start && start < to;
    let down = baseline >= now && now > start && start > to;
    if up || down { start } else { to }
}

fn bounds(tick: &PoolTick<'_>, knob: &str) -> Option<(u64, u64)> {
    let bounds = Bounds::allowed(tick.pool.knobs.get(knob)?, range_of(knob, tick.profile));
    Some((bounds.min, bounds.max))
}

/// By how much the share of arrivals that end in time rose, and the standard error of that.
pub(super) fn share_gained(before: &WindowFigures, now: &WindowFigures) -> (f64, f64) {
    let share = |figures: &WindowFigures| {
        let arrived = (figures.arrivals_per_s * figures.seconds).max(1.0);
        ((fraction(figures.good) / arrived).min(1.0), arrived)
    };
    let ((was, of), (is, out_of)) = (share(before), share(now));
    let pooled = ((was * of + is * out_of) / (of + out_of)).clamp(0.0, 1.0);
    let error = (pooled * (1.0 - pooled) * (1.0 / of + 1.0 / out_of)).sqrt();
    (is - was, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_what_people_chose_leads_over_the_profiles_start() {
        assert_eq!(first_stop(4_000, 300, (4_000, 1_000)), 1_000);
        assert_eq!(first_stop(1_000, 300, (4_000, 1_000)), 300);
        assert_eq!(first_stop(20_000, 40_000, (20_000, 30_000)), 30_000);
        // It lies on the other side, is what people chose, or is passed on the way back.
        assert_eq!(first_stop(20_000, 2_000, (20_000, 30_000)), 2_000);
        assert_eq!(first_stop(20_000, 2_000, (20_000, 20_000)), 2_000);
        assert_eq!(first_stop(20_000, 40_000, (60_000, 30_000)), 40_000);
    }

    #[test]
    fn a_share_is_compared_and_not_a_rate() {
        let figures = |good: u64, arrivals_per_s: f64| WindowFigures {
            seconds: 10.0,
            good,
            arrivals_per_s,
            ..WindowFigures::default()
        };
        let (gain, error) = share_gained(&figures(900, 100.0), &figures(1_800, 200.0));
        assert!(gain.abs() < 1e-9 && error > 0.0);
        let (gain, error) = share_gained(&figures(900, 100.0), &figures(600, 100.0));
        assert!(-gain > 3.0 * error);
    }
}
