//! Knobs beyond a pool's size: set as the profile says, the memory level by the ladder, and undone when they do harm.

use crate::model::{profile, settings};
use std::collections::BTreeMap;
use trimtab_core::controller::Controller;
use trimtab_core::decision::{Decision, LeaseWish, Step};
use trimtab_core::expression::Expression;
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::{
    Answer, CgroupSample, MachineSample, Observation, ProcessIo, ProcessSample, Reading, Receipt,
};
use trimtab_core::profile::{Cited, Trigger, TriggerAction};
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, Phase, TrialState};
use trimtab_protocol::decision::{Absence, Action, Mode, Reason, Regime};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue, Shrink};
use trimtab_protocol::lease::{LeaseGrant, LeaseState};
use trimtab_protocol::name::{Epoch, Generation, HostId, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::state::{
    Counters, Gauges, Histograms, HostState, PoolKind, PoolState, ProcessFigures, feature,
};

const SECOND: u64 = 1_000_000_000;

/// A host with a pool that has enough workers, a pool of objects, and a process whose memory level can be set.
struct Shop {
    controller: Controller,
    pools: BTreeMap<PoolName, PoolState>,
    now_ns: u64,
    generation: Generation,
    epoch: Epoch,
    memory_share: f64,
    /// Work a second while all knobs stand at their baseline, and while one does not.
    rates: (u64, u64),
    /// Whether a new value comes into effect.
    obeys: bool,
    /// What is refused.
    refuses: Option<ProblemKind>,
    receipts: Vec<Receipt>,
    decisions: Vec<Decision>,
}

fn knob(kind: KnobKind, value: KnobValue) -> KnobState {
    KnobState {
        effective: value.clone(),
        baseline: value.clone(),
        value,
        min: 1,
        max: 1_000,
        granularity: 1,
        max_ratio_bp: 20_000,
        unit: String::new(),
        kind,
        choices: ["conservative", "moderate", "aggressive"]
            .map(str::to_owned)
            .to_vec(),
        shrink: Shrink::Drains,
        persists: false,
        pinned_for_ms: None,
    }
}

fn part(kind: PoolKind, knobs: &[(&str, KnobState)]) -> PoolState {
    let zero = Some(0);
    let empty = || Some(Histogram::default());
    PoolState {
        kind,
        generation: Generation(0),
        revision: Revision(1),
        phase: Phase::Baseline,
        trial: None,
        settling: false,
        knobs: knobs
            .iter()
            .map(|(name, knob)| (KnobName::from(*name), knob.clone()))
            .collect(),
        counters: Counters {
            arrived: zero,
            started: zero,
            completed: zero,
            failed: zero,
            rejected: zero,
            timed_out: zero,
            abandoned: zero,
            busy_us: zero,
            wait_us: zero,
            ..Counters::default()
        },
        gauges: Gauges::default(),
        histograms: Histograms {
            total_us: empty(),
            wait_us: empty(),
            service_us: empty(),
            timeout_us: empty(),
        },
    }
}

fn word(text: &str) -> KnobValue {
    KnobValue::Choice(text.to_owned())
}

impl Shop {
    fn new(mode: Mode) -> Self {
        let number = |value| knob(KnobKind::Integer, KnobValue::Integer(value));
        let mut settings = settings(mode);
        let mut web = profile(2, 10, 256);
        "web".clone_into(&mut web.name);
        web.others = BTreeMap::from([
            (
                "memory_level".into(),
                Cited::built_in("level", word("moderate")),
            ),
            ("object_pool".into(), Cited::built_in("pool", 100.into())),
            ("slab".into(), Cited::built_in("slab", 1_024.into())),
        ]);
        settings.profiles.insert("web".to_owned(), web);
        let level = knob(KnobKind::Choice, word("conservative"));
        Self {
            controller: Controller::new(settings),
            pools: BTreeMap::from([
                (
                    "web".into(),
                    part(PoolKind::Web, &[("workers", number(16))]),
                ),
                (
                    "page-buffers".into(),
                    part(PoolKind::Web, &[("object_pool", number(16))]),
                ),
                (
                    "process".into(),
                    part(PoolKind::Other, &[("memory_level", level)]),
                ),
            ]),
            now_ns: 100 * SECOND,
            generation: Generation(0),
            epoch: Epoch(0),
            memory_share: 0.3,
            rates: (100, 100),
            obeys: true,
            refuses: None,
            receipts: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn value(&self, pool: &str, knob: &str) -> KnobValue {
        self.pools[pool].knobs[knob].value.clone()
    }

    fn level(&self) -> String {
        self.value("process", "memory_level").to_string()
    }

    fn reasons(&self, pool: &str) -> Vec<(Action, Reason)> {
        let records = self.decisions.iter().flat_map(|decision| &decision.records);
        records
            .filter(|(name, _)| name.as_ref().is_some_and(|name| name.as_str() == pool))
            .map(|(_, record)| (record.action, record.reason.clone()))
            .collect()
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now_ns += SECOND;
            let (usual, changed) = self.rates;
            let at_baseline = self
                .pools
                .values()
                .flat_map(|pool| pool.knobs.values())
                .all(|knob| knob.value == knob.baseline);
            let done = if at_baseline { usual } else { changed };
            let web = &mut self.pools.get_mut("web").unwrap().counters;
            let add = |counter: &mut Option<u64>, by| *counter = counter.map(|count| count + by);
            add(&mut web.arrived, usual);
            add(&mut web.started, done);
            add(&mut web.completed, done);
            add(&mut web.busy_us, 5_000_000);
            let histograms = &mut self.pools.get_mut("web").unwrap().histograms;
            let total = histograms.total_us.as_mut().unwrap();
            (0..done).for_each(|_| total.record(50_000));
            let observation = self.observation(true);
            self.decide(observation);
        }
    }

    fn decide(&mut self, observation: Observation) {
        let decision = self.controller.handle_observation(observation);
        if let LeaseWish::Take = decision.orders.lease {
            self.epoch = self.epoch.next();
        }
        if self.epoch > Epoch(0) {
            let value = LeaseGrant {
                epoch: self.epoch,
                expires_in_ms: 5_000,
            };
            let answer = Answer::Done { value };
            self.receipts.push(Receipt::Lease { answer });
        }
        for step in &decision.orders.steps {
            self.carry_out(step);
        }
        self.decisions.push(decision);
    }

    fn carry_out(&mut self, step: &Step) {
        let obeys = self.obeys;
        let pool = self.pools.get_mut(step.pool()).unwrap();
        let (generation, status) = match step {
            Step::Try(plan) if self.refuses.is_some() => (plan.generation(), None),
            Step::Try(plan) => {
                assert_eq!(plan.base_revision(), pool.revision);
                assert!(plan.generation() > self.generation);
                self.generation = plan.generation();
                let values = |pool: &PoolState| {
                    let knobs = pool.knobs.iter();
                    knobs
                        .map(|(name, knob)| (name.clone(), knob.value.clone()))
                        .collect()
                };
                pool.trial = Some(TrialState {
                    generation: plan.generation(),
                    expires_in_ms: 60_000,
                    before: values(pool),
                });
                set(pool, plan.set(), obeys);
                pool.generation = plan.generation();
                (plan.generation(), Some(ChangeStatus::Trial))
            }
            Step::Confirm(trial) => {
                assert!(pool.trial.take().is_some());
                (trial.generation, Some(ChangeStatus::Confirmed))
            }
            Step::RollBack(trial) => {
                let before = pool.trial.take().unwrap().before;
                set(pool, &before, true);
                (trial.generation, Some(ChangeStatus::RolledBack))
            }
        };
        let answer = match status {
            Some(status) => Answer::Done {
                value: ChangeReceipt {
                    generation,
                    pool: step.pool().clone(),
                    status,
                    revision: pool.revision,
                    expires_in_ms: None,
                    settling: false,
                    knobs: BTreeMap::new(),
                },
            },
            None => Answer::Refused {
                problem: Problem::new(self.refuses.unwrap(), "refused"),
            },
        };
        self.receipts.push(Receipt::Change {
            action: step.action(),
            pool: step.pool().clone(),
            generation,
            answer,
        });
    }

    fn observation(&mut self, readable: bool) -> Observation {
        let at = Moment::from_boot_ns(self.now_ns);
        let bytes = (self.memory_share * 1e9) as u64;
        let state = if readable {
            Reading::Fresh {
                value: self.state(),
            }
        } else {
            Reading::Absent {
                absence: Absence::TimedOut,
            }
        };
        Observation {
            host: HostId::from("shop"),
            at,
            at_ms: self.now_ns / 1_000_000,
            state,
            process: Reading::Fresh {
                value: ProcessSample {
                    at,
                    cpu_ns: self.now_ns / 10,
                    rss_bytes: bytes,
                    threads: 8,
                    io: ProcessIo::default(),
                },
            },
            cgroup: Reading::Fresh {
                value: CgroupSample {
                    memory_bytes: Some(bytes),
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
        let features = [
            feature::CHANGES,
            feature::LEASE,
            feature::FREEZE,
            feature::RESET,
        ];
        HostState {
            api: 1,
            features: features.map(str::to_owned).to_vec(),
            app: "shop".into(),
            version: String::new(),
            labels: BTreeMap::new(),
            instance: InstanceId::from("first"),
            at_ns: self.now_ns,
            pid: 42,
            uptime_ms: 0,
            epoch: self.epoch,
            generation: self.generation,
            lease: (self.epoch > Epoch(0)).then(|| LeaseState {
                holder: "sidecar".into(),
                expires_in_ms: 5_000,
            }),
            frozen: false,
            freeze_persistent: false,
            control_disabled: false,
            process: ProcessFigures::default(),
            pools: self.pools.clone(),
        }
    }
}

fn set(pool: &mut PoolState, values: &BTreeMap<KnobName, KnobValue>, obeys: bool) {
    for (name, value) in values {
        let knob = pool.knobs.get_mut(name).unwrap();
        knob.value = value.clone();
        if obeys {
            knob.effective = value.clone();
        }
    }
    pool.revision = pool.revision.next();
}

#[test]
fn what_the_profile_names_is_set_by_steps_and_kept() {
    let mut shop = Shop::new(Mode::Act);
    shop.run(60);
    assert_eq!(shop.value("page-buffers", "object_pool"), 100.into());
    assert_eq!(shop.level(), "moderate");
    let tries = |pool| {
        let of = shop.reasons(pool);
        let tries = of.into_iter().filter(|(action, _)| *action == Action::Try);
        tries.map(|(_, reason)| reason).collect::<Vec<_>>()
    };
    // 16 to 32 to 64 to 100, for the host takes no more than a doubling.
    assert_eq!(tries("page-buffers"), vec![Reason::ProfileSets; 3]);
    assert_eq!(tries("process"), [Reason::ProfileSets]);
    let last = shop.reasons("process").pop().unwrap();
    assert_eq!(last, (Action::Hold, Reason::InPlace));
    let status = &shop.decisions.last().unwrap().status;
    assert_eq!(status.pools["page-buffers"].changes.kept, 3);
    assert_eq!(
        status.pools["web"].inert,
        ["queue_limit", "timeout_ms", "slab"],
        "the slab is the one that nobody follows"
    );
}

#[test]
fn what_may_not_act_says_what_it_would_do() {
    let mut shop = Shop::new(Mode::Advise);
    shop.run(20);
    let (action, reason) = shop.reasons("process").pop().unwrap();
    assert_eq!((action, reason), (Action::Advise, Reason::ProfileSets));
    assert_eq!(shop.level(), "conservative");
}

#[test]
fn short_memory_makes_the_level_aggressive_and_its_easing_puts_it_back() {
    let mut shop = Shop::new(Mode::Act);
    shop.run(30);
    assert_eq!(shop.level(), "moderate");
    shop.memory_share = 0.74;
    shop.run(10);
    assert_eq!(shop.level(), "aggressive");
    let high = Reason::MemoryHigh {
        share: 0.74,
        at_share: 0.7,
    };
    assert!(shop.reasons("process").contains(&(Action::Try, high)));
    let record = shop.decisions.last().unwrap().records.iter();
    let process = record.clone().find(|(name, _)| {
        let name = name.as_ref();
        name.is_some_and(|name| name.as_str() == PoolName::PROCESS)
    });
    assert_eq!(process.unwrap().1.regime, Regime::MemoryRisk);
    // Just below the step is not eased, and well below it only once that has lasted.
    shop.memory_share = 0.68;
    shop.run(200);
    assert_eq!(shop.level(), "aggressive");
    shop.memory_share = 0.4;
    shop.run(100);
    assert_eq!(shop.level(), "aggressive");
    shop.run(60);
    assert_eq!(shop.level(), "moderate");
}

#[test]
fn values_that_halve_the_work_are_undone_and_rest() {
    let mut shop = Shop::new(Mode::Act);
    shop.rates = (100, 40);
    shop.run(40);
    let undone = |pool| {
        let reasons = shop.reasons(pool);
        reasons.iter().any(|(action, reason)| {
            *action == Action::RollBack && matches!(reason, Reason::DidNotPay { .. })
        })
    };
    assert!(undone("page-buffers"));
    assert_eq!(shop.value("page-buffers", "object_pool"), 16.into());
    let last = shop.reasons("page-buffers").pop().unwrap();
    assert!(matches!(last.1, Reason::Pausing { .. }), "{last:?}");
}

#[test]
fn values_that_never_come_into_effect_are_undone() {
    let mut shop = Shop::new(Mode::Act);
    shop.obeys = false;
    shop.run(60);
    let reasons = shop.reasons("page-buffers");
    let ineffective = reasons.iter().find(|(action, reason)| {
        *action == Action::RollBack && matches!(reason, Reason::NoEffect { .. })
    });
    assert!(ineffective.is_some(), "{reasons:?}");
}

#[test]
fn what_someone_else_has_set_stays() {
    let mut shop = Shop::new(Mode::Act);
    shop.run(40);
    let others = BTreeMap::from([("object_pool".into(), KnobValue::Integer(77))]);
    set(shop.pools.get_mut("page-buffers").unwrap(), &others, true);
    shop.run(200);
    assert_eq!(shop.value("page-buffers", "object_pool"), 77.into());
}

#[test]
fn a_refusal_is_told_and_not_repeated_at_once() {
    let mut shop = Shop::new(Mode::Act);
    shop.refuses = Some(ProblemKind::Value);
    shop.run(30);
    let reasons = shop.reasons("process");
    let tries = reasons.iter().filter(|(action, _)| *action == Action::Try);
    assert!((1..=2).contains(&tries.count()));
    assert!(
        reasons
            .iter()
            .any(|(_, reason)| matches!(reason, Reason::Refused { .. }))
    );
}

#[test]
fn a_host_that_cannot_be_read_gets_its_values_back() {
    let mut shop = Shop::new(Mode::Act);
    while shop.pools["page-buffers"].trial.is_none() {
        shop.run(1);
    }
    for _ in 0..4 {
        shop.now_ns += SECOND;
        let observation = shop.observation(false);
        if shop.pools["page-buffers"].trial.is_some() {
            shop.decide(observation);
        }
    }
    assert_eq!(shop.value("page-buffers", "object_pool"), 16.into());
}

#[test]
fn the_end_of_the_sidecar_leaves_no_trial_behind() {
    let mut shop = Shop::new(Mode::Act);
    while shop.pools["page-buffers"].trial.is_none() {
        shop.run(1);
    }
    let at = Moment::from_boot_ns(shop.now_ns);
    let decision = shop.controller.shut_down(at, 0);
    assert!(
        decision
            .orders
            .steps
            .iter()
            .any(|step| step.action() == Action::RollBack)
    );
}

/// The profile `web` with a trigger.
fn with_trigger(shop: &mut Shop, when: &str, knob: &str, value: KnobValue) {
    let mut settings = shop.controller.settings().clone();
    let web = settings.profiles.get_mut("web").unwrap();
    web.triggers = vec![Trigger {
        when: Cited::built_in("triggers.when", Expression::parse(when).unwrap()),
        lasting: Span::from_secs(3),
        action: Cited::built_in(
            "triggers.do",
            TriggerAction::Set {
                knob: knob.into(),
                value,
            },
        ),
        because: String::new(),
        benefit: None,
    }];
    shop.controller.adopt(settings);
}

#[test]
fn a_pools_trigger_sets_a_knob_of_the_process_while_it_holds() {
    let mut shop = Shop::new(Mode::Act);
    shop.run(60);
    assert_eq!(shop.level(), "moderate");
    with_trigger(
        &mut shop,
        "memory > 50%",
        "memory_level",
        word("aggressive"),
    );
    shop.memory_share = 0.6;
    shop.run(60);
    assert_eq!(shop.level(), "aggressive");
    let triggered = |(action, reason): &(Action, Reason)| {
        *action == Action::Try && matches!(reason, Reason::Triggered { .. })
    };
    assert!(shop.reasons("process").iter().any(triggered));
    shop.memory_share = 0.3;
    shop.run(60);
    assert_eq!(shop.level(), "moderate");
}

#[test]
fn a_trigger_of_a_pool_without_workers_sets_its_own_knob() {
    let mut shop = Shop::new(Mode::Act);
    with_trigger(&mut shop, "memory > 50%", "object_pool", 8_u64.into());
    shop.memory_share = 0.6;
    shop.run(60);
    assert_eq!(shop.value("page-buffers", "object_pool"), 8.into());
    let triggered = |(_, reason): &(Action, Reason)| matches!(reason, Reason::Triggered { .. });
    assert!(shop.reasons("page-buffers").iter().any(triggered));
}

#[test]
fn a_value_that_a_trigger_set_and_that_does_harm_is_undone_and_rests() {
    let mut shop = Shop::new(Mode::Act);
    let web = shop.pools.get_mut("web").unwrap();
    let connections = knob(KnobKind::Integer, KnobValue::Integer(16));
    web.knobs.insert("connections".into(), connections);
    // The other knobs stay where the host started.
    let mut settings = shop.controller.settings().clone();
    settings.profiles.get_mut("web").unwrap().others.clear();
    shop.controller.adopt(settings);
    with_trigger(&mut shop, "busy > 1", "connections", 8_u64.into());
    shop.rates = (100, 50);
    shop.run(200);
    assert_eq!(shop.value("web", "connections"), 16.into());
    let reasons = shop.reasons("web");
    let asked = |reason: &Reason| matches!(reason, Reason::Triggered { .. });
    let tried = reasons
        .iter()
        .filter(|(action, reason)| *action == Action::Try && asked(reason));
    assert_eq!(tried.count(), 1, "{reasons:?}");
    let undone = |(_, reason): &(Action, Reason)| matches!(reason, Reason::DidNotPay { .. });
    assert!(reasons.iter().any(undone));
}

#[test]
fn each_pool_goes_by_the_memory_ladder_of_its_own_profile() {
    let mut shop = Shop::new(Mode::Act);
    let mut settings = shop.controller.settings().clone();
    let mut tight = settings.profiles["web"].clone();
    tight.ladder.level = Cited::built_in("memory.level", 0.5);
    settings.profiles.insert("tight".to_owned(), tight);
    let assigned = &mut settings.assigned;
    assigned.insert("page-buffers".into(), "tight".to_owned());
    shop.controller.adopt(settings);
    shop.run(30);
    shop.memory_share = 0.6;
    shop.run(60);
    assert_eq!(shop.level(), "moderate", "its own ladder begins at 70 %");
    let records = &shop.decisions.last().unwrap().records;
    let regime = |pool: &str| {
        let named = |name: &Option<PoolName>| name.as_ref().is_some_and(|it| it.as_str() == pool);
        let record = records.iter().find(|(name, _)| named(name));
        record.map(|(_, record)| record.regime)
    };
    assert_eq!(regime("page-buffers"), Some(Regime::MemoryRisk));
    assert_eq!(regime(PoolName::PROCESS), Some(Regime::Ample));
}

#[test]
fn a_gap_and_a_host_that_cannot_be_read_interrupt_a_triggers_condition() {
    let gap = |shop: &mut Shop| shop.now_ns += 60 * SECOND;
    let blind = |shop: &mut Shop| {
        for _ in 0..4 {
            shop.now_ns += SECOND;
            let observation = shop.observation(false);
            shop.decide(observation);
        }
    };
    let triggered = |shop: &Shop| {
        let reasons = shop.reasons("page-buffers");
        let by_rule = |(_, reason): &(Action, Reason)| matches!(reason, Reason::Triggered { .. });
        reasons.iter().any(by_rule)
    };
    for pause in [&gap as &dyn Fn(&mut Shop), &blind] {
        let mut shop = Shop::new(Mode::Act);
        shop.run(60);
        with_trigger(&mut shop, "memory > 50%", "object_pool", 64_u64.into());
        let mut settings = shop.controller.settings().clone();
        let web = settings.profiles.get_mut("web").unwrap();
        web.triggers[0].lasting = Span::from_secs(20);
        // Nothing is tried of the workers meanwhile.
        web.levels.moderate.value = 0.4;
        shop.controller.adopt(settings);
        shop.memory_share = 0.6;
        shop.run(10);
        pause(&mut shop);
        shop.run(15);
        assert!(!triggered(&shop));
        shop.run(15);
        assert!(triggered(&shop));
    }
}

#[test]
fn a_trial_that_was_undone_for_another_reason_than_its_values_is_soon_tried_again() {
    let mut shop = Shop::new(Mode::Act);
    while shop.pools["page-buffers"].trial.is_none() {
        shop.run(1);
    }
    for _ in 0..4 {
        shop.now_ns += SECOND;
        let observation = shop.observation(false);
        shop.decide(observation);
    }
    assert_eq!(shop.value("page-buffers", "object_pool"), 16.into());
    shop.run(60);
    assert_eq!(shop.value("page-buffers", "object_pool"), 100.into());
}
