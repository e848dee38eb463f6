//! The best static sizes of several pools on one host, by coordinate sweeps from several starts.
//!
//! What is maximised is the weighted sum of each pool's goodput as a share of the jobs that came to it, so that a pool with
//! many jobs does not drown one with few.

use super::{Bench, Best, SWEEP_SEEDS, Static, grid, scheduled};
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::trace::Trace;
use std::collections::BTreeMap;

/// How much better a vector must be to be worth moving to.
const GAIN_MIN: f64 = 1e-6;
/// The ratio of two sizes next to each other in a coarse sweep, and in a fine one; and how far a fine one reaches from where
/// it begins, as a ratio.
const COARSE: f64 = 1.5;
const FINE: f64 = 1.15;
const FINE_REACH: f64 = 1.6;

/// A stretch of a run in seconds, for which a vector is valued.
type Span = (f64, f64);

struct Search<'a> {
    bench: &'a Bench<'a>,
    seeds: usize,
    /// The whole run first, and then what lies between each two turning points, where there are any.
    spans: Vec<Span>,
    /// What each vector comes to in each of the spans.
    known: BTreeMap<Vec<u64>, Vec<f64>>,
}

impl<'a> Search<'a> {
    fn new(bench: &'a Bench<'a>, seeds: usize) -> Self {
        let duration = bench.scenario.duration;
        let points = bench.scenario.turning_points();
        let mut spans = vec![(0.0, duration)];
        if !points.is_empty() {
            let begins = [0.0].into_iter().chain(points.iter().copied());
            let ends = points.iter().copied().chain([duration]);
            spans.extend(begins.zip(ends));
        }
        Self {
            bench,
            seeds,
            spans,
            known: BTreeMap::new(),
        }
    }

    /// What a vector comes to in one of the spans.
    fn value(&mut self, workers: &[u64], span: usize) -> f64 {
        if !self.known.contains_key(workers) {
            let setting = Static {
                workers: workers.to_vec(),
                timeout: None,
            };
            let outcomes = self.bench.run(&setting, self.seeds);
            let spans = self.spans.iter();
            let values = spans.map(|span| self.valued(&outcomes, *span)).collect();
            self.known.insert(workers.to_vec(), values);
        }
        let values = self.known.get(workers);
        values
            .and_then(|values| values.get(span))
            .copied()
            .unwrap_or(0.0)
    }

    /// What a schedule comes to over the whole run.
    fn scheduled(&self, schedule: &[(f64, Vec<u64>)]) -> f64 {
        let scenario = self.bench.scenario;
        let traces = self.bench.traces.iter();
        let outcomes: Vec<Outcome> = traces
            .map(|(seed, trace)| scheduled(scenario, trace, *seed, schedule))
            .collect();
        self.valued(&outcomes, (0.0, scenario.duration))
    }

    fn valued(&self, outcomes: &[Outcome], span: Span) -> f64 {
        let traces = self.bench.traces.iter().map(|(_, trace)| trace);
        value(self.bench.scenario, outcomes.iter().zip(traces), span)
    }

    /// The vector that is best in a span among those that were run.
    fn best_known(&self, span: usize) -> Option<Vec<u64>> {
        let at = |values: &Vec<f64>| values.get(span).copied().unwrap_or(0.0);
        let known = self.known.iter();
        let best = known.max_by(|a, b| at(a.1).total_cmp(&at(b.1)));
        best.map(|(workers, _)| workers.clone())
    }

    /// Improves one pool at a time until none can be improved.
    fn climb(&mut self, start: &[u64], ratio: f64, reach: f64, span: usize) -> (Vec<u64>, f64) {
        let mut at = start.to_vec();
        let mut best = self.value(&at, span);
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
                    let value = self.value(&candidate, span);
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

/// The weighted mean over the pools of what was good in a span as a share of what arrived in it.
fn value<'o>(
    scenario: &Scenario,
    outcomes: impl Iterator<Item = (&'o Outcome, &'o Trace)>,
    (from, to): Span,
) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (outcome, trace) in outcomes {
        let pools = scenario.pools.iter().zip(&outcome.pools);
        for ((spec, pool), arrivals) in pools.zip(&trace.arrivals) {
            let before = |time: f64| arrivals.partition_point(|job| job.at < time);
            let arrived = before(to).saturating_sub(before(from)).max(1);
            sum += spec.weight * pool.goodput_between(from, to) as f64 / arrived as f64;
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
    let mut coarse = Search::new(bench, 1);
    let tops = starts.map(|start| coarse.climb(&start, COARSE, f64::INFINITY, 0));
    let top = tops.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let start = top.map_or_else(|| of(|pool| pool.start), |(at, _)| at);
    let mut fine = Search::new(bench, SWEEP_SEEDS.len());
    let (workers, goodput) = fine.climb(&start, FINE, FINE_REACH, 0);
    let schedule = schedule(&mut coarse, &mut fine, (&workers, goodput));
    let sizes = smallest(&mut fine, &workers, goodput);
    Best {
        sizes,
        curve: BTreeMap::new(),
        schedule,
        setting: Static {
            workers,
            timeout: None,
        },
    }
}

/// Between each two turning points the vector that a sweep of its own finds best there, where that makes the whole run better
/// than the static one does: what one stretch leaves waiting is a burden to the next.
fn schedule(
    coarse: &mut Search<'_>,
    fine: &mut Search<'_>,
    (workers, goodput): (&[u64], f64),
) -> Vec<(f64, Vec<u64>)> {
    let begins: Vec<f64> = fine.spans.iter().skip(1).map(|(from, _)| *from).collect();
    let mut found = vec![(0.0, workers.to_vec())];
    found.extend(begins.iter().map(|from| (*from, workers.to_vec())));
    let mut best = goodput;
    for (span, from) in (1..).zip(begins) {
        let start = coarse.best_known(span).unwrap_or_else(|| workers.to_vec());
        let (start, _) = coarse.climb(&start, COARSE, f64::INFINITY, span);
        fine.climb(&start, FINE, FINE_REACH, span);
        let Some(vector) = fine.best_known(span) else {
            continue;
        };
        let mut tried = found.clone();
        tried.retain(|(at, _)| at.to_bits() != from.to_bits());
        tried.push((from, vector));
        tried.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = fine.scheduled(&tried);
        if value > best {
            (found, best) = (tried, value);
        }
    }
    found.dedup_by(|later, earlier| later.0 <= earlier.0 || later.1 == earlier.1);
    found
}

/// Pool by pool, the smallest size that with the others' best is as good.
fn smallest(search: &mut Search<'_>, workers: &[u64], goodput: f64) -> Vec<u64> {
    let mut sizes = workers.to_vec();
    for (pool, size) in sizes.iter_mut().enumerate() {
        let Some(spec) = search.bench.scenario.pools.get(pool) else {
            continue;
        };
        for smaller in grid(spec.min, *size, FINE) {
            let mut candidate = workers.to_vec();
            candidate[pool] = smaller;
            if search.value(&candidate, 0) >= super::BEST_SHARE * goodput {
                *size = smaller;
                break;
            }
        }
    }
    sizes
}
