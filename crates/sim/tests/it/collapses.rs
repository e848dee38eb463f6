//! Hosts whose own crowd keeps them from ending anything in time, and the controller that must get them out.
//!
//! Each was drawn at random, and an earlier controller lost it: one stayed stuck for ever, one was put back into its collapse again
//! and again.

use trimtab_sim::oracle::best;
use trimtab_sim::player::Player;
use trimtab_sim::run::{Outcome, Run};
use trimtab_sim::scenario::Scenario;
use trimtab_sim::trace::Trace;
use trimtab_sim::world::League;

/// The product's controller in a host of 64 workers.
fn tuned(slo_ms: u64, plant: &str, load: &str) -> Outcome {
    let text = format!(
        "name = \"drawn\"\nduration = \"300s\"\nstart = 64\nmin = 1\nmax = 512\noperator = 16\nslo = \"{slo_ms}ms\"\n\
         queue_limit = 2000\nqueue_deadline = \"{}ms\"\n[plant]\n{plant}\n[load]\npoints = [{load}]\n",
        slo_ms / 4
    );
    let scenario = Scenario::parse(&text, "test").unwrap();
    // The product's controller asks for no best size.
    let any = best(&Scenario {
        duration: 5.0,
        ..scenario.clone()
    });
    let trace = Trace::draw(&scenario, 1);
    let run = Run {
        scenario: &scenario,
        trace: &trace,
        seed: 1,
        league: League::Sidecar,
    };
    Player::parse("trimtab")
        .unwrap()
        .watch(&run, &any, &mut |_, _, _| ())
}

/// What was in time in the last half, as a share of all jobs that were done or lost there.
fn in_time(outcome: &Outcome, load_per_s: f64) -> f64 {
    let good = outcome.pools[0].good[150..]
        .iter()
        .map(|count| f64::from(*count));
    good.sum::<f64>() / (150.0 * load_per_s)
}

#[test]
fn a_surge_into_a_timeout_of_calmer_times_is_survived() {
    let plant =
        "work = { dist = \"constant\", mean = \"128.263ms\" }\ncores = 4\ncpu_share = 0.995";
    let load = "[\"0s\", 0.56], [\"74s\", 0.56], [\"74s\", 1.85]";
    let share = in_time(&tuned(766, plant, load), 58.0);
    // Four cores do 31 of the 58 a second; without a way out it was none for ever.
    assert!(share > 0.4, "{share}");
}

#[test]
fn a_pool_in_which_nothing_is_in_time_comes_down_and_stays_down() {
    let plant =
        "work = { dist = \"constant\", mean = \"443.232ms\" }\ncapacity = 5\ncpu_share = 0.02";
    let share = in_time(&tuned(2_659, plant, "[\"0s\", 0.88]"), 9.9);
    assert!(share > 0.9, "{share}");
}
