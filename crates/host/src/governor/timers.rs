//! What happens by itself: leases and trials end, pins are released, and a set that nobody tunes any more goes to the baseline.

use super::{Governor, Pool, ns};
use std::collections::BTreeMap;
use trimtab_protocol::change::{CHANGE_WINDOW_MS, ChangeStatus};
use trimtab_protocol::name::{KnobName, PoolName};

/// The pause between two steps to the baseline.
const STEP_NS: u64 = 30_000_000_000;

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// On the boot-time clock, in nanoseconds.
    pub at_ns: u64,
    /// Whether values that are not proven stand until then, so that it must not be missed by much.
    pub urgent: bool,
}

impl Governor {
    /// Does what is due.
    pub fn advance(&mut self, now_ns: u64) {
        let lease_end_ns = self.lease.as_ref().map(|lease| lease.ends_ns);
        if let Some(ends_ns) = lease_end_ns.filter(|ends_ns| *ends_ns <= now_ns) {
            // Its trials end with it, below: a trial without a lease is due at once.
            self.end_lease(ends_ns);
        }
        let names: Vec<PoolName> = self.pools.keys().cloned().collect();
        for name in &names {
            let due = self.trial_end_ns(name).is_some_and(|ends| ends <= now_ns);
            if due {
                self.end_trial(name, ChangeStatus::Expired);
            }
            self.release_pins(name, now_ns);
            self.step_home(name, now_ns);
            if let Some(pool) = self.pools.get_mut(name) {
                pool.forget_rate(now_ns);
            }
        }
    }

    /// The next moment at which something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Due> {
        let calm = |at_ns| Due {
            at_ns,
            urgent: false,
        };
        let urgent = |at_ns| Due {
            at_ns,
            urgent: true,
        };
        let mut next: Vec<Due> = Vec::new();
        next.extend(self.lease.as_ref().map(|lease| calm(lease.ends_ns)));
        for (name, pool) in &self.pools {
            next.extend(self.trial_end_ns(name).map(urgent));
            for knob in pool.knobs.values() {
                next.extend(knob.owed.map(|owed| urgent(owed.next_ns)));
                if !self.is_still() {
                    next.extend(knob.pinned_until_ns.map(calm));
                }
            }
            next.extend(self.step_home_ns(pool).map(calm));
        }
        let at_ns = next.iter().map(|due| due.at_ns).min()?;
        Some(Due {
            at_ns,
            urgent: next.iter().any(|due| due.urgent),
        })
    }

    /// When a pool's open trial ends: at its own deadline or with its lease, whichever is first.
    #[must_use]
    pub fn trial_end_ns(&self, pool: &PoolName) -> Option<u64> {
        let trial = self.pools.get(pool)?.trial.as_ref()?;
        let lease_ns = self.lease.as_ref().map_or(0, |lease| lease.ends_ns);
        Some(trial.deadline_ns.min(lease_ns))
    }

    /// Frozen or switched off: nothing moves by itself but what ends a trial.
    fn is_still(&self) -> bool {
        self.frozen || self.disabled
    }

    fn release_pins(&mut self, name: &PoolName, now_ns: u64) {
        if self.is_still() {
            return;
        }
        let Some(pool) = self.pools.get(name) else {
            return;
        };
        let over: Vec<KnobName> = pool
            .knobs
            .iter()
            .filter(|(_, knob)| knob.pinned_until_ns.is_some_and(|until| until <= now_ns))
            .map(|(knob, _)| knob.clone())
            .collect();
        for knob in &over {
            self.release_pin(name, knob);
        }
    }

    /// Whether someone decides about a pool's knobs: a sidecar holds the lease or proved a value that is still held, or an
    /// operator has frozen or switched off the host or pinned one of them.
    #[must_use]
    pub fn is_steered(&self, pool: &PoolName) -> bool {
        let pinned = |knob: &super::Knob| knob.pinned_until_ns.is_some();
        let held = self.pools.get(pool).is_some_and(|pool| {
            pool.is_away()
                || pool
                    .knobs
                    .values()
                    .any(|knob| knob.owed.is_some() || pinned(knob))
        });
        held || self.lease.is_some() || self.is_still()
    }

    /// When a pool that nobody tunes takes its next step to the baseline.
    fn step_home_ns(&self, pool: &Pool) -> Option<u64> {
        if self.lease.is_some() || self.is_still() || !pool.is_away() {
            return None;
        }
        let hold_ends_ns = self.unleased_since_ns.saturating_add(self.hold_for_ns);
        Some(hold_ends_ns.max(pool.next_step_ns))
    }

    fn step_home(&mut self, name: &PoolName, now_ns: u64) {
        let Some(pool) = self.pools.get(name) else {
            return;
        };
        if self.step_home_ns(pool).is_none_or(|at_ns| at_ns > now_ns) {
            return;
        }
        if let Some(pool) = self.pools.get_mut(name) {
            pool.next_step_ns = now_ns.saturating_add(STEP_NS);
            let mut step = BTreeMap::new();
            for (name, knob) in &mut pool.knobs {
                if knob.goes_home() {
                    knob.confirmed = knob.step_to_baseline();
                    step.insert(name.clone(), knob.confirmed.clone());
                }
            }
            pool.set_and_owe(&step);
        }
    }
}

impl Pool {
    fn is_away(&self) -> bool {
        self.trial.is_none() && self.knobs.values().any(super::Knob::goes_home)
    }

    fn forget_rate(&mut self, now_ns: u64) {
        let window_ns = ns(CHANGE_WINDOW_MS);
        while let Some(first_ns) = self.recent_ns.front()
            && now_ns.saturating_sub(*first_ns) >= window_ns
        {
            self.recent_ns.pop_front();
        }
    }
}

impl super::Knob {
    /// A value that a sidecar proved goes to the baseline when nobody tunes; an operator's or a foreign value stays.
    fn goes_home(&self) -> bool {
        self.tuned && self.pinned_until_ns.is_none() && self.confirmed != self.spec.baseline
    }
}
