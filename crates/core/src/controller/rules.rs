//! What the profile says by itself: its triggers, its pace, and the last step of its memory ladder.
//!
//! A trigger is asked when the policy has nothing to try. What it proposes passes the same guard and the same proof as every
//! other step: growth must gain, and a shrink must not lose. The last step of the ladder comes before the policy and needs no
//! proof, for memory that runs out ends all work.

use super::tuner::{Choice, PoolTick, Tuner};
use crate::expression::{Signal, SignalSet};
use crate::guard::Bounds;
use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::policy::{Proposal, Purpose};
use crate::profile::{Trigger, TriggerAction};
use crate::trigger::Lack;
use trimtab_protocol::decision::{
    Citation, Direction, Expectation, Reason, Regime, TriggerLack, WindowFigures,
};
use trimtab_protocol::name::KnobName;

/// How long a step down has to give memory back before the next one.
const EASE: Span = Span::from_secs(10);

/// A proposal and the line of the profile that asks for it.
pub(super) type Ruled = (Proposal, Citation);

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
        let proposal = self.ruled(tick, fewer, Purpose::Return, reason);
        Some((proposal, limit.citation.clone()))
    }

    /// What the profile's triggers propose where the policy holds, or else why it holds.
    pub(super) fn by_trigger(
        &self,
        tick: &PoolTick<'_>,
        held: Reason,
    ) -> Result<Ruled, Box<Choice>> {
        let mut lacking = None;
        let signals = self.signals(tick);
        let completed = self.window.completed();
        let triggers = &tick.profile.triggers;
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

    /// The step that a trigger asks for; nothing when it is about another knob or its direction rests.
    fn followed(&self, tick: &PoolTick<'_>, trigger: &Trigger) -> Option<Proposal> {
        let workers = super::trial::workers(tick.pool)?;
        let (to, purpose) = match trigger.action.value {
            // The level shortens it to what may change at once.
            // Where nothing waits there is nothing that a growth could prove.
            TriggerAction::Grow
                if self.work_waits(tick) && !self.policy.growth_rests(tick.seconds()) =>
            {
                (workers.saturating_mul(2), Purpose::Predict)
            }
            TriggerAction::Shrink if !self.policy.shrink_rests(tick.seconds()) => {
                (workers.div_ceil(2), Purpose::Relax)
            }
            TriggerAction::Grow | TriggerAction::Shrink | TriggerAction::Set { .. } => return None,
        };
        let reason = Reason::Triggered {
            when: trigger.when.value.text().to_owned(),
            because: trigger.because.clone(),
        };
        (to != workers).then(|| self.ruled(tick, to, purpose, reason))
    }

    fn work_waits(&self, tick: &PoolTick<'_>) -> bool {
        let figures = self.figures(tick);
        figures.is_some_and(|figures| figures.queued >= 1.0 || figures.lost_per_s > 0.0)
    }

    /// Why the pool is left as it is: where work waits and the pool is as large as it may be, that is why.
    fn held(&self, tick: &PoolTick<'_>, reason: Reason) -> Choice {
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

    fn ruled(
        &self,
        tick: &PoolTick<'_>,
        workers: u64,
        purpose: Purpose,
        reason: Reason,
    ) -> Proposal {
        let now = super::trial::workers(tick.pool).unwrap_or_default();
        let figures = self.figures(tick).unwrap_or_default();
        let direction = if workers > now {
            Direction::Up
        } else {
            Direction::Down
        };
        Proposal {
            knob: KnobName::WORKERS,
            value: workers,
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

    fn figures(&self, tick: &PoolTick<'_>) -> Option<WindowFigures> {
        let workers = super::trial::workers(tick.pool)?;
        self.window
            .figures(workers, Self::slo_ms(tick.pool, tick.profile))
    }

    /// The figures that a condition may name; what is not there is absent.
    fn signals(&self, tick: &PoolTick<'_>) -> SignalSet {
        let mut set = SignalSet::default();
        let host = tick.signals;
        let count = |value: Option<u64>| value.map(fraction);
        let knob = |name: &str| {
            let knob = tick.pool.knobs.get(name)?;
            knob.value.as_integer().map(fraction)
        };
        let timeout = knob(KnobName::TIMEOUT_MS).map(|ms| ms / 1e3);
        let slo = Self::slo_ms(tick.pool, tick.profile);
        let slo = slo.map(|ms| fraction(ms) / 1e3).or(timeout);
        for (signal, value) in [
            (Signal::Cpu, host.cpu_share()),
            (Signal::Throttled, host.throttled_share),
            (Signal::CpuPressure, host.cpu_pressure),
            (Signal::Memory, host.memory_share),
            (Signal::MemoryPressure, host.memory_pressure),
            (Signal::Rss, count(host.rss_bytes)),
            (Signal::Tasks, count(host.tasks)),
            (Signal::Threads, count(host.threads)),
            (Signal::Load, self.load.mean()),
            (Signal::Workers, knob(KnobName::WORKERS)),
            (Signal::QueueLimit, knob(KnobName::QUEUE_LIMIT)),
            (Signal::Timeout, timeout),
            (Signal::Slo, slo),
        ] {
            set.set(signal, value);
        }
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
