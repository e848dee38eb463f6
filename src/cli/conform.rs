//! `trimtab conform`: replays the corpus of the control API against a host, and says how far the host keeps it.

use super::check::write_json;
use super::{Console, Exit, Format, ended};
use crate::conform::{self, Door, Report, Target, Verdict};
use crate::telemetry::escaped;
use clap::Args;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The options of `trimtab conform`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConformArgs {
    /// The host's control socket, or an address like http://127.0.0.1:7070; the host should be on a test bench, for its knobs
    /// are moved, frozen, pinned and reset
    #[arg(value_name = "SOCKET|URL")]
    pub host: String,
    /// The operator's socket or address; without it level 2 cannot be shown
    #[arg(long, value_name = "SOCKET|URL")]
    pub operator: Option<String>,
    /// A file with the sidecar's bearer token, where the host is reached over TCP
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with the operator's bearer token
    #[arg(long, value_name = "FILE")]
    pub operator_token_file: Option<PathBuf>,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

impl ConformArgs {
    /// Replays the corpus: 0 when the host deviates nowhere, else 1.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        let target = match self.target() {
            Ok(target) => target,
            Err(problem) => return console.fail(&problem),
        };
        let cases: Vec<_> = conform::corpus()
            .into_iter()
            .map(|(_, case)| case)
            .collect();
        let report = match conform::check(&target, &cases).await {
            Ok(report) => report,
            Err(problem) => return console.fail(&escaped(&problem.to_string())),
        };
        let written = match self.output {
            Format::Json => write_json(&report, console.out),
            Format::Table => write_table(&report, console.out),
        };
        let exit = if report.deviates() {
            Exit::Failed
        } else {
            Exit::Done
        };
        ended(written.map(|()| exit))
    }

    fn target(&self) -> Result<Target, String> {
        let operator = self.operator.as_deref();
        Ok(Target {
            control: door(&self.host, self.token_file.as_deref())?,
            operator: operator
                .map(|place| door(place, self.operator_token_file.as_deref()))
                .transpose()?,
        })
    }
}

fn door(place: &str, token: Option<&Path>) -> Result<Door, String> {
    let door: Door = place.parse().map_err(|error| format!("{error}"))?;
    let Some(file) = token else {
        return Ok(door);
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    door.with_token(text.trim())
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for case in &report.cases {
        let (word, why) = match &case.verdict {
            Verdict::Kept => ("kept", ""),
            Verdict::Deviates { .. } => ("DEVIATES", ""),
            Verdict::NotTried { why } => ("not tried", why.as_str()),
            Verdict::DoesNotApply { why } => ("n/a", why.as_str()),
        };
        let line = format!("{}  {word:<9}  {}  {}", case.level, case.name, escaped(why));
        writeln!(out, "{}", line.trim_end())?;
        if let Verdict::Deviates {
            step,
            call,
            differences,
        } = &case.verdict
        {
            writeln!(out, "     step {step}, {call}")?;
            for difference in differences {
                let (at, expected) = (&difference.at, &difference.expected);
                writeln!(
                    out,
                    "       {at}: expected {expected}, found {}",
                    escaped(&difference.found)
                )?;
            }
        }
    }
    let (app, version) = (escaped(&report.app), escaped(&report.version));
    match report.level {
        Some(level) => writeln!(out, "\n{app} {version}: conformance level {level} of 2"),
        None => writeln!(
            out,
            "\n{app} {version}: no conformance, not even of the state"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::{CaseReport, Difference};

    #[test]
    fn each_deviation_is_told_with_what_was_expected() {
        let case = |name: &str, verdict| CaseReport {
            name: name.to_owned(),
            level: 1,
            verdict,
        };
        let difference = Difference {
            at: "answer.status".to_owned(),
            expected: "409".to_owned(),
            found: "200\u{1b}[2J".to_owned(),
        };
        let deviates = Verdict::Deviates {
            step: 2,
            call: "POST /x".to_owned(),
            differences: vec![difference],
        };
        let report = Report {
            app: "shop".to_owned(),
            version: "1".to_owned(),
            level: Some(0),
            cases: vec![case("it works", Verdict::Kept), case("it fences", deviates)],
        };
        let mut out = Vec::new();
        write_table(&report, &mut out).unwrap();
        let expected = "1  kept       it works\n1  DEVIATES   it fences\n     step 2, POST /x\n       \
                        answer.status: expected 409, found 200\\u001b[2J\n\nshop 1: conformance level 0 of 2\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_token_that_cannot_be_read_is_told() {
        let args = ConformArgs {
            host: "http://127.0.0.1:1".to_owned(),
            token_file: Some("no/such/file".into()),
            ..ConformArgs::default()
        };
        assert!(args.target().unwrap_err().contains("no/such/file"));
    }
}
