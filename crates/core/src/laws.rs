//! Laws that hold for every history, checked over a million hostile ticks; and for each law a seeded bug that breaks it, so
//! that a check which cannot fail would be found.

use crate::model_host::{Model, Plant};
use crate::testing::{Fault, Seeded};
use std::collections::{BTreeMap, VecDeque};
use trimtab_protocol::decision::{Absence, Action, Mode, Reason};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{Generation, KnobName, PoolName};

use crate::decision::{Decision, Step};
use crate::observation::{Observation, Reading};

/// Ticks of hostile histories.
const TICKS: u64 = 1_000_000;
/// Histories that are run at a time.
const LANES: usize = 4;
/// Ticks of one history.
const HISTORY: u64 = 1_000;
const MINUTE_NS: u64 = 60_000_000_000;

/// A small generator: the same seed gives the same history on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn share(&mut self) -> f64 {
        self.below(1_000_000) as f64 / 1e6
    }
}

/// A law that a history broke.
type Broken = String;

/// What the checks remember of one pool.
#[derive(Default)]
struct Watch {
    changes: VecDeque<u64>,
    undone: Option<Generation>,
}

impl Watch {
    fn note(&mut self, now_ns: u64) -> usize {
        self.changes.push_back(now_ns);
        while self
            .changes
            .front()
            .is_some_and(|at| now_ns - at >= MINUTE_NS)
        {
            self.changes.pop_front();
        }
        self.changes.len()
    }
}

/// The host before a tick.
struct Before {
    frozen: bool,
    /// Workers and their baseline.
    sizes: BTreeMap<PoolName, (u64, u64)>,
}

impl Before {
    fn of(model: &Model) -> Self {
        let sizes = model.pools.iter().map(|(name, pool)| {
            let knob = &pool.state.knobs[KnobName::WORKERS];
            let number = |value: &KnobValue| value.as_integer().unwrap();
            (name.clone(), (number(&knob.value), number(&knob.baseline)))
        });
        Self {
            frozen: model.frozen,
            sizes: sizes.collect(),
        }
    }
}

/// Checks the orders of one tick. `readable` says whether the pools' figures could be read in it.
fn check(
    decision: &Decision,
    before: &Before,
    readable: bool,
    watch: &mut Watch,
) -> Result<(), Broken> {
    let mut probes = 0;
    for step in &decision.orders.steps {
        let ours = step.pool().as_str() == "a";
        let generation = match step {
            Step::Try(plan) => Some(plan.generation()),
            // The same undoing is asked for until the host has heard it.
            Step::RollBack(trial) if ours && watch.undone != Some(trial.generation) => {
                watch.undone = Some(trial.generation);
                Some(trial.generation)
            }
            Step::RollBack(_) | Step::Confirm(_) => None,
        };
        if ours && generation.is_some() {
            let count = watch.note(decision.at.as_boot_ns());
            if count > 12 {
                return Err(format!("rate: {count} changes in a minute"));
            }
        }
        let Step::Try(plan) = step else { continue };
        let Some(to) = plan
            .set()
            .get(KnobName::WORKERS)
            .and_then(|value| value.as_integer())
        else {
            continue;
        };
        let (from, baseline) = before.sizes[plan.pool()];
        let (least, most) = (baseline.clamp(1, 2), baseline.clamp(256, 512));
        // A value that someone put outside goes back in by steps.
        let outside = |size: u64| size.saturating_sub(most).max(least.saturating_sub(size));
        if outside(to) > 0 && outside(to) >= outside(from) {
            return Err(format!("bounds: {to} is not within {least} and {most}"));
        }
        if to != baseline && to.max(from) > 2 * to.min(from) {
            return Err(format!("step: from {from} to {to}"));
        }
        if !readable {
            return Err(format!("blind: from {from} to {to} without figures"));
        }
        if before.frozen {
            return Err(format!("stop: {to} was tried on a frozen host"));
        }
        let reason = decision.records.iter().find(|(pool, record)| {
            pool.as_ref() == Some(plan.pool()) && record.action == Action::Try
        });
        probes += usize::from(reason.is_some_and(|(_, record)| !is_return(&record.reason)));
    }
    if probes > 1 {
        return Err(format!("turns: {probes} probes in one tick"));
    }
    Ok(())
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

/// Runs one hostile history, or tells which law it broke and when.
fn hostile(seed: u64, ticks: u64) -> Result<(), Broken> {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let plant = Plant {
        service_s: 0.005 + 0.5 * dice.share(),
        knee: 2.0 + 200.0 * dice.share(),
        thrash: 0.1 * dice.share(),
        arrivals_per_s: 600.0 * dice.share(),
    };
    let start = 2 + dice.below(254);
    let mut model = Model::new(Mode::Act, &[("a", plant, start), ("b", plant, start)]);
    let mut watch = Watch::default();
    let (mut trouble, mut left) = (0, 0);
    for tick in 0..ticks {
        if left == 0 {
            (trouble, left) = (dice.below(30), 1 + dice.below(20));
            disturb(&mut model, &mut dice, trouble, &mut watch);
        }
        left -= 1;
        let before = Before::of(&model);
        let readable = !matches!(trouble, 0 | 2);
        model.tick(|observation| spoil(observation, trouble));
        let decision = model.decisions.pop().unwrap();
        check(&decision, &before, readable, &mut watch)
            .map_err(|broken| format!("{broken} (history {seed}, tick {tick})"))?;
    }
    Ok(())
}

/// What happens to the host now and then.
fn disturb(model: &mut Model, dice: &mut Dice, trouble: u64, watch: &mut Watch) {
    match trouble {
        4 => {
            model.restart(&format!("instance {}", model.now_ns));
            watch.changes.clear();
        }
        5 => model.operator_sets("a", 1 + dice.below(300)),
        6 => model.expire_trials(),
        7 => {
            model.frozen = !model.frozen;
            if model.frozen {
                model.expire_trials();
            }
        }
        8 => model.memory_share = 1.2 * dice.share(),
        9 => model.cpu_share = 1.2 * dice.share(),
        10..=14 => {
            let load = 2_000.0 * dice.share() * dice.share();
            model
                .pools
                .values_mut()
                .for_each(|pool| pool.plant.arrivals_per_s = load);
        }
        15 => {
            let service_s = 0.005 + 0.5 * dice.share();
            model
                .pools
                .values_mut()
                .for_each(|pool| pool.plant.service_s = service_s);
        }
        16 => model.frozen = false,
        _ => {}
    }
}

/// What reaches the sidecar of it.
fn spoil(observation: &mut Observation, trouble: u64) {
    if trouble == 0 {
        observation.state = Reading::Absent {
            absence: Absence::TimedOut,
        };
        return;
    }
    let Reading::Fresh { value } = &mut observation.state else {
        return;
    };
    match trouble {
        1 => observation.receipts.clear(),
        2 => value
            .pools
            .values_mut()
            .for_each(|pool| pool.counters.busy_us = None),
        3 => value
            .pools
            .values_mut()
            .for_each(|pool| pool.counters.completed = Some(0)),
        _ => {}
    }
}

fn run(plant: Plant, start: u64, seconds: u64) -> Model {
    let mut model = Model::new(Mode::Act, &[("a", plant, start)]);
    model.run(seconds);
    model
}

/// Every known kind of plant, from starts far below and far above.
fn known_plants() -> Vec<(Plant, u64)> {
    let mut known = Vec::new();
    for service_s in [0.01, 0.05, 0.2] {
        for (knee, thrash) in [(8.0, 0.03), (24.0, 0.0), (60.0, 0.005), (1_000.0, 0.0)] {
            for start in [4, 24, 120] {
                let peak = f64::min(knee, 120.0) / service_s;
                let plant = Plant {
                    service_s,
                    knee,
                    thrash,
                    arrivals_per_s: 1.2 * peak,
                };
                known.push((plant, start));
            }
        }
    }
    known
}

/// Whether a pool ends up doing at least nine tenths of what the best size does.
fn converges(plant: Plant, start: u64) -> Result<(), Broken> {
    let model = run(plant, start, 240);
    let best = (1..=256)
        .map(|size| plant.throughput(f64::from(size)))
        .fold(0.0, f64::max);
    let size = model.workers("a");
    let done = plant.throughput(size as f64);
    let due = 0.9 * best.min(plant.arrivals_per_s);
    if done < due {
        return Err(format!(
            "convergence: {size} workers do {done:.0} of {best:.0} a second, from {start}, {plant:?}"
        ));
    }
    Ok(())
}

/// Whether a pool on a steady plant stops changing.
fn rests(plant: Plant, start: u64) -> Result<(), Broken> {
    let model = run(plant, start, 360);
    let tries = |from: usize| {
        let late = model.decisions[from..].iter();
        late.flat_map(|decision| &decision.orders.steps)
            .filter(|step| matches!(step, Step::Try(_)))
            .count()
    };
    let late = tries(180);
    if late > 12 {
        return Err(format!(
            "flapping: {late} trials in the last three minutes, {plant:?}"
        ));
    }
    Ok(())
}

fn quiet(load: f64) -> Result<(), Broken> {
    let plant = Plant {
        service_s: 0.05,
        knee: 24.0,
        thrash: 0.0,
        arrivals_per_s: load,
    };
    let model = run(plant, 10, 300);
    let steps = model
        .decisions
        .iter()
        .map(|decision| decision.orders.steps.len())
        .sum::<usize>();
    if steps > 0 || model.workers("a") != 10 {
        return Err(format!("quiet: {steps} steps at {load} a second"));
    }
    Ok(())
}

fn same_twice() -> Result<(), Broken> {
    let plant = Plant {
        service_s: 0.05,
        knee: 24.0,
        thrash: 0.01,
        arrivals_per_s: 600.0,
    };
    let (first, second) = (run(plant, 6, 120), run(plant, 6, 120));
    if first.decisions == second.decisions {
        Ok(())
    } else {
        Err("replay: the same history gave other decisions".to_owned())
    }
}

#[test]
fn no_hostile_history_breaks_a_law() {
    // Each history is its own, so they need not wait for each other.
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                for seed in (0..TICKS / HISTORY).skip(lane).step_by(LANES) {
                    hostile(seed + 1, HISTORY).unwrap();
                }
            });
        }
    });
}

#[test]
fn every_known_plant_is_learnt_from_every_start() {
    for (plant, start) in known_plants() {
        converges(plant, start).unwrap();
    }
}

#[test]
fn a_steady_plant_is_left_alone() {
    for (plant, start) in known_plants() {
        rests(plant, start).unwrap();
    }
}

#[test]
fn hardly_any_load_is_left_alone() {
    [0.0, 0.5, 2.0]
        .into_iter()
        .for_each(|load| quiet(load).unwrap());
}

#[test]
fn the_same_history_gives_the_same_plan() {
    same_twice().unwrap();
}

/// Runs hostile histories with a bug until one breaks a law, and answers which.
fn hostile_law(fault: Fault) -> String {
    let _seeded = Seeded::new(fault);
    let broken = (1..=300).find_map(|seed| hostile(seed, HISTORY).err());
    broken.unwrap_or_default()
}

#[test]
fn a_bug_in_the_guard_is_found() {
    let expected = [
        (Fault::NoBounds, "bounds"),
        (Fault::NoStep, "step"),
        (Fault::NoRate, "rate"),
        (Fault::NoTurns, "turns"),
        (Fault::ShrinksBlind, "blind"),
        (Fault::IgnoresFreeze, "stop"),
    ];
    for (fault, law) in expected {
        let broken = hostile_law(fault);
        assert!(broken.starts_with(law), "{fault:?} broke `{broken}`");
    }
}

#[test]
fn a_bug_in_the_policy_is_found() {
    let found = |fault: Fault, law: &dyn Fn() -> Result<(), Broken>| {
        let _seeded = Seeded::new(fault);
        law().err().unwrap_or_default()
    };
    let learns = || {
        known_plants()
            .into_iter()
            .try_for_each(|(plant, start)| converges(plant, start))
    };
    let still = || {
        known_plants()
            .into_iter()
            .try_for_each(|(plant, start)| rests(plant, start))
    };
    assert!(found(Fault::KeepsLosses, &learns).starts_with("convergence"));
    assert!(found(Fault::NeverRests, &still).starts_with("flapping"));
    assert!(found(Fault::Fidgets, &|| quiet(2.0)).starts_with("quiet"));
    assert!(found(Fault::RollsDice, &same_twice).starts_with("replay"));
}
