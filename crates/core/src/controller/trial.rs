//! One trial from the moment it is sent until the host's state shows how it ended.

use crate::guard::Permitted;
use crate::moment::{Moment, Span};
use crate::number::fraction;
use crate::observation::{Answer, Receipt};
use crate::policy::COMPLETIONS_MIN;
use crate::policy::proof::{Finding, Side, compare};
use crate::window::{Keep, PoolDelta, Window};
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, Phase, TRIAL_MS_MAX, TRIAL_MS_MIN};
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Expectation, Reason, WindowFigures,
};
use trimtab_protocol::name::{Epoch, Generation, KnobName, PoolName, Revision};
use trimtab_protocol::problem::Problem;
use trimtab_protocol::state::PoolState;

/// How long the host keeps a trial without a confirmation, in milliseconds: the longest settling and measuring, and some
/// ticks for lost answers. Before that the lease ends it if the sidecar is gone.
pub(super) fn trial_ms(interval: Span) -> u64 {
    let ticks = interval.as_ms().saturating_mul(6);
    (SETTLE_MAX.as_ms() + MEASURE_MAX_MS + 10_000 + ticks).clamp(TRIAL_MS_MIN, TRIAL_MS_MAX)
}

/// Ticks for which a sent change may be neither answered nor seen.
const UNSEEN_TICKS_MAX: u32 = 3;
/// Ticks without figures after which a trial is undone: one lost reading is ordinary, two are a reason.
const BLIND_TICKS_MAX: u32 = 2;
/// The longest time for old work to leave a pool after a change.
const SETTLE_MAX: Span = Span::from_secs(10);
/// Completions that resolve a difference of 5 % at a dispersion of 1: the standard error of comparing two such windows.
const COMPLETIONS_FOR_LAST_LOOK: f64 = 800.0;
/// The shortest and the longest measuring before the last look, where enough completions come.
const MEASURE_SECONDS: (f64, f64) = (3.0, 20.0);
/// The longest measuring at all, for pools in which few jobs end.
const MEASURE_MAX_MS: u64 = 60_000;

/// How far a trial has come.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Sent; not yet answered or seen.
    Sent { unseen_ticks: u32 },
    /// In force; work from before is still leaving the pool.
    Settling { since: Moment, completed: u64 },
    /// In force and measured.
    Measuring,
    /// Confirmed or undone by us; not yet answered or seen.
    Ending { action: Action, reason: Reason },
}

/// An open trial.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) generation: Generation,
    pub(super) epoch: Epoch,
    pub(super) direction: Direction,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) change: ChangeSummary,
    pub(super) bound_by: Vec<Citation>,
    pub(super) expectation: Expectation,
    pub(super) before: Window,
    pub(super) before_figures: WindowFigures,
    pub(super) window: Window,
    pub(super) stage: Stage,
    blind_ticks: u32,
}

/// What else is seen while a trial is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// Whether work waits for workers in this pool.
    pub(super) starved: bool,
    /// Whether it does in another.
    pub(super) contended: bool,
    /// The goal, in milliseconds.
    pub(super) slo_ms: Option<u64>,
}

/// What the host's answers and state say of a trial.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fate {
    /// It goes on.
    Open,
    /// The host never took it.
    Refused(Reason),
    /// It ended; the pool's revision is at least this.
    Ended(ChangeStatus, Revision),
}

impl Trial {
    pub(super) fn new(
        permitted: &Permitted,
        (epoch, generation): (Epoch, Generation),
        (direction, expectation): (Direction, Expectation),
        (from, before, before_figures): (u64, Window, WindowFigures),
    ) -> Self {
        Self {
            generation,
            epoch,
            direction,
            from,
            to: permitted.workers(),
            change: permitted.summary(Some(generation)),
            bound_by: permitted.bound_by().to_vec(),
            expectation,
            before,
            before_figures,
            window: Window::default(),
            stage: Stage::Sent { unseen_ticks: 0 },
            blind_ticks: 0,
        }
    }

    /// What the receipts and the state of this tick say of it.
    pub(super) fn reconcile(
        &mut self,
        now: Moment,
        name: &PoolName,
        pool: &PoolState,
        receipts: &[Receipt],
    ) -> Fate {
        for receipt in receipts {
            if let Receipt::Change {
                action,
                pool,
                generation,
                answer,
            } = receipt
                && pool == name
                && *generation == self.generation
                && let Some(fate) = self.hear(now, *action, answer)
            {
                return fate;
            }
        }
        self.look(now, pool)
    }

    fn hear(
        &mut self,
        now: Moment,
        action: Action,
        answer: &Answer<ChangeReceipt>,
    ) -> Option<Fate> {
        match (answer, action) {
            (Answer::Done { value }, _) if value.status != ChangeStatus::Trial => {
                Some(Fate::Ended(value.status, value.revision))
            }
            (Answer::Done { .. }, _) => {
                self.begin_settling(now);
                None
            }
            (Answer::Refused { problem }, Action::Try) => Some(Fate::Refused(refused(problem))),
            (Answer::NotSent, Action::Try) => Some(Fate::Refused(Reason::NotSent)),
            // A refused or lost end is settled by what the state shows.
            (Answer::Refused { .. } | Answer::NotSent | Answer::Lost { .. }, _) => None,
        }
    }

    fn look(&mut self, now: Moment, pool: &PoolState) -> Fate {
        if pool
            .trial
            .as_ref()
            .is_some_and(|trial| trial.generation == self.generation)
        {
            self.begin_settling(now);
            return Fate::Open;
        }
        match &mut self.stage {
            Stage::Sent { unseen_ticks } if *unseen_ticks < UNSEEN_TICKS_MAX => {
                *unseen_ticks += 1;
                Fate::Open
            }
            Stage::Sent { .. } => Fate::Refused(Reason::AnswerLost {
                absence: Absence::TimedOut,
            }),
            // A state that was read before the change was applied cannot show it yet.
            Stage::Settling { since, .. }
                if pool.generation < self.generation && now.since(*since) < SETTLE_MAX =>
            {
                Fate::Open
            }
            Stage::Settling { .. } | Stage::Measuring | Stage::Ending { .. } => self.ended(pool),
        }
    }

    /// The trial is no longer in the state: by the values that stand there, how did it end?
    fn ended(&self, pool: &PoolState) -> Fate {
        let workers = workers(pool);
        // A pool that is confirmed at its baseline shows the phase of the baseline.
        let confirmed = pool.phase != Phase::Trial
            && pool.generation == self.generation
            && workers == Some(self.to);
        let status = if confirmed {
            ChangeStatus::Confirmed
        } else if workers == Some(self.from) {
            ChangeStatus::Expired
        } else {
            ChangeStatus::Superseded
        };
        Fate::Ended(status, pool.revision)
    }

    fn begin_settling(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Sent { .. }) {
            self.stage = Stage::Settling {
                since: now,
                completed: 0,
            };
        }
    }

    /// Takes in a tick's figures and says what to do, if anything: confirm or roll back, and why.
    pub(super) fn advance(
        &mut self,
        now: Moment,
        pool: &PoolState,
        delta: Result<&PoolDelta, Absence>,
        sight: Sight,
    ) -> (Action, Reason) {
        if let Stage::Ending { action, reason } = &self.stage {
            return (*action, reason.clone());
        }
        let delta = match delta {
            Ok(delta) => delta,
            Err(absence) => return self.blind(absence),
        };
        self.blind_ticks = 0;
        match &mut self.stage {
            Stage::Sent { .. } => (Action::Hold, Reason::Settling),
            Stage::Settling { since, completed } => {
                *completed = completed.saturating_add(delta.completed);
                // What ends right after a change was begun before it: one turnover of the pool must pass.
                let turned_over = *completed >= self.to.max(self.from);
                if (turned_over && !pool.settling) || now.since(*since) >= SETTLE_MAX {
                    self.stage = Stage::Measuring;
                }
                (Action::Hold, Reason::Settling)
            }
            Stage::Measuring | Stage::Ending { .. } => {
                self.window
                    .add(delta.clone(), Keep::just(Span::from_secs(120)));
                self.judge(sight)
            }
        }
    }

    fn judge(&mut self, sight: Sight) -> (Action, Reason) {
        let Sight {
            starved,
            contended,
            slo_ms,
        } = sight;
        let Some(figures) = self.window.figures(self.to, slo_ms) else {
            return (Action::Hold, Reason::Settling);
        };
        // Nothing waits here any more and something does elsewhere: the host's one trial is of more use there.
        let needed = if contended && !starved {
            MEASURE_SECONDS.0
        } else {
            self.measure_seconds(&figures)
        };
        let few = figures.completed < COMPLETIONS_MIN;
        let longest = Span::from_ms(MEASURE_MAX_MS).as_secs_f64();
        let last = figures.seconds >= if few { longest } else { needed };
        let before = Side {
            figures: &self.before_figures,
            window: &self.before,
            starved: true,
        };
        let now = Side {
            figures: &figures,
            window: &self.window,
            starved,
        };
        match compare(before, now, self.direction, slo_ms, last) {
            Finding::Open(verdict) => (
                Action::Hold,
                Reason::Measuring {
                    seconds: figures.seconds,
                    verdict,
                },
            ),
            Finding::Keep(verdict) => self.end(Action::Confirm, Reason::Paid { verdict }),
            Finding::Undo(verdict) => self.end(Action::RollBack, Reason::DidNotPay { verdict }),
        }
    }

    fn measure_seconds(&self, figures: &WindowFigures) -> f64 {
        let (least, most) = MEASURE_SECONDS;
        let throughput = fraction(figures.completed) / figures.seconds;
        (COMPLETIONS_FOR_LAST_LOOK / throughput.max(1e-3)).clamp(least, most)
    }

    /// A tick without figures for the pool. What cannot be shown to help does not stay.
    pub(super) fn blind(&mut self, absence: Absence) -> (Action, Reason) {
        if let Stage::Ending { action, reason } = &self.stage {
            return (*action, reason.clone());
        }
        self.blind_ticks += 1;
        if self.blind_ticks >= BLIND_TICKS_MAX {
            return self.end(Action::RollBack, Reason::EvidenceLost { absence });
        }
        (Action::Hold, Reason::Settling)
    }

    /// Decides how it ends; the same answer is given, and sent, until the host has heard it.
    pub(super) fn end(&mut self, action: Action, reason: Reason) -> (Action, Reason) {
        self.stage = Stage::Ending {
            action,
            reason: reason.clone(),
        };
        (action, reason)
    }
}

/// A pool's worker target.
pub(super) fn workers(pool: &PoolState) -> Option<u64> {
    pool.knobs.get(KnobName::WORKERS)?.value.as_integer()
}

fn refused(problem: &Problem) -> Reason {
    Reason::Refused {
        problem: problem.kind,
        detail: problem.detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Context, review};
    use crate::policy::Proposal;
    use crate::signal::{HostSignals, Recent};
    use crate::testing::{pool, profile};
    use trimtab_protocol::decision::{Level, Verdict};

    /// A second with twenty completions, whatever the size.
    fn second() -> PoolDelta {
        let (earlier, mut later) = (pool(8), pool(8));
        later.counters.arrived = Some(20);
        later.counters.completed = Some(20);
        later.counters.busy_us = Some(4_000_000);
        PoolDelta::between(&earlier, &later, Span::from_secs(1)).unwrap()
    }

    fn trial() -> Trial {
        let (name, quiet, signals) = (
            PoolName::from("web"),
            Recent::default(),
            HostSignals::default(),
        );
        let (pool, profile) = (pool(8), profile());
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
            probing: None,
        };
        let expectation = Expectation {
            goodput_per_s: 40.0,
            least_gain_per_s: 1.0,
        };
        let proposal = Proposal {
            workers: 16,
            direction: Direction::Up,
            reason: Reason::Ample,
            expectation: expectation.clone(),
        };
        let permitted = review(&proposal, &context).unwrap();
        let mut before = Window::default();
        (0..10).for_each(|_| before.add(second(), Keep::just(Span::from_secs(10))));
        let figures = before.figures(8, None).unwrap();
        let mut trial = Trial::new(
            &permitted,
            (Epoch(1), Generation(1)),
            (Direction::Up, expectation),
            (8, before, figures),
        );
        trial.stage = Stage::Measuring;
        trial
    }

    fn action_after(seconds: u64, starved: bool, contended: bool) -> Action {
        let mut trial = trial();
        let sight = Sight {
            starved,
            contended,
            slo_ms: None,
        };
        let mut action = Action::Hold;
        for second_of in 1..=seconds {
            let now = Moment::default().after(Span::from_secs(second_of));
            action = trial.advance(now, &pool(16), Ok(&second()), sight).0;
        }
        action
    }

    #[test]
    fn a_trial_that_cannot_be_told_gives_way_to_a_pool_that_waits() {
        assert_eq!(action_after(4, false, true), Action::RollBack);
        assert_eq!(action_after(4, false, false), Action::Hold);
        assert_eq!(action_after(4, true, true), Action::Hold);
        assert_eq!(action_after(20, false, false), Action::RollBack);
    }

    #[test]
    fn a_trial_that_made_no_difference_says_so() {
        let mut trial = trial();
        let sight = Sight {
            starved: true,
            contended: false,
            slo_ms: None,
        };
        let mut found = (Action::Hold, Reason::Ample);
        for _ in 0..20 {
            found = trial.advance(Moment::default(), &pool(16), Ok(&second()), sight);
        }
        let same = Reason::DidNotPay {
            verdict: Verdict::NoDifference {
                gain_per_s: 0.0,
                error_per_s: (20.0_f64 / 10.0 + 20.0 / 20.0).sqrt(),
            },
        };
        assert_eq!(found, (Action::RollBack, same));
    }
}
