//! failsafe-go's adaptive limiter, re-expressed from its description: recent against long-term response time gives the queue,
//! and where that is in doubt, how concurrency goes together with throughput and response time decides.

use super::{Bounds, Limit, Window};
use std::collections::VecDeque;

/// Windows over which correlations are taken.
const WINDOWS: usize = 50;
/// Weight of a window in the long-term response time.
const LONG_WEIGHT: f64 = 2.0 / 61.0;
/// Below this a correlation counts as none, above the other as strong.
const NONE: f64 = 0.3;
const STRONG: f64 = 0.7;

pub(super) struct Correlation {
    bounds: Bounds,
    limit: f64,
    long: Option<f64>,
    windows: VecDeque<(f64, f64, f64)>,
}

impl Correlation {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: bounds.clamp(bounds.start),
            long: None,
            windows: VecDeque::new(),
        }
    }

    /// How throughput and response time go together with the jobs in service.
    fn correlations(&self) -> (f64, f64) {
        let busy: Vec<f64> = self.windows.iter().map(|window| window.0).collect();
        let rates: Vec<f64> = self.windows.iter().map(|window| window.1).collect();
        let times: Vec<f64> = self.windows.iter().map(|window| window.2).collect();
        (correlation(&busy, &rates), correlation(&busy, &times))
    }
}

impl Limit for Correlation {
    fn update(&mut self, window: &Window) -> f64 {
        let long = self.long.unwrap_or(window.mean_s);
        let long = long + LONG_WEIGHT * (window.mean_s - long);
        self.long = Some(long);
        self.windows.push_back((
            window.busy,
            window.completed as f64 / window.span,
            window.mean_s,
        ));
        if self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
        let step = libm::log10(self.limit).max(1.0);
        let queue = self.limit * (1.0 - (long / window.mean_s).min(1.0));
        let (rate, time) = self.correlations();
        let overloaded = time > STRONG && rate < NONE;
        let wanted = if window.cut || queue > 6.0 * step || (overloaded && queue > step) {
            self.limit - step
        } else if window.busy < 0.5 * self.limit || queue > 3.0 * step {
            self.limit
        } else {
            self.limit + step
        };
        self.limit = self.bounds.clamp(wanted);
        self.limit
    }
}

/// Pearson's correlation; none where one of the two does not vary.
fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let count = left.len().max(1) as f64;
    let (left_mean, right_mean) = (
        left.iter().sum::<f64>() / count,
        right.iter().sum::<f64>() / count,
    );
    let (mut both, mut lefts, mut rights) = (0.0, 0.0, 0.0);
    for (left, right) in left.iter().zip(right) {
        let (left, right) = (left - left_mean, right - right_mean);
        both += left * right;
        lefts += left * left;
        rights += right * right;
    }
    let spread = libm::sqrt(lefts * rights);
    if spread > 0.0 { both / spread } else { 0.0 }
}
