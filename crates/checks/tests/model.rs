//! Every order of events, on the host as it is and on hosts with a bug.

use stateright::{Checker, HasDiscoveries, Model};
use trimtab_checks::bug::Bug;
use trimtab_checks::model::{Budget, World};

const PROMISE: &str = "every promise is kept";

/// Two sidecars and time: leases that end, requests that are late, twice, out of order or for nobody any more.
const ZOMBIES: Budget = Budget {
    sent: 4,
    twice: 1,
    seconds: 3,
    sidecar_crashes: 1,
    ..NOTHING
};
/// The host dies under them, and values come that it must not take.
const CRASHES: Budget = Budget {
    sent: 3,
    twice: 1,
    seconds: 2,
    host_crashes: 1,
    freezes: 1,
    wild: 1,
    ..NOTHING
};
/// People who set values.
const PEOPLE: Budget = Budget {
    sent: 3,
    twice: 1,
    seconds: 2,
    pins: 1,
    foreign: 1,
    freezes: 1,
    ..NOTHING
};
const NOTHING: Budget = Budget {
    sent: 0,
    twice: 0,
    seconds: 0,
    sidecar_crashes: 0,
    host_crashes: 0,
    freezes: 0,
    pins: 0,
    foreign: 0,
    wild: 0,
};

/// Explores all of it; how much that was, `--nocapture` shows. Without optimisation it is a part of it.
#[expect(
    clippy::print_stdout,
    reason = "how much was explored is a figure of docs/reliability.md"
)]
fn explore(name: &str, mut budget: Budget) {
    if cfg!(debug_assertions) {
        budget.sent = 3;
        budget.seconds = 2;
        (budget.sidecar_crashes, budget.freezes) = (0, 0);
        (budget.pins, budget.wild) = (0, 0);
    }
    let world = World { bug: None, budget };
    let checker = world.checker().threads(2).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps");
    let broken = checker.discovery(PROMISE);
    assert!(broken.is_none(), "{name}: {broken:?}");
    for reached in [
        "a change is confirmed",
        "a trial expires",
        "a change is refused",
        "a retry is answered",
    ] {
        assert!(
            checker.discovery(reached).is_some(),
            "{name} never gets to where {reached}"
        );
    }
}

#[test]
fn no_order_of_messages_and_deadlines_breaks_a_promise() {
    explore("zombies", ZOMBIES);
}

#[test]
fn no_crash_of_the_host_breaks_a_promise() {
    explore("crashes", CRASHES);
}

#[test]
fn no_operator_and_no_other_hand_is_fought() {
    explore("people", PEOPLE);
}

/// A bug, where it is looked for, and the invariant whose breach has to be found.
const FOUND: [(Bug, Budget, u8); 12] = [
    (Bug::WritesBeforeItChecks, CRASHES, 1),
    (Bug::IgnoresTheEpoch, ZOMBIES, 2),
    (Bug::IgnoresTheInstance, CRASHES, 2),
    (Bug::ForgetsWhatItAnswered, ZOMBIES, 2),
    (Bug::SetsHalfOfAChange, ZOMBIES, 3),
    (Bug::SleepsThroughDeadlines, ZOMBIES, 4),
    (Bug::LetsATrialOutliveItsLease, ZOMBIES, 4),
    (Bug::LeapsBeyondTheRatio, CRASHES, 5),
    (Bug::PutsAFreezeOffDuringATrial, PEOPLE, 12),
    (Bug::ForgetsTheFreeze, CRASHES, 12),
    (Bug::OverlooksForeignValues, PEOPLE, 14),
    (Bug::LiftsPinsForSidecars, PEOPLE, 14),
];

#[test]
fn a_rule_that_is_taken_out_of_the_host_is_missed() {
    for (bug, budget, invariant) in FOUND {
        let world = World {
            bug: Some(bug),
            budget,
        };
        let checker = world
            .checker()
            .threads(2)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let path = checker.discovery(PROMISE);
        let path = path.unwrap_or_else(|| panic!("{bug:?} is not found"));
        let broken = path.last_state().broken.expect("it is broken there");
        assert_eq!(broken.invariant, invariant, "{bug:?}: {path:?}");
    }
    assert_eq!(FOUND.map(|(bug, ..)| bug), Bug::ALL);
}
