//! What the controller makes of missing figures, foreign hands, restarts and refusals.

use crate::model::{Model, Plant};
use trimtab_core::decision::{LeaseWish, Step};
use trimtab_core::moment::Moment;
use trimtab_core::observation::{Observation, Reading};
use trimtab_protocol::decision::{Absence, Action, Mode, Reason};
use trimtab_protocol::lease::LeaseState;
use trimtab_protocol::state::Counters;

const ROOMY: Plant = Plant {
    service_s: 0.05,
    knee: 1_000.0,
    thrash: 0.0,
    arrivals_per_s: 500.0,
};
const WALL: Plant = Plant {
    service_s: 0.05,
    knee: 8.0,
    thrash: 0.03,
    arrivals_per_s: 400.0,
};

fn last_reason(model: &Model) -> &Reason {
    &model.decisions.last().unwrap().records[0].1.reason
}

fn state_of(observation: &mut Observation) -> &mut trimtab_protocol::state::HostState {
    match &mut observation.state {
        Reading::Fresh { value } => value,
        Reading::Stale { .. } | Reading::Absent { .. } => panic!("the model reads a fresh state"),
    }
}

/// Runs until a trial is open.
fn until_trial(model: &mut Model) {
    for _ in 0..60 {
        model.run(1);
        if model.pools.values().any(|pool| pool.state.trial.is_some()) {
            return;
        }
    }
    panic!("no trial within a minute");
}

#[test]
fn nothing_is_done_before_the_warm_up_is_over() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.run(2);
    assert!(matches!(last_reason(&model), Reason::WarmingUp { .. }));
    assert!(
        model
            .decisions
            .iter()
            .all(|decision| decision.orders.steps.is_empty())
    );
}

#[test]
fn an_unreachable_host_is_held_and_watched_anew_when_it_is_back() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 30)]);
    model.run(10);
    for _ in 0..20 {
        model.tick(|observation| {
            observation.state = Reading::Absent {
                absence: Absence::Unreachable,
            }
        });
    }
    let blind = Reason::Blind {
        missing: "state".into(),
        absence: Absence::Unreachable,
    };
    assert_eq!(last_reason(&model), &blind);
    model.run(2);
    assert!(
        matches!(last_reason(&model), Reason::WarmingUp { .. }),
        "{:?}",
        last_reason(&model)
    );
}

#[test]
fn figures_that_vanish_shrink_nothing_and_undo_an_open_trial() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    for _ in 0..4 {
        model.tick(|observation| {
            state_of(observation)
                .pools
                .values_mut()
                .for_each(|pool| pool.counters = Counters::default());
        });
    }
    assert_eq!(model.workers("web"), 4);
    let undone = model
        .decisions
        .iter()
        .flat_map(|decision| &decision.records);
    assert!(
        undone
            .into_iter()
            .any(|(_, record)| matches!(record.reason, Reason::EvidenceLost { .. }))
    );
}

#[test]
fn a_restarted_host_gets_no_old_plan() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    model.restart("second");
    model.run(2);
    assert_eq!(model.workers("web"), 4);
    assert!(matches!(last_reason(&model), Reason::WarmingUp { .. }));
    assert!(
        model
            .decisions
            .iter()
            .rev()
            .take(2)
            .all(|decision| decision.orders.steps.is_empty())
    );
}

#[test]
fn an_operators_write_during_a_trial_is_left_alone() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    model.operator_sets("web", 6);
    model.run(30);
    assert_eq!(model.workers("web"), 6);
    assert!(
        matches!(last_reason(&model), Reason::Yielding { .. }),
        "{:?}",
        last_reason(&model)
    );
}

#[test]
fn a_foreign_change_is_yielded_to_and_then_adopted() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 30)]);
    model.run(10);
    model.operator_sets("web", 5);
    model.run(55);
    assert_eq!(model.workers("web"), 5);
    model.run(60);
    assert!(model.workers("web") > 5);
}

#[test]
fn a_trial_that_the_host_ended_by_itself_is_known_as_ended() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    model.run(1);
    model.expire_trials();
    model.run(1);
    assert!(
        matches!(last_reason(&model), Reason::TrialEnded { .. }),
        "{:?}",
        last_reason(&model)
    );
}

#[test]
fn a_frozen_host_is_left_alone() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.frozen = true;
    model.run(30);
    assert_eq!(
        (last_reason(&model), model.workers("web")),
        (&Reason::Frozen, 4)
    );
}

#[test]
fn a_second_sidecar_stands_by_and_says_so() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.lease = Some(LeaseState {
        holder: "the other".into(),
        expires_in_ms: 4_000,
    });
    model.run(30);
    let standby = Reason::Standby {
        holder: "the other".into(),
        expires_in_ms: 4_000,
    };
    assert_eq!(last_reason(&model), &standby);
    assert!(
        model
            .decisions
            .iter()
            .all(|decision| decision.orders.lease == LeaseWish::Leave)
    );
}

#[test]
fn memory_near_its_limit_forbids_growth() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.memory_share = 0.91;
    model.run(30);
    assert_eq!(model.workers("web"), 4);
    assert!(
        matches!(last_reason(&model), Reason::MemoryForbids { .. }),
        "{:?}",
        last_reason(&model)
    );
}

#[test]
fn a_full_cpu_never_grows_a_pool() {
    let mut model = Model::new(Mode::Act, &[("api", WALL, 8)]);
    model.cpu_share = 0.97;
    for _ in 0..90 {
        model.run(1);
        assert!(model.workers("api") <= 8);
    }
}

#[test]
fn lost_answers_are_settled_by_what_the_host_shows() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    for _ in 0..80 {
        model.tick(|observation| {
            observation.receipts.retain(|receipt| {
                matches!(receipt, trimtab_core::observation::Receipt::Lease { .. })
            })
        });
    }
    assert!(model.workers("web") >= 16, "{}", model.workers("web"));
}

#[test]
fn an_ending_sidecar_leaves_no_trial_behind() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    let at = Moment::from_boot_ns(model.now_ns + 1);
    let decision = model.controller.shut_down(at, 0);
    assert!(matches!(
        decision.orders.steps.as_slice(),
        [Step::RollBack(_)]
    ));
    assert!(matches!(decision.orders.lease, LeaseWish::Release(_)));
    assert_eq!(decision.records[0].1.action, Action::RollBack);
}

#[test]
fn a_trial_that_was_applied_late_is_undone_and_not_yielded_to() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.held_ticks = 7;
    let undone = (0..60).any(|_| {
        model.run(1);
        model.decisions.last().unwrap().records[0].1.action == Action::RollBack
    });
    assert!(undone);
    model.held_ticks = 0;
    assert!(model.pools["web"].state.trial.is_none());
    assert_eq!(model.workers("web"), 4);
    model.run(40);
    assert!(model.workers("web") >= 16, "{}", model.workers("web"));
}

#[test]
fn an_operators_write_in_the_tick_in_which_a_trial_ends_is_left_alone() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    for _ in 0..60 {
        model.run(1);
        let records = &model.decisions.last().unwrap().records;
        if records[0].1.action == Action::Confirm {
            break;
        }
    }
    model.operator_sets("web", 5);
    model.run(30);
    assert_eq!(model.workers("web"), 5);
    assert!(
        matches!(last_reason(&model), Reason::Yielding { .. }),
        "{:?}",
        last_reason(&model)
    );
}

#[test]
fn a_trial_that_a_freeze_ended_says_nothing_about_where_to_go() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    until_trial(&mut model);
    model.frozen = true;
    model.expire_trials();
    model.run(5);
    model.frozen = false;
    for _ in 0..60 {
        model.run(1);
        assert!(model.workers("web") >= 4, "a starved pool was shrunk");
    }
    assert!(model.workers("web") >= 16, "{}", model.workers("web"));
}

#[test]
fn a_confirmation_at_the_baseline_is_known_although_its_answer_was_lost() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 8)]);
    model.operator_sets("web", 4);
    for _ in 0..40 {
        model.tick(|observation| {
            observation.receipts.retain(|receipt| {
                matches!(receipt, trimtab_core::observation::Receipt::Lease { .. })
            });
        });
    }
    let records = model
        .decisions
        .iter()
        .flat_map(|decision| &decision.records);
    let superseded = records.into_iter().any(|(_, record)| {
        let status = trimtab_protocol::change::ChangeStatus::Superseded;
        record.reason == Reason::TrialEnded { status }
    });
    assert!(
        !superseded && model.workers("web") >= 16,
        "{}",
        model.workers("web")
    );
}

#[test]
fn one_state_from_the_future_does_not_blind_for_long() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 4)]);
    model.run(3);
    model.tick(|observation| state_of(observation).at_ns += 3_600_000_000_000);
    model.run(60);
    assert!(model.workers("web") >= 16, "{}", model.workers("web"));
}

#[test]
fn a_value_outside_the_profile_goes_back_in_by_steps() {
    let mut model = Model::new(Mode::Act, &[("web", ROOMY, 20)]);
    model.controller = trimtab_core::controller::Controller::new({
        let mut settings = crate::model::settings(Mode::Act);
        settings.profiles = [("default".to_owned(), crate::model::profile(10, 10, 256))].into();
        settings
    });
    model.operator_sets("web", 3);
    for _ in 0..90 {
        let before = model.workers("web");
        model.run(1);
        assert!(
            model.workers("web") <= 2 * before,
            "{before} to {}",
            model.workers("web")
        );
    }
    assert!(model.workers("web") >= 16, "{}", model.workers("web"));
}
