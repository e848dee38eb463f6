mod laws;
mod rules;

use super::*;
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::operator::PinRequest;

/// A governor and its knobs in virtual time, with the caller's part done as the host does it.
#[derive(Clone)]
struct World {
    governor: Governor,
    knobs: BTreeMap<(PoolName, KnobName), KnobValue>,
    /// Knobs that refuse every value.
    broken: Vec<KnobName>,
    busy: Option<u64>,
    now_ns: u64,
}

const HOLD_MS: u64 = 3_600_000;

impl World {
    fn new() -> Self {
        let web = vec![
            (
                KnobSpec::integer("workers", "workers", 8, 1, 64),
                Shrink::Drains,
            ),
            (
                KnobSpec {
                    granularity: 10,
                    ..KnobSpec::integer("queue_limit", "jobs", 100, 0, 1000)
                },
                Shrink::Drains,
            ),
            (
                KnobSpec {
                    kind: trimtab_protocol::knob::KnobKind::Choice,
                    baseline: KnobValue::Choice("fair".into()),
                    choices: vec!["fair".into(), "newest".into()],
                    ..KnobSpec::integer("order", "", 0, 0, 0)
                },
                Shrink::Drains,
            ),
        ];
        let jobs = vec![(
            KnobSpec::integer("workers", "workers", 8, 1, 64),
            Shrink::Kills,
        )];
        let pools = vec![
            PoolSpec {
                name: "web".into(),
                knobs: web,
            },
            PoolSpec {
                name: "jobs".into(),
                knobs: jobs,
            },
        ];
        let knobs = pools
            .iter()
            .flat_map(|pool| {
                pool.knobs.iter().map(|(spec, _)| {
                    (
                        (pool.name.clone(), spec.name.clone()),
                        spec.baseline.clone(),
                    )
                })
            })
            .collect();
        Self {
            governor: Governor::new("i1".into(), pools, ns(HOLD_MS), 0),
            knobs,
            broken: Vec::new(),
            busy: Some(0),
            now_ns: 0,
        }
    }

    /// Lets time pass without the host's timers running.
    fn sleep(&mut self, ms: u64) {
        self.now_ns += ns(ms);
    }

    /// Lets time pass, then runs what the host runs before each call and at each timer.
    fn pass(&mut self, ms: u64) {
        self.sleep(ms);
        self.prepare();
    }

    fn prepare(&mut self) {
        for pool in ["web", "jobs"] {
            let readings = self.readings(pool);
            self.governor.observe(&pool.into(), &readings);
        }
        self.governor.advance(self.now_ns);
        self.pay();
    }

    fn readings(&self, pool: &str) -> Vec<(KnobName, KnobReading)> {
        self.knobs
            .iter()
            .filter(|((name, _), _)| name.as_str() == pool)
            .map(|((_, knob), value)| {
                let reading = KnobReading {
                    value: value.clone(),
                    effective: value.clone(),
                };
                (knob.clone(), reading)
            })
            .collect()
    }

    fn pay(&mut self) {
        for write in self.governor.owed(self.now_ns) {
            if self.apply(&write) {
                self.governor.paid(&write);
            } else {
                self.governor.owe(&write.pool, &write.knob, self.now_ns);
            }
        }
        for pool in ["web", "jobs"] {
            let readings = self.readings(pool);
            self.governor.observe_effective(&pool.into(), &readings);
        }
    }

    fn apply(&mut self, write: &Write) -> bool {
        if self.broken.contains(&write.knob) {
            return false;
        }
        let key = (write.pool.clone(), write.knob.clone());
        self.knobs.insert(key, write.value.clone());
        true
    }

    fn apply_all(&mut self, writes: &[Write]) -> bool {
        for (index, write) in writes.iter().enumerate() {
            if !self.apply(write) {
                for done in &writes[..index] {
                    let key = (done.pool.clone(), done.knob.clone());
                    self.knobs.insert(key, done.before.clone());
                }
                return false;
            }
        }
        true
    }

    fn change(&mut self, request: &ChangeRequest) -> Result<ChangeReceipt, Refusal> {
        self.prepare();
        match self.governor.plan_change(request, self.busy, self.now_ns)? {
            Planned::Answered(receipt) => Ok(receipt),
            Planned::Apply(plan) => {
                if !self.apply_all(&plan.writes) {
                    return Err(Box::new(Problem::new(ProblemKind::KnobFailed, "test")));
                }
                self.governor.commit_change(&plan, self.now_ns);
                self.pay();
                Ok(self.governor.finish_change(&plan).expect("just committed"))
            }
        }
    }

    fn end(
        &mut self,
        end: End,
        generation: u64,
        request: &EndTrialRequest,
    ) -> Result<ChangeReceipt, Refusal> {
        self.prepare();
        match self.governor.end(end, Generation(generation), request)? {
            EndStep::Answered(receipt) => Ok(receipt),
            EndStep::Finish => {
                self.pay();
                Ok(self
                    .governor
                    .finish_end(end, Generation(generation), request))
            }
        }
    }

    fn confirm(&mut self, generation: u64) -> Result<ChangeReceipt, Refusal> {
        let request = self.ending("web");
        self.end(End::Confirm, generation, &request)
    }

    fn roll_back(&mut self, generation: u64) -> Result<ChangeReceipt, Refusal> {
        let request = self.ending("web");
        self.end(End::RollBack, generation, &request)
    }

    fn ending(&self, pool: &str) -> EndTrialRequest {
        EndTrialRequest {
            instance: "i1".into(),
            epoch: self.governor.epoch,
            pool: pool.into(),
        }
    }

    fn lease(
        &mut self,
        holder: &str,
        ttl_ms: u64,
        epoch: Option<Epoch>,
    ) -> Result<LeaseGrant, Refusal> {
        self.prepare();
        let request = LeaseRequest {
            instance: "i1".into(),
            holder: holder.into(),
            ttl_ms,
            epoch,
        };
        let grant = self.governor.take_lease(&request, self.now_ns);
        self.pay();
        grant
    }

    fn release(&mut self, epoch: Epoch) -> Result<(), Refusal> {
        self.prepare();
        let request = LeaseRelease {
            instance: "i1".into(),
            epoch,
        };
        let answer = self.governor.release_lease(&request, self.now_ns);
        self.pay();
        answer
    }

    fn pin(&mut self, pool: &str, knob: &str, value: u64, for_ms: u64) -> Result<(), Refusal> {
        self.prepare();
        let request = PinRequest {
            value: value.into(),
            for_ms,
        };
        let (pool, knob) = (pool.into(), knob.into());
        let writes = self.governor.plan_pin(&pool, &knob, &request, self.busy)?;
        if !self.apply_all(&writes) {
            return Err(Box::new(Problem::new(ProblemKind::KnobFailed, "test")));
        }
        self.governor
            .commit_pin(&pool, &knob, &request, self.now_ns);
        self.pay();
        Ok(())
    }

    fn unpin(&mut self, pool: &str, knob: &str) -> Result<(), Refusal> {
        self.prepare();
        let answer = self.governor.unpin(&pool.into(), &knob.into());
        self.pay();
        answer
    }

    fn reset(&mut self, pool: Option<&str>) -> Result<(), Refusal> {
        self.prepare();
        let pool = pool.map(PoolName::from);
        let writes = self.governor.plan_reset(pool.as_ref())?;
        if !self.apply_all(&writes) {
            return Err(Box::new(Problem::new(ProblemKind::KnobFailed, "test")));
        }
        self.governor.commit_reset(pool.as_ref());
        self.pay();
        Ok(())
    }

    fn freeze(&mut self) {
        self.prepare();
        self.governor.freeze();
        self.pay();
    }

    /// Someone sets a knob behind the host's back.
    fn foreign(&mut self, pool: &str, knob: &str, value: u64) {
        self.knobs
            .insert((pool.into(), knob.into()), KnobValue::Integer(value));
    }

    fn value(&self, pool: &str, knob: &str) -> u64 {
        self.knobs[&(pool.into(), knob.into())]
            .as_integer()
            .expect("a number")
    }

    /// A change that fits as things stand.
    fn request(&self, pool: &str, set: &[(&str, u64)]) -> ChangeRequest {
        ChangeRequest {
            instance: "i1".into(),
            epoch: self.governor.epoch,
            generation: self.governor.generation.next(),
            pool: pool.into(),
            base_revision: self
                .governor
                .pools
                .get(&PoolName::from(pool))
                .map(|pool| pool.revision)
                .unwrap_or_default(),
            trial_ms: 10_000,
            set: set
                .iter()
                .map(|(knob, value)| (KnobName::from(*knob), KnobValue::Integer(*value)))
                .collect(),
            reason: "a test".into(),
        }
    }

    fn try_set(&mut self, pool: &str, set: &[(&str, u64)]) -> Result<ChangeReceipt, Refusal> {
        let request = self.request(pool, set);
        self.change(&request)
    }

    fn leased() -> Self {
        let mut world = Self::new();
        world.lease("a", 60_000, None).expect("free");
        world
    }

    /// Everything but the clock, so that a refused call can be seen to change nothing.
    fn picture(&self) -> String {
        format!("{:?} {:?}", self.governor, self.knobs)
    }
}

fn kind<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> ProblemKind {
    answer.expect_err("it should be refused").kind
}

fn fence<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> Option<Fence> {
    let refusal = answer.expect_err("it should be refused");
    assert_eq!(refusal.kind, ProblemKind::Stale);
    assert!(refusal.in_force.is_some());
    refusal.fence
}
