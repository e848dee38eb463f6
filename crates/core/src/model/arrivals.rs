//! What arrives: now, before, and in the last minute; and when a rise is more than chance.

/// Seconds of arrivals that are kept: a minute, and a little for a missed tick.
const KEPT: usize = 64;

/// From here on a second counts as whole: ticks jitter.
const WHOLE_S: f64 = 0.9;

/// Standard deviations from which a new rate replaces the mean at once.
const JUMP: f64 = 4.0;

/// The arrivals of a pool.
#[derive(Clone, Debug)]
pub struct Arrivals {
    recent: [f64; KEPT],
    next: usize,
    seen: usize,
    now: f64,
    before: f64,
    fast: f64,
    /// The last tick's length, in seconds.
    seconds: f64,
    /// What has come since the last whole second, and how long that is.
    partial: (f64, f64),
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            recent: [0.0; KEPT],
            next: 0,
            seen: 0,
            now: 0.0,
            before: 0.0,
            fast: 0.0,
            seconds: 1.0,
            partial: (0.0, 0.0),
        }
    }
}

impl Arrivals {
    /// Takes in a tick: so many jobs in so many seconds. The last minute is kept by seconds, however short the ticks.
    pub fn add(&mut self, jobs: f64, seconds: f64) {
        let seconds = seconds.max(1e-3);
        let per_s = jobs / seconds;
        self.partial = (self.partial.0 + jobs, self.partial.1 + seconds);
        if self.partial.1 >= WHOLE_S {
            if let Some(slot) = self.recent.get_mut(self.next) {
                *slot = self.partial.0 / self.partial.1;
            }
            self.next = (self.next + 1) % KEPT;
            self.partial = (0.0, 0.0);
        }
        self.before = if self.seen == 0 { per_s } else { self.now };
        self.seen = self.seen.saturating_add(1);
        self.now = per_s;
        self.seconds = seconds;
        let jumped = (per_s - self.fast).abs() > JUMP * (per_s.max(1.0) / seconds).sqrt();
        self.fast = if jumped {
            per_s
        } else {
            0.5 * (per_s + self.fast)
        };
    }

    /// The rate of this tick, a second.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// A rate that follows within a tick or two.
    #[must_use]
    pub fn fast(&self) -> f64 {
        self.fast
    }

    /// The highest rate of the last minute.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.recent.iter().copied().fold(0.0, f64::max)
    }

    /// The mean of the last minute; what was not seen counts as nothing.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.recent.iter().sum::<f64>() / 64.0
    }

    /// By how much the rate rose since the tick before, a second.
    #[must_use]
    pub fn rise(&self) -> f64 {
        self.now - self.before
    }

    /// Whether that rise is more than `sigmas` standard deviations of two Poisson counts, and more than `share` of what it
    /// was.
    #[must_use]
    pub fn rose(&self, sigmas: f64, share: f64) -> bool {
        let rise = self.rise();
        let error = ((self.now + self.before).max(0.0) / self.seconds).sqrt();
        rise > sigmas * error && rise > share * self.before
    }

    /// Whether the rate is about the last minute's, so that nothing is under way.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        let mean = self.mean();
        self.now < mean + 3.0 * (mean / self.seconds).sqrt() + 0.1 * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_followed_at_once_and_noise_is_averaged() {
        let mut arrivals = Arrivals::default();
        (0..20).for_each(|_| arrivals.add(100.0, 1.0));
        arrivals.add(110.0, 1.0);
        assert!((arrivals.fast() - 105.0).abs() < 0.5, "{}", arrivals.fast());
        arrivals.add(300.0, 1.0);
        assert!((arrivals.fast() - 300.0).abs() < 1e-9);
        assert!(arrivals.rose(4.0, 0.25) && !arrivals.is_steady());
    }

    #[test]
    fn the_ordinary_scatter_of_a_poisson_stream_is_no_rise() {
        let mut arrivals = Arrivals::default();
        [100.0, 112.0, 95.0, 118.0]
            .into_iter()
            .for_each(|rate| arrivals.add(rate, 1.0));
        assert!(!arrivals.rose(4.0, 0.25));
    }

    #[test]
    fn short_ticks_scatter_more_and_are_no_rise_either() {
        let mut arrivals = Arrivals::default();
        // A quarter of a second at 400 a second: 100 jobs, give or take ten.
        [100.0, 122.0, 85.0, 125.0]
            .into_iter()
            .for_each(|jobs| arrivals.add(jobs, 0.25));
        assert!(!arrivals.rose(4.0, 0.25));
        (0..256).for_each(|_| arrivals.add(100.0, 0.25));
        assert!((arrivals.mean() - 400.0).abs() < 1.0, "{}", arrivals.mean());
    }

    #[test]
    fn the_first_tick_is_no_rise() {
        let mut arrivals = Arrivals::default();
        arrivals.add(500.0, 1.0);
        assert!(!arrivals.rose(4.0, 0.25));
    }
}
