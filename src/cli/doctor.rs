//! `trimtab doctor`: what this machine and this user lack, for what it is needed, and what helps.
//!
//! It reads the configuration with the function that `run` reads it with, asks the host, and tries what the sidecar would do;
//! it changes nothing. Each finding leads to a section of `docs/doctor.md`.

mod ground;
mod host;

use super::check::write_json;
use super::{Console, Exit, Format, RunArgs, ended};
use crate::config::Overrides;
use crate::telemetry::escaped;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// The options of `trimtab doctor`: those of `trimtab run`, for their values count too.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct DoctorArgs {
    /// What `run` is told.
    #[command(flatten)]
    pub run: RunArgs,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Something is not there, and the sidecar does without it.
    Missing,
    /// The sidecar cannot do its work, or not safely.
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Wrong => "WRONG",
        }
    }
}

/// What was looked at. The name is that of its section in `docs/doctor.md`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What it is needed for; empty where all is well.
    #[serde(skip_serializing_if = "str::is_empty")]
    needed_for: &'static str,
    /// What helps.
    #[serde(skip_serializing_if = "String::is_empty")]
    fix: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    see: String,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            needed_for: "",
            fix: String::new(),
            see: String::new(),
        }
    }

    fn missing(
        name: &'static str,
        found: impl Into<String>,
        needed_for: &'static str,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Missing,
            needed_for,
            fix: fix.into(),
            see: format!("docs/doctor.md#{name}"),
            ..Self::ok(name, found)
        }
    }

    fn wrong(
        name: &'static str,
        found: impl Into<String>,
        needed_for: &'static str,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict: Verdict::Wrong,
            ..Self::missing(name, found, needed_for, fix)
        }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    findings: Vec<Finding>,
}

impl DoctorArgs {
    /// Looks, and says what was found: 0, or 1 where something is wrong.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let report = self.look(vars).await;
        let written = match self.output {
            Format::Json => write_json(&report, console.out),
            Format::Table => write_table(&report, console.out),
        };
        ended(written.map(|()| if report.ok { Exit::Done } else { Exit::Failed }))
    }

    async fn look(&self, vars: Overrides) -> Report {
        let mut findings = ground::of_the_machine();
        match self.run.load(vars) {
            Ok(config) => {
                findings.push(ground::configuration(&config));
                findings.extend(ground::of_the_configuration(&config));
                findings.extend(host::all(&config).await);
            }
            Err(errors) => {
                let all = errors.list();
                let first = all
                    .first()
                    .map(|it| format!("{}:{}: {}", it.file, it.line.unwrap_or(1), it.message));
                let found = format!("refused: {}", first.unwrap_or_default());
                let fix = "`trimtab check --config FILE` says all that is wrong with it";
                findings.push(Finding::wrong(
                    "configuration",
                    found,
                    "anything at all",
                    fix,
                ));
            }
        }
        Report {
            ok: findings.iter().all(|it| it.verdict != Verdict::Wrong),
            findings,
        }
    }
}

fn write_table(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        let (word, name) = (finding.verdict.word(), finding.name);
        writeln!(out, "{word:<8} {name:<15} {}", escaped(&finding.found))?;
        if finding.verdict != Verdict::Ok {
            writeln!(out, "{:9}needed for      {}", "", finding.needed_for)?;
            writeln!(out, "{:9}what helps      {}", "", escaped(&finding.fix))?;
            writeln!(out, "{:9}see             {}", "", finding.see)?;
        }
    }
    let count = |verdict| {
        let all = report.findings.iter();
        all.filter(|it| it.verdict == verdict).count()
    };
    let (wrong, missing) = (count(Verdict::Wrong), count(Verdict::Missing));
    writeln!(out, "\n{wrong} wrong, {missing} missing")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What the doctor says about a configuration, in both forms.
    async fn said(text: &str) -> (Exit, String, serde_json::Value) {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("trimtab.toml");
        std::fs::write(&path, text).expect("it is ours");
        let mut forms = Vec::new();
        let mut exit = Exit::Done;
        for output in [Format::Table, Format::Json] {
            let mut args = DoctorArgs {
                output,
                ..DoctorArgs::default()
            };
            args.run.config.config = Some(path.clone());
            args.run.listen = Some("127.0.0.1:0".to_owned());
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut console = Console {
                out: &mut out,
                err: &mut err,
                color: false,
            };
            exit = args.execute(Overrides::default(), &mut console).await;
            forms.push(String::from_utf8(out).expect("it is text"));
        }
        let json = serde_json::from_str(&forms[1]).expect("it is JSON");
        (exit, forms.remove(0), json)
    }

    const NO_HOST: &str =
        "[[hosts]]\nid = \"shop\"\nsocket = \"no/such.sock\"\n[ledger]\ndirectory = \"ledger\"\n";

    #[tokio::test]
    async fn a_host_that_is_not_there_is_named_with_what_helps() {
        let (exit, text, json) = said(NO_HOST).await;
        assert_eq!(exit, Exit::Failed, "{text}");
        let line = text
            .lines()
            .find(|line| line.contains("no/such.sock"))
            .expect("it is named");
        assert!(line.starts_with("WRONG    host"), "{line}");
        assert!(
            text.contains("see             docs/doctor.md#host\n"),
            "{text}"
        );
        assert_eq!(json["ok"], false);
        let host = json["findings"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|it| it["name"] == "host");
        assert_eq!(host.expect("it is there")["verdict"], "wrong");
    }

    #[tokio::test]
    async fn a_configuration_with_a_mistake_is_a_finding() {
        let (exit, text, _) = said("mode = \"fast\"\n").await;
        assert_eq!(exit, Exit::Failed);
        assert!(
            text.contains("WRONG    configuration   refused: "),
            "{text}"
        );
    }

    #[tokio::test]
    async fn each_finding_has_its_section_in_the_manual() {
        let (_, _, json) = said(NO_HOST).await;
        let manual = include_str!("../../docs/doctor.md");
        let sections: BTreeSet<&str> = manual
            .lines()
            .filter_map(|line| line.strip_prefix("## "))
            .collect();
        for finding in json["findings"].as_array().expect("a list") {
            let name = finding["name"].as_str().expect("a name");
            assert!(
                sections.contains(name),
                "docs/doctor.md has no section `{name}`"
            );
            let ok = finding["verdict"] == "ok";
            for key in ["needed_for", "fix", "see"] {
                assert_eq!(finding[key].is_null(), ok, "{key} of {finding}");
            }
        }
    }

    #[test]
    fn what_a_finding_says_steers_no_terminal() {
        let report = Report {
            ok: false,
            findings: vec![
                Finding::ok("cage", "both"),
                Finding::wrong("host", "a\u{1b}[2J", "tuning", "start it"),
                Finding::missing("perf", "denied", "graphs", "allow it"),
            ],
        };
        let mut out = Vec::new();
        write_table(&report, &mut out).expect("it is written");
        let expected = "ok       cage            both\nWRONG    host            a\\u001b[2J\n         needed for      tuning\n         \
                        what helps      start it\n         see             docs/doctor.md#host\nmissing  perf            denied\n         \
                        needed for      graphs\n         what helps      allow it\n         see             docs/doctor.md#perf\n\n\
                        1 wrong, 1 missing\n";
        assert_eq!(String::from_utf8(out).expect("it is text"), expected);
    }
}
