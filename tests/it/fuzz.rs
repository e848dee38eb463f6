//! Whatever comes in from outside, read by the very functions that the product reads it with: nothing may panic, and what is
//! taken must mean the same when it is written and read again.
//!
//! Each body is an ordinary function of some bytes. Its corpus, and so many mutations of it as [`executions`] says, run as a
//! test; `FUZZ_EXECUTIONS=10000000` makes it a campaign. The mutations are the same in every run. The targets in `fuzz/` call
//! the same bodies with inputs that follow the coverage, where there is a nightly compiler.

mod bodies;
mod shown;

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The longest input.
const BYTES_MAX: usize = 64 * 1024;

/// How many mutations are run: what the variable says, else so many.
fn executions(usual: usize) -> usize {
    let told = std::env::var("FUZZ_EXECUTIONS");
    told.ok()
        .and_then(|told| told.parse().ok())
        .unwrap_or(usual)
}

/// All files of these directories.
fn corpus(directories: &[&str]) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for directory in directories {
        let mut found: Vec<_> = fs::read_dir(Path::new(ROOT).join(directory))
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        found.sort();
        files.extend(found.iter().map(|path| fs::read(path).unwrap()));
    }
    assert!(!files.is_empty());
    files
}

/// What parsers stumble over.
const WORDS: [&[u8]; 18] = [
    b"null",
    b"1e999",
    b"-0",
    b"-1",
    b"18446744073709551616",
    b"NaN",
    b"\"\"",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"[[[[",
    b"{\"a\":",
    b") R ",
    b"\n",
    b"max",
    b"=",
    b"\x1b[2J",
    b"\"\"\"",
];

fn mutated(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..32)).min(bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let word = WORDS[random.usize(..WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let other = &corpus[random.usize(..corpus.len())];
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(at, random.u8(..)),
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn fuzz(directories: &[&str], usual: usize, mut body: impl FnMut(&[u8])) {
    let corpus = corpus(directories);
    corpus.iter().for_each(|bytes| body(bytes));
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..executions(usual) {
        body(&mutated(&mut random, &corpus));
    }
}

const MESSAGES: [&str; 2] = ["crates/protocol/tests/golden", "tests/fuzz/json"];

#[test]
fn what_a_host_answers_is_taken_or_refused_whatever_it_is() {
    fuzz(&MESSAGES, 10_000, bodies::host_answer);
}

#[test]
fn what_a_host_is_asked_is_taken_or_refused_whatever_it_is() {
    fuzz(&MESSAGES, 10_000, bodies::host_request);
}

#[test]
fn whatever_the_kernel_files_hold_is_a_figure_or_none() {
    fuzz(&["tests/fuzz/proc"], 50_000, bodies::kernel_file);
}

#[test]
fn whatever_a_profile_or_a_configuration_holds_is_valid_or_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let directories = ["profiles", "config", "tests/fuzz/toml"];
    fuzz(&directories, 300, |bytes| {
        bodies::configuration(directory.path(), bytes);
    });
}

#[test]
fn whatever_a_ledger_holds_is_read_as_what_was_written_or_skipped() {
    let directory = tempfile::tempdir().unwrap();
    fuzz(&MESSAGES, 1_000, |bytes| {
        bodies::ledger(directory.path(), bytes);
    });
}

#[test]
fn whatever_a_query_names_as_an_entry_is_one_or_refused() {
    fuzz(&["tests/fuzz/proc"], 20_000, bodies::entry_name);
}

#[test]
fn whatever_a_foreign_process_calls_its_functions_is_drawn_as_data() {
    fuzz(&["tests/fuzz/folded"], 500, shown::picture);
}

#[test]
fn whatever_a_host_is_called_its_metrics_keep_their_grammar() {
    fuzz(&["tests/fuzz/status"], 3_000, shown::metrics);
}

#[test]
fn whatever_a_page_is_asked_it_answers_or_says_what_is_wrong() {
    let pages = shown::Pages::new();
    fuzz(&["tests/fuzz/query"], 5_000, |bytes| pages.ask(bytes));
}
