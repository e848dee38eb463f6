//! `trimtab doctor`: what this machine and this user lack, for what it is needed, and what helps.
//!
//! It reads the configuration with the function that `run` reads it with, asks the host, and tries what the sidecar would do;
//! it changes nothing. Each finding leads to a section of `docs/doctor.md`, which the program has with it.

mod ground;
mod host;

use super::check::write_json;
use super::{Console, Exit, Format, SettingArgs, ended};
use crate::config::{ConfigErrors, Overrides};
use crate::telemetry::escaped;
use clap::Args;
use serde::Serialize;
use std::io::{self, Write};

/// What is to be known about each finding, a section each.
const MANUAL: &str = include_str!("../../docs/doctor.md");

/// The options of `trimtab doctor`: what may be said over the file counts too.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct DoctorArgs {
    /// What is in force.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Only tell what is to be known about a finding of this name
    #[arg(long, value_name = "NAME")]
    pub explain: Option<String>,
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
            see: format!("trimtab doctor --explain {name}"),
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
        if let Some(name) = &self.explain {
            return match section(name) {
                Some(text) => ended(writeln!(console.out, "{text}").map(|()| Exit::Done)),
                None => {
                    let known: Vec<&str> = sections().map(|(name, _)| name).collect();
                    let known = known.join(", ");
                    console.fail(&format!(
                        "there is no finding `{}`; known are: {known}",
                        escaped(name)
                    ))
                }
            };
        }
        let report = self.look(vars).await;
        let written = match self.output {
            Format::Json => write_json(&report, console.out),
            Format::Table => write_table(&report, console.out),
        };
        ended(written.map(|()| if report.ok { Exit::Done } else { Exit::Failed }))
    }

    async fn look(&self, vars: Overrides) -> Report {
        let mut findings = ground::of_the_machine();
        let is_named = self.settings.config.path(&vars).is_some();
        match self.settings.load(vars) {
            Ok(config) => {
                findings.push(ground::configuration(&config));
                findings.extend(ground::of_the_configuration(&config));
                findings.extend(host::all(&config).await);
            }
            Err(errors) => findings.push(refused(&errors, is_named)),
        }
        Report {
            ok: findings.iter().all(|it| it.verdict != Verdict::Wrong),
            findings,
        }
    }
}

/// A configuration that is not to be used: one with a mistake, or none at all.
fn refused(errors: &ConfigErrors, is_named: bool) -> Finding {
    let (found, fix) = if is_named {
        (
            format!("refused: {}", errors.in_short()),
            "`trimtab check --config FILE` says all that is wrong with it",
        )
    } else {
        (
            format!("none is named: {}", errors.in_short()),
            "name the sidecar's configuration with `--config FILE` or TRIMTAB_CONFIG, or the host's control socket with `--socket PATH`",
        )
    };
    Finding::wrong("configuration", found, "anything at all", fix)
}

/// The manual's sections: the name of each, and what it says.
fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = MANUAL.split("\n## ").skip(1);
    parts.filter_map(|part| {
        let (name, text) = part.split_once('\n')?;
        Some((name, text.trim()))
    })
}

fn section(name: &str) -> Option<&'static str> {
    let mut sections = sections();
    let found = sections.find(|(known, _)| *known == name);
    found.map(|(_, text)| text)
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
            args.settings.config.config = Some(path.clone());
            args.settings.listen = Some("127.0.0.1:0".to_owned());
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
            text.contains("see             trimtab doctor --explain host\n"),
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
        let known: BTreeSet<&str> = sections().map(|(name, _)| name).collect();
        for finding in json["findings"].as_array().expect("a list") {
            let name = finding["name"].as_str().expect("a name");
            assert!(
                known.contains(name),
                "docs/doctor.md has no section `{name}`"
            );
            let ok = finding["verdict"] == "ok";
            for key in ["needed_for", "fix", "see"] {
                assert_eq!(finding[key].is_null(), ok, "{key} of {finding}");
            }
        }
    }

    /// What the doctor says without a file, with these options.
    async fn said_without_a_file(args: DoctorArgs) -> (Exit, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            color: false,
        };
        let exit = args.execute(Overrides::default(), &mut console).await;
        let text = |bytes| String::from_utf8(bytes).expect("it is text");
        (exit, text(out), text(err))
    }

    #[tokio::test]
    async fn without_a_configuration_it_says_how_to_name_one() {
        let (exit, text, _) = said_without_a_file(DoctorArgs::default()).await;
        assert_eq!(exit, Exit::Failed);
        let said = "WRONG    configuration   none is named: no host is named, and there is no configuration file\n";
        assert!(text.contains(said), "{text}");
        assert!(text.contains("`--config FILE` or TRIMTAB_CONFIG"), "{text}");
    }

    #[tokio::test]
    async fn a_finding_is_explained_without_the_project_at_hand() {
        let explain = |name: &str| DoctorArgs {
            explain: Some(name.to_owned()),
            ..DoctorArgs::default()
        };
        for (name, _) in sections() {
            let (exit, text, _) = said_without_a_file(explain(name)).await;
            assert_eq!(exit, Exit::Done);
            assert!(text.len() > 20 && !text.contains("## "), "{name}: {text}");
        }
        let (exit, _, err) = said_without_a_file(explain("weather")).await;
        assert_eq!(exit, Exit::Failed);
        assert!(
            err.contains("`weather`") && err.contains("cage, clock"),
            "{err}"
        );
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
                        what helps      start it\n         see             trimtab doctor --explain host\nmissing  perf            denied\n         \
                        needed for      graphs\n         what helps      allow it\n         see             trimtab doctor --explain perf\n\n\
                        1 wrong, 1 missing\n";
        assert_eq!(String::from_utf8(out).expect("it is text"), expected);
    }
}
