//! A sidecar: the real controller, and a model of what carries its orders to the host.

use super::host::{KNOBS, pool};
use super::oracle::Broken;
use super::{Call, Fault, Heard, Late, SECOND, Said, World};
use crate::bug::Bug;
use std::collections::BTreeMap;
use trimtab_core::controller::{Controller, WARM_UP_TICKS};
use trimtab_core::decision::{Decision, LeaseWish, Orders, Step};
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::{
    Answer, MachineSample, Observation, ProcessIo, ProcessSample, Reading, Receipt,
};
use trimtab_core::profile::{Cited, KnobRange, Levels, MemoryLadder, Profile, Settings};
use trimtab_host::governor::End;
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::decision::{Absence, Citation, Mode};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{HostId, InstanceId, KnobName};
use trimtab_protocol::state::HostState;

/// How long a lease is asked for.
const TTL_MS: u64 = 5_000;

pub(super) struct Sidecar {
    number: usize,
    controller: Controller,
    receipts: Vec<Receipt>,
    /// The state of the tick before.
    before: Option<HostState>,
    /// States that were read well in a row, of one run of the host.
    good_ticks: u32,
    instance: Option<InstanceId>,
    /// Until when there is no such process.
    dead_ns: u64,
    /// Until when it runs no instruction.
    stopped_ns: u64,
    pub(super) disk_full_ns: u64,
    pub(super) blind_ns: u64,
    pub(super) stale_ns: u64,
    pub(super) poor_ns: u64,
}

impl Sidecar {
    pub(super) fn new(number: usize, dead_ns: u64) -> Self {
        Self {
            number,
            controller: Controller::new(settings(number)),
            receipts: Vec::new(),
            before: None,
            good_ticks: 0,
            instance: None,
            dead_ns,
            stopped_ns: 0,
            disk_full_ns: 0,
            blind_ns: 0,
            stale_ns: 0,
            poor_ns: 0,
        }
    }

    /// It is killed, and started again at a time. What it remembered is gone.
    pub(super) fn kill(&mut self, until_ns: u64) {
        *self = Self::new(self.number, until_ns);
    }

    /// It is stopped after it has decided and before it has sent.
    pub(super) fn stop(&mut self, until_ns: u64) {
        self.stopped_ns = until_ns;
    }

    /// It looks, decides, and sends.
    pub(super) fn tick(&mut self, world: &mut World) -> Result<(), Broken> {
        if self.dead_ns > world.now_ns {
            return Ok(());
        }
        // The first tick within a stop still decides; what it sends arrives when it goes on.
        let stopped = self.stopped_ns > world.now_ns;
        let stops_now =
            stopped && self.stopped_ns - world.now_ns > 6 * SECOND && self.instance.is_some();
        if stopped && !stops_now {
            return Ok(());
        }
        let observation = self.observe(world);
        let fresh = observation.state.fresh().is_some();
        let decision = self.controller.handle_observation(observation);
        world.tally.ticks += 1;
        self.judge(&decision, fresh)?;
        self.carry_out(&decision.orders, world, stops_now)?;
        if stops_now {
            // From here on it is silent until the stop is over.
            self.instance = None;
        }
        Ok(())
    }

    fn observe(&mut self, world: &mut World) -> Observation {
        let now_ns = world.now_ns;
        let state = if world.trouble.down_ns != 0 {
            Err(Absence::Unreachable)
        } else if !world.runs() || self.blind_ns > now_ns {
            Err(Absence::TimedOut)
        } else {
            Ok(world.host.state(now_ns))
        };
        let mut reading = match state {
            Ok(value) => Reading::Fresh { value },
            Err(absence) => Reading::Absent { absence },
        };
        if let Reading::Fresh { value } = &mut reading {
            if self.poor_ns > now_ns {
                value
                    .pools
                    .values_mut()
                    .for_each(|pool| pool.counters.busy_us = None);
            }
            let keeps = self.stale_ns > now_ns;
            let before = std::mem::replace(&mut self.before, keeps.then(|| value.clone()));
            if let Some(value) = before.filter(|_| keeps) {
                reading = Reading::Stale {
                    value,
                    age: Span::from_secs(1),
                };
            }
        }
        match reading.fresh() {
            Some(state) if self.instance.as_ref() == Some(&state.instance) => self.good_ticks += 1,
            Some(state) => {
                self.instance = Some(state.instance.clone());
                self.good_ticks = 1;
            }
            None => {}
        }
        let at = Moment::from_boot_ns(now_ns);
        Observation {
            host: HostId::from("model"),
            at,
            at_ms: world.wall_ms,
            process: Reading::Fresh {
                value: ProcessSample {
                    at,
                    cpu_ns: now_ns / 4,
                    rss_bytes: 100_000_000,
                    threads: 8,
                    io: ProcessIo::default(),
                },
            },
            cgroup: Reading::Absent {
                absence: Absence::NotOffered,
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
            state: reading,
        }
    }

    /// What is promised of decisions, whatever the host takes.
    fn judge(&self, decision: &Decision, fresh: bool) -> Result<(), Broken> {
        let tries = decision
            .orders
            .steps
            .iter()
            .any(|step| matches!(step, Step::Try(_)));
        let wrong = |how| Err(Broken { invariant: 7, how });
        if tries && !fresh {
            return wrong("a change was decided without a state to decide on");
        }
        if tries && self.good_ticks <= WARM_UP_TICKS {
            return wrong("a change was decided before a start or a restart was watched");
        }
        Ok(())
    }

    fn carry_out(&mut self, orders: &Orders, world: &mut World, stops: bool) -> Result<(), Broken> {
        let Some(instance) = &orders.instance else {
            return Ok(());
        };
        let lease = |epoch| {
            Call::Lease(LeaseRequest {
                instance: instance.clone(),
                holder: holder(self.number),
                ttl_ms: TTL_MS,
                epoch,
            })
        };
        match orders.lease {
            LeaseWish::Take => self.lease(lease(None), world, stops)?,
            LeaseWish::Renew(epoch) => {
                world
                    .host
                    .outlive(&holder(self.number), epoch, world.now_ns);
                self.lease(lease(Some(epoch)), world, stops)?;
            }
            LeaseWish::Leave | LeaseWish::Release(_) => {}
        }
        for step in &orders.steps {
            self.step(instance, step, world, stops)?;
        }
        if let LeaseWish::Release(epoch) = orders.lease {
            let release = LeaseRelease {
                instance: instance.clone(),
                epoch,
            };
            self.send(Call::Release(release), world, stops)?;
        }
        Ok(())
    }

    fn send(&self, call: Call, world: &mut World, stops: bool) -> Result<Heard, Broken> {
        if stops {
            world.late.push(Late {
                at_ns: self.stopped_ns,
                who: self.number,
                call,
                held: true,
            });
            return Ok(Heard::Lost(Absence::TimedOut));
        }
        world.send(self.number, call)
    }

    fn lease(&mut self, call: Call, world: &mut World, stops: bool) -> Result<(), Broken> {
        let answer: Answer<LeaseGrant> = match self.send(call, world, stops)? {
            Heard::Done(Said::Lease(value)) => Answer::Done { value },
            Heard::Refused(problem) => Answer::Refused { problem: *problem },
            Heard::Lost(absence) => Answer::Lost { absence },
            Heard::Done(Said::Released | Said::Receipt(_)) => Answer::Lost {
                absence: Absence::Impossible,
            },
        };
        self.receipts.push(Receipt::Lease { answer });
        Ok(())
    }

    fn step(
        &mut self,
        instance: &InstanceId,
        step: &Step,
        world: &mut World,
        stops: bool,
    ) -> Result<(), Broken> {
        let (generation, call) = match step {
            Step::Try(plan) => {
                let request = ChangeRequest {
                    instance: instance.clone(),
                    epoch: plan.epoch(),
                    generation: plan.generation(),
                    pool: plan.pool().clone(),
                    base_revision: plan.base_revision(),
                    trial_ms: plan.trial_ms(),
                    set: plan.set().clone(),
                    reason: String::new(),
                };
                (plan.generation(), Call::Change(request))
            }
            Step::Confirm(trial) | Step::RollBack(trial) => {
                let end = if matches!(step, Step::Confirm(_)) {
                    End::Confirm
                } else {
                    End::RollBack
                };
                let request = EndTrialRequest {
                    instance: instance.clone(),
                    epoch: trial.epoch,
                    pool: trial.pool.clone(),
                };
                (trial.generation, Call::End(end, trial.generation, request))
            }
        };
        // A change whose intent cannot be written down is not made.
        let is_full = self.disk_full_ns > world.now_ns && matches!(step, Step::Try(_));
        if !is_full {
            let intent = (self.number, instance.clone(), generation);
            world.written.insert(intent);
        }
        let unwritten = is_full && world.bug != Some(Bug::SendsBeforeItIsWritten);
        let answer: Answer<ChangeReceipt> = if unwritten {
            world.tally.note(Fault::DiskFull);
            Answer::NotSent
        } else {
            match self.send(call, world, stops)? {
                Heard::Done(Said::Receipt(value)) => Answer::Done { value },
                Heard::Refused(problem) => Answer::Refused { problem: *problem },
                Heard::Lost(absence) => Answer::Lost { absence },
                Heard::Done(Said::Lease(_) | Said::Released) => Answer::Lost {
                    absence: Absence::Impossible,
                },
            }
        };
        self.receipts.push(Receipt::Change {
            action: step.action(),
            pool: step.pool().clone(),
            generation,
            answer,
        });
        Ok(())
    }
}

pub(super) fn holder(number: usize) -> String {
    format!("sidecar {number}")
}

fn settings(number: usize) -> Settings {
    Settings {
        host: HostId::from("model"),
        mode: Mode::Act,
        holder: holder(number),
        interval: Span::from_secs(1),
        profiles: BTreeMap::from([("default".to_owned(), profile())]),
        assigned: BTreeMap::from([(pool(), "default".to_owned())]),
    }
}

fn profile() -> Profile {
    let range = |name: &str, min, max| {
        let baseline = KNOBS
            .iter()
            .find(|(knob, ..)| *knob == name)
            .map_or(1, |knob| knob.1);
        KnobRange {
            start: cited(baseline),
            min: cited(min),
            max: cited(max),
        }
    };
    Profile {
        name: "default".to_owned(),
        workers: range(KnobName::WORKERS, 2, 256),
        queue_limit: range(KnobName::QUEUE_LIMIT, 10, 10_000),
        timeout_ms: range(KnobName::TIMEOUT_MS, 1_000, 60_000),
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

fn cited<T>(value: T) -> Cited<T> {
    let citation = Citation {
        key: "key".to_owned(),
        file: "model.toml".to_owned(),
        line: 1,
        column: 1,
    };
    Cited { value, citation }
}
