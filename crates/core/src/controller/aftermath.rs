//! What became of a pool's trials, and who else changed its values.

use super::trial::{Fate, Stage, Trial, workers};
use super::tuner::{Choice, PoolTick, Tuner};
use crate::decision::{Step, TrialId};
use crate::moment::{Moment, Span};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::decision::{Absence, Action, Direction, Reason, Verdict};

/// How long the values of someone else are left alone.
const YIELD: Span = Span::from_secs(60);
/// How long nothing is asked after a refusal; it doubles each time up to [`REFUSED_MAX`].
const REFUSED_MIN: Span = Span::from_secs(5);
const REFUSED_MAX: Span = Span::from_secs(60);
/// How long nothing is tried after a trial that proved nothing, such as one during which the load went away.
const PAUSE: Span = Span::from_secs(5);

impl Tuner {
    /// Takes in what the tick tells of an open trial, or of changes that are not ours.
    pub(super) fn reconcile(&mut self, tick: &PoolTick<'_>) {
        let fate = match &mut self.trial {
            Some(trial) => trial.reconcile(tick.now, tick.name, tick.pool, tick.receipts),
            None => return self.notice_foreign_change(tick),
        };
        match fate {
            // Until the state shows our trial, a new revision may be someone else's.
            Fate::Open if self.shows_issued(tick) => self.revision = Some(tick.pool.revision),
            Fate::Open => {}
            Fate::Refused(reason) => self.refused(tick.now, reason),
            Fate::Ended(status, revision) => {
                let to = self.trial.as_ref().map(|trial| trial.to);
                self.revision = Some(revision);
                self.ended(tick.now, status);
                let elsewhere = status == ChangeStatus::Confirmed && workers(tick.pool) != to;
                if tick.pool.revision > revision || elsewhere {
                    self.revision = Some(tick.pool.revision.max(revision));
                    self.give_way(tick.now);
                }
            }
        }
    }

    /// Someone else changed the pool: their values are taken as they are and left alone for a while.
    fn notice_foreign_change(&mut self, tick: &PoolTick<'_>) {
        let revision = tick.pool.revision;
        let known = self
            .revision
            .replace(revision.max(self.revision.unwrap_or_default()));
        if self.shows_issued(tick) {
            self.reclaiming = true;
        } else if known.is_some_and(|known| revision > known) {
            self.window.clear();
            if !std::mem::take(&mut self.reclaiming) && tick.warm {
                self.give_way(tick.now);
            }
        }
    }

    fn give_way(&mut self, now: Moment) {
        self.window.clear();
        self.memory.clear();
        self.yield_until = now.after(YIELD);
    }

    /// Whether the state shows the last trial that was begun here.
    fn shows_issued(&self, tick: &PoolTick<'_>) -> bool {
        let shown = tick.pool.trial.as_ref().map(|trial| trial.generation);
        shown.is_some() && shown == self.issued.map(|(_, generation)| generation)
    }

    /// Undoes a trial that was given up as lost and that the host applied after all.
    pub(super) fn reclaim(&self, tick: &PoolTick<'_>) -> Option<Choice> {
        let (epoch, generation) = self.issued.filter(|_| self.shows_issued(tick))?;
        let trial = TrialId {
            pool: tick.name.clone(),
            epoch,
            generation,
        };
        Some(Choice {
            action: Action::RollBack,
            step: Some(Step::RollBack(trial)),
            ..Choice::hold(Reason::AnswerLost {
                absence: Absence::TimedOut,
            })
        })
    }

    fn refused(&mut self, now: Moment, reason: Reason) {
        let direction = self
            .trial
            .take()
            .map_or(Direction::Up, |trial| trial.direction);
        self.counts.refused += 1;
        let wait = REFUSED_MIN
            .as_ns()
            .saturating_mul(1 << self.refusals.min(8))
            .min(REFUSED_MAX.as_ns());
        self.refusals = self.refusals.saturating_add(1);
        self.pause = Some((direction, now.after(Span::from_ns(wait))));
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
                self.leftover = trial.from.max(trial.to);
                self.learn(&trial, now);
            }
            ChangeStatus::Superseded => {
                self.counts.rolled_back += 1;
                self.give_way(now);
            }
        }
        let ours =
            matches!(&trial.stage, Stage::Ending { action, .. } if *action == Action::RollBack);
        if !ours || status == ChangeStatus::Superseded {
            self.news = Some(Reason::TrialEnded { status });
        }
    }

    /// Only a verdict about the size makes its direction rest. A trial that proved nothing, because the load moved, the
    /// figures went away or an operator froze the host, says nothing about where to go next.
    fn learn(&mut self, trial: &Trial, now: Moment) {
        let about_size = match &trial.stage {
            Stage::Ending { reason, .. } => is_about_size(reason, trial.direction),
            Stage::Sent { .. } | Stage::Settling { .. } | Stage::Measuring => false,
        };
        if about_size {
            self.memory.did_not_pay(trial.direction, now);
        } else {
            self.pause = Some((trial.direction, now.after(PAUSE)));
        }
    }
}

fn is_about_size(reason: &Reason, direction: Direction) -> bool {
    match reason {
        Reason::DidNotPay { verdict } => match verdict {
            Verdict::GoodputFell { .. }
            | Verdict::TailRose { .. }
            | Verdict::NoDifference { .. }
            | Verdict::ErrorsRose { .. } => true,
            Verdict::LoadMoved { .. }
            | Verdict::TooFew { .. }
            | Verdict::GoodputRose { .. }
            | Verdict::TailFell { .. }
            | Verdict::SameForLess { .. } => false,
        },
        Reason::Stuck { .. } | Reason::MemoryForbids { .. } => direction == Direction::Up,
        _ => false,
    }
}
