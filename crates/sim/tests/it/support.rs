//! Scenarios in a few words, and somebody simple at the knobs.

use trimtab_core::observation::Observation;
use trimtab_sim::pool::{Ended, Setting};
use trimtab_sim::run::{Driver, Outcome, Rival, Run, Wish};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;

/// A pool of `workers` for so many seconds, with a plant, a load and events as the file has them.
pub(crate) fn scenario(
    seconds: u64,
    workers: u64,
    plant: &str,
    load: &str,
    events: &str,
) -> Scenario {
    let text = format!(
        "name = \"test\"\nduration = \"{seconds}s\"\nstart = {workers}\nmin = 1\nmax = 512\noperator = {workers}\n\
         slo = \"1000s\"\nqueue_limit = 1000000\nqueue_deadline = \"1000s\"\ntimeout = \"1000s\"\ntimeout_max = \"2000s\"\n\
         [plant]\n{plant}\n[load]\n{load}\n{events}"
    );
    Scenario::parse(&text, "test").unwrap()
}

/// An event of the file.
pub(crate) fn event(at: u64, span: u64, rest: &str) -> String {
    format!("[[event]]\nat = \"{at}s\"\nfor = \"{span}s\"\n{rest}\n")
}

/// A run with nobody at the knobs.
pub(crate) fn still(scenario: &Scenario, seed: u64) -> Outcome {
    drive(scenario, seed, League::InProcess, Driver::Nobody)
}

pub(crate) fn drive(scenario: &Scenario, seed: u64, league: League, driver: Driver<'_>) -> Outcome {
    let trace = Trace::draw(scenario, seed);
    let run = Run {
        scenario,
        trace: &trace,
        seed,
        league,
    };
    run.drive(driver)
}

/// Looks at every observation, and may want something at each.
pub(crate) struct Watcher<F>(pub(crate) F);

impl<F: FnMut(&Observation) -> Option<u64>> Rival for Watcher<F> {
    fn tick(&mut self, observation: &Observation) -> Vec<Wish> {
        let workers = (self.0)(observation);
        let wish = workers.map(|workers| Wish {
            workers: Some(workers),
            ..Wish::default()
        });
        wish.into_iter().collect()
    }

    fn ended(&mut self, _: usize, _: &Ended, _: &Setting) -> Vec<Wish> {
        Vec::new()
    }
}

/// All observations of a run with nobody at the knobs.
pub(crate) fn observations(scenario: &Scenario, seed: u64, league: League) -> Vec<Observation> {
    let mut seen = Vec::new();
    let watcher = Watcher(|observation: &Observation| {
        seen.push(observation.clone());
        None
    });
    drive(scenario, seed, league, Driver::Rival(Box::new(watcher)));
    seen
}

/// Completions between two seconds.
pub(crate) fn done(outcome: &Outcome, seconds: std::ops::Range<usize>) -> u64 {
    outcome.pools[0].done[seconds]
        .iter()
        .map(|count| u64::from(*count))
        .sum()
}

/// Mean response time of all jobs that ended well, in seconds.
pub(crate) fn mean_response(outcome: &Outcome) -> f64 {
    let total = outcome.pools[0].total.histogram();
    total.sum_us as f64 / total.count as f64 / 1e6
}
