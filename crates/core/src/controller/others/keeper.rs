//! One pool without workers over time: what is wanted of its knobs, and the trial that may be open.

use super::*;

impl Keeper {
    /// Takes in what became of an open trial, and what others have set.
    pub(super) fn reconcile(&mut self, view: &View<'_>) {
        let values: BTreeMap<KnobName, KnobValue> = view
            .pool
            .knobs
            .iter()
            .map(|(name, knob)| (name.clone(), knob.value.clone()))
            .collect();
        let (known, had_trial) = (self.revision, self.trial.is_some());
        self.hear(view);
        let ours = had_trial || self.shows_issued(view.pool);
        if !ours && view.warm && known.is_some_and(|known| view.pool.revision > known) {
            let changed = values
                .iter()
                .filter(|(name, value)| self.values.get(*name) != Some(*value));
            self.foreign.extend(changed.map(|(name, _)| name.clone()));
        }
        self.values = values;
        self.revision = self.revision.max(Some(view.pool.revision));
    }

    /// Whether the state shows the last trial that was begun here.
    fn shows_issued(&self, pool: &PoolState) -> bool {
        let shown = pool.trial.as_ref().map(|trial| trial.generation);
        shown.is_some() && shown == self.issued.map(|(_, generation)| generation)
    }

    /// Undoes a trial that was given up as lost and that the host applied after all.
    fn reclaim(&self, view: &View<'_>) -> Option<Choice> {
        let (epoch, generation) = self.issued.filter(|_| self.shows_issued(view.pool))?;
        let absence = Absence::TimedOut;
        let pool = view.name.clone();
        Some(Choice {
            action: Action::RollBack,
            step: Some(Step::RollBack(TrialId {
                pool,
                epoch,
                generation,
            })),
            ..Choice::hold(Reason::AnswerLost { absence })
        })
    }

    fn hear(&mut self, view: &View<'_>) {
        let Some(trial) = &mut self.trial else { return };
        for receipt in view.receipts {
            let Receipt::Change {
                action,
                pool,
                generation,
                answer,
            } = receipt
            else {
                continue;
            };
            if pool != view.name || *generation != trial.generation {
                continue;
            }
            match (answer, action) {
                (Answer::Done { value }, _) if value.status != ChangeStatus::Trial => {
                    self.revision = self.revision.max(Some(value.revision));
                    return self.ended(view.now, value.status);
                }
                (Answer::Done { .. }, _) => trial.begin(view.now),
                (Answer::Refused { problem }, Action::Try) => {
                    let (problem, detail) = (problem.kind, problem.detail.clone());
                    return self.refused(view.now, Reason::Refused { problem, detail });
                }
                (Answer::NotSent, Action::Try) => return self.refused(view.now, Reason::NotSent),
                // A refused or lost end is settled by what the state shows.
                (Answer::Refused { .. } | Answer::NotSent | Answer::Lost { .. }, _) => {}
            }
        }
        let shown = view.pool.trial.as_ref().map(|trial| trial.generation);
        if shown == Some(trial.generation) {
            trial.begin(view.now);
            trial.unseen_ticks = 0;
            return;
        }
        trial.unseen_ticks += 1;
        if trial.unseen_ticks <= UNSEEN_TICKS_MAX && view.pool.generation < trial.generation {
            return;
        }
        if matches!(trial.stage, Stage::Sent) && view.pool.generation < trial.generation {
            let absence = Absence::TimedOut;
            return self.refused(view.now, Reason::AnswerLost { absence });
        }
        let status = trial.status_in(view.pool);
        self.ended(view.now, status);
    }

    fn refused(&mut self, now: Moment, reason: Reason) {
        self.trial = None;
        self.counts.refused += 1;
        self.rest_until = now.after(REFUSED);
        self.news = Some(reason);
    }

    fn ended(&mut self, now: Moment, status: ChangeStatus) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        if status == ChangeStatus::Confirmed {
            self.counts.kept += 1;
            self.wanted_since = None;
            return;
        }
        self.counts.rolled_back += 1;
        self.changes.note(now);
        let (ours, rest) = trial.rest();
        self.rest_until = now.after(rest);
        if status == ChangeStatus::Superseded {
            self.foreign.extend(trial.change.set.into_keys());
        }
        if !ours {
            self.news = Some(Reason::TrialEnded { status });
        }
    }

    /// What to do about an open trial; nothing when none is open.
    pub(super) fn judge(&mut self, view: &View<'_>) -> Option<Choice> {
        if self.trial.is_none() {
            return self.reclaim(view);
        }
        let trial = self.trial.as_mut()?;
        trial.since = trial.since.plus(view.flow.last());
        let (action, reason) = match trial.stage.clone() {
            _ if view.frozen => trial.end(Action::RollBack, Reason::Frozen),
            Stage::Sent => (Action::Hold, Reason::Settling),
            Stage::Ending { action, reason } => (action, reason),
            Stage::InForce { since } => {
                let lasted = view.now.since(since);
                let harm = trial.since.harm_since(trial.before);
                match harm {
                    _ if !trial.is_in_effect(view.pool) && lasted >= EFFECT_MAX => {
                        let seconds = lasted.as_secs_f64();
                        trial.end(Action::RollBack, Reason::NoEffect { seconds })
                    }
                    Some(verdict) if lasted >= WATCHED => {
                        trial.end(Action::RollBack, Reason::DidNotPay { verdict })
                    }
                    None if lasted >= WATCHED && trial.is_in_effect(view.pool) => {
                        trial.end(Action::Confirm, Reason::TookEffect)
                    }
                    Some(_) | None => (Action::Hold, Reason::Settling),
                }
            }
        };
        Some(trial.choice(view.name, action, reason))
    }

    /// The host cannot be read, or the sidecar ends.
    pub(super) fn give_up(&mut self, name: &PoolName, absence: Option<Absence>) -> Option<Choice> {
        let trial = self.trial.as_mut()?;
        trial.unseen_ticks += 1;
        let reason = match absence {
            Some(absence) if trial.unseen_ticks > UNSEEN_TICKS_MAX => {
                Reason::EvidenceLost { absence }
            }
            Some(_) => return None,
            None => Reason::ShuttingDown,
        };
        let (action, reason) = trial.end(Action::RollBack, reason);
        Some(trial.choice(name, action, reason))
    }

    /// No trial is open: whether one is to be begun.
    pub(super) fn look(
        &mut self,
        controller: &Controller,
        view: &View<'_>,
        (state, quiet): (&HostState, bool),
        generation: Option<Generation>,
    ) -> Choice {
        if let Some(news) = self.news.take() {
            return Choice::hold(news);
        }
        if let Some(reason) = controller.gate(state) {
            return Choice::hold(reason);
        }
        let (wanted, reason) = self.wanted(view);
        let setting = match review_setting(view.now, (view.name, view.pool), &wanted, &self.changes)
        {
            Ok(Some(setting)) => setting,
            Ok(None) => {
                self.wanted_since = None;
                return Choice::hold(Reason::InPlace);
            }
            Err(veto) => return Choice::hold(veto.reason),
        };
        if self.rest_until > view.now {
            let seconds = self.rest_until.since(view.now).as_secs_f64();
            return Choice::hold(Reason::Pausing { seconds });
        }
        let since = *self.wanted_since.get_or_insert(view.now);
        let hurried = view.ladder.is_high || view.now.since(since) >= QUIET_AFTER_MAX;
        let advice = Choice {
            action: Action::Advise,
            change: Some(setting.summary(None)),
            bound_by: setting.bound_by().to_vec(),
            ..Choice::hold(reason)
        };
        match (controller.settings.mode, controller.lease, generation) {
            (Mode::Observe, _, _) => Choice::hold(Reason::ModeObserves),
            (Mode::Advise, _, _) => advice,
            (Mode::Act, None, _) => Choice::hold(Reason::LeasePending),
            (Mode::Act, Some(epoch), Some(generation)) if quiet || hurried => {
                self.begin(controller, view, (&setting, advice), (epoch, generation))
            }
            (Mode::Act, Some(_), _) => Choice::hold(Reason::QuietAwaited),
        }
    }

    /// The values that this pool's knobs should have, and why those that are not there yet.
    fn wanted(&mut self, view: &View<'_>) -> (BTreeMap<KnobName, Cited<KnobValue>>, Reason) {
        let mut wanted = view.profile.others.clone();
        // While a trigger holds, its word outranks the profile's.
        let mut triggered = None;
        for asked in view.asked {
            let Some(knob) = view.pool.knobs.get(&asked.knob) else {
                continue;
            };
            if takes(knob, &asked.value.value) {
                wanted.insert(asked.knob.clone(), asked.value.clone());
                let open = knob.value != asked.value.value;
                triggered = triggered.or_else(|| open.then(|| asked.reason.clone()));
            }
        }
        wanted.retain(|name, _| !self.foreign.contains(name));
        let by_profile = triggered.unwrap_or(Reason::ProfileSets);
        let level = KnobName::from(KnobName::MEMORY_LEVEL);
        let now = view.pool.knobs.get(&level).map(|knob| knob.value.clone());
        let at = &view.profile.ladder.level;
        let (share, at_share) = (view.ladder.share, at.value);
        let reason = match (now, view.ladder.is_high) {
            (Some(now), true) => {
                let aggressive = KnobValue::Choice(AGGRESSIVE.to_owned());
                if now != aggressive {
                    self.level_before.get_or_insert(now);
                }
                let citation = at.citation.clone();
                let value = aggressive;
                wanted.insert(level, Cited { value, citation });
                Reason::MemoryHigh { share, at_share }
            }
            (Some(now), false) => match self.level_before.clone() {
                Some(before) if before != now => {
                    let citation = at.citation.clone();
                    let back = Cited {
                        value: before,
                        citation,
                    };
                    wanted.entry(level).or_insert(back);
                    Reason::MemoryEased { share, at_share }
                }
                _ => {
                    self.level_before = None;
                    by_profile
                }
            },
            (None, _) => by_profile,
        };
        (wanted, reason)
    }

    fn begin(
        &mut self,
        controller: &Controller,
        view: &View<'_>,
        (setting, advice): (&Setting, Choice),
        (epoch, generation): (Epoch, Generation),
    ) -> Choice {
        let change = setting.summary(Some(generation));
        let named: Vec<String> = setting
            .set()
            .iter()
            .map(|(name, ValueChange { to, .. })| format!("{name} to {to}"))
            .collect();
        let sentence = format!("set {}", named.join(", "));
        let trial_ms = trial_ms(controller.settings.interval);
        let plan = setting.plan(epoch, generation, trial_ms, sentence);
        self.trial = Some(OtherTrial {
            epoch,
            generation,
            change: change.clone(),
            bound_by: setting.bound_by().to_vec(),
            before: view.flow.sum(),
            since: Pace::default(),
            stage: Stage::Sent,
            unseen_ticks: 0,
        });
        self.issued = Some((epoch, generation));
        self.changes.note(view.now);
        self.counts.made += 1;
        Choice {
            action: Action::Try,
            change: Some(change),
            step: Some(Step::Try(plan)),
            ..advice
        }
    }
}

impl Keeper {
    /// The record of a choice.
    pub(super) fn record(
        &self,
        choice: &Choice,
        signals: &HostSignals,
        profile: &Profile,
    ) -> DecisionRecord {
        DecisionRecord {
            regime: if self.ladder.is_high {
                Regime::MemoryRisk
            } else {
                Regime::Ample
            },
            evidence: Evidence {
                now: None,
                before: None,
                cpu_share: signals.cpu_share(),
                memory_share: signals.memory_share,
            },
            ..record(choice, profile.name.clone())
        }
    }
}

/// The level that the ladder asks for.
const AGGRESSIVE: &str = "aggressive";

impl OtherTrial {
    fn begin(&mut self, now: Moment) {
        if matches!(self.stage, Stage::Sent) {
            self.stage = Stage::InForce { since: now };
            self.since = Pace::default();
        }
    }

    fn end(&mut self, action: Action, reason: Reason) -> (Action, Reason) {
        self.stage = Stage::Ending {
            action,
            reason: reason.clone(),
        };
        (action, reason)
    }

    /// Whether it was undone from here, and for how long its pool is left alone then.
    fn rest(&self) -> (bool, Span) {
        match &self.stage {
            Stage::Ending {
                action: Action::RollBack,
                reason: Reason::DidNotPay { .. } | Reason::NoEffect { .. },
            } => (true, HARMED),
            Stage::Ending {
                action: Action::RollBack,
                ..
            } => (true, UNJUDGED),
            Stage::Sent | Stage::InForce { .. } | Stage::Ending { .. } => (false, REFUSED),
        }
    }

    fn is_in_effect(&self, pool: &PoolState) -> bool {
        self.change.set.iter().all(|(name, change)| {
            let knob = pool.knobs.get(name);
            knob.is_some_and(|knob| knob.effective == change.to)
        })
    }

    /// The trial is not in the state any more: by the values that stand there, how did it end?
    fn status_in(&self, pool: &PoolState) -> ChangeStatus {
        let stands = |pick: fn(&ValueChange) -> &KnobValue| {
            self.change.set.iter().all(|(name, change)| {
                let knob = pool.knobs.get(name);
                knob.is_some_and(|knob| knob.value == *pick(change))
            })
        };
        if stands(|change| &change.to) && pool.generation == self.generation {
            ChangeStatus::Confirmed
        } else if stands(|change| &change.from) {
            ChangeStatus::Expired
        } else {
            ChangeStatus::Superseded
        }
    }

    fn choice(&self, name: &PoolName, action: Action, reason: Reason) -> Choice {
        let id = TrialId {
            pool: name.clone(),
            epoch: self.epoch,
            generation: self.generation,
        };
        let step = match action {
            Action::Confirm => Some(Step::Confirm(id)),
            Action::RollBack => Some(Step::RollBack(id)),
            Action::Hold | Action::Try | Action::Advise => None,
        };
        Choice {
            action,
            change: Some(self.change.clone()),
            bound_by: self.bound_by.clone(),
            step,
            ..Choice::hold(reason)
        }
    }
}
