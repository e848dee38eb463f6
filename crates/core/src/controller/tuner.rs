//! One pool over time: its windows, its memory of past trials, and the trial that may be open.

use super::trial::{Fate, Sight, Stage, Trial, workers};
use crate::decision::{Step, TrialId};
use crate::guard::{self, Context, Permitted};
use crate::moment::{Moment, Span};
use crate::observation::Receipt;
use crate::policy::{Memory, Proposal, Situation, propose};
use crate::profile::Profile;
use crate::regime::{RegimeWatch, Seen, is_starved};
use crate::signal::{HostSignals, Load, Recent, level_ratio_bp};
use crate::window::{PoolDelta, Window};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Evidence, Expectation, Level, Reason,
    Regime,
};
use trimtab_protocol::name::{Epoch, Generation, PoolName, Revision};
use trimtab_protocol::state::PoolState;
use trimtab_protocol::view::{ChangeCounts, DecisionRecord};

/// How much of the past at one size is kept to compare with: long enough for 30 completions of a slow pool, short enough
/// to be about the present load.
const WINDOW: Span = Span::from_secs(10);
/// Work must have been waiting for this long before something is tried: a trial takes seconds and is the only one that the
/// host has at a time, which is too much for a burst.
const STARVED_MIN: Span = Span::from_ms(1_000);
/// How long the values of someone else are left alone.
const YIELD: Span = Span::from_secs(60);
/// How long nothing is asked after a refusal; it doubles each time up to [`REFUSED_MAX`].
const REFUSED_MIN: Span = Span::from_secs(5);
const REFUSED_MAX: Span = Span::from_secs(60);

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
    /// Whether the sidecar has watched for long enough that a foreign change is one, and not what it found.
    pub(super) warm: bool,
}

/// One pool over time.
#[derive(Clone, Debug)]
pub(super) struct Tuner {
    pub(super) window: Window,
    pub(super) load: Load,
    pub(super) regime: Regime,
    pub(super) counts: ChangeCounts,
    pub(super) last_probe: Moment,
    watch: RegimeWatch,
    memory: Memory,
    trial: Option<Trial>,
    trials: Recent,
    changes: Recent,
    revision: Option<Revision>,
    yield_until: Moment,
    refused_until: Moment,
    refusals: u32,
    /// What happened to the last trial without our doing; told once.
    news: Option<Reason>,
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
            refused_until: Moment::default(),
            refusals: 0,
            news: None,
        }
    }
}

impl Tuner {
    /// The goal of a pool in milliseconds: the profile's, else the timeout in force.
    pub(super) fn slo_ms(pool: &PoolState, profile: &Profile) -> Option<u64> {
        use trimtab_protocol::name::KnobName;
        let timeout = || pool.knobs.get(KnobName::TIMEOUT_MS)?.value.as_integer();
        profile
            .slo_ms
            .as_ref()
            .map(|slo| slo.value)
            .or_else(timeout)
    }

    /// Whether work has been waiting for workers for long enough to do something about it.
    pub(super) fn is_waiting(&self) -> bool {
        self.watch.starved_for() >= STARVED_MIN
    }

    /// Whether a trial is open, as far as is known.
    pub(super) fn is_probing(&self) -> bool {
        self.trial.is_some()
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
        if self.regime != Regime::Stuck && self.trial.is_none() {
            self.window.add(delta.clone(), WINDOW);
        }
    }

    fn reconcile(&mut self, tick: &PoolTick<'_>) {
        let fate = match &mut self.trial {
            Some(trial) => trial.reconcile(tick.now, tick.name, tick.pool, tick.receipts),
            None => return self.notice_foreign_change(tick),
        };
        match fate {
            Fate::Open => {
                self.revision = Some(tick.pool.revision.max(self.revision.unwrap_or_default()))
            }
            Fate::Refused(reason) => self.refused(tick.now, reason),
            Fate::Ended(status, revision) => {
                self.revision = Some(revision.max(tick.pool.revision));
                self.ended(tick.now, status);
            }
        }
    }

    /// Someone else changed the pool: their values are taken as they are and left alone for a while.
    fn notice_foreign_change(&mut self, tick: &PoolTick<'_>) {
        let known = self
            .revision
            .replace(tick.pool.revision.max(self.revision.unwrap_or_default()));
        if known.is_some_and(|known| tick.pool.revision > known) {
            self.window.clear();
            self.memory.clear();
            if tick.warm {
                self.yield_until = tick.now.after(YIELD);
            }
        }
    }

    fn refused(&mut self, now: Moment, reason: Reason) {
        self.trial = None;
        self.counts.refused += 1;
        let wait = REFUSED_MIN
            .as_ns()
            .saturating_mul(1 << self.refusals.min(8))
            .min(REFUSED_MAX.as_ns());
        self.refusals = self.refusals.saturating_add(1);
        self.refused_until = now.after(Span::from_ns(wait));
        self.news = Some(reason);
        self.window.clear();
    }

    fn ended(&mut self, now: Moment, status: ChangeStatus) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        self.refusals = 0;
        self.window.clear();
        match status {
            ChangeStatus::Confirmed => {
                self.counts.kept += 1;
                self.memory.paid(trial.direction, now);
                // The trial's own window is at the size now in force, so the next comparison may begin with it.
                self.window = trial.window;
                return;
            }
            ChangeStatus::RolledBack | ChangeStatus::Expired | ChangeStatus::Trial => {
                self.counts.rolled_back += 1;
                self.changes.note(now);
                self.memory.did_not_pay(trial.direction, now);
            }
            ChangeStatus::Superseded => {
                self.counts.rolled_back += 1;
                self.memory.clear();
                self.yield_until = now.after(YIELD);
            }
        }
        let ours = matches!(
            trial.stage,
            Stage::Ending {
                action: Action::RollBack,
                ..
            }
        );
        if !ours || status == ChangeStatus::Superseded {
            self.news = Some(Reason::TrialEnded { status });
        }
    }

    /// Decides about an open trial, which comes before anything else; nothing when none is open.
    /// `contended` says that another pool waits for workers meanwhile.
    pub(super) fn decide_trial(&mut self, tick: &PoolTick<'_>, contended: bool) -> Option<Choice> {
        let regime = self.regime;
        let stuck_for = self.watch.stuck_for(tick.now);
        let slo_ms = Self::slo_ms(tick.pool, tick.profile);
        let trial = self.trial.as_mut()?;
        let starved = tick.delta.is_ok_and(|delta| is_starved(delta, trial.to));
        let measuring = matches!(trial.stage, Stage::Measuring | Stage::Settling { .. });
        let (action, reason) = match (regime, stuck_for) {
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
        if let Some(news) = self.news.take() {
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
        let wait_until = self.yield_until.max(self.refused_until);
        if wait_until > tick.now {
            return Some(Reason::Yielding {
                seconds: wait_until.since(tick.now).as_secs_f64(),
            });
        }
        None
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
        let plan = permitted.plan(epoch, generation, super::trial::TRIAL_MS, sentence);
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
