//! Bad profiles under load: a share of `trimtab-sim bad-profiles`.

use crate::support::Watcher;
use trimtab_core::observation::Observation;
use trimtab_sim::bad::{Kind, Verdict, cases};
use trimtab_sim::run::Driver;

/// Of the first fifty bad profiles 48 are undone in time on record, and the goal is all of them. Fewer than this is a step back.
const UNDONE_MIN: usize = 47;

#[test]
fn what_a_bad_profile_asks_for_is_undone_or_known() {
    let cases = cases(0, 50).unwrap();
    let verdicts: Vec<Verdict> = trimtab_sim::parallel::map(&cases, |case| case.play());
    let undone = verdicts.iter().filter(|verdict| verdict.is_undone());
    assert!(undone.count() >= UNDONE_MIN, "{verdicts:?}");
    for (case, verdict) in cases.iter().zip(&verdicts) {
        // Beyond bounds that ask for too much nothing goes that does not pay.
        let held = case.kind != Kind::LeastTooLarge || verdict.is_undone();
        assert!(held, "host {}: {verdict:?}", case.number);
    }
    let tried = verdicts.iter().filter(|verdict| verdict.changes > 0);
    assert!(tried.count() > 10, "bad profiles have their effect");
}

#[test]
fn harm_that_stays_is_found() {
    let case = &cases(0, 1).unwrap()[0];
    let breaks = Watcher(|observation: &Observation| {
        let second = observation.state.fresh()?.uptime_ms / 1_000;
        (second >= 150).then_some(1)
    });
    let verdict = case.judge(Driver::Rival(Box::new(breaks)));
    assert!(!verdict.is_undone(), "{verdict:?}");
}
