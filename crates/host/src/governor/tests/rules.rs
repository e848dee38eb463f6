//! Each refusal and each rule, one by one.

use super::*;
use trimtab_protocol::knob::KnobValue::Choice;

#[test]
fn a_change_is_a_trial_and_a_confirmation_keeps_it() {
    let mut world = World::leased();
    let receipt = world.try_set("web", &[("workers", 16)]).expect("taken");
    assert_eq!(receipt.status, ChangeStatus::Trial);
    assert_eq!(receipt.expires_in_ms, Some(10_000));
    assert_eq!(receipt.revision, Revision(2));
    assert!(!receipt.settling);
    assert_eq!(world.value("web", "workers"), 16);
    let receipt = world.confirm(1).expect("in time");
    assert_eq!(receipt.status, ChangeStatus::Confirmed);
    world.pass(50_000);
    assert_eq!(world.value("web", "workers"), 16);
    let state = &world.governor.pool_states(world.now_ns)[&PoolName::from("web")];
    assert_eq!(state.phase, Phase::Confirmed);
}

#[test]
fn a_rollback_brings_the_values_back() {
    let mut world = World::leased();
    let set = [("workers", 16), ("queue_limit", 200)];
    world.try_set("web", &set).expect("taken");
    let receipt = world.roll_back(1).expect("open");
    assert_eq!(receipt.status, ChangeStatus::RolledBack);
    assert_eq!(receipt.revision, Revision(3));
    assert_eq!(world.value("web", "workers"), 8);
    assert_eq!(world.value("web", "queue_limit"), 100);
    let state = &world.governor.pool_states(world.now_ns)[&PoolName::from("web")];
    assert_eq!(state.phase, Phase::Baseline);
}

#[test]
fn a_trial_expires_at_its_deadline_and_not_before() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    let due = world.governor.next_due().expect("a trial is open");
    assert_eq!((due.at_ns, due.urgent), (ns(10_000), true));
    world.pass(9_999);
    assert_eq!(world.value("web", "workers"), 16);
    world.pass(1);
    assert_eq!(world.value("web", "workers"), 8);
}

#[test]
fn a_trial_ends_with_its_lease_and_lives_on_when_the_lease_is_renewed() {
    let mut world = World::new();
    let grant = world.lease("a", 5_000, None).expect("free");
    world.try_set("web", &[("workers", 16)]).expect("taken");
    assert_eq!(world.governor.trial_end_ns(&"web".into()), Some(ns(5_000)));
    world.pass(4_000);
    world.lease("a", 5_000, Some(grant.epoch)).expect("held");
    world.pass(4_000);
    assert_eq!(world.value("web", "workers"), 16);
    world.pass(1_000);
    assert_eq!(world.value("web", "workers"), 8);
    assert!(world.governor.lease.is_none());
}

#[test]
fn a_confirmation_after_the_end_is_stale_and_says_what_became_of_it() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    // The timers have not run yet; the confirmation itself comes too late.
    world.sleep(10_000);
    let refusal = world.confirm(1).expect_err("too late");
    assert_eq!(refusal.kind, ProblemKind::Stale);
    let receipt = refusal.receipt.clone().expect("what became of it");
    assert_eq!(receipt.status, ChangeStatus::Expired);
    assert_eq!(world.value("web", "workers"), 8);
    assert_eq!(world.confirm(1), Err(refusal));
    // The undo that a rollback asks for has happened.
    let receipt = world.roll_back(1).expect("it does not stand");
    assert_eq!(receipt.status, ChangeStatus::Expired);
}

#[test]
fn a_rollback_after_the_confirmation_is_stale() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.confirm(1).expect("in time");
    let refusal = world.roll_back(1).expect_err("kept");
    assert_eq!(refusal.kind, ProblemKind::Stale);
    let status = refusal.receipt.map(|receipt| receipt.status);
    assert_eq!(status, Some(ChangeStatus::Confirmed));
    assert_eq!(world.value("web", "workers"), 16);
}

#[test]
fn a_retry_gets_the_first_answer_and_another_request_does_not() {
    let mut world = World::leased();
    let request = world.request("web", &[("workers", 16)]);
    let first = world.change(&request).expect("taken");
    world.pass(5_000);
    assert_eq!(world.change(&request), Ok(first.clone()));
    let confirmed = world.confirm(1).expect("in time");
    world.try_set("web", &[("workers", 20)]).expect("taken");
    assert_eq!(world.change(&request), Ok(first));
    assert_eq!(world.confirm(1), Ok(confirmed));
    let other = ChangeRequest {
        trial_ms: 9_000,
        ..request
    };
    assert_eq!(fence(world.change(&other)), Some(Fence::Generation));
}

#[test]
fn the_last_64_generations_are_remembered() {
    let mut world = World::leased();
    let mut requests = Vec::new();
    for index in 0..65 {
        let request = world.request("web", &[("workers", 16)]);
        world.change(&request).expect("taken");
        world.roll_back(index + 1).expect("open");
        requests.push(request);
        world.pass(5_000);
        let epoch = world.governor.epoch;
        world.lease("a", 60_000, Some(epoch)).expect("held");
    }
    assert_eq!(fence(world.change(&requests[0])), Some(Fence::Generation));
    assert!(world.change(&requests[1]).is_ok());
    assert_eq!(fence(world.confirm(1)), Some(Fence::Generation));
    assert_eq!(kind(world.confirm(66)), ProblemKind::Unknown);
}

#[test]
fn each_fencing_figure_must_fit() {
    let mut world = World::leased();
    let good = world.request("web", &[("workers", 16)]);
    let picture = world.picture();
    let bad = |edit: &dyn Fn(&mut ChangeRequest)| {
        let mut request = good.clone();
        edit(&mut request);
        request
    };
    let cases = [
        (
            bad(&|request| request.instance = "i0".into()),
            Fence::Instance,
        ),
        (bad(&|request| request.epoch = Epoch(2)), Fence::Epoch),
        (
            bad(&|request| request.generation = Generation(0)),
            Fence::Generation,
        ),
        (
            bad(&|request| request.base_revision = Revision(9)),
            Fence::Revision,
        ),
    ];
    for (request, expected) in cases {
        assert_eq!(fence(world.change(&request)), Some(expected));
    }
    assert_eq!(world.picture(), picture, "a refused change changes nothing");
    world.change(&good).expect("the good one is taken");
}

#[test]
fn without_a_lease_nothing_is_changed() {
    let mut world = World::new();
    assert_eq!(
        fence(world.try_set("web", &[("workers", 16)])),
        Some(Fence::Epoch)
    );
}

#[test]
fn bounds_granularity_and_step_are_kept() {
    let mut world = World::leased();
    type Case = (&'static [(&'static str, u64)], (u64, u64));
    let cases: [Case; 6] = [
        (&[("workers", 0)], (4, 16)),
        (&[("workers", 65)], (4, 16)),
        (&[("workers", u64::MAX)], (4, 16)),
        (&[("workers", 17)], (4, 16)),
        (&[("workers", 3)], (4, 16)),
        (&[("workers", 9), ("queue_limit", 155)], (50, 200)),
    ];
    for (set, range) in cases {
        let refusal = world.try_set("web", set).expect_err("not allowed");
        assert_eq!(refusal.kind, ProblemKind::Value, "{set:?}");
        let allowed = refusal.allowed.expect("what would be");
        assert_eq!((allowed.min, allowed.max), range, "{set:?}");
    }
    assert_eq!(world.value("web", "workers"), 8);
    world.try_set("web", &[("workers", 4)]).expect("half");
}

#[test]
fn a_knob_takes_only_its_own_sort_of_value() {
    let mut world = World::leased();
    for (knob, value) in [
        ("order", KnobValue::Integer(0)),
        ("order", Choice("oldest".into())),
        ("workers", Choice("many".into())),
    ] {
        let mut request = world.request("web", &[]);
        request.set.insert(knob.into(), value);
        assert_eq!(kind(world.change(&request)), ProblemKind::Value);
    }
    let mut request = world.request("web", &[]);
    request.set.insert("order".into(), Choice("newest".into()));
    world.change(&request).expect("a choice");
}

#[test]
fn a_knob_at_zero_can_grow_again() {
    let mut world = World::leased();
    world.foreign("web", "queue_limit", 0);
    world.prepare();
    world
        .try_set("web", &[("queue_limit", 10)])
        .expect("one granule");
}

#[test]
fn what_does_not_exist_is_unknown() {
    let mut world = World::leased();
    assert_eq!(
        kind(world.try_set("none", &[("workers", 9)])),
        ProblemKind::Unknown
    );
    assert_eq!(
        kind(world.try_set("web", &[("none", 9)])),
        ProblemKind::Unknown
    );
    assert_eq!(kind(world.try_set("web", &[])), ProblemKind::Value);
    assert_eq!(kind(world.unpin("web", "workers")), ProblemKind::Unknown);
    assert_eq!(kind(world.reset(Some("none"))), ProblemKind::Unknown);
    assert_eq!(kind(world.confirm(0)), ProblemKind::Unknown);
}

#[test]
fn a_trial_takes_one_second_to_ten_minutes() {
    let mut world = World::leased();
    for trial_ms in [0, 999, 600_001, u64::MAX] {
        let mut request = world.request("web", &[("workers", 9)]);
        request.trial_ms = trial_ms;
        assert_eq!(kind(world.change(&request)), ProblemKind::Value);
    }
}

#[test]
fn a_pool_has_one_trial_at_a_time() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 9)]).expect("taken");
    let refusal = world.try_set("web", &[("workers", 10)]).expect_err("open");
    assert_eq!(refusal.kind, ProblemKind::Stale);
    assert_eq!(refusal.retry_after_ms, Some(10_000));
    world
        .try_set("jobs", &[("workers", 9)])
        .expect("another pool");
}

#[test]
fn a_pool_takes_twelve_changes_a_minute() {
    let mut world = World::leased();
    for index in 0..12 {
        world.try_set("web", &[("workers", 9)]).expect("taken");
        world.roll_back(index + 1).expect("never refused for rate");
        world.pass(1_000);
    }
    let refusal = world
        .try_set("web", &[("workers", 10)])
        .expect_err("the 13th");
    assert_eq!(refusal.kind, ProblemKind::TooSoon);
    assert_eq!(refusal.retry_after_ms, Some(48_000));
    world.pass(47_999);
    assert_eq!(
        kind(world.try_set("web", &[("workers", 10)])),
        ProblemKind::TooSoon
    );
    world.lease("a", 60_000, None).expect("its own");
    world.pass(1);
    world
        .try_set("web", &[("workers", 10)])
        .expect("room again");
}

#[test]
fn going_back_to_a_confirmed_set_is_refused_neither_for_step_nor_rate() {
    let mut world = World::leased();
    for (index, workers) in [16, 32, 64].into_iter().enumerate() {
        world
            .try_set("web", &[("workers", workers)])
            .expect("taken");
        world.confirm(index as u64 + 1).expect("in time");
    }
    for index in 0..12 {
        let workers = if index % 2 == 0 { 8 } else { 64 };
        world
            .try_set("web", &[("workers", workers)])
            .expect("a proven set");
        world.confirm(index + 4).expect("in time");
    }
    assert_eq!(
        kind(world.try_set("web", &[("workers", 63)])),
        ProblemKind::TooSoon
    );
    world
        .try_set("web", &[("workers", 16)])
        .expect("a proven set");
}

#[test]
fn a_killing_knob_does_not_go_below_what_is_busy() {
    let mut world = World::leased();
    world.busy = Some(6);
    let refusal = world.try_set("jobs", &[("workers", 5)]).expect_err("kills");
    assert_eq!(refusal.allowed.map(|allowed| allowed.min), Some(6));
    world.busy = None;
    assert_eq!(
        kind(world.try_set("jobs", &[("workers", 7)])),
        ProblemKind::Value
    );
    world.try_set("jobs", &[("workers", 9)]).expect("growth");
}

#[test]
fn a_knob_that_refuses_takes_the_whole_change_with_it() {
    let mut world = World::leased();
    world.broken = vec!["workers".into()];
    let picture = world.picture();
    let set = [("queue_limit", 110), ("workers", 9)];
    assert_eq!(kind(world.try_set("web", &set)), ProblemKind::KnobFailed);
    assert_eq!(world.picture(), picture);
}

#[test]
fn an_undo_that_a_knob_refuses_is_tried_until_it_is_taken() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.broken = vec!["workers".into()];
    world.pass(10_000);
    assert_eq!(world.value("web", "workers"), 16);
    assert!(world.governor.next_due().expect("owed").urgent);
    assert_eq!(
        kind(world.try_set("web", &[("workers", 9)])),
        ProblemKind::KnobFailed
    );
    world.broken.clear();
    world.pass(200);
    assert_eq!(world.value("web", "workers"), 8);
    world.try_set("web", &[("workers", 9)]).expect("paid");
}

#[test]
fn a_foreign_change_ends_the_trial_and_is_never_overwritten() {
    let mut world = World::leased();
    let set = [("workers", 16), ("queue_limit", 200)];
    world.try_set("web", &set).expect("taken");
    world.foreign("web", "workers", 40);
    world.pass(20_000);
    assert_eq!(world.value("web", "workers"), 40);
    assert_eq!(world.value("web", "queue_limit"), 100, "the rest is undone");
    let refusal = world.confirm(1).expect_err("superseded");
    let status = refusal.receipt.map(|receipt| receipt.status);
    assert_eq!(status, Some(ChangeStatus::Superseded));
    let receipt = world.roll_back(1).expect("nothing is left of it");
    assert_eq!(receipt.status, ChangeStatus::Superseded);
    assert_eq!(world.value("web", "workers"), 40);
}

#[test]
fn a_foreign_change_of_both_knobs_stays_whole() {
    let mut world = World::leased();
    let set = [("workers", 16), ("queue_limit", 200)];
    world.try_set("web", &set).expect("taken");
    world.foreign("web", "workers", 40);
    world.foreign("web", "queue_limit", 500);
    world.pass(20_000);
    assert_eq!(world.value("web", "workers"), 40);
    assert_eq!(world.value("web", "queue_limit"), 500);
}

#[test]
fn a_foreign_change_makes_older_plans_stale() {
    let mut world = World::leased();
    let request = world.request("web", &[("workers", 9)]);
    world.foreign("web", "workers", 12);
    assert_eq!(fence(world.change(&request)), Some(Fence::Revision));
}

#[test]
fn a_pin_holds_one_knob_and_then_gives_it_back() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world
        .pin("web", "workers", 64, 30_000)
        .expect("an operator's step has no limit");
    assert_eq!(world.value("web", "workers"), 64);
    assert!(world.confirm(1).is_err());
    let refusal = world.try_set("web", &[("workers", 32)]).expect_err("held");
    assert_eq!(refusal.kind, ProblemKind::Pinned);
    assert_eq!(refusal.retry_after_ms, Some(30_000));
    world
        .try_set("web", &[("queue_limit", 110)])
        .expect("another knob");
    world.roll_back(2).expect("open");
    world.pass(30_000);
    assert_eq!(world.value("web", "workers"), 8, "the last confirmed value");
}

#[test]
fn a_pin_of_a_trials_own_value_keeps_it() {
    let mut world = World::leased();
    let set = [("workers", 16), ("queue_limit", 200)];
    world.try_set("web", &set).expect("taken");
    world
        .pin("web", "workers", 16, 30_000)
        .expect("it stands there");
    assert_eq!(world.value("web", "workers"), 16);
    assert_eq!(world.value("web", "queue_limit"), 100);
}

#[test]
fn a_pin_keeps_to_the_limits_and_ends_on_request() {
    let mut world = World::leased();
    assert_eq!(
        kind(world.pin("web", "workers", 65, 1_000)),
        ProblemKind::Value
    );
    assert_eq!(
        kind(world.pin("web", "queue_limit", 5, 1_000)),
        ProblemKind::Value
    );
    assert_eq!(kind(world.pin("web", "workers", 9, 0)), ProblemKind::Value);
    world.pin("web", "workers", 20, u64::MAX).expect("within");
    world.unpin("web", "workers").expect("held");
    assert_eq!(world.value("web", "workers"), 8);
}

#[test]
fn a_freeze_rolls_trials_back_and_then_refuses_changes() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.freeze();
    assert_eq!(world.value("web", "workers"), 8);
    assert_eq!(
        kind(world.try_set("web", &[("workers", 9)])),
        ProblemKind::Frozen
    );
    let status = world.roll_back(1).expect("undone").status;
    assert_eq!(status, ChangeStatus::RolledBack);
    world.governor.unfreeze();
    world.try_set("web", &[("workers", 9)]).expect("lifted");
}

#[test]
fn a_pin_outlives_its_time_while_frozen() {
    let mut world = World::leased();
    world.pin("web", "workers", 20, 1_000).expect("within");
    world.freeze();
    world.pass(5_000);
    assert_eq!(world.value("web", "workers"), 20);
    world.governor.unfreeze();
    world.prepare();
    assert_eq!(world.value("web", "workers"), 8);
}

#[test]
fn a_reset_goes_to_the_baseline_at_once_and_supersedes_trials() {
    let mut world = World::leased();
    for (index, workers) in [16, 32, 64].into_iter().enumerate() {
        world
            .try_set("web", &[("workers", workers)])
            .expect("taken");
        world.confirm(index as u64 + 1).expect("in time");
    }
    world
        .try_set("web", &[("queue_limit", 200)])
        .expect("taken");
    world.pin("jobs", "workers", 20, 60_000).expect("within");
    world.reset(Some("web")).expect("an operator");
    assert_eq!(world.value("web", "workers"), 8);
    assert_eq!(world.value("web", "queue_limit"), 100);
    assert_eq!(world.value("jobs", "workers"), 20);
    let refusal = world.confirm(4).expect_err("superseded");
    let status = refusal.receipt.map(|receipt| receipt.status);
    assert_eq!(status, Some(ChangeStatus::Superseded));
    world.reset(None).expect("an operator");
    assert_eq!(world.value("jobs", "workers"), 8);
}

#[test]
fn one_holder_at_a_time() {
    let mut world = World::new();
    let first = world.lease("a", 5_000, None).expect("free");
    world.pass(1_000);
    let refusal = world.lease("b", 5_000, None).expect_err("held");
    assert_eq!(refusal.kind, ProblemKind::Leased);
    assert_eq!(refusal.holder.as_deref(), Some("a"));
    assert_eq!(refusal.retry_after_ms, Some(4_000));
    let again = world.lease("a", 5_000, None).expect("its own");
    assert!(again.epoch > first.epoch);
    assert_eq!(
        fence(world.lease("a", 5_000, Some(first.epoch))),
        Some(Fence::Epoch)
    );
    world.pass(5_000);
    assert_eq!(
        fence(world.lease("a", 5_000, Some(again.epoch))),
        Some(Fence::Epoch)
    );
    let other = world.lease("b", 5_000, None).expect("free");
    assert!(other.epoch > again.epoch);
}

#[test]
fn a_lease_has_sensible_terms() {
    let mut world = World::new();
    for (holder, ttl_ms) in [
        ("a", 0),
        ("a", 60_001),
        ("", 5_000),
        (&*"x".repeat(300), 5_000),
    ] {
        assert_eq!(kind(world.lease(holder, ttl_ms, None)), ProblemKind::Value);
    }
}

#[test]
fn taking_over_and_giving_back_roll_the_trials_back() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    let grant = world.lease("a", 60_000, None).expect("its own");
    assert_eq!(world.value("web", "workers"), 8);
    // The successor does not confirm what it did not begin.
    assert_eq!(fence(world.confirm(1)), Some(Fence::Epoch));
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.release(grant.epoch).expect("held");
    assert_eq!(world.value("web", "workers"), 8);
    world.release(grant.epoch).expect("a retry");
    assert_eq!(fence(world.release(Epoch(1))), Some(Fence::Epoch));
}

#[test]
fn a_confirmed_set_that_nobody_tunes_goes_home_in_steps() {
    let mut world = World::leased();
    for (index, workers) in [16, 32, 64].into_iter().enumerate() {
        world
            .try_set("web", &[("workers", workers)])
            .expect("taken");
        world.confirm(index as u64 + 1).expect("in time");
    }
    world.foreign("web", "queue_limit", 500);
    world.pass(60_000);
    world.pass(HOLD_MS - 1);
    assert_eq!(world.value("web", "workers"), 64);
    let mut seen = Vec::new();
    world.pass(1);
    for _ in 0..4 {
        seen.push(world.value("web", "workers"));
        world.pass(30_000);
    }
    assert_eq!(seen, [32, 16, 8, 8]);
    assert_eq!(world.value("web", "queue_limit"), 500, "not the sidecar's");
    assert_eq!(world.governor.next_due(), None);
}

#[test]
fn a_lease_stops_the_way_home() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.confirm(1).expect("in time");
    world.pass(60_000);
    world.pass(HOLD_MS - 10_000);
    world.lease("b", 60_000, None).expect("free");
    world.pass(20_000);
    assert_eq!(world.value("web", "workers"), 16);
}

#[test]
fn switched_off_nothing_is_taken_and_trials_are_undone() {
    let mut world = World::leased();
    world.try_set("web", &[("workers", 16)]).expect("taken");
    world.governor.set_disabled(true, world.now_ns);
    world.pay();
    assert_eq!(world.value("web", "workers"), 8);
    assert_eq!(
        kind(world.try_set("web", &[("workers", 9)])),
        ProblemKind::Disabled
    );
    assert_eq!(kind(world.lease("a", 5_000, None)), ProblemKind::Disabled);
    assert_eq!(kind(world.reset(None)), ProblemKind::Disabled);
    assert_eq!(
        kind(world.pin("web", "workers", 9, 1_000)),
        ProblemKind::Disabled
    );
    assert_eq!(kind(world.unpin("web", "workers")), ProblemKind::Disabled);
}

#[test]
fn with_nothing_pending_nothing_is_due() {
    assert_eq!(World::new().governor.next_due(), None);
}
