//! What is best in hindsight: the best static size by a sweep, and the best schedule of sizes.

mod cache;
mod several;

use crate::number::{count, index, whole};
use crate::run::{Driver, Outcome, Run};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::League;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use cache::Cache;

/// The seeds of the sweeps; none of them is scored.
pub const SWEEP_SEEDS: [u64; 3] = [1_000_901, 1_000_902, 1_000_903];

/// The best size is the smallest that reaches this share of the best goodput.
const BEST_SHARE: f64 = 0.995;
/// A size whose goodput is this close to the best is in the band.
const BAND_GOODPUT: f64 = 0.99;
/// And so is one within this share of the best size.
const BAND_SIZE: f64 = 0.25;
/// The ratio of two sizes next to each other in a coarse sweep, and in a fine one.
const COARSE: f64 = 1.3;
const FINE: f64 = 1.06;
/// A fine sweep reaches from the coarse one's best divided by this ...
const FINE_BELOW: f64 = 1.7;
/// ... to that multiplied by this.
const FINE_ABOVE: f64 = 1.45;
/// A size with less than this share of the best goodput is hopeless, and after so many in a row larger ones are too.
const HOPELESS: f64 = 0.5;
const HOPELESS_SIZES: u32 = 4;
/// A sweep of a scenario in which nothing changes needs no longer runs than this, in seconds.
const STEADY_S: f64 = 600.0;
/// A size above this multiple of the best size is oversize.
const OVERSIZE: f64 = 1.5;

/// A static setting: workers of each pool, and the timeout where it was swept too, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Static {
    /// Workers.
    pub workers: Vec<u64>,
    /// The timeout of all pools; the scenario's where absent.
    pub timeout: Option<f64>,
}

/// The best static setting and what was learnt on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The setting with the most goodput.
    pub setting: Static,
    /// The smallest size that is as good, pool by pool.
    pub sizes: Vec<u64>,
    /// Goodput by size, in jobs a second, of a host with one pool (at the best timeout).
    pub curve: BTreeMap<u64, f64>,
    /// Sizes at given times that were best between them, pool by pool.
    pub schedule: Vec<(f64, Vec<u64>)>,
}

impl Best {
    /// Whether a size of a pool is as good as best: near the best size, or as good by its goodput.
    #[must_use]
    pub fn in_band(&self, pool: usize, size: u64) -> bool {
        let best = self.sizes.get(pool).copied().unwrap_or(0) as f64;
        let near = (size as f64 - best).abs() <= (BAND_SIZE * best).max(1.0);
        near || (self.curve.len() > 1 && self.goodput_at(size) >= BAND_GOODPUT * self.goodput_max())
    }

    /// Whether a size of a pool is far more than needed.
    #[must_use]
    pub fn is_oversize(&self, pool: usize, size: u64) -> bool {
        let best = self.sizes.get(pool).copied().unwrap_or(0) as f64;
        size as f64 > OVERSIZE * best + 0.5
    }

    fn goodput_max(&self) -> f64 {
        self.curve.values().copied().fold(0.0, f64::max)
    }

    /// Goodput at a size, in jobs a second, linear between swept sizes.
    fn goodput_at(&self, size: u64) -> f64 {
        let below = self.curve.range(..=size).next_back();
        let above = self.curve.range(size..).next();
        match (below, above) {
            (Some((low, at_low)), Some((high, at_high))) if high > low => {
                let share = (size - low) as f64 / (high - low) as f64;
                at_low + (at_high - at_low) * share
            }
            (Some((_, at)), _) | (None, Some((_, at))) => *at,
            (None, None) => 0.0,
        }
    }
}

/// Runs static settings on the sweep's seeds.
pub(crate) struct Bench<'a> {
    scenario: &'a Scenario,
    traces: Vec<(u64, Trace)>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(scenario: &'a Scenario, seeds: &[u64]) -> Self {
        let traces = seeds
            .iter()
            .map(|seed| (*seed, Trace::draw(scenario, *seed)));
        Self {
            scenario,
            traces: traces.collect(),
        }
    }

    /// One outcome a seed.
    fn run(&self, setting: &Static, seeds: usize) -> Vec<Outcome> {
        let scenario = with_static(self.scenario, setting);
        let traces = self.traces.iter().take(seeds);
        let run = |(seed, trace): &(u64, Trace)| still(&scenario, trace, *seed);
        traces.map(run).collect()
    }
}

/// The scenario with a static setting in place of its start.
#[must_use]
pub fn with_static(scenario: &Scenario, setting: &Static) -> Scenario {
    let mut scenario = scenario.started_at(&setting.workers);
    if let Some(timeout) = setting.timeout {
        for pool in &mut scenario.pools {
            pool.timeout = timeout;
        }
    }
    scenario
}

/// A run with nobody at the knobs.
#[must_use]
pub fn still(scenario: &Scenario, trace: &Trace, seed: u64) -> Outcome {
    let run = Run {
        scenario,
        trace,
        seed,
        league: League::InProcess,
    };
    run.drive(Driver::Nobody)
}

/// A run under a schedule of sizes.
fn scheduled(
    scenario: &Scenario,
    trace: &Trace,
    seed: u64,
    schedule: &[(f64, Vec<u64>)],
) -> Outcome {
    let workers = schedule.first().map_or_else(Vec::new, |(_, it)| it.clone());
    let timeout = None;
    let scenario = &with_static(scenario, &Static { workers, timeout });
    let run = Run {
        scenario,
        trace,
        seed,
        league: League::InProcess,
    };
    run.drive(Driver::Schedule(schedule))
}

/// Finds the best static setting.
#[must_use]
pub fn best(scenario: &Scenario) -> Best {
    let mut scenario = scenario.clone();
    if scenario.is_stationary() {
        scenario.duration = scenario.duration.min(STEADY_S);
    }
    let bench = Bench::new(&scenario, &SWEEP_SEEDS);
    if scenario.pools.len() > 1 {
        several::best(&bench)
    } else {
        single(&bench)
    }
}

/// Goodput by size for one pool, at the scenario's timeout: for `sweep`.
#[must_use]
pub fn sweep(scenario: &Scenario) -> BTreeMap<u64, Vec<Outcome>> {
    Sweep::new(&Bench::new(scenario, &SWEEP_SEEDS), None).runs
}

struct Sweep {
    timeout: Option<f64>,
    /// All seeds of the sizes around the best, and of all sizes where the best may change during the run; else one.
    runs: BTreeMap<u64, Vec<Outcome>>,
}

impl Sweep {
    /// Coarse over all sizes with one seed, then fine around the best with all seeds.
    fn new(bench: &Bench<'_>, timeout: Option<f64>) -> Self {
        let mut runs = BTreeMap::new();
        let Some(pool) = bench.scenario.pools.first() else {
            return Self { timeout, runs };
        };
        let run = |workers: u64, seeds| {
            let workers = vec![workers];
            bench.run(&Static { workers, timeout }, seeds)
        };
        let coarse_seeds = if bench.scenario.turning_points().is_empty() {
            1
        } else {
            SWEEP_SEEDS.len()
        };
        let (mut peak, mut most, mut low_in_a_row) = (pool.min, 0.0, 0);
        for size in grid(pool.min, pool.max, COARSE) {
            let outcomes = run(size, coarse_seeds);
            let goodput = mean_goodput(&outcomes);
            runs.insert(size, outcomes);
            low_in_a_row = if goodput < HOPELESS * most {
                low_in_a_row + 1
            } else {
                0
            };
            if goodput > most {
                (peak, most) = (size, goodput);
            }
            if low_in_a_row == HOPELESS_SIZES {
                break;
            }
        }
        let low = whole(peak as f64 / FINE_BELOW).clamp(pool.min, pool.max);
        let high = whole(peak as f64 * FINE_ABOVE).clamp(pool.min, pool.max);
        for size in grid_between(low, high, FINE) {
            if runs
                .get(&size)
                .is_none_or(|known| known.len() < SWEEP_SEEDS.len())
            {
                runs.insert(size, run(size, SWEEP_SEEDS.len()));
            }
        }
        Self { timeout, runs }
    }

    /// Goodput by size. What only one seed knows is set in proportion to that seed at the best size.
    fn curve(&self) -> BTreeMap<u64, f64> {
        let sure = self.runs.iter().filter(|(_, outcomes)| outcomes.len() > 1);
        let peak = sure.max_by(|a, b| mean_goodput(a.1).total_cmp(&mean_goodput(b.1)));
        let scale = peak.map_or(1.0, |(_, outcomes)| {
            let first = mean_goodput(outcomes.get(..1).unwrap_or(&[]));
            if first > 0.0 {
                mean_goodput(outcomes) / first
            } else {
                1.0
            }
        });
        let goodput = |outcomes: &[Outcome]| {
            let scale = if outcomes.len() > 1 { 1.0 } else { scale };
            mean_goodput(outcomes) * scale
        };
        let runs = self.runs.iter();
        runs.map(|(size, outcomes)| (*size, goodput(outcomes)))
            .collect()
    }

    fn peak(&self) -> (u64, f64) {
        let curve = self.curve();
        let peak = curve.iter().max_by(|a, b| a.1.total_cmp(b.1));
        peak.map_or((1, 0.0), |(size, goodput)| (*size, *goodput))
    }

    /// The best size between each two turning points.
    fn schedule(&self, scenario: &Scenario) -> Vec<(f64, Vec<u64>)> {
        let mut times = vec![0.0];
        times.extend(scenario.turning_points());
        let ends = times.iter().skip(1).copied().chain([scenario.duration]);
        let spans: Vec<(f64, f64)> = times.iter().copied().zip(ends).collect();
        let good = |outcomes: &[Outcome], from, to| -> u64 {
            let pools = outcomes.iter().filter_map(|outcome| outcome.pools.first());
            pools.map(|pool| pool.goodput_between(from, to)).sum()
        };
        let best_between = |(from, to): (f64, f64)| {
            let runs = self.runs.iter();
            let best = runs.max_by_key(|(size, outcomes)| {
                (good(outcomes, from, to), std::cmp::Reverse(**size))
            });
            (from, vec![best.map_or(1, |(size, _)| *size)])
        };
        spans.into_iter().map(best_between).collect()
    }
}

fn single(bench: &Bench<'_>) -> Best {
    let mut sweeps = vec![Sweep::new(bench, None)];
    if bench.scenario.has_stalls() {
        // With stalled jobs the timeout matters as much as the size, so the best static setting is a pair.
        for timeout in timeouts(bench.scenario) {
            sweeps.push(Sweep::new(bench, Some(timeout)));
        }
    }
    let best = sweeps
        .iter()
        .max_by(|a, b| a.peak().1.total_cmp(&b.peak().1));
    let Some(sweep) = best else {
        return Best {
            setting: Static {
                workers: vec![1],
                timeout: None,
            },
            sizes: vec![1],
            curve: BTreeMap::new(),
            schedule: Vec::new(),
        };
    };
    let (peak, goodput) = sweep.peak();
    let curve = sweep.curve();
    let smallest = curve.iter().find(|(_, at)| **at >= BEST_SHARE * goodput);
    Best {
        setting: Static {
            workers: vec![peak],
            timeout: sweep.timeout,
        },
        sizes: vec![smallest.map_or(peak, |(size, _)| *size)],
        schedule: sweep.schedule(bench.scenario),
        curve,
    }
}

/// Timeouts from the smallest to the largest that the profile allows, each one and a half times the one before.
fn timeouts(scenario: &Scenario) -> Vec<f64> {
    let Some(pool) = scenario.pools.first() else {
        return Vec::new();
    };
    let mut timeouts = Vec::new();
    let mut timeout = pool.timeout_min;
    while timeout < pool.timeout_max {
        timeouts.push(timeout);
        timeout *= 1.5;
    }
    timeouts.push(pool.timeout_max);
    timeouts
}

/// Goodput of the first pool in jobs a second, over the outcomes.
fn mean_goodput(outcomes: &[Outcome]) -> f64 {
    let sum: f64 = outcomes.iter().map(|outcome| outcome.goodput(0)).sum();
    sum / count(outcomes.len()).max(1) as f64
}

/// Sizes from `min` to `max`, each `ratio` times the one before and at least one more.
pub(crate) fn grid(min: u64, max: u64, ratio: f64) -> Vec<u64> {
    grid_between(min.max(1), max, ratio)
}

fn grid_between(low: u64, high: u64, ratio: f64) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut size = low as f64;
    while whole(size) < high {
        sizes.push(whole(size));
        size = (size * ratio).max(size + 1.0);
    }
    sizes.push(high);
    sizes
}

/// A quantile of sorted values; nothing of none.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let rank = index(whole(share * last as f64));
    sorted.get(rank).copied()
}
