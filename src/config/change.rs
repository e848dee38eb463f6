//! What is different between two configurations, and whether a person should look at it first.

use super::Config;
use super::profile::BUILT_IN;
use super::show::Setting;
use std::collections::BTreeMap;
use trimtab_core::profile::{KnobRange, Profile, Settings};
use trimtab_protocol::configuration::SettingChange;

/// A limit that becomes more than so many times as large, or less than so small a part, waits for approval. A slip of the
/// pen, a digit too many or too few, makes ten; what people mean to change at one time is seldom more than two.
const DRASTIC_RATIO: u64 = 4;

/// The keys whose value differs, in the order of the commented file.
pub(crate) fn changes(before: &Config, now: &Config) -> Vec<SettingChange> {
    let (was, is) = (before.settings_in_force(), now.settings_in_force());
    let old: BTreeMap<&str, &Setting> = was.iter().map(|it| (it.key.as_str(), it)).collect();
    let new: BTreeMap<&str, &Setting> = is.iter().map(|it| (it.key.as_str(), it)).collect();
    let mut changes = Vec::new();
    for setting in &is {
        let known = old.get(setting.key.as_str());
        let from = known.and_then(|known| known.value.clone());
        if from != setting.value {
            let limits = known.and_then(|known| known.limit).zip(setting.limit);
            changes.push(SettingChange {
                key: setting.key.clone(),
                from,
                to: setting.value.clone(),
                set_by: setting.origin.clone(),
                needs_restart: !setting.live,
                drastic: limits.is_some_and(|(was, is)| is_drastic(was, is))
                    || is_other_scale(&setting.key, &before.settings, &now.settings),
            });
        }
    }
    let gone = was
        .iter()
        .filter(|setting| !new.contains_key(setting.key.as_str()));
    // A limit goes only with its whole profile, and then whoever followed that is told to follow another one.
    changes.extend(gone.map(|setting| SettingChange {
        key: setting.key.clone(),
        from: setting.value.clone(),
        to: None,
        set_by: None,
        needs_restart: !setting.live,
        drastic: is_other_scale(&setting.key, &before.settings, &now.settings),
    }));
    changes
}

fn is_drastic(was: u64, is: u64) -> bool {
    let (small, large) = (was.min(is), was.max(is));
    large > small.saturating_mul(DRASTIC_RATIO)
}

/// Whether a pool may go to a profile whose limits are far from those of the one before. That a profile's own limits move is
/// told by their keys.
fn is_other_scale(key: &str, before: &Settings, now: &Settings) -> bool {
    let Some(pool) = key.strip_prefix("hosts.pools.") else {
        return false;
    };
    let (was, is) = (assigned(before, pool), assigned(now, pool));
    if was == is {
        return false;
    }
    let after = may_follow(now, is);
    let mut before = may_follow(before, was).into_iter();
    before.any(|was| after.iter().any(|is| is_far(was, is)))
}

/// The profile that the configuration gives a pool; none where the choice is left to what the pool is.
fn assigned<'s>(settings: &'s Settings, pool: &str) -> Option<&'s str> {
    let mut assigned = settings.assigned.iter();
    let (_, name) = assigned.find(|(name, _)| name.as_str() == pool)?;
    (name != "auto").then_some(name.as_str())
}

/// The one that a pool is given, or else all those that a pool follows by itself: what it is only its host knows.
fn may_follow<'s>(settings: &'s Settings, assigned: Option<&str>) -> Vec<&'s Profile> {
    let profiles = settings.profiles.values();
    let may = profiles.filter(|profile| match assigned {
        Some(name) => profile.name == name,
        None => BUILT_IN.iter().any(|(name, _)| *name == profile.name),
    });
    may.collect()
}

fn is_far(was: &Profile, is: &Profile) -> bool {
    let far = |was: &KnobRange, is: &KnobRange| {
        is_drastic(was.min.value, is.min.value) || is_drastic(was.max.value, is.max.value)
    };
    far(&was.workers, &is.workers)
        || far(&was.queue_limit, &is.queue_limit)
        || far(&was.timeout_ms, &is.timeout_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load};
    use std::path::Path;

    #[test]
    fn a_digit_too_many_is_drastic_and_a_doubling_is_not() {
        assert!(is_drastic(100, 1_000) && is_drastic(100, 10) && is_drastic(100, 24));
        assert!(!is_drastic(100, 200) && !is_drastic(100, 400) && !is_drastic(100, 25));
        assert!(!is_drastic(7, 7) && is_drastic(1, u64::MAX));
    }

    /// A configuration with these pools and one profile more, whose bounds are those of `default` and some more.
    fn config(root: &Path, pools: &str, workers_max: u64) -> Config {
        let path = root.join("trimtab.toml");
        let text = format!("profiles = \"p\"\n[[hosts]]\nid = \"shop\"\nsocket = \"s\"\n{pools}");
        std::fs::write(&path, text).expect("it is ours");
        std::fs::create_dir_all(root.join("p")).expect("it is ours");
        let (_, own) = BUILT_IN[2];
        let own = own.replace("max = 10\n", &format!("max = {workers_max}\n"));
        std::fs::write(root.join("p/own.toml"), own).expect("it is ours");
        load(Some(&path), &Overrides::default()).expect("it is valid")
    }

    #[test]
    fn a_pool_that_goes_to_another_profile_waits_where_any_that_it_may_leave_is_far() {
        let root = tempfile::tempdir().expect("there is room");
        let set = |pools: &str| config(root.path(), pools, 20);
        let given = |profile: &str| format!("[hosts.pools]\nx = \"{profile}\"\n");
        let (nothing, auto, own) = (String::new(), given("auto"), given("own"));
        let (default, web) = (given("default"), given("web"));
        for (from, to, drastic) in [
            (&default, &own, false),
            (&own, &default, false),
            (&own, &web, true),
            // Of a pool to which nothing is given only its host knows what it is: it may leave `background`.
            (&nothing, &own, true),
            (&auto, &own, true),
            (&own, &nothing, true),
            (&own, &auto, true),
            (&nothing, &auto, false),
            (&auto, &nothing, false),
        ] {
            let changes = changes(&set(from), &set(to));
            let told: Vec<(&str, bool)> = changes
                .iter()
                .map(|it| (it.key.as_str(), it.drastic))
                .collect();
            assert_eq!(told, [("hosts.pools.x", drastic)], "{from:?} to {to:?}");
        }
    }

    #[test]
    fn a_pool_goes_without_a_word_between_profiles_that_are_alike() {
        let root = tempfile::tempdir().expect("there is room");
        std::fs::create_dir_all(root.path().join("p")).expect("it is ours");
        let (_, default) = BUILT_IN[2];
        for (name, _) in BUILT_IN {
            let path = root.path().join(format!("p/{name}.toml"));
            std::fs::write(path, default).expect("it is ours");
        }
        let own = "[hosts.pools]\nx = \"own\"\n";
        let near = changes(&config(root.path(), "", 20), &config(root.path(), own, 20));
        assert!(near.iter().all(|it| !it.drastic), "{near:?}");
        // The profile comes in the same set: its limits have no earlier ones, but those of the pool have.
        let none = config(root.path(), "", 20);
        let mut before = none.clone();
        before.settings.profiles.remove("own");
        let far = changes(&before, &config(root.path(), own, 2_000));
        let far: Vec<&str> = far
            .iter()
            .filter(|it| it.drastic)
            .map(|it| it.key.as_str())
            .collect();
        assert_eq!(far, ["hosts.pools.x"]);
    }
}
