//! What is promised, told without a word of how it is kept.

use crate::host::{Answer, BASELINE, Call, Host, MAX, MIN, TRIAL_S, TTL_S};

/// A promise by its number in ARCHITECTURE.md, and how it was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    /// The invariant.
    pub invariant: u8,
    /// In words.
    pub how: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Trial {
    generation: u64,
    value: u64,
    ends_s: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    who: usize,
    epoch: u64,
    ends_s: u64,
}

/// What should be true of a host, from what was asked of it and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// The values that stand when nothing is on trial.
    base: [u64; 2],
    trial: Option<Trial>,
    lease: Option<Lease>,
    /// The last lease granted and the last change accepted in this run.
    last: (u64, u64),
    frozen: bool,
    pinned: Option<u64>,
    /// Whether somebody else has set a value.
    foreign: bool,
    /// What was answered to what was asked in this run.
    answers: Vec<((usize, Call), Answer)>,
    /// What was seen on the way, so that a test knows that the model gets there.
    pub seen: Seen,
}

/// What happened at least once on the way to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// A change was confirmed.
    pub confirmed: bool,
    /// A trial ended by the host's own timer.
    pub expired: bool,
    /// A change was refused for being too late, whatever was late about it.
    pub refused: bool,
    /// The same answer was given twice.
    pub retried: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            base: [BASELINE; 2],
            trial: None,
            lease: None,
            last: (0, 0),
            frozen: false,
            pinned: None,
            foreign: false,
            answers: Vec::new(),
            seen: Seen::default(),
        }
    }
}

impl Spec {
    /// Who holds the lease, with its epoch.
    #[must_use]
    pub fn holder(&self) -> Option<(usize, u64)> {
        self.lease.map(|lease| (lease.who, lease.epoch))
    }

    /// Whether a trial is open.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Time went on.
    pub fn passed(&mut self, now_s: u64) {
        if self.lease.is_some_and(|lease| lease.ends_s <= now_s) {
            self.lease = None;
        }
        let over = |trial: &Trial| self.lease.is_none() || trial.ends_s <= now_s;
        if self.trial.as_ref().is_some_and(over) {
            self.trial = None;
            self.seen.expired = true;
        }
    }

    /// The host was killed and started again.
    pub fn restarted(&mut self) {
        *self = Self {
            frozen: self.frozen,
            seen: self.seen,
            ..Self::default()
        };
    }

    /// An operator froze it.
    pub fn froze(&mut self) {
        self.trial = None;
        self.frozen = true;
    }

    /// An operator lifted that.
    pub fn thawed(&mut self) {
        self.frozen = false;
    }

    /// An operator holds the first knob.
    pub fn pinned(&mut self, value: u64) {
        self.trial = None;
        self.pinned = Some(value);
    }

    /// An operator let go of it.
    pub fn unpinned(&mut self) {
        self.pinned = None;
    }

    /// Somebody else set the second knob.
    pub fn set_by_another(&mut self, value: u64) {
        self.trial = None;
        self.base[1] = value;
        self.foreign = true;
    }

    /// Something was asked and answered; what is wrong with that.
    pub fn asked(
        &mut self,
        (who, run): (usize, u8),
        call: Call,
        answer: Option<Answer>,
        host: &Host,
        now_s: u64,
    ) -> Option<Broken> {
        let wrong = |invariant, how| Some(Broken { invariant, how });
        let Some(answer) = answer else {
            self.seen.refused |= matches!(call, Call::Change { .. });
            return None;
        };
        if run != host.run {
            return wrong(2, "a request for another run of the host was taken");
        }
        let before = self.answers.iter().find(|(asked, _)| *asked == (who, call));
        if let Some((_, before)) = before
            && !matches!(call, Call::Lease(_) | Call::Release(_))
        {
            self.seen.retried = true;
            return if *before == answer {
                None
            } else {
                wrong(2, "a retry got another answer than the first")
            };
        }
        let found = match call {
            Call::Lease(epoch) => self.leased(who, epoch, answer, now_s),
            Call::Release(_) => {
                (self.lease, self.trial) = (None, None);
                None
            }
            Call::Change {
                epoch,
                generation,
                value,
                ..
            } => self.changed(who, (epoch, generation), value, now_s),
            Call::End {
                keep, generation, ..
            } => self.ended(keep, generation),
        };
        self.answers.push(((who, call), answer));
        found
    }

    fn leased(
        &mut self,
        who: usize,
        epoch: Option<u64>,
        answer: Answer,
        now_s: u64,
    ) -> Option<Broken> {
        let wrong = |how| Some(Broken { invariant: 2, how });
        let Answer::Lease(granted) = answer else {
            return wrong("a lease was answered with something else");
        };
        if self.lease.is_some_and(|lease| lease.who != who) {
            return wrong("the lease was given to two at a time");
        }
        match (epoch, self.lease) {
            (Some(epoch), Some(lease)) if epoch == lease.epoch && granted == epoch => {}
            (Some(_), _) => return wrong("a lease was renewed that was not in force"),
            (None, _) if granted > self.last.0 => self.trial = None,
            (None, _) => return wrong("an epoch was granted twice"),
        }
        self.last.0 = granted;
        self.lease = Some(Lease {
            who,
            epoch: granted,
            ends_s: now_s + TTL_S,
        });
        None
    }

    fn changed(
        &mut self,
        who: usize,
        (epoch, generation): (u64, u64),
        value: u64,
        now_s: u64,
    ) -> Option<Broken> {
        let wrong = |invariant, how| Some(Broken { invariant, how });
        let holds = |lease: Lease| lease.who == who && lease.epoch == epoch;
        let found = if !self.lease.is_some_and(holds) {
            wrong(2, "a change was taken from one who does not hold the lease")
        } else if generation <= self.last.1 {
            wrong(
                2,
                "a change was taken with a generation that was used before",
            )
        } else if !(MIN..=MAX).contains(&value) {
            wrong(1, "a value out of bounds was taken")
        } else if self
            .values()
            .iter()
            .any(|now| value > now * 2 || value * 2 < *now)
        {
            wrong(5, "a step beyond the ratio was taken")
        } else if self.trial.is_some() {
            wrong(5, "a second trial was begun in a pool")
        } else if self.frozen {
            wrong(12, "a change was taken in a freeze")
        } else if self.pinned.is_some() {
            wrong(14, "a change of a pinned knob was taken")
        } else {
            None
        };
        self.last.1 = generation;
        self.trial = Some(Trial {
            generation,
            value,
            ends_s: now_s + TRIAL_S,
        });
        found
    }

    fn ended(&mut self, keep: bool, generation: u64) -> Option<Broken> {
        let open = self
            .trial
            .is_some_and(|trial| trial.generation == generation);
        match (open, keep) {
            (true, true) => {
                self.base = self.values();
                self.trial = None;
                self.seen.confirmed = true;
            }
            (true, false) => self.trial = None,
            // A rollback of what no longer stands asks for nothing; a confirmation of it would.
            (false, false) => {}
            (false, true) => {
                let confirmed = self.answers.iter().any(|((_, call), _)| {
                    matches!(call, Call::End { keep: true, generation: kept, .. } if *kept == generation)
                });
                if !confirmed {
                    let how = "a change that no longer stood was confirmed";
                    return Some(Broken { invariant: 4, how });
                }
            }
        }
        None
    }

    /// What the knobs should say.
    fn values(&self) -> [u64; 2] {
        let [first, second] = self.trial.map_or(self.base, |trial| [trial.value; 2]);
        [self.pinned.unwrap_or(first), second]
    }

    /// What is wrong with a host as it stands, once it had time to do what is due.
    #[must_use]
    pub fn look(&self, host: &Host) -> Option<Broken> {
        let wrong = |invariant, how| Some(Broken { invariant, how });
        if host.actual.iter().any(|value| !(MIN..=MAX).contains(value)) {
            return wrong(1, "a knob is out of its bounds");
        }
        if host.is_frozen() != self.frozen {
            return wrong(
                12,
                "the host does not know that it is frozen, or that it is not",
            );
        }
        let expected = self.values();
        if host.actual == expected {
            return None;
        }
        if self.frozen {
            return wrong(12, "something moves in a freeze");
        }
        if self.pinned.is_some_and(|value| host.actual[0] != value) {
            return wrong(14, "a pinned knob was moved");
        }
        if self.foreign {
            let how = "what somebody else had set was overwritten, or ended no trial";
            return wrong(14, how);
        }
        if self.trial.is_some() {
            let how = "the knobs hold neither the set on trial nor the one before";
            return wrong(3, how);
        }
        wrong(4, "a value stands that nobody confirmed")
    }
}
