//! Replays a corpus of requests against a host, in whatever language it is written, and says how far it keeps the control API.
//!
//! A *case* of the corpus is a list of steps: the state before, a request, and the answer, all of which were recorded from the
//! host of `crates/host`. Numbers and names that differ between hosts stand there as symbols: `$epoch+1` is the epoch that
//! follows the one in force when the case began, `$step` a value of a knob that one change may reach. Whatever a host answers is
//! turned into symbols in the same way, and then the two must be equal. Every case of a level must be kept for a host to have it:
//!
//! - level 0, *state*: it can be watched and advised;
//! - level 1, *changes*: it takes a lease and changes with a base revision, as trials that are confirmed or rolled back;
//! - level 2, *all of it*: it fences, forgets nothing that a retry needs, undoes by itself what nobody confirms, and obeys its
//!   operator.
//!
//! The replay changes a knob many times by the smallest step, and freezes, pins and resets. It is for a host on a test bench. It
//! leaves a host as it found it.

mod corpus;
mod picture;
mod replay;
mod symbols;
mod wire;

pub use corpus::{Case, Step, Wait, corpus};
pub use picture::Difference;
pub use replay::record;
pub use wire::{Door, DoorError, Trouble};

use replay::{Outcome, Replay};
use serde::Serialize;
use thiserror::Error;

/// Where the host under test is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a sidecar reaches it.
    pub control: Door,
    /// As an operator does; without it level 2 cannot be shown.
    pub operator: Option<Door>,
}

/// Why nothing can be said about a host.
#[derive(Debug, Error)]
pub enum ConformError {
    /// It does not answer.
    #[error("the host does not answer: {0}")]
    Silent(#[from] Trouble),
    /// It is in use, or not where it started.
    #[error("{0}; the replay needs a host that nobody uses, at its baseline")]
    Busy(String),
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the host calls its service.
    pub app: String,
    /// The version of the service.
    pub version: String,
    /// The highest level of which every case was kept; none when not even the state is right.
    pub level: Option<u8>,
    /// The cases in order.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// What the case says of a host.
    pub name: String,
    /// The level that needs it.
    pub level: u8,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The host did as the reference does.
    Kept,
    /// It did something else.
    Deviates {
        /// The step, counted from 1.
        step: usize,
        /// Its request.
        call: String,
        /// What was expected there and what was found.
        differences: Vec<Difference>,
    },
    /// It was not tried, and its level is not shown.
    NotTried {
        /// Why.
        why: String,
    },
    /// Nothing of the host fits it, such as a step beyond the ratio where the bounds are closer.
    DoesNotApply {
        /// Why.
        why: String,
    },
}

impl Report {
    /// Whether the host did anything that the reference does not do.
    #[must_use]
    pub fn deviates(&self) -> bool {
        let deviates = |case: &CaseReport| matches!(case.verdict, Verdict::Deviates { .. });
        self.cases.iter().any(deviates)
    }
}

/// Replays the corpus.
///
/// # Errors
/// When the host does not answer at all, or is in use.
pub async fn check(target: &Target, cases: &[Case]) -> Result<Report, ConformError> {
    let replay = Replay::begin(target).await?;
    let mut reports = Vec::with_capacity(cases.len());
    for case in cases {
        let verdict = match replay.case(case).await {
            Outcome::Played(_) => Verdict::Kept,
            Outcome::Ended(verdict) => verdict,
        };
        reports.push(CaseReport {
            name: case.name.clone(),
            level: case.level,
            verdict,
        });
    }
    Ok(Report {
        app: replay.app().to_owned(),
        version: replay.version().to_owned(),
        level: level(&reports),
        cases: reports,
    })
}

/// The highest level up to which every case was kept or does not apply.
fn level(cases: &[CaseReport]) -> Option<u8> {
    let shown = |case: &CaseReport| match case.verdict {
        Verdict::Kept | Verdict::DoesNotApply { .. } => true,
        Verdict::Deviates { .. } | Verdict::NotTried { .. } => false,
    };
    let missed = cases.iter().filter(|case| !shown(case));
    match missed.map(|case| case.level).min() {
        Some(missed) => missed.checked_sub(1),
        None => cases.iter().map(|case| case.level).max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(level: u8, verdict: Verdict) -> CaseReport {
        CaseReport {
            name: String::new(),
            level,
            verdict,
        }
    }

    #[test]
    fn a_level_is_shown_when_all_up_to_it_is_kept() {
        let not_tried = || Verdict::NotTried { why: String::new() };
        let inapplicable = || Verdict::DoesNotApply { why: String::new() };
        let kept = || Verdict::Kept;
        let all = [case(0, kept()), case(1, inapplicable()), case(2, kept())];
        assert_eq!(level(&all), Some(2));
        let cases = [case(0, kept()), case(1, kept()), case(2, not_tried())];
        assert_eq!(level(&cases), Some(1));
        let cases = [case(0, not_tried()), case(1, kept())];
        assert_eq!(level(&cases), None);
    }
}
