//! What a profile says by itself, and what becomes of it when it is edited meanwhile.

use crate::model::{Model, Plant, settings};
use trimtab_core::decision::LeaseWish;
use trimtab_core::expression::Expression;
use trimtab_core::moment::Span;
use trimtab_core::observation::{Observation, Reading};
use trimtab_core::profile::{Benefit, Cited, Profile, Trigger, TriggerAction};
use trimtab_protocol::decision::{Absence, Action, Citation, Mode, Reason, TriggerLack, Verdict};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::view::DecisionRecord;

/// Two fifths of sixty workers are busy and nothing waits: the policy has nothing to try.
const EASY: Plant = Plant {
    service_s: 0.05,
    knee: 1_000.0,
    thrash: 0.0,
    arrivals_per_s: 500.0,
};

/// A dependency that slows down beyond eight calls at once, so that more workers only make work wait elsewhere.
const WALL: Plant = Plant {
    service_s: 0.05,
    knee: 8.0,
    thrash: 0.03,
    arrivals_per_s: 400.0,
};

fn cited<T>(value: T, line: u32) -> Cited<T> {
    let citation = Citation {
        key: "key".to_owned(),
        file: "web.toml".to_owned(),
        line,
        column: 1,
    };
    Cited { value, citation }
}

fn trigger(when: &str, action: TriggerAction, benefit: Option<Benefit>) -> Trigger {
    Trigger {
        when: cited(Expression::parse(when).unwrap(), 77),
        lasting: Span::from_secs(3),
        action: cited(action, 78),
        because: "the author said so".to_owned(),
        benefit,
    }
}

fn edited(mode: Mode, edit: impl Fn(&mut Profile)) -> trimtab_core::profile::Settings {
    let mut settings = settings(mode);
    settings.profiles.values_mut().for_each(edit);
    settings
}

fn model(workers: u64, edit: impl Fn(&mut Profile)) -> Model {
    model_of(EASY, workers, edit)
}

fn model_of(plant: Plant, workers: u64, edit: impl Fn(&mut Profile)) -> Model {
    let mut model = Model::new(Mode::Act, &[("web", plant, workers)]);
    model.controller.adopt(edited(Mode::Act, edit));
    model
}

fn records(model: &Model) -> impl Iterator<Item = &DecisionRecord> {
    let all = model.decisions.iter().flat_map(|it| &it.records);
    all.map(|(_, record)| record)
}

fn lines(record: &DecisionRecord) -> Vec<u32> {
    record.bound_by.iter().map(|by| by.line).collect()
}

#[test]
fn a_trigger_that_holds_begins_a_trial_that_cites_it_and_is_undone_when_it_does_not_pay() {
    let rule = |profile: &mut Profile| {
        profile.triggers = vec![trigger(
            "queued > 10 and cpu < 90%",
            TriggerAction::Grow,
            None,
        )];
    };
    let mut model = model_of(WALL, 16, rule);
    model.run(200);
    let tried = records(&model).find(|record| matches!(record.reason, Reason::Triggered { .. }));
    let tried = tried.expect("the trigger is followed");
    assert_eq!(tried.action, Action::Try);
    assert!(lines(tried).contains(&77), "{tried:?}");
    let undone = |record: &&DecisionRecord| matches!(record.reason, Reason::DidNotPay { .. });
    assert!(records(&model).any(|record| undone(&record)));
    assert!(model.workers("web") <= 16, "{}", model.workers("web"));
}

#[test]
fn a_shrink_without_a_named_benefit_is_told_and_not_followed() {
    let shrinks = |benefit| {
        move |profile: &mut Profile| {
            profile.triggers = vec![trigger(
                "busy < 70% * workers",
                TriggerAction::Shrink,
                benefit,
            )];
        }
    };
    let told = |record: &DecisionRecord| {
        let lacks = TriggerLack::Benefit;
        matches!(&record.reason, Reason::TriggerLacks { lacks: it, .. } if *it == lacks)
    };
    let mut lacking = model(60, shrinks(None));
    lacking.run(20);
    assert!(records(&lacking).any(|record| told(record) && record.action == Action::Hold));
    assert!(records(&lacking).all(|record| !matches!(record.reason, Reason::Triggered { .. })));
    let mut named = model(60, shrinks(Some(Benefit::Memory)));
    named.run(60);
    assert!(records(&named).any(|record| matches!(record.reason, Reason::Triggered { .. })));
    assert!(named.workers("web") < 60, "{}", named.workers("web"));
}

#[test]
fn the_memory_ladder_stops_growth_and_then_steps_down() {
    let rungs = |profile: &mut Profile| {
        profile.ladder.no_growth = cited(0.5, 85);
        profile.ladder.step_down = cited(0.6, 92);
    };
    let mut short = model(4, rungs);
    short.memory_share = 0.55;
    short.run(40);
    assert!(short.workers("web") <= 4, "{}", short.workers("web"));
    assert!(records(&short).any(|record| lines(record) == [85]));
    let mut shorter = model(40, rungs);
    shorter.memory_share = 0.65;
    shorter.run(60);
    assert!(shorter.workers("web") < 20, "{}", shorter.workers("web"));
    let steps = records(&shorter).filter(|record| record.action == Action::Try);
    let asked = steps.filter(|record| lines(record).contains(&92)).count();
    assert!((2..=6).contains(&asked), "{asked}");
}

#[test]
fn a_profile_that_decides_now_and_then_looks_no_more_often() {
    let often = |model: &Model| {
        records(model)
            .filter(|record| record.action == Action::Try)
            .count()
    };
    let slow = |profile: &mut Profile| profile.decide_every = Some(cited(Span::from_secs(20), 5));
    let (mut slow, mut quick) = (model(4, slow), model(4, |_| ()));
    slow.run(40);
    quick.run(40);
    assert!((1..=2).contains(&often(&slow)), "{}", often(&slow));
    assert!(often(&quick) > often(&slow));
    let held = |record: &DecisionRecord| matches!(record.reason, Reason::BetweenDecisions { .. });
    assert!(records(&slow).any(|record| held(record) && lines(record) == [5]));
}

#[test]
fn an_edited_bound_holds_at_the_next_tick_and_undoes_a_trial_beyond_it() {
    let at_most =
        |max: u64, line: u32| move |profile: &mut Profile| profile.workers.max = cited(max, line);
    let mut model = model(4, at_most(4, 10));
    model.run(20);
    assert_eq!(model.workers("web"), 4);
    assert_eq!(lines(records(&model).last().unwrap()), [10]);
    model.controller.adopt(edited(Mode::Act, at_most(64, 12)));
    while records(&model).last().unwrap().action != Action::Try {
        model.run(1);
    }
    // The new bound, and the profile's start that asks for more.
    assert_eq!(lines(records(&model).last().unwrap()), [12, 1]);
    model.run(1);
    assert!(model.pools["web"].state.trial.is_some());
    model.controller.adopt(edited(Mode::Act, at_most(4, 14)));
    model.run(1);
    let undone = records(&model).last().unwrap();
    assert_eq!(
        (undone.action, &undone.reason),
        (Action::RollBack, &Reason::SettingsChanged)
    );
    assert!(model.pools.values().all(|pool| pool.state.trial.is_none()));
}

#[test]
fn a_mode_that_is_taken_back_undoes_the_trial_and_returns_the_lease() {
    let mut model = model(4, |_| ());
    while records(&model)
        .last()
        .is_none_or(|record| record.action != Action::Try)
    {
        model.run(1);
    }
    model.run(1);
    let held = model.workers("web");
    model.controller.adopt(edited(Mode::Advise, |_| ()));
    model.run(1);
    let last = model.decisions.last().unwrap();
    assert!(matches!(last.orders.lease, LeaseWish::Release(_)));
    model.run(10);
    assert!(model.workers("web") < held);
    assert!(model.pools.values().all(|pool| pool.state.trial.is_none()));
    let after = &model.decisions[model.decisions.len() - 5..];
    assert!(
        after
            .iter()
            .all(|decision| decision.orders.steps.is_empty())
    );
}

fn sets(knob: &str, value: u64) -> TriggerAction {
    TriggerAction::Set {
        knob: knob.into(),
        value: KnobValue::Integer(value),
    }
}

#[test]
fn a_trigger_sets_a_knob_of_its_pool_by_steps_and_is_done_when_it_stands_there() {
    let rule = |profile: &mut Profile| {
        profile.triggers = vec![trigger("busy > 1", sets("queue_limit", 300), None)];
    };
    let mut model = model(60, rule);
    model.add_knob("web", "queue_limit", 1_000);
    model.run(60);
    let limit = &model.pools["web"].state.knobs["queue_limit"];
    assert_eq!(limit.value, KnobValue::Integer(300));
    let tried: Vec<&DecisionRecord> = records(&model)
        .filter(|record| record.action == Action::Try)
        .collect();
    assert_eq!(tried.len(), 2, "1000 to 500 to 300: {tried:?}");
    for record in tried {
        assert!(matches!(record.reason, Reason::Triggered { .. }));
        assert!(record.expectation.is_some() && lines(record).contains(&77));
    }
    assert!(model.pools["web"].state.trial.is_none());
}

#[test]
fn a_value_beyond_the_profile_is_followed_to_its_bound() {
    let rule = |profile: &mut Profile| {
        profile.queue_limit.min = cited(600, 9);
        profile.triggers = vec![trigger("busy > 1", sets("queue_limit", 5), None)];
    };
    let mut model = model(60, rule);
    model.add_knob("web", "queue_limit", 1_000);
    model.run(60);
    let limit = &model.pools["web"].state.knobs["queue_limit"];
    assert_eq!(limit.value, KnobValue::Integer(600));
}

#[test]
fn fewer_workers_are_set_only_for_a_named_benefit() {
    let rule = |benefit| {
        move |profile: &mut Profile| {
            profile.triggers = vec![trigger("busy > 1", sets("workers", 50), benefit)];
        }
    };
    let told = |record: &DecisionRecord| matches!(record.reason, Reason::TriggerLacks { .. });
    let mut lacking = model(60, rule(None));
    lacking.run(30);
    assert!(records(&lacking).any(told));
    assert_eq!(lacking.workers("web"), 60);
    let mut named = model(60, rule(Some(Benefit::Memory)));
    named.run(30);
    assert_eq!(named.workers("web"), 50);
}

#[test]
fn an_operator_who_sets_the_workers_during_a_trial_of_another_knob_is_not_fought() {
    let rule = |profile: &mut Profile| {
        profile.triggers = vec![trigger("busy > 1", sets("queue_limit", 500), None)];
    };
    let mut model = model_of(WALL, 16, rule);
    model.add_knob("web", "queue_limit", 1_000);
    let limit = |model: &Model| model.pools["web"].state.knobs["queue_limit"].value.clone();
    while limit(&model) == KnobValue::Integer(1_000) {
        model.run(1);
        assert!(model.decisions.len() < 300, "no trial of the queue's limit");
    }
    assert!(model.pools["web"].state.trial.is_some());
    model.operator_sets("web", 9);
    let before = model.decisions.len();
    model.run(50);
    let later = model.decisions[before..].iter().flat_map(|it| &it.records);
    let tried = later.filter(|(_, record)| record.action == Action::Try);
    assert_eq!(tried.count(), 0);
    assert_eq!(model.workers("web"), 9);
}

#[test]
fn a_rule_whose_trial_proved_nothing_is_soon_tried_again() {
    // Eight jobs a second are too few to judge by before a pool in which work waits wants the host's one trial.
    let slow = Plant {
        service_s: 0.5,
        arrivals_per_s: 8.0,
        ..EASY
    };
    let mut model = Model::new(Mode::Act, &[("api", WALL, 16), ("web", slow, 12)]);
    let shrinks = trigger(
        "busy < 70% * workers",
        TriggerAction::Shrink,
        Some(Benefit::Memory),
    );
    let rule = |profile: &mut Profile| profile.triggers = vec![shrinks.clone()];
    model.controller.adopt(edited(Mode::Act, rule));
    model.run(200);
    let reasons: Vec<&Reason> = records(&model).map(|record| &record.reason).collect();
    let few = |reason: &Reason| {
        let Reason::DidNotPay { verdict } = reason else {
            return false;
        };
        matches!(verdict, Verdict::TooFew { .. })
    };
    assert!(reasons.iter().any(|reason| few(reason)), "{reasons:?}");
    let tried = reasons
        .iter()
        .filter(|reason| matches!(reason, Reason::Triggered { .. }));
    assert!(tried.count() >= 2);
}

#[test]
fn a_rule_does_not_take_what_the_work_needs() {
    let rule = |profile: &mut Profile| {
        profile.triggers = vec![trigger(
            "workers > 1",
            TriggerAction::Shrink,
            Some(Benefit::Memory),
        )];
    };
    let mut model = model(60, rule);
    model.run(300);
    // Twenty-five are busy on average, and two standard deviations of that are ten.
    let workers = model.workers("web");
    assert!((34..=37).contains(&workers), "{workers}");
}

#[test]
fn the_levels_of_the_profile_bound_a_step_and_are_cited_where_they_forbid_one() {
    let levels = |shares: [f64; 3]| {
        move |profile: &mut Profile| {
            let [moderate, aggressive, maximum] = shares;
            profile.levels.moderate = cited(moderate, 61);
            profile.levels.aggressive = cited(aggressive, 62);
            profile.levels.maximum = cited(maximum, 63);
            profile.triggers = vec![trigger(
                "busy < 70% * workers",
                TriggerAction::Shrink,
                Some(Benefit::Memory),
            )];
        }
    };
    // Twenty-five of sixty are busy: two fifths.
    let first = |shares| {
        let mut model = model(60, levels(shares));
        model.run(60);
        let tried = records(&model).find(|record| record.action == Action::Try);
        let to = tried.and_then(|record| {
            let change = record.change.as_ref()?.set.get("workers")?;
            change.to.as_integer()
        });
        let forbids = |record: &&DecisionRecord| {
            matches!(record.reason, Reason::LevelForbids { .. }) && lines(record) == [61]
        };
        (to, records(&model).any(|record| forbids(&record)))
    };
    assert_eq!(first([0.2, 0.5, 0.8]), (Some(48), false), "a quarter");
    assert_eq!(first([0.1, 0.2, 0.8]), (Some(40), false), "a half");
    // To half, as far as the work bears it.
    assert_eq!(first([0.1, 0.2, 0.3]), (Some(35), false));
    assert_eq!(first([0.6, 0.7, 0.8]), (None, true), "nothing below");
}

/// What was tried of a knob, and whether line 71 asked for it.
fn tried(model: &Model, knob: &str) -> Vec<(u64, bool)> {
    let tries = records(model).filter(|record| record.action == Action::Try);
    let to = |record: &DecisionRecord| {
        let change = record.change.as_ref()?.set.get(knob)?;
        Some((change.to.as_integer()?, lines(record).contains(&71)))
    };
    tries.filter_map(to).collect()
}

#[test]
fn the_first_growth_goes_to_the_profiles_start_and_is_proven_like_any_other() {
    let grown = |plant, workers, start| {
        let start = move |profile: &mut Profile| profile.workers.start = cited(start, 71);
        let mut model = model_of(plant, workers, start);
        model.run(60);
        model
    };
    let own = tried(&grown(EASY, 4, 4), "workers");
    assert!(own.len() > 1 && own.iter().all(|(_, asked)| !asked));
    assert_eq!(tried(&grown(EASY, 4, 3), "workers"), own, "it lies below");
    assert_eq!(tried(&grown(EASY, 4, 7), "workers")[0], (7, true));
    let far = tried(&grown(EASY, 4, 16), "workers");
    assert_eq!(far[..2], [(8, true), (16, true)], "by steps of the host");
    assert!(far[2..].iter().all(|(_, asked)| !asked), "{far:?}");
    let harmful = grown(WALL, 8, 16);
    let asked = tried(&harmful, "workers").into_iter();
    assert_eq!(asked.filter(|(_, asked)| *asked).count(), 1);
    assert!(harmful.workers("web") <= 12, "{}", harmful.workers("web"));
}

#[test]
fn a_timeout_comes_down_by_way_of_the_profiles_start() {
    let first = |start| {
        let start = move |profile: &mut Profile| profile.timeout_ms.start = cited(start, 71);
        let mut model = model(60, start);
        model.add_knob("web", "timeout_ms", 50_000);
        model.run(60);
        tried(&model, "timeout_ms")[0].0
    };
    assert_eq!(first(50_000), 25_000);
    assert_eq!(first(30_000), 30_000);
}

#[test]
fn what_is_unknown_for_a_tick_interrupts_a_triggers_condition() {
    let rule = |profile: &mut Profile| {
        let benefit = Some(Benefit::Memory);
        let mut rule = trigger("busy < 70% * workers", TriggerAction::Shrink, benefit);
        rule.lasting = Span::from_secs(20);
        profile.triggers = vec![rule];
    };
    let no_state = |observation: &mut Observation| {
        let absence = Absence::TimedOut;
        observation.state = Reading::Absent { absence };
    };
    let no_figure = |observation: &mut Observation| {
        if let Reading::Fresh { value } = &mut observation.state {
            value.pools.get_mut("web").unwrap().counters.busy_us = None;
        }
    };
    let follows = |model: &Model| {
        let mut all = records(model);
        all.any(|record| matches!(record.reason, Reason::Triggered { .. }))
    };
    for spoil in [&no_state as &dyn Fn(&mut Observation), &no_figure] {
        let mut model = model(60, rule);
        model.run(18);
        model.tick(spoil);
        model.run(15);
        assert!(!follows(&model));
        model.run(15);
        assert!(follows(&model));
    }
}
