//! What is different between two configurations, and whether a person should look at it first.

use super::Config;
use super::show::Setting;
use std::collections::BTreeMap;
use trimtab_core::profile::{KnobRange, Settings};
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
    changes.extend(gone.map(|setting| SettingChange {
        key: setting.key.clone(),
        from: setting.value.clone(),
        to: None,
        set_by: None,
        needs_restart: !setting.live,
        drastic: false,
    }));
    changes
}

fn is_drastic(was: u64, is: u64) -> bool {
    let (small, large) = (was.min(is), was.max(is));
    large > small.saturating_mul(DRASTIC_RATIO)
}

/// Whether a pool goes to a profile whose limits are far from those of the one before.
fn is_other_scale(key: &str, before: &Settings, now: &Settings) -> bool {
    let Some(pool) = key.strip_prefix("hosts.pools.") else {
        return false;
    };
    let profile = |settings: &Settings| {
        let (_, name) = settings
            .assigned
            .iter()
            .find(|(name, _)| name.as_str() == pool)?;
        settings.profiles.get(name).cloned()
    };
    let (Some(was), Some(is)) = (profile(before), profile(now)) else {
        return false;
    };
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

    #[test]
    fn a_digit_too_many_is_drastic_and_a_doubling_is_not() {
        assert!(is_drastic(100, 1_000) && is_drastic(100, 10) && is_drastic(100, 24));
        assert!(!is_drastic(100, 200) && !is_drastic(100, 400) && !is_drastic(100, 25));
        assert!(!is_drastic(7, 7) && is_drastic(1, u64::MAX));
    }
}
