//! The host's resources and a pool's load, from two observations.

use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::observation::{CgroupSample, MachineSample, Observation, ProcessIo};
use crate::profile::Levels;
use trimtab_protocol::decision::Level;

/// The time constant of the load's mean: a decision of seconds should not follow a burst of milliseconds.
const LOAD_SECONDS: f64 = 10.0;

/// The level falls only when the load is this far below its threshold, so that it does not flicker.
const LEVEL_HYSTERESIS: f64 = 0.05;

/// The largest ratio that each level allows a change, in basis points. Where the levels begin is the profile's to say.
const RATIOS: [(Level, u32); 4] = [
    (Level::Conservative, 10_000),
    (Level::Moderate, 12_500),
    (Level::Aggressive, 15_000),
    (Level::Maximum, 20_000),
];

/// CPU and memory of the host; absent figures are absent, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostSignals {
    /// CPU used since the last tick, in cores.
    pub cpu_cores: Option<f64>,
    /// What the host may use, in cores: the quota or the machine's cores, whichever is less.
    pub quota_cores: Option<f64>,
    /// Share of the time for which the control group was throttled.
    pub throttled_share: Option<f64>,
    /// Memory used, as a share of what it may use.
    pub memory_share: Option<f64>,
    /// What it may use, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Resident memory, in bytes.
    pub rss_bytes: Option<u64>,
    /// Live tasks of its runtimes.
    pub tasks: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Share of the last ten seconds in which some task waited for CPU.
    pub cpu_pressure: Option<f64>,
    /// The same for memory.
    pub memory_pressure: Option<f64>,
    /// To and from disk and network.
    pub io: IoRates,
}

/// Bytes a second since the last tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct IoRates {
    /// Read from disk.
    pub read_per_s: Option<f64>,
    /// Written towards disk.
    pub written_per_s: Option<f64>,
    /// Received from the network.
    pub received_per_s: Option<f64>,
    /// Sent into it.
    pub sent_per_s: Option<f64>,
}

impl HostSignals {
    /// CPU used, as a share of what may be used.
    #[must_use]
    pub fn cpu_share(&self) -> Option<f64> {
        match (self.cpu_cores, self.quota_cores) {
            (Some(used), Some(quota)) if quota > 0.0 => Some(used / quota),
            _ => None,
        }
    }

    /// The signals of an observation, against the one before it.
    #[must_use]
    pub fn read(before: Option<&Observation>, now: &Observation) -> Self {
        let cgroup = now.cgroup.fresh();
        let machine = now.machine.fresh();
        let memory_limit_bytes = memory_limit(cgroup, machine, now);
        let memory_used = cgroup
            .filter(|cgroup| cgroup.memory_limit_bytes.is_some())
            .and_then(|cgroup| cgroup.working_set_bytes.or(cgroup.memory_bytes))
            .or_else(|| now.process.fresh().map(|process| process.rss_bytes));
        Self {
            cpu_cores: before.and_then(|before| cpu_cores(before, now)),
            quota_cores: quota_cores(cgroup, machine),
            throttled_share: before.and_then(|before| throttled_share(before, now)),
            memory_share: match (memory_used, memory_limit_bytes) {
                (Some(used), Some(limit)) if limit > 0 => Some(fraction(used) / fraction(limit)),
                _ => None,
            },
            memory_limit_bytes,
            rss_bytes: now.process.fresh().map(|process| process.rss_bytes),
            tasks: now.state.fresh().and_then(|state| state.process.tasks),
            threads: now.process.fresh().map(|process| process.threads),
            cpu_pressure: cgroup.and_then(|cgroup| cgroup.cpu_pressure),
            memory_pressure: cgroup.and_then(|cgroup| cgroup.memory_pressure),
            io: before
                .and_then(|before| io_rates(before, now))
                .unwrap_or_default(),
        }
    }
}

fn cpu_cores(before: &Observation, now: &Observation) -> Option<f64> {
    let (was, is) = (before.process.fresh()?, now.process.fresh()?);
    let span = is.at.since(was.at);
    let used = is.cpu_ns.checked_sub(was.cpu_ns)?;
    (span.as_ns() > 0).then(|| fraction(used) / fraction(span.as_ns()))
}

/// A counter that went backwards is another interface or process, and no rate.
fn io_rates(before: &Observation, now: &Observation) -> Option<IoRates> {
    let (was, is) = (before.process.fresh()?, now.process.fresh()?);
    let seconds = is.at.since(was.at).as_secs_f64();
    let rate = |count: fn(&ProcessIo) -> Option<u64>| {
        let bytes = count(&is.io)?.checked_sub(count(&was.io)?)?;
        (seconds > 0.0).then(|| fraction(bytes) / seconds)
    };
    Some(IoRates {
        read_per_s: rate(|io| io.read_bytes),
        written_per_s: rate(|io| io.written_bytes),
        received_per_s: rate(|io| io.received_bytes),
        sent_per_s: rate(|io| io.sent_bytes),
    })
}

fn quota_cores(cgroup: Option<&CgroupSample>, machine: Option<&MachineSample>) -> Option<f64> {
    let quota = cgroup
        .and_then(|cgroup| cgroup.cpu_quota_millicores)
        .map(|quota| fraction(quota) / 1e3);
    let cores = machine.map(|machine| machine.cores);
    match (quota, cores) {
        (Some(quota), Some(cores)) => Some(quota.min(cores)),
        (quota, cores) => quota.or(cores),
    }
}

fn throttled_share(before: &Observation, now: &Observation) -> Option<f64> {
    let throttled = now
        .cgroup
        .fresh()?
        .throttled_us?
        .checked_sub(before.cgroup.fresh()?.throttled_us?)?;
    let seconds = now.at.since(before.at).as_secs_f64();
    (seconds > 0.0).then(|| fraction(throttled) / 1e6 / seconds)
}

/// The control group's limit, or what the process has plus what the machine could still give it.
fn memory_limit(
    cgroup: Option<&CgroupSample>,
    machine: Option<&MachineSample>,
    now: &Observation,
) -> Option<u64> {
    cgroup
        .and_then(|cgroup| cgroup.memory_limit_bytes)
        .or_else(|| {
            let available = machine?.memory_available_bytes;
            Some(available.saturating_add(now.process.fresh()?.rss_bytes))
        })
}

/// A pool's load: the mean over about ten seconds of max(busy / limit, CPU used / quota), and the level that follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    mean: Option<f64>,
    level: Option<Level>,
}

impl Load {
    /// Takes in one tick under the profile's levels. Where work waits for workers the mean does not lag behind: the load is
    /// there already.
    pub fn add(
        &mut self,
        (busy, workers): (f64, u64),
        cpu_share: Option<f64>,
        span: Span,
        starved: bool,
        levels: &Levels,
    ) {
        let now = (busy / fraction(workers.max(1)))
            .max(cpu_share.unwrap_or(0.0))
            .clamp(0.0, 1.0);
        let weight = 1.0 - libm::exp(-span.as_secs_f64() / LOAD_SECONDS);
        let mean = self.mean.map_or(now, |mean| mean + weight * (now - mean));
        let mean = if starved { mean.max(now) } else { mean };
        self.mean = Some(mean);
        self.level = Some(level_after(self.level, mean, levels));
    }

    /// The mean, between 0 and 1.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        self.mean
    }

    /// The level; conservative until a load is known.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level.unwrap_or(Level::Conservative)
    }
}

fn level_after(before: Option<Level>, load: f64, levels: &Levels) -> Level {
    let reached = |margin: f64| {
        let mut reached = Level::Conservative;
        for (level, threshold) in [
            (Level::Moderate, &levels.moderate),
            (Level::Aggressive, &levels.aggressive),
            (Level::Maximum, &levels.maximum),
        ] {
            if load >= threshold.value - margin {
                reached = level;
            }
        }
        reached
    };
    let rising = reached(0.0);
    match before {
        Some(before) if rising < before => before.min(reached(LEVEL_HYSTERESIS)),
        _ => rising,
    }
}

/// The largest ratio of one change at a level, in basis points; 10,000 means that nothing may change.
#[must_use]
pub fn level_ratio_bp(level: Level) -> u32 {
    RATIOS
        .iter()
        .find(|(listed, _)| *listed == level)
        .map_or(10_000, |(_, ratio)| *ratio)
}

/// Counts events within a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    moments: std::collections::VecDeque<Moment>,
}

/// More events than this are never remembered; every limit here is far smaller.
const RECENT_MAX: usize = 256;

impl Recent {
    /// Notes one event.
    pub fn note(&mut self, now: Moment) {
        if self.moments.len() == RECENT_MAX {
            self.moments.pop_front();
        }
        self.moments.push_back(now);
    }

    /// How many events lie within `span` before `now`.
    #[must_use]
    pub fn within(&self, now: Moment, span: Span) -> u32 {
        let count = self
            .moments
            .iter()
            .filter(|moment| now.since(**moment) < span)
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Cited;

    fn after(before: Option<Level>, load: f64) -> Level {
        level_after(before, load, &Levels::default())
    }

    fn add(load: &mut Load, busy: f64, cpu_share: Option<f64>, seconds: u64, starved: bool) {
        let span = Span::from_secs(seconds);
        load.add((busy, 10), cpu_share, span, starved, &Levels::default());
    }

    #[test]
    fn a_level_falls_only_when_the_load_is_clearly_below_it() {
        assert_eq!(after(None, 0.5), Level::Aggressive);
        assert_eq!(after(Some(Level::Aggressive), 0.47), Level::Aggressive);
        assert_eq!(after(Some(Level::Aggressive), 0.44), Level::Moderate);
        assert_eq!(after(Some(Level::Maximum), 0.1), Level::Conservative);
        assert_eq!(after(Some(Level::Conservative), 0.95), Level::Maximum);
    }

    #[test]
    fn the_profile_says_where_the_levels_begin() {
        let late = Levels {
            moderate: Cited::built_in("levels.moderate", 0.9),
            aggressive: Cited::built_in("levels.aggressive", 0.95),
            maximum: Cited::built_in("levels.maximum", 1.0),
        };
        let at = |load| level_after(None, load, &late);
        assert_eq!(
            [0.85, 0.9, 0.96, 1.0].map(at),
            [
                Level::Conservative,
                Level::Moderate,
                Level::Aggressive,
                Level::Maximum
            ]
        );
    }

    #[test]
    fn the_load_is_the_worse_of_workers_and_cpu() {
        let mut load = Load::default();
        add(&mut load, 1.0, Some(0.7), 1, false);
        assert_eq!(load.mean(), Some(0.7));
        add(&mut load, 10.0, Some(0.2), 10, false);
        let mean = load.mean().expect("two ticks");
        assert!((0.85..0.95).contains(&mean), "{mean}");
    }

    #[test]
    fn waiting_work_is_load_at_once() {
        let mut load = Load::default();
        (0..60).for_each(|_| add(&mut load, 0.5, None, 1, false));
        add(&mut load, 10.0, None, 1, true);
        assert_eq!((load.mean(), load.level()), (Some(1.0), Level::Maximum));
    }

    #[test]
    fn unknown_cpu_is_not_idle_cpu() {
        assert_eq!(HostSignals::default().cpu_share(), None);
        let mut load = Load::default();
        add(&mut load, 9.0, None, 1, false);
        assert_eq!(load.mean(), Some(0.9));
    }

    #[test]
    fn only_recent_events_count() {
        let mut recent = Recent::default();
        (0..10_u64).for_each(|second| recent.note(Moment::from_boot_ns(second * 1_000_000_000)));
        let now = Moment::from_boot_ns(10_000_000_000);
        assert_eq!(recent.within(now, Span::from_secs(3)), 2);
        assert_eq!(recent.within(now, Span::from_secs(60)), 10);
    }
}
