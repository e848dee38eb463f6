//! How uneven the work is, from the histogram of service times.
//!
//! All jobs at one size are stretched alike, so service times are a scale family: the stretch is estimated by the mean of
//! their logarithms, whose variance is far smaller than that of the mean where the work is bimodal or heavy-tailed. Where it
//! is not (exponential work), the mean is the better of the two, and is taken.

use super::flow::{bucket_reach, log_middle_s};
use std::sync::LazyLock;
use trimtab_protocol::histogram::{BUCKET_MAX, Histogram};

const BUCKETS: usize = BUCKET_MAX as usize + 1;

/// The middle of each bucket: its logarithm, and itself in seconds.
static MIDDLES: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    let logs = (0..=BUCKET_MAX).map(log_middle_s);
    logs.map(|log| (log, libm::exp(log))).collect()
});

/// Successes before the histogram is believed: its variance then has a standard error of some twenty percent.
const COUNT_LEAST: f64 = 60.0;
/// Above this many successes the past is halved, so that it follows work that changes.
const COUNT_MOST: f64 = 2_000.0;
/// Dispersion is held within these: nothing real is more even than a half, and beyond 25 one outlier would silence every
/// comparison.
const DISPERSION: (f64, f64) = (0.5, 25.0);
/// Dispersion while nothing is known: a little more than a Poisson stream.
const DISPERSION_FIRST: f64 = 1.5;
/// The mean of logarithms is used where its variance is this much smaller than that of the mean.
const LOG_ADVANTAGE: f64 = 0.8;

/// The distribution of service times, faded.
#[derive(Clone, Debug)]
pub struct Work {
    counts: [f64; BUCKETS],
    /// Outside of these, the second not included, every bucket is empty.
    filled: (usize, usize),
    /// Sums of `counts` below each of the buckets that were filled when they were made, and below all that follow.
    below: [f64; BUCKETS],
    below_rest: f64,
    settled: (usize, usize),
    count: f64,
    logs: f64,
    log_squares: f64,
    sum: f64,
    squares: f64,
    /// What was learnt from batches of completions, until the histogram is believed.
    batches: f64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            counts: [0.0; BUCKETS],
            filled: (BUCKETS, 0),
            below: [0.0; BUCKETS],
            below_rest: 0.0,
            settled: (0, 0),
            count: 0.0,
            logs: 0.0,
            log_squares: 0.0,
            sum: 0.0,
            squares: 0.0,
            batches: DISPERSION_FIRST,
        }
    }
}

impl Work {
    /// Takes in the service times of a tick.
    pub fn add(&mut self, service: &Histogram) {
        let middles = MIDDLES.as_slice();
        for (bucket, count) in &service.buckets {
            let place = usize::from(bucket);
            let (Some(slot), Some((log, value))) = (self.counts.get_mut(place), middles.get(place))
            else {
                continue;
            };
            self.filled = (self.filled.0.min(place), self.filled.1.max(place + 1));
            let count = crate::number::fraction(count);
            *slot += count;
            self.count += count;
            self.logs += count * log;
            self.log_squares += count * log * log;
            self.sum += count * value;
            self.squares += count * value * value;
        }
        if self.count > COUNT_MOST {
            self.halve();
        }
    }

    /// Takes in the dispersion that two successive batches of completions showed, for hosts without a histogram.
    pub fn notice_batches(&mut self, dispersion: f64) {
        let weight = 0.06;
        self.batches += weight * (dispersion.min(DISPERSION.1) - self.batches);
    }

    fn halve(&mut self) {
        self.counts.iter_mut().for_each(|count| *count *= 0.5);
        for sum in [
            &mut self.count,
            &mut self.logs,
            &mut self.log_squares,
            &mut self.sum,
            &mut self.squares,
        ] {
            *sum *= 0.5;
        }
    }

    /// Whether the histogram holds enough to be believed.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.count >= COUNT_LEAST
    }

    /// Variance of the logarithm of service times.
    #[must_use]
    pub fn log_variance(&self) -> f64 {
        if self.count < 1.0 {
            return 1.0;
        }
        let mean = self.logs / self.count;
        (self.log_squares / self.count - mean * mean).max(0.0)
    }

    /// Squared coefficient of variation of service times.
    #[must_use]
    pub fn variation(&self) -> f64 {
        if self.sum <= 0.0 {
            return 1.0;
        }
        let mean = self.sum / self.count;
        (self.squares / self.count / (mean * mean) - 1.0).max(0.0)
    }

    /// Whether stretch is estimated by logarithms.
    #[must_use]
    pub fn by_logarithms(&self) -> bool {
        self.is_known() && self.log_variance() < LOG_ADVANTAGE * self.variation()
    }

    /// Variance over mean of what one job tells of the throughput: 1 for a Poisson stream.
    #[must_use]
    pub fn dispersion(&self) -> f64 {
        let (least, most) = DISPERSION;
        if !self.is_known() {
            return self.batches.clamp(0.7, most);
        }
        if self.by_logarithms() {
            self.log_variance().clamp(least, most)
        } else {
            self.variation().clamp(least, most)
        }
    }

    /// Prepares [`Self::in_time`] for what was taken in so far.
    pub fn settle(&mut self) {
        let mut sum = 0.0;
        let (first, end) = self.filled;
        let both = self.below.iter_mut().zip(&self.counts);
        for (below, count) in both.take(end).skip(first) {
            *below = sum;
            sum += count;
        }
        self.below_rest = sum;
        self.settled = self.filled;
    }

    /// The share of all worker time that goes to jobs which would take longer than `limit_s` if all of them took `stretch` times as
    /// long as they do.
    #[must_use]
    pub fn time_beyond(&self, limit_s: f64, stretch: f64) -> f64 {
        if !self.is_known() {
            return 0.0;
        }
        let seen = self.counts.iter().zip(MIDDLES.iter());
        let beyond = seen.filter(|(_, (_, seconds))| seconds * stretch > limit_s);
        let time: f64 = beyond.map(|(count, (_, seconds))| count * seconds).sum();
        time / self.sum.max(1e-9)
    }

    /// The share of the work that would be served within `limit_s` if all of it took `stretch` times as long as it does.
    #[must_use]
    pub fn in_time(&self, limit_s: f64, stretch: f64) -> f64 {
        if !self.is_known() {
            return 1.0;
        }
        let reach = bucket_reach(limit_s / stretch.max(1e-9)) + 1.0;
        let whole = crate::number::whole(libm::floor(reach));
        let bucket = usize::try_from(whole).unwrap_or(BUCKETS).min(BUCKETS - 1);
        let part = (reach - libm::floor(reach)).clamp(0.0, 1.0);
        let (first, end) = self.settled;
        let below = if bucket >= end {
            self.below_rest
        } else if bucket >= first {
            self.below.get(bucket).copied().unwrap_or(0.0)
        } else {
            0.0
        };
        let within = self.counts.get(bucket).copied().unwrap_or(0.0);
        ((below + part * within) / self.count).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Work {
        let mut histogram = Histogram::default();
        times.into_iter().for_each(|us| histogram.record(us));
        let mut work = Work::default();
        work.add(&histogram);
        work.settle();
        work
    }

    #[test]
    fn even_work_is_even_and_bimodal_work_is_judged_by_logarithms() {
        let even = of((0..500).map(|_| 50_000));
        assert!(even.variation() < 0.01 && (even.dispersion() - 0.5).abs() < 1e-9);
        let bimodal = of((0..1_000).map(|job| if job % 10 == 0 { 400_000 } else { 11_000 }));
        // Nine of ten at 11 ms, one at 400 ms: cv^2 = 5.45, and the variance of the logarithm 0.09 ln(400/11)^2 = 1.16.
        assert!(
            (bimodal.variation() - 5.45).abs() < 0.4,
            "{}",
            bimodal.variation()
        );
        assert!(
            (bimodal.log_variance() - 1.16).abs() < 0.1,
            "{}",
            bimodal.log_variance()
        );
        assert!(bimodal.by_logarithms());
    }

    #[test]
    fn few_jobs_say_nothing() {
        let few = of((0..59).map(|job| 1_000 * (job + 1)));
        assert!(!few.is_known());
        assert!((few.dispersion() - DISPERSION_FIRST).abs() < 1e-9);
        assert!((few.in_time(0.001, 1.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn twice_the_stretch_leaves_half_the_limit() {
        let work = of((0..1_000).map(|job| 1_000 * (job + 1)));
        let (half, full) = (work.in_time(0.5, 1.0), work.in_time(1.0, 2.0));
        assert!((half - full).abs() < 1e-9);
        assert!((half - 0.5).abs() < 0.02, "{half}");
        assert!(work.in_time(2.0, 1.0) > 0.999);
    }

    #[test]
    fn long_jobs_take_most_of_the_time_of_bimodal_work() {
        let bimodal = of((0..1_000).map(|job| if job % 10 == 0 { 400_000 } else { 11_000 }));
        // Forty of each fifty milliseconds go to the tenth that takes 400.
        let beyond = bimodal.time_beyond(0.2, 1.0);
        assert!((0.75..0.85).contains(&beyond), "{beyond}");
        assert!(bimodal.time_beyond(0.2, 0.25) < 1e-9);
    }

    #[test]
    fn the_past_fades() {
        let mut work = of((0..2_000).map(|_| 10_000));
        let mut slow = Histogram::default();
        (0..500).for_each(|_| slow.record(1_000_000));
        (0..20).for_each(|_| work.add(&slow));
        work.settle();
        assert!(work.in_time(0.5, 1.0) < 0.05);
    }
}
