//! Scaling by how much is used: in proportion, as orchestrators do, or by plain thresholds.

use super::{Bounds, Limit, Window};
use std::collections::VecDeque;

/// In proportion to use, with the defaults of Kubernetes' horizontal autoscaler: every 15 s, a tolerance of a tenth, and down
/// only to the largest wish of the last five minutes.
pub(super) struct Proportional {
    bounds: Bounds,
    limit: f64,
    last: Option<f64>,
    wishes: VecDeque<(f64, f64)>,
}

impl Proportional {
    const TARGET: f64 = 0.8;
    const TOLERANCE: f64 = 0.1;
    const EVERY_S: f64 = 15.0;
    const STABLE_S: f64 = 300.0;

    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: bounds.clamp(bounds.start),
            last: None,
            wishes: VecDeque::new(),
        }
    }
}

impl Limit for Proportional {
    fn update(&mut self, window: &Window) -> f64 {
        let last = *self.last.get_or_insert(window.at);
        if window.at - last < Self::EVERY_S {
            return self.limit;
        }
        self.last = Some(window.at);
        let workers = window.workers as f64;
        let ratio = window.busy / workers.max(1.0) / Self::TARGET;
        let wanted = if (ratio - 1.0).abs() <= Self::TOLERANCE {
            workers
        } else {
            libm::ceil(workers * ratio)
        };
        self.wishes.push_back((window.at, wanted));
        while self
            .wishes
            .front()
            .is_some_and(|(at, _)| window.at - at > Self::STABLE_S)
        {
            self.wishes.pop_front();
        }
        let most = self
            .wishes
            .iter()
            .map(|(_, wish)| *wish)
            .fold(wanted, f64::max);
        self.limit = self.bounds.clamp(if wanted < workers {
            most.min(workers)
        } else {
            wanted
        });
        self.limit
    }

    fn by_ticks(&self) -> bool {
        true
    }
}

/// A quarter more above 80 % of the CPU, a fifth less below 20 %, at most every ten seconds.
pub(super) struct Threshold {
    bounds: Bounds,
    limit: f64,
    last: Option<f64>,
}

impl Threshold {
    const HIGH: f64 = 0.8;
    const LOW: f64 = 0.2;
    const GROW: f64 = 1.25;
    const SHRINK: f64 = 0.8;
    const EVERY_S: f64 = 10.0;

    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: bounds.clamp(bounds.start),
            last: None,
        }
    }
}

impl Limit for Threshold {
    fn update(&mut self, window: &Window) -> f64 {
        let last = *self.last.get_or_insert(window.at);
        if window.at - last < Self::EVERY_S {
            return self.limit;
        }
        self.last = Some(window.at);
        let factor = match window.cpu_share {
            Some(share) if share > Self::HIGH => Self::GROW,
            Some(share) if share < Self::LOW => Self::SHRINK,
            _ => 1.0,
        };
        self.limit = self.bounds.clamp(self.limit * factor);
        self.limit
    }

    fn by_ticks(&self) -> bool {
        true
    }
}
