//! The reading side of the counters: sums over the shards, and integrals that never go backwards.
//!
//! A reader takes the reader's own lock and no other; it never makes the request path wait.

use super::{Counters, RUNNING_BITS, RUNNING_MAX};
use crate::limit::line::LineReading;
use crate::part::PartFigures;
use std::sync::atomic::{AtomicU64, Ordering};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::state::{self, Gauges, Histograms};

/// The bits of a busy integral; a pool must be read before it rises by half of that, some four years of one worker's time.
const INTEGRAL_MASK: u64 = u64::MAX >> RUNNING_BITS;

/// What the reading side remembers between two readings.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    busy_seen: u64,
    busy_us: u64,
    wait_ns: u64,
}

impl Reader {
    /// The figures up to `now_ns`; `busy` is what runs, and `line` the queue.
    pub(crate) fn read(
        &mut self,
        counters: &Counters,
        busy: u64,
        line: LineReading,
        now_ns: u64,
    ) -> PartFigures {
        let exempt_live = counters.exempt_live.load(Ordering::Acquire);
        let histograms = counters.histograms();
        let completed = histograms.total_us.as_ref().map_or(0, |total| total.count);
        self.advance_busy(counters.busy_integral(now_ns));
        self.advance_wait(line.integral_ns(now_ns));
        let outcomes = counters.counted(completed);
        PartFigures {
            counters: state::Counters {
                busy_us: Some(self.busy_us),
                wait_us: Some(self.wait_ns / 1_000),
                ..outcomes
            },
            gauges: Gauges {
                busy: Some(busy),
                queued: Some(line.queued),
                oldest_wait_ms: Some(line.oldest_wait_ns(now_ns) / 1_000_000),
                tasks: Some(busy + line.queued + exempt_live),
                ..Gauges::default()
            },
            histograms,
        }
    }

    /// The integral wraps, and a begin after `now_ns` makes it a little too small: only a step forward is taken.
    fn advance_busy(&mut self, integral: u64) {
        let step = integral.wrapping_sub(self.busy_seen) & INTEGRAL_MASK;
        if step <= INTEGRAL_MASK / 2 {
            self.busy_us = self.busy_us.saturating_add(step);
            self.busy_seen = integral;
        }
    }

    fn advance_wait(&mut self, integral_ns: u64) {
        let step = integral_ns.wrapping_sub(self.wait_ns);
        if step <= u64::MAX / 2 {
            self.wait_ns = integral_ns;
        }
    }
}

impl Counters {
    /// The mean time that work has held a worker so far, in microseconds.
    pub(crate) fn mean_service_us(&self, now_ns: u64) -> u64 {
        let direct = self.sum(|shard| &shard.direct);
        let begun = direct + self.from_queue.load(Ordering::Relaxed);
        self.busy_integral(now_ns) / begun.max(1)
    }

    /// How much runs.
    pub(crate) fn running(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.busy.load(Ordering::Acquire) & RUNNING_MAX)
            .sum()
    }

    fn busy_integral(&self, now_ns: u64) -> u64 {
        let now_us = now_ns / 1_000;
        let integral = self.shards.iter().fold(0_u64, |sum, shard| {
            let word = shard.busy.load(Ordering::Acquire);
            let running = (word & RUNNING_MAX).wrapping_mul(now_us);
            sum.wrapping_add(word >> RUNNING_BITS).wrapping_add(running)
        });
        integral & INTEGRAL_MASK
    }

    /// Outcomes are read before begins, and begins before arrivals, so that what is read adds up: no more ends than begins,
    /// and no more begins than arrivals.
    fn counted(&self, completed: u64) -> state::Counters {
        let failed = self.sum(|shard| &shard.failed);
        let timed_out = self.sum(|shard| &shard.timed_out);
        let abandoned = self.sum(|shard| &shard.abandoned);
        let turned_exempt = self.sum(|shard| &shard.exempt);
        let cpu_ns = self.sum(|shard| &shard.cpu_ns);
        let rejected = self.rejected.load(Ordering::Acquire);
        let from_queue = self.from_queue.load(Ordering::Acquire);
        let passed = self.passed.load(Ordering::Acquire);
        let joined = self.joined.load(Ordering::Acquire);
        let direct = self.sum(|shard| &shard.direct);
        state::Counters {
            arrived: Some(direct + joined + passed),
            started: Some(direct + from_queue),
            completed: Some(completed),
            failed: Some(failed),
            rejected: Some(rejected),
            timed_out: Some(timed_out),
            abandoned: Some(abandoned),
            exempt: Some(passed + turned_exempt),
            busy_us: None,
            wait_us: None,
            cpu_us: Some(cpu_ns / 1_000),
        }
    }

    fn histograms(&self) -> Histograms {
        let mut served = Histogram::default();
        for shard in self.shards.iter() {
            shard.served.add_to(&mut served);
        }
        let mut total = self.queued_total.reading();
        let mut service = self.queued_service.reading();
        let mut wait = self.queued_wait.reading();
        total.merge(&served);
        service.merge(&served);
        if served.count > 0 {
            wait.buckets.add(0, served.count);
            wait.count += served.count;
        }
        Histograms {
            total_us: Some(total),
            wait_us: Some(wait),
            service_us: Some(service),
            timeout_us: Some(self.timeout.reading()),
        }
    }

    fn sum(&self, counter: impl Fn(&super::Shard) -> &AtomicU64) -> u64 {
        self.shards
            .iter()
            .map(|shard| counter(shard).load(Ordering::Acquire))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    const MS: u64 = 1_000_000;
    const BOOT: u64 = 777_000_000_000_000;

    fn read(reader: &mut Reader, counters: &Counters, now_ns: u64) -> PartFigures {
        reader.read(counters, 0, LineReading::default(), now_ns)
    }

    #[test]
    fn busy_time_rises_while_work_hangs() {
        let (counters, mut reader) = (Counters::default(), Reader::default());
        let hanging = counters.begin_direct(BOOT);
        counters.begin_direct(BOOT + 2 * MS);
        let busy_us = |reader: &mut Reader, at| read(reader, &counters, at).counters.busy_us;
        assert_eq!(busy_us(&mut reader, BOOT + 5 * MS), Some(5_000 + 3_000));
        assert_eq!(busy_us(&mut reader, BOOT + 9 * MS), Some(9_000 + 7_000));
        counters.end(hanging, Outcome::Failed, BOOT + 10 * MS);
        assert_eq!(busy_us(&mut reader, BOOT + 12 * MS), Some(10_000 + 10_000));
    }

    #[test]
    fn an_integral_never_goes_backwards() {
        let (counters, mut reader) = (Counters::default(), Reader::default());
        let stint = counters.begin_direct(BOOT);
        let before = read(&mut reader, &counters, BOOT + 5 * MS).counters.busy_us;
        counters.begin_direct(BOOT + 50 * MS);
        let after = read(&mut reader, &counters, BOOT + 6 * MS).counters.busy_us;
        assert!(after >= before, "{after:?} after {before:?}");
        counters.end(stint, Outcome::Completed, BOOT + 50 * MS);
        let later = read(&mut reader, &counters, BOOT + 51 * MS)
            .counters
            .busy_us;
        assert_eq!(later, Some(50_000 + 1_000));
    }

    #[test]
    fn a_success_stands_in_three_histograms_and_a_timeout_apart() {
        let (counters, mut reader) = (Counters::default(), Reader::default());
        counters.end(
            counters.begin_direct(BOOT),
            Outcome::Completed,
            BOOT + 3 * MS,
        );
        counters.joined();
        counters.begin_queued(7, BOOT + 4 * MS);
        let waited = Counters::queued_stint(7, BOOT, BOOT + 4 * MS);
        counters.end(waited, Outcome::Completed, BOOT + 9 * MS);
        counters.end(
            counters.begin_direct(BOOT),
            Outcome::TimedOut,
            BOOT + 30 * MS,
        );
        let figures = read(&mut reader, &counters, BOOT + 40 * MS);
        let sum = |histogram: &Option<Histogram>| {
            histogram.as_ref().map(|held| (held.count, held.sum_us))
        };
        assert_eq!(sum(&figures.histograms.total_us), Some((2, 12_000)));
        assert_eq!(sum(&figures.histograms.wait_us), Some((2, 4_000)));
        assert_eq!(sum(&figures.histograms.service_us), Some((2, 8_000)));
        assert_eq!(sum(&figures.histograms.timeout_us), Some((1, 30_000)));
        assert_eq!(figures.counters.completed, Some(2));
        assert_eq!(figures.counters.timed_out, Some(1));
        assert_eq!(figures.counters.started, Some(3));
        assert_eq!(figures.counters.arrived, Some(3));
    }
}
