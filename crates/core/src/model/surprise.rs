//! Whether the service is still the one that was learnt: a cumulative sum of surprises, in both directions.
//!
//! Batches of jobs that are long enough to be nearly independent are held against what is known of their size. Each adds its
//! standardised surprise, less one, to a sum that never falls below nothing (Page's test).

use super::flow::Flow;

/// Each batch must surprise by more than one error to count; that is half of a shift of two, the least worth finding.
const DRIFT: f64 = 1.0;
/// One batch counts at most so many errors.
const CLIP: f64 = 4.0;
/// From here on nothing is learnt or decided: it may be another service.
const SUSPICION: f64 = 2.5;
/// ... and the residence must differ by a fifth.
const SUSPICION_SHIFT: f64 = 0.2;
/// From here on it is another service: false once in about e^12 batches, if the errors are right.
const ALARM: f64 = 6.0;
const ALARM_SHIFT: f64 = 0.15;
/// What the model itself may be wrong by.
const MODEL_ERROR: f64 = 0.05;

/// A batch of jobs at one size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Batch {
    /// How long, in seconds.
    pub seconds: f64,
    /// Jobs that ended.
    pub finished: f64,
    /// Worker time, in seconds.
    pub busy_s: f64,
    /// Sum of logarithms of service times.
    pub log_sum: f64,
    /// Successes with a service time.
    pub log_count: f64,
}

impl Batch {
    /// Mean number in service.
    #[must_use]
    pub fn busy(&self) -> f64 {
        self.busy_s / self.seconds.max(1e-9)
    }

    /// Jobs a second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.finished / self.seconds.max(1e-9)
    }

    /// Mean residence, in seconds; with the mix of work and the variance of logarithms, by these.
    #[must_use]
    pub fn residence_s(&self, mix: Option<f64>, log_variance: f64) -> f64 {
        match mix {
            Some(mix) if self.log_count >= 5.0 => {
                let bias = 0.5 * log_variance / self.log_count;
                mix * libm::exp(self.log_sum / self.log_count - bias)
            }
            _ => self.busy_s / self.finished.max(1e-9),
        }
    }

    fn add(&mut self, flow: &Flow) {
        self.seconds += flow.seconds;
        self.finished += flow.finished;
        self.busy_s += flow.busy * flow.seconds;
        self.log_sum += flow.log_sum;
        self.log_count += flow.log_count;
    }
}

/// Collects ticks into batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batches {
    open: Batch,
    last: Option<f64>,
}

impl Batches {
    /// Takes in a tick; answers a batch once it spans twice the mean residual life and eight jobs, or twenty seconds.
    pub fn add(&mut self, flow: &Flow, dispersion: f64) -> Option<Batch> {
        self.open.add(flow);
        let batch = self.open;
        let residence = batch.busy_s / batch.finished.max(1e-9);
        let long = batch.seconds >= residence * (1.0 + dispersion) && batch.finished >= 8.0;
        if !long && batch.seconds <= 20.0 {
            return None;
        }
        self.open = Batch::default();
        Some(batch)
    }

    /// The dispersion that this batch and the one before show: half the squared difference of their rates, as a multiple of
    /// what a Poisson stream would have.
    pub fn dispersion(&mut self, batch: &Batch) -> Option<f64> {
        let rate = batch.throughput();
        let last = self.last.replace(rate)?;
        let mean = 0.5 * (rate + last);
        (mean > 0.0).then(|| (rate - last) * (rate - last) * 0.5 * batch.seconds / mean)
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// How sure it is that the service changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// It may be another one.
    Suspicious {
        /// Whether jobs take longer than was known.
        slower: bool,
    },
    /// It is another one.
    Changed {
        /// Whether jobs take longer than was known.
        slower: bool,
    },
}

/// The two sums.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surprise {
    slower: f64,
    faster: f64,
}

impl Surprise {
    /// Holds a batch's residence against what was expected, with the variance of that expectation.
    pub fn add(
        &mut self,
        residence_s: f64,
        jobs: f64,
        dispersion: f64,
        expected: (f64, f64),
    ) -> Option<Alarm> {
        let (expected_s, variance) = expected;
        let shift = libm::log(residence_s / expected_s.max(1e-12));
        let error = (dispersion / jobs.max(1.0) + variance + MODEL_ERROR * MODEL_ERROR).sqrt();
        let surprise = (shift / error).clamp(-CLIP, CLIP);
        self.slower = (self.slower + surprise - DRIFT).max(0.0);
        self.faster = (self.faster - surprise - DRIFT).max(0.0);
        let most = self.slower.max(self.faster);
        if most >= ALARM && shift.abs() > ALARM_SHIFT {
            self.clear();
            Some(Alarm::Changed {
                slower: shift > 0.0,
            })
        } else if most >= SUSPICION && shift.abs() > SUSPICION_SHIFT {
            Some(Alarm::Suspicious {
                slower: self.slower > self.faster,
            })
        } else {
            None
        }
    }

    /// Begins anew, at another size.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_raises_no_alarm() {
        let mut surprise = Surprise::default();
        for batch in 0..1_000 {
            // Errors of one standard deviation up and down: what chance does every time.
            let residence = 0.1 * if batch % 2 == 0 { 1.1 } else { 0.91 };
            assert_eq!(surprise.add(residence, 100.0, 1.0, (0.1, 0.0)), None);
        }
    }

    #[test]
    fn a_service_that_doubles_its_time_is_found_within_three_batches() {
        let mut surprise = Surprise::default();
        let first = surprise.add(0.2, 100.0, 1.0, (0.1, 0.0));
        assert_eq!(first, Some(Alarm::Suspicious { slower: true }));
        let mut alarms = (0..2).map(|_| surprise.add(0.2, 100.0, 1.0, (0.1, 0.0)));
        assert!(alarms.any(|alarm| alarm == Some(Alarm::Changed { slower: true })));
    }

    #[test]
    fn a_batch_is_long_enough_to_be_independent() {
        let flow = Flow {
            seconds: 1.0,
            busy: 10.0,
            finished: 5.0,
            ..Flow::default()
        };
        let mut batches = Batches::default();
        // A job takes 2 s; with exponential work a batch spans 4 s.
        let ended: Vec<bool> = (0..8).map(|_| batches.add(&flow, 1.0).is_some()).collect();
        assert_eq!(
            ended,
            [false, false, false, true, false, false, false, true]
        );
    }
}
