//! Envoy's gradient controller of adaptive concurrency, re-expressed from its documentation and defaults: the least response
//! time is measured now and then at a very small limit, and the limit follows its ratio to the sampled one.

use super::{Bounds, Limit, Window};

/// The limit while the least response time is measured.
const MEASURING: f64 = 3.0;
/// Jobs over which it is measured.
const MEASURED_JOBS: u64 = 50;
/// Between two measurements, in seconds.
const MEASURE_EVERY_S: f64 = 60.0;
/// Room above the least response time.
const BUFFER: f64 = 0.25;

pub(super) struct Envoy {
    bounds: Bounds,
    limit: f64,
    least: Option<f64>,
    measured_at: f64,
    /// Jobs and time in service of the measurement under way, and whether it has settled.
    measuring: Option<(u64, f64, bool)>,
}

impl Envoy {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: bounds.clamp(bounds.start),
            least: None,
            measured_at: 0.0,
            measuring: Some((0, 0.0, false)),
        }
    }
}

impl Limit for Envoy {
    fn update(&mut self, window: &Window) -> f64 {
        if let Some((jobs, time, settled)) = &mut self.measuring {
            // The first window still holds jobs that began under the larger limit.
            if *settled {
                *jobs += window.completed;
                *time += window.median_s * window.completed as f64;
            }
            *settled = true;
            if *jobs < MEASURED_JOBS {
                return self.bounds.clamp(MEASURING);
            }
            self.least = Some(*time / *jobs as f64);
            self.measured_at = window.at;
            self.measuring = None;
            return self.limit;
        }
        if window.at - self.measured_at >= MEASURE_EVERY_S {
            self.measuring = Some((0, 0.0, false));
            return self.bounds.clamp(MEASURING);
        }
        let least = self.least.unwrap_or(window.median_s);
        let gradient = (least * (1.0 + BUFFER) / window.median_s).clamp(0.5, 2.0);
        let wanted = self.limit * gradient;
        self.limit = self.bounds.clamp(wanted + libm::sqrt(wanted));
        self.limit
    }

    fn window_s(&self) -> f64 {
        0.1
    }
}
