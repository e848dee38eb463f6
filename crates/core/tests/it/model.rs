//! A host as the control API describes it, with a plant that is a formula: enough to close the loop around the controller.

use std::collections::BTreeMap;
use trimtab_core::controller::Controller;
use trimtab_core::decision::{Decision, LeaseWish, Step};
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::{
    Answer, CgroupSample, MachineSample, Observation, ProcessIo, ProcessSample, Reading, Receipt,
};
use trimtab_core::profile::{Cited, KnobRange, Levels, MemoryLadder, Profile, Settings};
use trimtab_protocol::change::{
    ChangeReceipt, ChangeStatus, MAX_RATIO_BP_DEFAULT, Phase, TrialState,
};
use trimtab_protocol::decision::{Action, Citation, Mode};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue, Shrink};
use trimtab_protocol::lease::{LeaseGrant, LeaseState};
use trimtab_protocol::name::{Epoch, Generation, HostId, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::{
    Counters, Gauges, Histograms, HostState, PoolKind, PoolState, ProcessFigures, feature,
};

const SECOND: u64 = 1_000_000_000;

/// How a pool's throughput follows from its workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plant {
    /// Service time of one job alone, in seconds.
    pub(crate) service_s: f64,
    /// Jobs at once beyond which the dependency slows everyone down.
    pub(crate) knee: f64,
    /// How much each job beyond the knee costs.
    pub(crate) thrash: f64,
    /// Arrivals a second.
    pub(crate) arrivals_per_s: f64,
}

impl Plant {
    /// What so many workers do, a second.
    pub(crate) fn throughput(&self, workers: f64) -> f64 {
        workers / self.residence_s(workers)
    }

    /// Time in service with so many jobs at once.
    fn residence_s(&self, busy: f64) -> f64 {
        let over = (busy - self.knee).max(0.0);
        self.service_s * (busy / self.knee).max(1.0) * (1.0 + self.thrash * over)
    }
}

/// One pool with its plant.
#[derive(Clone, Debug)]
pub(crate) struct ModelPool {
    pub(crate) plant: Plant,
    pub(crate) state: PoolState,
    queue: f64,
    carry: f64,
}

/// The host and the sidecar's view of it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) controller: Controller,
    pub(crate) pools: BTreeMap<PoolName, ModelPool>,
    pub(crate) now_ns: u64,
    pub(crate) instance: InstanceId,
    pub(crate) frozen: bool,
    pub(crate) lease: Option<LeaseState>,
    pub(crate) cpu_share: f64,
    pub(crate) memory_share: f64,
    pub(crate) decisions: Vec<Decision>,
    /// Changes reach the host this many ticks late, and unanswered.
    pub(crate) held_ticks: u64,
    held: Vec<(u64, Step)>,
    epoch: Epoch,
    generation: Generation,
    cpu_ns: u64,
    receipts: Vec<Receipt>,
}

fn cited<T>(value: T) -> Cited<T> {
    let citation = Citation {
        key: "key".into(),
        file: "model.toml".into(),
        line: 1,
        column: 1,
    };
    Cited { value, citation }
}

/// A profile for `min` to `max` workers with a goal of a second.
pub(crate) fn profile(min: u64, start: u64, max: u64) -> Profile {
    let range = |min, start, max| KnobRange {
        start: cited(start),
        min: cited(min),
        max: cited(max),
    };
    Profile {
        name: "default".into(),
        workers: range(min, start, max),
        queue_limit: range(1, 1_000, 100_000),
        timeout_ms: range(1_000, 30_000, 60_000),
        slo_ms: Some(cited(1_000)),
        changes_per_window: cited(10),
        change_window: cited(Span::from_secs(60)),
        others: BTreeMap::new(),
        decide_every: None,
        levels: Levels::default(),
        ladder: MemoryLadder::default(),
        triggers: Vec::new(),
    }
}

pub(crate) fn settings(mode: Mode) -> Settings {
    Settings {
        host: HostId::from("model"),
        mode,
        holder: "sidecar".into(),
        interval: Span::from_secs(1),
        profiles: BTreeMap::from([("default".to_owned(), profile(2, 10, 256))]),
        assigned: BTreeMap::new(),
    }
}

fn knob(value: u64) -> KnobState {
    KnobState {
        value: KnobValue::Integer(value),
        effective: KnobValue::Integer(value),
        baseline: KnobValue::Integer(value),
        min: 1,
        max: 512,
        granularity: 1,
        max_ratio_bp: MAX_RATIO_BP_DEFAULT,
        unit: "workers".into(),
        kind: KnobKind::Integer,
        choices: Vec::new(),
        shrink: Shrink::Drains,
        persists: false,
        pinned_for_ms: None,
    }
}

fn pool(plant: Plant, workers: u64) -> ModelPool {
    let zero = Some(0);
    let empty = || Some(Histogram::default());
    let state = PoolState {
        kind: PoolKind::Other,
        generation: Generation(0),
        revision: Revision(0),
        phase: Phase::Baseline,
        trial: None,
        settling: false,
        knobs: BTreeMap::from([(KnobName::from(KnobName::WORKERS), knob(workers))]),
        counters: Counters {
            arrived: zero,
            started: zero,
            completed: zero,
            failed: zero,
            rejected: zero,
            timed_out: zero,
            abandoned: zero,
            exempt: zero,
            busy_us: zero,
            wait_us: zero,
            cpu_us: None,
        },
        gauges: Gauges {
            busy: zero,
            queued: zero,
            oldest_wait_ms: zero,
            tasks: zero,
            ..Gauges::default()
        },
        histograms: Histograms {
            total_us: empty(),
            wait_us: empty(),
            service_us: empty(),
            timeout_us: empty(),
        },
    };
    ModelPool {
        plant,
        state,
        queue: 0.0,
        carry: 0.0,
    }
}

impl Model {
    pub(crate) fn new(mode: Mode, pools: &[(&str, Plant, u64)]) -> Self {
        let pools = pools
            .iter()
            .map(|(name, plant, workers)| (PoolName::from(*name), pool(*plant, *workers)));
        Self {
            controller: Controller::new(settings(mode)),
            pools: pools.collect(),
            now_ns: 100 * SECOND,
            instance: InstanceId::from("first"),
            frozen: false,
            lease: None,
            cpu_share: 0.3,
            memory_share: 0.2,
            decisions: Vec::new(),
            held_ticks: 0,
            held: Vec::new(),
            epoch: Epoch(0),
            generation: Generation(0),
            cpu_ns: 0,
            receipts: Vec::new(),
        }
    }

    /// Gives a pool another knob, which changes nothing about its work.
    pub(crate) fn add_knob(&mut self, pool: &str, name: &str, value: u64) {
        let state = &mut self.pools.get_mut(pool).unwrap().state;
        let offered = KnobState {
            max: 100_000,
            ..knob(value)
        };
        state.knobs.insert(KnobName::from(name), offered);
    }

    pub(crate) fn workers(&self, pool: &str) -> u64 {
        let knob = &self.pools[pool].state.knobs[KnobName::WORKERS];
        knob.value.as_integer().unwrap()
    }

    /// Runs for so many seconds at one tick a second.
    pub(crate) fn run(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.tick(|_| ()));
    }

    /// One second passes, the sidecar reads what `spoil` leaves of the observation, and the host does as it is told.
    pub(crate) fn tick(&mut self, spoil: impl FnOnce(&mut Observation)) {
        self.now_ns += SECOND;
        self.cpu_ns += (self.cpu_share * 4.0 * 1e9) as u64;
        self.pools.values_mut().for_each(|pool| pool.work(1.0));
        let due = self.held.iter().position(|(at, _)| *at <= self.now_ns);
        if let Some(due) = due {
            let (_, step) = self.held.remove(due);
            self.carry_out(&step);
            self.receipts.clear();
        }
        let mut observation = self.observation();
        spoil(&mut observation);
        let decision = self.controller.handle_observation(observation);
        self.obey(&decision);
        self.decisions.push(decision);
    }

    /// The host restarts: another instance, back at the baseline, all counters at zero.
    pub(crate) fn restart(&mut self, instance: &str) {
        self.instance = InstanceId::from(instance);
        (self.epoch, self.generation, self.lease) = (Epoch(0), Generation(0), None);
        for model in self.pools.values_mut() {
            let baseline = model.state.knobs[KnobName::WORKERS]
                .baseline
                .as_integer()
                .unwrap();
            *model = pool(model.plant, baseline);
        }
    }

    /// An operator sets a pool's workers.
    pub(crate) fn operator_sets(&mut self, pool: &str, workers: u64) {
        let state = &mut self.pools.get_mut(pool).unwrap().state;
        state.trial = None;
        state.phase = Phase::Confirmed;
        set(state, &workers_to(workers));
    }

    /// The host's own timer undoes every open trial.
    pub(crate) fn expire_trials(&mut self) {
        for model in self.pools.values_mut() {
            undo(&mut model.state);
        }
    }

    fn observation(&mut self) -> Observation {
        Observation {
            host: HostId::from("model"),
            at: Moment::from_boot_ns(self.now_ns),
            at_ms: self.now_ns / 1_000_000,
            state: Reading::Fresh {
                value: self.state(),
            },
            process: Reading::Fresh {
                value: ProcessSample {
                    at: Moment::from_boot_ns(self.now_ns),
                    cpu_ns: self.cpu_ns,
                    rss_bytes: (self.memory_share * 1e9) as u64,
                    threads: 8,
                    io: ProcessIo::default(),
                },
            },
            cgroup: Reading::Fresh {
                value: CgroupSample {
                    memory_bytes: Some((self.memory_share * 1e9) as u64),
                    memory_limit_bytes: Some(1_000_000_000),
                    ..CgroupSample::default()
                },
            },
            machine: Reading::Fresh {
                value: MachineSample {
                    cores: 4.0,
                    cpu_share: None,
                    memory_total_bytes: 8_000_000_000,
                    memory_available_bytes: 4_000_000_000,
                },
            },
            pid: Some(42),
            receipts: std::mem::take(&mut self.receipts),
        }
    }

    fn state(&self) -> HostState {
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
            app: "model".into(),
            version: "1".into(),
            labels: BTreeMap::new(),
            instance: self.instance.clone(),
            at_ns: self.now_ns,
            pid: 42,
            uptime_ms: 0,
            epoch: self.epoch,
            generation: self.generation,
            lease: self.lease.clone(),
            frozen: self.frozen,
            freeze_persistent: false,
            control_disabled: false,
            process: ProcessFigures::default(),
            pools: self
                .pools
                .iter()
                .map(|(name, pool)| (name.clone(), pool.state.clone()))
                .collect(),
        }
    }

    fn obey(&mut self, decision: &Decision) {
        let orders = &decision.orders;
        if orders.instance.as_ref() != Some(&self.instance) {
            return;
        }
        if let LeaseWish::Take = orders.lease {
            self.epoch = self.epoch.next();
            self.lease = Some(LeaseState {
                holder: "sidecar".into(),
                expires_in_ms: 5_000,
            });
        }
        if let LeaseWish::Take | LeaseWish::Renew(_) = orders.lease {
            let value = LeaseGrant {
                epoch: self.epoch,
                expires_in_ms: 5_000,
            };
            self.receipts.push(Receipt::Lease {
                answer: Answer::Done { value },
            });
        }
        for step in &orders.steps {
            if self.held_ticks > 0 && matches!(step, Step::Try(_)) {
                let at = self.now_ns + self.held_ticks * SECOND;
                self.held.push((at, step.clone()));
            } else {
                self.carry_out(step);
            }
        }
    }

    fn carry_out(&mut self, step: &Step) {
        let pool = step.pool().clone();
        let frozen = self.frozen;
        let state = &mut self.pools.get_mut(&pool).unwrap().state;
        let (generation, outcome) = match step {
            Step::Try(plan) => {
                assert!(plan.generation() > self.generation, "generations rise");
                let outcome = if frozen {
                    Err(ProblemKind::Frozen)
                } else if plan.base_revision() != state.revision {
                    Err(ProblemKind::Stale)
                } else {
                    self.generation = plan.generation();
                    begin(state, plan.generation(), plan.set());
                    Ok(ChangeStatus::Trial)
                };
                (plan.generation(), outcome)
            }
            Step::Confirm(trial) | Step::RollBack(trial) => {
                let open = state
                    .trial
                    .as_ref()
                    .is_some_and(|open| open.generation == trial.generation);
                let confirm = step.action() == Action::Confirm;
                let outcome = match (open, confirm) {
                    (false, _) => Err(ProblemKind::Stale),
                    (true, true) => {
                        state.trial = None;
                        state.phase = settled_phase(state);
                        Ok(ChangeStatus::Confirmed)
                    }
                    (true, false) => {
                        undo(state);
                        Ok(ChangeStatus::RolledBack)
                    }
                };
                (trial.generation, outcome)
            }
        };
        let revision = state.revision;
        let answer = match outcome {
            Ok(status) => Answer::Done {
                value: ChangeReceipt {
                    generation,
                    pool: pool.clone(),
                    status,
                    revision,
                    expires_in_ms: None,
                    settling: false,
                    knobs: BTreeMap::new(),
                },
            },
            Err(kind) => Answer::Refused {
                problem: Problem::new(kind, "refused"),
            },
        };
        self.receipts.push(Receipt::Change {
            action: step.action(),
            pool,
            generation,
            answer,
        });
    }
}

fn begin(state: &mut PoolState, generation: Generation, values: &BTreeMap<KnobName, KnobValue>) {
    let before = state
        .knobs
        .iter()
        .map(|(name, knob)| (name.clone(), knob.value.clone()))
        .collect();
    state.trial = Some(TrialState {
        generation,
        expires_in_ms: 60_000,
        before,
    });
    state.generation = generation;
    state.phase = Phase::Trial;
    set(state, values);
}

fn undo(state: &mut PoolState) {
    if let Some(trial) = state.trial.take() {
        set(state, &trial.before);
        state.phase = settled_phase(state);
    }
}

/// A pool whose values are those that it started with is at its baseline, however it came there.
fn settled_phase(state: &PoolState) -> Phase {
    if state.knobs.values().all(|knob| knob.value == knob.baseline) {
        Phase::Baseline
    } else {
        Phase::Confirmed
    }
}

fn workers_to(workers: u64) -> BTreeMap<KnobName, KnobValue> {
    BTreeMap::from([(KnobName::WORKERS.into(), KnobValue::Integer(workers))])
}

fn set(state: &mut PoolState, values: &BTreeMap<KnobName, KnobValue>) {
    for (name, value) in values {
        let knob = state.knobs.get_mut(name).unwrap();
        knob.value = value.clone();
        knob.effective = value.clone();
    }
    state.revision = state.revision.next();
}

/// Waiting work that the modelled queue holds.
const QUEUE_LIMIT: f64 = 100.0;

impl ModelPool {
    /// The pool works for a while: a fluid that arrives, waits, is served, and overflows.
    fn work(&mut self, seconds: f64) {
        let workers = self.state.knobs[KnobName::WORKERS]
            .value
            .as_integer()
            .unwrap() as f64;
        let arrived = self.plant.arrivals_per_s * seconds;
        let capacity = self.plant.throughput(workers) * seconds;
        let offered = arrived + self.queue;
        let done = offered.min(capacity);
        let starved = offered > capacity;
        let left = offered - done;
        let rejected = (left - QUEUE_LIMIT).max(0.0);
        self.queue = left - rejected;
        let busy = if starved {
            workers
        } else {
            done / seconds * self.plant.residence_s(1.0)
        };
        let residence = self.plant.residence_s(busy);
        let wait = self.queue / (capacity / seconds);
        self.carry += done;
        let completed = self.carry.floor();
        self.carry -= completed;
        self.count(seconds, [arrived, completed, rejected, busy, self.queue]);
        self.time(completed as u64, residence, wait);
    }

    fn count(&mut self, seconds: f64, [arrived, completed, rejected, busy, queued]: [f64; 5]) {
        let counters = &mut self.state.counters;
        let add =
            |counter: &mut Option<u64>, by: f64| *counter = counter.map(|count| count + by as u64);
        add(&mut counters.arrived, arrived);
        add(&mut counters.started, completed);
        add(&mut counters.completed, completed);
        add(&mut counters.rejected, rejected);
        add(&mut counters.busy_us, busy * seconds * 1e6);
        add(&mut counters.wait_us, queued * seconds * 1e6);
        self.state.gauges.busy = Some(busy as u64);
        self.state.gauges.queued = Some(queued as u64);
    }

    fn time(&mut self, completed: u64, residence_s: f64, wait_s: f64) {
        let histograms = &mut self.state.histograms;
        for job in 0..completed {
            // A spread of half to one and a half times the mean, the same every second.
            let spread = 0.5 + (job * 37 % 100) as f64 / 100.0;
            let (service, wait) = (residence_s * spread * 1e6, wait_s * 1e6);
            for (histogram, us) in [
                (&mut histograms.service_us, service),
                (&mut histograms.wait_us, wait),
                (&mut histograms.total_us, service + wait),
            ] {
                histogram.as_mut().unwrap().record(us as u64);
            }
        }
    }
}
