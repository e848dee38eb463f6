//! Whether a trial paid: a window before it against a window under it, looked at every tick.
//!
//! Growth must gain; a shrink must not lose. What two windows leave undecided is decided by the curve through everything
//! that was learnt, for judging by two windows alone undoes a third of the good trials of uneven work.

use super::{Claim, ENOUGH, Policy, Purpose, Sight, Standing};
use crate::ablation::{Part, lacks};
use crate::model::tally::error_of_difference;
use crate::number::whole;
use trimtab_protocol::decision::{Direction, Reason, Verdict};

/// Differences below this share are not worth a change, however sure they are.
pub(super) const WORTH_SHARE: f64 = 0.02;
/// Growth must be predicted to gain this ratio, where the windows alone do not tell ...
const POOLED_UP: f64 = 1.015;
/// ... or, while the load asks for more and jobs do not crowd each other, not to lose: the way up leads over flat stretches ...
const POOLED_CLIMB: f64 = 1.0;
/// ... and a shrink must be predicted to keep this one.
pub(super) const POOLED_DOWN: f64 = 0.985;
/// ... or, where the size before was not seen for long enough to be compared with, this one.
const UNFAIR_DOWN: f64 = 0.8;
/// Completions, times dispersion, after which a growth is decided: the error of the comparison is then 5 %.
const DECIDED_UP: f64 = 800.0;
/// The same for a shrink, which the harm of a wrong one cuts short.
const DECIDED_DOWN: f64 = 3_000.0;
/// The shortest and the longest window under a growth, in seconds; and the longest under a shrink.
const SPAN_S: (f64, f64, f64) = (2.5, 20.0, 6.0);
/// The longest time to wait for enough completions, in seconds.
const FEW_MAX_S: f64 = 20.0;
/// The longest time to wait for a shrunk pool to drain, in seconds.
const DRAIN_MAX_S: f64 = 30.0;
/// A climb goes on while this much of a growth in size shows as growth in throughput.
const CLIMB_ELASTICITY: f64 = 0.35;
/// The load counts as the same while this share of it still comes.
const LOAD_KEPT: f64 = 0.9;
/// Jobs that were too late end sooner when they take this part of the time.
const SOONER: f64 = 0.8;
/// ... and about as much ends when it is this part.
const AS_MUCH: f64 = 0.8;
/// With the CPU full, a loss of throughput below this share is the noise of the wait inside.
pub(super) const FULL_LOSS: f64 = 0.15;

/// Trials in one direction that do not pay lose at most this share of what is served, rests included ...
const LOST_SHARE: f64 = 0.1;
/// ... but a rest for that is no longer than this, in seconds: loads and services change.
const REST_BY_PRICE_MAX_S: f64 = 120.0;

/// How a trial stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Not known yet.
    Open(Reason),
    /// It paid, or what it was for is over: keep it.
    Keep(Reason),
    /// It did not: undo it.
    Undo(Reason),
}

/// For how long a growth is measured at most, in seconds.
#[must_use]
pub(super) fn span_s(dispersion: f64, throughput: f64) -> f64 {
    (DECIDED_UP * dispersion / throughput.max(1e-9)).clamp(SPAN_S.0, SPAN_S.2)
}

/// A trial's comparison.
#[derive(Clone, Copy, Debug)]
struct Comparison {
    before: f64,
    now: f64,
    gain: f64,
    error: f64,
    up: bool,
    /// Whether nothing can have been lost: the CPU stayed full, or the size before was never seen alone.
    free: bool,
    /// Whether the latter is the only reason.
    unfair: bool,
}

impl Comparison {
    fn worse(&self, ticks: f64, starved: bool) -> bool {
        let fell = self.gain < -WORTH_SHARE * self.before - 2.0 * self.error;
        let far = self.gain < -0.3 * self.before;
        // A size that was not seen for long may seem to have done more than it does, but not by so much.
        let clear = self.unfair && far && ticks >= 2.0 && -self.gain > 3.0 * self.error;
        starved && (fell && (ticks >= 2.0 || far) && !self.free || clear)
    }

    fn verdict(&self) -> Verdict {
        let (gain_per_s, error_per_s) = (self.gain, self.error);
        if self.gain > 0.0 && self.gain > WORTH_SHARE * self.before + self.error {
            Verdict::GoodputRose {
                gain_per_s,
                error_per_s,
            }
        } else if self.gain < -WORTH_SHARE * self.before - 2.0 * self.error {
            Verdict::GoodputFell {
                loss_per_s: -self.gain,
                error_per_s,
            }
        } else {
            Verdict::NoDifference {
                gain_per_s,
                error_per_s,
            }
        }
    }
}

impl Policy {
    /// Judges the trial in force. `draining` says that more is in service than the new size takes.
    pub fn judge(&mut self, sight: &Sight<'_>, claim: &Claim, draining: bool) -> Judgement {
        let verdict = self.judge_standing(sight, claim);
        if let Some(verdict) = verdict {
            return verdict;
        }
        if let Some(verdict) = self.judge_lateness(sight, claim, draining) {
            return verdict;
        }
        let tally = self.tally;
        let waited = sight.now_s - claim.since_s;
        let few = tally.finished < ENOUGH && waited < FEW_MAX_S;
        if few || draining && waited < DRAIN_MAX_S {
            let (completed, needed) = (whole(tally.finished), whole(ENOUGH));
            let verdict = Verdict::TooFew { completed, needed };
            return Judgement::Open(Reason::Measuring {
                seconds: tally.seconds,
                verdict,
            });
        }
        let starved = self.is_starved();
        let comparison = self.compare(sight, claim);
        #[cfg(test)]
        if crate::testing::has(crate::testing::Fault::KeepsLosses) {
            let verdict = comparison.verdict();
            return Judgement::Keep(Reason::Paid { verdict });
        }
        #[cfg(test)]
        if crate::testing::has(crate::testing::Fault::NeverRests) {
            let verdict = comparison.verdict();
            return Judgement::Undo(Reason::DidNotPay { verdict });
        }
        if comparison.worse(tally.ticks, starved) {
            self.put_back(sight, claim);
            self.climbing = false;
            return Judgement::Undo(Reason::DidNotPay {
                verdict: comparison.verdict(),
            });
        }
        let up = comparison.up;
        let better = comparison.gain > WORTH_SHARE * comparison.before + comparison.error;
        let verdict = if up && (better || !starved) || !up && comparison.gain > 0.0 {
            if up {
                self.up.paid()
            } else {
                self.down.paid()
            }
            if better || !up {
                comparison.verdict()
            } else {
                Verdict::NothingWaits
            }
        } else if tally.seconds >= self.span(claim, &comparison) {
            match self.pooled(sight, claim, &comparison, starved) {
                Ok(verdict) => verdict,
                Err(verdict) => return Judgement::Undo(Reason::DidNotPay { verdict }),
            }
        } else {
            let (seconds, verdict) = (tally.seconds, comparison.verdict());
            return Judgement::Open(Reason::Measuring { seconds, verdict });
        };
        self.judge_stride(claim, &comparison, starved);
        Judgement::Keep(Reason::Paid { verdict })
    }

    /// What the tick itself says before any window is looked at.
    fn judge_standing(&mut self, sight: &Sight<'_>, claim: &Claim) -> Option<Judgement> {
        match self.standing {
            Standing::Clean => {}
            Standing::Suspicious => {
                return Some(Judgement::Open(Reason::Suspicious { slower: true }));
            }
            Standing::New | Standing::Settling | Standing::Stuck => {
                return Some(Judgement::Open(Reason::Settling));
            }
        }
        let down = claim.to < claim.from;
        let load = self.arrivals.now();
        let verdict = Verdict::LoadMoved {
            before_per_s: self.judged_load,
            now_per_s: load,
        };
        if self.fresh {
            // It proves nothing now.
            let reason = Reason::DidNotPay { verdict };
            return Some(if down {
                Judgement::Undo(reason)
            } else {
                Judgement::Keep(Reason::Paid { verdict })
            });
        }
        if down
            && claim.purpose == Purpose::Look
            && claim.late_s.is_none()
            && self.starved & 3 == 0
            && self.tally.ticks >= 2.0
        {
            if load > LOAD_KEPT * claim.load && load > 0.0 {
                // As much comes as before and nothing waits any more: fewer do more.
                return Some(Judgement::Keep(Reason::Paid {
                    verdict: Verdict::NothingWaits,
                }));
            }
            // The load went away under a look below: nothing was learnt, so what was known stays.
            self.down.wait(sight.now_s + 10.0);
            return Some(Judgement::Undo(Reason::DidNotPay { verdict }));
        }
        None
    }

    /// A shrink from a size at which nothing was in time: whether jobs end sooner tells more than how many end.
    fn judge_lateness(
        &mut self,
        sight: &Sight<'_>,
        claim: &Claim,
        draining: bool,
    ) -> Option<Judgement> {
        let before_s = claim.late_s.filter(|_| claim.to < claim.from)?;
        let waited = sight.now_s - claim.since_s;
        if draining && waited < DRAIN_MAX_S || self.tally.seconds < SPAN_S.0 {
            return None;
        }
        let sooner = super::protect::at_least_s(&self.tally) < SOONER * before_s;
        let comparison = self.compare(sight, claim);
        let verdict = comparison.verdict();
        // Whoever waits for a late answer still gets it.
        let as_much = comparison.now >= AS_MUCH * comparison.before;
        (sooner && as_much).then(|| {
            self.down.paid();
            Judgement::Keep(Reason::Paid { verdict })
        })
    }

    fn compare(&self, sight: &Sight<'_>, claim: &Claim) -> Comparison {
        let now = self.tally.throughput(self.cells.mix());
        let (before, seconds) = claim.before;
        let up = claim.to > claim.from;
        let gain = now - before;
        let full = sight
            .cpu_share
            .is_some_and(|share| share >= super::learn::CPU_FULL);
        let stayed_full = full && gain > -FULL_LOSS * before;
        Comparison {
            before,
            now,
            gain,
            error: error_of_difference(
                self.work.dispersion(),
                (before, seconds),
                (now, self.tally.seconds),
            ),
            up,
            free: !up && (stayed_full || !claim.fair),
            unfair: !up && !stayed_full && !claim.fair,
        }
    }

    /// How long the window under the trial must be before it is decided anyhow.
    fn span(&self, claim: &Claim, comparison: &Comparison) -> f64 {
        let rate = comparison.now.max(1e-9);
        let dispersion = self.work.dispersion();
        let (least, most, most_down) = SPAN_S;
        let mixed = 2.0 * self.mixing_s;
        if !claim.fair {
            mixed.clamp(1.5, 10.0)
        } else if comparison.up {
            (DECIDED_UP * dispersion / rate)
                .max(mixed)
                .clamp(least, most)
        } else {
            (DECIDED_DOWN * dispersion / rate)
                .clamp(least, most_down)
                .max(mixed.min(15.0))
        }
    }

    /// Undecided by the two windows alone: everything learnt so far decides.
    fn pooled(
        &mut self,
        sight: &Sight<'_>,
        claim: &Claim,
        comparison: &Comparison,
        starved: bool,
    ) -> Result<Verdict, Verdict> {
        self.refit(sight.now_s, claim.to);
        let shape = self.known_shape().filter(|_| !lacks(Part::Pooled));
        let ratio = match shape {
            Some(shape) => shape.throughput(claim.to) / shape.throughput(claim.from).max(1e-9),
            None => comparison.now / comparison.before.max(1e-9),
        };
        // Where nothing waits the windows tell what came, and not what the size can do: then the curve alone tells that.
        let bears = shape.is_none_or(|shape| {
            let promise = self.promise(sight, shape);
            promise.goodput(claim.to) > POOLED_DOWN * promise.goodput(claim.from)
                || lacks(Part::KnownLoss)
        });
        let keep = if comparison.up {
            ratio > POOLED_UP || claim.purpose == Purpose::Climb && ratio > POOLED_CLIMB
        } else {
            ratio > POOLED_DOWN || comparison.free && ratio > UNFAIR_DOWN || !starved && bears
        };
        let verdict = Verdict::Pooled { ratio };
        if keep {
            return Ok(verdict);
        }
        self.put_back(sight, claim);
        Err(verdict)
    }

    fn put_back(&mut self, sight: &Sight<'_>, claim: &Claim) {
        if claim.to > claim.from {
            self.up.did_not_pay(sight.now_s);
            self.judged_load = self.judged_load.max(self.arrivals.fast());
        } else {
            self.down.did_not_pay(sight.now_s);
        }
        let until_s = sight.now_s + self.rest_by_price(sight, claim);
        let direction = if claim.to > claim.from {
            Direction::Up
        } else {
            Direction::Down
        };
        self.wait(direction, until_s);
    }

    /// For how long a direction rests for what a trial in it has lost, in seconds. What no longer comes is not lost, and what is
    /// done among workers that are held by jobs without end tells of neither size.
    fn rest_by_price(&self, sight: &Sight<'_>, claim: &Claim) -> f64 {
        if !self.is_starved() || self.is_hung(sight) || lacks(Part::PricedRest) {
            return 0.0;
        }
        let comparison = self.compare(sight, claim);
        let due = comparison.before.min(self.arrivals.fast());
        let lost = (due - comparison.now) / comparison.before.max(1e-9);
        let lost_s = lost.clamp(0.0, 1.0) * (sight.now_s - claim.since_s);
        (lost_s / LOST_SHARE).min(REST_BY_PRICE_MAX_S)
    }

    /// A climb goes on while it pays.
    fn judge_stride(&mut self, claim: &Claim, comparison: &Comparison, starved: bool) {
        if claim.purpose != Purpose::Climb || !starved {
            return;
        }
        let growth = libm::log(comparison.now / comparison.before.max(1e-9));
        if growth / libm::log(claim.to / claim.from) < CLIMB_ELASTICITY {
            self.climbing = false;
        }
    }

    /// A trial ended for a reason that is about its size: its direction rests.
    pub fn did_not_pay(&mut self, direction: Direction, now_s: f64) {
        match direction {
            Direction::Up => self.up.did_not_pay(now_s),
            Direction::Down => self.down.did_not_pay(now_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cells::tests::second;
    use crate::testing::{busy_second, sight};

    /// A trial of other workers, of which so much was served a second before.
    fn claim(from: f64, to: f64, before: f64) -> Claim {
        Claim {
            from,
            to,
            purpose: Purpose::Predict,
            before: (before, 5.0),
            load: 60.0,
            promised: None,
            fair: true,
            late_s: None,
            since_s: 0.0,
        }
    }

    /// Whether 12 workers instead of 16 are kept while nothing waits, where a job takes so long among so many.
    fn keeps_twelve(residence_s: impl Fn(f64) -> f64) -> bool {
        let mut policy = Policy::default();
        for size in [6.0, 9.0, 12.0, 16.0, 22.0] {
            let flow = second(size, residence_s(size));
            (0..4).for_each(|at| policy.cells.add(f64::from(at), &flow, 1.0));
        }
        let delta = busy_second(12, 60);
        let (sight, claim) = (
            sight(8.0, 12, &delta),
            claim(16.0, 12.0, 16.0 / residence_s(16.0)),
        );
        let comparison = policy.compare(&sight, &claim);
        policy.pooled(&sight, &claim, &comparison, false).is_ok()
    }

    #[test]
    fn that_nothing_waits_keeps_no_shrink_that_the_curve_knows_to_lose() {
        // Each worker brings as much as the one before: the load only left for a moment.
        assert!(!keeps_twelve(|_| 0.05));
        // A wall at ten: beyond it nothing more is served.
        assert!(keeps_twelve(|size| 0.05_f64.max(size / 200.0)));
    }

    /// For how long growth rests after a trial of twice the workers, at whose end so much ended, came and waited.
    fn rest_after(now_s: f64, served: f64, arrivals: f64, waits: bool) -> f64 {
        let mut policy = Policy::default();
        (0..20).for_each(|_| policy.tally.add(&second(served, 1.0)));
        (0..20).for_each(|_| policy.arrivals.add(arrivals, 1.0));
        policy.starved = u32::from(waits);
        let delta = busy_second(32, 8);
        policy.put_back(&sight(now_s, 32, &delta), &claim(16.0, 32.0, 10.0));
        policy.resting(Direction::Up, now_s).unwrap_or(0.0)
    }

    #[test]
    fn a_direction_rests_the_longer_the_more_its_trial_has_lost() {
        // A fifth of 25 seconds at ten a second: five seconds' worth, and so fifty of rest for a tenth.
        assert!((rest_after(25.0, 8.0, 12.0, true) - 50.0).abs() < 1e-9);
        assert!((rest_after(12.5, 8.0, 12.0, true) - 25.0).abs() < 1e-9);
        assert!((rest_after(25.0, 1.0, 12.0, true) - REST_BY_PRICE_MAX_S).abs() < 1e-9);
        // Nothing was lost by the trial: as much ended, no more came, or nothing waited.
        for rest in [
            rest_after(25.0, 10.0, 12.0, true),
            rest_after(25.0, 8.0, 8.0, true),
            rest_after(25.0, 8.0, 12.0, false),
        ] {
            assert!((rest - 2.0).abs() < 1e-9, "{rest}");
        }
    }
}
