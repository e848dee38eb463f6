//! Simulated hours of a whole system under faults, and hosts with a bug that must be found in them.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use trimtab_checks::bug::Bug;
use trimtab_checks::campaign::{Fault, Tally, run};
use trimtab_sys::clock::boot_ns;

/// One history is an hour.
const HISTORY_S: u64 = 3_600;
/// How many controller-hours a plain run of the tests takes; `CAMPAIGN_HOURS` says otherwise.
const HOURS: u64 = if cfg!(debug_assertions) { 4 } else { 40 };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// `CAMPAIGN_HOURS` and `CAMPAIGN_SEED` choose how much and where it begins.
#[test]
fn no_hour_under_faults_breaks_a_promise() {
    let ticks = number("CAMPAIGN_HOURS").unwrap_or(HOURS) * 3_600;
    let seed = AtomicU64::new(number("CAMPAIGN_SEED").unwrap_or(1));
    let sum = Mutex::new(Tally::default());
    let began_ns = boot_ns();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while sum.lock().expect("no panic").ticks < ticks {
                    let tally = run(seed.fetch_add(1, Ordering::Relaxed), HISTORY_S, None);
                    let tally = tally.unwrap_or_else(|failure| panic!("{failure}"));
                    sum.lock().expect("no panic").add(&tally);
                }
            });
        }
    });
    let sum = sum.into_inner().expect("no panic");
    let (hours, seconds) = (
        sum.ticks as f64 / 3_600.0,
        (boot_ns() - began_ns) as f64 / 1e9,
    );
    println!(
        "{hours:.0} controller-hours in {seconds:.0} s, {:.1} a second",
        hours / seconds
    );
    println!("{sum:?}");
    for fault in Fault::ALL {
        assert!(sum.faults[fault as usize] > 0, "{fault:?} never happened");
    }
    // The last three come a few times in ten hours.
    let enough = if hours < 30.0 { 2 } else { 5 };
    let counts = [
        ("tried", sum.tried),
        ("confirmed", sum.confirmed),
        ("ended by the host", sum.expired),
        ("refused", sum.refused),
        ("answered again", sum.repeated),
    ];
    for (what, count) in counts.into_iter().take(enough) {
        assert!(count > 0, "no change was {what}");
    }
}

#[test]
fn a_history_can_be_seen_again_by_its_seed() {
    assert_eq!(run(7, 900, None), run(7, 900, None));
    assert_ne!(run(7, 900, None), run(8, 900, None));
}

/// A bug, and the invariants of which one must be found broken: a host without a rule may break more than that rule's.
const FOUND: [(Bug, &[u8]); 12] = [
    (Bug::WritesBeforeItChecks, &[1]),
    (Bug::IgnoresTheEpoch, &[2]),
    (Bug::IgnoresTheInstance, &[2]),
    (Bug::ForgetsWhatItAnswered, &[2, 4]),
    (Bug::SetsHalfOfAChange, &[3]),
    (Bug::SleepsThroughDeadlines, &[2, 3, 4]),
    (Bug::LetsATrialOutliveItsLease, &[2, 4]),
    (Bug::LeapsBeyondTheRatio, &[5, 3]),
    (Bug::PutsAFreezeOffDuringATrial, &[12]),
    (Bug::ForgetsTheFreeze, &[12]),
    (Bug::OverlooksForeignValues, &[4, 14]),
    (Bug::LiftsPinsForSidecars, &[14]),
];

#[test]
fn a_rule_that_is_taken_out_of_the_host_is_missed_within_hours() {
    // Without optimisation only a few, so that plain tests stay short; `cargo xtask ci` runs all of them.
    let bugs = if cfg!(debug_assertions) {
        2
    } else {
        FOUND.len()
    };
    for (bug, invariants) in FOUND.into_iter().take(bugs) {
        let found = (1..=400).find_map(|seed| run(seed, HISTORY_S, Some(bug)).err());
        let found = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
        assert!(
            invariants.contains(&found.broken.invariant),
            "{bug:?}: {found}"
        );
        let again = run(found.seed, HISTORY_S, Some(bug)).expect_err("the seed shows it again");
        assert_eq!(again, found);
    }
    assert_eq!(FOUND.map(|(bug, _)| bug), Bug::ALL);
}

#[test]
fn a_sidecar_that_sends_before_it_has_written_is_found() {
    let bug = Some(Bug::SendsBeforeItIsWritten);
    let found = (1..=400).find_map(|seed| run(seed, HISTORY_S, bug).err());
    assert_eq!(found.expect("it is found").broken.invariant, 11);
}
