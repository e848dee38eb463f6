//! Trials that end by themselves, with real time.

use crate::client::Calls;
use crate::part::{Fake, Mood};
use crate::{Bench, block_on};
use serde_json::json;
use std::sync::mpsc::channel;
use std::time::Duration;
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, Phase};
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::problem::ProblemKind;

/// Lets time pass. What is waited for has no event of its own: it is the moment of a race.
pub(crate) fn pause(ms: u64) {
    let (_keep, never) = channel::<()>();
    let passed = never.recv_timeout(Duration::from_millis(ms));
    passed.expect_err("nobody sends");
}

#[test]
fn a_trial_expires_by_itself_and_its_fuse_is_cleared() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(1_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (16, 8));
    let late = bench.end(1, "confirm").problem();
    assert_eq!(late.kind, ProblemKind::Stale);
    let status = late.receipt.map(|receipt| receipt.status);
    assert_eq!(status, Some(ChangeStatus::Expired));
    assert!(!bench.part.fuse.is_burnt());
    assert_eq!(bench.state().pools["web"].phase, Phase::Baseline);
}

#[test]
fn a_trial_ends_with_a_lease_that_nobody_renews() {
    let bench = Bench::new();
    bench.lease("a", 500).ok::<LeaseGrant>();
    bench
        .change(600_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (16, 8));
    assert_eq!(bench.state().lease, None);
}

#[test]
fn a_confirmation_that_races_the_expiry_is_either_kept_or_too_late() {
    for wait_ms in [960, 985, 995, 1_000, 1_010] {
        let bench = Bench::new();
        bench.lease("a", 30_000).ok::<LeaseGrant>();
        bench
            .change(1_000, &json!({ "workers": 16 }))
            .ok::<ChangeReceipt>();
        pause(wait_ms);
        let reply = bench.end(1, "confirm");
        let value = bench.part.workers();
        let phase = bench.state().pools["web"].phase;
        if reply.status == 200 {
            assert_eq!((value, phase), (16, Phase::Confirmed));
            pause(100);
            assert_eq!(bench.part.workers(), 16, "kept for good");
        } else {
            assert_eq!((value, phase), (8, Phase::Baseline));
            let receipt = reply.problem().receipt.expect("what became of it");
            assert_eq!(receipt.status, ChangeStatus::Expired);
        }
        assert!(!bench.part.fuse.is_burnt());
    }
}

#[test]
fn what_someone_else_sets_during_a_trial_is_never_overwritten() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let set = json!({ "workers": 16, "queue_limit": 150 });
    bench.change(1_000, &set).ok::<ChangeReceipt>();
    bench.part.meddle(33);
    pause(1_200);
    assert_eq!(bench.part.workers(), 33);
    assert_eq!(
        bench.part.queue_limit(),
        100,
        "the rest of the trial is undone"
    );
    let ended = bench.end(1, "confirm").problem();
    let status = ended.receipt.map(|receipt| receipt.status);
    assert_eq!(status, Some(ChangeStatus::Superseded));
    assert_eq!(
        bench.state().pools["web"].knobs["workers"]
            .value
            .as_integer(),
        Some(33)
    );
}

#[test]
fn an_undo_that_a_knob_refuses_is_tried_again_and_holds_no_request_up() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(1_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    bench.part.mood(Mood::Refuses);
    let ended = (0..1_500).any(|_| {
        pause(20);
        bench.state().pools["web"].trial.is_none()
    });
    assert!(ended, "the trial never ends");
    // The trial has ended, and the knob has not followed.
    let state = bench.state();
    assert_eq!(
        state.pools["web"].knobs["workers"].value.as_integer(),
        Some(8)
    );
    assert!(state.pools["web"].settling);
    block_on(bench.part.fuse.whole());
    bench.part.mood(Mood::Obeys);
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (16, 8));
}

#[test]
fn a_renewed_lease_moves_the_fuse() {
    let bench = Bench::new();
    bench.lease("a", 600).ok::<LeaseGrant>();
    bench
        .change(600_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    let renew = json!({
        "instance": bench.host.instance(), "holder": "a", "ttl_ms": 30_000, "epoch": 1,
    });
    bench.sidecar("POST", "/lease", &renew).ok::<LeaseGrant>();
    pause(700);
    assert!(!bench.part.fuse.is_burnt());
    assert_eq!(bench.part.workers(), 16);
}

#[test]
fn two_pools_do_not_disturb_each_other() {
    let jobs = Fake::new("jobs");
    let part = std::sync::Arc::clone(&jobs);
    let bench = Bench::with(|builder| builder.part(part));
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(1_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    let mut body = bench.planned(60_000, &json!({ "workers": 4 }));
    body["pool"] = json!("jobs");
    body["base_revision"] = json!(1);
    bench
        .sidecar("POST", "/changes", &body)
        .ok::<ChangeReceipt>();
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (16, 8));
    assert_eq!(jobs.workers(), 4);
}
