//! Each event of the format, and what becomes of a host without memory.

use crate::support::{Watcher, done, drive, event, observations, scenario, still};
use trimtab_core::observation::{Observation, Reading};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::name::KnobName;
use trimtab_sim::run::Driver;
use trimtab_sim::scenario::Scenario;
use trimtab_sim::world::League;

const PLANT: &str = "work = { dist = \"exponential\", mean = \"50ms\" }";
const LOAD: &str = "rate = 1000.0";

/// A pool of ten, always busy, with an event from 20 s to 40 s of a minute.
fn with(kind: &str, plant: &str) -> Scenario {
    scenario(
        60,
        10,
        &format!("{PLANT}\n{plant}"),
        LOAD,
        &event(20, 20, kind),
    )
}

/// Completions before, during and after the event, leaving out the seconds at its edges.
fn thirds(scenario: &Scenario) -> [f64; 3] {
    let outcome = still(scenario, 1);
    [2..18, 22..38, 42..58].map(|seconds| done(&outcome, seconds) as f64 / 16.0)
}

fn near(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 0.1 * expected.max(1.0),
        "{found} against {expected}"
    );
}

#[test]
fn nothing_completes_in_a_hang() {
    let [before, during, after] = thirds(&with("kind = \"hang\"", ""));
    near(before, 200.0);
    near(after, 200.0);
    assert_eq!(during.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn jobs_run_twenty_times_slower_in_timeouts() {
    let [before, during, after] = thirds(&with("kind = \"timeouts\"", ""));
    near(before, 200.0);
    near(during, 10.0);
    near(after, 200.0);
}

#[test]
fn a_plant_event_replaces_what_it_names_and_the_load_stays() {
    let [before, during, after] = thirds(&with("kind = \"plant\"\ncapacity = 5", ""));
    near(before, 200.0);
    near(during, 100.0);
    near(after, 200.0);
    let slower = "kind = \"plant\"\nwork = { dist = \"exponential\", mean = \"100ms\" }";
    // Jobs drawn in the event are large ones; a queue of the others stands before them, so this pool has none.
    let mut scenario = with(slower, "");
    scenario.pools[0].queue_limit = 0;
    let [before, during, after] = thirds(&scenario);
    assert!(
        during < 0.65 * before && after > 0.9 * before,
        "{before} {during} {after}"
    );
}

#[test]
fn stolen_cores_are_missing_from_the_plant_and_not_from_what_is_seen() {
    let scenario = with("kind = \"steal\"\nkeep = 0.5", "cores = 4\ncpu_share = 0.4");
    let [before, during, after] = thirds(&scenario);
    near(before, 200.0);
    near(during, 100.0);
    near(after, 200.0);
    for observation in observations(&scenario, 1, League::InProcess) {
        let quota = observation.cgroup.fresh().unwrap().cpu_quota_millicores;
        assert_eq!(quota, Some(4_000));
    }
}

#[test]
fn stalled_jobs_hold_a_worker_until_the_timeout() {
    let stall = "kind = \"stall\"\nshare = 0.3";
    let mut scenario = with(stall, "");
    let [before, during, _] = thirds(&scenario);
    near(before, 200.0);
    assert!(during < 2.0, "ten workers are soon all stalled: {during}");
    scenario.pools[0].timeout = 0.5;
    let outcome = still(&scenario, 1);
    let during = done(&outcome, 22..38) as f64 / 16.0;
    // Of ten jobs seven end in 0.05 s in the mean and three in 0.5 s.
    near(during, 10.0 * 0.7 / (0.7 * 0.05 + 0.3 * 0.5));
    near(done(&outcome, 42..58) as f64 / 16.0, 200.0);
}

#[test]
fn a_timeout_that_cuts_what_would_have_met_its_goal_is_counted() {
    let mut scenario = scenario(20, 10, PLANT, LOAD, "");
    scenario.pools[0].timeout = 0.1;
    let pool = &still(&scenario, 1).pools[0];
    // A job outlives two of its means with a chance of e^-2.
    near(pool.cut_good as f64, pool.completed as f64 * 0.135 / 0.865);
    scenario.pools[0].slo = 0.1;
    assert_eq!(still(&scenario, 1).pools[0].cut_good, 0);
}

#[test]
fn a_restart_begins_with_the_start_values_and_counters_at_zero() {
    let scenario = scenario(60, 10, PLANT, LOAD, &event(30, 0, "kind = \"restart\""));
    let mut seen: Vec<(String, u64, u64)> = Vec::new();
    let watcher = Watcher(|observation: &Observation| {
        if let Some(state) = observation.state.fresh() {
            let pool = &state.pools["main"];
            let workers = pool.knobs[KnobName::WORKERS].value.as_integer().unwrap();
            seen.push((
                state.instance.to_string(),
                pool.counters.completed.unwrap(),
                workers,
            ));
        }
        (seen.len() == 5).then_some(20)
    });
    drive(
        &scenario,
        1,
        League::InProcess,
        Driver::Rival(Box::new(watcher)),
    );
    let (first, second): (Vec<_>, Vec<_>) = seen
        .iter()
        .partition(|(instance, _, _)| instance == "run-0");
    assert_eq!((first.last().unwrap().2, second[0].2), (20, 10));
    assert!(
        first.last().unwrap().1 > 5_000 && second[0].1 < 400,
        "{:?}",
        second[0]
    );
}

#[test]
fn someone_sets_the_workers_by_hand_and_puts_the_old_value_back() {
    let outcome = still(&with("kind = \"override\"\nworkers = 20", ""), 1);
    let workers = |second: usize| outcome.seconds[second].settings[0].workers;
    assert_eq!(
        [workers(19), workers(21), workers(39), workers(41)],
        [10, 20, 20, 10]
    );
    near(done(&outcome, 22..38) as f64 / 16.0, 400.0);
}

#[test]
fn in_the_dark_there_is_no_sample_and_garbage_is_absent_or_reset() {
    let dark = observations(&with("kind = \"blind\"", ""), 1, League::InProcess);
    for (second, observation) in dark.iter().enumerate() {
        let absent = observation.state
            == Reading::Absent {
                absence: Absence::TimedOut,
            };
        assert_eq!(absent, (20..40).contains(&second), "{second}");
    }
    let garbage = observations(&with("kind = \"garbage\"", ""), 1, League::InProcess);
    let mut kinds = [0; 3];
    for observation in &garbage[20..40] {
        let counters = &observation.state.fresh().unwrap().pools["main"].counters;
        match (counters.completed, counters.started) {
            (Some(0), Some(_)) => kinds[0] += 1,
            (None, Some(_)) => kinds[1] += 1,
            (None, None) => kinds[2] += 1,
            sound => panic!("{sound:?}"),
        }
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    assert!(
        garbage[41].state.fresh().unwrap().pools["main"]
            .counters
            .completed
            > Some(0)
    );
}

#[test]
fn a_host_that_refuses_takes_no_change() {
    let scenario = with("kind = \"refuse\"", "");
    let watcher = Watcher(|_: &Observation| Some(15));
    let mut early = scenario.clone();
    early.events[0].at = 0.0;
    let outcome = drive(&early, 1, League::Sidecar, Driver::Rival(Box::new(watcher)));
    let workers = |second: usize| outcome.seconds[second].settings[0].workers;
    assert_eq!([workers(10), workers(19), workers(22)], [10, 10, 15]);
}

#[test]
fn more_workers_than_memory_kill_the_host_for_ten_seconds() {
    let plant = format!(
        "{PLANT}\nmemory_base = \"100MiB\"\nmemory_per_worker = \"10MiB\"\nmemory_limit = \"250MiB\""
    );
    let scenario = scenario(60, 10, &plant, LOAD, "");
    let mut ticks = 0;
    let watcher = Watcher(|_: &Observation| {
        ticks += 1;
        (ticks == 20).then_some(16)
    });
    let outcome = drive(
        &scenario,
        1,
        League::InProcess,
        Driver::Rival(Box::new(watcher)),
    );
    assert_eq!(outcome.kills, 1);
    assert_eq!(
        done(&outcome, 19..29),
        0,
        "it is down from the change at 19 s on"
    );
    near(done(&outcome, 30..58) as f64 / 28.0, 200.0);
    assert_eq!(
        outcome.seconds[40].settings[0].workers, 10,
        "and back at its start"
    );
    let fits = still(&scenario.started_at(&[15]), 1);
    assert_eq!(fits.kills, 0, "exactly at the limit is not above it");
}

#[test]
fn a_twentieth_of_the_samples_is_late_or_lost() {
    let scenario = scenario(8_000, 1, PLANT, "rate = 1.0", "");
    let seen = observations(&scenario, 1, League::Sidecar);
    let lost = seen
        .iter()
        .filter(|seen| matches!(seen.state, Reading::Absent { .. }))
        .count();
    let late = seen
        .iter()
        .filter(|seen| matches!(seen.state, Reading::Stale { .. }))
        .count();
    assert_eq!(seen.len(), 8_000);
    // Two hundred each, give or take four standard deviations.
    assert!(
        lost.abs_diff(200) < 56 && late.abs_diff(200) < 56,
        "{lost} {late}"
    );
    let inside = observations(&scenario, 1, League::InProcess);
    assert!(inside.iter().all(|seen| seen.state.fresh().is_some()));
}

#[test]
fn the_cpu_that_is_seen_is_that_of_the_work_with_noise_and_some_spin() {
    let scenario = with(
        "kind = \"hang\"",
        "alpha = 0.1\nbeta = 0.0\ncores = 8\ncpu_share = 0.3",
    );
    let seen = observations(&scenario, 1, League::InProcess);
    let cpu = |from: usize, to: usize| {
        let at = |second: usize| seen[second].process.fresh().unwrap().cpu_ns as f64 / 1e9;
        (at(to) - at(from)) / (to - from) as f64
    };
    let rate = 1.0 / 1.9;
    near(
        cpu(2, 18) * 100.0,
        100.0 * (10.0 * 0.3 * rate + 0.05 * 10.0 * (1.0 - rate)),
    );
    near(cpu(22, 38) * 100.0, 100.0 * 0.05 * 10.0);
}
