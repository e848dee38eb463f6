//! The knobs of pools without workers, such as the memory level of the whole process and the sizes of object pools.
//!
//! Nothing is searched for here. A profile names the values, and the memory ladder overrules it while memory is short; both are
//! set through the guard, as trials like any other change. Such a trial is kept once the values are in effect and the service
//! does its work as before, and it is undone when the values do not come into effect or much less work is done.
//!
//! It never begins while a pool's size is on trial or work waits, unless memory is short or it has waited for long. What
//! someone else has set since is left as it is.

mod keeper;

use super::round::{Deltas, Round};
use super::rules::Asked;
use super::trial::trial_ms;
use super::tuner::Choice;
use super::{Controller, tunable};
use crate::decision::{Step, TrialId};
use crate::guard::{Setting, review_setting, takes};
use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::observation::{Answer, Observation, Receipt};
use crate::profile::{Cited, MemoryLadder, Profile};
use crate::signal::{HostSignals, Recent};
use crate::trigger::TriggerWatch;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Evidence, Level, Mode, Reason, Regime, ValueChange,
    Verdict,
};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::state::{HostState, PoolKind, PoolState};
use trimtab_protocol::view::{ChangeCounts, DecisionRecord};

/// How long new values are watched before they are kept.
const WATCHED: Span = Span::from_secs(5);
/// How long the host may take until they are in effect.
const EFFECT_MAX: Span = Span::from_secs(30);
/// Ticks for which a sent change may be neither answered nor seen, and for which nothing may be read during a trial.
const UNSEEN_TICKS_MAX: u32 = 3;
/// A quiet moment is waited for this long.
const QUIET_AFTER_MAX: Span = Span::from_secs(60);
/// How long a pool is left alone after a refusal, after values that did harm or came to nothing, and after a trial that was
/// undone for another reason and so says nothing about its values.
const REFUSED: Span = Span::from_secs(30);
const HARMED: Span = Span::from_secs(300);
const UNJUDGED: Span = Span::from_secs(5);
/// Work that is done at less than this share of the rate before, while as much as before arrives, was harmed.
const HARM_SHARE: f64 = 0.8;
/// Memory counts as eased this far below the ladder's step, and once that has lasted.
const EASE_MARGIN: f64 = 0.05;
const EASE_AFTER: Span = Span::from_secs(120);

/// All pools without workers of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    keepers: BTreeMap<PoolName, Keeper>,
    flow: Flow,
}

/// What a tick brings for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct OthersTick<'a> {
    pub(super) observation: &'a Observation,
    pub(super) state: &'a HostState,
    pub(super) signals: &'a HostSignals,
    pub(super) deltas: &'a Deltas<'a>,
    /// The number of the change that may be begun; nothing when another was begun already.
    pub(super) generation: Option<Generation>,
    /// Whether no pool's size is on trial and no work waits.
    pub(super) quiet: bool,
    /// What triggers of the pools with workers ask for, of knobs that are not those pools' own.
    pub(super) asked: &'a [Asked],
}

impl Others {
    /// Decides for each of the pools, and says whether a change was begun.
    pub(super) fn decide(
        &mut self,
        controller: &Controller,
        tick: &OthersTick<'_>,
        round: &mut Round,
    ) -> bool {
        self.flow.add(tick.deltas);
        let mut generation = tick.generation;
        let mut begun = false;
        self.keepers
            .retain(|name, _| tick.state.pools.contains_key(name));
        for (name, pool) in untunable(tick.state) {
            let Some(profile) = controller.profile_of_other(name, tick.state) else {
                continue;
            };
            let keeper = self.keepers.entry(name.clone()).or_default();
            let (now, signals) = (tick.observation.at, tick.signals);
            keeper
                .ladder
                .observe(now, signals.memory_share, &profile.ladder);
            // The triggers of a profile that the process shares with a pool are asked there, where more is known.
            let own = if controller.shares_profile(name) {
                tick.asked.to_vec()
            } else {
                Asked::of_pool(&mut keeper.triggers, now, profile, (pool, signals))
            };
            let view = View {
                asked: &own,
                now: tick.observation.at,
                name,
                pool,
                profile,
                ladder: keeper.ladder,
                flow: &self.flow,
                receipts: &tick.observation.receipts,
                warm: controller.warm_ticks >= super::WARM_UP_TICKS,
                frozen: controller.frozen,
            };
            keeper.reconcile(&view);
            let choice = keeper.judge(&view).unwrap_or_else(|| {
                keeper.look(controller, &view, (tick.state, tick.quiet), generation)
            });
            if matches!(choice.step, Some(Step::Try(_))) {
                (generation, begun) = (None, true);
            }
            round.steps.extend(choice.step.clone());
            let record = keeper.record(&choice, tick.signals, profile);
            round.records.push((Some(name.clone()), record));
        }
        begun
    }

    /// The sidecar ends, or the host could not be read for a while: open trials are not left behind.
    pub(super) fn give_up(&mut self, absence: Option<Absence>, round: &mut Round) {
        for (name, keeper) in &mut self.keepers {
            let Some(choice) = keeper.give_up(name, absence) else {
                continue;
            };
            round.steps.extend(choice.step.clone());
            let record = DecisionRecord {
                evidence: Evidence::default(),
                regime: Regime::Blind,
                ..record(&choice, String::new())
            };
            round.records.push((Some(name.clone()), record));
        }
    }

    /// Profiles may be others from now on: how long their conditions have held begins anew.
    pub(super) fn forget_triggers(&mut self) {
        self.keepers
            .values_mut()
            .for_each(|keeper| keeper.triggers.clear());
    }

    /// Nothing is known for a while, and what is not known did not last.
    pub(super) fn pause(&mut self) {
        for keeper in self.keepers.values_mut() {
            keeper.triggers.clear();
            keeper.ladder.eased_since = None;
        }
    }

    /// How often a pool's values were changed.
    pub(super) fn counts(&self, name: &PoolName) -> ChangeCounts {
        let keeper = self.keepers.get(name);
        keeper.map(|keeper| keeper.counts).unwrap_or_default()
    }
}

fn record(choice: &Choice, profile: String) -> DecisionRecord {
    DecisionRecord {
        action: choice.action,
        reason: choice.reason.clone(),
        regime: Regime::Ample,
        level: Level::Conservative,
        load: None,
        profile,
        evidence: Evidence::default(),
        expectation: None,
        change: choice.change.clone(),
        bound_by: choice.bound_by.clone(),
    }
}

impl Controller {
    /// Whether a pool is the process as a whole, with no profile of its own.
    fn shares_profile(&self, name: &PoolName) -> bool {
        name.as_str() == PoolName::PROCESS && !self.settings.assigned.contains_key(name)
    }

    /// The profile of a pool without workers. The process as a whole follows that of the work that people wait for most: a page
    /// before a call, and a call before a job.
    pub(super) fn profile_of_other(&self, name: &PoolName, state: &HostState) -> Option<&Profile> {
        let pool = state.pools.get(name)?;
        if !self.shares_profile(name) {
            return self.profile_of(name, pool);
        }
        let first = tunable(state).min_by_key(|(_, pool)| match pool.kind {
            PoolKind::Web => 0,
            PoolKind::Api => 1,
            PoolKind::Background => 2,
            PoolKind::Other => 3,
        });
        let (name, pool) = first.unwrap_or((name, pool));
        self.profile_of(name, pool)
    }
}

/// The pools without workers.
pub(super) fn untunable(state: &HostState) -> impl Iterator<Item = (&PoolName, &PoolState)> {
    state
        .pools
        .iter()
        .filter(|(_, pool)| !pool.knobs.contains_key(KnobName::WORKERS))
}

/// The first step of a profile's memory ladder, with a way back that is not taken at once.
#[derive(Clone, Copy, Debug, Default)]
struct Ladder {
    is_high: bool,
    share: f64,
    eased_since: Option<Moment>,
}

impl Ladder {
    fn observe(&mut self, now: Moment, share: Option<f64>, ladder: &MemoryLadder) {
        // What is not known is not better than it was.
        let Some(share) = share else {
            self.eased_since = None;
            return;
        };
        self.share = share;
        let at = ladder.level.value;
        if share >= at {
            (self.is_high, self.eased_since) = (true, None);
        } else if self.is_high && share < at - EASE_MARGIN {
            let since = *self.eased_since.get_or_insert(now);
            self.is_high = now.since(since) < EASE_AFTER;
        } else {
            self.eased_since = None;
        }
    }
}

/// What all pools together were asked for and did, in the last ten ticks.
#[derive(Clone, Debug, Default)]
struct Flow(VecDeque<Pace>);

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    seconds: f64,
    arrived: u64,
    completed: u64,
}

const FLOW_TICKS: usize = 10;

impl Flow {
    fn add(&mut self, deltas: &Deltas<'_>) {
        let mut pace = Pace::default();
        for delta in deltas.good() {
            pace.seconds = pace.seconds.max(delta.span.as_secs_f64());
            pace.arrived = pace.arrived.saturating_add(delta.arrived);
            pace.completed = pace.completed.saturating_add(delta.completed);
        }
        if self.0.len() == FLOW_TICKS {
            self.0.pop_front();
        }
        self.0.push_back(pace);
    }

    fn sum(&self) -> Pace {
        self.0
            .iter()
            .fold(Pace::default(), |sum, pace| sum.plus(*pace))
    }

    fn last(&self) -> Pace {
        self.0.back().copied().unwrap_or_default()
    }
}

impl Pace {
    fn plus(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            arrived: self.arrived.saturating_add(other.arrived),
            completed: self.completed.saturating_add(other.completed),
        }
    }

    fn per_s(self, count: u64) -> f64 {
        fraction(count) / self.seconds.max(1e-3)
    }

    /// Whether much less was done than before although no less arrived, beyond what chance explains.
    fn harm_since(self, before: Self) -> Option<Verdict> {
        let (was, is) = (before.per_s(before.completed), self.per_s(self.completed));
        let arrives = self.per_s(self.arrived) >= 0.9 * before.per_s(before.arrived);
        let variance = was / before.seconds.max(1e-3) + is / self.seconds.max(1e-3);
        let error_per_s = libm::sqrt(variance);
        let loss_per_s = was - is;
        (arrives && is < HARM_SHARE * was && loss_per_s > 3.0 * error_per_s).then_some(
            Verdict::GoodputFell {
                loss_per_s,
                error_per_s,
            },
        )
    }
}

/// What a tick shows of one pool.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    now: Moment,
    name: &'a PoolName,
    pool: &'a PoolState,
    profile: &'a Profile,
    ladder: Ladder,
    flow: &'a Flow,
    /// What triggers ask for.
    asked: &'a [Asked],
    receipts: &'a [Receipt],
    warm: bool,
    /// Whether an operator froze this sidecar.
    frozen: bool,
}

/// One pool over time.
#[derive(Clone, Debug, Default)]
struct Keeper {
    trial: Option<OtherTrial>,
    /// The last trial that was begun, by which one that the host applied late is known.
    issued: Option<(Epoch, Generation)>,
    counts: ChangeCounts,
    changes: Recent,
    revision: Option<Revision>,
    values: BTreeMap<KnobName, KnobValue>,
    /// Knobs that someone else has set since: their values stand.
    foreign: BTreeSet<KnobName>,
    /// What the memory level was before the ladder raised it.
    level_before: Option<KnobValue>,
    rest_until: Moment,
    wanted_since: Option<Moment>,
    /// What happened to the last trial without our doing; told once.
    news: Option<Reason>,
    /// Which of the triggers of its own profile hold.
    triggers: TriggerWatch,
    /// The first step of its profile's memory ladder.
    ladder: Ladder,
}

#[derive(Clone, Debug)]
struct OtherTrial {
    epoch: Epoch,
    generation: Generation,
    change: ChangeSummary,
    bound_by: Vec<Citation>,
    before: Pace,
    since: Pace,
    stage: Stage,
    unseen_ticks: u32,
}

#[derive(Clone, Debug)]
enum Stage {
    Sent,
    InForce { since: Moment },
    Ending { action: Action, reason: Reason },
}
