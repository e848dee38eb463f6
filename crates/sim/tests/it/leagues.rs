//! Both leagues: the same run twice, other programs at the knobs, recordings, and the scenarios of the repository.

use crate::support::{drive, event, scenario};
use std::path::Path;
use trimtab_core::observation::Observation;
use trimtab_sim::compare::{Contest, Start, standings};
use trimtab_sim::exec::Program;
use trimtab_sim::journal::{record, replay, trace};
use trimtab_sim::oracle::{Best, Cache, best};
use trimtab_sim::player::Player;
use trimtab_sim::pool::{Ended, Setting};
use trimtab_sim::run::{Driver, Outcome, Rival, Run, Wish};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;

fn shared(name: &str) -> Scenario {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/scenarios")
        .join(name);
    Scenario::read(&file).unwrap()
}

fn short(name: &str, seconds: f64) -> Scenario {
    let mut scenario = shared(name);
    scenario.duration = seconds;
    scenario
}

fn figures(outcome: &Outcome) -> (Vec<Vec<u32>>, Vec<(u64, usize)>) {
    let good = outcome.pools.iter().map(|pool| pool.good.clone());
    let changes = outcome
        .changes
        .iter()
        .map(|(at, pool)| (at.to_bits(), *pool));
    (good.collect(), changes.collect())
}

/// Any best will do where nobody asks for it.
fn nothing() -> Best {
    best(&short("low-traffic.toml", 5.0))
}

#[test]
fn a_seed_gives_the_same_run_and_another_seed_another() {
    let best = nothing();
    for name in ["trimtab", "hill", "crate-vegas"] {
        for league in [League::Sidecar, League::InProcess] {
            let play = |seed| {
                let scenario = short("broken-senses.toml", 60.0);
                let jobs = Trace::draw(&scenario, seed);
                let run = Run {
                    scenario: &scenario,
                    trace: &jobs,
                    seed,
                    league,
                };
                figures(
                    &Player::parse(name)
                        .unwrap()
                        .watch(&run, &best, &mut |_, _, _| ()),
                )
            };
            assert_eq!(play(1), play(1), "{name} {league:?}");
            assert_ne!(play(1), play(2), "{name} {league:?}");
        }
    }
}

#[test]
fn a_program_is_asked_at_each_tick_and_its_answer_takes_effect() {
    let plant = "work = { dist = \"exponential\", mean = \"50ms\" }";
    let scenario = scenario(10, 4, plant, "rate = 100.0", "");
    // It answers each tick with one worker more than it was asked about before.
    let script = "n=4; read start; while read line; do n=$((n+1)); echo \"{\\\"workers\\\":$n,\\\"timeout_ms\\\":5000}\"; done";
    let program = Program::start(script, &scenario, League::Sidecar);
    let outcome = drive(
        &scenario,
        1,
        League::Sidecar,
        Driver::Rival(Box::new(program)),
    );
    let workers: Vec<u64> = outcome
        .seconds
        .iter()
        .map(|second| second.settings[0].workers)
        .collect();
    assert_eq!(workers, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert!((outcome.seconds[5].settings[0].timeout - 5.0).abs() < 1e-9);
}

#[test]
fn a_program_inside_the_host_is_asked_after_each_job() {
    let plant = "work = { dist = \"constant\", mean = \"50ms\" }";
    let scenario = scenario(10, 4, plant, "rate = 20.0", "");
    let script = "n=0; read start; while read line; do n=$((n+1)); case $line in *'\"type\":\"job\"'*) \
                  echo \"{\\\"pools\\\":{\\\"main\\\":{\\\"workers\\\":$((4 + n / 50))}}}\";; esac; done";
    let program = Program::start(script, &scenario, League::InProcess);
    let outcome = drive(
        &scenario,
        1,
        League::InProcess,
        Driver::Rival(Box::new(program)),
    );
    let jobs = outcome.pools[0].completed;
    let last = outcome.seconds.last().unwrap().settings[0].workers;
    assert!(
        jobs > 120 && (5..=4 + jobs / 50).contains(&last),
        "{jobs} jobs, {last} workers"
    );
}

#[test]
fn a_program_that_ends_or_talks_nonsense_leaves_what_stands() {
    let plant = "work = { dist = \"constant\", mean = \"50ms\" }";
    let scenario = scenario(5, 4, plant, "rate = 20.0", "");
    for script in ["true", "while read line; do echo nonsense; done", "exit 3"] {
        let program = Program::start(script, &scenario, League::Sidecar);
        let outcome = drive(
            &scenario,
            1,
            League::Sidecar,
            Driver::Rival(Box::new(program)),
        );
        assert!(
            outcome
                .seconds
                .iter()
                .all(|second| second.settings[0].workers == 4)
        );
    }
}

#[test]
fn a_recording_replays_to_the_same_decisions_bit_for_bit() {
    for name in [
        "square-burst.toml",
        "broken-senses.toml",
        "three-pools.toml",
    ] {
        let scenario = short(name, 120.0);
        let jobs = Trace::draw(&scenario, 7);
        let run = Run {
            scenario: &scenario,
            trace: &jobs,
            seed: 7,
            league: League::Sidecar,
        };
        let mut text = Vec::new();
        record(&run, &scenario, &mut text).unwrap();
        let replayed = replay(&mut text.as_slice()).unwrap();
        assert_eq!(
            (replayed.decisions, replayed.different),
            (120, None),
            "{name}"
        );
        // A recording that was tampered with is found out.
        let text = String::from_utf8(text).unwrap();
        let (before, after) = text.split_once("\"digest\":").unwrap();
        let after = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let forged = format!("{before}\"digest\":7{after}");
        assert_ne!(forged, text);
        assert!(replay(&mut forged.as_bytes()).unwrap().different.is_some());
    }
}

#[test]
fn a_trace_tells_of_each_second_and_pool() {
    let scenario = short("three-pools.toml", 20.0);
    let jobs = Trace::draw(&scenario, 1);
    let run = Run {
        scenario: &scenario,
        trace: &jobs,
        seed: 1,
        league: League::Sidecar,
    };
    let lines = trace(&run, &Player::Trimtab, &nothing());
    assert_eq!(lines.len(), 60);
    assert!(
        lines
            .iter()
            .filter(|line| line["decision"]["reason"].is_object())
            .count()
            > 50
    );
}

#[test]
fn best_static_beats_the_operator_and_the_clairvoyant_beats_both() {
    let plant = "work = { dist = \"exponential\", mean = \"50ms\" }\ncapacity = 4";
    let change = event(40, 40, "kind = \"plant\"\ncapacity = 12");
    let load = "rate_points = [[\"0s\", 70.0], [\"40s\", 70.0], [\"40s\", 200.0], [\"80s\", 200.0], [\"80s\", 70.0]]";
    let mut changing = scenario(120, 2, plant, load, &change);
    let mut stalling = scenario(
        90,
        3,
        plant,
        "rate = 60.0",
        &event(20, 50, "kind = \"stall\"\nshare = 0.2"),
    );
    for scenario in [&mut changing, &mut stalling] {
        let pool = &mut scenario.pools[0];
        (pool.max, pool.slo, pool.queue_deadline, pool.timeout) = (24, 0.4, 0.2, 30.0);
    }
    let contest = Contest {
        scenarios: vec![changing, stalling],
        players: ["best-static", "clairvoyant", "operator"]
            .map(|name| Player::parse(name).unwrap())
            .to_vec(),
        seeds: 2,
        league: League::Sidecar,
        start: Start::File,
        cache: Cache::default(),
    };
    let scores = contest.play();
    for pair in scores.chunks(3) {
        assert!((pair[0].goodput - 1.0).abs() < 1e-9, "{}", pair[0].goodput);
        assert!(pair[1].goodput > 0.98, "{}", pair[1].goodput);
        assert!(pair[2].goodput < 0.95, "{}", pair[2].goodput);
    }
    let timeout = scores[3]
        .best_timeout_s
        .expect("where jobs stall the timeout is swept too");
    assert!(timeout < 5.0, "{timeout}");
    assert_eq!(standings(&scores).len(), 3);
}

/// Two pools with plants of their own; from 20 s on the first bears far more at once.
fn two_pools(event: &str) -> Scenario {
    let pool = |name: &str, plant: &str, rate: f64| {
        format!(
            "[[pool]]\nname = \"{name}\"\nstart = 4\nmin = 1\nmax = 24\noperator = 4\nslo = \"400ms\"\nqueue_limit = 1000\n\
             queue_deadline = \"200ms\"\n[pool.plant]\nwork = {{ dist = \"exponential\", mean = \"50ms\" }}\n{plant}\n\
             [pool.load]\nrate = {rate:.1}\n"
        )
    };
    let pools = pool("a", "beta = 0.06", 150.0) + &pool("b", "capacity = 4", 20.0);
    let text = format!("name = \"two\"\nduration = \"40s\"\n{pools}{event}");
    Scenario::parse(&text, "test").unwrap()
}

#[test]
fn with_several_pools_the_clairvoyant_changes_sizes_where_the_host_does() {
    let scenario = two_pools(&event(
        20,
        20,
        "kind = \"plant\"\npool = \"a\"\nbeta = 0.0005",
    ));
    let best = Cache::default().best(&scenario);
    let from: Vec<f64> = best.schedule.iter().map(|(from, _)| *from).collect();
    assert_eq!(from, [0.0, 20.0]);
    assert!(best.schedule[0].1[0] < best.schedule[1].1[0], "{best:?}");
    let jobs = Trace::draw(&scenario, 1);
    let run = Run {
        scenario: &scenario,
        trace: &jobs,
        seed: 1,
        league: League::Sidecar,
    };
    let good = |player: Player| player.watch(&run, &best, &mut |_, _, _| ()).goodput(0);
    let (fixed, changing) = (good(Player::Best), good(Player::Clairvoyant));
    assert!(changing > 1.1 * fixed, "{changing} against {fixed}");
}

#[test]
fn an_override_of_one_pool_makes_no_fight_of_a_change_of_another() {
    let held = two_pools(&event(
        5,
        30,
        "kind = \"override\"\npool = \"b\"\nworkers = 2",
    ));
    let schedule = [(0.0, vec![4, 4]), (10.0, vec![9, 9])];
    let run = drive(&held, 1, League::InProcess, Driver::Schedule(&schedule));
    let sizes = |at: usize| {
        let settings = &run.seconds[at].settings;
        (settings[0].workers, settings[1].workers)
    };
    assert_eq!((run.fights, sizes(20), sizes(38)), (0, (9, 2), (9, 9)));
    let fights = |pool: usize| {
        let restless = Restless { pool, workers: 4 };
        let driver = Driver::Rival(Box::new(restless));
        drive(&held, 1, League::InProcess, driver).fights
    };
    assert_eq!(fights(0), 0);
    assert!(fights(1) >= 29, "{}", fights(1));
}

/// Wants another size of one pool at each tick.
struct Restless {
    pool: usize,
    workers: u64,
}

impl Rival for Restless {
    fn tick(&mut self, _: &Observation) -> Vec<Wish> {
        self.workers = 9 - self.workers;
        vec![Wish {
            pool: self.pool,
            workers: Some(self.workers),
            ..Wish::default()
        }]
    }

    fn ended(&mut self, _: usize, _: &Ended, _: &Setting) -> Vec<Wish> {
        Vec::new()
    }
}
