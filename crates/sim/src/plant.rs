//! A plant: how fast jobs progress when so many of them are in service at once.

use crate::work::Work;

/// The largest number of jobs at which a plant's peak is looked for.
pub const SIZE_MAX: u64 = 4_096;

/// The share of a job's work that is CPU where a plant names none.
pub const CPU_SHARE_DEFAULT: f64 = 0.2;

/// The cores of a host where a plant names none.
pub const CORES_DEFAULT: f64 = 8.0;

/// What each runnable job beyond two a core costs all of them, as a share of their rate.
const SWITCHING_COST: f64 = 0.002;

/// However many jobs crowd a core, this much of the rate remains.
const RATE_FLOOR: f64 = 0.02;

/// A plant. All jobs in service progress at one rate, which is the smallest of those that its limits give.
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    /// How large jobs are.
    pub work: Work,
    /// Contention: what each other job costs.
    pub alpha: Option<f64>,
    /// Coherency: what each pair of jobs costs.
    pub beta: Option<f64>,
    /// A downstream serves this many at once.
    pub capacity: Option<f64>,
    /// Cores that the jobs share.
    pub cores: Option<f64>,
    /// Share of a job's work that is CPU.
    pub cpu_share: Option<f64>,
    /// Memory without workers, in bytes.
    pub memory_base: f64,
    /// Memory of each configured worker, in bytes.
    pub memory_per_worker: f64,
    /// Above this the host is killed, in bytes.
    pub memory_limit: Option<f64>,
}

impl Plant {
    /// The rate at which each of `jobs` progresses, 1 being alone. `keep` is what is left of the cores.
    #[must_use]
    pub fn rate(&self, jobs: u64, keep: f64) -> f64 {
        let limits = [
            self.scaling(jobs),
            self.downstream(jobs),
            self.processor(jobs, keep),
        ];
        limits.into_iter().flatten().fold(1.0, f64::min)
    }

    /// The universal scalability law.
    fn scaling(&self, jobs: u64) -> Option<f64> {
        if self.alpha.is_none() && self.beta.is_none() {
            return None;
        }
        let (alpha, beta) = (self.alpha.unwrap_or(0.0), self.beta.unwrap_or(0.0));
        let others = jobs.saturating_sub(1) as f64;
        Some(1.0 / (1.0 + alpha * others + beta * others * jobs as f64))
    }

    /// A downstream that serves `capacity` at once, and sags beyond three times that.
    fn downstream(&self, jobs: u64) -> Option<f64> {
        let (capacity, jobs) = (self.capacity?, jobs as f64);
        if jobs <= capacity {
            return Some(1.0);
        }
        let sag = libm::sqrt((3.0 * capacity / jobs).min(1.0));
        Some(capacity / jobs * sag)
    }

    /// Cores that all jobs share.
    fn processor(&self, jobs: u64, keep: f64) -> Option<f64> {
        let cores = self.cores? * keep;
        let runnable = jobs as f64 * self.cpu_share();
        if runnable <= 0.0 {
            return Some(1.0);
        }
        let crowd = (runnable - 2.0 * cores).max(0.0);
        let switching = (1.0 - SWITCHING_COST * crowd).max(RATE_FLOOR);
        Some((cores / runnable).min(1.0) * switching)
    }

    /// Share of a job's work that is CPU.
    #[must_use]
    pub fn cpu_share(&self) -> f64 {
        self.cpu_share.unwrap_or(CPU_SHARE_DEFAULT)
    }

    /// Jobs a second with so many in service all the time.
    #[must_use]
    pub fn throughput(&self, jobs: u64) -> f64 {
        jobs as f64 * self.rate(jobs, 1.0) / self.work.mean()
    }

    /// The largest throughput, in jobs a second.
    #[must_use]
    pub fn peak(&self) -> f64 {
        let sizes = 1..=SIZE_MAX;
        sizes.map(|jobs| self.throughput(jobs)).fold(0.0, f64::max)
    }

    /// The smallest size that reaches this share of the peak.
    #[must_use]
    pub fn smallest_near_peak(&self, share: f64) -> u64 {
        let goal = share * self.peak();
        let mut sizes = 1..=SIZE_MAX;
        sizes
            .find(|jobs| self.throughput(*jobs) >= goal)
            .unwrap_or(SIZE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant() -> Plant {
        Plant {
            work: Work::Constant { mean: 0.05 },
            alpha: None,
            beta: None,
            capacity: None,
            cores: None,
            cpu_share: None,
            memory_base: 0.0,
            memory_per_worker: 0.0,
            memory_limit: None,
        }
    }

    #[test]
    fn a_plant_without_limits_runs_at_full_rate() {
        assert_eq!(plant().rate(1_000, 1.0).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn the_scalability_law_peaks_where_its_formula_says() {
        let usl = Plant {
            alpha: Some(0.03),
            beta: Some(0.0008),
            ..plant()
        };
        // The maximum of n / (1 + a(n-1) + bn(n-1)) lies at sqrt((1-a)/b) = 34.8.
        let best = (1..=200)
            .max_by(|a, b| usl.throughput(*a).total_cmp(&usl.throughput(*b)))
            .expect("not empty");
        assert_eq!(best, 35);
        let formula = 35.0 / (1.0 + 0.03 * 34.0 + 0.0008 * 35.0 * 34.0) / 0.05;
        assert!((usl.peak() / formula - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_downstream_is_flat_and_sags_beyond_three_times_its_capacity() {
        let wall = Plant {
            capacity: Some(24.0),
            ..plant()
        };
        let full = 24.0 / 0.05;
        assert!((wall.throughput(12) - full / 2.0).abs() < 1e-9);
        assert!((wall.throughput(24) - full).abs() < 1e-9);
        assert!((wall.throughput(72) - full).abs() < 1e-9);
        assert!((wall.throughput(288) - full / 2.0).abs() < 1e-9);
    }

    #[test]
    fn cores_bound_what_needs_them_and_crowding_costs() {
        let cpu = Plant {
            cores: Some(4.0),
            cpu_share: Some(0.5),
            ..plant()
        };
        assert!((cpu.rate(8, 1.0) - 1.0).abs() < 1e-12);
        assert!((cpu.rate(16, 1.0) - 0.5).abs() < 1e-12);
        // Twenty runnable jobs on four cores: twelve beyond two a core.
        assert!((cpu.rate(40, 1.0) - 0.2 * (1.0 - 0.024)).abs() < 1e-12);
        assert!((cpu.rate(8, 0.5) - 0.5).abs() < 1e-12, "half the cores");
    }

    #[test]
    fn the_smallest_limit_binds() {
        let both = Plant {
            alpha: Some(0.03),
            beta: Some(0.0008),
            capacity: Some(10.0),
            ..plant()
        };
        for jobs in [5, 10, 20, 60] {
            let usl = Plant {
                capacity: None,
                ..both.clone()
            };
            let wall = Plant {
                alpha: None,
                beta: None,
                ..both.clone()
            };
            let least = usl.rate(jobs, 1.0).min(wall.rate(jobs, 1.0));
            assert_eq!(both.rate(jobs, 1.0).to_bits(), least.to_bits());
        }
    }
}
