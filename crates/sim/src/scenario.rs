//! A scenario: one modelled host under one load, as a file describes it.
//!
//! The format is fixed, so that files nobody here has seen can be read. Errors name the file, the line and the column.

mod document;
mod quantity;
mod read;

use crate::plant::Plant;
use std::path::{Path, PathBuf};
use trimtab_protocol::state::PoolKind;

/// The timeout where a scenario names none, in seconds.
pub const TIMEOUT_DEFAULT: f64 = 30.0;
/// The smallest timeout where a scenario names none, in seconds.
pub const TIMEOUT_MIN_DEFAULT: f64 = 1.0;
/// The largest timeout where a scenario names none, in seconds.
pub const TIMEOUT_MAX_DEFAULT: f64 = 60.0;

/// One modelled host under one load.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its short name.
    pub name: String,
    /// What a good controller does here.
    pub about: String,
    /// How long it runs, in seconds.
    pub duration: f64,
    /// Whether it counts for the worst and the mean.
    pub scored: bool,
    /// What the pools share; absent for a host of one pool that shares nothing.
    pub machine: Option<Machine>,
    /// The pools, at least one.
    pub pools: Vec<Pool>,
    /// What happens meanwhile, in the order of the file.
    pub events: Vec<Event>,
}

/// What the pools of one host share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Cores.
    pub cores: f64,
    /// Memory above which the host is killed, in bytes.
    pub memory_limit: Option<f64>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// What sort of work it does.
    pub kind: PoolKind,
    /// What it counts in the score of a host with several.
    pub weight: f64,
    /// Workers at the start.
    pub start: u64,
    /// The profile's smallest size.
    pub min: u64,
    /// The profile's largest size.
    pub max: u64,
    /// What an operator would have set by hand.
    pub operator: u64,
    /// A job that ends later than this after its arrival is no goodput, in seconds.
    pub slo: f64,
    /// A job that finds so many waiting is rejected.
    pub queue_limit: u64,
    /// A job that waited longer is timed out before it starts, in seconds.
    pub queue_deadline: f64,
    /// A job that is longer in service is timed out, in seconds: at the start ...
    pub timeout: f64,
    /// ... and the profile's smallest ...
    pub timeout_min: f64,
    /// ... and largest.
    pub timeout_max: f64,
    /// How jobs progress.
    pub plant: Plant,
    /// How they arrive.
    pub load: Load,
}

/// Arrivals: a rate in jobs a second, linear between points.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Times in seconds and jobs a second; two points at one time make a step.
    pub points: Vec<(f64, f64)>,
    /// After so many seconds the points begin anew.
    pub period: Option<f64>,
}

/// Something that happens to the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it begins, in seconds.
    pub at: f64,
    /// How long it lasts, in seconds.
    pub span: f64,
    /// The pool that it is about; all of them where none is named.
    pub pool: Option<usize>,
    /// What it is.
    pub kind: EventKind,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The plant is another one meanwhile; one a pool, in the order of the pools.
    Plant(Vec<Plant>),
    /// Nothing completes.
    Hang,
    /// No sample reaches the sidecar.
    Blind,
    /// Samples carry absent, impossible or reset counters.
    Garbage,
    /// The host answers every change with an error.
    Refuse,
    /// Someone sets the workers by hand, and puts the old value back at the end.
    Override {
        /// What they set.
        workers: u64,
    },
    /// Every job in service runs twenty times slower.
    Timeouts,
    /// Jobs that start meanwhile may never end by themselves.
    Stall {
        /// How many of them.
        share: f64,
    },
    /// The host restarts with its start values and counters at zero.
    Restart,
    /// Someone else takes cores.
    Steal {
        /// What is left, as a share.
        keep: f64,
    },
}

impl EventKind {
    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plant(_) => "plant",
            Self::Hang => "hang",
            Self::Blind => "blind",
            Self::Garbage => "garbage",
            Self::Refuse => "refuse",
            Self::Override { .. } => "override",
            Self::Timeouts => "timeouts",
            Self::Stall { .. } => "stall",
            Self::Restart => "restart",
            Self::Steal { .. } => "steal",
        }
    }
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file or directory cannot be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no scenario.
    #[error("{file}:{line}:{column}: {what}")]
    Wrong {
        /// The file, as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
}

impl Scenario {
    /// Reads a scenario from its text; `file` is what errors call it.
    ///
    /// # Errors
    /// `Wrong` with the place.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScenarioError> {
        read::scenario(text).map_err(|wrong| {
            let before = text.get(..wrong.at).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            ScenarioError::Wrong {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                what: wrong.what,
            }
        })
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    /// `Unreadable`, or `Wrong` with the place.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Whether nothing changes during the run: one load, no events.
    #[must_use]
    pub fn is_stationary(&self) -> bool {
        let steady = |pool: &Pool| pool.load.is_steady();
        self.events.is_empty() && self.pools.iter().all(steady)
    }

    /// The same scenario, started at other sizes.
    #[must_use]
    pub fn started_at(&self, sizes: &[u64]) -> Self {
        let mut scenario = self.clone();
        for (pool, size) in scenario.pools.iter_mut().zip(sizes) {
            pool.start = *size;
        }
        scenario
    }

    /// What operators would have set, pool by pool.
    #[must_use]
    pub fn operator(&self) -> Vec<u64> {
        self.pools.iter().map(|pool| pool.operator).collect()
    }

    /// Whether some event is of a kind that makes the timeout matter.
    #[must_use]
    pub fn has_stalls(&self) -> bool {
        let stalls = |event: &Event| matches!(event.kind, EventKind::Stall { .. });
        self.events.iter().any(stalls)
    }

    /// The times at which something begins, ends or bends: events and load points, without 0 and the end.
    #[must_use]
    pub fn turning_points(&self) -> Vec<f64> {
        let mut times: Vec<f64> = Vec::new();
        for event in &self.events {
            times.extend([event.at, event.at + event.span]);
        }
        for pool in &self.pools {
            pool.load.turning_points(self.duration, &mut times);
        }
        times.retain(|time| *time > 0.0 && *time < self.duration);
        times.sort_by(f64::total_cmp);
        times.dedup_by(|later, earlier| *later - *earlier < 1e-9);
        times
    }
}

impl Load {
    /// Jobs a second at a time.
    #[must_use]
    pub fn rate(&self, time: f64) -> f64 {
        let time = self.period.map_or(time, |period| time % period);
        let next = self.points.partition_point(|(at, _)| *at <= time);
        match (
            next.checked_sub(1).and_then(|last| self.points.get(last)),
            self.points.get(next),
        ) {
            (Some((at, rate)), Some((next_at, next_rate))) => {
                rate + (next_rate - rate) * (time - at) / (next_at - at)
            }
            (Some((_, rate)), None) | (None, Some((_, rate))) => *rate,
            (None, None) => 0.0,
        }
    }

    /// The largest rate, in jobs a second.
    #[must_use]
    pub fn rate_max(&self) -> f64 {
        self.points
            .iter()
            .map(|(_, rate)| *rate)
            .fold(0.0, f64::max)
    }

    fn is_steady(&self) -> bool {
        let first = self.points.first().map_or(0.0, |(_, rate)| *rate);
        self.points
            .iter()
            .all(|(_, rate)| (rate - first).abs() < 1e-12)
    }

    fn turning_points(&self, duration: f64, times: &mut Vec<f64>) {
        let Some(period) = self.period else {
            times.extend(self.points.iter().map(|(at, _)| *at));
            return;
        };
        let mut start = 0.0;
        while start < duration {
            times.extend(self.points.iter().map(|(at, _)| start + at));
            start += period;
        }
    }
}

/// The scenario files of a directory, in the order of their names; a file stands for itself.
///
/// # Errors
/// `Unreadable`.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(|source| unreadable(path, source))?;
    let mut found = Vec::new();
    for entry in entries {
        let file = entry.map_err(|source| unreadable(path, source))?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

fn unreadable(path: &Path, source: std::io::Error) -> ScenarioError {
    let path = path.to_owned();
    ScenarioError::Unreadable { path, source }
}

#[cfg(test)]
mod tests;
