//! Sums over the ticks at one setting that show the pool at that setting and nothing else.

use super::flow::Flow;

/// Successes from which the mean of logarithms is taken.
const LOG_LEAST: f64 = 10.0;

/// Sums over clean ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Ticks.
    pub ticks: f64,
    /// How long, in seconds.
    pub seconds: f64,
    /// Jobs that ended.
    pub finished: f64,
    /// Jobs that came.
    pub arrived: f64,
    /// Jobs that were lost.
    pub lost: f64,
    /// Worker time, in seconds.
    pub busy_s: f64,
    /// Sum of logarithms of service times.
    pub log_sum: f64,
    /// Successes with a service time.
    pub log_count: f64,
}

impl Tally {
    /// Adds a tick.
    pub fn add(&mut self, flow: &Flow) {
        self.ticks += 1.0;
        self.seconds += flow.seconds;
        self.finished += flow.finished;
        self.arrived += flow.arrived;
        self.lost += flow.lost;
        self.busy_s += flow.busy * flow.seconds;
        self.log_sum += flow.log_sum;
        self.log_count += flow.log_count;
    }

    /// Forgets half of it.
    pub fn halve(&mut self) {
        for sum in [
            &mut self.ticks,
            &mut self.seconds,
            &mut self.finished,
            &mut self.arrived,
            &mut self.lost,
            &mut self.busy_s,
            &mut self.log_sum,
            &mut self.log_count,
        ] {
            *sum *= 0.5;
        }
    }

    /// Jobs a second. With the ratio of mean to geometric mean of the work (`mix`), it is what the usual mix of long and
    /// short jobs would have given: worker time over stretched work.
    #[must_use]
    pub fn throughput(&self, mix: Option<f64>) -> f64 {
        let seconds = self.seconds.max(1e-9);
        match mix {
            Some(mix) if self.log_count >= LOG_LEAST => {
                self.busy_s / seconds / (mix * libm::exp(self.log_sum / self.log_count))
            }
            _ => self.finished / seconds,
        }
    }

    /// Mean number in service.
    #[must_use]
    pub fn busy(&self) -> f64 {
        self.busy_s / self.seconds.max(1e-9)
    }

    /// Mean time in service by Little's law, in seconds.
    #[must_use]
    pub fn residence_s(&self) -> f64 {
        self.busy_s / self.finished.max(1e-9)
    }

    /// Lost jobs as a share of those that came.
    #[must_use]
    pub fn lost_share(&self) -> f64 {
        self.lost / self.arrived.max(1.0)
    }
}

/// The standard error of the difference of two throughputs, by the dispersion of the work: the number that ends in a time
/// has a variance of dispersion times its mean, when workers are busy throughout.
#[must_use]
pub fn error_of_difference(dispersion: f64, before: (f64, f64), now: (f64, f64)) -> f64 {
    let part = |(throughput, seconds): (f64, f64)| throughput / seconds.max(1e-9);
    (dispersion * (part(before) + part(now))).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(finished: f64, log_mean: f64) -> Flow {
        Flow {
            seconds: 1.0,
            busy: 10.0,
            finished,
            ended: finished,
            log_sum: log_mean * finished,
            log_count: finished,
            ..Flow::default()
        }
    }

    #[test]
    fn the_mix_of_jobs_does_not_move_the_throughput_that_is_compared() {
        let mix = 2.0;
        let (mut lucky, mut unlucky) = (Tally::default(), Tally::default());
        lucky.add(&flow(130.0, libm::log(0.05)));
        unlucky.add(&flow(80.0, libm::log(0.05)));
        let (a, b) = (lucky.throughput(Some(mix)), unlucky.throughput(Some(mix)));
        assert!((a - b).abs() < 1e-9 && (a - 100.0).abs() < 1e-6, "{a} {b}");
        assert!((lucky.throughput(None) - 130.0).abs() < 1e-9);
    }

    #[test]
    fn two_windows_of_thirty_resolve_only_a_quarter() {
        let error = error_of_difference(1.0, (30.0, 1.0), (30.0, 1.0));
        assert!((error / 30.0 - 0.258).abs() < 0.001, "{error}");
        let longer = error_of_difference(1.0, (30.0, 4.0), (30.0, 4.0));
        assert!((longer - error / 2.0).abs() < 1e-12);
    }
}
