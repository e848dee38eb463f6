//! The host's side of the control API, through the product's own controller and through the fences it meets.

use crate::support::{event, scenario};
use trimtab_core::observation::{Answer, Observation, Receipt};
use trimtab_protocol::change::{ChangeStatus, Phase};
use trimtab_protocol::decision::Action;
use trimtab_sim::run::{Driver, Run};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::sidecar;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;

/// A pool that wants some thirty workers and starts with eight.
fn starved(events: &str) -> Scenario {
    let plant =
        "work = { dist = \"lognormal\", mean = \"50ms\", cv = 1.0 }\nalpha = 0.03\nbeta = 0.0008";
    let mut scenario = scenario(120, 8, plant, "points = [[\"0s\", 1.1]]", events);
    scenario.pools[0].slo = 0.84;
    scenario.pools[0].queue_deadline = 0.21;
    scenario
}

fn watched(scenario: &Scenario, league: League) -> (Vec<Observation>, trimtab_sim::run::Outcome) {
    let trace = Trace::draw(scenario, 1);
    let run = Run {
        scenario,
        trace: &trace,
        seed: 1,
        league,
    };
    let mut seen = Vec::new();
    let controller = Box::new(sidecar::controller(scenario));
    let outcome = run.watched(Driver::Controller(controller), &mut |observation, _, _| {
        seen.push(observation.clone());
    });
    (seen, outcome)
}

fn changes(seen: &[Observation]) -> Vec<(Action, Answer<trimtab_protocol::change::ChangeReceipt>)> {
    let receipts = seen.iter().flat_map(|seen| &seen.receipts);
    let of = |receipt: &Receipt| match receipt {
        Receipt::Change { action, answer, .. } => Some((*action, answer.clone())),
        Receipt::Lease { .. } => None,
    };
    receipts.filter_map(of).collect()
}

#[test]
fn the_controller_takes_the_lease_tries_and_confirms_and_the_state_shows_it() {
    let (seen, outcome) = watched(&starved(""), League::Sidecar);
    let kept = |answer: &Answer<trimtab_protocol::change::ChangeReceipt>, status| matches!(answer, Answer::Done { value } if value.status == status);
    let changes = changes(&seen);
    assert!(
        changes
            .iter()
            .any(|(_, answer)| kept(answer, ChangeStatus::Trial))
    );
    assert!(
        changes
            .iter()
            .any(|(_, answer)| kept(answer, ChangeStatus::Confirmed))
    );
    let states = || seen.iter().filter_map(|seen| seen.state.fresh());
    assert!(states().any(|state| state.lease.is_some()));
    assert!(
        states().any(|state| state.pools["main"].phase == Phase::Trial
            && state.pools["main"].trial.is_some())
    );
    let last = states().next_back().unwrap();
    assert!(last.pools["main"].revision.0 > 0 && last.generation.0 > 0);
    assert_eq!((outcome.violations, outcome.unexplained), (0, 0));
    assert!(
        outcome.goodput(0) > 120.0,
        "it outgrows its eight workers: {}",
        outcome.goodput(0)
    );
}

#[test]
fn a_refusing_host_answers_with_a_problem_and_its_open_trial_ends_by_itself() {
    let (seen, outcome) = watched(
        &starved(&event(0, 60, "kind = \"refuse\"")),
        League::Sidecar,
    );
    let refused = changes(&seen)
        .iter()
        .filter(|(_, answer)| matches!(answer, Answer::Refused { .. }))
        .count();
    assert!(refused > 0);
    assert!(
        outcome.changes.iter().all(|(at, _)| *at >= 60.0),
        "{:?}",
        outcome.changes
    );
}

#[test]
fn a_change_by_hand_supersedes_a_trial_and_raises_the_revision() {
    let (seen, outcome) = watched(
        &starved(&event(20, 60, "kind = \"override\"\nworkers = 12")),
        League::Sidecar,
    );
    let at = |second: usize| outcome.seconds[second].settings[0].workers;
    assert_eq!(at(21), 12);
    let state = seen[22]
        .state
        .fresh()
        .or_else(|| seen[23].state.fresh())
        .unwrap();
    assert!(state.pools["main"].revision.0 > 0);
}

#[test]
fn orders_take_time_beside_the_host_and_none_within() {
    for (league, fraction) in [
        (League::Sidecar, 0.05..=0.2),
        (League::InProcess, 0.0..=0.0),
    ] {
        let (_, outcome) = watched(&starved(""), league);
        assert!(!outcome.changes.is_empty());
        for (at, _) in &outcome.changes {
            let late = at - at.floor();
            assert!(fraction.contains(&late), "{league:?}: {at}");
        }
    }
}
