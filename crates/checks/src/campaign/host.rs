//! A host around the real governor: what the control thread of `trimtab-host` does with it, in the time of the model.

use super::plant::Plant;
use super::{Call, Dice, SECOND, Said};
use crate::bug::Bug;
use std::collections::BTreeMap;
use trimtab_host::governor::{End, EndStep, Governor, Planned, PoolSpec, Refusal, Write};
use trimtab_host::knob::{KnobReading, KnobSpec};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::knob::{KnobValue, Shrink};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName};
use trimtab_protocol::operator::PinRequest;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::{HostState, ProcessFigures, feature};

/// A confirmed set is held for longer than any history lasts.
const HOLD_NS: u64 = u64::MAX / 4;
/// A pin lasts until it is released.
const PIN_MS: u64 = 30 * 24 * 3_600_000;

/// The knobs with their baseline and bounds.
pub(super) const KNOBS: [(&str, u64, u64, u64); 3] = [
    (KnobName::WORKERS, 10, 1, 512),
    (KnobName::QUEUE_LIMIT, 100, 1, 100_000),
    (KnobName::TIMEOUT_MS, 30_000, 100, 600_000),
];

pub(super) struct Host {
    governor: Governor,
    bug: Option<Bug>,
    plant: Plant,
    run: u64,
    started_ns: u64,
    /// What the knobs themselves say.
    pub(super) actual: BTreeMap<KnobName, u64>,
    frozen_on_disk: bool,
}

impl Host {
    pub(super) fn new(bug: Option<Bug>, dice: &mut Dice) -> Self {
        Self {
            governor: governor(0, bug, 0),
            bug,
            plant: Plant::new(dice),
            run: 0,
            started_ns: 0,
            actual: baseline(),
            frozen_on_disk: false,
        }
    }

    pub(super) fn restart(&mut self, now_ns: u64) {
        self.run += 1;
        self.started_ns = now_ns;
        self.governor = governor(self.run, self.bug, now_ns);
        self.actual = baseline();
        if self.frozen_on_disk && self.bug != Some(Bug::ForgetsTheFreeze) {
            self.governor.freeze();
        }
    }

    pub(super) fn instance(&self) -> InstanceId {
        instance(self.run)
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.governor.is_frozen()
    }

    pub(super) fn work(&mut self) {
        let value = |name| self.actual.get(name).copied().unwrap_or(1);
        self.plant
            .work(value(KnobName::WORKERS), value(KnobName::QUEUE_LIMIT));
    }

    pub(super) fn change_load(&mut self, dice: &mut Dice) {
        self.plant.change(dice);
    }

    pub(super) fn state(&mut self, now_ns: u64) -> HostState {
        self.prepare(now_ns);
        let mut pools = self.governor.pool_states(now_ns);
        pools.values_mut().for_each(|pool| self.plant.tell(pool));
        HostState {
            api: 1,
            features: [
                feature::CHANGES,
                feature::LEASE,
                feature::FREEZE,
                feature::RESET,
            ]
            .map(str::to_owned)
            .to_vec(),
            app: "model".to_owned(),
            version: "1".to_owned(),
            labels: BTreeMap::new(),
            instance: self.instance(),
            at_ns: now_ns,
            pid: 42,
            uptime_ms: (now_ns - self.started_ns) / 1_000_000,
            epoch: self.governor.epoch(),
            generation: self.governor.generation(),
            lease: self.governor.lease_state(now_ns),
            frozen: self.is_frozen(),
            freeze_persistent: self.frozen_on_disk,
            control_disabled: false,
            process: ProcessFigures::default(),
            pools,
        }
    }

    /// What the control thread does before anything is decided, and whenever something is due.
    pub(super) fn prepare(&mut self, now_ns: u64) {
        if self.bug != Some(Bug::OverlooksForeignValues) {
            let readings: Vec<_> = self.actual.iter().map(reading).collect();
            self.governor.observe(&pool(), &readings);
        }
        let asleep = self.has_trial() && self.bug == Some(Bug::SleepsThroughDeadlines);
        if !asleep {
            self.governor.advance(now_ns);
        }
        self.settle(now_ns);
    }

    fn has_trial(&self) -> bool {
        self.governor.open_trials().next().is_some()
    }

    fn settle(&mut self, now_ns: u64) {
        for write in self.governor.owed(now_ns) {
            self.write(&write);
            self.governor.paid(&write);
        }
    }

    fn write(&mut self, write: &Write) {
        if let Some(value) = write.value.as_integer() {
            self.actual.insert(write.knob.clone(), value);
        }
    }

    pub(super) fn call(&mut self, call: &Call, now_ns: u64) -> Result<Said, Refusal> {
        self.prepare(now_ns);
        let own = self.instance();
        let meant = |asked: &InstanceId| {
            if self.bug == Some(Bug::IgnoresTheInstance) {
                own.clone()
            } else {
                asked.clone()
            }
        };
        let answer = match call {
            Call::Lease(request) => {
                let mut request = request.clone();
                request.instance = meant(&request.instance);
                self.governor.take_lease(&request, now_ns).map(Said::Lease)
            }
            Call::Release(request) => {
                let mut request = request.clone();
                request.instance = meant(&request.instance);
                self.governor
                    .release_lease(&request, now_ns)
                    .map(|()| Said::Released)
            }
            Call::Change(request) => {
                let mut request = request.clone();
                request.instance = meant(&request.instance);
                self.change(request, now_ns).map(Said::Receipt)
            }
            Call::End(end, generation, request) => {
                let mut request = request.clone();
                request.instance = meant(&request.instance);
                self.end(*end, *generation, &request, now_ns)
                    .map(Said::Receipt)
            }
        };
        self.settle(now_ns);
        answer
    }

    fn change(
        &mut self,
        mut request: ChangeRequest,
        now_ns: u64,
    ) -> Result<ChangeReceipt, Refusal> {
        match self.bug {
            Some(Bug::IgnoresTheEpoch) if self.governor.lease_state(now_ns).is_some() => {
                request.epoch = self.governor.epoch();
            }
            Some(Bug::ForgetsWhatItAnswered)
                if request.generation <= self.governor.generation() =>
            {
                request.generation = self.governor.generation().next();
                request.base_revision = self.governor.pool_states(now_ns)[&pool()].revision;
            }
            Some(Bug::LiftsPinsForSidecars) => {
                drop(
                    self.governor
                        .unpin(&pool(), &KnobName::from(KnobName::WORKERS)),
                );
                self.settle(now_ns);
                request.base_revision = self.governor.pool_states(now_ns)[&pool()].revision;
            }
            // No sidecar sends a value that it knows to be refused, so this one is put into its mouth.
            Some(Bug::WritesBeforeItChecks) if request.generation.0.is_multiple_of(5) => {
                self.actual
                    .insert(KnobName::from(KnobName::WORKERS), 100_000);
            }
            // Nor does it ask for too large a step.
            Some(Bug::LeapsBeyondTheRatio) => {
                for value in request.set.values_mut() {
                    *value = KnobValue::Integer(
                        value.as_integer().unwrap_or(1).saturating_mul(5).min(512),
                    );
                }
            }
            _ => {}
        }
        match self.governor.plan_change(&request, None, now_ns)? {
            Planned::Answered(receipt) => Ok(receipt),
            Planned::Apply(plan) => {
                let all = plan.writes.len();
                let some = if self.bug == Some(Bug::SetsHalfOfAChange) {
                    all / 2
                } else {
                    all
                };
                plan.writes
                    .iter()
                    .take(some)
                    .for_each(|write| self.write(write));
                self.governor.commit_change(&plan, now_ns);
                let lost = || Box::new(Problem::new(ProblemKind::Internal, "no receipt"));
                self.governor.finish_change(&plan).ok_or_else(lost)
            }
        }
    }

    fn end(
        &mut self,
        end: End,
        generation: Generation,
        request: &EndTrialRequest,
        now_ns: u64,
    ) -> Result<ChangeReceipt, Refusal> {
        match self.governor.end(end, generation, request)? {
            EndStep::Answered(receipt) => Ok(receipt),
            EndStep::Finish => {
                self.settle(now_ns);
                Ok(self.governor.finish_end(end, generation, request))
            }
        }
    }

    /// With the bug a lease in whose name something is on trial is renewed by nobody.
    pub(super) fn outlive(&mut self, holder: &str, epoch: Epoch, now_ns: u64) {
        if self.bug == Some(Bug::LetsATrialOutliveItsLease) && self.has_trial() {
            let request = trimtab_protocol::lease::LeaseRequest {
                instance: self.instance(),
                holder: holder.to_owned(),
                ttl_ms: 60_000,
                epoch: Some(epoch),
            };
            drop(self.governor.take_lease(&request, now_ns));
        }
    }

    pub(super) fn freeze(&mut self, now_ns: u64) {
        self.prepare(now_ns);
        self.frozen_on_disk = true;
        if self.bug == Some(Bug::PutsAFreezeOffDuringATrial) && self.has_trial() {
            return;
        }
        self.governor.freeze();
        self.settle(now_ns);
    }

    pub(super) fn unfreeze(&mut self, now_ns: u64) {
        self.prepare(now_ns);
        self.frozen_on_disk = false;
        self.governor.unfreeze();
    }

    /// An operator holds the workers; whether the host took it.
    pub(super) fn pin(&mut self, value: u64, now_ns: u64) -> bool {
        self.prepare(now_ns);
        let request = PinRequest {
            value: KnobValue::Integer(value),
            for_ms: PIN_MS,
        };
        let (pool, knob) = (pool(), KnobName::from(KnobName::WORKERS));
        let Ok(writes) = self.governor.plan_pin(&pool, &knob, &request, None) else {
            return false;
        };
        writes.iter().for_each(|write| self.write(write));
        self.governor.commit_pin(&pool, &knob, &request, now_ns);
        self.settle(now_ns);
        true
    }

    pub(super) fn unpin(&mut self, now_ns: u64) {
        self.prepare(now_ns);
        drop(
            self.governor
                .unpin(&pool(), &KnobName::from(KnobName::WORKERS)),
        );
        self.settle(now_ns);
    }

    /// Somebody else sets the queue's limit, past all of this, and the host notices.
    pub(super) fn set_by_another(&mut self, value: u64, now_ns: u64) {
        self.prepare(now_ns);
        self.actual
            .insert(KnobName::from(KnobName::QUEUE_LIMIT), value);
        self.prepare(now_ns);
    }
}

pub(super) fn baseline() -> BTreeMap<KnobName, u64> {
    let knobs = KNOBS.iter();
    knobs
        .map(|(name, baseline, ..)| (KnobName::from(*name), *baseline))
        .collect()
}

fn governor(run: u64, bug: Option<Bug>, now_ns: u64) -> Governor {
    let knob = |(name, baseline, min, max): (&str, u64, u64, u64)| {
        let mut spec = KnobSpec::integer(name, "", baseline, min, max);
        if bug == Some(Bug::LeapsBeyondTheRatio) {
            spec.max_ratio_bp = 1_000_000;
        }
        (spec, Shrink::Drains)
    };
    let web = PoolSpec {
        name: pool(),
        knobs: KNOBS.into_iter().map(knob).collect(),
    };
    Governor::new(instance(run), vec![web], HOLD_NS, now_ns.max(SECOND))
}

fn reading((knob, value): (&KnobName, &u64)) -> (KnobName, KnobReading) {
    let value = KnobValue::Integer(*value);
    let reading = KnobReading {
        effective: value.clone(),
        value,
    };
    (knob.clone(), reading)
}

pub(super) fn pool() -> PoolName {
    "web".into()
}

fn instance(run: u64) -> InstanceId {
    format!("run {run}").into()
}
