//! One pool over time: its windows, its memory of past trials, and the trial that may be open.

use super::trial::{Sight, Stage, Trial, workers};
use crate::decision::{Step, TrialId};
use crate::guard::{self, Context, Permitted};
use crate::moment::{Moment, Span};
use crate::observation::Receipt;
use crate::policy::{Memory, Proposal, Situation, propose};
use crate::profile::Profile;
use crate::regime::{RegimeWatch, Seen, is_starved};
use crate::signal::{HostSignals, Load, Recent, level_ratio_bp};
use crate::window::{Keep, PoolDelta, Window};
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Evidence, Expectation, Level, Reason,
    Regime,
};
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::state::PoolState;
use trimtab_protocol::view::{ChangeCounts, DecisionRecord};

/// How much of the past at one size is kept to compare with: enough completions for a standard error of a few percent, but
/// not so much of the past that it is about another load.
const WINDOW: Keep = Keep {
    span: Span::from_secs(10),
    completed: 800,
    span_max: Span::from_secs(60),
};
/// Work must have been waiting for this long before something is tried: a trial takes seconds and is the only one that the
/// host has at a time, which is too much for a burst.
const STARVED_MIN: Span = Span::from_ms(1_000);
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
    pub(super) delta: Result<&'a PoolDelta, (&'static str, Absence)>,
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

/// One pool over time.
#[derive(Clone, Debug)]
pub(super) struct Tuner {
    pub(super) window: Window,
    pub(super) load: Load,
    pub(super) regime: Regime,
    pub(super) counts: ChangeCounts,
    pub(super) last_probe: Moment,
    pub(super) memory: Memory,
    pub(super) trial: Option<Trial>,
    pub(super) changes: Recent,
    pub(super) revision: Option<Revision>,
    /// The values of someone else are left alone until then.
    pub(super) yield_until: Moment,
    /// Nothing is tried until then, because the last trial was refused or proved nothing.
    pub(super) pause: Option<(Direction, Moment)>,
    pub(super) refusals: u32,
    /// What happened to the last trial without our doing; told once.
    pub(super) news: Option<Reason>,
    /// The pool follows another profile; told once.
    pub(super) new_profile: Option<Reason>,
    /// Completions that must still pass before the pool shows its values again and not those of a trial that was undone.
    pub(super) leftover: u64,
    /// The last trial that was begun, by which one that the host applied late is known.
    pub(super) issued: Option<(Epoch, Generation)>,
    /// Whether such a trial is being undone.
    pub(super) reclaiming: bool,
    watch: RegimeWatch,
    trials: Recent,
    was_starved: bool,
}

impl Default for Tuner {
    fn default() -> Self {
        Self {
            window: Window::default(),
            load: Load::default(),
            regime: Regime::Blind,
            counts: ChangeCounts::default(),
            last_probe: Moment::default(),
            watch: RegimeWatch::default(),
            memory: Memory::default(),
            trial: None,
            trials: Recent::default(),
            changes: Recent::default(),
            revision: None,
            yield_until: Moment::default(),
            pause: None,
            refusals: 0,
            news: None,
            new_profile: None,
            leftover: 0,
            issued: None,
            reclaiming: false,
            was_starved: false,
        }
    }
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
        self.watch.starved_for() >= STARVED_MIN
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
    pub(super) fn forget_window(&mut self) {
        self.window.clear();
        self.watch.clear();
    }

    /// Takes in a tick: how an open trial fares, who changed what, and what limits the pool.
    pub(super) fn observe(&mut self, tick: &PoolTick<'_>) {
        self.reconcile(tick);
        let Some(workers) = workers(tick.pool) else {
            self.regime = Regime::Blind;
            return;
        };
        let Ok(delta) = tick.delta else {
            self.regime = Regime::Blind;
            self.window.clear();
            return;
        };
        self.load
            .add(delta.busy(), workers, tick.signals.cpu_share(), delta.span);
        let seen = Seen {
            delta,
            workers,
            signals: tick.signals,
            load: self.load.mean(),
            growth_rests: self.memory.resting(Direction::Up, tick.now).is_some(),
        };
        self.regime = self.watch.classify(tick.now, &seen);
        self.memory.notice(delta, workers, tick.now);
        self.keep(tick, delta, workers);
    }

    /// Adds the tick to the window, unless it shows something else than the pool at its present size under its present need.
    fn keep(&mut self, tick: &PoolTick<'_>, delta: &PoolDelta, workers: u64) {
        let starved = is_starved(delta, workers);
        if std::mem::replace(&mut self.was_starved, starved) != starved {
            // What a pool does while work waits is its capacity; what it does otherwise is the load. They do not mix.
            self.window.clear();
        }
        if self.leftover > 0 || tick.pool.settling {
            self.leftover = self.leftover.saturating_sub(delta.completed);
            return;
        }
        if self.regime != Regime::Stuck && self.trial.is_none() {
            self.window.add(delta.clone(), WINDOW);
        }
    }

    /// Decides about an open trial, which comes before anything else; nothing when none is open.
    /// `contended` says that another pool waits for workers meanwhile.
    pub(super) fn decide_trial(&mut self, tick: &PoolTick<'_>, contended: bool) -> Option<Choice> {
        let regime = self.regime;
        let stuck_for = self.watch.stuck_for(tick.now);
        let slo_ms = Self::slo_ms(tick.pool, tick.profile);
        if self.trial.is_none() {
            return self.reclaim(tick);
        }
        let trial = self.trial.as_mut()?;
        let starved = tick.delta.is_ok_and(|delta| is_starved(delta, trial.to));
        let measuring = matches!(trial.stage, Stage::Measuring | Stage::Settling { .. });
        let (action, reason) = match (regime, stuck_for) {
            _ if tick.frozen => trial.end(Action::RollBack, Reason::Frozen),
            (Regime::Stuck, Some(dry)) if measuring => trial.end(
                Action::RollBack,
                Reason::Stuck {
                    seconds: dry.as_secs_f64(),
                },
            ),
            (Regime::MemoryRisk, _) if measuring && trial.direction == Direction::Up => {
                let predicted_share = tick.signals.memory_share.unwrap_or(1.0);
                let allowed_share = guard::MEMORY_SHARE_MAX;
                trial.end(
                    Action::RollBack,
                    Reason::MemoryForbids {
                        predicted_share,
                        allowed_share,
                    },
                )
            }
            _ => trial.advance(
                tick.now,
                tick.pool,
                tick.delta.map_err(|(_, absence)| absence),
                Sight {
                    starved,
                    contended,
                    slo_ms,
                },
            ),
        };
        Some(trial_choice(tick.name, trial, action, reason))
    }

    /// The host cannot be read: an open trial is undone once that has lasted.
    pub(super) fn decide_blind(&mut self, name: &PoolName, absence: Absence) -> Option<Choice> {
        self.regime = Regime::Blind;
        let trial = self.trial.as_mut()?;
        let (action, reason) = trial.blind(absence);
        Some(trial_choice(name, trial, action, reason))
    }

    /// The sidecar ends: an open trial is not left behind.
    pub(super) fn decide_shutdown(&mut self, name: &PoolName) -> Option<Choice> {
        let trial = self.trial.as_mut()?;
        let (action, reason) = trial.end(Action::RollBack, Reason::ShuttingDown);
        Some(trial_choice(name, trial, action, reason))
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
        if let Some(dry) = self.watch.stuck_for(tick.now) {
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
        &self,
        tick: &PoolTick<'_>,
        probing: Option<&PoolName>,
    ) -> Result<(Proposal, Permitted), Box<Choice>> {
        let hold = |reason| Box::new(Choice::hold(reason));
        let Some(workers) = workers(tick.pool) else {
            return Err(hold(Reason::NotOffered));
        };
        let slo_ms = Self::slo_ms(tick.pool, tick.profile);
        let Some(figures) = self.window.figures(workers, slo_ms) else {
            return Err(hold(Reason::Settling));
        };
        let situation = Situation {
            now: tick.now,
            regime: self.regime,
            window: &figures,
            workers,
            ratio_bp: level_ratio_bp(self.load.level()),
            cpu_share: tick.signals.cpu_share(),
            profile: tick.profile,
        };
        let proposal = propose(&situation, &self.memory).map_err(hold)?;
        let seen = self.window.span().min(self.watch.starved_for());
        if seen < STARVED_MIN {
            let (seconds, needed_s) = (seen.as_secs_f64(), STARVED_MIN.as_secs_f64());
            return Err(hold(Reason::Watching { seconds, needed_s }));
        }
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
            probing,
        };
        match guard::review(&proposal, &context) {
            Ok(permitted) => Ok((proposal, permitted)),
            Err(veto) => Err(Box::new(Choice {
                bound_by: veto.bound_by,
                ..Choice::hold(veto.reason)
            })),
        }
    }

    /// Begins the trial of a permitted step.
    pub(super) fn begin(
        &mut self,
        tick: &PoolTick<'_>,
        (proposal, permitted): (Proposal, &Permitted),
        (epoch, generation): (Epoch, Generation),
    ) -> Choice {
        let from = workers(tick.pool).unwrap_or_default();
        let figures = self
            .window
            .figures(from, Self::slo_ms(tick.pool, tick.profile))
            .unwrap_or_default();
        let before = (from, std::mem::take(&mut self.window), figures);
        let expected = (proposal.direction, proposal.expectation.clone());
        let trial = Trial::new(permitted, (epoch, generation), expected, before);
        let sentence = format!("try {} workers instead of {from}", permitted.workers());
        let trial_ms = super::trial::trial_ms(tick.interval);
        let plan = permitted.plan(epoch, generation, trial_ms, sentence);
        self.issued = Some((epoch, generation));
        self.trials.note(tick.now);
        self.changes.note(tick.now);
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
                trial.window.figures(trial.to, slo_ms),
                Some(trial.before_figures.clone()),
            ),
            None => (
                self.window.figures(workers(pool).unwrap_or(0), slo_ms),
                None,
            ),
        };
        Evidence {
            now,
            before,
            cpu_share: signals.cpu_share(),
            memory_share: signals.memory_share,
        }
    }

    /// The record of a choice.
    pub(super) fn record(&self, choice: &Choice, tick: &PoolTick<'_>) -> DecisionRecord {
        DecisionRecord {
            action: choice.action,
            reason: choice.reason.clone(),
            regime: self.regime,
            level: self.level(),
            load: self.load.mean(),
            profile: tick.profile.name.clone(),
            evidence: self.evidence(tick.pool, tick.profile, tick.signals),
            expectation: choice.expectation.clone(),
            change: choice.change.clone(),
            bound_by: choice.bound_by.clone(),
        }
    }

    fn level(&self) -> Level {
        self.load.level()
    }
}

fn trial_choice(name: &PoolName, trial: &Trial, action: Action, reason: Reason) -> Choice {
    let id = TrialId {
        pool: name.clone(),
        epoch: trial.epoch,
        generation: trial.generation,
    };
    let step = match action {
        Action::Confirm => Some(Step::Confirm(id)),
        Action::RollBack => Some(Step::RollBack(id)),
        Action::Hold | Action::Try | Action::Advise => None,
    };
    Choice {
        action,
        reason,
        expectation: Some(trial.expectation.clone()),
        change: Some(trial.change.clone()),
        bound_by: trial.bound_by.clone(),
        step,
    }
}
