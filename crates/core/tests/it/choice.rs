//! Which profile a pool follows whose host does not say what it is for.

use crate::model::{Model, Plant, profile, settings};
use trimtab_protocol::decision::{Mode, ProfileBasis, Reason};
use trimtab_protocol::view::PoolStatus;

/// Five workers are busy on average, with jobs of 50 ms.
const SHORT: Plant = Plant {
    service_s: 0.05,
    knee: 1_000.0,
    thrash: 0.0,
    arrivals_per_s: 100.0,
};

/// As many with jobs of ten seconds.
const LONG: Plant = Plant {
    service_s: 10.0,
    knee: 1_000.0,
    thrash: 0.0,
    arrivals_per_s: 0.5,
};

fn model(plant: Plant) -> Model {
    let mut settings = settings(Mode::Advise);
    for name in ["web", "api", "background"] {
        let mut profile = profile(2, 10, 256);
        name.clone_into(&mut profile.name);
        settings.profiles.insert(name.to_owned(), profile);
    }
    let mut model = Model::new(Mode::Advise, &[("shop", plant, 16)]);
    model.controller.adopt(settings);
    model
}

fn pool(model: &Model) -> &PoolStatus {
    &model.decisions.last().unwrap().status.pools["shop"]
}

/// From which profile to which, as often as the ledger says so.
fn told(model: &Model) -> Vec<(String, String)> {
    let records = model.decisions.iter().flat_map(|it| &it.records);
    let told = records.filter_map(|(_, record)| match &record.reason {
        Reason::ProfileChosen {
            profile, before, ..
        } => Some((before.clone(), profile.clone())),
        _ => None,
    });
    told.collect()
}

fn to(before: &str, after: &str) -> (String, String) {
    (before.to_owned(), after.to_owned())
}

#[test]
fn five_minutes_of_evidence_choose_a_profile_and_it_is_kept_for_ten() {
    let mut model = model(SHORT);
    // A quarter of the workers' time.
    model.cpu_share = 0.3;
    model.run(295);
    let before = pool(&model);
    assert_eq!(before.profile, "default");
    assert_eq!(before.profile_basis, Some(ProfileBasis::Unknown));
    model.run(15);
    assert_eq!(pool(&model).profile, "web");
    let basis = pool(&model).profile_basis.as_ref();
    assert!(
        matches!(basis, Some(ProfileBasis::Waits { .. })),
        "{basis:?}"
    );
    assert_eq!(told(&model), [to("default", "web")]);

    // Half of it: after five more minutes the evidence is there, and the profile is kept for five more.
    model.cpu_share = 0.65;
    model.run(560);
    assert_eq!(pool(&model).profile, "web");
    model.run(60);
    assert_eq!(pool(&model).profile, "api");
    let chosen = [to("default", "web"), to("web", "api")];
    assert_eq!(told(&model), chosen);
}

#[test]
fn long_jobs_are_background_and_a_word_of_the_configuration_counts_more() {
    let mut model = model(LONG);
    model.run(320);
    assert_eq!(pool(&model).profile, "background");
    let basis = pool(&model).profile_basis.as_ref();
    assert!(
        matches!(basis, Some(ProfileBasis::LongJobs { .. })),
        "{basis:?}"
    );
    let mut settings = model.controller.settings().clone();
    settings.assigned.insert("shop".into(), "api".to_owned());
    model.controller.adopt(settings);
    model.run(2);
    assert_eq!(pool(&model).profile, "api");
    assert_eq!(pool(&model).profile_basis, Some(ProfileBasis::Configured));
    let chosen = [to("default", "background"), to("background", "api")];
    assert_eq!(told(&model), chosen);
}
