//! The sentences about what operators tell the sidecar, and about why a pool follows its profile.

use super::{figure, percent};
use crate::view::words::foreign;
use trimtab_protocol::command::{Command, CommandRecord, CommandResult, Operator};
use trimtab_protocol::decision::{ProfileBasis, Reason};

/// A command in one sentence: who, by which way, what, and what came of it.
#[must_use]
pub fn command(record: &CommandRecord) -> String {
    let who = foreign(&record.operator.to_string());
    let way = match record.operator {
        Operator::Socket { .. } => "over the operator's socket",
        Operator::Token { .. } => "over HTTP",
    };
    let would = if record.dry_run {
        "asked in a dry run to"
    } else {
        "asked to"
    };
    let asked = asked(&record.asked);
    let outcome = match &record.outcome {
        CommandResult::Done { text } => foreign(text),
        CommandResult::Partly { text, missing } => {
            format!("{}; but {}", foreign(text), foreign(missing))
        }
        CommandResult::Refused { problem, detail } => {
            format!("refused, as {}: {}", problem.title(), foreign(detail))
        }
    };
    format!("Operator: {who} {would} {asked} {way}: {outcome}.")
}

/// What is asked, as the end of a sentence.
fn asked(command: &Command) -> String {
    match command {
        Command::Freeze(freeze) => match &freeze.reason {
            Some(reason) => format!("freeze (\"{}\")", foreign(reason)),
            None => "freeze".to_owned(),
        },
        Command::Unfreeze(_) => "lift the freeze".to_owned(),
        Command::Pin(pin) => {
            let value = pin.value.as_ref().map_or_else(
                || "as it is".to_owned(),
                |value| format!("at {}", foreign(&value.to_string())),
            );
            format!(
                "hold {} of {} {value} for {} s",
                foreign(pin.knob.as_str()),
                foreign(pin.pool.as_str()),
                pin.for_ms.div_ceil(1_000)
            )
        }
        Command::Unpin(unpin) => format!(
            "release {} of {}",
            foreign(unpin.knob.as_str()),
            foreign(unpin.pool.as_str())
        ),
        Command::Reset(reset) => match &reset.pool {
            Some(pool) => format!("reset {}", foreign(pool.as_str())),
            None => "reset every pool".to_owned(),
        },
        Command::Profile(profile) => match &profile.profile {
            Some(name) => format!(
                "let {} follow {}",
                foreign(profile.pool.as_str()),
                foreign(name)
            ),
            None => format!(
                "let {} follow its own profile",
                foreign(profile.pool.as_str())
            ),
        },
        Command::Approve(_) => "approve the configuration that waits".to_owned(),
        Command::Reject(_) => "reject the configuration that waits".to_owned(),
    }
}

/// Why a pool follows another profile, as the rest of a sentence after a colon; every other reason is empty here.
pub(super) fn because(reason: &Reason) -> String {
    let Reason::ProfileChosen {
        profile,
        before,
        because,
    } = reason
    else {
        return String::new();
    };
    let why = match because {
        ProfileBasis::Operator { who, seconds } => {
            let until = seconds.map_or_else(
                || "until the sidecar is started again".to_owned(),
                |seconds| format!("for {} s", figure(seconds)),
            );
            format!("{} said so, {until}", foreign(who))
        }
        ProfileBasis::Configured => "the configuration says so".to_owned(),
        ProfileBasis::Declared => "the host declares this kind of work".to_owned(),
        ProfileBasis::LongJobs { job_ms, seconds } => format!(
            "a job took {} ms on average over {} s, which is long",
            figure(*job_ms),
            figure(*seconds)
        ),
        ProfileBasis::Computes {
            cpu_share,
            job_ms,
            seconds,
        } => format!(
            "over {} s {} of the busy time was CPU time, at {} ms a job: it computes",
            figure(*seconds),
            percent(*cpu_share),
            figure(*job_ms)
        ),
        ProfileBasis::Waits {
            cpu_share,
            job_ms,
            seconds,
        } => format!(
            "over {} s only {} of the busy time was CPU time, at {} ms a job: it mostly waits",
            figure(*seconds),
            percent(*cpu_share),
            figure(*job_ms)
        ),
        ProfileBasis::Unknown => "nothing is known that would tell its kind".to_owned(),
    };
    format!(
        "the pool follows the profile {} from now on and {} no longer, because {why}",
        foreign(profile),
        foreign(before)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use trimtab_protocol::command::{PinCommand, PlainCommand};
    use trimtab_protocol::operator::FreezeRequest;
    use trimtab_protocol::problem::ProblemKind;

    /// One of each reason to follow another profile.
    pub(in crate::record::text) fn profile_reasons() -> Vec<Reason> {
        let (job_ms, seconds) = (12.5, 300.0);
        let bases = [
            ProfileBasis::Operator {
                who: "user 0 (process 7)".to_owned(),
                seconds: Some(90.0),
            },
            ProfileBasis::Operator {
                who: "token night\u{1b}".to_owned(),
                seconds: None,
            },
            ProfileBasis::Configured,
            ProfileBasis::Declared,
            ProfileBasis::LongJobs { job_ms, seconds },
            ProfileBasis::Computes {
                cpu_share: 0.42,
                job_ms,
                seconds,
            },
            ProfileBasis::Waits {
                cpu_share: 0.04,
                job_ms,
                seconds,
            },
            ProfileBasis::Unknown,
        ];
        let reasons = bases.map(|because| Reason::ProfileChosen {
            profile: "api".to_owned(),
            before: "default".to_owned(),
            because,
        });
        reasons.to_vec()
    }

    fn record(asked: Command, outcome: CommandResult) -> CommandRecord {
        CommandRecord {
            asked,
            operator: Operator::Socket {
                uid: 0,
                pid: Some(7),
            },
            dry_run: false,
            outcome,
        }
    }

    #[test]
    fn a_command_is_told_with_who_how_and_what_came_of_it() {
        let done = CommandResult::Done {
            text: "nothing changes until the freeze is lifted".to_owned(),
        };
        let freeze = Command::Freeze(FreezeRequest {
            reason: Some("a\u{1b}[31mdeploy".to_owned()),
        });
        assert_eq!(
            command(&record(freeze, done)),
            "Operator: user 0 (process 7) asked to freeze (\"a\u{fffd}[31mdeploy\") over the operator's socket: nothing \
             changes until the freeze is lifted."
        );
        let refused = CommandResult::Refused {
            problem: ProblemKind::Value,
            detail: "too many".to_owned(),
        };
        let pin = Command::Pin(PinCommand {
            pool: "web".into(),
            knob: "workers".into(),
            value: None,
            for_ms: 1_500,
        });
        let mut about_pin = record(pin, refused);
        about_pin.dry_run = true;
        about_pin.operator = Operator::Token {
            name: "night".to_owned(),
            from: None,
        };
        assert_eq!(
            command(&about_pin),
            "Operator: token night asked in a dry run to hold workers of web as it is for 2 s over HTTP: refused, as \
             the value is not allowed: too many."
        );
        let partly = CommandResult::Partly {
            text: "lifted".to_owned(),
            missing: "the host did not hear it".to_owned(),
        };
        let unfreeze = record(Command::Unfreeze(PlainCommand {}), partly);
        assert!(command(&unfreeze).contains("lifted; but the host did not hear it"));
    }
}
