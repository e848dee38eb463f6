//! What limits a pool now.
//!
//! The regime is read from the last second or so of a pool and from the host's CPU and memory. It names the bottleneck; what
//! to do about it is the policy's business.

use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::signal::HostSignals;
use crate::window::PoolDelta;
use trimtab_protocol::decision::Regime;

/// A pool is at its limit when this share of its workers is busy on average.
const BUSY_SHARE: f64 = 0.9;
/// ... and this much work waits for each worker, beyond [`QUEUE_SLACK`]. Less is the ordinary jitter of arrivals.
const QUEUE_SHARE: f64 = 0.25;
/// Waiting work that even a small pool has now and then.
const QUEUE_SLACK: f64 = 0.5;
/// ... or when this share of what arrives is lost.
const LOST_SHARE: f64 = 0.02;
/// CPU counts as used up above this share of the quota: the rest is what scheduling itself leaves over.
const CPU_FULL: f64 = 0.9;
/// Memory is at risk above this share of the limit, the profile's last step of the ladder.
const MEMORY_RISK: f64 = 0.92;
/// Below this load there is little to do.
const IDLE_LOAD: f64 = 0.2;
/// A pool is stuck once it has missed so many expected completions in a row, and so many more for each unit of the work's
/// dispersion: with a Poisson stream that happens by chance once in e^8 = 3,000.
const MISSED_COMPLETIONS: (f64, f64) = (3.0, 5.0);
/// How quickly the expected throughput follows, a tick.
const THROUGHPUT_WEIGHT: f64 = 0.2;

/// Follows one pool over time, for what one tick cannot show.
#[derive(Clone, Debug, Default)]
pub struct RegimeWatch {
    throughput: Option<f64>,
    dry_since: Option<Moment>,
    starved_since: Option<Moment>,
    starved_for: Span,
    cpu_full_ticks: u32,
    dispersion: f64,
    /// Jobs in service.
    busy: f64,
}

/// What a tick shows of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The tick.
    pub delta: &'a PoolDelta,
    /// The worker target.
    pub workers: u64,
    /// The host.
    pub signals: &'a HostSignals,
    /// The pool's load.
    pub load: Option<f64>,
    /// Variance over mean of the work.
    pub dispersion: f64,
    /// Whether more workers were tried a while ago and did not pay.
    pub growth_rests: bool,
}

impl RegimeWatch {
    /// Forgets what was seen, after a gap or a restart.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// For how long work has been in the pool without any of it ending, if that is longer than chance explains.
    #[must_use]
    pub fn stuck_for(&self, now: Moment) -> Option<Span> {
        let dry = now.since(self.dry_since?);
        let missed = self.throughput? * dry.as_secs_f64();
        (missed > missed_at_least(self.dispersion, self.busy)).then_some(dry)
    }

    /// For how long work has been waiting for workers without a pause.
    #[must_use]
    pub fn starved_for(&self) -> Span {
        self.starved_for
    }

    /// Takes in one tick and names the regime.
    pub fn classify(&mut self, now: Moment, seen: &Seen<'_>) -> Regime {
        self.follow(now, seen);
        let cpu_full = self.cpu_full_ticks >= 2;
        if self.stuck_for(now).is_some() {
            Regime::Stuck
        } else if seen
            .signals
            .memory_share
            .is_some_and(|share| share >= MEMORY_RISK)
        {
            Regime::MemoryRisk
        } else if is_starved(seen.delta, seen.workers) {
            match (cpu_full, seen.growth_rests) {
                (true, _) => Regime::CpuBound,
                (false, true) => Regime::DownstreamBound,
                (false, false) => Regime::Starved,
            }
        } else if seen.load.is_some_and(|load| load < IDLE_LOAD) {
            Regime::Idle
        } else {
            Regime::Ample
        }
    }

    fn follow(&mut self, now: Moment, seen: &Seen<'_>) {
        self.dispersion = seen.dispersion;
        self.busy = seen.delta.busy();
        let seconds = seen.delta.span.as_secs_f64();
        let full = seen
            .signals
            .cpu_share()
            .is_some_and(|share| share >= CPU_FULL);
        self.cpu_full_ticks = if full {
            self.cpu_full_ticks.saturating_add(1)
        } else {
            0
        };
        // Counted from the end of the first tick in which work waited, so that one such tick alone counts for nothing.
        self.starved_since =
            is_starved(seen.delta, seen.workers).then(|| self.starved_since.unwrap_or(now));
        self.starved_for = self
            .starved_since
            .map_or_else(Span::default, |since| now.since(since));
        if seen.delta.completed > 0 || seen.delta.busy() < 0.5 {
            self.dry_since = None;
            let throughput = fraction(seen.delta.completed) / seconds;
            self.throughput = Some(self.throughput.map_or(throughput, |mean| {
                mean + THROUGHPUT_WEIGHT * (throughput - mean)
            }));
        } else if self.dry_since.is_none() {
            self.dry_since = Some(now);
        }
    }
}

/// So many completions must be missing before a pool counts as stuck. Jobs that began together also end together: until more were
/// due than are in service, a pause may be their rhythm.
pub(crate) fn missed_at_least(dispersion: f64, busy: f64) -> f64 {
    let (least, each) = MISSED_COMPLETIONS;
    (least + each * dispersion).max(busy)
}

/// Whether work waits for workers: the workers are busy, and more waits or is lost than chance explains.
#[must_use]
pub fn is_starved(delta: &PoolDelta, workers: u64) -> bool {
    let limit = fraction(workers);
    let busy = delta.busy() >= BUSY_SHARE * limit;
    let waiting = delta.waiting() > QUEUE_SHARE * limit + QUEUE_SLACK;
    let losing = fraction(delta.lost) > LOST_SHARE * fraction(delta.arrived.max(1));
    busy && (waiting || losing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(busy: f64, waiting: f64, completed: u64, lost: u64) -> PoolDelta {
        PoolDelta {
            span: Span::from_secs(1),
            arrived: completed + lost,
            started: None,
            completed,
            failed: 0,
            lost,
            busy_us: crate::number::whole(busy * 1e6),
            busy_rise: 0.0,
            wait_us: Some(crate::number::whole(waiting * 1e6)),
            queued: 0,
            total: None,
            wait: None,
            service: None,
            timeout: None,
        }
    }

    fn classify(delta: &PoolDelta, cpu: f64, load: f64, growth_rests: bool) -> Regime {
        let signals = HostSignals {
            cpu_cores: Some(cpu),
            quota_cores: Some(1.0),
            ..HostSignals::default()
        };
        let mut watch = RegimeWatch::default();
        let seen = Seen {
            delta,
            workers: 10,
            signals: &signals,
            load: Some(load),
            dispersion: 1.0,
            growth_rests,
        };
        watch.classify(Moment::from_boot_ns(1), &seen);
        watch.classify(Moment::from_boot_ns(2), &seen)
    }

    #[test]
    fn full_workers_with_a_queue_are_starved_and_full_workers_without_are_not() {
        assert_eq!(
            classify(&delta(9.8, 20.0, 100, 0), 0.3, 1.0, false),
            Regime::Starved
        );
        assert_eq!(
            classify(&delta(9.8, 0.0, 100, 0), 0.3, 1.0, false),
            Regime::Ample
        );
        assert_eq!(
            classify(&delta(9.8, 0.0, 100, 10), 0.3, 1.0, false),
            Regime::Starved
        );
    }

    #[test]
    fn waiting_with_the_cpu_used_up_is_cpu_bound() {
        assert_eq!(
            classify(&delta(9.8, 20.0, 100, 0), 0.95, 1.0, false),
            Regime::CpuBound
        );
    }

    #[test]
    fn waiting_that_more_workers_did_not_help_is_downstream_bound() {
        assert_eq!(
            classify(&delta(9.8, 20.0, 100, 0), 0.3, 1.0, true),
            Regime::DownstreamBound
        );
    }

    #[test]
    fn low_cpu_because_everything_waits_is_not_idle() {
        assert_eq!(
            classify(&delta(9.9, 50.0, 3, 40), 0.01, 1.0, false),
            Regime::Starved
        );
    }

    #[test]
    fn a_pool_in_which_nothing_ends_is_stuck() {
        let signals = HostSignals::default();
        let mut watch = RegimeWatch::default();
        let mut regime_at = |second: u64, delta: &PoolDelta| {
            let seen = Seen {
                delta,
                workers: 10,
                signals: &signals,
                load: Some(1.0),
                dispersion: 1.0,
                growth_rests: false,
            };
            watch.classify(Moment::from_boot_ns(second * 1_000_000_000), &seen)
        };
        (0..10).for_each(|second| {
            regime_at(second, &delta(9.9, 5.0, 20, 0));
        });
        assert_eq!(regime_at(10, &delta(10.0, 5.0, 0, 0)), Regime::Starved);
        assert_eq!(regime_at(11, &delta(10.0, 5.0, 0, 0)), Regime::Stuck);
        assert_eq!(regime_at(12, &delta(9.9, 5.0, 20, 0)), Regime::Starved);
    }
}
