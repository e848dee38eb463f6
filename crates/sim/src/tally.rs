//! What a pool counts: its counters, and histograms that are cheap to add to.

use crate::number::{index, whole};
use trimtab_protocol::histogram::{BUCKET_MAX, Histogram};

/// Durations by bucket of the protocol's histogram.
#[derive(Clone, Debug)]
pub struct Durations {
    counts: Vec<u64>,
    count: u64,
    sum_us: u64,
}

impl Default for Durations {
    fn default() -> Self {
        let counts = vec![0; usize::from(BUCKET_MAX) + 1];
        Self {
            counts,
            count: 0,
            sum_us: 0,
        }
    }
}

impl Durations {
    /// Adds one, in seconds.
    pub fn add(&mut self, seconds: f64) {
        let us = whole(seconds * 1e6);
        if let Some(count) = self.counts.get_mut(usize::from(Histogram::bucket_of(us))) {
            *count += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// As the protocol writes it.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        let filled = (0..).zip(&self.counts).filter(|(_, count)| **count > 0);
        Histogram {
            buckets: filled.map(|(bucket, count)| (bucket, *count)).collect(),
            count: self.count,
            sum_us: self.sum_us,
        }
    }
}

/// The counters of one run of a host, for one pool.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Work that came.
    pub arrived: u64,
    /// Work that was begun.
    pub started: u64,
    /// Work that ended well.
    pub completed: u64,
    /// Work that was turned away.
    pub rejected: u64,
    /// Work that ran out of time, waiting or in service.
    pub timed_out: u64,
    /// Worker time in use, in seconds, in-flight work included.
    pub busy_s: f64,
    /// Waiting time, in seconds, work that still waits included.
    pub wait_s: f64,
    /// CPU time, in seconds.
    pub cpu_s: f64,
    /// From arrival to end, of successes.
    pub total: Durations,
    /// From arrival to begin, of successes.
    pub wait: Durations,
    /// From begin to end, of successes.
    pub service: Durations,
    /// How long work had been there when its time ran out.
    pub timeout: Durations,
}

/// What a pool achieved over the whole run, whatever became of the host meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Achieved {
    /// Jobs that came.
    pub arrived: u64,
    /// Jobs that ended well.
    pub completed: u64,
    /// Completions of each second within the goal.
    pub good: Vec<u32>,
    /// All completions of each second.
    pub done: Vec<u32>,
    /// From arrival to end.
    pub total: Durations,
    /// Integral of the configured workers, in worker seconds.
    pub workers_s: f64,
    /// Jobs cut by the timeout in service that, at the rate of that moment, would have ended within the goal.
    pub cut_good: u64,
}

impl Achieved {
    /// For a run of so many seconds.
    #[must_use]
    pub fn new(seconds: usize) -> Self {
        Self {
            good: vec![0; seconds],
            done: vec![0; seconds],
            ..Self::default()
        }
    }

    /// Notes a job that ended well.
    pub fn note(&mut self, second: usize, total_s: f64, slo: f64) {
        self.completed += 1;
        self.total.add(total_s);
        if let Some(done) = self.done.get_mut(second) {
            *done += 1;
        }
        if total_s <= slo
            && let Some(good) = self.good.get_mut(second)
        {
            *good += 1;
        }
    }

    /// All completions within the goal.
    #[must_use]
    pub fn goodput(&self) -> u64 {
        self.good.iter().map(|count| u64::from(*count)).sum()
    }

    /// Those from one second up to another.
    #[must_use]
    pub fn goodput_between(&self, from: f64, to: f64) -> u64 {
        let range = index(whole(from))..index(whole(to)).min(self.good.len());
        let good = self.good.get(range).unwrap_or(&[]);
        good.iter().map(|count| u64::from(*count)).sum()
    }

    /// The 99 % quantile of response times, in seconds; nothing where no job ended.
    #[must_use]
    pub fn p99(&self) -> Option<f64> {
        let us = self.total.histogram().quantile_us(9_900)?;
        Some(us as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cheap_durations_are_the_protocols_histogram() {
        let (mut cheap, mut real) = (Durations::default(), Histogram::default());
        for us in [0, 1, 7, 900, 75_000, 4_000_000, 600_000_000_u64] {
            cheap.add(us as f64 / 1e6);
            real.record(us);
        }
        assert_eq!(cheap.histogram(), real);
    }
}
