//! A loop that adds and takes hosts, by the rules of Kubernetes' horizontal autoscaler.

use super::Case;
use crate::dice::Dice;
use crate::number::whole;
use crate::world::World;
use std::collections::VecDeque;

const STREAM: u64 = 79;
/// A ratio of the figure to its target within this is left alone.
const TOLERANCE: f64 = 0.1;
/// Hosts are taken only down to the most that was wanted within so many seconds.
const STABILISATION_S: f64 = 300.0;
/// A new host serves after so many seconds.
const READY_AFTER_S: f64 = 20.0;
const HOSTS_MAX: u64 = 12;
/// The share of a host's peak at which the loop would have it.
const TARGET: f64 = 0.7;

/// By what the loop scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// CPU time.
    Cpu,
    /// Jobs in service and waiting.
    InFlight,
}

impl Signal {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::InFlight => "jobs in flight",
        }
    }
}

pub(super) struct Scaler {
    signal: Signal,
    /// What the figure of one host should be.
    target: f64,
    /// Between two looks, in seconds.
    every: f64,
    next_look: f64,
    hosts: u64,
    /// Hosts that have been ordered, and when they will be there.
    coming: VecDeque<(f64, u64)>,
    /// What was wanted within the window of stabilisation.
    wanted: VecDeque<(f64, u64)>,
    /// When the loop looked last, and the integral of its figure then.
    looked: (f64, f64),
}

impl Scaler {
    pub(super) fn new(case: &Case) -> Self {
        let mut dice = Dice::new(case.number, STREAM);
        let pool = case.scenario.pools.first();
        let cpu = pool.map_or(1.0, |pool| {
            pool.plant.peak() * pool.plant.work.mean() * pool.plant.cpu_share()
        });
        let total = pool.map_or(1.0, |pool| pool.load.rate(0.0) / pool.plant.peak());
        let every = dice.between(15.0, 30.0);
        Self {
            signal: case.signal,
            target: TARGET
                * match case.signal {
                    Signal::Cpu => cpu,
                    Signal::InFlight => case.best as f64,
                },
            every,
            next_look: every,
            hosts: whole(libm::ceil(total / TARGET)).clamp(1, HOSTS_MAX),
            coming: VecDeque::new(),
            wanted: VecDeque::new(),
            looked: (0.0, 0.0),
        }
    }

    /// How many hosts serve now.
    pub(super) fn hosts(&self) -> u64 {
        self.hosts
    }

    pub(super) fn act(&mut self, world: &mut World<'_>) {
        let now = world.now();
        while let Some((at, more)) = self.coming.front().copied().filter(|(at, _)| *at <= now) {
            debug_assert!(at <= now, "it is due");
            self.coming.pop_front();
            self.hosts += more;
        }
        if now >= self.next_look {
            self.next_look += self.every;
            self.look(world, now);
        }
        world.set_share(1.0 / self.hosts as f64);
    }

    fn look(&mut self, world: &mut World<'_>, now: f64) {
        let signal = self.signal;
        let integral = world.pool(0).map_or(0.0, |pool| match signal {
            Signal::Cpu => pool.tally.cpu_s,
            Signal::InFlight => pool.tally.busy_s + pool.tally.wait_s,
        });
        let (before, was) = std::mem::replace(&mut self.looked, (now, integral));
        let ratio = (integral - was) / (now - before) / self.target;
        let ordered: u64 = self.coming.iter().map(|(_, more)| *more).sum();
        let all = self.hosts + ordered;
        // While hosts are on their way, the figure is that of those which serve.
        let wanted = if (ratio - 1.0).abs() <= TOLERANCE {
            self.hosts
        } else {
            whole(libm::ceil(self.hosts as f64 * ratio))
        };
        let most = (2 * all).max(all + 4).min(HOSTS_MAX);
        let wanted = wanted.clamp(1, most);
        self.wanted.push_back((now, wanted));
        while self
            .wanted
            .front()
            .is_some_and(|(at, _)| now - at > STABILISATION_S)
        {
            self.wanted.pop_front();
        }
        let floor = self
            .wanted
            .iter()
            .map(|(_, wanted)| *wanted)
            .max()
            .unwrap_or(1);
        if wanted > all {
            self.coming.push_back((now + READY_AFTER_S, wanted - all));
        } else if floor < all && ordered == 0 {
            self.hosts = floor;
        }
    }
}
