//! Programs to look at.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;
use trimtab_flame::ask::Shot;
use trimtab_flame::ladder::{Here, Rung, probe};
use trimtab_flame::{Format, Named, shoot};

/// A program that runs until it is dropped, and has said that it is under way.
pub(crate) struct Target {
    child: Child,
    _output: BufReader<ChildStdout>,
    _directory: Option<TempDir>,
}

impl Target {
    /// Starts a command and waits for its first line.
    pub(crate) fn start(command: &mut Command, directory: Option<TempDir>) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "under way", "{command:?}");
        Self {
            child,
            _output: output,
            _directory: directory,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where programs lie that were compiled before, for a user who has no compiler.
pub(crate) const MADE: &str = "TRIMTAB_LIVE_TARGETS";

/// A name for the directory of a program, by all that it is made of.
pub(crate) fn print_of(compiler: &str, source: &str, options: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    (compiler, source, options).hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

/// Compiles a program of one file.
pub(crate) fn compile(
    compiler: &str,
    name: &str,
    source: &str,
    options: &[&str],
) -> Option<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir().unwrap();
    if let Some(made) = std::env::var_os(MADE) {
        let made = Path::new(&made)
            .join(print_of(compiler, source, options))
            .join("target");
        if !made.is_file() {
            println!("skipped: nothing was made for this by {compiler}");
            return None;
        }
        return Some((directory, made));
    }
    if Command::new(compiler).arg("--version").output().is_err() {
        println!("skipped: there is no {compiler} here");
        return None;
    }
    let (input, output) = (directory.path().join(name), directory.path().join("target"));
    std::fs::write(&input, source).unwrap();
    let built = Command::new(compiler)
        .arg(&input)
        .arg("-o")
        .arg(&output)
        .args(options)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some((directory, output))
}

/// What `cargo build --release` says to the compiler, and further options.
pub(crate) fn rust_options<'o>(options: &[&'o str]) -> Vec<&'o str> {
    [
        &["--edition=2024", "-Copt-level=3", "-Cstrip=debuginfo"],
        options,
    ]
    .concat()
}

/// A Rust program as `cargo build --release` makes it, with further options.
pub(crate) fn rust(source: &str, options: &[&str]) -> Option<Target> {
    let options = rust_options(options);
    let (directory, program) = compile("rustc", "target.rs", source, &options)?;
    Some(Target::start(&mut Command::new(program), Some(directory)))
}

/// A C program, with further options.
pub(crate) fn c(source: &str, options: &[&str]) -> Option<Target> {
    let (directory, program) = compile("gcc", "target.c", source, options)?;
    Some(Target::start(&mut Command::new(program), Some(directory)))
}

/// Whether the kernel lets us sample, and if not, says which test is passed over.
pub(crate) fn can_sample(test: &str) -> bool {
    let steps = probe(&Here, std::process::id(), None);
    let reached = steps
        .iter()
        .any(|step| step.rung == Rung::PerfUser && step.reached);
    if !reached {
        println!("skipped: {test}: perf_event_open is denied here");
    }
    reached
}

/// Whether the kernel also shows us itself.
pub(crate) fn sees_kernel(test: &str) -> bool {
    let steps = probe(&Here, std::process::id(), None);
    let reached = steps
        .iter()
        .any(|step| step.rung == Rung::PerfKernel && step.reached);
    if !reached {
        println!("skipped: {test}: the kernel's frames are not for this user");
    }
    reached
}

/// Folded stacks of a process.
pub(crate) fn folded(shot: &Shot, window_ms: u64) -> (Named, Vec<(String, u64)>) {
    let shot = Shot {
        format: Format::Folded,
        ..shot.clone()
    };
    let (named, bytes) = shoot(&shot, window_ms).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), count.parse().unwrap())
    });
    let lines = lines.collect();
    (named, lines)
}

/// The share of all that stands under calls whose name holds this text, in percent.
pub(crate) fn share(lines: &[(String, u64)], call: &str) -> f64 {
    let all: u64 = lines.iter().map(|(_, count)| count).sum();
    let under: u64 = lines
        .iter()
        .filter(|(stack, _)| stack.contains(call))
        .map(|(_, count)| count)
        .sum();
    f64::from(u32::try_from(under).unwrap()) / f64::from(u32::try_from(all.max(1)).unwrap()) * 100.0
}

/// The path of a program that some package installs, if it is there.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(program))
            .find(|path| Path::is_file(path))
    });
    if found.is_none() {
        println!("skipped: there is no {program} here");
    }
    found
}
