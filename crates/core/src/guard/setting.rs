//! The veto over knobs beyond a pool's size: what a profile or the memory ladder wants, as far as it may be set now.
//!
//! Such a value is declared and not searched for, so no policy proposes it. The host's bounds, grid and ratio shorten the way to
//! it to a step, and an operator's pin forbids it.

use super::{MINUTE, NEW_VALUES_PER_MINUTE, Plan, Veto};
use crate::moment::Moment;
use crate::number::{fraction, whole};
use crate::profile::Cited;
use crate::signal::Recent;
use std::collections::BTreeMap;
use trimtab_protocol::decision::{ChangeSummary, Citation, Reason, ValueChange};
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue};
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::state::PoolState;

/// Values that may be set. Only [`review_setting`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pool: PoolName,
    base_revision: Revision,
    set: BTreeMap<KnobName, ValueChange>,
    bound_by: Vec<Citation>,
}

impl Setting {
    /// The knobs, from what to what.
    #[must_use]
    pub fn set(&self) -> &BTreeMap<KnobName, ValueChange> {
        &self.set
    }

    /// The lines that name the values.
    #[must_use]
    pub fn bound_by(&self) -> &[Citation] {
        &self.bound_by
    }

    /// The change in a summary; numbered when it is more than advice.
    #[must_use]
    pub fn summary(&self, generation: Option<Generation>) -> ChangeSummary {
        ChangeSummary {
            generation,
            set: self.set.clone(),
        }
    }

    /// The plan that carries it out under a lease.
    #[must_use]
    pub fn plan(
        &self,
        epoch: Epoch,
        generation: Generation,
        trial_ms: u64,
        reason: String,
    ) -> Plan {
        let targets = |(name, change): (&KnobName, &ValueChange)| (name.clone(), change.to.clone());
        Plan {
            pool: self.pool.clone(),
            epoch,
            generation,
            base_revision: self.base_revision,
            trial_ms,
            set: self.set.iter().map(targets).collect(),
            reason,
        }
    }
}

/// What of the wanted values may be set now; nothing when all knobs stand where they should, as far as they can.
///
/// # Errors
/// The veto: an operator holds what is left, or enough was changed.
pub fn review_setting(
    now: Moment,
    (name, pool): (&PoolName, &PoolState),
    wanted: &BTreeMap<KnobName, Cited<KnobValue>>,
    changes: &Recent,
) -> Result<Option<Setting>, Veto> {
    let (mut set, mut bound_by, mut pinned) = (BTreeMap::new(), Vec::new(), None);
    for (knob_name, value) in wanted {
        let Some(knob) = pool.knobs.get(knob_name) else {
            continue;
        };
        let Some(to) = step_towards(knob, &value.value) else {
            continue;
        };
        if knob.pinned_for_ms.is_some() {
            pinned = Some(knob_name.clone());
            continue;
        }
        let from = knob.value.clone();
        set.insert(knob_name.clone(), ValueChange { from, to });
        bound_by.push(value.citation.clone());
    }
    if set.is_empty() {
        return pinned.map_or(Ok(None), |knob| Err(Veto::new(Reason::Pinned { knob })));
    }
    let made = changes.within(now, MINUTE);
    if made >= NEW_VALUES_PER_MINUTE {
        return Err(Veto::new(Reason::RateLimited {
            changes: made,
            allowed: NEW_VALUES_PER_MINUTE,
            window_s: MINUTE.as_secs_f64(),
        }));
    }
    Ok(Some(Setting {
        pool: name.clone(),
        base_revision: pool.revision,
        set,
        bound_by,
    }))
}

/// Whether a knob can have a value of this sort at all.
#[must_use]
pub fn takes(knob: &KnobState, value: &KnobValue) -> bool {
    match value {
        KnobValue::Choice(word) => knob.kind == KnobKind::Choice && knob.choices.contains(word),
        KnobValue::Integer(_) => knob.kind != KnobKind::Choice,
    }
}

/// The next value on the way to the wanted one; nothing when the knob stands there, or as near as the host lets it.
fn step_towards(knob: &KnobState, wanted: &KnobValue) -> Option<KnobValue> {
    if !takes(knob, wanted) || knob.value == *wanted {
        return None;
    }
    let (Some(now), Some(wanted)) = (knob.value.as_integer(), wanted.as_integer()) else {
        return Some(wanted.clone());
    };
    let unit = knob.granularity.max(1);
    let top = knob.max.max(knob.min);
    let goal = wanted.clamp(knob.min, top);
    let ratio = f64::from(knob.max_ratio_bp.max(10_000)) / 1e4;
    let reach = if goal > now {
        let farthest = whole(libm::floor(fraction(now) * ratio)).max(now.saturating_add(unit));
        goal.min(farthest)
    } else {
        let farthest = whole(libm::ceil(fraction(now) / ratio)).min(now.saturating_sub(unit));
        goal.max(farthest)
    };
    let below = knob.min + reach.saturating_sub(knob.min) / unit * unit;
    let next = if below < reach && reach < now {
        below.saturating_add(unit)
    } else {
        below
    };
    (next != now).then_some(KnobValue::Integer(next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{knob, pool};
    use proptest::prelude::*;

    fn choice(value: &str) -> KnobState {
        let words = ["conservative", "moderate", "aggressive"];
        KnobState {
            kind: KnobKind::Choice,
            value: KnobValue::Choice(value.to_owned()),
            choices: words.map(str::to_owned).to_vec(),
            ..knob(0)
        }
    }

    fn word(text: &str) -> KnobValue {
        KnobValue::Choice(text.to_owned())
    }

    #[test]
    fn a_word_is_set_in_one_step_and_one_that_the_knob_does_not_know_never() {
        let level = choice("moderate");
        let next = step_towards(&level, &word("aggressive"));
        assert_eq!(next, Some(word("aggressive")));
        for unfit in [word("moderate"), word("eager"), KnobValue::Integer(2)] {
            assert_eq!(step_towards(&level, &unfit), None);
        }
        assert_eq!(step_towards(&knob(8), &word("aggressive")), None);
    }

    #[test]
    fn a_number_is_reached_in_steps_that_the_host_takes() {
        let mut now = knob(16);
        let mut way = Vec::new();
        while let Some(next) = step_towards(&now, &KnobValue::Integer(100)) {
            now.value = next.clone();
            way.push(next.as_integer().unwrap());
        }
        assert_eq!(way, [32, 64, 100]);
        assert_eq!(step_towards(&knob(512), &KnobValue::Integer(9_999)), None);
    }

    #[test]
    fn what_an_operator_holds_is_left_out_and_named_when_nothing_else_is_left() {
        let (name, mut pool, quiet) = (PoolName::from("p"), pool(8), Recent::default());
        pool.knobs.insert("level".into(), choice("moderate"));
        let cited = |value| Cited::built_in("key", value);
        let wanted = BTreeMap::from([
            (KnobName::from("level"), cited(word("aggressive"))),
            (KnobName::from("workers"), cited(KnobValue::Integer(9))),
        ]);
        let review = |pool: &PoolState| {
            review_setting(Moment::default(), (&name, pool), &wanted, &quiet)
                .map_err(|veto| veto.reason)
        };
        assert_eq!(review(&pool).unwrap().unwrap().set().len(), 2);
        pool.knobs.get_mut("level").unwrap().pinned_for_ms = Some(5);
        assert_eq!(review(&pool).unwrap().unwrap().set().len(), 1);
        pool.knobs.get_mut("workers").unwrap().pinned_for_ms = Some(5);
        assert!(matches!(review(&pool), Err(Reason::Pinned { .. })));
    }

    proptest! {
        #[test]
        fn every_step_is_one_that_the_host_takes_and_comes_nearer(
            start in 0_u64..500, wanted in 0_u64..3_000, min in 0_u64..50, span in 1_u64..600, unit in 1_u64..9,
            ratio_bp in 10_001_u32..200_000,
        ) {
            let mut knob = knob(0);
            (knob.min, knob.max, knob.granularity, knob.max_ratio_bp) = (min, min + span / unit * unit, unit, ratio_bp);
            let now = (min + start / unit * unit).min(knob.max);
            knob.value = KnobValue::Integer(now);
            if let Some(next) = step_towards(&knob, &KnobValue::Integer(wanted)) {
                let next = next.as_integer().unwrap();
                prop_assert!((knob.min..=knob.max).contains(&next));
                prop_assert_eq!((next - knob.min) % unit, 0);
                prop_assert_eq!(next > now, wanted > now);
                let by_ratio = u128::from(next.max(now)) * 10_000 <= u128::from(next.min(now)) * u128::from(ratio_bp);
                prop_assert!(by_ratio || next.abs_diff(now) <= unit, "{now} to {next}");
            }
        }
    }
}
