//! All that a change must pass, in order, up to the first failure.
//!
//! The order is from cheap to dear, so that a slip of the pen is told within seconds and the demo runs last.

pub(crate) mod browser;
mod demo;
pub(crate) mod shell;

use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    Full,
    /// What most often fails: no documentation, no cargo-deny, no browser, no demo.
    Quick,
}

/// One step; it may return a line that is worth repeating at the end.
struct Step {
    name: &'static str,
    in_quick: bool,
    run: fn(&Path) -> Result<Option<String>>,
}

const STEPS: [Step; 13] = [
    step("format", true, |root| {
        shell::cargo(root, &["fmt", "--all", "--check"]).map(|()| None)
    }),
    step("clippy", true, |root| {
        let arguments = "clippy --workspace --all-targets --all-features --locked -- -D warnings";
        shell::cargo(root, &words(arguments)).map(|()| None)
    }),
    step("tests", true, |root| shell::tests(root).map(Some)),
    step("model checkers", false, |root| {
        let arguments = "test --release --locked -p trimtab-checks";
        shell::cargo(root, &words(arguments)).map(|()| None)
    }),
    step("documentation tests", true, |root| {
        let arguments = "test --workspace --all-features --locked --doc";
        shell::cargo(root, &words(arguments)).map(|()| None)
    }),
    step("documentation", false, |root| {
        let arguments =
            "doc --workspace --all-features --locked --no-deps --document-private-items";
        let flags = [("RUSTDOCFLAGS", "-D warnings")];
        shell::cargo_with(root, &words(arguments), &flags).map(|()| None)
    }),
    step("tidy", true, |root| crate::tidy::run(root).map(|()| None)),
    step("openapi", true, |root| {
        crate::openapi::check(root).map(|()| None)
    }),
    step("licences, bans and sources", false, |root| {
        shell::deny(root).map(|()| None)
    }),
    step("dashboard in a browser", false, |root| {
        browser::run(root).map(Some)
    }),
    step("chaos", false, |root| {
        crate::chaos::run(root, &crate::chaos::Extent::QUICK).map(|()| None)
    }),
    step("schemathesis", false, |root| {
        let extent = crate::chaos::schema::Extent::Seconds(SCHEMATHESIS_S);
        crate::chaos::schemathesis(root, extent).map(Some)
    }),
    step("demo", false, |root| demo(root).map(Some)),
];

/// How long schemathesis asks each of the two servers, in seconds.
pub(crate) const SCHEMATHESIS_S: u64 = 20;
/// How long the demo runs, in seconds.
const DEMO_SECONDS: &str = "20";
/// Where it writes what came of it.
const DEMO_FILE: &str = "target/demo.json";

const fn step(
    name: &'static str,
    in_quick: bool,
    run: fn(&Path) -> Result<Option<String>>,
) -> Step {
    Step {
        name,
        in_quick,
        run,
    }
}

/// Runs the steps.
///
/// # Errors
/// When a step fails; those after it are not run.
pub(crate) fn run(root: &Path, extent: Extent) -> Result<()> {
    let steps = STEPS
        .iter()
        .filter(|step| extent == Extent::Full || step.in_quick);
    run_all(root, &steps.collect::<Vec<_>>())
}

/// Runs the steps from one on, for whoever has mended what failed there.
///
/// # Errors
/// When there is no such step, or a step fails.
pub(crate) fn run_from(root: &Path, name: &str) -> Result<()> {
    let steps: Vec<&Step> = STEPS.iter().skip_while(|step| step.name != name).collect();
    if steps.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        anyhow::bail!("there is no step `{name}`; there are: {}", names.join(", "));
    }
    run_all(root, &steps)
}

fn run_all(root: &Path, steps: &[&Step]) -> Result<()> {
    let (summary, outcome) = run_steps(root, steps);
    println!("\n{summary}");
    outcome
}

/// Runs steps up to the first failure, and says in a table how long each took.
fn run_steps(root: &Path, steps: &[&Step]) -> (String, Result<()>) {
    let mut table = String::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n== {} ({} of {})", step.name, index + 1, steps.len());
        let (outcome, took) = shell::timed(|| (step.run)(root));
        let seconds = rounded(took);
        let (verdict, note) = match &outcome {
            Ok(note) => ("ok", note.as_deref().unwrap_or_default()),
            Err(_) => ("FAILED", ""),
        };
        let row = format!("{:<28} {verdict:<6} {seconds:>5} s  {note}", step.name);
        writeln!(table, "{}", row.trim_end()).expect("a string takes every line");
        if let Err(error) = outcome {
            let left: Vec<&str> = steps[index + 1..].iter().map(|step| step.name).collect();
            if !left.is_empty() {
                writeln!(table, "not run: {}", left.join(", ")).expect("a string takes every line");
            }
            return (
                table,
                Err(error.context(format!("step `{}` failed", step.name))),
            );
        }
    }
    (table, Ok(()))
}

fn rounded(took: Duration) -> u64 {
    took.as_secs() + u64::from(took.subsec_millis() >= 500)
}

fn words(arguments: &str) -> Vec<&str> {
    arguments.split(' ').collect()
}

/// Runs the demo for a short while and holds its figures against what it promises.
fn demo(root: &Path) -> Result<String> {
    let file = root.join(DEMO_FILE);
    std::fs::create_dir_all(root.join("target")).context("target cannot be created")?;
    if file.exists() {
        std::fs::remove_file(&file).with_context(|| format!("{DEMO_FILE} cannot be removed"))?;
    }
    let arguments = ["run", "--release", "--locked", "--example", "demo", "--"];
    let own = ["--seconds", DEMO_SECONDS, "--json", DEMO_FILE];
    shell::cargo(root, &[&arguments[..], &own].concat())?;
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("the demo did not write {DEMO_FILE}"))?;
    demo::check(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn good(_: &Path) -> Result<Option<String>> {
        Ok(Some("12 passed".to_owned()))
    }

    fn bad(_: &Path) -> Result<Option<String>> {
        bail!("it rained")
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let steps = [
            step("one", true, good),
            step("two", true, bad),
            step("three", true, good),
        ];
        let steps: Vec<&Step> = steps.iter().collect();
        let (table, outcome) = run_steps(Path::new("."), &steps);
        let error = format!("{:#}", outcome.expect_err("the second step fails"));
        assert_eq!(error, "step `two` failed: it rained");
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[0].starts_with("one ") && lines[0].ends_with("s  12 passed"),
            "{table}"
        );
        assert!(
            lines[1].starts_with("two ") && lines[1].contains("FAILED"),
            "{table}"
        );
        assert_eq!(lines[2..], ["not run: three"]);
    }

    #[test]
    fn a_run_in_which_all_goes_well_succeeds() {
        let one = step("one", true, good);
        let (table, outcome) = run_steps(Path::new("."), &[&one]);
        assert!(outcome.is_ok() && table.lines().count() == 1);
    }

    #[test]
    fn quick_keeps_the_tests_and_leaves_the_demo_out() {
        let quick = |name| {
            STEPS
                .iter()
                .find(|step| step.name == name)
                .map(|step| step.in_quick)
        };
        assert_eq!(quick("tests"), Some(true));
        assert_eq!(quick("demo"), Some(false));
    }
}
