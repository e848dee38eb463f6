//! The host's side of the control API: knobs, trials, the lease and the fences, as a real host keeps them.
//!
//! It holds what the values *should* be; the pools follow it. The rules are those of the control API: a change is a trial that
//! its deadline or the end of the lease undoes, numbers only rise, and steps and rate are bounded.

mod trial;

use crate::number::whole;
use crate::pool::Setting;
use crate::scenario::Scenario;
use std::collections::{BTreeMap, VecDeque};
use trimtab_protocol::change::{MAX_RATIO_BP_DEFAULT, Phase};
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue, Shrink};
use trimtab_protocol::lease::{LeaseGrant, LeaseState};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::PoolKind;

pub(crate) use trial::{Trial, generation};

/// The holder of the lease: there is one sidecar.
pub const HOLDER: &str = "trimtab-sim";

/// How long a lease lasts, in seconds: the sidecar's default.
pub const LEASE_S: f64 = 5.0;

/// The bounds that the host takes from anyone; the profile's bounds lie within.
const WORKERS_MAX: u64 = 4_096;
const QUEUE_LIMIT_MAX: u64 = 1_000_000;
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// Why something is not done.
pub type Refusal = Box<Problem>;

fn refusal(kind: ProblemKind, detail: impl Into<String>) -> Refusal {
    Box::new(Problem::new(kind, detail))
}

/// One pool's knobs and what may be done with them.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    pub(crate) name: PoolName,
    pub(crate) kind: PoolKind,
    pub(crate) knobs: BTreeMap<KnobName, KnobState>,
    pub(crate) generation: Generation,
    pub(crate) revision: Revision,
    pub(crate) trial: Option<Trial>,
    /// What a person holds: until when, and what stood there before.
    pins: BTreeMap<KnobName, (f64, KnobValue)>,
    /// Changes within the last minute.
    recent: VecDeque<f64>,
    /// Sets that were confirmed; going back to one is never refused for its step.
    proven: Vec<BTreeMap<KnobName, KnobValue>>,
}

/// The control side of one host.
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) instance: InstanceId,
    pub(crate) epoch: Epoch,
    pub(crate) generation: Generation,
    pub(crate) boards: Vec<Board>,
    pub(crate) started: f64,
    /// When the lease in force ends.
    lease_ends: Option<f64>,
}

impl Host {
    /// A host that has just started, the `run`-th time.
    #[must_use]
    pub fn new(scenario: &Scenario, run: u64, now: f64) -> Self {
        let boards = scenario.pools.iter().map(|pool| Board {
            name: PoolName::from(pool.name.as_str()),
            kind: pool.kind,
            knobs: BTreeMap::from([
                knob(KnobName::WORKERS, pool.start, (1, WORKERS_MAX)),
                knob(
                    KnobName::QUEUE_LIMIT,
                    pool.queue_limit,
                    (0, QUEUE_LIMIT_MAX),
                ),
                knob(
                    KnobName::TIMEOUT_MS,
                    whole(pool.timeout * 1e3),
                    (1, TIMEOUT_MS_MAX),
                ),
            ]),
            generation: Generation::default(),
            revision: Revision::default(),
            trial: None,
            pins: BTreeMap::new(),
            recent: VecDeque::new(),
            proven: Vec::new(),
        });
        Self {
            instance: InstanceId::from(format!("run-{run}")),
            epoch: Epoch::default(),
            generation: Generation::default(),
            boards: boards.collect(),
            started: now,
            lease_ends: None,
        }
    }

    /// The values that a pool should have.
    #[must_use]
    pub fn setting(&self, pool: usize) -> Setting {
        let value = |name| {
            let knob = self
                .boards
                .get(pool)
                .and_then(|board| board.knobs.get(name));
            knob.and_then(|knob| knob.value.as_integer()).unwrap_or(0)
        };
        Setting {
            workers: value(KnobName::WORKERS),
            queue_limit: value(KnobName::QUEUE_LIMIT),
            timeout: value(KnobName::TIMEOUT_MS) as f64 / 1e3,
        }
    }

    /// Whether a pool has an open trial.
    #[must_use]
    pub fn has_trial(&self, pool: usize) -> bool {
        self.boards
            .get(pool)
            .is_some_and(|board| board.trial.is_some())
    }

    /// Someone sets values by hand, past all steps and rates. An open trial of the pool is superseded.
    pub fn set_by_hand(&mut self, pool: usize, values: &BTreeMap<KnobName, KnobValue>) {
        if let Some(board) = self.boards.get_mut(pool) {
            board.trial = None;
            board.set(values);
        }
    }

    /// A person sets values by hand, past all steps and rates: an open trial of the pool is undone first. With a time they
    /// are pinned until then; after it what stood before comes back.
    pub fn set_by_person(
        &mut self,
        pool: usize,
        values: &BTreeMap<KnobName, KnobValue>,
        pinned_until: Option<f64>,
    ) {
        let Some(board) = self.boards.get_mut(pool) else {
            return;
        };
        board.undo();
        for (name, knob) in board
            .knobs
            .iter()
            .filter(|(name, _)| values.contains_key(*name))
        {
            // Who pins a pinned knob anew holds it for longer, and what came before the first pin is still to come back.
            let before = board.pins.remove(name).map(|(_, before)| before);
            if let Some(until) = pinned_until {
                let before = before.unwrap_or_else(|| knob.value.clone());
                board.pins.insert(name.clone(), (until, before));
            }
        }
        board.set(values);
    }

    /// The lease, as the state shows it.
    #[must_use]
    pub fn lease_state(&self, now: f64) -> Option<LeaseState> {
        self.lease_ends.map(|ends| LeaseState {
            holder: HOLDER.to_owned(),
            expires_in_ms: whole((ends - now).max(0.0) * 1e3),
        })
    }

    /// Takes the lease anew: open trials of the one before are rolled back.
    pub fn take_lease(&mut self, now: f64) -> LeaseGrant {
        self.boards.iter_mut().for_each(Board::undo);
        self.epoch = self.epoch.next();
        self.grant(now)
    }

    /// Renews the lease.
    ///
    /// # Errors
    /// `stale` when it is not the one in force.
    pub fn renew_lease(&mut self, epoch: Epoch, now: f64) -> Result<LeaseGrant, Refusal> {
        self.check_epoch(epoch)?;
        Ok(self.grant(now))
    }

    /// Gives the lease back: its trials are rolled back.
    pub fn release_lease(&mut self, epoch: Epoch) {
        if self.check_epoch(epoch).is_ok() {
            self.end_lease();
        }
    }

    fn grant(&mut self, now: f64) -> LeaseGrant {
        self.lease_ends = Some(now + LEASE_S);
        LeaseGrant {
            epoch: self.epoch,
            expires_in_ms: whole(LEASE_S * 1e3),
        }
    }

    fn end_lease(&mut self) {
        self.lease_ends = None;
        self.boards.iter_mut().for_each(Board::undo);
    }

    fn check_epoch(&self, epoch: Epoch) -> Result<(), Refusal> {
        if self.lease_ends.is_some() && epoch == self.epoch {
            return Ok(());
        }
        let detail = format!("the lease in force is not {epoch}");
        Err(refusal(ProblemKind::Stale, detail))
    }

    /// Does what is due by now: the lease and trials end.
    pub fn advance(&mut self, now: f64) {
        if self.lease_ends.is_some_and(|ends| ends <= now) {
            self.end_lease();
        }
        let over = |trial: &Trial| trial.deadline <= now;
        for board in &mut self.boards {
            if board.trial.as_ref().is_some_and(over) {
                board.undo();
            }
            board.release_pins(now);
        }
    }

    /// When something is due next.
    #[must_use]
    pub fn next_due(&self) -> f64 {
        let trials = self.boards.iter().filter_map(|board| board.trial.as_ref());
        let pins = self.boards.iter().flat_map(|board| board.pins.values());
        let lease = self.lease_ends.into_iter();
        trials
            .map(|trial| trial.deadline)
            .chain(pins.map(|(until, _)| *until))
            .chain(lease)
            .fold(f64::INFINITY, f64::min)
    }
}

impl Board {
    /// Sets values; the revision rises with each change of one.
    fn set(&mut self, values: &BTreeMap<KnobName, KnobValue>) {
        for (name, value) in values {
            if let Some(knob) = self.knobs.get_mut(name) {
                knob.value = value.clone();
            }
        }
        self.revision = self.revision.next();
    }

    fn undo(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.set(&trial.before);
        }
    }

    fn release_pins(&mut self, now: f64) {
        let over = self.pins.extract_if(.., |_, (until, _)| *until <= now);
        let values: BTreeMap<KnobName, KnobValue> =
            over.map(|(name, (_, before))| (name, before)).collect();
        if !values.is_empty() {
            // Values come back under a trial of another knob, which so is no longer what was begun.
            self.undo();
            self.set(&values);
        }
    }

    /// How long a person still holds a knob, in milliseconds.
    pub(crate) fn pinned_for_ms(&self, name: &KnobName, now: f64) -> Option<u64> {
        let (until, _) = self.pins.get(name)?;
        Some(whole((until - now).max(0.0) * 1e3))
    }

    fn targets(&self) -> BTreeMap<KnobName, KnobValue> {
        let knobs = self.knobs.iter();
        knobs
            .map(|(name, knob)| (name.clone(), knob.value.clone()))
            .collect()
    }

    pub(crate) fn phase(&self) -> Phase {
        let at_start = |knob: &KnobState| knob.value == knob.baseline;
        if self.trial.is_some() {
            Phase::Trial
        } else if self.knobs.values().all(at_start) {
            Phase::Baseline
        } else {
            Phase::Confirmed
        }
    }
}

fn knob(name: &str, value: u64, (min, max): (u64, u64)) -> (KnobName, KnobState) {
    let (unit, kind) = match name {
        KnobName::TIMEOUT_MS => ("ms", KnobKind::DurationMs),
        KnobName::QUEUE_LIMIT => ("jobs", KnobKind::Integer),
        _ => ("workers", KnobKind::Integer),
    };
    let state = KnobState {
        value: KnobValue::Integer(value),
        effective: KnobValue::Integer(value),
        baseline: KnobValue::Integer(value),
        min,
        max: max.max(value),
        granularity: 1,
        max_ratio_bp: MAX_RATIO_BP_DEFAULT,
        unit: unit.to_owned(),
        kind,
        choices: Vec::new(),
        shrink: Shrink::Drains,
        persists: false,
        pinned_for_ms: None,
    };
    (KnobName::from(name), state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_pins_stays_and_then_what_stood_before_comes_back() {
        let scenario = crate::plants::draw(0).scenario;
        let mut host = Host::new(&scenario, 0, 0.0);
        let before = host.setting(0).workers;
        let pinned = BTreeMap::from([(
            KnobName::from(KnobName::WORKERS),
            KnobValue::Integer(before + 7),
        )]);
        host.set_by_person(0, &pinned, Some(60.0));
        assert_eq!(host.next_due().to_bits(), 60_f64.to_bits());
        host.advance(59.0);
        assert_eq!(host.setting(0).workers, before + 7);
        let board = &host.boards[0];
        let workers = KnobName::from(KnobName::WORKERS);
        assert_eq!(board.pinned_for_ms(&workers, 59.0), Some(1_000));
        host.advance(60.0);
        assert_eq!(host.setting(0).workers, before);
        assert_eq!(host.boards[0].pinned_for_ms(&workers, 60.0), None);
    }
}
