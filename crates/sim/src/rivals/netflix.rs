//! The limits of Netflix's `concurrency-limits`, re-expressed from their published descriptions and defaults.

use super::{Bounds, Limit, Window};

/// Gradient2: short against long mean of the response time, with room for a queue of four.
pub(super) struct Gradient2 {
    bounds: Bounds,
    limit: f64,
    long: f64,
    seen: f64,
}

impl Gradient2 {
    const LONG_WINDOW: f64 = 600.0;
    const WARM_UP: f64 = 10.0;
    const TOLERANCE: f64 = 1.5;
    const SMOOTHING: f64 = 0.2;
    const QUEUE: f64 = 4.0;

    pub(super) fn new(bounds: Bounds) -> Self {
        let limit = bounds.clamp(bounds.start);
        Self {
            bounds,
            limit,
            long: 0.0,
            seen: 0.0,
        }
    }
}

impl Limit for Gradient2 {
    fn update(&mut self, window: &Window) -> f64 {
        self.seen += 1.0;
        let weight = if self.seen <= Self::WARM_UP {
            1.0 / self.seen
        } else {
            2.0 / (Self::LONG_WINDOW + 1.0)
        };
        self.long += (window.mean_s - self.long) * weight;
        if self.long > 2.0 * window.mean_s {
            self.long *= 0.95;
        }
        // An application that does not use its limit says nothing about it.
        if window.busy < self.limit / 2.0 {
            return self.limit;
        }
        let gradient = (Self::TOLERANCE * self.long / window.mean_s).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + Self::QUEUE;
        let smooth = self.limit * (1.0 - Self::SMOOTHING) + wanted * Self::SMOOTHING;
        self.limit = self.bounds.clamp(smooth);
        self.limit
    }
}

/// Gradient: the response time without load over that of the window, with room for the square root of the limit.
pub(super) struct Gradient {
    bounds: Bounds,
    limit: f64,
    no_load: f64,
    until_probe: u32,
}

impl Gradient {
    const TOLERANCE: f64 = 2.0;
    const SMOOTHING: f64 = 0.2;
    /// Windows between two looks for a new response time without load.
    const PROBE: u32 = 1_000;

    pub(super) fn new(bounds: Bounds) -> Self {
        let limit = bounds.clamp(bounds.start);
        Self {
            bounds,
            limit,
            no_load: f64::INFINITY,
            until_probe: Self::PROBE,
        }
    }
}

impl Limit for Gradient {
    fn update(&mut self, window: &Window) -> f64 {
        let queue = libm::sqrt(self.limit);
        self.until_probe -= 1;
        if self.until_probe == 0 {
            self.until_probe = Self::PROBE;
            self.no_load = f64::INFINITY;
            self.limit = self.bounds.clamp(queue);
            return self.limit;
        }
        self.no_load = self.no_load.min(window.mean_s);
        let gradient = (Self::TOLERANCE * self.no_load / window.mean_s).clamp(0.5, 1.0);
        let wanted = if window.cut {
            self.limit / 2.0
        } else if window.busy < self.limit / 2.0 {
            return self.limit;
        } else {
            self.limit * gradient + queue
        };
        // Only a fall is smoothed.
        self.limit = self.bounds.clamp(if wanted < self.limit {
            self.limit * (1.0 - Self::SMOOTHING) + wanted * Self::SMOOTHING
        } else {
            wanted
        });
        self.limit
    }
}

/// Vegas: the queue that the response time tells of is held between two bounds.
pub(super) struct Vegas {
    bounds: Bounds,
    limit: f64,
    no_load: f64,
    windows: f64,
}

impl Vegas {
    /// After so many windows, times the limit, the response time without load is looked for anew.
    const PROBE: f64 = 30.0;

    pub(super) fn new(bounds: Bounds) -> Self {
        let limit = bounds.clamp(bounds.start);
        Self {
            bounds,
            limit,
            no_load: f64::INFINITY,
            windows: 0.0,
        }
    }
}

impl Limit for Vegas {
    fn update(&mut self, window: &Window) -> f64 {
        self.windows += 1.0;
        if self.windows > Self::PROBE * self.limit || window.mean_s < self.no_load {
            self.windows = 0.0;
            self.no_load = window.mean_s;
            return self.limit;
        }
        let step = libm::log10(self.limit).max(1.0);
        let queue = libm::ceil(self.limit * (1.0 - self.no_load / window.mean_s));
        let wanted = if window.cut {
            self.limit - step
        } else if window.busy * 2.0 < self.limit {
            return self.limit;
        } else if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else if queue > 6.0 * step {
            self.limit - step
        } else {
            self.limit
        };
        self.limit = self.bounds.clamp(wanted);
        self.limit
    }
}

/// AIMD: one more while the limit is used, a tenth less when the timeout cuts something.
pub(super) struct Aimd {
    bounds: Bounds,
    limit: f64,
}

impl Aimd {
    const BACKOFF: f64 = 0.9;
    const TIMEOUT_S: f64 = 5.0;

    pub(super) fn new(bounds: Bounds) -> Self {
        let limit = bounds.clamp(bounds.start);
        Self { bounds, limit }
    }
}

impl Limit for Aimd {
    fn update(&mut self, window: &Window) -> f64 {
        if window.cut || window.mean_s > Self::TIMEOUT_S {
            self.limit *= Self::BACKOFF;
        } else if window.busy * 2.0 >= self.limit {
            self.limit += 1.0;
        }
        self.limit = self.bounds.clamp(libm::floor(self.limit));
        self.limit
    }
}
