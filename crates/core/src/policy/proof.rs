//! Whether a trial helped: a window before it against a window under it.
//!
//! A trial is kept only if it paid: goodput rose, or goodput is the same and the 99th percentile fell, each beyond its own
//! standard error. It is looked at every tick, so the bar is two standard errors until the last look. What stays undecided is
//! settled in favour of the smaller size.

use crate::number::fraction;
use crate::window::Window;
use trimtab_protocol::decision::{Direction, Verdict, WindowFigures};
use trimtab_protocol::histogram::Histogram;

use super::COMPLETIONS_MIN;

/// Differences below this share are not worth a change, however sure they are.
const WORTH_SHARE: f64 = 0.02;
/// Standard errors that a difference must exceed while more looks may follow.
const Z_LOOK: f64 = 2.0;
/// Standard errors at the last look.
const Z_LAST: f64 = 1.0;
/// A rise in the share that fails must exceed this many standard errors ...
const Z_FAILURES: f64 = 3.0;
/// ... and this share.
const FAILURES_LEAST: f64 = 0.01;
/// Arrivals that moved by this share make a comparison unfair, where arrivals and not workers set the throughput.
const LOAD_MOVED_SHARE: f64 = 0.1;
/// Bounds of the dispersion of completions, and its value where service times are not offered: 1 is a Poisson stream, and
/// heavier tails than 25 are clipped so that one outlier does not silence every comparison.
const DISPERSION: (f64, f64) = (1.0, 25.0);

/// How far a comparison has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    /// The trial helped: keep it.
    Keep(Verdict),
    /// It did not: undo it.
    Undo(Verdict),
    /// Not known yet; with how it stands.
    Open(Verdict),
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Its figures.
    pub figures: &'a WindowFigures,
    /// Its ticks.
    pub window: &'a Window,
    /// Whether work waits for workers at its end.
    pub starved: bool,
}

/// The least gain in goodput that would count, a second, for two windows of this length.
#[must_use]
pub fn least_gain(goodput_per_s: f64, seconds: f64) -> f64 {
    let error = if seconds > 0.0 {
        (2.0 * goodput_per_s / seconds).max(0.0).sqrt()
    } else {
        0.0
    };
    WORTH_SHARE * goodput_per_s + Z_LOOK * error
}

/// Compares the window under a trial with the one before it. `last` says that no further look will follow.
#[must_use]
pub fn compare(
    before: Side<'_>,
    now: Side<'_>,
    direction: Direction,
    slo_ms: Option<u64>,
    last: bool,
) -> Finding {
    if let Some(verdict) = failures_rose(before.figures, now.figures) {
        return Finding::Undo(verdict);
    }
    let completed = now.figures.completed;
    if completed < COMPLETIONS_MIN {
        let verdict = Verdict::TooFew {
            completed,
            needed: COMPLETIONS_MIN,
        };
        return if last {
            Finding::Undo(verdict)
        } else {
            Finding::Open(verdict)
        };
    }
    let (was, is) = rates(before.figures, now.figures, slo_ms);
    let dispersion = dispersion(before.window).max(dispersion(now.window));
    let error = (dispersion * (was / before.figures.seconds + is / now.figures.seconds))
        .max(0.0)
        .sqrt();
    let gain = is - was;
    let bar = WORTH_SHARE * was + if last { Z_LAST } else { Z_LOOK } * error;
    if gain > bar {
        return Finding::Keep(Verdict::GoodputRose {
            gain_per_s: gain,
            error_per_s: error,
        });
    }
    if load_left(before.figures, now, was) {
        let (before_per_s, now_per_s) = (before.figures.arrivals_per_s, now.figures.arrivals_per_s);
        return Finding::Undo(Verdict::LoadMoved {
            before_per_s,
            now_per_s,
        });
    }
    if gain < -(WORTH_SHARE * was + Z_LOOK * error) {
        return Finding::Undo(Verdict::GoodputFell {
            loss_per_s: -gain,
            error_per_s: error,
        });
    }
    match tail(before.window.total(), now.window.total()) {
        Tail::Fell { before_us, now_us } if gain > -bar => {
            Finding::Keep(Verdict::TailFell { before_us, now_us })
        }
        Tail::Rose { before_us, now_us } if last => {
            Finding::Undo(Verdict::TailRose { before_us, now_us })
        }
        Tail::Fell { .. } | Tail::Rose { .. } | Tail::Same => {
            undecided(direction, gain, error, was, last)
        }
    }
}

/// Fewer workers for the same goodput are kept: by Little's law each job then spends less time in the pool. More workers for
/// the same goodput are not.
fn undecided(direction: Direction, gain: f64, error: f64, was: f64, last: bool) -> Finding {
    let (gain_per_s, error_per_s) = (gain, error);
    // A comparison so coarse that a loss of 5 % could hide in it says nothing in favour of the smaller size.
    let sharp = error <= 0.05 * was;
    match (direction, last) {
        (_, false) => Finding::Open(Verdict::NoDifference {
            gain_per_s,
            error_per_s,
        }),
        (Direction::Down, true) if sharp && gain > -WORTH_SHARE * was => {
            Finding::Keep(Verdict::SameForLess {
                gain_per_s,
                error_per_s,
            })
        }
        (_, true) => Finding::Undo(Verdict::NoDifference {
            gain_per_s,
            error_per_s,
        }),
    }
}

/// The rates that are compared: goodput; but completions while both windows' successes had waited in the queue for longer
/// than the goal, for then goodput tells of the queue's past and not of the size.
fn rates(before: &WindowFigures, now: &WindowFigures, slo_ms: Option<u64>) -> (f64, f64) {
    let backlogged = |figures: &WindowFigures| match (figures.wait_p95_us, slo_ms) {
        (Some(wait), Some(slo_ms)) => wait > slo_ms.saturating_mul(1_000),
        _ => false,
    };
    if backlogged(before) {
        let rate = |figures: &WindowFigures| fraction(figures.completed) / figures.seconds;
        (rate(before), rate(now))
    } else {
        (before.goodput_per_s, now.goodput_per_s)
    }
}

/// Whether less came than the pool did before, so that doing less says nothing about the size.
fn load_left(before: &WindowFigures, now: Side<'_>, was: f64) -> bool {
    let arrivals = now.figures.arrivals_per_s;
    let error = (arrivals / now.figures.seconds).max(0.0).sqrt();
    let fell = before.arrivals_per_s - arrivals
        > LOAD_MOVED_SHARE * before.arrivals_per_s + Z_LOOK * error;
    !now.starved && fell && arrivals < was * (1.0 + WORTH_SHARE)
}

/// Whether a larger share of the work that ends fails by itself: two shares of counts, with their pooled binomial error.
fn failures_rose(before: &WindowFigures, now: &WindowFigures) -> Option<Verdict> {
    let failed = |figures: &WindowFigures| figures.failed_per_s * figures.seconds;
    let ended = |figures: &WindowFigures| fraction(figures.completed) + failed(figures);
    let (were, are) = (ended(before), ended(now));
    if were < 1.0 || are < 1.0 {
        return None;
    }
    let rise = failed(now) / are - failed(before) / were;
    let pooled = (failed(before) + failed(now)) / (were + are);
    let error = (pooled * (1.0 - pooled) * (1.0 / were + 1.0 / are))
        .max(0.0)
        .sqrt();
    (rise > FAILURES_LEAST && rise > Z_FAILURES * error).then_some(Verdict::ErrorsRose {
        before_per_s: before.failed_per_s,
        now_per_s: now.failed_per_s,
    })
}

/// Variance of the number of completions over its mean, from the spread of service times: for workers that are always busy
/// it is their squared coefficient of variation (renewal theory), and arrivals add at least as much as a Poisson stream.
fn dispersion(window: &Window) -> f64 {
    let (least, most) = DISPERSION;
    let Some(service) = window.service() else {
        return least;
    };
    let mut count = 0.0;
    let (mut sum, mut squares) = (0.0, 0.0);
    for (bucket, times) in &service.buckets {
        let (us, times) = (
            fraction(Histogram::upper_bound_us(*bucket)),
            fraction(*times),
        );
        count += times;
        sum += times * us;
        squares += times * us * us;
    }
    if count < 1.0 || sum <= 0.0 {
        return least;
    }
    let mean = sum / count;
    ((squares / count - mean * mean) / (mean * mean)).clamp(least, most)
}

enum Tail {
    Fell { before_us: u64, now_us: u64 },
    Rose { before_us: u64, now_us: u64 },
    Same,
}

/// Compares 99th percentiles by their order statistics: the rank of a quantile varies by `sqrt(n q (1 - q))`, so the two
/// differ when the ranges of two such errors do not touch. Buckets are 9 % wide, which is the least difference seen.
fn tail(before: Option<&Histogram>, now: Option<&Histogram>) -> Tail {
    let (Some(was), Some(is)) = (before.and_then(range), now.and_then(range)) else {
        return Tail::Same;
    };
    if is.high < was.low {
        Tail::Fell {
            before_us: was.middle,
            now_us: is.middle,
        }
    } else if is.low > was.high {
        Tail::Rose {
            before_us: was.middle,
            now_us: is.middle,
        }
    } else {
        Tail::Same
    }
}

struct Range {
    low: u64,
    middle: u64,
    high: u64,
}

/// Fewer successes than this have no 99th percentile to speak of.
const TAIL_COUNT_MIN: u64 = 100;

fn range(histogram: &Histogram) -> Option<Range> {
    let count: u64 = histogram.buckets.values().sum();
    if count < TAIL_COUNT_MIN {
        return None;
    }
    let (n, quantile) = (fraction(count), 0.99);
    let spread = Z_LOOK * (n * quantile * (1.0 - quantile)).sqrt();
    let at = |rank: f64| histogram.at_rank(crate::number::whole(rank.clamp(1.0, n)));
    Some(Range {
        low: at(libm::floor(n * quantile - spread))?,
        middle: at(libm::ceil(n * quantile))?,
        high: at(libm::ceil(n * quantile + spread))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Span;
    use crate::window::{Keep, PoolDelta};

    /// A second of a pool: completions at one response time, arrivals, failures.
    fn second(completed: u64, total_us: u64, arrived: u64, failed: u64) -> PoolDelta {
        let mut total = Histogram::default();
        (0..completed).for_each(|job| total.record(total_us + job % 7));
        PoolDelta {
            span: Span::from_secs(1),
            arrived,
            completed,
            failed,
            lost: arrived.saturating_sub(completed + failed),
            busy_us: 8_000_000,
            wait_us: Some(20_000_000),
            queued: 20,
            total: Some(total),
            wait: Some(Histogram::default()),
            service: Some(Histogram::default()),
        }
    }

    fn found(
        before: &PoolDelta,
        now: &PoolDelta,
        seconds: u64,
        direction: Direction,
        last: bool,
        starved: bool,
    ) -> Finding {
        let fill = |delta: &PoolDelta| {
            let mut window = Window::default();
            (0..seconds).for_each(|_| window.add(delta.clone(), Keep::just(Span::from_secs(60))));
            window
        };
        let (was, is) = (fill(before), fill(now));
        let (was_figures, is_figures) = (was.figures(8, Some(1_000)), is.figures(16, Some(1_000)));
        compare(
            Side {
                figures: &was_figures.expect("filled"),
                window: &was,
                starved: true,
            },
            Side {
                figures: &is_figures.expect("filled"),
                window: &is,
                starved,
            },
            direction,
            Some(1_000),
            last,
        )
    }

    #[test]
    fn clearly_more_goodput_pays_at_once() {
        let finding = found(
            &second(100, 500_000, 200, 0),
            &second(190, 300_000, 200, 0),
            2,
            Direction::Up,
            false,
            true,
        );
        assert!(
            matches!(finding, Finding::Keep(Verdict::GoodputRose { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn a_difference_within_its_error_stays_open_and_ends_with_the_smaller_size() {
        let (was, is) = (second(100, 500_000, 200, 0), second(102, 500_000, 200, 0));
        assert!(matches!(
            found(&was, &is, 2, Direction::Up, false, true),
            Finding::Open(_)
        ));
        assert!(matches!(
            found(&was, &is, 10, Direction::Up, true, true),
            Finding::Undo(Verdict::NoDifference { .. })
        ));
        let same = found(&was, &was, 20, Direction::Down, true, true);
        assert!(
            matches!(same, Finding::Keep(Verdict::SameForLess { .. })),
            "{same:?}"
        );
    }

    #[test]
    fn a_coarse_comparison_never_keeps_a_shrink() {
        let slow = second(20, 500_000, 40, 0);
        let finding = found(&slow, &slow, 3, Direction::Down, true, true);
        assert!(
            matches!(finding, Finding::Undo(Verdict::NoDifference { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn less_goodput_is_undone_before_the_last_look() {
        let finding = found(
            &second(200, 100_000, 400, 0),
            &second(120, 100_000, 400, 0),
            2,
            Direction::Down,
            false,
            true,
        );
        assert!(
            matches!(finding, Finding::Undo(Verdict::GoodputFell { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn new_failures_undo_a_trial_even_when_goodput_rose() {
        let finding = found(
            &second(100, 100_000, 300, 0),
            &second(200, 100_000, 300, 30),
            2,
            Direction::Up,
            false,
            true,
        );
        assert!(
            matches!(finding, Finding::Undo(Verdict::ErrorsRose { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn the_same_share_of_failures_is_no_rise() {
        let (was, is) = (second(95, 100_000, 300, 5), second(190, 100_000, 300, 10));
        let finding = found(&was, &is, 5, Direction::Up, false, true);
        assert!(
            matches!(finding, Finding::Keep(Verdict::GoodputRose { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn a_shorter_tail_at_the_same_goodput_pays() {
        let finding = found(
            &second(100, 400_000, 101, 0),
            &second(100, 90_000, 101, 0),
            3,
            Direction::Up,
            false,
            false,
        );
        assert!(
            matches!(finding, Finding::Keep(Verdict::TailFell { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn when_the_load_left_nothing_is_proven() {
        let finding = found(
            &second(200, 400_000, 400, 0),
            &second(50, 90_000, 50, 0),
            3,
            Direction::Up,
            false,
            false,
        );
        assert!(
            matches!(finding, Finding::Undo(Verdict::LoadMoved { .. })),
            "{finding:?}"
        );
    }

    #[test]
    fn behind_an_old_backlog_completions_are_compared() {
        let backlogged = |completed: u64| {
            let mut delta = second(completed, 5_000_000, 300, 0);
            let mut wait = Histogram::default();
            (0..completed).for_each(|_| wait.record(4_900_000));
            delta.wait = Some(wait);
            delta
        };
        let finding = found(
            &backlogged(100),
            &backlogged(190),
            2,
            Direction::Up,
            false,
            true,
        );
        assert!(
            matches!(finding, Finding::Keep(Verdict::GoodputRose { .. })),
            "{finding:?}"
        );
    }
}
