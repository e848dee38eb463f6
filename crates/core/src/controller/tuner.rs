//! One pool over time: its window, what its policy has learnt, and the trial that may be open.

use super::chain::Chains;
use super::trial::{Stage, Trial, value, workers};
use crate::decision::Step;
use crate::guard::{self, Bounds, Context, Permitted};
use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::observation::Receipt;
use crate::policy::follow::Follow;
use crate::policy::{Claim, Policy, Proposal, Purpose, Sight};
use crate::profile::Profile;
use crate::regime::{RegimeWatch, Seen, is_starved};
use crate::signal::{HostSignals, Load, Recent};
use crate::trigger::TriggerWatch;
use crate::window::{Keep, PoolDelta, Window};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Evidence, Expectation, Level, Reason,
    Regime, WindowFigures,
};
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::state::PoolState;
use trimtab_protocol::view::{ChangeCounts, DecisionRecord};

/// How much of the past at one size is shown as evidence: enough completions for a standard error of a few percent, but not
/// so much of the past that it is about another load.
const WINDOW: Keep = Keep {
    span: Span::from_secs(10),
    completed: 800,
    span_max: Span::from_secs(60),
};
/// Work has been waiting for so long that another pool's trial should make room.
const WAITING_MIN: Span = Span::from_ms(1_000);
/// Costs are counted within a minute.
pub(super) const MINUTE: Span = Span::from_secs(60);

/// What is decided about a pool in one tick.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) action: Action,
    pub(super) reason: Reason,
    pub(super) expectation: Option<Expectation>,
    pub(super) change: Option<ChangeSummary>,
    pub(super) bound_by: Vec<Citation>,
    pub(super) step: Option<Step>,
}

impl Choice {
    pub(super) fn hold(reason: Reason) -> Self {
        Self {
            action: Action::Hold,
            reason,
            expectation: None,
            change: None,
            bound_by: Vec::new(),
            step: None,
        }
    }
}

/// What a tick brings for one pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolTick<'a> {
    pub(super) now: Moment,
    pub(super) name: &'a PoolName,
    pub(super) pool: &'a PoolState,
    pub(super) delta: Result<&'a Arc<PoolDelta>, (&'static str, Absence)>,
    pub(super) profile: &'a Profile,
    pub(super) signals: &'a HostSignals,
    pub(super) receipts: &'a [Receipt],
    /// The time between two ticks.
    pub(super) interval: Span,
    /// Whether the sidecar has watched for long enough that a foreign change is one, and not what it found.
    pub(super) warm: bool,
    /// Whether an operator froze this sidecar.
    pub(super) frozen: bool,
}

impl PoolTick<'_> {
    /// Now, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.now.since(Moment::default()).as_secs_f64()
    }
}

/// One pool over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Tuner {
    pub(super) window: Window,
    pub(super) load: Load,
    pub(super) regime: Option<Regime>,
    pub(super) counts: ChangeCounts,
    pub(super) last_probe: Moment,
    pub(super) policy: Policy,
    pub(super) follow: Follow,
    pub(super) trial: Option<Trial>,
    /// A trial that was confirmed in the same tick in which the next was begun.
    pub(super) closing: Option<Trial>,
    pub(super) changes: Recent,
    pub(super) revision: Option<Revision>,
    /// The size that someone chose by hand since the start.
    pub(super) chosen: Option<u64>,
    /// The values of someone else are left alone until then.
    pub(super) yield_until: Moment,
    /// Nothing is tried until then, because the last trial was refused or proved nothing.
    pub(super) pause: Option<(Direction, Moment)>,
    pub(super) refusals: u32,
    /// What happened to the last trial without our doing; told once.
    pub(super) news: Option<Reason>,
    /// The pool follows another profile; told once.
    pub(super) new_profile: Option<Reason>,
    /// The last trial that was begun, by which one that the host applied late is known.
    pub(super) issued: Option<(Epoch, Generation)>,
    /// Whether such a trial is being undone.
    pub(super) reclaiming: bool,
    /// Why an open trial is to be undone at the next tick.
    pub(super) given_up: Option<Reason>,
    pub(super) watch: RegimeWatch,
    /// Which of the profile's triggers hold.
    pub(super) triggers: TriggerWatch,
    /// When a new step was last looked for.
    pub(super) looked: Moment,
    /// When memory last made a step down.
    pub(super) eased: Moment,
    /// Knobs that follow the load or a trigger and did harm, and until when each is left alone.
    pub(super) unfollowed: BTreeMap<KnobName, Moment>,
    /// Which way the last trigger moved the workers that was kept, until the policy has shown otherwise.
    pub(super) last_ruled: Option<Direction>,
    /// Ways in which a trigger moved the workers and did harm, and until when no trigger moves them that way.
    pub(super) unruled: BTreeMap<Direction, Moment>,
    /// What rules have moved, and what was served before.
    pub(super) chains: Chains,
    trials: Recent,
    /// What trials were predicted to cost, and when.
    costs: VecDeque<(Moment, f64)>,
    was_starved: bool,
}

impl Tuner {
    /// The goal of a pool in milliseconds. A goal at or beyond the timeout in force is met by every success.
    pub(super) fn slo_ms(pool: &PoolState, profile: &Profile) -> Option<u64> {
        let timeout = pool.knobs.get(KnobName::TIMEOUT_MS);
        let timeout = timeout.and_then(|knob| knob.value.as_integer());
        let slo = profile.slo_ms.as_ref().map(|slo| slo.value);
        slo.filter(|slo| timeout.is_none_or(|timeout| *slo < timeout))
    }

    /// Whether work has been waiting for workers for long enough to do something about it.
    pub(super) fn is_waiting(&self) -> bool {
        self.watch.starved_for() >= WAITING_MIN
    }

    /// Whether a trial is open, as far as is known.
    pub(super) fn is_probing(&self) -> bool {
        self.trial.is_some()
    }

    /// Another pool's trial has ended: what was measured meanwhile is about the two of them.
    pub(super) fn void_window(&mut self) {
        if self.trial.is_none() {
            self.window.clear();
        }
    }

    /// Forgets measurements after a gap; an open trial stays, for the host still has it.
    pub(super) fn forget_window(&mut self, now: Moment) {
        self.window.clear();
        self.watch.clear();
        self.triggers.clear();
        self.policy
            .forget_window(now.since(Moment::default()).as_secs_f64());
    }

    /// Takes in a tick: how an open trial fares, who changed what, and what limits the pool.
    pub(super) fn observe(&mut self, tick: &PoolTick<'_>) {
        self.reconcile(tick);
        let (Some(workers), Ok(delta)) = (workers(tick.pool), tick.delta) else {
            self.regime = Some(Regime::Blind);
            self.window.clear();
            self.policy.forget_window(tick.seconds());
            // What the pool does is unknown now, and that is a pause for the conditions that name it.
            self.notice_triggers(tick);
            return;
        };
        let starved = is_starved(delta, workers);
        let cpu_share = tick.signals.cpu_share();
        let (busy, levels) = ((delta.busy(), workers), &tick.profile.levels);
        self.load.add(busy, cpu_share, delta.span, starved, levels);
        let seen = Seen {
            delta,
            workers,
            signals: tick.signals,
            load: self.load.mean(),
            dispersion: self.policy.dispersion(),
            growth_rests: self.policy.growth_rests(tick.seconds()),
        };
        self.regime = Some(self.watch.classify(tick.now, &seen));
        let sized = self
            .trial
            .as_ref()
            .filter(|trial| trial.knob.as_str() == KnobName::WORKERS);
        let claim = sized.map(|trial| trial.claim);
        if let Some(sight) = self.sight(tick, claim.as_ref()) {
            self.policy.notice(&sight);
        }
        self.follow
            .notice(delta, value(tick.pool, KnobName::TIMEOUT_MS));
        if std::mem::replace(&mut self.was_starved, starved) != starved {
            // What a pool does while work waits is its capacity; what it does otherwise is the load. They do not mix.
            self.window.clear();
        }
        if self.policy.is_clean() && self.trial.is_none() {
            self.window.add(Arc::clone(delta), WINDOW);
        }
        self.notice_triggers(tick);
    }

    /// What the policy looks at.
    pub(super) fn sight<'a>(
        &self,
        tick: &PoolTick<'a>,
        trial: Option<&'a Claim>,
    ) -> Option<Sight<'a>> {
        let knob = tick.pool.knobs.get(KnobName::WORKERS)?;
        let bounds = Bounds::of(knob, tick.profile);
        let baseline = knob.baseline.as_integer();
        let workers = knob.value.as_integer()?;
        let timeout_ms = value(tick.pool, KnobName::TIMEOUT_MS);
        let sent = self.trial.as_ref().is_some_and(|trial| {
            trial.knob.as_str() == KnobName::WORKERS && matches!(trial.stage, Stage::Sent { .. })
        });
        Some(Sight {
            now_s: tick.seconds(),
            workers,
            delta: tick.delta.ok()?,
            cores: tick.signals.quota_cores,
            cpu_share: tick.signals.cpu_share(),
            memory_share: tick.signals.memory_share,
            memory_share_max: guard::memory_share_max(tick.profile),
            slo_s: Self::slo_ms(tick.pool, tick.profile).map(|slo| fraction(slo) / 1e3),
            bounds: (bounds.min, bounds.max),
            home: self
                .chosen
                .or(baseline)
                .unwrap_or(workers)
                .clamp(bounds.min, bounds.max),
            start: tick
                .profile
                .workers
                .start
                .value
                .clamp(bounds.min, bounds.max),
            held: self.follow.held(timeout_ms),
            held_at_load: self.follow.held_at_load(timeout_ms),
            changes: self.changes.within(tick.now, MINUTE),
            trial,
            pending: sent,
            free: self.yield_until <= tick.now && tick.warm,
        })
    }

    /// Why nothing new may be begun in this pool now, before any policy is asked.
    pub(super) fn gate(&mut self, tick: &PoolTick<'_>) -> Option<Reason> {
        if let Some(news) = self.news.take().or_else(|| self.new_profile.take()) {
            return Some(news);
        }
        if let Err((missing, absence)) = tick.delta {
            return Some(Reason::Blind {
                missing: missing.to_owned(),
                absence,
            });
        }
        if let Some(dry) = self.watch.stuck_for(tick.now)
            && self.loosened_timeout(tick).is_none()
        {
            return Some(Reason::Stuck {
                seconds: dry.as_secs_f64(),
            });
        }
        if self.yield_until > tick.now {
            return Some(Reason::Yielding {
                seconds: self.yield_until.since(tick.now).as_secs_f64(),
            });
        }
        let (direction, until) = self.pause.filter(|(_, until)| *until > tick.now)?;
        Some(Reason::Resting {
            direction,
            seconds: until.since(tick.now).as_secs_f64(),
        })
    }

    /// Asks the policy and then the guard for the next step.
    pub(super) fn look_for_step(
        &mut self,
        tick: &PoolTick<'_>,
        probing: Option<&PoolName>,
    ) -> Result<(Proposal, Permitted), Box<Choice>> {
        let hold = |reason| Box::new(Choice::hold(reason));
        let Some(sight) = self.sight(tick, None) else {
            return Err(hold(Reason::NotOffered));
        };
        // The pool's own trial is about to end, or there is none.
        let sight = Sight {
            pending: false,
            ..sight
        };
        let (proposal, asked_by) = match (self.loosened_timeout(tick), self.step_down(tick)) {
            (Some(proposal), _) => (proposal, None),
            (None, Some((proposal, by))) => (proposal, Some(by)),
            (None, None) => match self.unchained(tick) {
                Some(proposal) => (proposal, None),
                None => self.propose(tick, &sight)?,
            },
        };
        let spent = self
            .costs
            .iter()
            .filter(|(at, _)| tick.now.since(*at) < MINUTE);
        let context = Context {
            now: tick.now,
            name: tick.name,
            pool: tick.pool,
            profile: tick.profile,
            level: self.load.level(),
            load: self.load.mean().unwrap_or(0.0),
            signals: tick.signals,
            trials: &self.trials,
            changes: &self.changes,
            spent_s: spent.map(|(_, cost_s)| cost_s).sum(),
            footprint: self.policy.footprint(),
            probing: probing.filter(|pool| *pool != tick.name),
        };
        match guard::review(&proposal, &context) {
            Ok(permitted) => Ok((proposal, permitted.asked_by(asked_by))),
            Err(veto) => Err(Box::new(Choice {
                bound_by: veto.bound_by,
                ..Choice::hold(veto.reason)
            })),
        }
    }

    /// Asks the policy; where it holds, the profile's triggers; and where they have nothing either, whether another knob is to
    /// follow the load. With the line that asks, if one does.
    fn propose(
        &mut self,
        tick: &PoolTick<'_>,
        sight: &Sight<'_>,
    ) -> Result<(Proposal, Option<Citation>), Box<Choice>> {
        if let Some(choice) = self.pace(tick) {
            return Err(Box::new(choice));
        }
        let idle = self.regime == Some(Regime::Idle);
        match self.policy.propose(sight) {
            Ok(proposal) => {
                let start = &tick.profile.workers.start;
                let first = self.policy.goes_to_start(sight, &proposal);
                Ok((proposal, first.then(|| start.citation.clone())))
            }
            Err(reason) => {
                let held = match reason {
                    Reason::Ample if idle => Reason::Idle,
                    other => other,
                };
                match self.by_trigger(tick, held.clone()) {
                    Ok((proposal, by)) => Ok((proposal, Some(by))),
                    Err(choice) => match self.follow_up(tick, held) {
                        Ok(proposal) => Ok((proposal, None)),
                        Err(_) => Err(choice),
                    },
                }
            }
        }
    }

    /// Begins the trial of a permitted step. One that is being confirmed in this very tick makes room for it.
    pub(super) fn begin(
        &mut self,
        tick: &PoolTick<'_>,
        (proposal, permitted): (Proposal, &Permitted),
        (epoch, generation): (Epoch, Generation),
    ) -> Choice {
        self.close();
        let size = workers(tick.pool).unwrap_or_default();
        let slo_ms = Self::slo_ms(tick.pool, tick.profile);
        let figures = self.window.figures(size, slo_ms).unwrap_or_default();
        self.window.clear();
        let (knob, from, to) = (
            permitted.knob().clone(),
            permitted.from(),
            permitted.value(),
        );
        let Some(sight) = self.sight(tick, None) else {
            return Choice::hold(Reason::NotOffered);
        };
        let claim = if knob.as_str() == KnobName::WORKERS {
            self.policy.begin(&sight, &proposal, to)
        } else {
            self.policy.begin_following(&sight, proposal.purpose)
        };
        let expected = (proposal.direction, proposal.expectation.clone());
        let trial = Trial::new(permitted, (epoch, generation), expected, (claim, figures));
        let mut trial = trial.beside(tick.pool);
        trial.ruled = matches!(proposal.reason, Reason::Triggered { .. });
        let sentence = format!("try {knob} {to} instead of {from}");
        let trial_ms = super::trial::trial_ms(tick.interval);
        let plan = permitted.plan(epoch, generation, trial_ms, sentence);
        self.issued = Some((epoch, generation));
        if proposal.purpose != Purpose::Return {
            self.trials.note(tick.now);
        }
        self.changes.note(tick.now);
        self.note_cost(tick.now, proposal.cost_s);
        self.counts.made += 1;
        self.last_probe = tick.now;
        let choice = Choice {
            action: Action::Try,
            reason: proposal.reason,
            expectation: Some(proposal.expectation),
            change: Some(trial.change.clone()),
            bound_by: trial.bound_by.clone(),
            step: Some(Step::Try(plan)),
        };
        self.trial = Some(trial);
        choice
    }

    /// The open trial is being confirmed and the next one begins in the same tick.
    fn close(&mut self) {
        self.closing = self.trial.take();
        if let Some(closing) = &mut self.closing {
            self.counts.kept += 1;
            self.refusals = 0;
            self.window = std::mem::take(&mut closing.window);
        }
    }

    fn note_cost(&mut self, now: Moment, cost_s: f64) {
        self.costs.retain(|(at, _)| now.since(*at) < MINUTE);
        if cost_s > 0.0 {
            self.costs.push_back((now, cost_s));
        }
    }

    /// What a decision stands on: the window now, the one before an open trial, CPU and memory.
    pub(super) fn evidence(
        &self,
        pool: &PoolState,
        profile: &Profile,
        signals: &HostSignals,
    ) -> Evidence {
        let slo_ms = Self::slo_ms(pool, profile);
        let (now, before) = match &self.trial {
            Some(trial) if matches!(trial.stage, Stage::Sent { .. }) => {
                (Some(trial.before_figures.clone()), None)
            }
            Some(trial) => (
                trial.window.figures(workers(pool).unwrap_or(0), slo_ms),
                Some(trial.before_figures.clone()),
            ),
            None => (
                self.window.figures(workers(pool).unwrap_or(0), slo_ms),
                None,
            ),
        };
        // A window that was just cleared measured nothing, which is not zero.
        let measured = |window: &WindowFigures| window.seconds > 0.0;
        Evidence {
            now: now.filter(measured),
            before: before.filter(measured),
            cpu_share: signals.cpu_share(),
            memory_share: signals.memory_share,
        }
    }

    /// The record of a choice.
    pub(super) fn record(&self, choice: Choice, tick: &PoolTick<'_>) -> DecisionRecord {
        DecisionRecord {
            action: choice.action,
            reason: choice.reason,
            regime: self.regime.unwrap_or(Regime::Blind),
            level: self.level(),
            load: self.load.mean(),
            profile: tick.profile.name.clone(),
            evidence: self.evidence(tick.pool, tick.profile, tick.signals),
            expectation: choice.expectation,
            change: choice.change,
            bound_by: choice.bound_by,
        }
    }

    fn level(&self) -> Level {
        self.load.level()
    }
}
