//! What the sidecar sees of the host: its state as the control API tells it, and `/proc` and the control group beside it.

use super::{Site, World};
use crate::dice::Dice;
use crate::number::whole;
use std::collections::BTreeMap;
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::{
    CgroupSample, MachineSample, Observation, ProcessIo, ProcessSample, Reading, Receipt,
};
use trimtab_protocol::change::TrialState;
use trimtab_protocol::decision::Absence;
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{HostId, KnobName, PoolName};
use trimtab_protocol::state::{
    Counters, Gauges, Histograms, HostState, PoolState, ProcessFigures, feature,
};

/// What the configuration calls the host.
pub const HOST: &str = "model";

/// The machine had been up for so long when the run began.
const BOOT: u64 = 1_000_000_000_000;
/// And it was so late, in milliseconds since 1970. Nothing is decided by it.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// CPU time is seen with this much noise.
const CPU_NOISE: f64 = 0.03;
/// A worker that waits inside its job spins for this share of the time, so that nobody can read the plant off the CPU.
const SPIN_SHARE: f64 = 0.05;
/// Samples that are lost, and as many that come a tick late.
const LOST_SHARE: f64 = 0.025;

/// The machine's memory where nothing limits the host, in bytes.
const MACHINE_MEMORY: u64 = 64 << 30;

/// Under which rules a controller plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum League {
    /// Beside the host: a sample a second, 5 % of them late or lost, and changes that take 50 to 200 ms.
    #[default]
    Sidecar,
    /// Inside the host: every sample, every job that ends, and changes at once.
    InProcess,
}

/// The noise and the memory of the sidecar's senses.
#[derive(Debug)]
pub(super) struct Senses {
    dice: Dice,
    /// CPU time as it was seen up to now, in seconds; of the process and of each pool.
    seen_s: f64,
    pools_seen_s: Vec<f64>,
    /// The true figures when it was last looked at.
    true_s: Vec<f64>,
    looked_at: f64,
    /// The sample before, which a late one delivers again.
    before: Option<Sample>,
}

/// What one look at the host gives.
#[derive(Clone, Debug)]
struct Sample {
    at: Moment,
    state: HostState,
    process: ProcessSample,
    cgroup: CgroupSample,
}

impl Senses {
    pub(super) fn new(dice: Dice, pools: usize) -> Self {
        Self {
            dice,
            seen_s: 0.0,
            pools_seen_s: vec![0.0; pools],
            true_s: vec![0.0; pools],
            looked_at: 0.0,
            before: None,
        }
    }

    /// The host is another one now.
    pub(super) fn forget(&mut self) {
        self.seen_s = 0.0;
        self.pools_seen_s.fill(0.0);
        self.true_s.fill(0.0);
        self.before = None;
    }
}

/// A time of the run, by the clock of the modelled machine.
pub(crate) fn moment(time: f64) -> Moment {
    Moment::from_boot_ns(BOOT + whole(time * 1e9))
}

impl World<'_> {
    /// How long a change takes to be in force, in seconds.
    pub fn delay(&mut self) -> f64 {
        self.senses.dice.between(0.05, 0.2)
    }

    /// What the sidecar reads at this tick.
    pub fn observe(&mut self, league: League, receipts: Vec<Receipt>) -> Observation {
        self.settle_all();
        self.look_at_cpu();
        let sample = self.is_up().then(|| self.sample());
        let luck = self.senses.dice.share();
        let before = std::mem::replace(&mut self.senses.before, sample.clone());
        let mut seen = sample.map(Seen::Fresh);
        if league == League::Sidecar && luck < LOST_SHARE {
            seen = None;
        } else if league == League::Sidecar && luck < 2.0 * LOST_SHARE {
            seen = before.map(Seen::Late);
        }
        let absence = if self.is_up() {
            Absence::TimedOut
        } else {
            Absence::Unreachable
        };
        if self.reach.blind || !self.is_up() {
            seen = None;
        }
        if self.reach.garbage
            && let Some(Seen::Fresh(sample) | Seen::Late(sample)) = &mut seen
        {
            spoil(&mut sample.state, self.senses.dice.below(3));
        }
        self.observation(seen, absence, receipts)
    }

    fn observation(
        &self,
        seen: Option<Seen>,
        absence: Absence,
        receipts: Vec<Receipt>,
    ) -> Observation {
        let now = moment(self.now);
        let mut observation = Observation {
            host: HostId::from(HOST),
            at: now,
            at_ms: EPOCH_MS + whole(self.now * 1e3),
            state: Reading::Absent { absence },
            process: Reading::Absent { absence },
            cgroup: Reading::Absent { absence },
            machine: Reading::Fresh {
                value: self.machine_sample(),
            },
            pid: None,
            receipts,
        };
        match seen {
            None => {}
            Some(Seen::Fresh(sample)) => {
                observation.state = Reading::Fresh {
                    value: sample.state,
                };
                observation.process = Reading::Fresh {
                    value: sample.process,
                };
                observation.cgroup = Reading::Fresh {
                    value: sample.cgroup,
                };
            }
            Some(Seen::Late(sample)) => {
                let age: Span = now.since(sample.at);
                observation.state = Reading::Stale {
                    value: sample.state,
                    age,
                };
                observation.process = Reading::Stale {
                    value: sample.process,
                    age,
                };
                observation.cgroup = Reading::Stale {
                    value: sample.cgroup,
                    age,
                };
            }
        }
        observation
    }

    /// CPU time since the last look, with noise and with what waiting workers spin away.
    fn look_at_cpu(&mut self) {
        let span = self.now - self.senses.looked_at;
        self.senses.looked_at = self.now;
        let (mut used, mut spin, mut keep) = (0.0, 0.0, 1.0_f64);
        for (index, site) in self.sites.iter().enumerate() {
            let own = site.pool.tally.cpu_s - self.senses.true_s[index];
            self.senses.true_s[index] = site.pool.tally.cpu_s;
            let noise = 1.0 + CPU_NOISE * self.senses.dice.normal();
            self.senses.pools_seen_s[index] += (own * noise).max(0.0);
            used += own;
            spin += SPIN_SHARE * site.pool.busy() as f64 * (1.0 - site.pool.rate()) * span;
            keep = keep.min(site.keep);
        }
        let noise = 1.0 + CPU_NOISE * self.senses.dice.normal();
        let most = self.quota() * keep * span;
        self.senses.seen_s += (used.min(most) * noise + spin).clamp(0.0, most.max(0.0));
    }

    fn sample(&self) -> Sample {
        let (memory, limit) = (whole(self.memory()), self.memory_limit());
        let cpu_us = whole(self.senses.seen_s * 1e6);
        Sample {
            at: moment(self.now),
            state: self.state(),
            process: ProcessSample {
                at: moment(self.now),
                cpu_ns: cpu_us * 1_000,
                rss_bytes: memory,
                threads: self
                    .sites
                    .iter()
                    .map(|site| site.pool.setting.workers)
                    .sum(),
                io: ProcessIo::default(),
            },
            cgroup: CgroupSample {
                cpu_quota_millicores: Some(whole(self.quota() * 1e3)),
                cpu_usage_us: Some(cpu_us),
                memory_bytes: Some(memory),
                working_set_bytes: Some(memory),
                memory_limit_bytes: limit.is_finite().then(|| whole(limit)),
                ..CgroupSample::default()
            },
        }
    }

    fn machine_sample(&self) -> MachineSample {
        MachineSample {
            cores: self.quota(),
            cpu_share: None,
            memory_total_bytes: MACHINE_MEMORY,
            memory_available_bytes: MACHINE_MEMORY.saturating_sub(whole(self.memory())),
        }
    }

    fn state(&self) -> HostState {
        let host = &self.host;
        let sites = self.sites.iter().enumerate();
        let pools = sites.map(|(index, site)| self.pool_state(index, site));
        HostState {
            api: 1,
            features: vec![feature::CHANGES.to_owned(), feature::LEASE.to_owned()],
            app: HOST.to_owned(),
            version: "1".to_owned(),
            labels: BTreeMap::new(),
            instance: host.instance.clone(),
            at_ns: moment(self.now).as_boot_ns(),
            pid: 0,
            uptime_ms: whole((self.now - host.started) * 1e3),
            epoch: host.epoch,
            generation: host.generation,
            lease: host.lease_state(self.now),
            frozen: false,
            freeze_persistent: false,
            control_disabled: false,
            process: ProcessFigures::default(),
            pools: pools.flatten().collect(),
        }
    }

    fn pool_state(&self, index: usize, site: &Site) -> Option<(PoolName, PoolState)> {
        let board = self.host.boards.get(index)?;
        let (pool, tally) = (&site.pool, &site.pool.tally);
        let mut knobs = board.knobs.clone();
        for (name, knob) in &mut knobs {
            knob.effective = knob.value.clone();
            knob.pinned_for_ms = board.pinned_for_ms(name, self.now);
            // A shrink ends nothing that runs.
            if name.as_str() == KnobName::WORKERS {
                let workers = pool.busy().max(pool.setting.workers);
                knob.effective = KnobValue::Integer(workers);
            }
        }
        let state = PoolState {
            kind: board.kind,
            generation: board.generation,
            revision: board.revision,
            phase: board.phase(),
            trial: board.trial.as_ref().map(|trial| TrialState {
                generation: trial.generation,
                expires_in_ms: whole((trial.deadline - self.now).max(0.0) * 1e3),
                before: trial.before.clone(),
            }),
            settling: knobs.values().any(|knob| knob.value != knob.effective),
            knobs,
            counters: Counters {
                arrived: Some(tally.arrived),
                started: Some(tally.started),
                completed: Some(tally.completed),
                failed: Some(0),
                rejected: Some(tally.rejected),
                timed_out: Some(tally.timed_out),
                abandoned: Some(0),
                exempt: Some(0),
                busy_us: Some(whole(tally.busy_s * 1e6)),
                wait_us: Some(whole(tally.wait_s * 1e6)),
                cpu_us: Some(whole(self.senses.pools_seen_s.get(index)? * 1e6)),
            },
            gauges: Gauges {
                busy: Some(pool.busy()),
                queued: Some(pool.queued()),
                oldest_wait_ms: Some(whole(pool.oldest_wait() * 1e3)),
                tasks: Some(pool.busy() + pool.queued()),
                named: BTreeMap::new(),
            },
            histograms: Histograms {
                total_us: Some(tally.total.histogram()),
                wait_us: Some(tally.wait.histogram()),
                service_us: Some(tally.service.histogram()),
                timeout_us: Some(tally.timeout.histogram()),
            },
        };
        Some((board.name.clone(), state))
    }
}

enum Seen {
    Fresh(Sample),
    Late(Sample),
}

/// Absent, reset or unreadable counters.
fn spoil(state: &mut HostState, how: u64) {
    for pool in state.pools.values_mut() {
        let counters = &mut pool.counters;
        match how {
            0 => (counters.completed, counters.busy_us) = (None, None),
            1 => {
                (counters.completed, counters.arrived) = (Some(0), Some(0));
                counters.busy_us = Some(0);
            }
            // A figure that is not a number is read as absent.
            _ => {
                *counters = Counters::default();
                pool.gauges = Gauges::default();
            }
        }
    }
}
