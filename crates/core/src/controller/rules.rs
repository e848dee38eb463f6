//! What the profile says by itself: its triggers, its pace, and the last step of its memory ladder.
//!
//! A trigger is asked when the policy has nothing to try. What it proposes passes the same guard and the same proof as every
//! other step: growth must gain, and a shrink must not lose. The last step of the ladder comes before the policy and needs no
//! proof, for memory that runs out ends all work.

use super::trial::value;
use super::tuner::{Choice, PoolTick, Tuner};
use crate::expression::{Signal, SignalSet};
use crate::guard::{Bounds, MEMORY_SHARE_MAX, memory_share_max, range_of};
use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::policy::{Proposal, Purpose};
use crate::profile::{Cited, Profile, Trigger, TriggerAction};
use crate::signal::HostSignals;
use crate::trigger::{Fired, Lack, TriggerWatch};
use trimtab_protocol::decision::{
    Action, Citation, Direction, Expectation, Reason, Regime, TriggerLack, Verdict, WindowFigures,
};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::KnobName;
use trimtab_protocol::state::PoolState;

/// How long a step down has to give memory back before the next one.
const EASE: Span = Span::from_secs(10);

/// How long a knob is left alone after the value that followed or was asked for did harm.
pub(super) const HARMED: Span = Span::from_secs(300);

/// How long no trigger moves the workers a way in which its last step proved nothing, because the load moved meanwhile or too
/// little ended to judge by. It is the rest that the policy gives itself after such a look.
const UNPROVEN: Span = Span::from_secs(10);

/// A proposal and the line of the profile that asks for it.
pub(super) type Ruled = (Proposal, Citation);

/// A value that a trigger asks for, of a knob in a pool without workers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) knob: KnobName,
    pub(super) value: Cited<KnobValue>,
    pub(super) reason: Reason,
}

impl Asked {
    /// What a trigger that is to be followed asks for, if it asks for a value.
    fn by(fired: &Fired<'_>) -> Option<Self> {
        let TriggerAction::Set { knob, value } = &fired.trigger.action.value else {
            return None;
        };
        let (value, citation) = (value.clone(), fired.trigger.when.citation.clone());
        fired.lack.is_none().then(|| Self {
            knob: knob.clone(),
            value: Cited { value, citation },
            reason: triggered(fired.trigger),
        })
    }

    /// What a profile's triggers ask for in a pool without workers, by the figures of the host and the pool's own knobs.
    pub(super) fn of_pool(
        watch: &mut TriggerWatch,
        now: Moment,
        profile: &Profile,
        (pool, host): (&PoolState, &HostSignals),
    ) -> Vec<Self> {
        let signals = host_signals(pool, host);
        watch.observe(now, &profile.triggers, &signals);
        let fired = watch.fired(now, &profile.triggers, &signals, 0);
        fired.filter_map(|fired| Self::by(&fired)).collect()
    }
}

impl Tuner {
    /// Takes in a tick for the triggers.
    pub(super) fn notice_triggers(&mut self, tick: &PoolTick<'_>) {
        let triggers = &tick.profile.triggers;
        if !triggers.is_empty() {
            let signals = self.signals(tick);
            self.triggers.observe(tick.now, triggers, &signals);
        }
    }

    /// Why the profile looks for nothing new now, if it looks only now and then.
    pub(super) fn pace(&mut self, tick: &PoolTick<'_>) -> Option<Choice> {
        let every = tick.profile.decide_every.as_ref()?;
        let passed = tick.now.since(self.looked);
        if self.looked == Moment::default() || passed >= every.value {
            self.looked = tick.now;
            return None;
        }
        let seconds = every.value.as_secs_f64() - passed.as_secs_f64();
        Some(Choice {
            bound_by: vec![every.citation.clone()],
            ..Choice::hold(Reason::BetweenDecisions { seconds })
        })
    }

    /// A step down because memory is about to run out, once the one before has had its time.
    pub(super) fn step_down(&mut self, tick: &PoolTick<'_>) -> Option<Ruled> {
        let limit = &tick.profile.ladder.step_down;
        let share = tick
            .signals
            .memory_share
            .filter(|share| *share >= limit.value)?;
        let workers = super::trial::workers(tick.pool).filter(|workers| *workers > 1)?;
        if self.eased != Moment::default() && tick.now.since(self.eased) < EASE {
            return None;
        }
        self.eased = tick.now;
        let reason = Reason::MemoryForbids {
            predicted_share: share,
            allowed_share: limit.value,
        };
        let fewer = workers - (workers / 4).max(1);
        let knob = KnobName::from(KnobName::WORKERS);
        let proposal = self.ruled(tick, (knob, fewer), Purpose::Return, reason);
        Some((proposal, limit.citation.clone()))
    }

    /// What the profile's triggers propose where the policy holds, or else why it holds.
    pub(super) fn by_trigger(
        &self,
        tick: &PoolTick<'_>,
        held: Reason,
    ) -> Result<Ruled, Box<Choice>> {
        let triggers = &tick.profile.triggers;
        if triggers.is_empty() {
            return Err(Box::new(self.held(tick, held)));
        }
        let mut lacking = None;
        let signals = self.signals(tick);
        let completed = self.window.completed();
        for fired in self.triggers.fired(tick.now, triggers, &signals, completed) {
            match (fired.lack, self.followed(tick, fired.trigger)) {
                (None, Some(proposal)) => {
                    return Ok((proposal, fired.trigger.when.citation.clone()));
                }
                (Some(lack), _) => {
                    lacking.get_or_insert_with(|| lacks(fired.trigger, lack));
                }
                (None, None) => {}
            }
        }
        Err(lacking.unwrap_or_else(|| Box::new(self.held(tick, held))))
    }

    /// The values that the profile's triggers ask for and that are not this pool's to set.
    pub(super) fn asked_elsewhere(&self, tick: &PoolTick<'_>) -> Vec<Asked> {
        let asked = self.asked(tick);
        asked
            .into_iter()
            .filter(|asked| !tick.pool.knobs.contains_key(&asked.knob))
            .collect()
    }

    /// Whether a trigger that holds says what a knob of this pool is to be, so that it follows nothing else.
    pub(super) fn is_asked(&self, tick: &PoolTick<'_>, knob: &str) -> bool {
        let asked = self.asked(tick);
        asked.iter().any(|asked| asked.knob.as_str() == knob)
    }

    fn asked(&self, tick: &PoolTick<'_>) -> Vec<Asked> {
        let triggers = &tick.profile.triggers;
        let sets = |trigger: &Trigger| matches!(trigger.action.value, TriggerAction::Set { .. });
        if !triggers.iter().any(sets) {
            return Vec::new();
        }
        let signals = self.signals(tick);
        let completed = self.window.completed();
        let fired = self.triggers.fired(tick.now, triggers, &signals, completed);
        fired.filter_map(|fired| Asked::by(&fired)).collect()
    }

    /// A value of a knob that follows did harm: the knob is left alone for a while.
    pub(super) fn follow_did_harm(&mut self, now: Moment, knob: &KnobName) {
        self.unfollowed.insert(knob.clone(), now.after(HARMED));
    }

    /// Whether a knob is left alone because of that.
    pub(super) fn follow_rests(&self, now: Moment, knob: &str) -> bool {
        self.unfollowed.get(knob).is_some_and(|until| *until > now)
    }

    /// A trigger is only as good as what it brings: where its step is undone for doing harm, or the policy then proves that the
    /// other way is better, no trigger moves the workers that way for a while. Else each would undo the other for ever.
    pub(super) fn weigh_rule(&mut self, now: Moment, action: Action, reason: &Reason) {
        let Some(trial) = &self.trial else {
            return;
        };
        if trial.knob.as_str() != KnobName::WORKERS {
            return;
        }
        let direction = trial.direction;
        let rests = match (action, reason, trial.ruled) {
            (Action::RollBack, Reason::DidNotPay { verdict }, true) => {
                Some((direction, rest_after(verdict)))
            }
            (Action::Confirm, _, true) => {
                self.last_ruled = Some(direction);
                None
            }
            (Action::Confirm, Reason::Paid { .. }, false) => {
                let ruled = self.last_ruled.take();
                ruled
                    .filter(|ruled| *ruled != direction)
                    .map(|ruled| (ruled, HARMED))
            }
            _ => None,
        };
        if let Some((direction, span)) = rests {
            self.unruled.insert(direction, now.after(span));
        }
    }

    /// Whether triggers leave the workers alone that way because of that.
    fn is_unruled(&self, now: Moment, direction: Direction) -> bool {
        self.unruled
            .get(&direction)
            .is_some_and(|until| *until > now)
    }

    /// The change that brings a knob of this pool to the value that a trigger names, as far as it may; nothing when it stands
    /// there, when the pool has no such number, or when its direction rests.
    fn set_here(
        &self,
        tick: &PoolTick<'_>,
        trigger: &Trigger,
        (knob, wanted): (&KnobName, &KnobValue),
    ) -> Option<Proposal> {
        let now = value(tick.pool, knob.as_str())?;
        let bounds = Bounds::allowed(
            tick.pool.knobs.get(knob)?,
            range_of(knob.as_str(), tick.profile),
        );
        let to = wanted.as_integer()?.clamp(bounds.min, bounds.max);
        let sized = knob.as_str() == KnobName::WORKERS;
        let purpose = match to.cmp(&now) {
            std::cmp::Ordering::Equal => return None,
            _ if !sized && self.follow_rests(tick.now, knob.as_str()) => return None,
            // What it would cut is known already.
            std::cmp::Ordering::Less
                if knob.as_str() == KnobName::TIMEOUT_MS
                    && self
                        .follow
                        .would_cut(to, Self::slo_ms(tick.pool, tick.profile)) =>
            {
                return None;
            }
            _ if !sized => Purpose::Follow,
            std::cmp::Ordering::Greater if self.may_grow(tick) => Purpose::Predict,
            std::cmp::Ordering::Less if self.may_shrink(tick) => Purpose::Relax,
            std::cmp::Ordering::Greater | std::cmp::Ordering::Less => return None,
        };
        let to = if sized {
            self.bearable(tick, now, to)?
        } else {
            to
        };
        Some(self.ruled(tick, (knob.clone(), to), purpose, triggered(trigger)))
    }

    /// Where nothing waits there is nothing that a growth could prove.
    fn may_grow(&self, tick: &PoolTick<'_>) -> bool {
        self.work_waits(tick)
            && !self.policy.growth_rests(tick.seconds())
            && !self.is_unruled(tick.now, Direction::Up)
    }

    fn may_shrink(&self, tick: &PoolTick<'_>) -> bool {
        !self.policy.shrink_rests(tick.seconds()) && !self.is_unruled(tick.now, Direction::Down)
    }

    /// The step that a trigger asks for; nothing when it is about another pool's knob or its direction rests.
    fn followed(&self, tick: &PoolTick<'_>, trigger: &Trigger) -> Option<Proposal> {
        let workers = super::trial::workers(tick.pool)?;
        let (to, purpose) = match &trigger.action.value {
            TriggerAction::Set { knob, value } => {
                return self.set_here(tick, trigger, (knob, value));
            }
            // The level shortens it to what may change at once.
            TriggerAction::Grow if self.may_grow(tick) => {
                (workers.saturating_mul(2), Purpose::Predict)
            }
            TriggerAction::Shrink if self.may_shrink(tick) => (workers.div_ceil(2), Purpose::Relax),
            TriggerAction::Grow | TriggerAction::Shrink => return None,
        };
        let knob = KnobName::from(KnobName::WORKERS);
        let to = self.bearable(tick, workers, to)?;
        Some(self.ruled(tick, (knob, to), purpose, triggered(trigger)))
    }

    pub(super) fn work_waits(&self, tick: &PoolTick<'_>) -> bool {
        let figures = self.figures(tick);
        figures.is_some_and(|figures| figures.queued >= 1.0 || figures.lost_per_s > 0.0)
    }

    /// Why the pool is left as it is: where work waits and the pool is as large as it may be, that is why.
    fn held(&self, tick: &PoolTick<'_>, reason: Reason) -> Choice {
        if matches!(reason, Reason::MemoryForbids { .. }) {
            return Choice {
                bound_by: memory_bound(tick).into_iter().collect(),
                ..Choice::hold(reason)
            };
        }
        let knob = tick.pool.knobs.get(KnobName::WORKERS);
        let bounds = knob.map(|knob| Bounds::of(knob, tick.profile));
        let workers = super::trial::workers(tick.pool);
        let full = bounds
            .zip(workers)
            .filter(|(bounds, workers)| *workers >= bounds.max);
        let stops = reason == Reason::NothingToGain && self.regime == Some(Regime::Starved);
        let Some((bounds, _)) = full.filter(|_| stops) else {
            return Choice::hold(reason);
        };
        let max = &tick.profile.workers.max;
        // Else it is the host's own bound, or the baseline.
        let by = (max.value == bounds.max).then(|| max.citation.clone());
        let reason = Reason::AtBound {
            knob: KnobName::from(KnobName::WORKERS),
            bound: bounds.max,
        };
        Choice {
            bound_by: by.into_iter().collect(),
            ..Choice::hold(reason)
        }
    }

    pub(super) fn ruled(
        &self,
        tick: &PoolTick<'_>,
        (knob, to): (KnobName, u64),
        purpose: Purpose,
        reason: Reason,
    ) -> Proposal {
        let now = value(tick.pool, knob.as_str()).unwrap_or_default();
        let figures = self.figures(tick).unwrap_or_default();
        let direction = if to > now {
            Direction::Up
        } else {
            Direction::Down
        };
        Proposal {
            knob,
            value: to,
            direction,
            purpose,
            pressing: purpose == Purpose::Return,
            reason,
            expectation: Expectation {
                goodput_per_s: figures.goodput_per_s,
                least_gain_per_s: 0.0,
            },
            cost_s: 0.0,
        }
    }

    pub(super) fn figures(&self, tick: &PoolTick<'_>) -> Option<WindowFigures> {
        let workers = super::trial::workers(tick.pool)?;
        self.window
            .figures(workers, Self::slo_ms(tick.pool, tick.profile))
    }

    /// The figures that a condition may name; what is not there is absent.
    fn signals(&self, tick: &PoolTick<'_>) -> SignalSet {
        let mut set = host_signals(tick.pool, tick.signals);
        let slo = Self::slo_ms(tick.pool, tick.profile);
        let slo = slo.map(|ms| fraction(ms) / 1e3);
        set.set(Signal::Load, tick.delta.ok().and_then(|_| self.load.mean()));
        set.set(Signal::Slo, slo.or_else(|| set.get(Signal::Timeout)));
        if let Some(figures) = self.figures(tick) {
            self.add_work(&mut set, &figures);
        }
        set
    }

    fn add_work(&self, set: &mut SignalSet, figures: &WindowFigures) {
        let seconds = |us: Option<u64>| us.map(|us| fraction(us) / 1e6);
        let quantile = |basis_points| self.window.total()?.quantile_us(basis_points);
        let service = self.window.service();
        let service = service.and_then(|service| service.quantile_us(9_500));
        for (signal, value) in [
            (Signal::Busy, Some(figures.busy)),
            (Signal::Queued, Some(figures.queued)),
            (Signal::Arrivals, Some(figures.arrivals_per_s)),
            (
                Signal::Throughput,
                Some(fraction(figures.completed) / figures.seconds),
            ),
            (Signal::Goodput, Some(figures.goodput_per_s)),
            (Signal::Lost, Some(figures.lost_per_s)),
            (Signal::Failed, Some(figures.failed_per_s)),
            (Signal::ResponseP50, seconds(figures.p50_us)),
            (Signal::ResponseP95, seconds(quantile(9_500))),
            (Signal::ResponseP99, seconds(figures.p99_us)),
            (Signal::QueueWaitP95, seconds(figures.wait_p95_us)),
            (Signal::ServiceP95, seconds(service)),
        ] {
            set.set(signal, value);
        }
    }
}

/// How long triggers leave the workers alone in a direction in which a step of theirs was undone.
fn rest_after(verdict: &Verdict) -> Span {
    match verdict {
        Verdict::LoadMoved { .. } | Verdict::TooFew { .. } => UNPROVEN,
        Verdict::GoodputRose { .. }
        | Verdict::TailFell { .. }
        | Verdict::SameForLess { .. }
        | Verdict::GoodputFell { .. }
        | Verdict::TailRose { .. }
        | Verdict::NoDifference { .. }
        | Verdict::ErrorsRose { .. }
        | Verdict::NothingWaits
        | Verdict::Pooled { .. } => HARMED,
    }
}

/// The figures of the host and the values of a pool's knobs.
fn host_signals(pool: &PoolState, host: &HostSignals) -> SignalSet {
    let mut set = SignalSet::default();
    let count = |value: Option<u64>| value.map(fraction);
    let knob = |name: &str| value(pool, name).map(fraction);
    for (signal, value) in [
        (Signal::Cpu, host.cpu_share()),
        (Signal::Throttled, host.throttled_share),
        (Signal::CpuPressure, host.cpu_pressure),
        (Signal::Memory, host.memory_share),
        (Signal::MemoryPressure, host.memory_pressure),
        (Signal::Rss, count(host.rss_bytes)),
        (Signal::Tasks, count(host.tasks)),
        (Signal::Threads, count(host.threads)),
        (Signal::Workers, knob(KnobName::WORKERS)),
        (Signal::QueueLimit, knob(KnobName::QUEUE_LIMIT)),
        (
            Signal::Timeout,
            knob(KnobName::TIMEOUT_MS).map(|ms| ms / 1e3),
        ),
    ] {
        set.set(signal, value);
    }
    set
}

/// The line of the ladder that leaves no room for growth, where it is not the guard's own share.
fn memory_bound(tick: &PoolTick<'_>) -> Option<Citation> {
    let ladder = &tick.profile.ladder;
    let full = tick.signals.memory_share >= Some(ladder.no_growth.value);
    let steps_down = memory_share_max(tick.profile) < MEMORY_SHARE_MAX;
    if full {
        Some(ladder.no_growth.citation.clone())
    } else {
        steps_down.then(|| ladder.step_down.citation.clone())
    }
}

fn triggered(trigger: &Trigger) -> Reason {
    Reason::Triggered {
        when: trigger.when.value.text().to_owned(),
        because: trigger.because.clone(),
    }
}

/// A trigger that holds and is not followed is told with what it lacks.
fn lacks(trigger: &Trigger, lack: Lack) -> Box<Choice> {
    let lacks = match lack {
        Lack::Benefit => TriggerLack::Benefit,
        Lack::Completions { .. } => TriggerLack::Completions,
        Lack::Figure(_) => TriggerLack::Figure,
    };
    let when = trigger.when.value.text().to_owned();
    Box::new(Choice {
        bound_by: vec![trigger.when.citation.clone()],
        ..Choice::hold(Reason::TriggerLacks { when, lacks })
    })
}
