//! What is promised of a host, from what it was asked and what it answered; nothing of how it keeps that.

use super::host::{KNOBS, baseline};
use super::{Call, SECOND, Said};
use std::collections::{BTreeMap, VecDeque};
use trimtab_host::governor::End;
use trimtab_protocol::change::{CHANGE_WINDOW_MS, CHANGES_PER_WINDOW, ChangeRequest};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::lease::LeaseRequest;
use trimtab_protocol::name::{InstanceId, KnobName};

/// A promise by its number in ARCHITECTURE.md, and how it was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The invariant.
    pub invariant: u8,
    /// In words.
    pub how: &'static str,
}

type Values = BTreeMap<KnobName, u64>;

#[derive(Clone, Debug)]
struct Trial {
    generation: u64,
    set: Values,
    ends_ns: u64,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    who: usize,
    epoch: u64,
    ends_ns: u64,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// It had been answered before, and was answered in the same way.
    pub(super) repeated: bool,
}

/// What should be true of a host.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    /// The values that stand when nothing is on trial.
    base: Values,
    trial: Option<Trial>,
    lease: Option<Lease>,
    /// The last lease granted and the last change taken in this run.
    last: (u64, u64),
    frozen: bool,
    pinned: Option<u64>,
    /// Whether somebody else has set a value in this run.
    foreign: bool,
    /// Sets that were confirmed in this run, and the baseline.
    proven: Vec<Values>,
    /// When changes were taken.
    recent_ns: VecDeque<u64>,
    /// Changes that were taken in this run and who asked for them.
    taken: Vec<(usize, ChangeRequest)>,
    confirmed: Vec<u64>,
}

impl Default for Oracle {
    fn default() -> Self {
        Self {
            base: baseline(),
            trial: None,
            lease: None,
            last: (0, 0),
            frozen: false,
            pinned: None,
            foreign: false,
            proven: vec![baseline()],
            recent_ns: VecDeque::new(),
            taken: Vec::new(),
            confirmed: Vec::new(),
        }
    }
}

fn wrong<T>(invariant: u8, how: &'static str) -> Result<T, Broken> {
    Err(Broken { invariant, how })
}

impl Oracle {
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// Time went on; whether a trial ended by that.
    pub(super) fn passed(&mut self, now_ns: u64) -> bool {
        if self.lease.is_some_and(|lease| lease.ends_ns <= now_ns) {
            self.lease = None;
        }
        let over = |trial: &Trial| self.lease.is_none() || trial.ends_ns <= now_ns;
        let ended = self.trial.as_ref().is_some_and(over);
        if ended {
            self.trial = None;
        }
        ended
    }

    /// The host was killed.
    pub(super) fn restarted(&mut self) {
        *self = Self {
            frozen: self.frozen,
            ..Self::default()
        };
    }

    pub(super) fn froze(&mut self) {
        self.trial = None;
        self.frozen = true;
    }

    pub(super) fn thawed(&mut self) {
        self.frozen = false;
    }

    pub(super) fn pinned(&mut self, value: u64) {
        self.trial = None;
        self.pinned = Some(value);
    }

    /// The knob goes back to what was confirmed; if that moves it, a trial of the pool has nothing to compare with any more.
    pub(super) fn unpinned(&mut self) {
        let released = self.pinned.take();
        if released.as_ref() != self.base.get(KnobName::WORKERS) {
            self.trial = None;
        }
    }

    pub(super) fn set_by_another(&mut self, value: u64) {
        let knob = KnobName::from(KnobName::QUEUE_LIMIT);
        if self.values().get(&knob) == Some(&value) {
            return;
        }
        self.trial = None;
        self.base.insert(knob, value);
        self.foreign = true;
    }

    /// Something was asked and answered, or refused.
    pub(super) fn asked(
        &mut self,
        who: usize,
        call: &Call,
        said: Option<&Said>,
        run: &InstanceId,
        now_ns: u64,
    ) -> Result<Asked, Broken> {
        let Some(said) = said else {
            return Ok(Asked::default());
        };
        let meant = match call {
            Call::Lease(request) => &request.instance,
            Call::Release(request) => &request.instance,
            Call::Change(request) => &request.instance,
            Call::End(_, _, request) => &request.instance,
        };
        if meant != run {
            return wrong(2, "a request for another run of the host was taken");
        }
        let mut asked = Asked::default();
        match call {
            Call::Lease(request) => self.leased(who, request, said, now_ns)?,
            Call::Release(request) => {
                // A release that comes again finds nothing to release.
                if self
                    .lease
                    .is_some_and(|lease| lease.epoch == request.epoch.0)
                {
                    (self.lease, self.trial) = (None, None);
                }
            }
            Call::Change(request) => {
                if self
                    .taken
                    .iter()
                    .any(|(asker, taken)| *asker == who && taken == request)
                {
                    asked.repeated = true;
                } else {
                    self.changed(who, request, now_ns)?;
                }
            }
            Call::End(end, generation, _) => self.ended(*end, generation.0)?,
        }
        Ok(asked)
    }

    fn leased(
        &mut self,
        who: usize,
        request: &LeaseRequest,
        said: &Said,
        now_ns: u64,
    ) -> Result<(), Broken> {
        let Said::Lease(grant) = said else {
            return wrong(2, "a lease was answered with something else");
        };
        let granted = grant.epoch.0;
        if self.lease.is_some_and(|lease| lease.who != who) {
            return wrong(2, "the lease was given to two at a time");
        }
        match (request.epoch, self.lease) {
            (Some(epoch), Some(lease)) if epoch.0 == lease.epoch && granted == lease.epoch => {}
            (Some(_), _) => return wrong(2, "a lease was renewed that was not in force"),
            (None, _) if granted > self.last.0 => self.trial = None,
            (None, _) => return wrong(2, "an epoch was granted twice"),
        }
        self.last.0 = granted;
        let ends_ns = now_ns + request.ttl_ms * 1_000_000;
        self.lease = Some(Lease {
            who,
            epoch: granted,
            ends_ns,
        });
        Ok(())
    }

    fn changed(&mut self, who: usize, request: &ChangeRequest, now_ns: u64) -> Result<(), Broken> {
        let holds = |lease: Lease| lease.who == who && lease.epoch == request.epoch.0;
        if !self.lease.is_some_and(holds) {
            return wrong(2, "a change was taken from one who does not hold the lease");
        }
        if request.generation.0 <= self.last.1 {
            return wrong(
                2,
                "a change was taken with a generation that was used before",
            );
        }
        if self.trial.is_some() {
            return wrong(5, "a second trial was begun in a pool");
        }
        if self.frozen {
            return wrong(12, "a change was taken in a freeze");
        }
        let set = whole(&request.set);
        if self.pinned.is_some() && set.contains_key(KnobName::WORKERS) {
            return wrong(14, "a change of a pinned knob was taken");
        }
        self.check_reach(&set, now_ns)?;
        self.last.1 = request.generation.0;
        self.recent_ns.push_back(now_ns);
        self.trial = Some(Trial {
            generation: request.generation.0,
            set,
            ends_ns: now_ns + request.trial_ms * 1_000_000,
        });
        self.taken.push((who, request.clone()));
        Ok(())
    }

    /// Bounds, step and rate; going back to what was proven takes no step and waits for nothing.
    fn check_reach(&mut self, set: &Values, now_ns: u64) -> Result<(), Broken> {
        let now = self.values();
        for (knob, value) in set {
            let bounds = KNOBS.iter().find(|(name, ..)| *name == knob.as_str());
            if !bounds.is_some_and(|(_, _, min, max)| (min..=max).contains(&value)) {
                return wrong(1, "a value out of bounds was taken");
            }
        }
        let mut after = now.clone();
        after.extend(set.clone());
        let same = |(name, value): (&KnobName, &u64), proven: &Values| {
            (self.pinned.is_some() && name.as_str() == KnobName::WORKERS)
                || proven.get(name) == Some(value)
        };
        if self
            .proven
            .iter()
            .any(|proven| after.iter().all(|pair| same(pair, proven)))
        {
            return Ok(());
        }
        for (knob, value) in set {
            let before = now.get(knob).copied().unwrap_or(*value);
            if *value > before * 2 + 1 || before > *value * 2 + 1 {
                return wrong(5, "a step beyond the ratio was taken");
            }
        }
        let window_ns = CHANGE_WINDOW_MS / 1_000 * SECOND;
        self.recent_ns.retain(|at| now_ns - at < window_ns);
        if self.recent_ns.len() >= CHANGES_PER_WINDOW {
            return wrong(5, "more changes were taken than fit into a minute");
        }
        Ok(())
    }

    fn ended(&mut self, end: End, generation: u64) -> Result<(), Broken> {
        let open = self
            .trial
            .as_ref()
            .is_some_and(|trial| trial.generation == generation);
        match (open, end) {
            (true, End::Confirm) => {
                self.base = self.tried();
                self.proven.push(self.values());
                self.confirmed.push(generation);
                self.trial = None;
            }
            (true, End::RollBack) => self.trial = None,
            // A rollback of what no longer stands asks for nothing; a confirmation of it would.
            (false, End::Confirm) if !self.confirmed.contains(&generation) => {
                return wrong(4, "a change that no longer stood was confirmed");
            }
            (false, _) => {}
        }
        Ok(())
    }

    fn tried(&self) -> Values {
        let mut values = self.base.clone();
        values.extend(self.trial.iter().flat_map(|trial| trial.set.clone()));
        values
    }

    /// What the knobs should say.
    fn values(&self) -> Values {
        let mut values = self.tried();
        if let Some(pinned) = self.pinned {
            values.insert(KnobName::from(KnobName::WORKERS), pinned);
        }
        values
    }

    /// What is wrong with a host that has done what is due.
    pub(super) fn look(&self, actual: &Values, frozen: bool) -> Result<(), Broken> {
        for (name, _, min, max) in KNOBS {
            if !actual
                .get(name)
                .is_some_and(|value| (min..=max).contains(value))
            {
                return wrong(1, "a knob is out of its bounds");
            }
        }
        if frozen != self.frozen {
            return wrong(
                12,
                "the host does not know that it is frozen, or that it is not",
            );
        }
        if *actual == self.values() {
            return Ok(());
        }
        if self.frozen {
            return wrong(12, "something moves in a freeze");
        }
        if self
            .pinned
            .is_some_and(|value| actual.get(KnobName::WORKERS) != Some(&value))
        {
            return wrong(14, "a pinned knob was moved");
        }
        if self.trial.is_some() {
            return wrong(
                3,
                "the knobs hold neither the set on trial nor the one before",
            );
        }
        if self.foreign && actual.get(KnobName::QUEUE_LIMIT) != self.base.get(KnobName::QUEUE_LIMIT)
        {
            return wrong(
                14,
                "what somebody else had set was overwritten, or ended no trial",
            );
        }
        wrong(4, "a value stands that nobody confirmed")
    }
}

fn whole(set: &BTreeMap<KnobName, KnobValue>) -> Values {
    let pairs = set.iter();
    pairs
        .filter_map(|(name, value)| Some((name.clone(), value.as_integer()?)))
        .collect()
}
