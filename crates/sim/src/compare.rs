//! All controllers in all scenarios on the same jobs, on all cores.

use crate::oracle::{Best, Cache};
use crate::parallel;
use crate::player::Player;
use crate::scenario::Scenario;
use crate::score::{Reference, Score, SeedScore, score, seed_score};
use crate::world::League;

/// From which size runs start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The file's.
    #[default]
    File,
    /// The operator's setting, as in life.
    Operator,
}

/// What is compared.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The controllers.
    pub players: Vec<Player>,
    /// How many seeds, from 1.
    pub seeds: u64,
    /// The rules.
    pub league: League,
    /// Where runs start.
    pub start: Start,
    /// Where sweeps are kept.
    pub cache: Cache,
}

impl Contest {
    /// Plays all of it: one score a controller and scenario, scenario by scenario.
    #[must_use]
    pub fn play(&self) -> Vec<Score> {
        let bests = parallel::map(&self.scenarios, |scenario| self.cache.best(scenario));
        let jobs: Vec<(usize, u64)> = (0..self.scenarios.len())
            .flat_map(|scenario| (1..=self.seeds).map(move |seed| (scenario, seed)))
            .collect();
        let played = parallel::map(&jobs, |(index, seed)| {
            let (scenario, best) = (&self.scenarios[*index], &bests[*index]);
            self.play_seed(scenario, best, *seed)
        });
        let mut scores = Vec::new();
        let rounds = played.chunks(crate::number::index(self.seeds.max(1)));
        for ((scenario, best), seeds) in self.scenarios.iter().zip(&bests).zip(rounds) {
            for (index, player) in self.players.iter().enumerate() {
                let own = seeds.iter().filter_map(|row| row.get(index).cloned());
                scores.push(score(&player.name(), scenario, best, own.collect()));
            }
        }
        scores
    }

    /// The scenario as runs start it.
    #[must_use]
    pub fn started(&self, scenario: &Scenario) -> Scenario {
        match self.start {
            Start::File => scenario.clone(),
            Start::Operator => scenario.started_at(&scenario.operator()),
        }
    }

    fn play_seed(&self, scenario: &Scenario, best: &Best, seed: u64) -> Vec<SeedScore> {
        let reference = Reference::new(scenario, best, seed);
        let started = self.started(scenario);
        let play = |player: &Player| {
            let outcome = player.play(&started, best, &reference, self.league);
            seed_score(scenario, best, &reference, &outcome)
        };
        self.players.iter().map(play).collect()
    }
}

/// What a controller came to over all scenarios that count.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Standing {
    /// The controller.
    pub controller: String,
    /// Its worst scenario's mean goodput share ...
    pub worst: f64,
    /// ... and which that is.
    pub worst_scenario: String,
    /// The mean over the scenarios.
    pub mean: f64,
    /// The worst single seed.
    pub worst_seed: f64,
    /// Median over the scenarios of changes a minute.
    pub changes_median: f64,
    /// The most changes in any 60 s.
    pub changes_most: u64,
    /// Mean share of time oversize.
    pub oversize: f64,
    /// The worst scenario's mean harm.
    pub harm: Option<f64>,
    /// The worst seed's harm.
    pub harm_worst: Option<f64>,
    /// Bound violations.
    pub violations: u64,
    /// Kills for memory.
    pub kills: u64,
}

/// The controllers, ranked by their worst scenario and then by their mean.
#[must_use]
pub fn standings(scores: &[Score]) -> Vec<Standing> {
    let mut names: Vec<&str> = Vec::new();
    for score in scores {
        if !names.contains(&score.controller.as_str()) {
            names.push(&score.controller);
        }
    }
    let mut standings: Vec<Standing> = names.iter().map(|name| standing(name, scores)).collect();
    standings.sort_by(|a, b| b.worst.total_cmp(&a.worst).then(b.mean.total_cmp(&a.mean)));
    standings
}

fn standing(name: &str, scores: &[Score]) -> Standing {
    let all: Vec<&Score> = scores
        .iter()
        .filter(|score| score.controller == name)
        .collect();
    let own: Vec<&Score> = all.iter().filter(|score| score.scored).copied().collect();
    let worst = own.iter().min_by(|a, b| a.goodput.total_cmp(&b.goodput));
    let mut changes: Vec<f64> = own.iter().map(|score| score.changes_per_min).collect();
    changes.sort_by(f64::total_cmp);
    let least = |of: fn(&Score) -> Option<f64>| {
        own.iter()
            .filter_map(|score| of(score))
            .min_by(f64::total_cmp)
    };
    Standing {
        controller: name.to_owned(),
        worst: worst.map_or(0.0, |score| score.goodput),
        worst_scenario: worst.map_or_else(String::new, |score| score.scenario.clone()),
        mean: crate::score::mean(own.iter().map(|score| score.goodput)),
        worst_seed: least(|score| Some(score.goodput_worst)).unwrap_or(0.0),
        changes_median: crate::oracle::quantile(&changes, 0.5).unwrap_or(0.0),
        changes_most: all
            .iter()
            .map(|score| score.changes_most)
            .max()
            .unwrap_or(0),
        oversize: crate::score::mean(own.iter().map(|score| score.oversize)),
        harm: least(|score| score.harm),
        harm_worst: least(|score| score.harm_worst),
        violations: all.iter().map(|score| score.violations).sum(),
        kills: all.iter().map(|score| score.kills).sum(),
    }
}
