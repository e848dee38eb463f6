//! Freezing and switching off.

use crate::client::Calls;
use crate::part::Fake;
use crate::{Bench, block_on, builder};
use serde_json::json;
use std::fs;
use trimtab_protocol::change::ChangeReceipt;
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::operator::OperatorReceipt;
use trimtab_protocol::problem::ProblemKind;

#[test]
fn a_freeze_rolls_back_and_holds_until_an_operator_lifts_it() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(60_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    let body = json!({ "reason": "a test" });
    let receipt: OperatorReceipt = bench.operator("PUT", "/freeze", Some(&body)).ok();
    assert!(receipt.frozen && !receipt.freeze_persistent);
    assert_eq!(bench.part.workers(), 8);
    assert_eq!(
        bench.change(2_000, &json!({ "workers": 9 })).kind(),
        ProblemKind::Frozen
    );
    let receipt: OperatorReceipt = bench.operator("DELETE", "/freeze", None).ok();
    assert!(!receipt.frozen);
    bench
        .change(2_000, &json!({ "workers": 9 }))
        .ok::<ChangeReceipt>();
}

#[test]
fn a_freeze_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let part = Fake::new("web");
    let start = || {
        let builder = builder(dir.path(), &part).state_dir(dir.path().join("state"));
        builder.start().expect("it starts")
    };
    let host = start();
    assert!(host.state().freeze_persistent);
    let receipt = block_on(host.freeze(Some("an incident".into()))).expect("it freezes");
    assert!(receipt.frozen && receipt.freeze_persistent);
    let first = host.instance().clone();
    block_on(host.shutdown());
    let host = start();
    assert_ne!(host.instance(), &first);
    assert!(host.state().frozen);
    host.lease("a", 30_000).ok::<LeaseGrant>();
    assert_eq!(
        host.change(2_000, &json!({ "workers": 9 })).kind(),
        ProblemKind::Frozen
    );
    block_on(host.unfreeze()).expect("it lifts");
    block_on(host.shutdown());
    assert!(!start().state().frozen);
}

#[test]
fn code_switches_control_off_and_on() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(60_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    bench.host.set_control_disabled(true);
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (16, 8));
    assert!(bench.state().control_disabled);
    assert_eq!(bench.lease("a", 30_000).kind(), ProblemKind::Disabled);
    bench.host.set_control_disabled(false);
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    assert!(!bench.state().control_disabled);
}

#[test]
fn a_file_switches_control_off() {
    let state = tempfile::tempdir().expect("a directory");
    let path = state.path().to_owned();
    let bench = Bench::with(|builder| builder.state_dir(path));
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    fs::write(state.path().join("disable"), "").expect("a file");
    assert!(bench.state().control_disabled);
    assert_eq!(
        bench.change(2_000, &json!({ "workers": 9 })).kind(),
        ProblemKind::Disabled
    );
    fs::remove_file(state.path().join("disable")).expect("there");
    bench.lease("a", 30_000).ok::<LeaseGrant>();
}

#[test]
fn a_freeze_on_a_directory_that_cannot_be_used_says_so() {
    let state = tempfile::NamedTempFile::new().expect("a file");
    let path = state.path().join("below");
    let bench = Bench::with(|builder| builder.state_dir(path));
    assert!(!bench.state().freeze_persistent);
    let receipt: OperatorReceipt = bench.operator("PUT", "/freeze", None).ok();
    assert!(receipt.frozen && !receipt.freeze_persistent);
}
