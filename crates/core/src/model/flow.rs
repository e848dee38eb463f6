//! One tick of a pool in rates: the mean number in service, and how long a job is there.

use crate::number::fraction;
use crate::window::PoolDelta;
use trimtab_protocol::histogram::Histogram;

/// One tick of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// How long, in seconds.
    pub seconds: f64,
    /// Mean number of jobs in service.
    pub busy: f64,
    /// Jobs that ended, half of the change in the number in service added: a job that was begun and has not ended yet is
    /// half done on average, so a pool that fills up does more than its completions show.
    pub finished: f64,
    /// Jobs that ended, as counted.
    pub ended: f64,
    /// Jobs that came.
    pub arrived: f64,
    /// Jobs that were turned away or ran out of time.
    pub lost: f64,
    /// Sum of the logarithms of the service times of successes, in seconds.
    pub log_sum: f64,
    /// Successes with a known service time.
    pub log_count: f64,
    /// Mean waiting time of what was begun, in seconds.
    pub wait_s: Option<f64>,
}

impl Flow {
    /// The flow of a tick.
    #[must_use]
    pub fn of(delta: &PoolDelta) -> Self {
        let seconds = delta.span.as_secs_f64();
        let ended = fraction(delta.completed.saturating_add(delta.failed));
        let (mut log_sum, mut log_count) = (0.0, 0.0);
        if let Some(service) = &delta.service {
            for (bucket, count) in &service.buckets {
                log_sum += fraction(count) * log_middle_s(bucket);
                log_count += fraction(count);
            }
        }
        let started = delta.started.map(fraction).filter(|started| *started > 0.0);
        Self {
            seconds,
            busy: delta.busy(),
            finished: (ended + 0.5 * delta.busy_rise).max(0.0),
            ended,
            arrived: fraction(delta.arrived),
            lost: fraction(delta.lost),
            log_sum,
            log_count,
            wait_s: match (delta.wait_us, started) {
                (Some(wait_us), Some(started)) => Some(fraction(wait_us) / 1e6 / started),
                _ => None,
            },
        }
    }

    /// Mean time in service, in seconds, by Little's law: worker time over jobs. Zero when nothing ended.
    #[must_use]
    pub fn residence_s(&self) -> f64 {
        if self.finished > 0.0 {
            self.busy * self.seconds / self.finished
        } else {
            0.0
        }
    }

    /// Arrivals a second.
    #[must_use]
    pub fn arrivals_per_s(&self) -> f64 {
        self.arrived / self.seconds
    }

    /// Jobs that ended, a second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.finished / self.seconds
    }
}

/// The logarithm of the middle of a histogram's bucket, in seconds.
#[must_use]
pub fn log_middle_s(bucket: u16) -> f64 {
    let octaves =
        (f64::from(bucket) - 0.5) / f64::from(trimtab_protocol::histogram::BUCKETS_PER_OCTAVE);
    octaves * core::f64::consts::LN_2 - LN_MILLION
}

/// The bucket, as a fraction, up to whose upper bound a duration in seconds reaches.
#[must_use]
pub fn bucket_reach(seconds: f64) -> f64 {
    let us = (seconds * 1e6).max(1.0);
    (libm::log2(us) * f64::from(trimtab_protocol::histogram::BUCKETS_PER_OCTAVE))
        .clamp(0.0, f64::from(trimtab_protocol::histogram::BUCKET_MAX))
}

/// ln 10^6: from microseconds to seconds.
const LN_MILLION: f64 = 13.815_510_557_964_274;

/// The quantile of a histogram in seconds; nothing when it is empty or absent.
#[must_use]
pub fn quantile_s(histogram: Option<&Histogram>, basis_points: u32) -> Option<f64> {
    Some(fraction(histogram?.quantile_us(basis_points)?) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Span;
    use crate::testing::pool;

    #[test]
    fn a_job_that_was_begun_and_not_ended_counts_half() {
        let (earlier, mut later) = (pool(8), pool(8));
        later.counters.completed = Some(30);
        later.counters.busy_us = Some(4_000_000);
        later.gauges.busy = Some(8);
        let delta = PoolDelta::between(&earlier, &later, Span::from_secs(1)).unwrap();
        let flow = Flow::of(&delta);
        assert_eq!((flow.finished, flow.ended), (34.0, 30.0));
        assert!((flow.residence_s() - 4.0 / 34.0).abs() < 1e-12);
    }

    #[test]
    fn the_middle_of_a_bucket_lies_between_its_bounds() {
        for us in [40_u64, 1_000, 37_000, 2_000_000] {
            let bucket = Histogram::bucket_of(us);
            let middle = libm::exp(log_middle_s(bucket)) * 1e6;
            let bounds = fraction(Histogram::upper_bound_us(bucket - 1))
                ..=fraction(Histogram::upper_bound_us(bucket));
            assert!(bounds.contains(&middle), "{middle} for {us}");
        }
    }
}
