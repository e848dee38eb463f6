//! Laws that hold for every history, however hostile.

use crate::model::{Model, Plant};
use proptest::prelude::*;
use trimtab_core::decision::Step;
use trimtab_core::observation::Reading;
use trimtab_protocol::decision::{Absence, Action, Mode, Reason};
use trimtab_protocol::name::{KnobName, PoolName};

#[derive(Clone, Debug)]
enum Event {
    Quiet,
    Absent,
    Stale,
    Backwards,
    Vanished,
    Restart,
    OperatorSets(u64),
    Expire,
    Freeze(bool),
    Load(f64),
    Memory(f64),
    Cpu(f64),
    LoseReceipts,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Quiet),
        1 => Just(Event::Absent),
        1 => Just(Event::Stale),
        1 => Just(Event::Backwards),
        1 => Just(Event::Vanished),
        1 => Just(Event::Restart),
        1 => (1_u64..300).prop_map(Event::OperatorSets),
        1 => Just(Event::Expire),
        1 => any::<bool>().prop_map(Event::Freeze),
        2 => (0.0_f64..2_000.0).prop_map(Event::Load),
        1 => (0.0_f64..1.2).prop_map(Event::Memory),
        1 => (0.0_f64..1.2).prop_map(Event::Cpu),
        1 => Just(Event::LoseReceipts),
    ]
}

fn apply(model: &mut Model, event: &Event, seconds: u64) {
    for _ in 0..seconds {
        match event {
            Event::Absent => {
                model.tick(|observation| {
                    observation.state = Reading::Absent {
                        absence: Absence::TimedOut,
                    }
                });
            }
            Event::Stale => model.tick(|observation| spoil(observation, |state| state.at_ns = 1)),
            Event::Backwards => model.tick(|observation| {
                spoil(observation, |state| {
                    state
                        .pools
                        .values_mut()
                        .for_each(|pool| pool.counters.completed = Some(0));
                });
            }),
            Event::Vanished => model.tick(|observation| {
                spoil(observation, |state| {
                    state
                        .pools
                        .values_mut()
                        .for_each(|pool| pool.counters.busy_us = None);
                });
            }),
            Event::LoseReceipts => model.tick(|observation| observation.receipts.clear()),
            Event::Load(load) => {
                model
                    .pools
                    .values_mut()
                    .for_each(|pool| pool.plant.arrivals_per_s = *load);
                model.run(1);
            }
            Event::Memory(share) => {
                model.memory_share = *share;
                model.run(1);
            }
            Event::Cpu(share) => {
                model.cpu_share = *share;
                model.run(1);
            }
            Event::Restart
            | Event::OperatorSets(_)
            | Event::Expire
            | Event::Freeze(_)
            | Event::Quiet => {
                model.run(1);
            }
        }
    }
}

fn spoil(
    observation: &mut trimtab_core::observation::Observation,
    edit: impl FnOnce(&mut trimtab_protocol::state::HostState),
) {
    if let Reading::Fresh { value } = &mut observation.state {
        edit(value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_history_leads_out_of_bounds_too_far_or_too_often(
        service_s in 0.005_f64..0.5, knee in 2.0_f64..200.0, thrash in 0.0_f64..0.1, start in 2_u64..256,
        events in prop::collection::vec((event(), 1_u64..12), 1..60),
    ) {
        let plant = Plant { service_s, knee, thrash, arrivals_per_s: 300.0 };
        let mut model = Model::new(Mode::Act, &[("a", plant, start), ("b", plant, start)]);
        let mut tries: Vec<(PoolName, u64)> = Vec::new();
        for (event, seconds) in &events {
            match event {
                Event::Restart => {
                    model.restart(&format!("instance {}", model.now_ns));
                    tries.clear();
                }
                Event::OperatorSets(workers) => model.operator_sets("a", *workers),
                Event::Expire => model.expire_trials(),
                Event::Freeze(frozen) => {
                    model.frozen = *frozen;
                    if *frozen { model.expire_trials(); }
                }
                _ => {}
            }
            let before = model.decisions.len();
            let least: Vec<u64> = ["a", "b"].map(|pool| settled(&model, pool)).to_vec();
            apply(&mut model, event, *seconds);
            for decision in &model.decisions[before..] {
                check_orders(decision, &mut tries, &model)?;
            }
            if matches!(event, Event::Vanished | Event::Absent) {
                for (pool, least) in ["a", "b"].iter().zip(least) {
                    let size = model.workers(pool);
                    prop_assert!(size >= least, "{pool} went to {size} blind, below {least}");
                }
            }
        }
    }
}

/// What a pool comes to without anything new: an open trial may be undone, however far it went, but no more than that.
fn settled(model: &Model, pool: &str) -> u64 {
    let state = &model.pools[pool].state;
    let undone = state
        .trial
        .as_ref()
        .map(|trial| trial.before[KnobName::WORKERS].as_integer().unwrap());
    model.workers(pool).min(undone.unwrap_or(u64::MAX))
}

/// The host takes its baseline back at any step. Such a return may be open when the figures go away, and the way back from it is
/// as long.
#[test]
fn a_return_to_the_baseline_that_is_undone_blind_ends_where_it_began() {
    let plant = Plant {
        service_s: 0.031,
        knee: 1_000.0,
        thrash: 0.0,
        arrivals_per_s: 400.0,
    };
    let mut model = Model::new(Mode::Act, &[("a", plant, 182)]);
    // Before it is warm, what someone set is only what was found; the baseline stays the size that people chose.
    model.operator_sets("a", 61);
    model.run(12);
    model.pools.get_mut("a").unwrap().plant.arrivals_per_s = 5_000.0;
    while settled(&model, "a") == model.workers("a") {
        model.run(1);
        assert!(model.now_ns < 150_000_000_000, "the surge is not answered");
    }
    assert_eq!((model.workers("a"), settled(&model, "a")), (182, 61));
    model.expire_trials();
    apply(&mut model, &Event::Absent, 10);
    assert_eq!(model.workers("a"), 61);
}

fn is_return(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Surge { .. }
            | Reason::Suspicious { .. }
            | Reason::ServiceChanged { .. }
            | Reason::KnownAgain { .. }
            | Reason::MemoryForbids { .. }
    )
}

fn check_orders(
    decision: &trimtab_core::decision::Decision,
    tries: &mut Vec<(PoolName, u64)>,
    model: &Model,
) -> Result<(), TestCaseError> {
    let mut begun = 0;
    for step in &decision.orders.steps {
        if let Step::Try(plan) = step {
            begun += 1;
            tries.push((plan.pool().clone(), decision.at.as_boot_ns()));
            let to = plan.set()[KnobName::WORKERS].as_integer().unwrap();
            prop_assert!((1..=512).contains(&to));
            let baseline = model.pools[plan.pool()].state.knobs[KnobName::WORKERS]
                .baseline
                .as_integer()
                .unwrap();
            prop_assert!(
                to >= baseline.min(2) && to <= baseline.max(256),
                "{to} outside the profile"
            );
            let record = decision
                .records
                .iter()
                .find(|(pool, _)| pool.as_ref() == Some(plan.pool()));
            let change = record
                .and_then(|(_, record)| record.change.clone())
                .expect("a change is explained");
            let values = &change.set[KnobName::WORKERS];
            let (from, to) = (
                values.from.as_integer().unwrap(),
                values.to.as_integer().unwrap(),
            );
            // The host takes its baseline back at any step.
            prop_assert!(
                to == baseline || to.max(from) <= 2 * to.min(from),
                "{from} to {to} is more than double"
            );
        }
    }
    // One probe at a time; a return to what people chose waits for nobody, but begins at most once a pool.
    let probes = decision
        .records
        .iter()
        .filter(|(_, record)| record.action == Action::Try && !is_return(&record.reason));
    prop_assert!(
        probes.count() <= 1 && begun <= 2,
        "{begun} trials begun in one tick"
    );
    for pool in model.pools.keys() {
        let recent = |at: u64| decision.at.as_boot_ns() - at < 60_000_000_000;
        let minute = tries
            .iter()
            .filter(|(of, at)| of == pool && recent(*at))
            .count();
        prop_assert!(minute <= 12, "{minute} trials of {pool} in a minute");
    }
    Ok(())
}
