//! The queue's limit and the timeout follow what the pool does; neither is searched for.
//!
//! A timeout three times as long as all but one in a thousand successes take cuts nothing that would have ended in time, and
//! frees what hangs. It is never below the goal. Successes are censored by the timeout itself: when jobs are cut and the
//! slowest successes come near it, it goes up at once; downwards it is in no hurry once it has come down for the first time.
//! A queue that is longer than what can still be served within the goal only serves work that is late.

use super::COMPLETIONS_MIN;
use crate::ablation::{Part, lacks};
use crate::counts::Counts;
use crate::number::{fraction, whole};
use crate::window::PoolDelta;
use trimtab_protocol::decision::Reason;

/// Successes before a quantile of one in a thousand is one.
const SUCCESSES_LEAST: u64 = 1_000;
/// A generation of successes; the quantile is that of the last one and the one that fills.
const GENERATION: u64 = 4_000;
/// The timeout as a multiple of the slowest successes: a service may become that much slower before anything is cut.
const TIMEOUT_MULTIPLE: f64 = 3.0;
/// A timeout that is this much above its target is worth a change.
const TIMEOUT_SLACK: f64 = 1.5;
/// Once it has been down at its target, it goes down by at most this ratio in a minute.
const TIMEOUT_DOWN: f64 = 0.95;
/// Jobs are cut when more than this share of those that end ran out of time while they were worked on.
const CUT_SHARE: f64 = 0.01;
/// ... and successes come near the timeout when their slowest hundredth takes this part of it.
const NEAR_TIMEOUT: f64 = 0.8;
/// While jobs hang, a timeout this much above its target is worth a change.
const TIGHT_SLACK: f64 = 1.1;
/// A queue limit that differs by less than this ratio from its target is left alone.
const QUEUE_SLACK: f64 = 1.5;
/// How long lately is, in seconds: about five ticks.
const LATELY_S: f64 = 5.0;
/// A minute, in seconds.
const MINUTE_S: f64 = 60.0;

/// A new value of a knob, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The value.
    pub value: u64,
    /// Why.
    pub reason: Reason,
    /// Whether it cannot wait.
    pub at_once: bool,
}

/// What the two knobs follow.
#[derive(Clone, Debug, Default)]
pub struct Follow {
    filling: Counts,
    full: Counts,
    /// Work that came lately, and that ended well or by its timeout while it was worked on; faded.
    arrived: f64,
    ended: f64,
    cut: f64,
    /// Successes that took longer than half of the timeout; faded.
    near: f64,
    /// Whether the timeout was brought closer because jobs hang.
    tight: bool,
    seconds: f64,
    /// The slowest hundredth of the last tick's successes, in seconds.
    p99_s: f64,
    reached: bool,
    wanted: Option<u64>,
    lowered_s: Option<f64>,
}

impl Follow {
    /// Takes in a tick under a timeout.
    pub fn notice(&mut self, delta: &PoolDelta, timeout_ms: Option<u64>) {
        if let Some(total) = &delta.total {
            self.filling.add(total);
            if let Some(p99_us) = total.quantile_us(9_900) {
                self.p99_s = fraction(p99_us) / 1e6;
            }
        }
        if self.filling.count() >= GENERATION {
            std::mem::swap(&mut self.full, &mut self.filling);
            self.filling.clear();
        }
        let limit_us = timeout_ms.map(|ms| ms.saturating_mul(900));
        let cut = match (&delta.timeout, limit_us) {
            // What ran out of time waiting was there for less than the timeout.
            (Some(timeout), Some(limit_us)) => {
                timeout.count.saturating_sub(timeout.count_within(limit_us))
            }
            _ => 0,
        };
        let half_us = timeout_ms.map(|ms| ms.saturating_mul(500));
        let near = match (&delta.total, half_us) {
            (Some(total), Some(half_us)) => total.count.saturating_sub(total.count_within(half_us)),
            _ => 0,
        };
        let seconds = delta.span.as_secs_f64();
        let kept = libm::exp(-seconds / LATELY_S);
        self.seconds = self.seconds * kept + seconds;
        self.arrived = self.arrived * kept + fraction(delta.arrived);
        self.cut = self.cut * kept + fraction(cut);
        self.near = self.near * kept + fraction(near);
        self.ended = self.ended * kept + fraction(delta.completed.saturating_add(cut));
    }

    /// The slowest thousandth of the successes that were seen, in microseconds, and how many there were.
    #[must_use]
    pub fn seen(&self) -> Option<(u64, u64)> {
        Some((self.quantile_us(9_990)?, self.successes()))
    }

    fn successes(&self) -> u64 {
        self.full.count().saturating_add(self.filling.count())
    }

    fn quantile_us(&self, basis_points: u32) -> Option<u64> {
        self.full.quantile_of_both_us(&self.filling, basis_points)
    }

    /// Jobs cut lately that would never have ended. Of work whose times thin out, no more takes longer than the timeout than
    /// takes between half of it and all of it; what is cut beyond that, and beyond chance, hangs.
    fn hung(&self) -> f64 {
        let excess = self.cut - self.near;
        let chance = 3.0 * libm::sqrt(self.cut + self.near);
        let some_end = self.ended - self.cut >= 1.0;
        let many = excess > CUT_SHARE * self.ended && excess > chance;
        if many && some_end { excess } else { 0.0 }
    }

    /// Whether jobs are being cut that would have ended: successes come up to the timeout, or there are none.
    #[must_use]
    pub fn cuts(&self, timeout_ms: u64) -> bool {
        let timeout_s = fraction(timeout_ms) / 1e3;
        let many = self.cuts_many();
        let near = self.p99_s > NEAR_TIMEOUT * timeout_s && self.hung() <= 0.0;
        many && (near || self.ended - self.cut < 1.0)
    }

    /// Whether a timeout would cut work that ends in time: what takes longer than it, of the successes that were seen.
    #[must_use]
    pub fn would_cut(&self, timeout_ms: u64, slo_ms: Option<u64>) -> bool {
        let within = |ms: u64| {
            let us = ms.saturating_mul(1_000);
            self.full
                .count_within(us)
                .saturating_add(self.filling.count_within(us))
        };
        let all = self.successes();
        let in_time = slo_ms.map_or(all, within);
        let cut = in_time.saturating_sub(within(timeout_ms));
        all >= COMPLETIONS_MIN && fraction(cut) > CUT_SHARE * fraction(all)
    }

    /// Whether jobs are being cut, whatever else ends.
    #[must_use]
    pub fn cuts_many(&self) -> bool {
        self.cut > CUT_SHARE * self.ended && self.cut >= 5.0
    }

    /// How many workers are held, on average, by jobs that never end by themselves and are cut at the timeout in the end.
    #[must_use]
    pub fn held(&self, timeout_ms: Option<u64>) -> f64 {
        let timeout_s = timeout_ms.map_or(0.0, |ms| fraction(ms) / 1e3);
        self.hung() / self.seconds.max(1e-9) * timeout_s
    }

    /// How many they would hold if all work that comes were begun: most of it is turned away while they hold the workers.
    #[must_use]
    pub fn held_at_load(&self, timeout_ms: Option<u64>) -> f64 {
        let timeout_s = timeout_ms.map_or(0.0, |ms| fraction(ms) / 1e3);
        let share = self.hung() / self.ended.max(1.0);
        share * self.arrived / self.seconds.max(1e-9) * timeout_s
    }

    /// The timeout that should be in force instead of the present one, in milliseconds.
    #[must_use]
    pub fn timeout(
        &mut self,
        now_s: f64,
        timeout_ms: u64,
        slo_ms: Option<u64>,
        bounds: (u64, u64),
    ) -> Option<Wish> {
        let (least, most) = bounds;
        let p999_us = self.quantile_us(9_990)?;
        let reason = Reason::TimeoutFollows {
            p999_us,
            successes: self.successes(),
        };
        if self.cuts(timeout_ms) {
            let value = timeout_ms.saturating_mul(2).min(most);
            let wish = Wish {
                value,
                reason,
                at_once: true,
            };
            return (value > timeout_ms).then_some(wish);
        }
        if self.successes() < SUCCESSES_LEAST {
            return None;
        }
        let target = timeout_target(p999_us, slo_ms, (least, most));
        if let Some(wish) = self.tightened(timeout_ms, (p999_us, slo_ms, target), &reason) {
            return wish;
        }
        self.wanted = Some(target.max(whole(TIMEOUT_SLACK * fraction(target))));
        if fraction(timeout_ms) <= TIMEOUT_SLACK * fraction(target) {
            return None;
        }
        let value = if self.reached {
            if self.lowered_s.is_some_and(|at_s| now_s - at_s < MINUTE_S) {
                return None;
            }
            target.max(whole(TIMEOUT_DOWN * fraction(timeout_ms)))
        } else {
            target
        };
        Some(Wish {
            value,
            reason,
            at_once: false,
        })
    }

    /// While jobs hang, every moment of the timeout holds workers, and what ends beyond the goal is no use to anybody: the
    /// timeout goes at once to the slower of the goal and all but one in a thousand successes. When it is over, it goes back.
    /// The inner nothing says that all is as it should be.
    fn tightened(
        &mut self,
        timeout_ms: u64,
        (p999_us, slo_ms, target): (u64, Option<u64>, u64),
        reason: &Reason,
    ) -> Option<Option<Wish>> {
        let goal = slo_ms.filter(|_| !lacks(Part::Hanging))?;
        let wish = |value, at_once| Wish {
            value,
            reason: reason.clone(),
            at_once,
        };
        if self.hung() > 0.0 {
            let close = goal.max(p999_us.div_ceil(1_000)).min(target);
            self.tight = true;
            let far = fraction(timeout_ms) > TIGHT_SLACK * fraction(close);
            return Some(far.then(|| wish(close, true)));
        }
        if !self.tight || self.cut >= 1.0 {
            return None;
        }
        self.tight = timeout_ms < target;
        self.tight.then(|| Some(wish(target, false)))
    }

    /// Notes that the timeout was changed and kept.
    pub fn set_timeout(&mut self, now_s: f64, timeout_ms: u64) {
        self.lowered_s = Some(now_s);
        self.reached |= self.wanted.is_some_and(|wanted| timeout_ms <= wanted);
    }

    /// The queue limit that should be in force instead of the present one, at so many jobs a second.
    #[must_use]
    pub fn queue(
        &self,
        throughput: f64,
        limit: u64,
        slo_s: f64,
        bounds: (u64, u64),
    ) -> Option<Wish> {
        if self.successes() < SUCCESSES_LEAST {
            return None;
        }
        let p99_us = self.quantile_us(9_900)?;
        let target = queue_target(throughput, slo_s, self.p99_service_s(p99_us, slo_s), bounds);
        let ratio = fraction(limit) / fraction(target.max(1));
        if (1.0 / QUEUE_SLACK..=QUEUE_SLACK).contains(&ratio) {
            return None;
        }
        let reason = Reason::QueueFollows {
            done_per_s: throughput,
            p99_us,
        };
        Some(Wish {
            value: target,
            reason,
            at_once: false,
        })
    }

    fn p99_service_s(&self, p99_us: u64, slo_s: f64) -> f64 {
        (fraction(p99_us) / 1e6).min(0.5 * slo_s)
    }
}

/// Three times what all but one in a thousand successes take, within bounds and not below the goal: work that ends within it
/// is good, so it is never cut.
#[must_use]
pub fn timeout_target(p999_us: u64, slo_ms: Option<u64>, (least, most): (u64, u64)) -> u64 {
    let wanted = whole(TIMEOUT_MULTIPLE * fraction(p999_us) / 1e3);
    wanted
        .max(slo_ms.unwrap_or(0))
        .clamp(least, most.max(least))
}

/// What the pool still serves within the goal: throughput times the goal less the service time of the slowest hundredth.
#[must_use]
pub fn queue_target(
    throughput: f64,
    slo_s: f64,
    p99_service_s: f64,
    (least, most): (u64, u64),
) -> u64 {
    whole(throughput * (slo_s - p99_service_s).max(0.0)).clamp(least, most.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Span;
    use crate::testing::pool;
    use trimtab_protocol::histogram::Histogram;

    fn second(total_us: u64, completed: u64, cut_us: Option<u64>) -> PoolDelta {
        let (earlier, later) = (pool(8), pool(8));
        let mut delta = PoolDelta::between(&earlier, &later, Span::from_secs(1)).unwrap();
        let (mut total, mut timeout) = (Histogram::default(), Histogram::default());
        (0..completed).for_each(|_| total.record(total_us));
        if let Some(cut_us) = cut_us {
            (0..completed / 4).for_each(|_| timeout.record(cut_us));
        }
        delta.completed = completed;
        delta.total = Some(total);
        delta.timeout = Some(timeout);
        delta
    }

    fn after(seconds: u64, delta: &PoolDelta, timeout_ms: u64) -> Follow {
        let mut follow = Follow::default();
        (0..seconds).for_each(|_| follow.notice(delta, Some(timeout_ms)));
        follow
    }

    const BOUNDS: (u64, u64) = (1_000, 60_000);

    #[test]
    fn a_timeout_is_three_times_the_slowest_success_and_never_below_the_goal() {
        assert_eq!(timeout_target(700_000, Some(840), BOUNDS), 2_100);
        assert_eq!(timeout_target(200_000, Some(840), BOUNDS), 1_000);
        assert_eq!(timeout_target(200_000, Some(5_000), BOUNDS), 5_000);
        assert_eq!(timeout_target(90_000_000, None, BOUNDS), 60_000);
    }

    #[test]
    fn a_thousand_successes_are_needed() {
        let tick = second(700_000, 100, None);
        assert_eq!(
            after(9, &tick, 30_000).timeout(9.0, 30_000, Some(840), BOUNDS),
            None
        );
        let wish = after(10, &tick, 30_000)
            .timeout(10.0, 30_000, Some(840), BOUNDS)
            .unwrap();
        assert!((2_000..2_400).contains(&wish.value), "{}", wish.value);
    }

    #[test]
    fn once_down_it_goes_down_by_a_twentieth_a_minute() {
        let mut follow = after(20, &second(700_000, 100, None), 30_000);
        let wish = follow.timeout(20.0, 30_000, Some(840), BOUNDS).unwrap();
        follow.set_timeout(20.0, wish.value);
        assert_eq!(follow.timeout(30.0, 8_000, Some(840), BOUNDS), None);
        let wish = follow.timeout(81.0, 8_000, Some(840), BOUNDS).unwrap();
        assert_eq!(wish.value, 7_600);
    }

    #[test]
    fn stalled_jobs_that_are_cut_do_not_raise_it_and_slow_ones_do() {
        let mut stalled = after(30, &second(300_000, 100, Some(2_000_000)), 2_000);
        assert!(
            !stalled
                .timeout(30.0, 2_000, None, BOUNDS)
                .is_some_and(|wish| wish.at_once)
        );
        let mut slow = after(30, &second(1_800_000, 100, Some(2_000_000)), 2_000);
        let wish = slow.timeout(30.0, 2_000, None, BOUNDS).unwrap();
        assert_eq!((wish.value, wish.at_once), (4_000, true));
    }

    #[test]
    fn what_ran_out_of_time_waiting_is_not_cut() {
        let mut waited = after(30, &second(1_800_000, 100, Some(210_000)), 2_000);
        assert!(
            !waited
                .timeout(30.0, 2_000, None, BOUNDS)
                .is_some_and(|wish| wish.at_once)
        );
    }

    #[test]
    fn a_queue_holds_what_is_still_served_in_time() {
        assert_eq!(queue_target(100.0, 1.0, 0.2, (1, 10_000)), 80);
        assert_eq!(queue_target(100.0, 1.0, 2.0, (10, 10_000)), 10);
        let follow = after(20, &second(200_000, 100, None), 30_000);
        let wish = follow.queue(100.0, 1_000, 1.0, (1, 10_000)).unwrap();
        assert!((70..90).contains(&wish.value), "{}", wish.value);
        assert_eq!(follow.queue(100.0, 100, 1.0, (1, 10_000)), None);
    }
}
