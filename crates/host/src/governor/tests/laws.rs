//! What holds whatever is asked, in whatever order, at whatever time.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Lease {
        holder: u8,
        ttl_ms: u64,
        renew: bool,
    },
    Release,
    Change {
        pool: u8,
        set: Vec<(u8, u64)>,
        trial_ms: u64,
        skew: u8,
    },
    End {
        confirm: bool,
        back: u64,
        pool: u8,
    },
    Freeze,
    Unfreeze,
    Pin {
        pool: u8,
        knob: u8,
        value: u64,
        for_ms: u64,
    },
    Unpin {
        pool: u8,
        knob: u8,
    },
    Reset(Option<u8>),
    Foreign {
        pool: u8,
        knob: u8,
        value: u64,
    },
    Break(bool),
}

const POOLS: [&str; 2] = ["web", "jobs"];
const KNOBS: [&str; 2] = ["workers", "queue_limit"];

fn pool(index: u8) -> &'static str {
    POOLS[usize::from(index) % 2]
}

fn knob(index: u8) -> &'static str {
    KNOBS[usize::from(index) % 2]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_u64..70, 4 => (0_u64..30).prop_map(|tens| tens * 10), 1 => any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    let duration = || prop_oneof![0_u64..2_000, 0_u64..20_000, 0_u64..8_000_000];
    let set = prop::collection::vec((0_u8..2, value()), 0..3);
    prop_oneof![
        4 => duration().prop_map(Step::Pass),
        4 => (0_u8..3, 400_u64..61_000, any::<bool>())
            .prop_map(|(holder, ttl_ms, renew)| Step::Lease { holder, ttl_ms, renew }),
        1 => Just(Step::Release),
        9 => (0_u8..2, set, 900_u64..20_000, 0_u8..20)
            .prop_map(|(pool, set, trial_ms, skew)| Step::Change { pool, set, trial_ms, skew }),
        6 => (any::<bool>(), 0_u64..3, 0_u8..2)
            .prop_map(|(confirm, back, pool)| Step::End { confirm, back, pool }),
        1 => Just(Step::Freeze),
        2 => Just(Step::Unfreeze),
        1 => (0_u8..2, 0_u8..2, value(), duration())
            .prop_map(|(pool, knob, value, for_ms)| Step::Pin { pool, knob, value, for_ms }),
        1 => (0_u8..2, 0_u8..2).prop_map(|(pool, knob)| Step::Unpin { pool, knob }),
        1 => prop::option::of(0_u8..2).prop_map(Step::Reset),
        1 => (0_u8..2, 0_u8..2, 1_u64..64)
            .prop_map(|(pool, knob, value)| Step::Foreign { pool, knob, value }),
        1 => any::<bool>().prop_map(Step::Break),
    ]
}

/// Does a step. A refused call must change nothing; that is checked here, for every call.
fn run(world: &mut World, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Pass(ms) => world.pass(*ms),
        Step::Lease {
            holder,
            ttl_ms,
            renew,
        } => {
            let epoch = renew.then_some(world.governor.epoch);
            drop(refused_is_unchanged(world, |world| {
                world.lease(&format!("h{holder}"), *ttl_ms, epoch)
            })?);
        }
        Step::Release => {
            let epoch = world.governor.epoch;
            drop(refused_is_unchanged(world, |world| world.release(epoch))?);
        }
        Step::Change {
            pool: index,
            set,
            trial_ms,
            skew,
        } => change(world, pool(*index), set, *trial_ms, *skew)?,
        Step::End {
            confirm,
            back,
            pool: index,
        } => {
            let generation = world.governor.generation.0.saturating_sub(*back);
            let end = if *confirm {
                End::Confirm
            } else {
                End::RollBack
            };
            let request = world.ending(pool(*index));
            let first = world.end(end, generation, &request);
            let status = first.as_ref().map(|receipt| receipt.status);
            if *confirm {
                prop_assert!(status.is_err() || status == Ok(ChangeStatus::Confirmed));
            } else {
                prop_assert_ne!(status, Ok(ChangeStatus::Confirmed));
                prop_assert_ne!(status, Ok(ChangeStatus::Trial));
            }
            prop_assert_eq!(world.end(end, generation, &request), first);
        }
        Step::Freeze => world.freeze(),
        Step::Unfreeze => world.governor.unfreeze(),
        Step::Pin {
            pool: index,
            knob: name,
            value,
            for_ms,
        } => {
            drop(refused_is_unchanged(world, |world| {
                world.pin(pool(*index), knob(*name), *value, *for_ms)
            })?);
        }
        Step::Unpin {
            pool: index,
            knob: name,
        } => {
            drop(refused_is_unchanged(world, |world| {
                world.unpin(pool(*index), knob(*name))
            })?);
        }
        Step::Reset(index) => {
            drop(refused_is_unchanged(world, |world| {
                world.reset(index.map(pool))
            })?);
        }
        Step::Foreign {
            pool: index,
            knob: name,
            value,
        } => {
            if pool(*index) == "web" || knob(*name) == "workers" {
                world.foreign(pool(*index), knob(*name), *value);
            }
        }
        Step::Break(broken) => {
            world.broken = if *broken {
                vec!["workers".into()]
            } else {
                Vec::new()
            };
        }
    }
    Ok(())
}

fn change(
    world: &mut World,
    pool: &str,
    set: &[(u8, u64)],
    trial_ms: u64,
    skew: u8,
) -> Result<(), TestCaseError> {
    let set: Vec<(&str, u64)> = set
        .iter()
        .map(|(index, value)| (knob(*index), *value))
        .collect();
    let mut request = world.request(pool, &set);
    request.trial_ms = trial_ms;
    match skew {
        0 => request.instance = "i0".into(),
        1 => request.epoch = Epoch(request.epoch.0 + 1),
        2 => request.generation = Generation(request.generation.0 - 1),
        3 => request.base_revision = request.base_revision.next(),
        4 => request.generation = Generation(request.generation.0 + 7),
        _ => {}
    }
    let (epoch, generation) = (world.governor.epoch, world.governor.generation);
    let before = world.clone();
    let answer = refused_is_unchanged(world, |world| world.change(&request))?;
    if let Ok(receipt) = &answer {
        prop_assert!(skew >= 4 || skew == 2 && generation.0 > 0);
        let retried = receipt.generation <= generation;
        prop_assert!(retried || !before.governor.frozen, "frozen means frozen");
        prop_assert!(retried || request.epoch >= epoch && request.generation > generation);
    }
    if answer.is_ok() {
        prop_assert_eq!(
            world.change(&request),
            answer,
            "a retry gets the first answer"
        );
    }
    Ok(())
}

/// Runs a call after what is due has been done; when it is refused, the world must look as it did before the call.
fn refused_is_unchanged<T>(
    world: &mut World,
    call: impl FnOnce(&mut World) -> Result<T, Refusal>,
) -> Result<Result<T, Refusal>, TestCaseError> {
    world.prepare();
    let before = world.picture();
    let answer = call(world);
    if answer.is_err() {
        prop_assert_eq!(world.picture(), before, "a refused call changes nothing");
    }
    Ok(answer)
}

fn check(world: &World) -> Result<(), TestCaseError> {
    for (name, pool) in &world.governor.pools {
        for (knob, cell) in &pool.knobs {
            let actual = &world.knobs[&(name.clone(), knob.clone())];
            if let Some(number) = cell.target.as_integer() {
                prop_assert!(
                    (cell.spec.min..=cell.spec.max).contains(&number),
                    "{name} {knob}"
                );
                let actual = actual.as_integer().expect("a number");
                prop_assert!((cell.spec.min..=cell.spec.max).contains(&actual));
            }
            prop_assert!(
                cell.owed.is_some() || *actual == cell.target,
                "{name} {knob}"
            );
            prop_assert!(cell.owed.is_none() || !world.broken.is_empty());
            if pool.trial.is_none() && cell.pinned_until_ns.is_none() {
                prop_assert_eq!(&cell.target, &cell.confirmed, "{} {}", name, knob);
            }
        }
        if let Some(trial) = &pool.trial {
            let ends_ns = world.governor.trial_end_ns(name).expect("open");
            prop_assert!(ends_ns > world.now_ns, "a trial never survives its end");
            prop_assert!(ends_ns <= trial.deadline_ns);
            prop_assert!(!world.governor.frozen && world.governor.lease.is_some());
            let due = world.governor.next_due().expect("a trial is open");
            prop_assert!(due.urgent && due.at_ns <= ends_ns);
        }
        prop_assert!(pool.recent_ns.len() <= 12 && pool.proven.len() <= 64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_after_every_step(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut last = (Epoch(0), Generation(0));
        for step in &steps {
            run(&mut world, step)?;
            if !matches!(step, Step::Break(_)) {
                world.prepare();
                let broken = std::mem::take(&mut world.broken);
                if broken.is_empty() {
                    // What a broken knob was owed is paid within the longest pause.
                    world.sleep(5_000);
                    world.prepare();
                }
                world.broken = broken;
                check(&world)?;
            }
            let accepted = (world.governor.epoch, world.governor.generation);
            prop_assert!(accepted >= last);
            last = accepted;
        }
    }

    #[test]
    fn what_someone_else_sets_during_a_trial_stays(
        first in 4_u64..17, foreign in 1_u64..64, pinned in any::<bool>(), wait_ms in 0_u64..30_000,
        freeze in any::<bool>(), end in any::<bool>(),
    ) {
        prop_assume!(pinned || first != foreign);
        let mut world = World::leased();
        world.try_set("web", &[("workers", first), ("queue_limit", 200)]).expect("taken");
        if pinned {
            world.pin("web", "workers", foreign, 60_000).expect("within");
        } else {
            world.foreign("web", "workers", foreign);
        }
        world.pass(wait_ms);
        if freeze { world.freeze(); }
        drop(if end { world.confirm(1) } else { world.roll_back(1) });
        drop(world.lease("a", 60_000, None));
        prop_assert_eq!(world.value("web", "workers"), foreign);
        prop_assert_eq!(world.value("web", "queue_limit"), 100);
    }

    #[test]
    fn a_step_to_the_baseline_always_arrives(
        now in 0_u64..2_000, baseline in 0_u64..100, granularity in 1_u64..9, ratio in 10_001_u32..40_000,
    ) {
        let spec = KnobSpec {
            granularity,
            max_ratio_bp: ratio,
            ..KnobSpec::integer("workers", "", baseline, 0, 1_000)
        };
        let mut knob = Knob::new(spec, Shrink::Drains);
        knob.target = KnobValue::Integer(now);
        for _ in 0..2_100 {
            if knob.target == knob.spec.baseline {
                return Ok(());
            }
            let next = knob.step_to_baseline();
            let far = |value: &KnobValue| value.as_integer().expect("a number").abs_diff(baseline);
            prop_assert!(far(&next) < far(&knob.target));
            knob.target = next;
        }
        prop_assert!(false, "still at {:?}", knob.target);
    }
}
