//! Whatever comes in from outside, read by the very functions that the product reads it with: nothing may panic, and what is
//! taken must mean the same when it is written and read again.
//!
//! Each body is an ordinary function of some bytes. Its corpus, and so many mutations of it as [`executions`] says, run as a
//! test; `FUZZ_EXECUTIONS=10000000` makes it a campaign. The mutations are the same in every run.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use trimtab::config::{Overrides, load, load_profiles};
use trimtab::record::ledger;
use trimtab::sense::{cgroup, process};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::{Entry, EntryId};

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

/// What is taken is written as something that is taken, and means the same.
fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::from_slice(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(read, again);
    }
}

const MESSAGES: [&str; 2] = ["crates/protocol/tests/golden", "tests/fuzz/json"];

#[test]
fn what_a_host_answers_is_taken_or_refused_whatever_it_is() {
    fuzz(&MESSAGES, 10_000, |bytes| {
        round::<HostState>(bytes);
        round::<Problem>(bytes);
        round::<ChangeReceipt>(bytes);
        round::<LeaseGrant>(bytes);
        round::<OperatorReceipt>(bytes);
    });
}

#[test]
fn what_a_host_is_asked_is_taken_or_refused_whatever_it_is() {
    fuzz(&MESSAGES, 10_000, |bytes| {
        round::<ChangeRequest>(bytes);
        round::<EndTrialRequest>(bytes);
        round::<LeaseRequest>(bytes);
        round::<LeaseRelease>(bytes);
        round::<FreezeRequest>(bytes);
        round::<PinRequest>(bytes);
        round::<ResetRequest>(bytes);
    });
}

#[test]
fn whatever_the_kernel_files_hold_is_a_figure_or_none() {
    fuzz(&["tests/fuzz/proc"], 50_000, |bytes| {
        let process = (
            process::parse_statm(bytes),
            process::parse_start_ticks(bytes),
        );
        let group = (
            cgroup::parse_cpu_max(bytes),
            cgroup::parse_keyed(bytes, b"throttled_usec"),
        );
        std::hint::black_box((process, group, process::parse_number(bytes)));
        let pressure = cgroup::parse_pressure(bytes);
        assert!(pressure.is_none_or(f64::is_finite), "{pressure:?}");
    });
}

#[test]
fn whatever_a_profile_or_a_configuration_holds_is_valid_or_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fuzzed.toml");
    let vars = Overrides::default();
    let directories = ["profiles", "config", "tests/fuzz/toml"];
    fuzz(&directories, 300, |bytes| {
        fs::write(&path, bytes).unwrap();
        for told in [
            load_profiles(std::slice::from_ref(&path), &vars).err(),
            load(Some(&path), &vars).err(),
        ]
        .into_iter()
        .flatten()
        {
            let text = told.to_string();
            assert!(!text.is_empty() && !text.contains('\u{1b}'), "{text:?}");
        }
    });
}

#[test]
fn whatever_a_ledger_holds_is_read_as_what_was_written_or_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger-00000001-b.jsonl");
    let directories = ["crates/protocol/tests/golden", "tests/fuzz/json"];
    fuzz(&directories, 1_000, |bytes| {
        fs::write(&path, bytes).unwrap();
        let mut taken = 0;
        let skipped = ledger::scan(directory.path(), &mut |_: Entry| taken += 1).unwrap();
        // Nobody has sealed these lines.
        assert_eq!((taken, skipped.files), (0, 0));
        round::<Entry>(bytes);
    });
}

#[test]
fn whatever_a_query_names_as_an_entry_is_one_or_refused() {
    fuzz(&["tests/fuzz/proc"], 20_000, |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Ok(id) = EntryId::try_from(text) {
            assert_eq!(EntryId::try_from(String::from(id.clone())).unwrap(), id);
        }
    });
}
