//! The sentences: each decision, intent and outcome in plain English, with its numbers and units.
//!
//! A reason is an enum with numbers until here, so that programs count reasons and people read sentences. Every match is
//! exhaustive: a new reason without words does not compile. Words that come from a host are cleaned first; nothing here
//! trusts them.

mod command;
mod learnt;
mod reload;
mod rule;
mod setting;
mod verdict;

pub use command::command;
pub use reload::reload;

use crate::view::words::{absence, foreign, level};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Level, Reason, Verdict,
};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::KnobName;
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::view::{DecisionRecord, IntentRecord, OutcomeRecord};
use verdict::found;

/// A decision in one sentence, with the lines of the profile that bounded it.
#[must_use]
pub fn decision(record: &DecisionRecord) -> String {
    let change = record.change.as_ref().map(summary);
    let change = change.as_deref().unwrap_or("a change");
    let mut text = match record.action {
        Action::Hold => String::from("Held"),
        Action::Try => format!("Tries {change}"),
        Action::Confirm => format!("Keeps {change}"),
        Action::RollBack => format!("Rolls back {change}"),
        Action::Advise => format!("Would try {change}"),
    };
    text.push_str(": ");
    text.push_str(&because(&record.reason));
    let observes = (record.action, &record.reason) == (Action::Hold, &Reason::ModeObserves);
    if observes && record.change.is_some() {
        push(&mut text, format_args!("; it would try {change}"));
    }
    if let Some(expected) = &record.expectation
        && matches!(record.action, Action::Try | Action::Advise)
    {
        push(
            &mut text,
            format_args!(
                "; {} good completions a second are hoped for, and {} more would count as a gain",
                figure(expected.goodput_per_s),
                figure(expected.least_gain_per_s)
            ),
        );
    }
    text.push_str(&bounds(&record.bound_by));
    text.push('.');
    text
}

/// An intent in one sentence.
#[must_use]
pub fn intent(record: &IntentRecord) -> String {
    let generation = record.generation;
    match record.action {
        Action::Try => format!(
            "About to ask for trial {generation}: {}.",
            settings(&record.set)
        ),
        Action::Confirm => format!("About to confirm trial {generation}."),
        Action::RollBack => format!("About to roll back trial {generation}."),
        Action::Hold | Action::Advise => format!("About to ask nothing about trial {generation}."),
    }
}

/// An outcome in one sentence.
#[must_use]
pub fn outcome(record: &OutcomeRecord) -> String {
    let generation = record.generation;
    let asked = match record.action {
        Action::Try => "Beginning",
        Action::Confirm => "Confirming",
        Action::RollBack => "Rolling back",
        Action::Hold | Action::Advise => "Asking about",
    };
    let took = millis(record.took_us);
    match &record.reason {
        None => format!("{asked} trial {generation} went well, in {took}."),
        Some(reason) => format!(
            "{asked} trial {generation} did not go through: {}, after {took}.",
            because(reason)
        ),
    }
}

/// Why, as the rest of a sentence after a colon.
#[must_use]
pub fn because(reason: &Reason) -> String {
    match reason {
        Reason::Blind { missing, absence } => blind(missing, *absence),
        Reason::WarmingUp { seen, needed } => warming_up(*seen, *needed),
        Reason::Stuck { seconds } => stuck(*seconds),
        Reason::Standby {
            holder,
            expires_in_ms,
        } => standby(holder, *expires_in_ms),
        Reason::Watching { seconds, needed_s } => watching(*seconds, *needed_s),
        Reason::ModeObserves
        | Reason::LeasePending
        | Reason::Frozen
        | Reason::NotOffered
        | Reason::NotSent => forbidden(reason).to_owned(),
        Reason::Pinned { knob } => format!("an operator holds {}", foreign(knob.as_str())),
        Reason::Yielding { seconds } => yielding(*seconds),
        Reason::ProfileChosen { .. } => command::because(reason),
        Reason::Idle | Reason::Ample | Reason::NothingToGain | Reason::Settling => {
            content(reason).to_owned()
        }
        Reason::TooFew { completed, needed } => too_few(*completed, *needed),
        Reason::Measuring { seconds, verdict } => measuring(*seconds, verdict),
        Reason::OtherTrial { pool } => format!("pool `{}` has the host's one trial", foreign(pool)),
        Reason::Resting { direction, seconds } => resting(*direction, *seconds),
        Reason::AtBound { knob, bound } => at_bound(knob, *bound),
        Reason::LevelForbids { level, load } => level_forbids(*level, *load),
        Reason::RateLimited { .. } | Reason::MemoryForbids { .. } => limited(reason),
        Reason::Starved { queued, lost_per_s } => starved(*queued, *lost_per_s),
        Reason::LookBelow { queued, lost_per_s } => look_below(*queued, *lost_per_s),
        Reason::CpuFull { cpu_share } => cpu_full(*cpu_share),
        Reason::HarmBudget { .. }
        | Reason::Climbing { .. }
        | Reason::Predicted { .. }
        | Reason::Surge { .. }
        | Reason::Suspicious { .. }
        | Reason::ServiceChanged { .. }
        | Reason::KnownAgain { .. }
        | Reason::Collapsed { .. }
        | Reason::TooLate { .. }
        | Reason::QueueFollows { .. }
        | Reason::TimeoutFollows { .. }
        | Reason::Relaxed { .. }
        | Reason::NeedsNoProof => learnt::because(reason),
        Reason::InPlace
        | Reason::QuietAwaited
        | Reason::Pausing { .. }
        | Reason::ProfileSets
        | Reason::MemoryHigh { .. }
        | Reason::MemoryEased { .. }
        | Reason::TookEffect
        | Reason::NoEffect { .. } => setting::because(reason),
        Reason::Paid {
            verdict: verdict @ Verdict::NoDifference { .. },
        } => format!("nothing got worse, as {}", found(verdict)),
        Reason::Paid { verdict } => format!("it paid, as {}", found(verdict)),
        Reason::DidNotPay { verdict } => format!("it did not pay, as {}", found(verdict)),
        Reason::EvidenceLost { absence } => evidence_lost(*absence),
        Reason::SettingsChanged => "it was begun under settings that no longer hold".to_owned(),
        Reason::TriggerLacks { .. }
        | Reason::BetweenDecisions { .. }
        | Reason::Triggered { .. } => rule::because(reason),
        Reason::ShuttingDown => "the sidecar ends and leaves no trial behind".to_owned(),
        Reason::TrialEnded { status } => trial_ended(*status).to_owned(),
        Reason::Refused { problem, detail } => refused(*problem, detail),
        Reason::AnswerLost { absence } => answer_lost(*absence),
    }
}

/// Why nothing needs to be changed now.
fn content(reason: &Reason) -> &'static str {
    match reason {
        Reason::Idle => "there is little to do",
        Reason::Ample => "work flows and nothing waits",
        Reason::NothingToGain => "nothing that may be tried promises a gain",
        _ => "a change is on its way or still taking effect",
    }
}

/// Which limit stands in the way.
fn limited(reason: &Reason) -> String {
    match reason {
        Reason::RateLimited {
            changes,
            allowed,
            window_s,
        } => rate_limited(*changes, *allowed, *window_s),
        Reason::MemoryForbids {
            predicted_share,
            allowed_share,
        } => memory_forbids(*predicted_share, *allowed_share),
        _ => String::new(),
    }
}

/// Why nothing may be changed, whatever the load.
fn forbidden(reason: &Reason) -> &'static str {
    match reason {
        Reason::ModeObserves => "the mode does not allow changes",
        Reason::LeasePending => "the lease is asked for and not granted yet",
        Reason::Frozen => "an operator froze the host",
        Reason::NotOffered => "control is switched off in the host, or it offers no changes",
        _ => {
            "it was not sent, because the ledger could not take the intent, act was busy, or a freeze came first"
        }
    }
}

fn watching(seconds: f64, needed_s: f64) -> String {
    format!(
        "work waits, but for {} s so far, and {} s are watched before anything is tried",
        figure(seconds),
        figure(needed_s)
    )
}

fn blind(missing: &str, why: Absence) -> String {
    format!("{} is missing, because {}", foreign(missing), absence(why))
}

fn warming_up(seen: u32, needed: u32) -> String {
    format!("warming up, with {seen} of {needed} good readings seen")
}

fn stuck(seconds: f64) -> String {
    let seconds = figure(seconds);
    format!("work is in the pool and none of it has ended for {seconds} s")
}

fn standby(holder: &str, expires_in_ms: u64) -> String {
    let holder = foreign(holder);
    format!("`{holder}` holds the lease for another {expires_in_ms} ms")
}

fn yielding(seconds: f64) -> String {
    format!(
        "an operator or another program changed the pool, and those values are left alone for another {} s",
        figure(seconds)
    )
}

fn too_few(completed: u64, needed: u64) -> String {
    format!("only {completed} of the {needed} completions that a conclusion needs were seen")
}

fn measuring(seconds: f64, verdict: &Verdict) -> String {
    format!(
        "the trial has been measured for {} s, and so far {}",
        figure(seconds),
        found(verdict)
    )
}

fn resting(direction: Direction, seconds: f64) -> String {
    let way = match direction {
        Direction::Up => "a larger size",
        Direction::Down => "a smaller size",
    };
    let seconds = figure(seconds);
    format!("{way} did not pay a while ago, and rests for another {seconds} s")
}

fn at_bound(knob: &KnobName, bound: u64) -> String {
    let knob = foreign(knob.as_str());
    format!("{knob} is at its bound of {bound}")
}

fn level_forbids(at: Level, load: f64) -> String {
    format!(
        "the load of {} allows no change at the level `{}`",
        percent(load),
        level(at)
    )
}

fn rate_limited(changes: u32, allowed: u32, window_s: f64) -> String {
    let window = figure(window_s);
    format!("{changes} of {allowed} changes were made within the last {window} s")
}

fn memory_forbids(predicted: f64, allowed: f64) -> String {
    format!(
        "that size would take {} of the memory limit, and {} is allowed",
        percent(predicted),
        percent(allowed)
    )
}

fn starved(queued: f64, lost_per_s: f64) -> String {
    format!(
        "work waits for workers, {} in the queue and {} lost a second",
        figure(queued),
        figure(lost_per_s)
    )
}

fn look_below(queued: f64, lost_per_s: f64) -> String {
    format!(
        "work waits ({} in the queue, {} lost a second), and whether fewer workers do as much is not known yet",
        figure(queued),
        figure(lost_per_s)
    )
}

fn cpu_full(cpu_share: f64) -> String {
    format!(
        "the CPU quota is {} used, and fewer workers stand less in each other's way",
        percent(cpu_share)
    )
}

fn evidence_lost(why: Absence) -> String {
    format!(
        "what would show whether it helped is missing, because {}",
        absence(why)
    )
}

fn refused(problem: ProblemKind, detail: &str) -> String {
    let (title, status) = (problem.title(), problem.status());
    let detail = foreign(detail);
    format!("the host refused, as {title} ({status}): {detail}")
}

fn answer_lost(why: Absence) -> String {
    format!(
        "the host's answer is not known, because {}, so the host is read again first",
        absence(why)
    )
}

fn trial_ended(status: ChangeStatus) -> &'static str {
    match status {
        ChangeStatus::Trial => "the host still has the trial open",
        ChangeStatus::Confirmed => "the host says that the trial was kept",
        ChangeStatus::RolledBack => "the host says that the trial was undone on request",
        ChangeStatus::Expired => {
            "the host undid the trial: its time or its lease ran out, or an operator ended it"
        }
        ChangeStatus::Superseded => "someone else's change ended the trial",
    }
}

fn summary(change: &ChangeSummary) -> String {
    let parts: Vec<String> = change
        .set
        .iter()
        .map(|(knob, value)| {
            let knob = foreign(knob.as_str());
            format!("{knob} {} -> {}", shown(&value.from), shown(&value.to))
        })
        .collect();
    if parts.is_empty() {
        "a change".to_owned()
    } else {
        parts.join(" and ")
    }
}

fn settings(set: &BTreeMap<KnobName, KnobValue>) -> String {
    let parts: Vec<String> = set
        .iter()
        .map(|(knob, value)| format!("{} {}", foreign(knob.as_str()), shown(value)))
        .collect();
    parts.join(" and ")
}

fn shown(value: &KnobValue) -> String {
    match value {
        KnobValue::Integer(number) => number.to_string(),
        KnobValue::Choice(word) => foreign(word),
    }
}

fn bounds(citations: &[Citation]) -> String {
    let parts: Vec<String> = citations
        .iter()
        .map(|citation| {
            let Citation {
                key,
                file,
                line,
                column,
            } = citation;
            if file.is_empty() {
                format!("{}, built in", foreign(key))
            } else {
                format!("{}, {}:{line}:{column}", foreign(key), foreign(file))
            }
        })
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" (bound by {})", parts.join("; "))
    }
}

fn with_error(difference: f64, error: f64) -> String {
    format!("{} a second (± {})", figure(difference), figure(error))
}

/// A number with no more digits than it deserves.
fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        trimmed(format!("{value:.1}"))
    } else {
        trimmed(format!("{value:.2}"))
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Microseconds as milliseconds, for people.
fn millis(us: u64) -> String {
    let whole = us / 1_000;
    let tenth = us % 1_000 / 100;
    if whole >= 10 || tenth == 0 && whole > 0 {
        format!("{whole} ms")
    } else {
        format!("{whole}.{tenth} ms")
    }
}

fn trimmed(mut text: String) -> String {
    if text.contains('.') {
        let kept = text.trim_end_matches('0').trim_end_matches('.').len();
        text.truncate(kept);
    }
    text
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _infallible = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::held;
    use crate::view::words::{action, kind};
    use trimtab_protocol::decision::{Expectation, ValueChange};
    use trimtab_protocol::name::{Epoch, Generation};

    const ROSE: Verdict = Verdict::GoodputRose {
        gain_per_s: 41.25,
        error_per_s: 9.3,
    };

    fn verdicts() -> Vec<Verdict> {
        vec![
            ROSE,
            Verdict::TailFell {
                before_us: 912_000,
                now_us: 84_300,
            },
            Verdict::SameForLess {
                gain_per_s: -0.4,
                error_per_s: 6.0,
            },
            Verdict::GoodputFell {
                loss_per_s: 120.0,
                error_per_s: 14.0,
            },
            Verdict::ErrorsRose {
                before_per_s: 0.0,
                now_per_s: 3.5,
            },
            Verdict::TailRose {
                before_us: 1_000,
                now_us: 2_450,
            },
            Verdict::NoDifference {
                gain_per_s: 1.0,
                error_per_s: 4.0,
            },
            Verdict::Pooled { ratio: 1.042 },
            Verdict::NothingWaits,
            Verdict::LoadMoved {
                before_per_s: 200.0,
                now_per_s: 310.4,
            },
            Verdict::TooFew {
                completed: 12,
                needed: 30,
            },
        ]
    }

    const WATCHING: Reason = Reason::Watching {
        seconds: 0.25,
        needed_s: 1.0,
    };

    /// The reasons for values that are set and not searched for.
    fn settings() -> Vec<Reason> {
        let (share, at_share) = (0.74, 0.7);
        vec![
            Reason::InPlace,
            Reason::QuietAwaited,
            Reason::Pausing { seconds: 12.0 },
            Reason::ProfileSets,
            Reason::MemoryHigh { share, at_share },
            Reason::MemoryEased {
                share: 0.5,
                at_share,
            },
            Reason::TookEffect,
            Reason::NoEffect { seconds: 30.0 },
        ]
    }

    fn reasons() -> Vec<Reason> {
        let absence = Absence::TimedOut;
        let knob = KnobName::from("workers");
        let mut all = vec![
            Reason::Blind {
                missing: "the state".to_owned(),
                absence,
            },
            Reason::WarmingUp { seen: 2, needed: 5 },
            Reason::Stuck { seconds: 7.25 },
            Reason::ModeObserves,
            Reason::Standby {
                holder: "other\u{1b}[31m".to_owned(),
                expires_in_ms: 4_200,
            },
            Reason::LeasePending,
            Reason::Frozen,
            Reason::NotOffered,
            Reason::Pinned { knob: knob.clone() },
            Reason::Yielding { seconds: 118.0 },
            Reason::Idle,
            Reason::Ample,
            Reason::NothingToGain,
            Reason::TooFew {
                completed: 3,
                needed: 30,
            },
            Reason::Settling,
            Reason::Measuring {
                seconds: 4.0,
                verdict: ROSE,
            },
            Reason::OtherTrial {
                pool: "api".to_owned(),
            },
            Reason::Resting {
                direction: Direction::Up,
                seconds: 33.4,
            },
            Reason::Resting {
                direction: Direction::Down,
                seconds: 0.5,
            },
            Reason::AtBound { knob, bound: 64 },
            Reason::LevelForbids {
                level: Level::Conservative,
                load: 0.12,
            },
            Reason::RateLimited {
                changes: 6,
                allowed: 6,
                window_s: 60.0,
            },
            Reason::MemoryForbids {
                predicted_share: 0.97,
                allowed_share: 0.94,
            },
            Reason::Starved {
                queued: 12.5,
                lost_per_s: 0.0,
            },
            Reason::LookBelow {
                queued: 103.5,
                lost_per_s: 2.25,
            },
            Reason::CpuFull { cpu_share: 0.993 },
            Reason::EvidenceLost { absence },
            Reason::ShuttingDown,
            Reason::Refused {
                problem: ProblemKind::TooSoon,
                detail: "12 changes\nin 60 s".to_owned(),
            },
            Reason::NotSent,
            Reason::AnswerLost { absence },
        ];
        let ends = [
            ChangeStatus::Trial,
            ChangeStatus::Confirmed,
            ChangeStatus::RolledBack,
            ChangeStatus::Expired,
            ChangeStatus::Superseded,
        ];
        all.push(WATCHING);
        all.extend(learnt::tests::reasons());
        all.extend(settings());
        all.extend(command::tests::profile_reasons());
        all.extend(ends.map(|status| Reason::TrialEnded { status }));
        all.extend(
            verdicts()
                .into_iter()
                .map(|verdict| Reason::Paid { verdict }),
        );
        all.push(Reason::DidNotPay {
            verdict: Verdict::TooFew {
                completed: 1,
                needed: 30,
            },
        });
        all
    }

    fn snapshot(name: &str, lines: &[String]) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
    }

    #[test]
    fn every_reason_has_its_sentence() {
        let lines: Vec<String> = reasons()
            .iter()
            .map(|reason| format!("{:<16} {}", kind(reason), because(reason)))
            .collect();
        snapshot("reasons", &lines);
    }

    #[test]
    fn a_kind_is_the_word_that_stands_in_the_json() {
        for reason in reasons() {
            let json = serde_json::to_value(&reason).unwrap();
            assert_eq!(json["kind"], kind(&reason));
        }
        for done in [
            Action::Hold,
            Action::Try,
            Action::Confirm,
            Action::RollBack,
            Action::Advise,
        ] {
            assert_eq!(serde_json::to_value(done).unwrap(), action(done));
        }
    }

    #[test]
    fn every_absence_has_its_words() {
        let all = [
            Absence::NotYet,
            Absence::Unreachable,
            Absence::TimedOut,
            Absence::TooLarge,
            Absence::Garbage,
            Absence::Redirected,
            Absence::WrongVersion,
            Absence::Gone,
            Absence::NotTrusted,
            Absence::NotOffered,
            Absence::Impossible,
        ];
        let lines = all.map(|why| because(&Reason::EvidenceLost { absence: why }));
        snapshot("absences", &lines);
    }

    #[test]
    fn decisions_intents_and_outcomes_are_sentences() {
        let change = ChangeSummary {
            generation: Some(Generation(7)),
            set: BTreeMap::from([
                (
                    KnobName::from("workers"),
                    ValueChange {
                        from: 8.into(),
                        to: 12.into(),
                    },
                ),
                (
                    KnobName::from("memory_level"),
                    ValueChange {
                        from: KnobValue::Choice("low".to_owned()),
                        to: KnobValue::Choice("high".to_owned()),
                    },
                ),
            ]),
        };
        let cited = |file: &str| Citation {
            key: "workers.max".to_owned(),
            file: file.to_owned(),
            line: 12,
            column: 7,
        };
        let tries = DecisionRecord {
            action: Action::Try,
            reason: Reason::Starved {
                queued: 12.5,
                lost_per_s: 1.0,
            },
            expectation: Some(Expectation {
                goodput_per_s: 120.5,
                least_gain_per_s: 9.0,
            }),
            change: Some(change),
            bound_by: vec![cited("profiles/web.toml"), cited("")],
            ..held()
        };
        let with = |action, reason| DecisionRecord {
            action,
            reason,
            ..tries.clone()
        };
        let intent_of = |action| IntentRecord {
            action,
            epoch: Epoch(2),
            generation: Generation(7),
            set: BTreeMap::from([(KnobName::from("workers"), 12.into())]),
        };
        let outcome_of = |action, reason| OutcomeRecord {
            action,
            generation: Generation(7),
            reason,
            took_us: 1_840,
        };
        let lines = [
            decision(&held()),
            decision(&tries),
            decision(&with(Action::Advise, Reason::ModeObserves)),
            decision(&with(Action::Confirm, Reason::Paid { verdict: ROSE })),
            decision(&with(Action::RollBack, Reason::ShuttingDown)),
            intent(&intent_of(Action::Try)),
            intent(&intent_of(Action::Confirm)),
            intent(&intent_of(Action::RollBack)),
            outcome(&outcome_of(Action::Try, None)),
            outcome(&outcome_of(Action::Confirm, None)),
            outcome(&outcome_of(
                Action::RollBack,
                Some(Reason::AnswerLost {
                    absence: Absence::TimedOut,
                }),
            )),
        ];
        snapshot("entries", &lines);
    }
}
