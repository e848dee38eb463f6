//! What is done with some bytes. Each body is a test with its corpus in `tests/it/fuzz.rs`, and a target in `fuzz/`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs;
use std::path::Path;
use trimtab::config::{Overrides, load, load_profiles};
use trimtab::record::ledger as kept;
use trimtab::sense::{cgroup, process};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::{Entry, EntryId};

/// What is taken is written as something that is taken, and means the same.
fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::from_slice(&serde_json::to_vec(&read).unwrap()).unwrap();
        assert_eq!(read, again);
    }
}

/// What comes from a host.
pub(crate) fn host_answer(bytes: &[u8]) {
    round::<HostState>(bytes);
    round::<Problem>(bytes);
    round::<ChangeReceipt>(bytes);
    round::<LeaseGrant>(bytes);
    round::<OperatorReceipt>(bytes);
}

/// What comes to a host.
pub(crate) fn host_request(bytes: &[u8]) {
    round::<ChangeRequest>(bytes);
    round::<EndTrialRequest>(bytes);
    round::<LeaseRequest>(bytes);
    round::<LeaseRelease>(bytes);
    round::<FreezeRequest>(bytes);
    round::<PinRequest>(bytes);
    round::<ResetRequest>(bytes);
}

/// What the kernel tells of processes and control groups.
pub(crate) fn kernel_file(bytes: &[u8]) {
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
}

/// A profile and a configuration, in a file of this directory.
pub(crate) fn configuration(directory: &Path, bytes: &[u8]) {
    let path = directory.join("fuzzed.toml");
    fs::write(&path, bytes).unwrap();
    let vars = Overrides::default();
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
}

/// A file of the ledger, which is all that there is in this directory.
pub(crate) fn ledger(directory: &Path, bytes: &[u8]) {
    fs::write(directory.join("ledger-00000001-b.jsonl"), bytes).unwrap();
    let mut taken = 0;
    let skipped = kept::scan(directory, &mut |_: Entry| taken += 1).unwrap();
    // Nobody has sealed these lines.
    assert_eq!((taken, skipped.files), (0, 0));
    round::<Entry>(bytes);
}

/// What a query names as an entry.
pub(crate) fn entry_name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    if let Ok(id) = EntryId::try_from(text) {
        assert_eq!(EntryId::try_from(String::from(id.clone())).unwrap(), id);
    }
}
