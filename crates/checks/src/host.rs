//! A host around the real governor: what the control thread of `trimtab-host` does with it, without its threads and sockets.

use crate::bug::Bug;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use trimtab_host::governor::{
    ChangePlan, End, EndStep, Governor, Planned, PoolSpec, Refusal, Write,
};
use trimtab_host::knob::{KnobReading, KnobSpec};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::knob::{KnobValue, Shrink};
use trimtab_protocol::lease::{LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::operator::PinRequest;
use trimtab_protocol::problem::ProblemKind;

/// The knobs of the one pool.
pub const KNOBS: [&str; 2] = ["workers", "queue_limit"];
/// What both knobs start with, and their bounds.
pub const BASELINE: u64 = 4;
/// The smallest value of a knob.
pub const MIN: u64 = 1;
/// The largest value of a knob.
pub const MAX: u64 = 16;
/// The longest that a confirmed set is held, in seconds; longer than any model lasts.
const HOLD_S: u64 = 1_000;

/// What a sidecar sends. Times are in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Take the lease, or renew the one of this epoch.
    Lease(Option<u64>),
    /// Give the lease back.
    Release(u64),
    /// Set both knobs to a value, on a revision.
    Change {
        /// The lease.
        epoch: u64,
        /// The number.
        generation: u64,
        /// What it was planned on.
        revision: u64,
        /// The new value of both knobs.
        value: u64,
    },
    /// End a trial.
    End {
        /// Whether it is kept.
        keep: bool,
        /// The lease.
        epoch: u64,
        /// The change.
        generation: u64,
    },
}

/// How long a lease and a trial last, in seconds.
pub const TTL_S: u64 = 2;
/// The longest that a trial may last.
pub const TRIAL_S: u64 = 3;

/// A host.
#[derive(Clone)]
pub struct Host {
    governor: Governor,
    bug: Option<Bug>,
    /// What the knobs themselves say.
    pub actual: [u64; 2],
    /// Which run of the host this is.
    pub run: u8,
    frozen_on_disk: bool,
}

impl Host {
    /// A host at its first start.
    #[must_use]
    pub fn new(bug: Option<Bug>) -> Self {
        Self {
            governor: governor(0, bug, 0),
            bug,
            actual: [BASELINE; 2],
            run: 0,
            frozen_on_disk: false,
        }
    }

    /// It dies and starts again.
    pub fn restart(&mut self, now_s: u64) {
        self.run += 1;
        self.governor = governor(self.run, self.bug, now_s);
        self.actual = [BASELINE; 2];
        if self.frozen_on_disk && self.bug != Some(Bug::ForgetsTheFreeze) {
            self.governor.freeze();
        }
    }

    /// The highest generation and the revision, as a sidecar reads them.
    #[must_use]
    pub fn numbers(&self, now_s: u64) -> (u64, u64) {
        let pools = self.governor.pool_states(ns(now_s));
        let revision = pools.get("web").map_or(0, |pool| pool.revision.0);
        (self.governor.generation().0, revision)
    }

    /// Whether it says that it is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.governor.is_frozen()
    }

    /// What the control thread does before anything is decided, and whenever something is due.
    pub fn prepare(&mut self, now_s: u64) {
        if self.bug != Some(Bug::OverlooksForeignValues) {
            let readings: Vec<_> = KNOBS.into_iter().zip(self.actual).map(reading).collect();
            self.governor.observe(&pool(), &readings);
        }
        let asleep = self.governor.open_trials().next().is_some();
        if !(asleep && self.bug == Some(Bug::SleepsThroughDeadlines)) {
            self.governor.advance(ns(now_s));
        }
        self.settle(now_s);
    }

    fn settle(&mut self, now_s: u64) {
        for write in self.governor.owed(ns(now_s)) {
            self.write(&write);
            self.governor.paid(&write);
        }
    }

    fn write(&mut self, write: &Write) {
        for (knob, actual) in KNOBS.into_iter().zip(&mut self.actual) {
            if write.knob.as_str() == knob {
                *actual = write.value.as_integer().unwrap_or(*actual);
            }
        }
    }

    /// Carries out what a sidecar asks, which was composed for a run of the host. The answer is one number for each answer that
    /// differs; a refusal has none.
    pub fn call(&mut self, who: usize, run: u8, call: Call, now_s: u64) -> Option<Answer> {
        self.prepare(now_s);
        let run = if self.bug == Some(Bug::IgnoresTheInstance) {
            self.run
        } else {
            run
        };
        let instance = instance(run);
        let answer = match call {
            Call::Lease(epoch) => {
                let request = LeaseRequest {
                    instance,
                    holder: format!("sidecar {who}"),
                    ttl_ms: TTL_S * 1_000,
                    epoch: epoch.map(Epoch),
                };
                let grant = self.governor.take_lease(&request, ns(now_s));
                grant.ok().map(|grant| Answer::Lease(grant.epoch.0))
            }
            Call::Release(epoch) => {
                let release = LeaseRelease {
                    instance,
                    epoch: Epoch(epoch),
                };
                let released = self.governor.release_lease(&release, ns(now_s));
                released.ok().map(|()| Answer::Released)
            }
            Call::Change {
                epoch,
                generation,
                revision,
                value,
            } => {
                let request = change(instance, epoch, generation, revision, value);
                self.change(request, now_s)
                    .ok()
                    .map(|receipt| told(&receipt))
            }
            Call::End {
                keep,
                epoch,
                generation,
            } => {
                let request = EndTrialRequest {
                    instance,
                    epoch: Epoch(epoch),
                    pool: pool(),
                };
                self.end(keep, Generation(generation), &request, now_s)
                    .ok()
                    .map(|receipt| told(&receipt))
            }
        };
        self.settle(now_s);
        answer
    }

    fn change(&mut self, mut request: ChangeRequest, now_s: u64) -> Result<ChangeReceipt, Refusal> {
        match self.bug {
            Some(Bug::IgnoresTheEpoch) if self.governor.lease_state(0).is_some() => {
                request.epoch = self.governor.epoch();
            }
            Some(Bug::ForgetsWhatItAnswered)
                if request.generation <= self.governor.generation() =>
            {
                let (generation, revision) = self.numbers(now_s);
                request.generation = Generation(generation + 1);
                request.base_revision = Revision(revision);
            }
            Some(Bug::LiftsPinsForSidecars) => {
                drop(self.governor.unpin(&pool(), &KNOBS[0].into()));
                self.settle(now_s);
                request.base_revision = Revision(self.numbers(now_s).1);
            }
            _ => {}
        }
        let planned = self.governor.plan_change(&request, None, ns(now_s));
        if let Err(refusal) = &planned
            && refusal.kind == ProblemKind::Value
            && self.bug == Some(Bug::WritesBeforeItChecks)
        {
            let value = request.set.values().find_map(KnobValue::as_integer);
            self.actual = [value.unwrap_or(BASELINE); 2];
        }
        match planned? {
            Planned::Answered(receipt) => Ok(receipt),
            Planned::Apply(plan) => {
                self.apply(&plan);
                self.governor.commit_change(&plan, ns(now_s));
                self.governor.finish_change(&plan).ok_or_else(|| {
                    let problem = ProblemKind::Internal;
                    Box::new(trimtab_protocol::problem::Problem::new(
                        problem,
                        "no receipt",
                    ))
                })
            }
        }
    }

    fn apply(&mut self, plan: &ChangePlan) {
        let writes = if self.bug == Some(Bug::SetsHalfOfAChange) {
            1
        } else {
            plan.writes.len()
        };
        for write in plan.writes.iter().take(writes) {
            self.write(write);
        }
    }

    fn end(
        &mut self,
        keep: bool,
        generation: Generation,
        request: &EndTrialRequest,
        now_s: u64,
    ) -> Result<ChangeReceipt, Refusal> {
        let end = if keep { End::Confirm } else { End::RollBack };
        match self.governor.end(end, generation, request)? {
            EndStep::Answered(receipt) => Ok(receipt),
            EndStep::Finish => {
                self.settle(now_s);
                Ok(self.governor.finish_end(end, generation, request))
            }
        }
    }

    /// The lease ends, as far as the bug lets it.
    pub fn keep_lease_alive(&mut self, who: usize, epoch: u64, now_s: u64) {
        if self.bug == Some(Bug::LetsATrialOutliveItsLease)
            && self.governor.open_trials().next().is_some()
        {
            self.call(who, self.run, Call::Lease(Some(epoch)), now_s);
        }
    }

    /// An operator freezes it.
    pub fn freeze(&mut self, now_s: u64) {
        self.prepare(now_s);
        self.frozen_on_disk = true;
        if self.bug == Some(Bug::PutsAFreezeOffDuringATrial)
            && self.governor.open_trials().next().is_some()
        {
            return;
        }
        self.governor.freeze();
        self.settle(now_s);
    }

    /// An operator lifts the freeze.
    pub fn unfreeze(&mut self, now_s: u64) {
        self.prepare(now_s);
        self.frozen_on_disk = false;
        self.governor.unfreeze();
    }

    /// An operator holds the first knob; whether the host took it.
    pub fn pin(&mut self, value: u64, now_s: u64) -> bool {
        self.prepare(now_s);
        let request = PinRequest {
            value: KnobValue::Integer(value),
            for_ms: 1_000_000,
        };
        let (pool, knob) = (pool(), KnobName::from(KNOBS[0]));
        let Ok(writes) = self.governor.plan_pin(&pool, &knob, &request, None) else {
            return false;
        };
        for write in &writes {
            self.write(write);
        }
        self.governor.commit_pin(&pool, &knob, &request, ns(now_s));
        self.settle(now_s);
        true
    }

    /// An operator lets go of it.
    pub fn unpin(&mut self, now_s: u64) {
        self.prepare(now_s);
        drop(self.governor.unpin(&pool(), &KNOBS[0].into()));
        self.settle(now_s);
    }
}

/// What a host answered, where it took what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// The epoch.
    Lease(u64),
    /// The lease is back.
    Released,
    /// A receipt, by its fingerprint.
    Receipt(u64),
}

fn told(receipt: &ChangeReceipt) -> Answer {
    let mut receipt = receipt.clone();
    // It is the same answer though less time may be left.
    receipt.expires_in_ms = None;
    Answer::Receipt(fingerprint(&receipt))
}

/// Two values have the same one if they look the same.
fn fingerprint(value: &impl fmt::Debug) -> u64 {
    struct Sink(DefaultHasher);
    impl fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.hash(&mut self.0);
            Ok(())
        }
    }
    let mut sink = Sink(DefaultHasher::new());
    write!(sink, "{value:?}").expect("a hasher takes every text");
    sink.0.finish()
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.actual, self.run, self.frozen_on_disk).hash(hasher);
        fingerprint(&self.governor).hash(hasher);
    }
}

/// As far as anybody can tell from outside and inside.
impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        let looks = |host: &Self| {
            (
                host.actual,
                host.run,
                host.frozen_on_disk,
                fingerprint(&host.governor),
            )
        };
        looks(self) == looks(other)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "run {} at {:?}", self.run, self.actual)
    }
}

fn governor(run: u8, bug: Option<Bug>, now_s: u64) -> Governor {
    let knob = |name: &str| {
        let mut spec = KnobSpec::integer(name, "", BASELINE, MIN, MAX);
        if bug == Some(Bug::LeapsBeyondTheRatio) {
            spec.max_ratio_bp = 100_000;
        }
        (spec, Shrink::Drains)
    };
    let web = PoolSpec {
        name: pool(),
        knobs: KNOBS.into_iter().map(knob).collect(),
    };
    Governor::new(instance(run), vec![web], ns(HOLD_S), ns(now_s))
}

fn change(
    instance: InstanceId,
    epoch: u64,
    generation: u64,
    revision: u64,
    value: u64,
) -> ChangeRequest {
    let set: BTreeMap<KnobName, KnobValue> = KNOBS
        .into_iter()
        .map(|knob| (knob.into(), KnobValue::Integer(value)))
        .collect();
    ChangeRequest {
        instance,
        epoch: Epoch(epoch),
        generation: Generation(generation),
        pool: pool(),
        base_revision: Revision(revision),
        trial_ms: TRIAL_S * 1_000,
        set,
        reason: String::new(),
    }
}

fn reading((knob, value): (&str, u64)) -> (KnobName, KnobReading) {
    let value = KnobValue::Integer(value);
    let reading = KnobReading {
        effective: value.clone(),
        value,
    };
    (knob.into(), reading)
}

fn pool() -> PoolName {
    "web".into()
}

fn instance(run: u8) -> InstanceId {
    format!("run {run}").into()
}

fn ns(seconds: u64) -> u64 {
    seconds * 1_000_000_000
}
