//! New settings between two ticks.
//!
//! What was measured stays good: the host and its load are the same, only what is wanted of them is not. An open trial stays
//! too, unless the new settings would not have let it begin.

use super::Controller;
use super::tuner::Tuner;
use crate::profile::{Profile, Settings};
use trimtab_protocol::decision::{Direction, Mode, Reason};

impl Controller {
    /// Takes new settings over. The host that they name must be the one that is tuned.
    pub fn adopt(&mut self, settings: Settings) {
        let before = self.pool_profiles();
        let acted = self.settings.mode == Mode::Act;
        self.settings = settings;
        self.others.forget_triggers();
        let now = self.pool_profiles();
        let stops_acting = acted && self.settings.mode != Mode::Act;
        for (name, tuner) in &mut self.tuners {
            let was = before.iter().find(|(pool, _)| pool == name);
            let is = now.iter().find(|(pool, _)| pool == name);
            if let (Some((_, was)), Some((_, is))) = (was, is)
                && was != is
            {
                tuner.adopt(was, is);
            }
            if stops_acting {
                tuner.give_up();
            }
        }
    }

    /// The profile that each pool follows, as the host was last seen.
    fn pool_profiles(&self) -> Vec<(trimtab_protocol::name::PoolName, Profile)> {
        let state = self.last.as_ref().and_then(|last| last.state.fresh());
        let pools = state.map(|state| &state.pools).into_iter().flatten();
        let followed = pools.filter_map(|(name, pool)| {
            let profile = self.profile_of(name, pool)?;
            Some((name.clone(), profile.clone()))
        });
        followed.collect()
    }
}

impl Tuner {
    /// Follows another profile, or the same one with other values or on other lines.
    fn adopt(&mut self, was: &Profile, is: &Profile) {
        self.triggers.clear();
        let Some(trial) = &mut self.trial else {
            return;
        };
        let range = is.workers.min.value..=is.workers.max.value;
        let was_inside = (was.workers.min.value..=was.workers.max.value).contains(&trial.to);
        let goal = |profile: &Profile| profile.slo_ms.as_ref().map(|slo| slo.value);
        if (was_inside && !range.contains(&trial.to)) || goal(was) != goal(is) {
            self.give_up();
            return;
        }
        let limit = match trial.direction {
            Direction::Up => &is.workers.max,
            Direction::Down => &is.workers.min,
        };
        trial.bound_by = vec![limit.citation.clone()];
    }

    /// An open trial is undone at the next tick.
    fn give_up(&mut self) {
        if self.trial.is_some() {
            self.given_up = Some(Reason::SettingsChanged);
        }
    }
}
