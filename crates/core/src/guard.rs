//! The hard veto: what may be tried at all, whatever the policy proposes.
//!
//! The guard knows no goals. It holds a proposal against the operator's stops, the bounds of profile and host, the level, the
//! rate and the memory, shortens the step where that is enough, and refuses it where it is not. A [`Plan`] is made here and
//! nowhere else, so whatever reaches the host has passed.

mod memory;
mod setting;

use crate::ablation::{Part, lacks};
use crate::model::footprint::Footprint;
use crate::moment::{Moment, Span};
use crate::number::{fraction, whole};
pub use crate::policy::MEMORY_SHARE_MAX;
use crate::policy::{Proposal, Purpose};
use crate::profile::{Cited, KnobRange, Profile};
use crate::signal::{HostSignals, Recent, level_ratio_bp};
#[cfg(test)]
use crate::testing::{Fault, has};
use std::collections::BTreeMap;
use trimtab_protocol::change::{CHANGE_WINDOW_MS, CHANGES_PER_WINDOW};
use trimtab_protocol::decision::{ChangeSummary, Citation, Direction, Level, Reason, ValueChange};
use trimtab_protocol::knob::{KnobState, KnobValue};
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::state::PoolState;

pub use memory::{MEMORY_SHARE_ROOM, memory_share_max};
pub use setting::{Setting, review_setting, takes};

/// New values of one pool within a minute. With each undone again that makes twelve changes, which is what a host takes.
pub const NEW_VALUES_PER_MINUTE: u32 = 6;

/// What the trials of a pool may be predicted to cost within a minute, as a share of the minute's work.
pub const HARM_SHARE_MAX: f64 = 0.015;

/// Changes of value within a minute while so much is lost, or so little known, that more are worth it: room is kept for the
/// last one's undoing and for a return to the baseline.
pub const CHANGES_WHEN_PRESSING: u32 = 10;

const MINUTE: Span = Span::from_ms(CHANGE_WINDOW_MS);

/// What the guard looks at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now.
    pub now: Moment,
    /// The pool's name.
    pub name: &'a PoolName,
    /// The pool as the host shows it.
    pub pool: &'a PoolState,
    /// Its profile.
    pub profile: &'a Profile,
    /// How bold a change may be.
    pub level: Level,
    /// The load behind the level.
    pub load: f64,
    /// The host's resources.
    pub signals: &'a HostSignals,
    /// Trials begun in this pool.
    pub trials: &'a Recent,
    /// Changes of value in this pool, undoing included.
    pub changes: &'a Recent,
    /// What the trials of the last minute were predicted to cost, as seconds of the pool's work.
    pub spent_s: f64,
    /// Memory by size, as seen so far.
    pub footprint: &'a Footprint,
    /// The pool that has the host's one trial.
    pub probing: Option<&'a PoolName>,
}

/// A refusal: why, and the lines that bound it.
#[derive(Clone, Debug, PartialEq)]
pub struct Veto {
    /// Why.
    pub reason: Reason,
    /// The lines of the profile that bound it.
    pub bound_by: Vec<Citation>,
}

impl Veto {
    fn new(reason: Reason) -> Self {
        Self {
            reason,
            bound_by: Vec::new(),
        }
    }

    fn cited<T>(reason: Reason, by: &Cited<T>) -> Self {
        Self {
            reason,
            bound_by: vec![by.citation.clone()],
        }
    }
}

/// A step that may be taken. Only [`review`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Permitted {
    pool: PoolName,
    base_revision: Revision,
    knob: KnobName,
    from: u64,
    value: u64,
    bound_by: Vec<Citation>,
}

impl Permitted {
    /// Which knob.
    #[must_use]
    pub fn knob(&self) -> &KnobName {
        &self.knob
    }

    /// The value in force.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The new target.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The lines of the profile that shortened the step or bound its direction.
    #[must_use]
    pub fn bound_by(&self) -> &[Citation] {
        &self.bound_by
    }

    /// The same, with the line of the profile that asked for it, if one did.
    #[must_use]
    pub fn asked_by(mut self, citation: Option<Citation>) -> Self {
        self.bound_by.extend(citation);
        self
    }

    /// The change in a summary; numbered when it is more than advice.
    #[must_use]
    pub fn summary(&self, generation: Option<Generation>) -> ChangeSummary {
        let values = ValueChange {
            from: KnobValue::Integer(self.from),
            to: KnobValue::Integer(self.value),
        };
        ChangeSummary {
            generation,
            set: BTreeMap::from([(self.knob.clone(), values)]),
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
        Plan {
            pool: self.pool.clone(),
            epoch,
            generation,
            base_revision: self.base_revision,
            trial_ms,
            set: BTreeMap::from([(self.knob.clone(), KnobValue::Integer(self.value))]),
            reason,
        }
    }
}

/// Lets a proposal through, shortened where need be, or vetoes it.
///
/// # Errors
/// The veto.
pub fn review(proposal: &Proposal, context: &Context<'_>) -> Result<Permitted, Veto> {
    let knob_name = proposal.knob.clone();
    let Some(knob) = context.pool.knobs.get(&knob_name) else {
        return Err(Veto::new(Reason::NotOffered));
    };
    let Some(current) = knob.value.as_integer() else {
        return Err(Veto::new(Reason::NotOffered));
    };
    if knob.pinned_for_ms.is_some() {
        return Err(Veto::new(Reason::Pinned { knob: knob_name }));
    }
    let returns = proposal.purpose == Purpose::Return;
    // Levels are about the number of workers.
    let levelled = !returns && proposal.purpose != Purpose::Follow;
    // Protection does not wait for another pool's trial, and going back is allowed at every level.
    let probing = context.probing.filter(|_| !returns);
    #[cfg(test)]
    let probing = probing.filter(|_| !has(Fault::NoTurns));
    if let Some(pool) = probing {
        return Err(Veto::new(Reason::OtherTrial {
            pool: pool.as_str().to_owned(),
        }));
    }
    rate(proposal, context)?;
    if context.level == Level::Conservative && levelled {
        let (level, load) = (context.level, context.load);
        let reason = Reason::LevelForbids { level, load };
        return Err(Veto::cited(reason, &context.profile.levels.moderate));
    }
    harm(proposal, context)?;
    let range = range_of(knob_name.as_str(), context.profile);
    let bounds = Bounds::allowed(knob, range);
    let bounded = proposal.value.clamp(bounds.min, bounds.max);
    let level = if levelled {
        context.level
    } else {
        Level::Maximum
    };
    let value = reachable(proposal, context, (knob, current), (bounded, level))?;
    let (limit, bound) = match proposal.direction {
        Direction::Up => (range.map(|range| &range.max), bounds.max),
        Direction::Down => (range.map(|range| &range.min), bounds.min),
    };
    let bound_by: Vec<Citation> = limit
        .map(|limit| limit.citation.clone())
        .into_iter()
        .collect();
    let moves = match proposal.direction {
        Direction::Up => value > current,
        Direction::Down => value < current,
    };
    if !moves {
        let knob = knob_name;
        let reason = Reason::AtBound { knob, bound };
        return Err(Veto { reason, bound_by });
    }
    Ok(Permitted {
        pool: context.name.clone(),
        base_revision: context.pool.revision,
        knob: knob_name,
        from: current,
        value,
        bound_by,
    })
}

/// How far towards a bounded value the host's step, the level and memory let a knob go.
fn reachable(
    proposal: &Proposal,
    context: &Context<'_>,
    (knob, current): (&KnobState, u64),
    (bounded, level): (u64, Level),
) -> Result<u64, Veto> {
    // The step comes last: a value outside the bounds goes back in by steps as well. The host takes its baseline at any step,
    // but nothing else, such as what the memory leaves of it, or the baseline of one knob while another stands elsewhere.
    let returns = proposal.purpose == Purpose::Return;
    let others_there = context
        .pool
        .knobs
        .iter()
        .all(|(name, other)| *name == proposal.knob || other.value == other.baseline);
    let to_baseline = returns && others_there && knob.baseline.as_integer() == Some(bounded);
    let wanted = if to_baseline {
        bounded
    } else {
        step_limit(bounded, current, knob, level)
    };
    let mut affordable = if proposal.knob.as_str() == KnobName::WORKERS {
        memory::shortened(wanted, current, proposal.direction, context)?
    } else {
        wanted
    };
    if affordable != bounded {
        affordable = step_limit(affordable, current, knob, level);
    }
    Ok(on_grid(affordable, current, knob))
}

/// The values that profile and host both allow. A baseline outside the profile's range widens it, for attaching a sidecar
/// must not make the operator's own setting unreachable; the host's hard bounds stand above both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
}

impl Bounds {
    /// The bounds of a pool's workers.
    #[must_use]
    pub fn of(knob: &KnobState, profile: &Profile) -> Self {
        Self::within(knob, &profile.workers)
    }

    /// The bounds of a knob with its range in the profile, if it has one there; else the host's own.
    #[must_use]
    pub fn allowed(knob: &KnobState, range: Option<&KnobRange>) -> Self {
        let (min, max) = (knob.min, knob.max.max(knob.min));
        range.map_or(Self { min, max }, |range| Self::within(knob, range))
    }

    /// The bounds of a knob with its range in the profile.
    #[must_use]
    pub fn within(knob: &KnobState, range: &KnobRange) -> Self {
        #[cfg(test)]
        if has(Fault::NoBounds) {
            return Self { min: 1, max: 1_000 };
        }
        let baseline = knob.baseline.as_integer();
        let widened = |value: u64, pick: fn(u64, u64) -> u64| {
            baseline.map_or(value, |baseline| pick(value, baseline))
        };
        let hard_max = knob.max.max(knob.min);
        let min = widened(range.min.value, u64::min).clamp(knob.min, hard_max);
        let max = widened(range.max.value, u64::max).clamp(min, hard_max);
        Self { min, max }
    }
}

/// The range of a knob in the profile; a knob that no profile bounds has none.
#[must_use]
pub fn range_of<'a>(knob: &str, profile: &'a Profile) -> Option<&'a KnobRange> {
    match knob {
        KnobName::WORKERS => Some(&profile.workers),
        KnobName::QUEUE_LIMIT => Some(&profile.queue_limit),
        KnobName::TIMEOUT_MS => Some(&profile.timeout_ms),
        _ => None,
    }
}

fn rate(proposal: &Proposal, context: &Context<'_>) -> Result<(), Veto> {
    #[cfg(test)]
    if has(Fault::NoRate) {
        return Ok(());
    }
    let limited = |changes: u32, allowed: u32, window: Span| {
        (changes >= allowed).then_some(Reason::RateLimited {
            changes,
            allowed,
            window_s: window.as_secs_f64(),
        })
    };
    let profile = context.profile;
    let (now, returns) = (context.now, proposal.purpose == Purpose::Return);
    let window = profile.change_window.value;
    let by_profile = limited(
        context.trials.within(now, window),
        profile.changes_per_window.value,
        window,
    );
    if let Some(reason) = by_profile.filter(|_| !returns) {
        return Err(Veto::cited(reason, &profile.changes_per_window));
    }
    // A trial that begins now must still be undone within the host's own limit, so one change is kept in reserve.
    let host_allows = u32::try_from(CHANGES_PER_WINDOW)
        .unwrap_or(u32::MAX)
        .saturating_sub(1);
    let allowed = match (returns, proposal.pressing) {
        (true, _) => host_allows,
        (false, true) => CHANGES_WHEN_PRESSING,
        (false, false) => NEW_VALUES_PER_MINUTE,
    };
    limited(context.changes.within(now, MINUTE), allowed, MINUTE)
        .map_or(Ok(()), |reason| Err(Veto::new(reason)))
}

/// Refuses a trial whose predicted cost is more than is left of the minute's.
fn harm(proposal: &Proposal, context: &Context<'_>) -> Result<(), Veto> {
    if lacks(Part::HarmBudget) {
        return Ok(());
    }
    let minute = MINUTE.as_secs_f64();
    let (predicted_share, spent_share) = (proposal.cost_s / minute, context.spent_s / minute);
    if proposal.cost_s > 0.0 && predicted_share + spent_share > HARM_SHARE_MAX {
        return Err(Veto::new(Reason::HarmBudget {
            predicted_share,
            spent_share,
            allowed_share: HARM_SHARE_MAX,
        }));
    }
    Ok(())
}

/// Shortens a step to the ratios of level and host. One unit is always allowed, as the host allows it: else a small value
/// could never move.
fn step_limit(wanted: u64, current: u64, knob: &KnobState, level: Level) -> u64 {
    #[cfg(test)]
    if has(Fault::NoStep) {
        return wanted;
    }
    let unit = knob.granularity.max(1);
    let host = f64::from(knob.max_ratio_bp.max(10_000)) / 1e4;
    let ratio = (f64::from(level_ratio_bp(level)) / 1e4).min(host);
    let now = fraction(current);
    if wanted > current {
        let farthest = whole(libm::floor(now * ratio)).max(current.saturating_add(unit));
        wanted.min(farthest)
    } else {
        let farthest = whole(libm::ceil(now / ratio)).min(current.saturating_sub(unit));
        wanted.max(farthest)
    }
}

/// The nearest value that the host's granularity allows, towards the present one.
fn on_grid(wanted: u64, current: u64, knob: &KnobState) -> u64 {
    let unit = knob.granularity.max(1);
    let steps = wanted.saturating_sub(knob.min);
    let below = knob.min + steps / unit * unit;
    if below < wanted && wanted < current {
        below.saturating_add(unit)
    } else {
        below
    }
}

/// A trial that the guard let through.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pool: PoolName,
    epoch: Epoch,
    generation: Generation,
    base_revision: Revision,
    trial_ms: u64,
    set: BTreeMap<KnobName, KnobValue>,
    reason: String,
}

impl Plan {
    /// The pool whose knobs change.
    #[must_use]
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// The lease under which it is sent.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The pool's revision that it was planned on.
    #[must_use]
    pub fn base_revision(&self) -> Revision {
        self.base_revision
    }

    /// How long the host keeps it without a confirmation, in milliseconds.
    #[must_use]
    pub fn trial_ms(&self) -> u64 {
        self.trial_ms
    }

    /// The new targets.
    #[must_use]
    pub fn set(&self) -> &BTreeMap<KnobName, KnobValue> {
        &self.set
    }

    /// Why, in a sentence for the host's state.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{pool, profile};
    use proptest::prelude::*;
    use trimtab_protocol::decision::Expectation;

    fn proposal(workers: u64, direction: Direction) -> Proposal {
        let expectation = Expectation {
            goodput_per_s: 0.0,
            least_gain_per_s: 0.0,
        };
        Proposal {
            knob: KnobName::from(KnobName::WORKERS),
            value: workers,
            direction,
            purpose: Purpose::Predict,
            pressing: false,
            reason: Reason::NothingToGain,
            expectation,
            cost_s: 0.0,
        }
    }

    fn reviewed(
        pool: &PoolState,
        profile: &Profile,
        wanted: &Proposal,
        edit: impl Fn(&mut Context<'_>),
    ) -> Result<u64, Reason> {
        let (name, quiet) = (PoolName::from("web"), Recent::default());
        let (signals, footprint) = (HostSignals::default(), Footprint::default());
        let mut context = Context {
            now: Moment::from_boot_ns(1_000_000_000_000),
            name: &name,
            pool,
            profile,
            level: Level::Maximum,
            load: 1.0,
            signals: &signals,
            trials: &quiet,
            changes: &quiet,
            spent_s: 0.0,
            footprint: &footprint,
            probing: None,
        };
        edit(&mut context);
        review(wanted, &context)
            .map(|permitted| permitted.value())
            .map_err(|veto| veto.reason)
    }

    #[test]
    fn a_profiles_bound_stops_a_step_and_is_cited() {
        let (pool, mut profile) = (pool(16), profile());
        profile.workers.max.value = 20;
        assert_eq!(
            reviewed(&pool, &profile, &proposal(32, Direction::Up), |_| ()),
            Ok(20)
        );
        profile.workers.max.value = 16;
        let held = reviewed(&pool, &profile, &proposal(32, Direction::Up), |_| ());
        assert_eq!(
            held,
            Err(Reason::AtBound {
                knob: KnobName::from("workers"),
                bound: 16
            })
        );
    }

    #[test]
    fn a_baseline_outside_the_profile_widens_it() {
        let (pool, mut profile) = (pool(200), profile());
        profile.workers.max.value = 100;
        let knob = &pool.knobs["workers"];
        assert_eq!(Bounds::of(knob, &profile), Bounds { min: 1, max: 200 });
    }

    #[test]
    fn a_level_shortens_the_step_and_conservative_forbids_it() {
        let (pool, profile) = (pool(16), profile());
        let at = |level| {
            reviewed(&pool, &profile, &proposal(32, Direction::Up), |context| {
                context.level = level
            })
        };
        assert_eq!(at(Level::Maximum), Ok(32));
        assert_eq!(at(Level::Aggressive), Ok(24));
        assert_eq!(at(Level::Moderate), Ok(20));
        assert!(matches!(
            at(Level::Conservative),
            Err(Reason::LevelForbids { .. })
        ));
    }

    #[test]
    fn memory_shortens_a_growth_and_then_forbids_it() {
        let (pool, profile) = (pool(16), profile());
        let at = |share: f64| {
            let signals = HostSignals {
                memory_share: Some(share),
                ..HostSignals::default()
            };
            let (name, quiet) = (PoolName::from("web"), Recent::default());
            let context = Context {
                now: Moment::default(),
                name: &name,
                pool: &pool,
                profile: &profile,
                level: Level::Maximum,
                load: 1.0,
                signals: &signals,
                trials: &quiet,
                changes: &quiet,
                spent_s: 0.0,
                footprint: &Footprint::default(),
                probing: None,
            };
            review(&proposal(32, Direction::Up), &context).map(|permitted| permitted.value())
        };
        assert_eq!(at(0.4), Ok(32));
        // The ladder steps down at 92 %, so nothing goes beyond a hundredth less: 16 * 0.91 / 0.6.
        assert_eq!(at(0.6), Ok(24));
        assert!(at(0.93).is_err());
    }

    #[test]
    fn the_rate_is_bounded() {
        let (pool, profile) = (pool(16), profile());
        let mut trials = Recent::default();
        (0..6).for_each(|_| trials.note(Moment::from_boot_ns(999_000_000_000)));
        let (name, signals) = (PoolName::from("web"), HostSignals::default());
        let context = Context {
            now: Moment::from_boot_ns(1_000_000_000_000),
            name: &name,
            pool: &pool,
            profile: &profile,
            level: Level::Maximum,
            load: 1.0,
            signals: &signals,
            trials: &trials,
            changes: &trials,
            spent_s: 0.0,
            footprint: &Footprint::default(),
            probing: None,
        };
        let held = review(&proposal(32, Direction::Up), &context).map_err(|veto| veto.reason);
        assert!(
            matches!(
                held,
                Err(Reason::RateLimited {
                    changes: 6,
                    allowed: 6,
                    ..
                })
            ),
            "{held:?}"
        );
    }

    #[test]
    fn a_pinned_knob_and_another_pools_trial_are_left_alone() {
        let (mut pool, profile) = (pool(16), profile());
        let (name, other, quiet) = (
            PoolName::from("web"),
            PoolName::from("api"),
            Recent::default(),
        );
        let signals = HostSignals::default();
        let context = Context {
            now: Moment::default(),
            name: &name,
            pool: &pool,
            profile: &profile,
            level: Level::Maximum,
            load: 1.0,
            signals: &signals,
            trials: &quiet,
            changes: &quiet,
            spent_s: 0.0,
            footprint: &Footprint::default(),
            probing: Some(&other),
        };
        let held = review(&proposal(32, Direction::Up), &context).map_err(|veto| veto.reason);
        assert_eq!(held, Err(Reason::OtherTrial { pool: "api".into() }));
        pool.knobs
            .values_mut()
            .for_each(|knob| knob.pinned_for_ms = Some(1));
        let held = reviewed(&pool, &profile, &proposal(32, Direction::Up), |_| ());
        assert_eq!(
            held,
            Err(Reason::Pinned {
                knob: KnobName::from("workers")
            })
        );
    }

    #[test]
    fn one_unit_is_always_a_step_however_small_the_value() {
        let profile = profile();
        let step = |from: u64, (unit, max_ratio_bp): (u64, u32), wanted: u64| {
            let mut pool = pool(from);
            for knob in pool.knobs.values_mut() {
                (knob.min, knob.granularity, knob.max_ratio_bp) = (0, unit, max_ratio_bp);
                // The baseline is reached at any step.
                knob.baseline = KnobValue::Integer(100);
            }
            let direction = if wanted > from {
                Direction::Up
            } else {
                Direction::Down
            };
            reviewed(&pool, &profile, &proposal(wanted, direction), |_| ())
        };
        assert_eq!(step(1, (1, 15_000), 2), Ok(2));
        assert_eq!(step(0, (1, 20_000), 9), Ok(1));
        assert_eq!(step(4, (4, 15_000), 20), Ok(8));
        assert_eq!(step(2, (1, 15_000), 1), Ok(1));
        assert_eq!(step(10, (1, 15_000), 20), Ok(15));
    }

    proptest! {
        #[test]
        fn whatever_is_proposed_stays_within_bounds_ratio_and_grid(
            current in 1_u64..600, wanted in 0_u64..100_000, up: bool, min in 1_u64..50, span in 0_u64..600,
            unit in 1_u64..9, ratio_bp in 10_000_u32..40_000, share in prop::option::of(0.0_f64..1.5),
            profile_min in 1_u64..100, profile_span in 0_u64..600,
        ) {
            let mut pool = pool(current);
            let mut profile = profile();
            profile.workers.min.value = profile_min;
            profile.workers.max.value = profile_min + profile_span;
            for knob in pool.knobs.values_mut() {
                knob.min = min;
                knob.max = min + span / unit * unit;
                knob.granularity = unit;
                knob.max_ratio_bp = ratio_bp;
                let held = (min + (current.max(min) - min) / unit * unit).min(knob.max);
                knob.value = KnobValue::Integer(held);
                knob.baseline = KnobValue::Integer(held);
            }
            let knob = pool.knobs["workers"].clone();
            let from = knob.value.as_integer().unwrap();
            let direction = if up { Direction::Up } else { Direction::Down };
            let signals = HostSignals { memory_share: share, ..HostSignals::default() };
            let (name, quiet) = (PoolName::from("web"), Recent::default());
            let context = Context {
                now: Moment::default(), name: &name, pool: &pool, profile: &profile, level: Level::Maximum, load: 1.0,
                signals: &signals, trials: &quiet, changes: &quiet, spent_s: 0.0, footprint: &Footprint::default(), probing: None,
            };
            if let Ok(permitted) = review(&proposal(wanted, direction), &context) {
                let to = permitted.value();
                prop_assert!((knob.min..=knob.max).contains(&to), "{to} outside the host's bounds");
                prop_assert_eq!((to - knob.min) % unit, 0);
                let by_ratio = u128::from(to.max(from)) * 10_000 <= u128::from(to.min(from)) * u128::from(ratio_bp.max(10_000));
                prop_assert!(by_ratio || to.abs_diff(from) <= unit, "{from} to {to}");
                prop_assert_eq!(to > from, up);
                prop_assert_ne!(to, from);
                let bounds = Bounds::of(&knob, &profile);
                prop_assert!((bounds.min..=bounds.max).contains(&to));
                if let (Some(share), true) = (share, up) {
                    let predicted = share * to as f64 / from as f64;
                    let small = share < MEMORY_SHARE_ROOM && to <= from + (from / 4).max(1);
                    prop_assert!(small || predicted <= MEMORY_SHARE_MAX + 1e-9);
                }
            }
        }
    }
}
