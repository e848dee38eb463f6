//! The documents are what the types say, hold together, and describe the golden messages.

use super::schema::{faults, fields};
use super::*;
use serde_json::{Value, json};

fn parsed() -> [Value; 2] {
    let documents = documents().expect("the documents can be written");
    let parse = |index: usize| serde_json::from_str(&documents[index].1).expect("it is JSON");
    [parse(0), parse(1)]
}

fn golden(name: &str) -> Value {
    let path = format!("crates/protocol/tests/golden/{name}.json");
    let text = std::fs::read_to_string(crate::workspace_root().join(path)).expect(name);
    serde_json::from_str(&text).expect(name)
}

fn check_golden(document: &Value, schema: &str, name: &str) {
    let value = golden(name);
    let schema = document["components"]["schemas"][schema].clone();
    assert!(schema.is_object(), "{name}: there is no such schema");
    let found = faults(document, &schema, &value, name);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let known = fields(document, &schema);
    for field in value.as_object().expect(name).keys() {
        assert!(
            known.contains(field),
            "{name}: the schema does not know `{field}`"
        );
    }
}

/// Every reference of a document, wherever it stands.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(
                fields
                    .get("$ref")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_files_say_what_the_types_say() {
    check(&crate::workspace_root()).expect("the documents are up to date");
}

#[test]
fn a_file_that_says_something_else_is_found() {
    let root = std::env::temp_dir().join(format!("xtask-openapi-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("the directory can be created");
    assert!(check(&root).is_err(), "there is no document");
    write(&root).expect("documents can be written");
    check(&root).expect("what was just written is up to date");
    let path = root.join("docs/sidecar-api.openapi.json");
    let text = std::fs::read_to_string(&path).expect("it was just written");
    std::fs::write(&path, text.replace("/livez", "/alive")).expect("it can be written");
    let error = check(&root)
        .expect_err("one path has another name")
        .to_string();
    assert!(error.contains("sidecar-api.openapi.json:"), "{error}");
    std::fs::remove_dir_all(&root).expect("the directory can be removed");
}

#[test]
fn every_reference_leads_to_a_schema() {
    for document in parsed() {
        assert_eq!(document["openapi"], "3.1.0");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let target = document.pointer(reference.trim_start_matches('#'));
            assert!(target.is_some(), "{reference} leads nowhere");
        }
    }
}

#[test]
fn every_call_of_the_apis_is_described() {
    let calls = |document: &Value| -> Vec<String> {
        let paths = document["paths"].as_object().expect("there are paths");
        let calls = paths.iter().flat_map(|(path, calls)| {
            let methods = calls.as_object().into_iter().flatten();
            methods.map(move |(method, _)| format!("{method} {path}"))
        });
        let mut calls: Vec<String> = calls.collect();
        calls.sort();
        calls
    };
    let [control, sidecar] = parsed();
    assert_eq!(
        calls(&control),
        [
            "delete /trimtab/v1/freeze",
            "delete /trimtab/v1/lease",
            "delete /trimtab/v1/pins/{pool}/{knob}",
            "get /debug/pprof/profile",
            "get /trimtab/v1/state",
            "post /trimtab/v1/changes",
            "post /trimtab/v1/changes/{generation}/confirm",
            "post /trimtab/v1/changes/{generation}/rollback",
            "post /trimtab/v1/lease",
            "post /trimtab/v1/reset",
            "put /trimtab/v1/freeze",
            "put /trimtab/v1/pins/{pool}/{knob}",
        ]
    );
    assert_eq!(
        calls(&sidecar),
        [
            "get /",
            "get /api/v1/configuration",
            "get /api/v1/configuration/effective",
            "get /api/v1/events",
            "get /api/v1/hosts",
            "get /api/v1/hosts/{id}/decisions",
            "get /api/v1/hosts/{id}/history",
            "get /api/v1/hosts/{id}/samples",
            "get /api/v1/hosts/{id}/status",
            "get /debug/pprof/",
            "get /debug/pprof/profile",
            "get /flamegraph",
            "get /flamegraph/change/{generation}",
            "get /flamegraph/diff",
            "get /healthz",
            "get /heatmap",
            "get /livez",
            "get /metrics",
            "get /plain",
            "get /profile/capabilities",
            "get /profile/quality",
            "get /readyz",
            "post /api/v1/configuration/check",
            "post /api/v1/hosts/{id}/approve",
            "post /api/v1/hosts/{id}/freeze",
            "post /api/v1/hosts/{id}/pin",
            "post /api/v1/hosts/{id}/profile",
            "post /api/v1/hosts/{id}/reject",
            "post /api/v1/hosts/{id}/reset",
            "post /api/v1/hosts/{id}/unfreeze",
            "post /api/v1/hosts/{id}/unpin",
        ]
    );
}

#[test]
fn a_stale_change_is_described_with_its_status_and_its_kind() {
    let [control, _] = parsed();
    let answers = &control["paths"]["/trimtab/v1/changes"]["post"]["responses"];
    let conflict = answers["409"]["description"]
        .as_str()
        .expect("it is described");
    assert!(conflict.contains("urn:trimtab:problem:stale"), "{conflict}");
    assert!(answers["409"]["content"]["application/problem+json"].is_object());
    let freeze = &control["paths"]["/trimtab/v1/freeze"]["put"]["security"];
    assert_eq!(*freeze, json!([{}, {"operator_token": []}]));
}

#[test]
fn the_schemas_describe_the_golden_messages() {
    let [control, sidecar] = parsed();
    for (schema, name) in [
        ("HostState", "state"),
        ("HostState", "state_minimal"),
        ("LeaseRequest", "lease_request"),
        ("LeaseRequest", "lease_renewal"),
        ("LeaseRelease", "lease_release"),
        ("LeaseGrant", "lease_grant"),
        ("ChangeRequest", "change_request"),
        ("ChangeReceipt", "change_receipt_trial"),
        ("ChangeReceipt", "change_receipt_confirmed"),
        ("EndTrialRequest", "end_trial_request"),
        ("FreezeRequest", "freeze_request"),
        ("PinRequest", "pin_request"),
        ("ResetRequest", "reset_request"),
        ("OperatorReceipt", "operator_receipt"),
        ("Problem", "problem_stale"),
        ("Problem", "problem_too_late"),
        ("Problem", "problem_value"),
        ("Problem", "problem_leased"),
    ] {
        check_golden(&control, schema, name);
    }
    for (schema, name) in [
        ("HostStatus", "host_status"),
        ("Hosts", "hosts"),
        ("Samples", "samples"),
        ("Decisions", "decisions"),
        ("Readiness", "readiness"),
        ("Entry", "entry_decision"),
        ("Entry", "entry_intent"),
        ("Entry", "entry_outcome"),
        ("Entry", "entry_outcome_refused"),
        ("Entry", "entry_command_freeze"),
        ("Entry", "entry_command_pin"),
        ("Entry", "entry_command_profile"),
        ("CommandReceipt", "command_receipt"),
    ] {
        check_golden(&sidecar, schema, name);
    }
}

#[test]
fn a_value_that_does_not_fit_its_schema_is_found() {
    let [control, _] = parsed();
    let schema = json!({"$ref": "#/components/schemas/ChangeRequest"});
    let good = golden("change_request");
    assert!(faults(&control, &schema, &good, "").is_empty());
    for (pointer, bad) in [
        ("/trial_ms", json!("30 s")),
        ("/generation", json!(-1)),
        ("/set", json!([12])),
        ("/set/workers", json!({"to": 12})),
    ] {
        let mut broken = good.clone();
        *broken.pointer_mut(pointer).expect(pointer) = bad;
        assert!(
            !faults(&control, &schema, &broken, "").is_empty(),
            "{pointer}"
        );
    }
    let mut unknown = good.clone();
    unknown["colour"] = json!("green");
    assert!(
        !faults(&control, &schema, &unknown, "").is_empty(),
        "an unknown field"
    );
    let mut missing = good;
    missing.as_object_mut().expect("an object").remove("reason");
    assert!(
        !faults(&control, &schema, &missing, "").is_empty(),
        "a missing field"
    );
}
