//! What a pool did between two readings, and over a stretch of them at one setting.

use crate::counts::Counts;
use crate::moment::Span;
use crate::number::fraction;
use std::collections::VecDeque;
use std::sync::Arc;
use trimtab_protocol::decision::{Absence, WindowFigures};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::state::PoolState;

/// The shortest time between two readings that says anything; below it the rates are noise.
const TICK_MIN_NS: u64 = 20_000_000;

/// What a pool did between two readings of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolDelta {
    /// How long, by the host's clock.
    pub span: Span,
    /// Work that came.
    pub arrived: u64,
    /// Work that was begun; absent where the host does not offer it.
    pub started: Option<u64>,
    /// Work that ended well.
    pub completed: u64,
    /// Work that ended in an error of its own.
    pub failed: u64,
    /// Work that was turned away or ran out of time.
    pub lost: u64,
    /// Worker time used, in microseconds.
    pub busy_us: u64,
    /// By how much the number in service rose; nothing where the host does not offer it.
    pub busy_rise: f64,
    /// Waiting time, in microseconds; absent where the host does not offer it.
    pub wait_us: Option<u64>,
    /// Work that waits now, for hosts without `wait_us`.
    pub queued: u64,
    /// Response times of successes.
    pub total: Option<Histogram>,
    /// Waiting times of successes.
    pub wait: Option<Histogram>,
    /// Service times of successes.
    pub service: Option<Histogram>,
    /// How long work had been there when its time ran out.
    pub timeout: Option<Histogram>,
}

impl PoolDelta {
    /// The difference of two readings, `span` apart.
    ///
    /// # Errors
    /// `NotOffered` when a figure that is needed is missing, `Impossible` when one went backwards or time did not advance.
    /// Missing is not zero, so neither yields a difference.
    pub fn between(
        earlier: &PoolState,
        later: &PoolState,
        span: Span,
    ) -> Result<Self, (&'static str, Absence)> {
        #[cfg(test)]
        let zeroed = absent_as_zero(later);
        #[cfg(test)]
        let later = zeroed.as_ref().unwrap_or(later);
        #[cfg(test)]
        let earlier = if zeroed.is_some() { later } else { earlier };
        if span.as_ns() < TICK_MIN_NS {
            return Err(("at_ns", Absence::Impossible));
        }
        let (was, is) = (&earlier.counters, &later.counters);
        let rejected = optional_rise("rejected", was.rejected, is.rejected)?;
        let timed_out = optional_rise("timed_out", was.timed_out, is.timed_out)?;
        Ok(Self {
            span,
            arrived: rise("arrived", was.arrived, is.arrived)?,
            started: rise("started", was.started, is.started).ok(),
            completed: rise("completed", was.completed, is.completed)?,
            failed: optional_rise("failed", was.failed, is.failed)?,
            lost: rejected.saturating_add(timed_out),
            busy_us: rise("busy_us", was.busy_us, is.busy_us)?,
            busy_rise: match (earlier.gauges.busy, later.gauges.busy) {
                (Some(was), Some(is)) => fraction(is) - fraction(was),
                _ => 0.0,
            },
            wait_us: rise("wait_us", was.wait_us, is.wait_us).ok(),
            queued: later.gauges.queued.unwrap_or(0),
            total: histogram(
                "total_us",
                earlier.histograms.total_us.as_ref(),
                later.histograms.total_us.as_ref(),
            )?,
            wait: histogram(
                "wait_us",
                earlier.histograms.wait_us.as_ref(),
                later.histograms.wait_us.as_ref(),
            )?,
            service: histogram(
                "service_us",
                earlier.histograms.service_us.as_ref(),
                later.histograms.service_us.as_ref(),
            )?,
            timeout: histogram(
                "timeout_us",
                earlier.histograms.timeout_us.as_ref(),
                later.histograms.timeout_us.as_ref(),
            )
            .unwrap_or(None),
        })
    }

    /// Completions within a goal in milliseconds; all of them where the host keeps no histogram or there is no goal.
    #[must_use]
    pub fn good(&self, slo_ms: Option<u64>) -> u64 {
        match (&self.total, slo_ms) {
            (Some(total), Some(slo_ms)) => total
                .count_within(slo_ms.saturating_mul(1_000))
                .min(self.completed),
            _ => self.completed,
        }
    }

    /// Mean of busy workers.
    #[must_use]
    pub fn busy(&self) -> f64 {
        fraction(self.busy_us) / 1e6 / self.span.as_secs_f64()
    }

    /// Mean of waiting work.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        match self.wait_us {
            Some(wait_us) => fraction(wait_us) / 1e6 / self.span.as_secs_f64(),
            None => fraction(self.queued),
        }
    }
}

/// What a seeded bug makes of a reading without worker time: one in which nothing happened.
#[cfg(test)]
fn absent_as_zero(later: &PoolState) -> Option<PoolState> {
    let absent = later.counters.busy_us.is_none();
    let seeded = crate::testing::has(crate::testing::Fault::ShrinksBlind);
    (absent && seeded).then(|| {
        let mut zeroed = later.clone();
        zeroed.counters.busy_us = Some(0);
        zeroed
    })
}

fn rise(
    name: &'static str,
    earlier: Option<u64>,
    later: Option<u64>,
) -> Result<u64, (&'static str, Absence)> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => later
            .checked_sub(earlier)
            .ok_or((name, Absence::Impossible)),
        _ => Err((name, Absence::NotOffered)),
    }
}

/// A counter that a host may never have offered; one that it offered before and no longer does is missing, not zero.
fn optional_rise(
    name: &'static str,
    earlier: Option<u64>,
    later: Option<u64>,
) -> Result<u64, (&'static str, Absence)> {
    match (earlier, later) {
        (None, None) => Ok(0),
        _ => rise(name, earlier, later),
    }
}

fn histogram(
    name: &'static str,
    earlier: Option<&Histogram>,
    later: Option<&Histogram>,
) -> Result<Option<Histogram>, (&'static str, Absence)> {
    match (earlier, later) {
        (Some(earlier), Some(later)) => later
            .since(earlier)
            .map(Some)
            .ok_or((name, Absence::Impossible)),
        (None, Some(_) | None) => Ok(None),
        (Some(_), None) => Err((name, Absence::NotOffered)),
    }
}

/// How much of the past a window keeps.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Always this long ...
    pub span: Span,
    /// ... and longer until it holds so many completions ...
    pub completed: u64,
    /// ... but never longer than this.
    pub span_max: Span,
}

impl Keep {
    /// Just so long, however little happened.
    #[must_use]
    pub const fn just(span: Span) -> Self {
        Self {
            span,
            completed: 0,
            span_max: span,
        }
    }
}

/// A stretch of ticks at one setting, the oldest of them forgotten after a while.
#[derive(Clone, Debug, Default)]
pub struct Window {
    deltas: VecDeque<Arc<PoolDelta>>,
    sums: Sums,
}

#[derive(Clone, Debug, Default)]
struct Sums {
    ns: u64,
    arrived: u64,
    completed: u64,
    failed: u64,
    lost: u64,
    busy: f64,
    waiting: f64,
    total: Counts,
    wait: Counts,
    service: Counts,
    measured: bool,
}

impl Window {
    /// Adds a tick and forgets the oldest ones as `keep` says.
    pub fn add(&mut self, delta: Arc<PoolDelta>, keep: Keep) {
        self.sums.add(&delta);
        self.deltas.push_back(delta);
        let mut forgot = false;
        while let Some(oldest) = self.deltas.front() {
            let (ns, completed) = (self.sums.ns, self.sums.completed);
            let enough = ns > keep.span.as_ns() && completed - oldest.completed >= keep.completed;
            if self.deltas.len() == 1 || !(enough || ns > keep.span_max.as_ns()) {
                break;
            }
            self.sums.remove(oldest);
            self.deltas.pop_front();
            forgot = true;
        }
        if forgot {
            // Whole numbers come out as they went in; fractions do not, so they are added up anew.
            (self.sums.busy, self.sums.waiting) = (0.0, 0.0);
            let sums = &mut self.sums;
            self.deltas.iter().for_each(|delta| sums.add_rates(delta));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.deltas.clear();
        self.sums.clear();
    }

    /// The newest tick.
    #[must_use]
    pub fn last(&self) -> Option<&PoolDelta> {
        self.deltas.back().map(Arc::as_ref)
    }

    /// How long it spans.
    #[must_use]
    pub fn span(&self) -> Span {
        Span::from_ns(self.sums.ns)
    }

    /// Completions in it.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.sums.completed
    }

    /// Service times in it, where the host offers them.
    #[must_use]
    pub(crate) fn service(&self) -> Option<&Counts> {
        self.sums.measured.then_some(&self.sums.service)
    }

    /// Response times in it, where the host offers them.
    #[must_use]
    pub(crate) fn total(&self) -> Option<&Counts> {
        self.sums.measured.then_some(&self.sums.total)
    }

    /// Its figures at a worker limit and a goal; nothing while it is empty.
    #[must_use]
    pub fn figures(&self, workers: u64, slo_ms: Option<u64>) -> Option<WindowFigures> {
        let seconds = self.span().as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let sums = &self.sums;
        let good = match (self.total(), slo_ms) {
            (Some(total), Some(slo_ms)) => total
                .count_within(slo_ms.saturating_mul(1_000))
                .min(sums.completed),
            _ => sums.completed,
        };
        Some(WindowFigures {
            seconds,
            workers,
            completed: sums.completed,
            good,
            arrivals_per_s: fraction(sums.arrived) / seconds,
            goodput_per_s: fraction(good) / seconds,
            busy: sums.busy / seconds,
            queued: sums.waiting / seconds,
            lost_per_s: fraction(sums.lost) / seconds,
            failed_per_s: fraction(sums.failed) / seconds,
            p50_us: self.total().and_then(|total| total.quantile_us(5_000)),
            p99_us: self.total().and_then(|total| total.quantile_us(9_900)),
            wait_p95_us: sums
                .measured
                .then(|| sums.wait.quantile_us(9_500))
                .flatten(),
        })
    }
}

impl Sums {
    fn add(&mut self, delta: &PoolDelta) {
        self.ns += delta.span.as_ns();
        self.arrived += delta.arrived;
        self.completed += delta.completed;
        self.failed += delta.failed;
        self.lost += delta.lost;
        self.add_rates(delta);
        self.measured = delta.total.is_some();
        for (sum, part) in self.counts(delta) {
            sum.add(part);
        }
    }

    fn add_rates(&mut self, delta: &PoolDelta) {
        let seconds = delta.span.as_secs_f64();
        self.busy += delta.busy() * seconds;
        self.waiting += delta.waiting() * seconds;
    }

    /// Takes a tick out again, but for its rates.
    fn remove(&mut self, delta: &PoolDelta) {
        self.ns -= delta.span.as_ns();
        self.arrived -= delta.arrived;
        self.completed -= delta.completed;
        self.failed -= delta.failed;
        self.lost -= delta.lost;
        for (sum, part) in self.counts(delta) {
            sum.remove(part);
        }
    }

    fn clear(&mut self) {
        let counts = [&mut self.total, &mut self.wait, &mut self.service];
        counts.into_iter().for_each(Counts::clear);
        (self.ns, self.arrived, self.completed) = (0, 0, 0);
        (self.failed, self.lost) = (0, 0);
        (self.busy, self.waiting, self.measured) = (0.0, 0.0, false);
    }

    /// The sums of times, each with the part of it that a tick brings.
    fn counts<'a>(
        &'a mut self,
        delta: &'a PoolDelta,
    ) -> impl Iterator<Item = (&'a mut Counts, &'a Histogram)> {
        let pairs = [
            (&mut self.total, delta.total.as_ref()),
            (&mut self.wait, delta.wait.as_ref()),
            (&mut self.service, delta.service.as_ref()),
        ];
        pairs
            .into_iter()
            .filter_map(|(sum, part)| Some((sum, part?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pool;

    #[test]
    fn rates_are_differences_over_the_hosts_own_time() {
        let (earlier, mut later) = (pool(8), pool(8));
        later.counters.arrived = Some(120);
        later.counters.completed = Some(100);
        later.counters.busy_us = Some(8_000_000);
        let delta =
            PoolDelta::between(&earlier, &later, Span::from_secs(2)).expect("both complete");
        assert_eq!((delta.arrived, delta.completed), (120, 100));
        assert!((delta.busy() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_counter_that_went_backwards_or_vanished_yields_no_difference() {
        let (mut earlier, mut later) = (pool(8), pool(8));
        earlier.counters.completed = Some(5);
        later.counters.completed = Some(4);
        let between = |earlier: &PoolState, later: &PoolState| {
            PoolDelta::between(earlier, later, Span::from_secs(1))
        };
        assert_eq!(
            between(&earlier, &later),
            Err(("completed", Absence::Impossible))
        );
        later.counters.completed = None;
        assert_eq!(
            between(&earlier, &later),
            Err(("completed", Absence::NotOffered))
        );
        later.counters.completed = Some(6);
        later.counters.rejected = None;
        assert_eq!(
            between(&earlier, &later),
            Err(("rejected", Absence::NotOffered))
        );
    }

    #[test]
    fn a_window_forgets_its_oldest_ticks() {
        let (earlier, mut later) = (pool(8), pool(8));
        later.counters.completed = Some(10);
        later.counters.arrived = Some(10);
        let delta = Arc::new(
            PoolDelta::between(&earlier, &later, Span::from_secs(1)).expect("both complete"),
        );
        let mut window = Window::default();
        (0..20).for_each(|_| window.add(delta.clone(), Keep::just(Span::from_secs(5))));
        assert_eq!(window.span(), Span::from_secs(5));
        assert_eq!(window.completed(), 50);
    }

    #[test]
    fn a_slow_pool_keeps_more_of_its_past() {
        let (earlier, mut later) = (pool(8), pool(8));
        later.counters.completed = Some(2);
        let delta =
            Arc::new(PoolDelta::between(&earlier, &later, Span::from_secs(1)).expect("complete"));
        let keep = Keep {
            span: Span::from_secs(5),
            completed: 30,
            span_max: Span::from_secs(60),
        };
        let mut window = Window::default();
        (0..40).for_each(|_| window.add(delta.clone(), keep));
        assert_eq!(
            (window.completed(), window.span()),
            (30, Span::from_secs(15))
        );
    }
}
