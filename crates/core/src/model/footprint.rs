//! What memory a size would take.

/// The smallest share of memory per worker that is believed, of what an even split would give: a flat line through two
/// readings that happen to agree must not promise endless room.
const SLOPE_LEAST: f64 = 0.05;

/// Memory by size: the smallest and the largest size seen, each with its latest share of the limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    low: Option<(f64, f64)>,
    high: Option<(f64, f64)>,
}

impl Footprint {
    /// Takes in the share of the memory limit in use at a size.
    pub fn add(&mut self, workers: f64, share: f64) {
        if self.low.is_none_or(|(low, _)| workers <= low) {
            self.low = Some((workers, share));
        }
        if self.high.is_none_or(|(high, _)| workers >= high) {
            self.high = Some((workers, share));
        }
    }

    /// The share that a size would take: a line through the smallest and the largest size seen; with one size seen, all of
    /// the memory is charged to the workers, which is the most that it can be.
    #[must_use]
    pub fn share_at(&self, now: (f64, f64), wanted: f64) -> f64 {
        let (workers, share) = now;
        share + self.slope(now) * (wanted - workers)
    }

    /// The largest size that stays under a share of the limit.
    #[must_use]
    pub fn most(&self, now: (f64, f64), allowed: f64) -> f64 {
        let (workers, share) = now;
        workers + (allowed - share) / self.slope(now).max(1e-12)
    }

    fn slope(&self, (workers, share): (f64, f64)) -> f64 {
        let even = share / workers.max(1.0);
        match (self.low, self.high) {
            (Some((low, at_low)), Some((high, at_high))) if high > low => {
                ((at_high - at_low) / (high - low)).max(SLOPE_LEAST * even)
            }
            _ => even,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_charges_everything_to_the_workers() {
        let footprint = Footprint::default();
        assert!((footprint.share_at((8.0, 0.2), 16.0) - 0.4).abs() < 1e-12);
    }

    #[test]
    fn two_sizes_make_a_line() {
        let mut footprint = Footprint::default();
        // 256 MiB and 15 MiB a worker under a limit of 2 GiB: the 120th worker is too many.
        let share = |workers: f64| (256.0 + 15.0 * workers) / 2_048.0;
        footprint.add(8.0, share(8.0));
        footprint.add(16.0, share(16.0));
        let most = footprint.most((16.0, share(16.0)), 0.94);
        assert!((most - 111.3).abs() < 0.1, "{most}");
    }

    #[test]
    fn a_line_that_falls_promises_nothing() {
        let mut footprint = Footprint::default();
        footprint.add(8.0, 0.5);
        footprint.add(16.0, 0.4);
        assert!(footprint.share_at((16.0, 0.4), 32.0) > 0.4);
    }
}
