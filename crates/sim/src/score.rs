//! The score of one controller in one scenario, over seeds, against the best static setting on the same seeds.

use crate::oracle::{Best, still, with_static};
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::trace::Trace;
use serde::Serialize;

/// How long a size must stay in the band to count as found, in seconds.
const FOUND_S: usize = 5;
/// Harm is looked for in windows of so many seconds ...
const HARM_WINDOW_S: usize = 60;
/// ... in which the operator's setting completes at least so many jobs within the goal.
const HARM_JOBS_MIN: u64 = 1_000;
/// A second counts for oversize while the load is above this share of the peak.
const OVERSIZE_LOAD: f64 = 0.5;

/// What the static runs of one seed came to.
#[derive(Debug)]
pub struct Reference {
    /// The seed.
    pub seed: u64,
    /// Its jobs.
    pub trace: Trace,
    /// The best static setting's run.
    pub best: Outcome,
    /// The operator's.
    pub operator: Outcome,
}

impl Reference {
    /// Makes the static runs of a seed.
    #[must_use]
    pub fn new(scenario: &Scenario, best: &Best, seed: u64) -> Self {
        let trace = Trace::draw(scenario, seed);
        let operator = scenario.started_at(&scenario.operator());
        Self {
            seed,
            best: still(&with_static(scenario, &best.setting), &trace, seed),
            operator: still(&operator, &trace, seed),
            trace,
        }
    }
}

/// One seed's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SeedScore {
    /// The seed.
    pub seed: u64,
    /// Goodput as a share of the best static setting's; over pools the weighted mean.
    pub goodput: f64,
    /// Goodput of each pool as a share of its own in the best static setting.
    pub pools: Vec<f64>,
    /// Jobs within the goal that the best static setting had more, a second.
    pub regret_per_s: f64,
    /// The 99 % quantile of response times in seconds, of the worst pool.
    pub p99_s: f64,
    /// Changes of a value a minute, undoing included.
    pub changes_per_min: f64,
    /// The most changes in any 60 s.
    pub changes_most: u64,
    /// Seconds until all pools had been in the band for five; nothing if never.
    pub found_s: Option<f64>,
    /// Share of the seconds, under more than half the peak load, above one and a half times the best size.
    pub oversize: f64,
    /// Goodput of the whole run over that of the operator's setting; nothing where that served nothing.
    pub against_operator: Option<f64>,
    /// The smallest ratio of goodput to the operator's over any 60 s with enough jobs; nothing without such.
    pub harm: Option<f64>,
    /// Goodput of the last ten minutes over that of the first, in runs of half an hour and more.
    pub drift: Option<f64>,
    /// Mean workers.
    pub workers: f64,
    /// Times the host was killed for memory.
    pub kills: u64,
    /// Changes begun while someone held the workers.
    pub fights: u64,
    /// Values outside the bounds.
    pub violations: u64,
    /// Changes without reason, expectation or evidence.
    pub unexplained: u64,
    /// Jobs cut by the timeout that would have met their goal.
    pub cut_good: u64,
}

/// Scores one run.
#[must_use]
pub fn seed_score(
    scenario: &Scenario,
    best: &Best,
    against: &Reference,
    run: &Outcome,
) -> SeedScore {
    let pools = pool_shares(run, &against.best);
    let weights = scenario.pools.iter().map(|pool| pool.weight);
    let sum: f64 = weights.clone().sum();
    let weighted: f64 = weights
        .zip(&pools)
        .map(|(weight, share)| weight * share)
        .sum();
    let total = |outcome: &Outcome| {
        (0..pools.len())
            .map(|pool| outcome.goodput(pool))
            .sum::<f64>()
    };
    let worker_s: f64 = run.pools.iter().map(|pool| pool.workers_s).sum();
    let p99 = run.pools.iter().filter_map(|pool| pool.p99());
    SeedScore {
        seed: against.seed,
        goodput: weighted / sum.max(f64::MIN_POSITIVE),
        regret_per_s: total(&against.best) - total(run),
        p99_s: p99.fold(0.0, f64::max),
        changes_per_min: run.changes.len() as f64 / (run.duration / 60.0),
        changes_most: most_changes(run),
        found_s: found(best, run),
        oversize: oversize(scenario, best, run),
        against_operator: (total(&against.operator) > 0.0)
            .then(|| total(run) / total(&against.operator)),
        harm: harm(run, &against.operator),
        drift: drift(run),
        workers: worker_s / run.duration,
        kills: run.kills,
        fights: run.fights,
        violations: run.violations,
        unexplained: run.unexplained,
        cut_good: run.pools.iter().map(|pool| pool.cut_good).sum(),
        pools,
    }
}

/// A pool to which nothing came within the goal even at best is as good as it can be.
fn pool_shares(run: &Outcome, best: &Outcome) -> Vec<f64> {
    let share = |pool| {
        let best = best.goodput(pool);
        if best > 0.0 {
            run.goodput(pool) / best
        } else {
            1.0
        }
    };
    (0..run.pools.len()).map(share).collect()
}

/// The most changes of one pool in any 60 s.
fn most_changes(run: &Outcome) -> u64 {
    let mut most = 0;
    for pool in 0..run.pools.len() {
        let times: Vec<f64> = run
            .changes
            .iter()
            .filter(|(_, of)| *of == pool)
            .map(|(at, _)| *at)
            .collect();
        for (last, at) in times.iter().enumerate() {
            let first = times.partition_point(|time| *time <= at - 60.0);
            most = most.max(crate::number::count(last + 1 - first));
        }
    }
    most
}

fn found(best: &Best, run: &Outcome) -> Option<f64> {
    let good = |second: &crate::run::Second| {
        let mut settings = second.settings.iter().enumerate();
        settings.all(|(pool, setting)| best.in_band(pool, setting.workers))
    };
    let stretch = run.seconds.windows(FOUND_S);
    let mut found = stretch.filter(|seconds| seconds.iter().all(good));
    Some(found.next()?.first()?.at)
}

fn oversize(scenario: &Scenario, best: &Best, run: &Outcome) -> f64 {
    let (mut counted, mut over) = (0_u64, 0_u64);
    for (pool, spec) in scenario.pools.iter().enumerate() {
        let busy = OVERSIZE_LOAD * spec.plant.peak();
        let seconds = run
            .seconds
            .iter()
            .filter(|second| spec.load.rate(second.at) > busy);
        for second in seconds {
            let setting = second.settings.get(pool);
            counted += 1;
            over += u64::from(setting.is_some_and(|set| best.is_oversize(pool, set.workers)));
        }
    }
    over as f64 / counted.max(1) as f64
}

/// Goodput against the operator's in the worst minute, all pools together.
fn harm(run: &Outcome, operator: &Outcome) -> Option<f64> {
    let seconds = run.pools.first().map_or(0, |pool| pool.good.len());
    let sum = |outcome: &Outcome, second: usize| -> u64 {
        let pools = outcome
            .pools
            .iter()
            .filter_map(|pool| pool.good.get(second));
        pools.map(|good| u64::from(*good)).sum()
    };
    let (mut ours, mut theirs, mut worst) = (0_u64, 0_u64, None::<f64>);
    for second in 0..seconds {
        ours += sum(run, second);
        theirs += sum(operator, second);
        if let Some(gone) = second.checked_sub(HARM_WINDOW_S) {
            ours -= sum(run, gone);
            theirs -= sum(operator, gone);
        }
        if second + 1 >= HARM_WINDOW_S && theirs >= HARM_JOBS_MIN {
            let ratio = ours as f64 / theirs as f64;
            worst = Some(worst.map_or(ratio, |worst| worst.min(ratio)));
        }
    }
    worst
}

fn drift(run: &Outcome) -> Option<f64> {
    let pool = run.pools.first()?;
    let first = pool.goodput_between(0.0, 600.0);
    let last = pool.goodput_between(run.duration - 600.0, run.duration);
    (run.duration >= 1_800.0 && first > 0).then(|| last as f64 / first as f64)
}

/// The figures of all seeds together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// The controller.
    pub controller: String,
    /// The scenario.
    pub scenario: String,
    /// Whether it counts.
    pub scored: bool,
    /// Its best static sizes, the smallest that are as good as best.
    pub best_sizes: Vec<u64>,
    /// Its best static timeout in seconds, where it was swept.
    pub best_timeout_s: Option<f64>,
    /// Mean goodput share.
    pub goodput: f64,
    /// Half the 95 % interval of that mean.
    pub goodput_error: f64,
    /// The worst seed's.
    pub goodput_worst: f64,
    /// The worst pool's mean goodput share.
    pub pool_worst: f64,
    /// Mean regret, jobs a second.
    pub regret_per_s: f64,
    /// Mean p99, seconds.
    pub p99_s: f64,
    /// Mean changes a minute.
    pub changes_per_min: f64,
    /// The most changes in any 60 s of any seed.
    pub changes_most: u64,
    /// Median time to the right size in seconds; nothing where most seeds never found it.
    pub found_median_s: Option<f64>,
    /// The slowest seed's; nothing where one never found it.
    pub found_worst_s: Option<f64>,
    /// Mean share of time oversize.
    pub oversize: f64,
    /// Mean of the seeds' goodput over that of the operator's setting.
    pub against_operator: Option<f64>,
    /// Mean of the seeds' harm.
    pub harm: Option<f64>,
    /// The worst seed's.
    pub harm_worst: Option<f64>,
    /// Mean drift.
    pub drift: Option<f64>,
    /// Mean workers.
    pub workers: f64,
    /// Kills in all seeds.
    pub kills: u64,
    /// Fights in all seeds.
    pub fights: u64,
    /// Bound violations in all seeds.
    pub violations: u64,
    /// Unexplained changes in all seeds.
    pub unexplained: u64,
    /// Good jobs cut in all seeds.
    pub cut_good: u64,
    /// The seeds.
    pub seeds: Vec<SeedScore>,
}

/// Puts the seeds together.
#[must_use]
pub fn score(controller: &str, scenario: &Scenario, best: &Best, seeds: Vec<SeedScore>) -> Score {
    let mean = |of: fn(&SeedScore) -> f64| mean(seeds.iter().map(of));
    let harms: Vec<f64> = seeds.iter().filter_map(|seed| seed.harm).collect();
    let against: Vec<f64> = seeds
        .iter()
        .filter_map(|seed| seed.against_operator)
        .collect();
    let drifts: Vec<f64> = seeds.iter().filter_map(|seed| seed.drift).collect();
    let some_mean =
        |values: &[f64]| (!values.is_empty()).then(|| self::mean(values.iter().copied()));
    let mut found: Vec<f64> = seeds
        .iter()
        .map(|seed| seed.found_s.unwrap_or(f64::INFINITY))
        .collect();
    found.sort_by(f64::total_cmp);
    let found_at = |share| crate::oracle::quantile(&found, share).filter(|at| at.is_finite());
    let pool_mean = |pool: usize| {
        self::mean(
            seeds
                .iter()
                .filter_map(|seed| seed.pools.get(pool).copied()),
        )
    };
    Score {
        controller: controller.to_owned(),
        scenario: scenario.name.clone(),
        scored: scenario.scored,
        best_sizes: best.sizes.clone(),
        best_timeout_s: best.setting.timeout,
        goodput: mean(|seed| seed.goodput),
        goodput_error: error_of_mean(seeds.iter().map(|seed| seed.goodput)),
        goodput_worst: least(seeds.iter().map(|seed| seed.goodput)).unwrap_or(0.0),
        pool_worst: least((0..scenario.pools.len()).map(pool_mean)).unwrap_or(0.0),
        regret_per_s: mean(|seed| seed.regret_per_s),
        p99_s: mean(|seed| seed.p99_s),
        changes_per_min: mean(|seed| seed.changes_per_min),
        changes_most: seeds
            .iter()
            .map(|seed| seed.changes_most)
            .max()
            .unwrap_or(0),
        found_median_s: found_at(0.5),
        found_worst_s: found_at(1.0),
        oversize: mean(|seed| seed.oversize),
        against_operator: some_mean(&against),
        harm: some_mean(&harms),
        harm_worst: least(harms.iter().copied()),
        drift: some_mean(&drifts),
        workers: mean(|seed| seed.workers),
        kills: seeds.iter().map(|seed| seed.kills).sum(),
        fights: seeds.iter().map(|seed| seed.fights).sum(),
        violations: seeds.iter().map(|seed| seed.violations).sum(),
        unexplained: seeds.iter().map(|seed| seed.unexplained).sum(),
        cut_good: seeds.iter().map(|seed| seed.cut_good).sum(),
        seeds,
    }
}

/// The mean of some values; zero of none.
#[must_use]
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / crate::number::count(values.len()).max(1) as f64
}

fn least(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.min_by(f64::total_cmp)
}

/// Half the 95 % interval of a mean: 1.96 standard errors, for 20 seeds a little less than Student's figure.
fn error_of_mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    let middle = mean(values.iter().copied());
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    let count = crate::number::count(values.len()) as f64;
    if count < 2.0 {
        return 0.0;
    }
    1.96 * libm::sqrt(squares / (count - 1.0) / count)
}
