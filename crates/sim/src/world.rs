//! The modelled host as a whole: its pools, what they share, what happens to them, and memory that runs out.

mod senses;

use crate::dice::Dice;
use crate::host::Host;
use crate::plant::{CORES_DEFAULT, Plant};
use crate::pool::{Pool, Rules, Setting};
use crate::scenario::{EventKind, Scenario};
use crate::trace::{Arrival, Trace};
use std::collections::BTreeMap;
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::KnobName;

pub use senses::{HOST, League};

/// How long a host that was killed for memory is down, in seconds.
const DOWN_S: f64 = 10.0;

/// How much slower jobs run during `timeouts`.
const TIMEOUTS_SLOWDOWN: f64 = 20.0;

/// One pool with what is true of it now.
#[derive(Clone, Debug)]
struct Site {
    pool: Pool,
    plant: Plant,
    /// Share of the cores that is left.
    keep: f64,
    /// What events leave of the rate.
    pace: f64,
    /// Jobs below this on their luck stall when they start.
    stalled: f64,
    next_arrival: usize,
    /// Whether someone holds the workers by hand.
    overridden: bool,
    /// What stood before someone set the workers by hand.
    before_override: Option<u64>,
}

/// What an event does to the sidecar's reach.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    blind: bool,
    garbage: bool,
    refuse: bool,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Arrival(usize),
    End(usize),
    Timeout(usize),
    Control,
}

/// The modelled host.
#[derive(Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    trace: &'a Trace,
    sites: Vec<Site>,
    /// The control side.
    pub host: Host,
    now: f64,
    /// Events that begin or end: when, which, and whether it begins.
    marks: Vec<(f64, usize, bool)>,
    next_mark: usize,
    active: Vec<bool>,
    reach: Reach,
    down_until: Option<f64>,
    runs: u64,
    /// The share of the jobs that comes here; the others go to hosts like this one.
    share: f64,
    /// How often the host was killed for memory.
    pub kills: u64,
    senses: senses::Senses,
}

impl<'a> World<'a> {
    /// A host that starts now. `listens` keeps every job that ends until it is taken.
    #[must_use]
    pub fn new(scenario: &'a Scenario, trace: &'a Trace, seed: u64, listens: bool) -> Self {
        let host = Host::new(scenario, 0, 0.0);
        let seconds = crate::number::second(libm::ceil(scenario.duration));
        let sites = scenario.pools.iter().enumerate().map(|(index, spec)| Site {
            pool: Pool::new(
                Rules {
                    queue_deadline: spec.queue_deadline,
                    slo: spec.slo,
                },
                host.setting(index),
                seconds,
                listens,
            ),
            plant: spec.plant.clone(),
            keep: 1.0,
            pace: 1.0,
            stalled: 0.0,
            next_arrival: 0,
            overridden: false,
            before_override: None,
        });
        let mut marks = Vec::new();
        for (index, event) in scenario.events.iter().enumerate() {
            marks.push((event.at, index, true));
            marks.push((event.at + event.span, index, false));
        }
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut world = Self {
            scenario,
            trace,
            sites: sites.collect(),
            host,
            now: 0.0,
            marks,
            next_mark: 0,
            active: vec![false; scenario.events.len()],
            reach: Reach::default(),
            down_until: None,
            runs: 0,
            share: 1.0,
            kills: 0,
            senses: senses::Senses::new(Dice::new(seed, 1_000_001), scenario.pools.len()),
        };
        // A start beyond the memory's limit is found out at once.
        world.follow();
        world
    }

    /// What the pools achieved, once the run is over.
    #[must_use]
    pub fn into_achieved(self) -> Vec<crate::tally::Achieved> {
        let sites = self.sites.into_iter();
        sites
            .map(|site| {
                let mut achieved = site.pool.achieved;
                achieved.close_second();
                achieved
            })
            .collect()
    }

    /// The scenario that is run.
    #[must_use]
    pub fn scenario(&self) -> &'a Scenario {
        self.scenario
    }

    /// Now, in seconds.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.now
    }

    /// A pool, as it stands now.
    pub fn pool(&mut self, index: usize) -> Option<&mut Pool> {
        self.sites.get_mut(index).map(|site| &mut site.pool)
    }

    /// All pools, as they stand now.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.sites.iter().map(|site| &site.pool)
    }

    /// Whether the host is there.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.down_until.is_none()
    }

    /// Whether the host answers changes with an error.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.reach.refuse
    }

    /// Whether somebody holds the workers of a pool by hand.
    #[must_use]
    pub fn is_overridden(&self, pool: usize) -> bool {
        self.sites.get(pool).is_some_and(|site| site.overridden)
    }

    /// Runs until a time, or until a job ends where somebody listens. Returns whether the time was reached.
    pub fn run_until(&mut self, until: f64) -> bool {
        let mut control = self.next_control().min(until);
        loop {
            let (at, next) = self.next_event(control);
            self.now = at;
            match next {
                Next::Arrival(index) => self.arrive(index),
                Next::End(index) => self.at_pool(index, Pool::complete),
                Next::Timeout(index) => self.at_pool(index, Pool::time_out),
                Next::Control => {
                    if self.next_control() > at {
                        self.settle_all();
                        return true;
                    }
                    self.control();
                    control = self.next_control().min(until);
                }
            }
            let heard = |site: &Site| site.pool.has_ended();
            if self.sites.iter().any(heard) {
                return false;
            }
        }
    }

    fn next_event(&mut self, control: f64) -> (f64, Next) {
        let mut first = (control, Next::Control);
        for (index, site) in self.sites.iter_mut().enumerate() {
            let arrivals = self.trace.arrivals.get(index);
            let arrival = arrivals.and_then(|jobs| jobs.get(site.next_arrival));
            let times = [
                (
                    arrival.map_or(f64::INFINITY, |job| job.at),
                    Next::Arrival(index),
                ),
                (site.pool.next_end(), Next::End(index)),
                (site.pool.next_timeout(), Next::Timeout(index)),
            ];
            for (at, next) in times {
                if at < first.0 {
                    first = (at, next);
                }
            }
        }
        first
    }

    fn arrive(&mut self, index: usize) {
        let jobs = self.trace.arrivals.get(index);
        let Some(site) = self.sites.get_mut(index) else {
            return;
        };
        let Some(job) = jobs.and_then(|jobs| jobs.get(site.next_arrival)).copied() else {
            return;
        };
        site.next_arrival += 1;
        if job.luck >= self.share {
            return;
        }
        site.pool.achieved.arrived += 1;
        if self.down_until.is_none() {
            let luck = job.luck / self.share;
            self.at_pool(index, |pool| pool.arrive(Arrival { luck, ..job }));
        }
    }

    /// Does something at one pool, then lets the pool take on work and the others feel it.
    fn at_pool(&mut self, index: usize, act: impl FnOnce(&mut Pool)) {
        let Some(site) = self.sites.get_mut(index) else {
            return;
        };
        let before = site.pool.busy();
        site.pool.advance(self.now);
        act(&mut site.pool);
        site.pool.fill(site.stalled);
        if site.pool.busy() != before {
            self.set_rates(index);
        }
    }

    /// All pools' time is now, work is taken on, and the rates fit.
    fn settle_all(&mut self) {
        for site in &mut self.sites {
            site.pool.advance(self.now);
            if self.down_until.is_none() {
                site.pool.fill(site.stalled);
            }
        }
        (0..self.sites.len()).for_each(|index| self.set_rates(index));
    }

    /// The rates after the number of jobs in service changed in one pool. Where pools share cores, all of them feel it.
    fn set_rates(&mut self, index: usize) {
        let now = self.now;
        let Some(machine) = &self.scenario.machine else {
            if let Some(site) = self.sites.get_mut(index) {
                site.set_rate(1.0);
            }
            return;
        };
        let demand = |site: &Site| site.pool.busy() as f64 * site.plant.cpu_share();
        let demand: f64 = self.sites.iter().map(demand).sum();
        for site in &mut self.sites {
            site.pool.advance(now);
            let crowd = (demand / (machine.cores * site.keep)).max(1.0);
            let share = site.plant.cpu_share();
            site.set_rate(1.0 / ((1.0 - share) + share * crowd));
        }
    }

    /// When the control side has something to do next, apart from what the sidecar sends.
    fn next_control(&self) -> f64 {
        let mark = self
            .marks
            .get(self.next_mark)
            .map_or(f64::INFINITY, |mark| mark.0);
        let up = self.down_until.unwrap_or(f64::INFINITY);
        mark.min(up).min(self.host.next_due())
    }

    fn control(&mut self) {
        if self.down_until.is_some_and(|until| until <= self.now) {
            self.down_until = None;
        }
        while let Some((at, index, begins)) = self.marks.get(self.next_mark).copied() {
            if at > self.now {
                break;
            }
            self.next_mark += 1;
            self.mark(index, begins);
        }
        self.host.advance(self.now);
        self.follow();
    }

    /// The pools take over the values that the control side has, and memory is looked at.
    pub fn follow(&mut self) {
        for (index, site) in self.sites.iter_mut().enumerate() {
            site.pool.advance(self.now);
            site.pool.setting = self.host.setting(index);
        }
        if self.down_until.is_none() && self.memory() > self.memory_limit() {
            self.kills += 1;
            self.restart();
            self.down_until = Some(self.now + DOWN_S);
        }
        self.settle_all();
    }

    /// From now on this share of the jobs comes here.
    pub fn set_share(&mut self, share: f64) {
        self.share = share;
    }

    /// A person sets values of a pool; with a time in seconds they are pinned until then.
    pub fn set_by_person(
        &mut self,
        index: usize,
        values: &BTreeMap<KnobName, KnobValue>,
        pinned_until: Option<f64>,
    ) {
        self.host.set_by_person(index, values, pinned_until);
        self.follow();
    }

    /// Sets values of a pool past the control API: what a rival of ours does.
    pub fn set(&mut self, index: usize, setting: Setting) {
        let values = [
            (KnobName::WORKERS, setting.workers),
            (KnobName::QUEUE_LIMIT, setting.queue_limit),
            (
                KnobName::TIMEOUT_MS,
                crate::number::whole(setting.timeout * 1e3),
            ),
        ];
        let values = values.map(|(name, value)| (KnobName::from(name), KnobValue::Integer(value)));
        self.host.set_by_hand(index, &BTreeMap::from(values));
        self.follow();
    }

    /// Memory in use, in bytes: that of the configured workers.
    #[must_use]
    pub fn memory(&self) -> f64 {
        let used = |site: &Site| {
            let workers = site.pool.setting.workers as f64;
            site.plant.memory_base + workers * site.plant.memory_per_worker
        };
        self.sites.iter().map(used).sum()
    }

    /// The memory above which the host is killed, in bytes.
    #[must_use]
    pub fn memory_limit(&self) -> f64 {
        let own = self.sites.iter().filter_map(|site| site.plant.memory_limit);
        let shared = self
            .scenario
            .machine
            .and_then(|machine| machine.memory_limit);
        own.chain(shared).fold(f64::INFINITY, f64::min)
    }

    /// The cores that the sidecar sees, whatever is stolen of them.
    #[must_use]
    pub fn quota(&self) -> f64 {
        let own = self.sites.first().and_then(|site| site.plant.cores);
        let shared = self.scenario.machine.map(|machine| machine.cores);
        shared.or(own).unwrap_or(CORES_DEFAULT)
    }

    fn mark(&mut self, index: usize, begins: bool) {
        let Some(event) = self.scenario.events.get(index) else {
            return;
        };
        if let Some(active) = self.active.get_mut(index) {
            *active = begins;
        }
        match event.kind {
            EventKind::Restart if begins => self.restart(),
            EventKind::Override { workers } => {
                self.set_by_hand(event.pool, begins.then_some(workers))
            }
            _ => {}
        }
        self.apply_events();
    }

    /// Someone sets the workers, or puts back what they found.
    fn set_by_hand(&mut self, only: Option<usize>, workers: Option<u64>) {
        for (index, site) in self.sites.iter_mut().enumerate() {
            if only.is_some_and(|only| only != index) {
                continue;
            }
            let value = match workers {
                Some(workers) => {
                    site.before_override = Some(site.pool.setting.workers);
                    Some(workers)
                }
                None => site.before_override.take(),
            };
            if let Some(value) = value {
                let values = [(KnobName::from(KnobName::WORKERS), KnobValue::Integer(value))];
                self.host.set_by_hand(index, &BTreeMap::from(values));
            }
        }
    }

    /// Plants and reach under all events that are active; a later one of the file stands above an earlier one.
    fn apply_events(&mut self) {
        self.reach = Reach::default();
        for (index, site) in self.sites.iter_mut().enumerate() {
            site.pool.advance(self.now);
            if let Some(spec) = self.scenario.pools.get(index) {
                site.plant = spec.plant.clone();
            }
            (site.keep, site.pace, site.stalled) = (1.0, 1.0, 0.0);
            site.overridden = false;
        }
        let events = self.scenario.events.iter().zip(&self.active);
        for (event, _) in events.filter(|(_, active)| **active) {
            match &event.kind {
                EventKind::Blind => self.reach.blind = true,
                EventKind::Garbage => self.reach.garbage = true,
                EventKind::Refuse => self.reach.refuse = true,
                _ => {}
            }
            let about = |index: usize| event.pool.is_none_or(|only| only == index);
            let sites = self.sites.iter_mut().enumerate();
            for (index, site) in sites.filter(|(index, _)| about(*index)) {
                site.feel(&event.kind, index);
            }
        }
    }

    /// The host begins anew with its start values; everything queued and in service is lost.
    fn restart(&mut self) {
        self.runs += 1;
        self.host = Host::new(self.scenario, self.runs, self.now);
        for (index, site) in self.sites.iter_mut().enumerate() {
            site.pool.advance(self.now);
            site.pool.restart(self.host.setting(index));
            site.before_override = None;
        }
        self.senses.forget();
    }
}

impl Site {
    fn set_rate(&mut self, shared: f64) {
        let own = self.plant.rate(self.pool.busy(), self.keep);
        self.pool.cpu_share = self.plant.cpu_share();
        self.pool.set_rate(own.min(shared) * self.pace);
    }

    fn feel(&mut self, kind: &EventKind, index: usize) {
        match kind {
            EventKind::Plant(plants) => {
                if let Some(plant) = plants.get(index) {
                    self.plant = plant.clone();
                }
            }
            EventKind::Hang => self.pace = 0.0,
            EventKind::Timeouts => self.pace /= TIMEOUTS_SLOWDOWN,
            EventKind::Stall { share } => self.stalled = *share,
            EventKind::Steal { keep } => self.keep = *keep,
            EventKind::Override { .. } => self.overridden = true,
            EventKind::Blind | EventKind::Garbage | EventKind::Refuse | EventKind::Restart => {}
        }
    }
}
