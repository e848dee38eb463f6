//! What is left out on disk: decisions that repeat the pool's last one.
//!
//! An idle host would otherwise fill the disk with the same line each second. A decision to hold, or the same advice again,
//! is written when its kind, regime, level, profile, bounds or change differ from the last one written of its pool, and at
//! least once a minute. Ids count every entry, so a gap in the numbers on disk is the count of those left out. In memory
//! every entry stands.

use crate::message::About;
use std::collections::BTreeMap;
use std::mem::Discriminant;
use trimtab_core::moment::{Moment, Span};
use trimtab_protocol::decision::{Action, ChangeSummary, Citation, Level, Reason, Regime};
use trimtab_protocol::name::{HostId, PoolName};
use trimtab_protocol::view::DecisionRecord;

/// A repeated decision is written again after this long.
const WRITTEN_EVERY: Span = Span::from_secs(60);

/// How many pools are remembered; beyond, everything is written.
const POOLS_MAX: usize = 1_024;

/// Remembers what was last written of each pool.
#[derive(Debug, Default)]
pub(super) struct Thin {
    written: BTreeMap<(HostId, Option<PoolName>), (Moment, Kind)>,
}

#[derive(Debug, PartialEq)]
struct Kind {
    action: Action,
    reason: Discriminant<Reason>,
    regime: Regime,
    level: Level,
    profile: String,
    bound_by: Vec<Citation>,
    change: Option<ChangeSummary>,
}

impl Thin {
    /// Whether a decision only repeats what was last written of its pool; if not, it counts as written now.
    pub(super) fn repeats(&mut self, about: &About, record: &DecisionRecord) -> bool {
        let kind = Kind {
            action: record.action,
            reason: std::mem::discriminant(&record.reason),
            regime: record.regime,
            level: record.level,
            profile: record.profile.clone(),
            bound_by: record.bound_by.clone(),
            change: record.change.clone(),
        };
        let key = (about.host.clone(), about.pool.clone());
        if matches!(record.action, Action::Hold | Action::Advise)
            && let Some((at, last)) = self.written.get(&key)
            && *last == kind
            && about.at.since(*at) < WRITTEN_EVERY
        {
            return true;
        }
        if self.written.len() < POOLS_MAX || self.written.contains_key(&key) {
            self.written.insert(key, (about.at, kind));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{about, held};

    fn at(seconds: u64) -> About {
        About {
            at: Moment::from_boot_ns(seconds * 1_000_000_000),
            ..about("web")
        }
    }

    #[test]
    fn the_same_hold_is_written_once_a_minute() {
        let mut thin = Thin::default();
        let written = (0..180).filter(|second| !thin.repeats(&at(*second), &held()));
        assert_eq!(written.collect::<Vec<_>>(), [0, 60, 120]);
    }

    #[test]
    fn another_reason_or_another_pool_is_written_at_once() {
        let mut thin = Thin::default();
        assert!(!thin.repeats(&at(0), &held()));
        let settling = DecisionRecord {
            reason: Reason::Settling,
            ..held()
        };
        assert!(!thin.repeats(&at(1), &settling));
        assert!(!thin.repeats(&at(2), &held()));
        let other = About {
            pool: Some(PoolName::from("api")),
            ..at(3)
        };
        assert!(!thin.repeats(&other, &held()));
        assert!(thin.repeats(&at(4), &held()));
    }

    #[test]
    fn what_does_something_is_always_written() {
        let mut thin = Thin::default();
        let deed = DecisionRecord {
            action: Action::Confirm,
            ..held()
        };
        assert!((0..5).all(|second| !thin.repeats(&at(second), &deed)));
    }
}
