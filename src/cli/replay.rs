//! `trimtab replay`: decides a recording again, and says whether each decision is the same, bit for bit; or shows what another
//! profile would have advised.

use super::time::utc;
use super::{Console, Exit, ended};
use crate::config::{self, Overrides};
use crate::record::text;
use crate::telemetry::escaped;
use crate::view::words;
use clap::Args;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use thiserror::Error;
use trimtab_core::profile::Profile;
use trimtab_core::recording::{Line, Played, Replay};
use trimtab_protocol::decision::{Action, ChangeSummary};
use trimtab_protocol::name::PoolName;
use trimtab_protocol::view::DecisionRecord;

/// The options of `trimtab replay`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ReplayArgs {
    /// The recording, as `trimtab run --record FILE` writes it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Ask this profile as well, for every pool, and show each tick at which it would have advised another change: a file, or
    /// the name of a profile that is built in
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
}

/// Why a recording cannot be replayed.
#[derive(Debug, Error)]
enum ReplayError {
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("line {line} is no line of a recording: {source}")]
    Line {
        line: usize,
        source: serde_json::Error,
    },
    #[error("the recording does not begin with what the controller was told")]
    NoBeginning,
}

type Records = [(Option<PoolName>, DecisionRecord)];

/// What came of all lines.
#[derive(Debug, Default)]
struct Summary {
    decisions: usize,
    /// Decisions that are not as they were.
    different: usize,
    /// Ticks at which the other profile would have changed something else.
    otherwise: usize,
}

impl ReplayArgs {
    /// Replays: 0 when every decision is the same, 1 when one is not or the recording cannot be read, 78 for a wrong profile.
    pub fn execute(&self, vars: &Overrides, console: &mut Console<'_>) -> Exit {
        let profile = match self.profile.as_deref().map(|named| profile(named, vars)) {
            None => None,
            Some(Ok(Some(profile))) => Some(profile),
            Some(Ok(None)) => {
                return console.fail(&"there is no such profile, neither built in nor as a file");
            }
            Some(Err(errors)) => return console.refuse(&errors),
        };
        match self.replay(profile, console.out) {
            Ok(summary) => {
                let exit = if summary.different == 0 {
                    Exit::Done
                } else {
                    Exit::Failed
                };
                ended(
                    summary
                        .write(self.profile.as_deref(), console.out)
                        .map(|()| exit),
                )
            }
            Err(error) => console.fail(&escaped(&error.to_string())),
        }
    }

    fn replay(
        &self,
        profile: Option<Profile>,
        out: &mut dyn Write,
    ) -> Result<Summary, ReplayError> {
        let input = BufReader::new(File::open(&self.file)?);
        let mut replay = Replay::new(profile);
        let mut summary = Summary::default();
        let mut begun = false;
        for (number, line) in input.lines().enumerate() {
            let line: Line = serde_json::from_str(&line?).map_err(|source| ReplayError::Line {
                line: number + 1,
                source,
            })?;
            let played = replay.play(line).map_err(|_| ReplayError::NoBeginning)?;
            begun = true;
            if let Some(played) = played {
                summary.add(&played, out)?;
            }
        }
        if begun {
            Ok(summary)
        } else {
            Err(ReplayError::NoBeginning)
        }
    }
}

/// A profile by the name of one that is built in, or from a file.
fn profile(named: &str, vars: &Overrides) -> Result<Option<Profile>, config::ConfigErrors> {
    let built_in = config::built_in_profiles(vars)?;
    if let Some(profile) = built_in.into_iter().find(|profile| profile.name == named) {
        return Ok(Some(profile));
    }
    let path = PathBuf::from(named);
    if !path.exists() {
        return Ok(None);
    }
    config::load_profiles(&[path], vars).map(|read| read.into_iter().next())
}

impl Summary {
    fn add(&mut self, played: &Played, out: &mut dyn Write) -> io::Result<()> {
        self.decisions += 1;
        let at = utc(played.decision.at_ms);
        if !played.same {
            self.different += 1;
            for (pool, line) in differences(&played.was, &played.decision.records) {
                writeln!(out, "{at}  {pool:<12}  {line}")?;
            }
        }
        let Some(other) = &played.other else {
            return Ok(());
        };
        let lines = otherwise(&played.was, &other.records);
        self.otherwise += usize::from(!lines.is_empty());
        for (pool, line) in lines {
            writeln!(out, "{at}  {pool:<12}  {line}")?;
        }
        Ok(())
    }

    fn write(&self, profile: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
        match self.different {
            0 => writeln!(out, "{} decisions, all the same", self.decisions)?,
            some => writeln!(out, "{some} of {} decisions differ", self.decisions)?,
        }
        if let Some(profile) = profile {
            let (some, profile) = (self.otherwise, escaped(profile));
            writeln!(
                out,
                "`{profile}` would have changed something else at {some} of them"
            )?;
        }
        Ok(())
    }
}

fn named(pool: Option<&PoolName>) -> String {
    pool.map_or_else(|| "-".to_owned(), |pool| escaped(pool.as_str()))
}

/// What differs, a line a record. Where the records are the same, it is the orders or the status that differ.
fn differences(was: &Records, is: &Records) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (number, (pool, record)) in is.iter().enumerate() {
        let before = was.get(number).map(|(_, record)| record);
        if before != Some(record) {
            let before = before.map_or_else(|| "nothing".to_owned(), text::decision);
            let line = format!("was: {before}; is: {}", text::decision(record));
            lines.push((named(pool.as_ref()), escaped(&line)));
        }
    }
    if lines.is_empty() {
        lines.push(("-".to_owned(), "what is sent or shown differs".to_owned()));
    }
    lines
}

/// Where the other profile would have begun another change than the one that was begun, or one where none was.
fn otherwise(was: &Records, would: &Records) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (pool, record) in would {
        let own = was
            .iter()
            .filter(|(name, record)| name == pool && begins(record))
            .find_map(|(_, record)| record.change.as_ref());
        let other = record.change.as_ref().filter(|_| begins(record));
        if wanted(own) == wanted(other) {
            continue;
        }
        let told = |change: Option<&ChangeSummary>| match change {
            None => "nothing".to_owned(),
            Some(change) => {
                let set = change.set.iter();
                let set: Vec<String> = set
                    .map(|(knob, value)| format!("{knob} {} to {}", value.from, value.to))
                    .collect();
                set.join(", ")
            }
        };
        let because = text::because(&record.reason);
        let line = format!(
            "tried {}; would try {} ({}: {because})",
            told(own),
            told(other),
            words::kind(&record.reason)
        );
        lines.push((named(pool.as_ref()), escaped(&line)));
    }
    lines
}

fn begins(record: &DecisionRecord) -> bool {
    matches!(record.action, Action::Try | Action::Advise)
}

/// The targets of a change, without its number.
fn wanted(
    change: Option<&ChangeSummary>,
) -> Vec<(
    &trimtab_protocol::name::KnobName,
    &trimtab_protocol::knob::KnobValue,
)> {
    let set = change.into_iter().flat_map(|change| &change.set);
    set.map(|(knob, value)| (knob, &value.to)).collect()
}
