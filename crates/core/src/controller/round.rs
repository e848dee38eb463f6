//! One tick of all pools: trials first, then at most one pool begins a new one.

use super::others::OthersTick;
use super::rules::Asked;
use super::tuner::{Choice, PoolTick, Tuner};
use super::{Controller, WARM_UP_TICKS, tunable};
use crate::decision::Step;
use crate::observation::Observation;
use crate::signal::HostSignals;
use crate::window::PoolDelta;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_protocol::decision::{Absence, Action, Reason};
use trimtab_protocol::name::{Generation, PoolName};
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::DecisionRecord;

/// What a pool did since the last observation, or which figure is missing for that, and why.
pub(super) type PoolReading = Result<Arc<PoolDelta>, (&'static str, Absence)>;

/// The readings of all pools with workers, in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Deltas<'s>(Vec<(&'s PoolName, PoolReading)>);

impl<'s> FromIterator<(&'s PoolName, PoolReading)> for Deltas<'s> {
    fn from_iter<I: IntoIterator<Item = (&'s PoolName, PoolReading)>>(readings: I) -> Self {
        Self(readings.into_iter().collect())
    }
}

impl Deltas<'_> {
    /// The reading of one pool.
    pub(super) fn get(&self, name: &PoolName) -> Option<&PoolReading> {
        let reading = self.0.iter().find(|(of, _)| *of == name);
        reading.map(|(_, reading)| reading)
    }

    /// Those that could be made.
    pub(super) fn good(&self) -> impl Iterator<Item = &PoolDelta> {
        let readings = self
            .0
            .iter()
            .filter_map(|(_, reading)| reading.as_ref().ok());
        readings.map(Arc::as_ref)
    }
}

/// What is decided about all pools, before it becomes a [`crate::decision::Decision`].
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) records: Vec<(Option<PoolName>, DecisionRecord)>,
    pub(super) steps: Vec<Step>,
}

impl Controller {
    /// One record a pool; two where a trial ends and the next one begins. Trials come first, for protection never waits; then at
    /// most one pool begins a new one, and one in which work waits before others.
    pub(super) fn decide_pools(
        &mut self,
        observation: &Observation,
        state: &HostState,
        signals: &HostSignals,
        deltas: &Deltas<'_>,
    ) -> Round {
        let mut tuners = self.tuners_of(state);
        let ticks = self.ticks(observation, state, signals, deltas);
        observe_pools(&mut tuners, &ticks);
        let mut round = Round::default();
        let (following, mut waiting) = decide_trials(&mut tuners, &ticks, &mut round);
        let mut probing = probing(&tuners);
        let mut generation = self.generation.max(state.generation).next();
        let mut issued = None;
        // A pool whose trial has just paid may go on in the same tick, for the host takes a confirmation and the next change; but
        // not past a pool in which work waits.
        for tick in following {
            let contended = is_contended(&tuners, tick.name);
            let Some(tuner) = tuners.get_mut(tick.name) else {
                continue;
            };
            if contended && !tuner.is_waiting() {
                continue;
            }
            let choice = self.decide_new(state, tuner, tick, probing.as_ref(), generation);
            if choice.action == Action::Try {
                issued = Some(generation);
                generation = generation.next();
                round.add(tuner, choice, tick);
            } else if matches!(choice.reason, Reason::ProfileChosen { .. }) {
                // The confirmation is this tick's record, so this is said at the next.
                tuner.new_profile = Some(choice.reason);
            }
        }
        waiting.sort_by_key(|tick| {
            let tuner = tuners.get(tick.name);
            tuner.map(|tuner| (!tuner.is_waiting(), tuner.last_probe))
        });
        for tick in waiting {
            let Some(tuner) = tuners.get_mut(tick.name) else {
                continue;
            };
            let choice = self.decide_new(state, tuner, tick, probing.as_ref(), generation);
            if choice.action == Action::Try {
                issued = Some(generation);
                generation = generation.next();
                probing = Some(tick.name.clone());
            }
            round.add(tuner, choice, tick);
        }
        let asked = asked_elsewhere(&tuners, &ticks);
        self.tuners = tuners;
        let reading = (observation, state, signals, deltas);
        let free = issued.is_none().then_some(generation);
        let begun = self.decide_others(reading, (free, &asked), &mut round);
        issued = begun.or(issued);
        self.generation = issued.unwrap_or(self.generation);
        round.in_order()
    }

    /// The tuners of the pools that the host has, with the profiles that they follow.
    fn tuners_of(&mut self, state: &HostState) -> BTreeMap<PoolName, Tuner> {
        let mut tuners = std::mem::take(&mut self.tuners);
        tuners.retain(|name, _| state.pools.contains_key(name));
        self.choices.tell(&mut tuners);
        tuners
    }

    /// The pools without workers; the number of the change that was begun, if one was.
    fn decide_others(
        &mut self,
        (observation, state, signals, deltas): (
            &Observation,
            &HostState,
            &HostSignals,
            &Deltas<'_>,
        ),
        (generation, asked): (Option<Generation>, &[Asked]),
        round: &mut Round,
    ) -> Option<Generation> {
        let at_work = |tuner: &Tuner| tuner.is_probing() || tuner.is_waiting();
        let quiet = !self.tuners.values().any(at_work);
        let tick = OthersTick {
            observation,
            state,
            signals,
            deltas,
            generation,
            quiet,
            asked,
        };
        let mut others = std::mem::take(&mut self.others);
        let begun = others.decide(self, &tick, round);
        self.others = others;
        generation.filter(|_| begun)
    }

    fn ticks<'a>(
        &'a self,
        observation: &'a Observation,
        state: &'a HostState,
        signals: &'a HostSignals,
        deltas: &'a Deltas<'a>,
    ) -> Vec<PoolTick<'a>> {
        let tick = |(name, pool)| {
            let delta = match deltas.get(name) {
                Some(Ok(delta)) => Ok(delta),
                Some(Err(absence)) => Err(*absence),
                None => Err(("at_ns", Absence::NotYet)),
            };
            Some(PoolTick {
                now: observation.at,
                name,
                pool,
                delta,
                profile: self.profile_of(name, pool)?,
                signals,
                receipts: &observation.receipts,
                interval: self.settings.interval,
                warm: self.warm_ticks >= WARM_UP_TICKS,
                frozen: self.frozen,
            })
        };
        tunable(state).filter_map(tick).collect()
    }
}

impl Round {
    /// Rollbacks and confirmations before trials, and pools in the order of their names.
    fn in_order(mut self) -> Self {
        self.steps.sort_by_key(|step| matches!(step, Step::Try(_)));
        self.records.sort_by(|left, right| left.0.cmp(&right.0));
        self
    }

    fn add(&mut self, tuner: &Tuner, mut choice: Choice, tick: &PoolTick<'_>) {
        self.steps.extend(choice.step.take());
        self.records
            .push((Some(tick.name.clone()), tuner.record(choice, tick)));
    }
}

/// Lets every pool take in its tick. When a trial has ended, what the other pools did meanwhile is about both.
fn observe_pools(tuners: &mut BTreeMap<PoolName, Tuner>, ticks: &[PoolTick<'_>]) {
    let before = probing(tuners);
    for tick in ticks {
        tuners.entry(tick.name.clone()).or_default().observe(tick);
    }
    if before.is_some() && probing(tuners) != before {
        let others = tuners
            .iter_mut()
            .filter(|(name, _)| Some(*name) != before.as_ref());
        others.for_each(|(_, tuner)| tuner.void_window());
    }
}

/// What the pools' triggers ask for, of knobs that are not those pools' own.
fn asked_elsewhere(tuners: &BTreeMap<PoolName, Tuner>, ticks: &[PoolTick<'_>]) -> Vec<Asked> {
    let asked = |tick: &PoolTick<'_>| Some(tuners.get(tick.name)?.asked_elsewhere(tick));
    ticks.iter().filter_map(asked).flatten().collect()
}

/// What becomes of the trials in force. Then the pools whose trial has just paid, and those that have none.
fn decide_trials<'t, 'a>(
    tuners: &mut BTreeMap<PoolName, Tuner>,
    ticks: &'t [PoolTick<'a>],
    round: &mut Round,
) -> (Vec<&'t PoolTick<'a>>, Vec<&'t PoolTick<'a>>) {
    let (mut following, mut waiting) = (Vec::new(), Vec::new());
    for tick in ticks {
        let contended = is_contended(tuners, tick.name);
        let Some(tuner) = tuners.get_mut(tick.name) else {
            continue;
        };
        match tuner.decide_trial(tick, contended) {
            Some(choice) => {
                let confirmed = choice.action == Action::Confirm;
                round.add(tuner, choice, tick);
                if confirmed && tick.delta.is_ok() {
                    following.push(tick);
                }
            }
            None => waiting.push(tick),
        }
    }
    (following, waiting)
}

/// Whether work waits for workers in another pool.
fn is_contended(tuners: &BTreeMap<PoolName, Tuner>, name: &PoolName) -> bool {
    let mut others = tuners.iter().filter(|(other, _)| *other != name);
    others.any(|(_, tuner)| tuner.is_waiting())
}

/// The pool that has the host's one trial.
fn probing(tuners: &BTreeMap<PoolName, Tuner>) -> Option<PoolName> {
    let open = tuners.iter().find(|(_, tuner)| tuner.is_probing());
    open.map(|(name, _)| name.clone())
}
