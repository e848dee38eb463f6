//! Rivals: other ways to size a pool, in the same runs on the same jobs.
//!
//! Those under [`registry`] are the real code of published crates. All others are re-expressed from their published
//! descriptions, so a table that names them must say so.
//!
//! In the in-process league a rival hears of each job that ends; most of them look at windows of jobs, as their originals do.
//! In the sidecar league the same rule looks at each tick's counters instead.

mod envoy;
mod failsafe;
mod hill;
mod netflix;
pub mod registry;
mod scaler;
mod window;

use crate::pool::{Ended, Setting};
use crate::run::{Rival, Wish};
use crate::scenario::{Pool, Scenario};
use crate::world::League;
use trimtab_core::observation::Observation;
use trimtab_protocol::name::PoolName;
use window::{Collected, Seen};

pub use window::Window;

/// In the sidecar league a limit that moved less than this is not sent: each change is a call to the host.
const DEADBAND: f64 = 0.1;

/// A rule that turns windows into a limit.
pub trait Limit {
    /// The limit that it wants after a window.
    fn update(&mut self, window: &Window) -> f64;

    /// The limit that it wants after a single job, for rules that look at each.
    fn job(&mut self, _job: &Ended) -> Option<f64> {
        None
    }

    /// How long a window of jobs is at least, in seconds.
    fn window_s(&self) -> f64 {
        1.0
    }

    /// Whether it looks at ticks also inside the host.
    fn by_ticks(&self) -> bool {
        false
    }

    /// Whether small moves are its way to learn, and must not be held back.
    fn needs_small_moves(&self) -> bool {
        false
    }
}

/// The limits that it starts from and must keep.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Where it starts.
    pub start: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The goal of the scenario, in seconds.
    pub slo: f64,
}

impl Bounds {
    fn of(pool: &Pool) -> Self {
        Self {
            start: pool.start as f64,
            min: pool.min as f64,
            max: pool.max as f64,
            slo: pool.slo,
        }
    }

    fn clamp(&self, limit: f64) -> f64 {
        limit.clamp(self.min, self.max)
    }
}

/// The names of all rivals, with what each is.
pub const NAMES: &[(&str, &str)] = &[
    ("gradient2", "Netflix Gradient2, re-expressed"),
    ("gradient", "Netflix Gradient over windows, re-expressed"),
    ("vegas", "Netflix Vegas, re-expressed"),
    ("aimd", "Netflix AIMD, re-expressed"),
    ("hill", ".NET hill climbing, re-expressed"),
    ("envoy", "Envoy's gradient controller, re-expressed"),
    ("failsafe", "failsafe-go's correlation rule, re-expressed"),
    ("hpa", "proportional scaling as of Kubernetes, re-expressed"),
    ("threshold", "grow above 80 % CPU, shrink below 20 %"),
    ("crate-aimd", "congestion-limiter 0.1.0, Aimd, real code"),
    ("crate-vegas", "congestion-limiter 0.1.0, Vegas, real code"),
    (
        "tower-aimd",
        "tower-resilience-adaptive 0.14.0, Aimd, real code",
    ),
    (
        "tower-vegas",
        "tower-resilience-adaptive 0.14.0, Vegas, real code",
    ),
    (
        "tower-gradient2",
        "tower-resilience-adaptive 0.14.0, Gradient2, real code",
    ),
];

fn limit(name: &str, bounds: Bounds) -> Option<Box<dyn Limit>> {
    Some(match name {
        "gradient2" => Box::new(netflix::Gradient2::new(bounds)),
        "gradient" => Box::new(netflix::Gradient::new(bounds)),
        "vegas" => Box::new(netflix::Vegas::new(bounds)),
        "aimd" => Box::new(netflix::Aimd::new(bounds)),
        "hill" => Box::new(hill::Hill::new(bounds)),
        "envoy" => Box::new(envoy::Envoy::new(bounds)),
        "failsafe" => Box::new(failsafe::Correlation::new(bounds)),
        "hpa" => Box::new(scaler::Proportional::new(bounds)),
        "threshold" => Box::new(scaler::Threshold::new(bounds)),
        _ => return registry::limit(name, bounds),
    })
}

/// A rival of a name for all pools of a scenario; nothing where nobody has that name.
#[must_use]
pub fn rival(name: &str, scenario: &Scenario, league: League) -> Option<Box<dyn Rival>> {
    let mut sides = Vec::new();
    for pool in &scenario.pools {
        sides.push(Side {
            name: PoolName::from(pool.name.as_str()),
            limit: limit(name, Bounds::of(pool))?,
            seen: Seen::default(),
            collected: Collected::default(),
        });
    }
    Some(Box::new(Windowed { sides, league }))
}

/// One pool's rule with what it has seen.
struct Side {
    name: PoolName,
    limit: Box<dyn Limit>,
    seen: Seen,
    collected: Collected,
}

/// A rule for each pool, each for itself.
struct Windowed {
    sides: Vec<Side>,
    league: League,
}

impl Rival for Windowed {
    fn tick(&mut self, observation: &Observation) -> Vec<Wish> {
        let league = self.league;
        let sides = self.sides.iter_mut().enumerate();
        let wishes = sides.filter_map(|(pool, side)| {
            if league == League::InProcess && !side.limit.by_ticks() {
                return None;
            }
            let window = side.seen.window(observation, &side.name)?;
            let wanted = side.limit.update(&window);
            let now = window.workers as f64;
            let quiet = league == League::Sidecar && !side.limit.needs_small_moves();
            if quiet && (wanted - now).abs() <= (DEADBAND * now).max(1.0) {
                return None;
            }
            Some(wish(pool, wanted))
        });
        wishes.collect()
    }

    fn ended(&mut self, pool: usize, job: &Ended, setting: &Setting) -> Vec<Wish> {
        let Some(side) = self.sides.get_mut(pool) else {
            return Vec::new();
        };
        let mut wanted = side.limit.job(job);
        let span = side.limit.window_s();
        if let Some(window) = side.collected.add(job, setting, span)
            && !side.limit.by_ticks()
        {
            wanted = Some(side.limit.update(&window));
        }
        wanted.map(|limit| wish(pool, limit)).into_iter().collect()
    }
}

fn wish(pool: usize, limit: f64) -> Wish {
    Wish {
        pool,
        workers: Some(crate::number::whole(libm::floor(limit)).max(1)),
        ..Wish::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_somebody() {
        let bounds = Bounds {
            start: 8.0,
            min: 1.0,
            max: 512.0,
            slo: 1.0,
        };
        for (name, _) in NAMES {
            assert!(limit(name, bounds).is_some(), "{name}");
        }
        assert!(limit("nobody", bounds).is_none());
    }

    #[test]
    fn every_rule_keeps_its_bounds_whatever_it_sees() {
        let bounds = Bounds {
            start: 8.0,
            min: 4.0,
            max: 64.0,
            slo: 1.0,
        };
        let mut dice = crate::dice::Dice::new(5, 5);
        for (name, _) in NAMES {
            let mut limit = limit(name, bounds).expect("known");
            let mut workers = 8_u64;
            for second in 0..2_000_u32 {
                let mean = dice.log_between(0.001, 10.0);
                let window = Window {
                    at: f64::from(second),
                    span: 1.0,
                    completed: 1 + dice.below(500),
                    mean_s: mean,
                    least_s: mean * dice.share(),
                    median_s: mean,
                    busy: workers as f64 * dice.share(),
                    cut: dice.share() < 0.1,
                    workers,
                    cpu_share: Some(dice.share()),
                };
                let wanted = limit.update(&window);
                assert!((4.0..=64.0).contains(&wanted), "{name}: {wanted}");
                workers = crate::number::whole(wanted);
            }
        }
    }
}
