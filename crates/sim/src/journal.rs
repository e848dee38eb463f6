//! A run written down: one JSON line a tick, for people and for replay.

use crate::oracle::Best;
use crate::player::Player;
use crate::run::{Driver, Run, Second};
use crate::scenario::Scenario;
use crate::sidecar;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use trimtab_core::decision::Decision;
use trimtab_core::observation::Observation;
use trimtab_core::recording::{Line, Replay, digest};

/// The lines of a run: each second of each pool with what stood, what came of it, and what was decided and why.
#[must_use]
pub fn trace(run: &Run<'_>, player: &Player, best: &Best) -> Vec<Value> {
    let mut decisions: Vec<Value> = Vec::new();
    let mut look = |_: &Observation, decision: Option<&Decision>, _: &Second| {
        decisions.push(decision.map_or(Value::Null, described));
    };
    let outcome = player.watch(run, best, &mut look);
    let mut lines = Vec::new();
    for (second, seen) in outcome.seconds.iter().enumerate() {
        for (index, pool) in run.scenario.pools.iter().enumerate() {
            let (Some(setting), Some(achieved)) =
                (seen.settings.get(index), outcome.pools.get(index))
            else {
                continue;
            };
            let decided = decisions
                .get(second)
                .and_then(|all| all.get(&pool.name).or_else(|| all.get("")));
            lines.push(json!({
                "at": seen.at,
                "pool": pool.name,
                "workers": setting.workers,
                "queue_limit": setting.queue_limit,
                "timeout_s": setting.timeout,
                "busy": seen.busy.get(index),
                "queued": seen.queued.get(index),
                "load_per_s": pool.load.rate(seen.at),
                "completed": achieved.done.get(second),
                "good": achieved.good.get(second),
                "decision": decided,
            }));
        }
    }
    lines
}

/// The records of a decision by pool: a list where a pool has several. The one without a pool stands under the empty name.
fn described(decision: &Decision) -> Value {
    let mut all = serde_json::Map::new();
    for (pool, record) in &decision.records {
        let name = pool.as_ref().map_or("", |pool| pool.as_str()).to_owned();
        // A record holds numbers and words only, so it can always be written.
        let record = serde_json::to_value(record).unwrap_or(Value::Null);
        match all.get_mut(&name) {
            None => {
                all.insert(name, record);
            }
            Some(Value::Array(records)) => records.push(record),
            Some(one) => *one = Value::Array(vec![one.take(), record]),
        }
    }
    Value::Object(all)
}

/// A recording that cannot be made or replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be written or read.
    #[error("the recording cannot be written or read")]
    Io(#[from] std::io::Error),
    /// A line is not what a recording holds.
    #[error("line {line} is no line of a recording")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// There is no first line that says what the controller was told.
    #[error("the recording has no beginning")]
    Empty,
}

/// Runs the product's controller and writes down all that it read and decided.
///
/// # Errors
/// `Io`, and `Line` where something cannot be written as JSON.
pub fn record(
    run: &Run<'_>,
    scenario: &Scenario,
    out: &mut dyn Write,
) -> Result<(), RecordingError> {
    let settings = sidecar::settings(scenario);
    let mut lines = vec![serde_json::to_string(&Line::Begins { settings })];
    let mut look = |observation: &Observation, decision: Option<&Decision>, _: &Second| {
        let Some(decision) = decision else { return };
        let tick = Line::Tick {
            observation: observation.clone(),
            records: decision.records.clone(),
            digest: digest(decision),
        };
        lines.push(serde_json::to_string(&tick));
    };
    let controller = Box::new(sidecar::controller(scenario));
    drop(run.watched(Driver::Controller(controller), &mut look));
    for (number, line) in lines.into_iter().enumerate() {
        let line = line.map_err(|source| RecordingError::Line {
            line: number + 1,
            source,
        })?;
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What became of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions made again.
    pub decisions: usize,
    /// The first that differs, counted from 1, as it was and as it is.
    pub different: Option<(usize, String, String)>,
}

/// Feeds a recording to a new controller and compares each decision.
///
/// # Errors
/// Where the recording cannot be read.
pub fn replay(input: &mut dyn BufRead) -> Result<Replayed, RecordingError> {
    let mut replay = Replay::new(None);
    let mut replayed = Replayed::default();
    let mut empty = true;
    for (number, line) in input.lines().enumerate() {
        let line: Line = serde_json::from_str(&line?).map_err(|source| RecordingError::Line {
            line: number + 1,
            source,
        })?;
        empty = false;
        let played = replay.play(line).map_err(|_| RecordingError::Empty)?;
        let Some(played) = played else { continue };
        replayed.decisions += 1;
        if !played.same {
            let (was, is) = (&played.was, &played.decision.records);
            let (was, is) = (format!("{was:?}"), format!("{is:?}"));
            replayed.different = Some((replayed.decisions, was, is));
            return Ok(replayed);
        }
    }
    if empty {
        return Err(RecordingError::Empty);
    }
    Ok(replayed)
}
