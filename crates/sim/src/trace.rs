//! The jobs of one run, drawn beforehand: every controller meets the same ones at the same times.

use crate::dice::Dice;
use crate::scenario::{EventKind, Scenario};
use crate::work::Work;

/// One job before it arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// When, in seconds.
    pub at: f64,
    /// How long it takes alone, in seconds.
    pub work: f64,
    /// Between 0 and 1: a job below the share of a stall never ends by itself if it starts during one.
    pub luck: f64,
}

/// All jobs of one run, pool by pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The jobs of each pool, in the order of their arrival.
    pub arrivals: Vec<Vec<Arrival>>,
}

impl Trace {
    /// Draws the jobs of a scenario from a seed.
    #[must_use]
    pub fn draw(scenario: &Scenario, seed: u64) -> Self {
        let pools = 0..scenario.pools.len();
        Self {
            arrivals: pools.map(|pool| draw(scenario, pool, seed)).collect(),
        }
    }

    /// How many jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Poisson arrivals by thinning: candidates come at the largest rate, and each is kept with the share of it that its time has.
fn draw(scenario: &Scenario, index: usize, seed: u64) -> Vec<Arrival> {
    let Some(pool) = scenario.pools.get(index) else {
        return Vec::new();
    };
    let stream = 2 * crate::number::count(index);
    let mut dice = Dice::new(seed, stream);
    let mut luck = Dice::new(seed, stream + 1);
    let rate_max = pool.load.rate_max();
    let mut arrivals = Vec::new();
    if rate_max <= 0.0 {
        return arrivals;
    }
    let mut at = 0.0;
    loop {
        at += dice.exponential() / rate_max;
        if at >= scenario.duration {
            return arrivals;
        }
        if dice.share() * rate_max < pool.load.rate(at) {
            let work = work_at(scenario, index, pool.plant.work, at).draw(&mut dice);
            let luck = luck.share();
            arrivals.push(Arrival { at, work, luck });
        }
    }
}

/// The distribution of work in force: an event may replace it.
fn work_at(scenario: &Scenario, pool: usize, usual: Work, at: f64) -> Work {
    let mut work = usual;
    for event in &scenario.events {
        let about = event.pool.is_none_or(|only| only == pool);
        if about
            && (event.at..event.at + event.span).contains(&at)
            && let EventKind::Plant(plants) = &event.kind
            && let Some(plant) = plants.get(pool)
        {
            work = plant.work;
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"
name = "step"
duration = "1000s"
start = 8
min = 1
max = 512
operator = 64
slo = "300ms"
queue_limit = 2000
queue_deadline = "75ms"
[plant]
work = { dist = "exponential", mean = "50ms" }
[load]
rate_points = [["0s", 20.0], ["500s", 20.0], ["500s", 100.0]]
"#;

    #[test]
    fn arrivals_follow_the_load_and_the_seed() {
        let scenario = Scenario::parse(STEP, "step").expect("a scenario");
        let trace = Trace::draw(&scenario, 1);
        let early = trace.arrivals[0]
            .iter()
            .filter(|job| job.at < 500.0)
            .count();
        let late = trace.len() - early;
        // Five standard deviations of a Poisson count.
        assert!(early.abs_diff(10_000) < 500, "{early}");
        assert!(late.abs_diff(50_000) < 1_120, "{late}");
        assert_eq!(trace, Trace::draw(&scenario, 1));
        assert_ne!(trace, Trace::draw(&scenario, 2));
    }
}
