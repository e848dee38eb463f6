//! Running cargo and its companions.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The version of mdBook that is installed where there is none.
const BOOK_VERSION: &str = "0.5.4";
/// The version of cargo-deny that is installed where there is none; a later one may judge differently.
const DENY_VERSION: &str = "0.20.2";

/// Runs cargo; its output goes where ours goes.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    cargo_with(root, arguments, &[])
}

/// Runs cargo with variables of the environment.
pub(super) fn cargo_with(
    root: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let mut command = cargo_command(root, arguments);
    command.envs(environment.iter().copied());
    run(&mut command)
}

/// Runs all tests and returns the runner's summary, after printing all that the runner says to the standard output.
pub(super) fn tests(root: &Path) -> Result<String> {
    let nextest = succeeds(cargo_command(root, &["nextest", "--version"]));
    let arguments: &[&str] = if nextest {
        &[
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--locked",
        ]
    } else {
        println!("cargo-nextest is not installed, so `cargo test` runs the tests");
        &[
            "test",
            "--workspace",
            "--all-features",
            "--locked",
            "--lib",
            "--bins",
            "--tests",
            "--no-fail-fast",
        ]
    };
    let mut command = cargo_command(root, arguments);
    let (reader, writer) = std::io::pipe().context("no pipe for the runner's output")?;
    command.stdout(
        writer
            .try_clone()
            .context("no pipe for the runner's output")?,
    );
    command.stderr(writer);
    let line = shown(&command);
    let mut child = command
        .spawn()
        .with_context(|| format!("`{line}` cannot be run"))?;
    // The command holds the pipe's writing end, and as long as someone holds it the output does not end.
    drop(command);
    let mut said = Vec::new();
    for text in BufReader::new(reader).split(b'\n') {
        let text = text.context("the runner's output cannot be read")?;
        let text = String::from_utf8_lossy(&text).into_owned();
        println!("{text}");
        said.push(text);
    }
    let status = child
        .wait()
        .with_context(|| format!("`{line}` cannot be awaited"))?;
    let summary = summary(&said);
    println!("{summary}");
    if !status.success() {
        bail!("`{line}`: {status}; {summary}");
    }
    Ok(summary)
}

/// Checks licences, bans and sources with cargo-deny, which is built first where it is missing.
pub(super) fn deny(root: &Path) -> Result<()> {
    let mut check = tool(root, "cargo-deny", &["--version", DENY_VERSION])?;
    check.args(["check", "licenses", "bans", "sources"]);
    run(&mut check)
}

/// Makes the site of the documentation with mdBook, which is built first where it is missing, and says where it lies.
pub(crate) fn book(root: &Path) -> Result<()> {
    let options = ["--no-default-features", "--version", BOOK_VERSION];
    run(tool(root, "mdbook", &options)?.arg("build"))?;
    let place = root.join("target/book/index.html");
    println!("the site begins at {}", place.display());
    Ok(())
}

/// A program that some package of the registry installs: the one in the path, or else one of our own in the target directory.
fn tool(root: &Path, name: &str, options: &[&str]) -> Result<Command> {
    let tools = target(root).join("tools");
    let own = tools.join("bin").join(name);
    let program = if succeeds(quiet(name.as_ref(), &["--version"])) {
        PathBuf::from(name)
    } else {
        if !succeeds(quiet(&own, &["--version"])) {
            println!(
                "{name} is not installed; building it into {}",
                tools.display()
            );
            println!("(once, and it takes some minutes)");
            let mut install = cargo_command(root, &["install", "--locked", "--root"]);
            run(install.arg(&tools).arg(name).args(options))?;
        }
        own
    };
    let mut command = Command::new(program);
    command.current_dir(root);
    Ok(command)
}

/// Runs something and says how long it took.
#[expect(
    clippy::disallowed_types,
    reason = "how long a build took is for a person to read; nothing is decided by it"
)]
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let outcome = run();
    (outcome, start.elapsed())
}

fn cargo_command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(arguments);
    for name in crate::inner_cargo::told_by_the_outer() {
        command.env_remove(name);
    }
    command
}

fn quiet(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn succeeds(mut command: Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("`{line}` cannot be run"))?;
    if !status.success() {
        bail!("`{line}`: {status}");
    }
    Ok(())
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// The summary of what a test runner said: nextest's own line, or the sum of the lines of `cargo test`.
fn summary(said: &[String]) -> String {
    let own = said.iter().rev().map(|line| line.trim());
    if let Some(line) = own.clone().find(|line| line.starts_with("Summary [")) {
        return line.to_owned();
    }
    let (mut passed, mut failed, mut binaries) = (0, 0, 0);
    for line in own.filter(|line| line.starts_with("test result: ")) {
        binaries += 1;
        passed += count_before(line, " passed");
        failed += count_before(line, " failed");
    }
    format!("Summary: {passed} tests passed, {failed} failed, in {binaries} binaries")
}

/// The number before a word in a line.
fn count_before(line: &str, word: &str) -> u64 {
    let before = line.split(word).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_summary_of_nextest_is_its_own_line() {
        let said = lines(
            "    PASS [   0.004s] xtask tests::a\n     Summary [   1.234s] 12 tests run: 12 passed, 0 skipped\n",
        );
        assert_eq!(
            summary(&said),
            "Summary [   1.234s] 12 tests run: 12 passed, 0 skipped"
        );
    }

    #[test]
    fn the_summary_of_cargo_test_is_the_sum_over_its_binaries() {
        let said = lines(
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured\n\
             test a ... FAILED\n\
             test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured\n",
        );
        assert_eq!(
            summary(&said),
            "Summary: 15 tests passed, 1 failed, in 2 binaries"
        );
    }

    #[test]
    fn a_command_that_fails_is_shown_as_it_was_typed() {
        let mut command = Command::new("/usr/bin/env");
        command.args(["false", "--loudly"]);
        let error = run(&mut command).expect_err("`false` fails").to_string();
        assert!(
            error.starts_with("`env false --loudly`: exit status: 1"),
            "{error}"
        );
        assert!(!succeeds(Command::new("there-is-no-such-program")));
    }
}
