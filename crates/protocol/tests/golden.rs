//! One golden file for each message of the wire and of the ledger, in `golden/`.
//!
//! Each file is compared with a value built here, read into its type, and written back, so neither a renamed field nor a changed default
//! passes unseen. After an intended change run this test with `UPDATE_GOLDEN=1`, run it again without, and read the difference before it
//! is committed.

#[path = "golden/ledger.rs"]
mod ledger;
#[path = "golden/wire.rs"]
mod wire;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::PathBuf;
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest, Phase};
use trimtab_protocol::lease::{LeaseRelease, LeaseRequest};
use trimtab_protocol::name::PoolName;
use trimtab_protocol::operator::{FreezeRequest, PinRequest, ResetRequest};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::{HostState, PoolKind};
use trimtab_protocol::view::EntryBody;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.json"))
}

fn golden(name: &str) -> Value {
    let path = file(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a value with its golden file, in both directions.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let written = serde_json::to_value(value).expect("every message can be written as JSON");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&written).expect("a JSON value can be written");
        std::fs::write(file(name), text + "\n").expect("the golden directory can be written");
    }
    let golden = golden(name);
    assert_eq!(written, golden, "{name}: what is written differs");
    let read: T = serde_json::from_value(golden.clone())
        .unwrap_or_else(|error| panic!("{name}: the golden file cannot be read: {error}"));
    assert_eq!(&read, value, "{name}: what is read differs");
    let again = serde_json::to_value(&read).expect("every message can be written as JSON");
    assert_eq!(again, golden, "{name}: what is written back differs");
}

/// Reads a golden file with one more field, which no version knows.
fn with_unknown_field<T: DeserializeOwned>(name: &str) -> Result<T, serde_json::Error> {
    let mut value = golden(name);
    value["colour"] = json!("green");
    serde_json::from_value(value)
}

#[test]
fn every_message_of_the_control_api_has_its_golden_shape() {
    check("state", &wire::state());
    check("lease_request", &wire::lease_request());
    check("lease_renewal", &wire::lease_renewal());
    check("lease_release", &wire::lease_release());
    check("lease_grant", &wire::lease_grant());
    check("change_request", &wire::change_request());
    check("change_receipt_trial", &wire::change_receipt_trial());
    check(
        "change_receipt_confirmed",
        &wire::change_receipt_confirmed(),
    );
    check("end_trial_request", &wire::end_trial_request());
    check("freeze_request", &wire::freeze_request());
    check("pin_request", &wire::pin_request());
    check("reset_request", &wire::reset_request());
    check("operator_receipt", &wire::operator_receipt());
}

#[test]
fn every_kind_of_problem_has_its_golden_shape() {
    for problem in wire::problems() {
        let urn = serde_json::to_value(problem.kind).expect("a kind is written as a string");
        let name = urn
            .as_str()
            .and_then(|urn| urn.strip_prefix("urn:trimtab:problem:"))
            .expect("every kind is a URN of ours");
        check(&format!("problem_{}", name.replace('-', "_")), &problem);
    }
    check("problem_too_late", &wire::problem_too_late());
}

#[test]
fn every_line_of_the_ledger_has_its_golden_shape() {
    check("entry_decision", &ledger::entry_decision());
    check("entry_intent", &ledger::entry_intent());
    check("entry_outcome", &ledger::entry_outcome());
    check("entry_outcome_refused", &ledger::entry_outcome_refused());
    for entry in ledger::entries_command() {
        let EntryBody::Command(record) = &entry.body else {
            panic!("it is about a command");
        };
        check(&format!("entry_command_{}", record.asked.word()), &entry);
    }
    check("entry_reload", &ledger::entry_reload());
    check("configuration_status", &ledger::configuration_status());
    check("reasons", &ledger::reasons());
    check("verdicts", &ledger::verdicts());
}

#[test]
fn every_answer_of_the_sidecar_has_its_golden_shape() {
    check("hosts", &ledger::hosts());
    check("host_status", &ledger::host_status());
    check("sample", &ledger::sample());
    check("samples", &ledger::samples());
    check("decisions", &ledger::decisions());
    check("readiness", &ledger::readiness());
    check("command_receipt", &ledger::command_receipt());
}

#[test]
fn the_smallest_state_of_a_foreign_host_is_read_with_everything_else_absent() {
    let state: HostState =
        serde_json::from_value(golden("state_minimal")).expect("the smallest state is readable");
    assert_eq!(state.app, "legacy-queue");
    assert!(state.features.is_empty() && !state.offers("changes"));
    assert_eq!(
        (state.lease.is_none(), state.frozen, state.pid),
        (true, false, 0)
    );
    assert_eq!(state.process, Default::default());
    let pool = &state.pools[&PoolName::from("jobs")];
    assert_eq!((pool.kind, pool.phase), (PoolKind::Other, Phase::Baseline));
    assert_eq!(pool.counters.completed, None, "missing is not zero");
    assert_eq!(pool.gauges.busy, None, "missing is not zero");
    assert!(pool.histograms.total_us.is_none() && pool.knobs.is_empty());

    let written = serde_json::to_value(&state).expect("a state can be written");
    let again: HostState = serde_json::from_value(written).expect("what was written is readable");
    assert_eq!(again, state);
}

#[test]
fn a_request_with_an_unknown_field_is_refused() {
    fn refused<T: DeserializeOwned + Debug>(name: &str) {
        let error = with_unknown_field::<T>(name).expect_err(name).to_string();
        assert!(error.contains("unknown field `colour`"), "{name}: {error}");
    }
    refused::<LeaseRequest>("lease_request");
    refused::<LeaseRelease>("lease_release");
    refused::<ChangeRequest>("change_request");
    refused::<EndTrialRequest>("end_trial_request");
    refused::<FreezeRequest>("freeze_request");
    refused::<PinRequest>("pin_request");
    refused::<ResetRequest>("reset_request");
}

#[test]
fn an_answer_with_an_unknown_field_is_read_without_it() {
    let state: HostState = with_unknown_field("state").expect("a newer host's state is readable");
    assert_eq!(state, wire::state());
    let receipt: ChangeReceipt =
        with_unknown_field("change_receipt_trial").expect("a newer host's receipt is readable");
    assert_eq!(receipt, wire::change_receipt_trial());
    let problem: Problem =
        with_unknown_field("problem_stale").expect("a newer host's problem is readable");
    assert!(wire::problems().contains(&problem));

    let mut newer = golden("state");
    newer["pools"]["web"]["colour"] = json!("green");
    newer["pools"]["web"]["counters"]["stolen"] = json!(7);
    newer["pools"]["web"]["kind"] = json!("stream");
    let state: HostState = serde_json::from_value(newer).expect("unknown fields lie deeper too");
    let web = &state.pools[&PoolName::from("web")];
    assert_eq!(
        web.kind,
        PoolKind::Other,
        "a kind of a later version is some other kind"
    );
    assert_eq!(
        web.counters,
        wire::state().pools[&PoolName::from("web")].counters
    );
}

#[test]
fn a_broken_figure_is_absent_and_leaves_the_rest_of_the_state_alone() {
    let expected = {
        let mut state = wire::state();
        let web = state
            .pools
            .get_mut("web")
            .expect("the golden state has a pool `web`");
        web.counters.completed = None;
        web.gauges.queued = None;
        state.process.rss_bytes = None;
        state
    };
    for broken in [
        json!(-1),
        json!(-0.5),
        json!(1e300),
        json!(null),
        json!("12"),
        json!(true),
        json!([12]),
        json!({"value": 12}),
    ] {
        let mut value = golden("state");
        value["pools"]["web"]["counters"]["completed"] = broken.clone();
        value["pools"]["web"]["gauges"]["queued"] = broken.clone();
        value["process"]["rss_bytes"] = broken.clone();
        let state: HostState = serde_json::from_value(value)
            .unwrap_or_else(|error| panic!("{broken} failed the whole state: {error}"));
        assert_eq!(state, expected, "{broken}");
    }
}

#[test]
fn a_number_that_no_reader_can_hold_fails_the_state_as_any_broken_json_does() {
    let text = golden("state").to_string();
    let broken = text.replace(r#""completed":1200"#, r#""completed":1e999"#);
    assert_ne!(text, broken, "the golden state counts 1200 completions");
    assert!(serde_json::from_str::<HostState>(&broken).is_err());
}

#[test]
fn a_state_without_its_identity_is_no_state() {
    for field in ["api", "app", "instance", "at_ns"] {
        let mut value = golden("state_minimal");
        value
            .as_object_mut()
            .expect("a state is an object")
            .remove(field);
        let error = serde_json::from_value::<HostState>(value)
            .expect_err(field)
            .to_string();
        assert!(
            error.contains(&format!("missing field `{field}`")),
            "{error}"
        );
    }
}
