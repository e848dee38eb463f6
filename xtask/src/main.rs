//! The chores of the workspace: `cargo xtask tidy` checks the rules that no compiler knows, `cargo xtask openapi` writes the
//! documents of both APIs, and `cargo xtask ci` runs everything that a change must pass.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what a chore prints is what it is run for"
)]

mod chaos;
mod ci;
mod inner_cargo;
mod openapi;
mod rust;
mod terminal;
mod tidy;
mod tree;

use chaos::schema::Extent;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  tidy               check the rules of the repository that no compiler checks
  openapi [--check]  write docs/*.openapi.json; with --check only compare them
  book               make the site of docs/ with mdBook, in target/book
  ci --from STEP     run what a change must pass from one step on
  ci [--quick]       run all that a change must pass; with --quick leave out the
                     documentation, the model checkers, cargo-deny, the browser,
                     chaos, schemathesis and the demo. What is missing of
                     Chromium, the dashboard's tools, cargo-deny and schemathesis
                     it installs: by apt or dnf, npm, cargo and pip
  chaos [--quick | --full | --kills N] [--fault F13]
                     do bad things to real sidecars and hosts, and look; another
                     number of kills has them at other times
  terminal           record `trimtab top` beside the demo into docs/images
  beside [--release] REQUESTS PAIRS
                     a service beside a sidecar that is killed, hung or flooding,
                     against the same without; 1000000 25 for the record
  schemathesis [--cases N]
                     cases made of both OpenAPI documents against live servers;
                     10000 for the record";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = workspace_root();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(&root),
        ["openapi"] => openapi::write(&root),
        ["openapi", "--check"] => openapi::check(&root),
        ["book"] => ci::shell::book(&root),
        ["ci"] => ci::run(&root, ci::Extent::Full),
        ["ci", "--quick"] => ci::run(&root, ci::Extent::Quick),
        ["ci", "--from", step] => ci::run_from(&root, step),
        ["chaos", options @ ..] => match chaos::Extent::of(options) {
            Some(extent) => chaos::run(&root, &extent),
            None => return misused(),
        },
        ["terminal"] => terminal::run(&root),
        ["beside", requests, pairs] => chaos::beside(&root, chaos::Build::Debug, requests, pairs),
        ["beside", "--release", requests, pairs] => {
            chaos::beside(&root, chaos::Build::Release, requests, pairs)
        }
        ["schemathesis"] => schemathesis(&root, Extent::Seconds(ci::SCHEMATHESIS_S)),
        ["schemathesis", "--cases", cases] => match cases.parse() {
            Ok(cases) => schemathesis(&root, Extent::Cases(cases)),
            Err(_) => Err(anyhow::anyhow!("how many cases?")),
        },
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return misused(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn misused() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

fn schemathesis(root: &Path, extent: Extent) -> anyhow::Result<()> {
    println!("{}", chaos::schemathesis(root, extent)?);
    Ok(())
}

/// The directory of the workspace, which is the parent of this package's. Cargo says at run time where that is; what it said
/// when it compiled may be another checkout that shares the target directory.
fn workspace_root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map(Path::to_path_buf).unwrap_or(package)
}
