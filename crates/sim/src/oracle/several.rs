//! The best static sizes of several pools on one host, by coordinate sweeps from several starts.
//!
//! What is maximised is the weighted sum of each pool's goodput as a share of the jobs that came to it, so that a pool with
//! many jobs does not drown one with few.

use super::{Bench, Best, SWEEP_SEEDS, Static, grid};
use crate::run::Outcome;
use crate::scenario::Scenario;
use std::collections::BTreeMap;

/// How much better a vector must be to be worth moving to.
const GAIN_MIN: f64 = 1e-6;

struct Search<'a> {
    bench: &'a Bench<'a>,
    seeds: usize,
    known: BTreeMap<Vec<u64>, f64>,
}

impl Search<'_> {
    fn value(&mut self, workers: &[u64]) -> f64 {
        if let Some(known) = self.known.get(workers) {
            return *known;
        }
        let setting = Static {
            workers: workers.to_vec(),
            timeout: None,
        };
        let value = value(self.bench.scenario, &self.bench.run(&setting, self.seeds));
        self.known.insert(workers.to_vec(), value);
        value
    }

    /// Improves one pool at a time until none can be improved.
    fn climb(&mut self, start: &[u64], ratio: f64, reach: f64) -> (Vec<u64>, f64) {
        let mut at = start.to_vec();
        let mut best = self.value(&at);
        loop {
            let before = best;
            for pool in 0..at.len() {
                let Some(spec) = self.bench.scenario.pools.get(pool) else {
                    continue;
                };
                for size in grid(spec.min, spec.max, ratio) {
                    let now = at[pool] as f64;
                    if !(now / reach..=now * reach).contains(&(size as f64)) {
                        continue;
                    }
                    let mut candidate = at.clone();
                    candidate[pool] = size;
                    let value = self.value(&candidate);
                    if value > best + GAIN_MIN {
                        (at, best) = (candidate, value);
                    }
                }
            }
            if best <= before + GAIN_MIN {
                return (at, best);
            }
        }
    }
}

/// The weighted mean over the pools of goodput as a share of arrivals.
fn value(scenario: &Scenario, outcomes: &[Outcome]) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for outcome in outcomes {
        for (spec, pool) in scenario.pools.iter().zip(&outcome.pools) {
            sum += spec.weight * pool.goodput() as f64 / pool.arrived.max(1) as f64;
            weights += spec.weight;
        }
    }
    sum / weights.max(f64::MIN_POSITIVE)
}

pub(super) fn best(bench: &Bench<'_>) -> Best {
    let pools = &bench.scenario.pools;
    let of =
        |size: fn(&crate::scenario::Pool) -> u64| -> Vec<u64> { pools.iter().map(size).collect() };
    let starts = [
        of(|pool| pool.start),
        of(|pool| pool.operator),
        of(|pool| (pool.max / 2).max(pool.min)),
        of(|pool| (pool.max / 10).max(pool.min)),
    ];
    let mut coarse = Search {
        bench,
        seeds: 1,
        known: BTreeMap::new(),
    };
    let tops = starts.map(|start| coarse.climb(&start, 1.5, f64::INFINITY));
    let top = tops.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let start = top.map_or_else(|| of(|pool| pool.start), |(at, _)| at);
    let mut fine = Search {
        bench,
        seeds: SWEEP_SEEDS.len(),
        known: BTreeMap::new(),
    };
    let (workers, goodput) = fine.climb(&start, 1.15, 1.6);
    let sizes = smallest(&mut fine, &workers, goodput);
    Best {
        sizes,
        curve: BTreeMap::new(),
        schedule: vec![(0.0, workers.clone())],
        setting: Static {
            workers,
            timeout: None,
        },
    }
}

/// Pool by pool, the smallest size that with the others' best is as good.
fn smallest(search: &mut Search<'_>, workers: &[u64], goodput: f64) -> Vec<u64> {
    let mut sizes = workers.to_vec();
    for (pool, size) in sizes.iter_mut().enumerate() {
        let Some(spec) = search.bench.scenario.pools.get(pool) else {
            continue;
        };
        for smaller in grid(spec.min, *size, 1.15) {
            let mut candidate = workers.to_vec();
            candidate[pool] = smaller;
            if search.value(&candidate) >= super::BEST_SHARE * goodput {
                *size = smaller;
                break;
            }
        }
    }
    sizes
}
