//! The sidecar between a loop that adds hosts and a person who edits knobs: a share of `trimtab-sim outer`.

use crate::support::Watcher;
use trimtab_core::observation::Observation;
use trimtab_protocol::name::KnobName;
use trimtab_sim::outer::{Case, REVERSALS_MAX};
use trimtab_sim::run::Driver;

#[test]
fn neither_a_loop_that_adds_hosts_nor_a_person_who_edits_is_fought() {
    for number in 0..2 {
        let case = Case::draw(number).unwrap();
        let pair = case.play();
        assert_eq!(
            pair.broken(),
            Vec::<String>::new(),
            "host {number}: {pair:?}"
        );
        assert!(pair.with.edits > 3 && pair.with.edits == pair.without.edits);
        assert!(pair.with.host_seconds > 7_200.0, "hosts came and went");
    }
}

#[test]
fn whoever_goes_back_and_forth_over_a_person_is_found() {
    let case = Case::draw(2).unwrap();
    // Every five minutes it goes one up or one down, whatever a person wants.
    let flips = Watcher(|observation: &Observation| {
        let pool = observation.state.fresh()?.pools.get("main")?;
        let workers = pool.knobs.get(KnobName::WORKERS)?.value.as_integer()?;
        let second = observation.at_ms / 1_000;
        (second.is_multiple_of(300)).then_some(if second.is_multiple_of(600) {
            workers + 1
        } else {
            workers - 1
        })
    });
    let half = case.half(Driver::Rival(Box::new(flips)));
    assert!(
        half.overwritten > 0 && half.reversals > REVERSALS_MAX,
        "{half:?}"
    );
}
