//! Who may change what, and when it is undone: the rules of the control API as a pure state machine.
//!
//! The governor knows the lease, the trials, the pins, the freeze and what each knob should be. It does no I/O and has no clock:
//! time is an argument, in nanoseconds of the boot-time clock, so that every rule is tested in virtual time.
//!
//! There are two sorts of change. What may fail as a whole (a change, a pin, a reset) is first *planned*, then carried out on the
//! knobs by the caller, then *committed*; nothing is different until it is committed. What must not fail (a rollback, an expiry,
//! a release) is decided at once: the target moves, and the knob is *owed* its value until it has taken it.
//!
//! The governor never moves a knob's target out of its bounds and never overwrites a value that someone else has set.

mod bounds;
mod changes;
mod lease;
mod operator;
mod outcome;
#[cfg(test)]
mod tests;
mod timers;
mod view;

use crate::knob::{KnobReading, KnobSpec};
use outcome::Outcomes;
use std::collections::{BTreeMap, VecDeque};
use trimtab_protocol::change::{ChangeStatus, Phase};
use trimtab_protocol::knob::{KnobValue, Shrink};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::problem::{Fence, InForce, Problem, ProblemKind};

pub use changes::{ChangePlan, Planned};
pub use outcome::{End, EndStep};
pub use timers::Due;

/// A refusal; a refused request changed nothing.
pub type Refusal = Box<Problem>;

/// One knob to be set, with the value that comes back when the change as a whole fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The pool.
    pub pool: PoolName,
    /// The knob.
    pub knob: KnobName,
    /// The value before.
    pub before: KnobValue,
    /// The value to be set.
    pub value: KnobValue,
}

/// What the governor is told about a pool at the start.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name.
    pub name: PoolName,
    /// Its knobs, and what a smaller value does to running work.
    pub knobs: Vec<(KnobSpec, Shrink)>,
}

/// The rules of the control API and all that they remember.
#[derive(Clone, Debug)]
pub struct Governor {
    instance: InstanceId,
    hold_for_ns: u64,
    epoch: Epoch,
    generation: Generation,
    lease: Option<Lease>,
    /// Since when nobody has held the lease; kept while one is held, for then it is not looked at.
    unleased_since_ns: u64,
    frozen: bool,
    disabled: bool,
    pools: BTreeMap<PoolName, Pool>,
    outcomes: Outcomes,
}

#[derive(Clone, Debug)]
struct Lease {
    holder: String,
    epoch: Epoch,
    ends_ns: u64,
}

#[derive(Clone, Debug)]
struct Pool {
    knobs: BTreeMap<KnobName, Knob>,
    generation: Generation,
    revision: Revision,
    trial: Option<Trial>,
    /// When changes were accepted, within the window that is counted.
    recent_ns: VecDeque<u64>,
    /// Sets confirmed in this instance; going back to one is never refused for step or rate.
    proven: VecDeque<BTreeMap<KnobName, KnobValue>>,
    /// When the next step to the baseline may be made, once nobody has tuned for long.
    next_step_ns: u64,
}

#[derive(Clone, Debug)]
struct Knob {
    spec: KnobSpec,
    shrink: Shrink,
    target: KnobValue,
    effective: KnobValue,
    /// The value that stands when no trial and no pin does.
    confirmed: KnobValue,
    /// Whether `confirmed` came from a sidecar; only such a value goes to the baseline when nobody tunes any more.
    tuned: bool,
    /// The pool's revision when the target last moved.
    revision: Revision,
    pinned_until_ns: Option<u64>,
    /// The knob itself has not taken its target yet.
    owed: Option<Owed>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    tries: u32,
    next_ns: u64,
}

#[derive(Clone, Debug)]
struct Trial {
    generation: Generation,
    revision: Revision,
    deadline_ns: u64,
    before: BTreeMap<KnobName, KnobValue>,
}

impl Governor {
    /// A governor whose knobs all stand at their baseline. A confirmed set is held for `hold_for_ns` without a lease.
    #[must_use]
    pub fn new(instance: InstanceId, pools: Vec<PoolSpec>, hold_for_ns: u64, now_ns: u64) -> Self {
        Self {
            instance,
            hold_for_ns,
            epoch: Epoch::default(),
            generation: Generation::default(),
            lease: None,
            unleased_since_ns: now_ns,
            frozen: false,
            disabled: false,
            pools: pools
                .into_iter()
                .map(|pool| (pool.name, Pool::new(pool.knobs)))
                .collect(),
            outcomes: Outcomes::default(),
        }
    }

    /// This run of the host.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// Whether an operator froze the host.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Whether control is switched off.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.disabled
    }

    /// Switches control off or on. Switching it off rolls open trials back and ends the lease.
    pub fn set_disabled(&mut self, disabled: bool, now_ns: u64) {
        if disabled && !self.disabled {
            self.end_all_trials(ChangeStatus::RolledBack);
            self.end_lease(now_ns);
        }
        self.disabled = disabled;
    }

    /// Takes in what the knobs of a pool say. A target that is not ours was set by someone else: it is adopted, never
    /// overwritten, and it ends an open trial. A knob that is still owed its value is not judged.
    pub fn observe(&mut self, pool: &PoolName, readings: &[(KnobName, KnobReading)]) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        let next = state.revision.next();
        let mut foreign = false;
        for (name, reading) in readings {
            let Some(knob) = state.knobs.get_mut(name) else {
                continue;
            };
            knob.effective = reading.effective.clone();
            if knob.owed.is_none() && reading.value != knob.target {
                knob.target = reading.value.clone();
                knob.confirmed = reading.value.clone();
                knob.tuned = false;
                knob.revision = next;
                foreign = true;
            }
        }
        if foreign {
            state.revision = next;
            self.end_trial(pool, ChangeStatus::Superseded);
        }
    }

    /// Takes in what is in effect, without judging who set the targets: right after the targets were set.
    pub fn observe_effective(&mut self, pool: &PoolName, readings: &[(KnobName, KnobReading)]) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        for (name, reading) in readings {
            if let Some(knob) = state.knobs.get_mut(name) {
                knob.effective = reading.effective.clone();
            }
        }
    }

    /// The knobs that have not taken their target yet and may be tried now.
    #[must_use]
    pub fn owed(&self, now_ns: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        for (pool, state) in &self.pools {
            for (name, knob) in &state.knobs {
                if knob.owed.is_some_and(|owed| owed.next_ns <= now_ns) {
                    writes.push(Write {
                        pool: pool.clone(),
                        knob: name.clone(),
                        before: knob.target.clone(),
                        value: knob.target.clone(),
                    });
                }
            }
        }
        writes
    }

    /// The knob took its value. Should its target have moved meanwhile, it is still owed.
    pub fn paid(&mut self, write: &Write) {
        if let Some(knob) = self.knob_mut(&write.pool, &write.knob)
            && knob.target == write.value
        {
            knob.owed = None;
        }
    }

    /// The knob did not take its value, or it is not known whether it did: it is told again, ever more slowly.
    pub fn owe(&mut self, pool: &PoolName, knob: &KnobName, now_ns: u64) {
        if let Some(knob) = self.knob_mut(pool, knob) {
            let tries = knob.owed.map_or(0, |owed| owed.tries);
            let wait_ns = (OWED_RETRY_NS << tries.min(16)).min(OWED_RETRY_NS_MAX);
            knob.owed = Some(Owed {
                tries: tries.saturating_add(1),
                next_ns: now_ns.saturating_add(wait_ns),
            });
        }
    }

    fn knob_mut(&mut self, pool: &PoolName, knob: &KnobName) -> Option<&mut Knob> {
        self.pools.get_mut(pool)?.knobs.get_mut(knob)
    }

    fn pool(&self, name: &PoolName) -> Result<&Pool, Refusal> {
        self.pools.get(name).ok_or_else(|| {
            let detail = format!("the host has no pool `{name}`");
            let mut problem = Problem::new(ProblemKind::Unknown, detail);
            problem.pool = Some(name.clone());
            Box::new(problem)
        })
    }

    fn end_all_trials(&mut self, status: ChangeStatus) {
        let open: Vec<PoolName> = self.open_trials().cloned().collect();
        for pool in &open {
            self.end_trial(pool, status);
        }
    }

    /// The pools with an open trial.
    pub fn open_trials(&self) -> impl Iterator<Item = &PoolName> {
        self.pools
            .iter()
            .filter(|(_, pool)| pool.trial.is_some())
            .map(|(name, _)| name)
    }

    /// Ends a pool's trial, if it has one, and undoes what of it still stands.
    fn end_trial(&mut self, pool: &PoolName, status: ChangeStatus) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        if let Some(trial) = state.trial.take() {
            state.restore(&trial);
            self.outcomes.ended(trial.generation, status);
        }
    }

    fn in_force(&self, pool: Option<&PoolName>) -> InForce {
        let revision = pool.and_then(|name| Some(self.pools.get(name)?.revision));
        InForce {
            instance: self.instance.clone(),
            epoch: self.epoch,
            generation: self.generation,
            revision,
        }
    }

    fn stale(&self, fence: Option<Fence>, pool: Option<&PoolName>, detail: String) -> Refusal {
        let mut problem = Problem::new(ProblemKind::Stale, detail);
        problem.fence = fence;
        problem.in_force = Some(self.in_force(pool));
        problem.pool = pool.cloned();
        Box::new(problem)
    }

    fn check_instance(&self, instance: &InstanceId) -> Result<(), Refusal> {
        if *instance == self.instance {
            return Ok(());
        }
        let detail = "the host was restarted: this is another instance".to_owned();
        Err(self.stale(Some(Fence::Instance), None, detail))
    }

    fn check_enabled(&self) -> Result<(), Refusal> {
        if self.disabled {
            let detail = "the host was told to take no changes";
            return Err(Box::new(Problem::new(ProblemKind::Disabled, detail)));
        }
        Ok(())
    }

    /// Whether a lease is in force and this is its epoch.
    fn check_epoch(&self, epoch: Epoch, pool: Option<&PoolName>) -> Result<(), Refusal> {
        let detail = match &self.lease {
            Some(lease) if lease.epoch == epoch => return Ok(()),
            Some(lease) => format!(
                "epoch {epoch} does not hold the lease, {} does",
                lease.epoch
            ),
            None => format!("epoch {epoch} has ended and nobody holds the lease"),
        };
        Err(self.stale(Some(Fence::Epoch), pool, detail))
    }
}

impl Pool {
    fn new(knobs: Vec<(KnobSpec, Shrink)>) -> Self {
        Self {
            knobs: knobs
                .into_iter()
                .map(|(spec, shrink)| (spec.name.clone(), Knob::new(spec, shrink)))
                .collect(),
            generation: Generation::default(),
            revision: Revision(1),
            trial: None,
            recent_ns: VecDeque::new(),
            proven: VecDeque::new(),
            next_step_ns: 0,
        }
    }

    fn phase(&self) -> Phase {
        if self.trial.is_some() {
            Phase::Trial
        } else if self
            .knobs
            .values()
            .all(|knob| knob.target == knob.spec.baseline)
        {
            Phase::Baseline
        } else {
            Phase::Confirmed
        }
    }

    /// Moves knobs to new targets as one change. Returns the knobs that moved.
    fn set(&mut self, values: &BTreeMap<KnobName, KnobValue>) -> Vec<KnobName> {
        let next = self.revision.next();
        let mut moved = Vec::new();
        for (name, value) in values {
            if let Some(knob) = self.knobs.get_mut(name)
                && knob.target != *value
            {
                knob.target = value.clone();
                knob.revision = next;
                moved.push(name.clone());
            }
        }
        if !moved.is_empty() {
            self.revision = next;
        }
        moved
    }

    /// Moves knobs to new targets, and owes them the values.
    fn set_and_owe(&mut self, values: &BTreeMap<KnobName, KnobValue>) {
        for name in self.set(values) {
            if let Some(knob) = self.knobs.get_mut(&name) {
                knob.owed = Some(Owed::default());
            }
        }
    }

    /// Brings back what a trial changed, wherever the trial's value still stands.
    fn restore(&mut self, trial: &Trial) {
        let standing = |name: &KnobName| {
            self.knobs
                .get(name)
                .is_some_and(|knob| knob.revision == trial.revision)
        };
        let values = trial
            .before
            .iter()
            .filter(|(name, _)| standing(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        self.set_and_owe(&values);
    }

    fn targets(&self) -> BTreeMap<KnobName, KnobValue> {
        self.knobs
            .iter()
            .map(|(name, knob)| (name.clone(), knob.target.clone()))
            .collect()
    }

    fn is_settling(&self) -> bool {
        self.knobs
            .values()
            .any(|knob| knob.owed.is_some() || knob.effective != knob.target)
    }
}

impl Knob {
    fn new(spec: KnobSpec, shrink: Shrink) -> Self {
        Self {
            target: spec.baseline.clone(),
            effective: spec.baseline.clone(),
            confirmed: spec.baseline.clone(),
            spec,
            shrink,
            tuned: false,
            revision: Revision(1),
            pinned_until_ns: None,
            owed: None,
        }
    }
}

fn ns(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

/// What is left until a moment, in whole milliseconds, rounded up so that nobody comes back too early.
fn ms_until(at_ns: u64, now_ns: u64) -> u64 {
    at_ns.saturating_sub(now_ns).div_ceil(1_000_000)
}

/// How soon a knob that failed is told again; doubled at each further failure.
const OWED_RETRY_NS: u64 = 50_000_000;
/// The longest pause between two tries.
const OWED_RETRY_NS_MAX: u64 = 5_000_000_000;
