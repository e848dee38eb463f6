//! What became of a pool's trials, and who else changed its values.

use super::trial::{Fate, Stage, Trial, value, workers};
use super::tuner::{Choice, PoolTick, Tuner};
use crate::decision::{Step, TrialId};
use crate::moment::{Moment, Span};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::decision::{Absence, Action, Direction, Reason};
use trimtab_protocol::name::KnobName;

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
        self.reconcile_closing(tick);
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
                let joined = self
                    .trial
                    .as_ref()
                    .is_some_and(|trial| trial.is_joined(tick.pool));
                let expected = self
                    .trial
                    .as_ref()
                    .map(|trial| (trial.knob.clone(), trial.to));
                self.revision = Some(revision);
                self.ended(tick.now, status);
                let elsewhere = status == ChangeStatus::Confirmed
                    && expected
                        .is_some_and(|(knob, to)| value(tick.pool, knob.as_str()) != Some(to));
                if joined {
                    self.chosen = workers(tick.pool);
                }
                if tick.pool.revision > revision || elsewhere || joined {
                    self.revision = Some(tick.pool.revision.max(revision));
                    self.give_way(tick.now);
                }
            }
        }
    }

    /// A trial that was confirmed in the tick in which the next one was begun. If the state still shows it, the host did not
    /// hear the confirmation, and so refused the next one as well: then it is what is open.
    fn reconcile_closing(&mut self, tick: &PoolTick<'_>) {
        let Some(closing) = self.closing.take() else {
            return;
        };
        let shown = tick.pool.trial.as_ref().map(|trial| trial.generation);
        if shown == Some(closing.generation) {
            self.trial = Some(closing);
            self.counts.kept = self.counts.kept.saturating_sub(1);
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
                // What someone chose by hand is from now on the size that people chose.
                self.chosen = workers(tick.pool);
                self.give_way(tick.now);
            }
        }
    }

    fn give_way(&mut self, now: Moment) {
        self.window.clear();
        self.policy
            .forget_window(now.since(Moment::default()).as_secs_f64());
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
                self.note_followed(&trial, now);
                // The trial's own window is at the size now in force, so the next comparison may begin with it.
                self.window = trial.window;
                return;
            }
            ChangeStatus::RolledBack | ChangeStatus::Expired | ChangeStatus::Trial => {
                self.counts.rolled_back += 1;
                self.changes.note(now);
                if trial.knob.as_str() == KnobName::WORKERS {
                    self.policy
                        .undone(now.since(Moment::default()).as_secs_f64());
                }
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

    fn note_followed(&mut self, trial: &Trial, now: Moment) {
        if trial.knob.as_str() == KnobName::TIMEOUT_MS {
            self.follow
                .set_timeout(now.since(Moment::default()).as_secs_f64(), trial.to);
        }
    }

    /// Only a verdict about the size makes its direction rest, and the policy has seen to that. A trial that proved nothing,
    /// because the figures went away or an operator froze the host, says nothing about where to go next.
    fn learn(&mut self, trial: &Trial, now: Moment) {
        let judged = matches!(
            &trial.stage,
            Stage::Ending {
                reason: Reason::DidNotPay { .. }
                    | Reason::Stuck { .. }
                    | Reason::MemoryForbids { .. },
                ..
            }
        );
        if judged && trial.knob.as_str() != KnobName::WORKERS {
            self.follow_did_harm(now, &trial.knob);
        }
        if !judged {
            self.pause = Some((trial.direction, now.after(PAUSE)));
        }
    }
}
