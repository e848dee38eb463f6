//! What only an operator may do: freeze, pin, reset. An operator is bound by a knob's limits, but by no step and no rate.

use super::bounds::Rules;
use super::{Governor, Refusal, Write, ns};
use std::collections::BTreeMap;
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::operator::PinRequest;
use trimtab_protocol::problem::{Problem, ProblemKind};

impl Governor {
    /// Rolls open trials back and takes no change until the freeze is lifted.
    pub fn freeze(&mut self) {
        self.end_all_trials(ChangeStatus::RolledBack);
        self.frozen = true;
    }

    /// Lifts the freeze.
    pub fn unfreeze(&mut self) {
        self.frozen = false;
    }

    /// Judges a pin. `busy` is how much work runs in the pool, where that is known.
    ///
    /// # Errors
    /// `disabled`, `unknown` and `value`.
    pub fn plan_pin(
        &self,
        pool: &PoolName,
        knob: &KnobName,
        request: &PinRequest,
        busy: Option<u64>,
    ) -> Result<Vec<Write>, Refusal> {
        self.check_enabled()?;
        let state = self.pool(pool)?;
        let cell = state.knob(pool, knob)?;
        if request.for_ms == 0 {
            let detail = "`for_ms` = 0 holds nothing";
            return Err(Box::new(Problem::new(ProblemKind::Value, detail)));
        }
        let stood_before = [&cell.target, &cell.confirmed, &cell.spec.baseline];
        let rules = if stood_before.contains(&&request.value) {
            Rules::BoundsOnly
        } else {
            Rules::AnyStep
        };
        cell.check(pool, &request.value, rules, busy)?;
        let set = BTreeMap::from([(knob.clone(), request.value.clone())]);
        Ok(state.writes(pool, &set))
    }

    /// Holds a knob at a value that it has taken. A trial in the pool ends as superseded.
    pub fn commit_pin(
        &mut self,
        pool: &PoolName,
        knob: &KnobName,
        request: &PinRequest,
        now_ns: u64,
    ) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        if let Some(trial) = &mut state.trial {
            trial.before.remove(knob);
        }
        state.set(&BTreeMap::from([(knob.clone(), request.value.clone())]));
        if let Some(cell) = state.knobs.get_mut(knob) {
            cell.pinned_until_ns = Some(now_ns.saturating_add(ns(request.for_ms)));
        }
        self.end_trial(pool, ChangeStatus::Superseded);
    }

    /// Releases a knob; it goes back to its last confirmed value.
    ///
    /// # Errors
    /// `disabled`, and `unknown` when there is no such pin.
    pub fn unpin(&mut self, pool: &PoolName, knob: &KnobName) -> Result<(), Refusal> {
        self.check_enabled()?;
        if self.pool(pool)?.knob(pool, knob)?.pinned_until_ns.is_none() {
            let detail = format!("nobody holds `{knob}` in pool `{pool}`");
            return Err(Box::new(Problem::new(ProblemKind::Unknown, detail)));
        }
        self.release_pin(pool, knob);
        Ok(())
    }

    pub(super) fn release_pin(&mut self, pool: &PoolName, knob: &KnobName) {
        let Some(state) = self.pools.get_mut(pool) else {
            return;
        };
        let Some(cell) = state.knobs.get_mut(knob) else {
            return;
        };
        cell.pinned_until_ns = None;
        if cell.target == cell.confirmed {
            return;
        }
        let confirmed = BTreeMap::from([(knob.clone(), cell.confirmed.clone())]);
        state.set_and_owe(&confirmed);
        self.end_trial(pool, ChangeStatus::Superseded);
    }

    /// Judges a reset of one pool, or of all.
    ///
    /// # Errors
    /// `disabled` and `unknown`.
    pub fn plan_reset(&self, pool: Option<&PoolName>) -> Result<Vec<Write>, Refusal> {
        self.check_enabled()?;
        if let Some(name) = pool {
            self.pool(name)?;
        }
        let mut writes = Vec::new();
        for (name, state) in &self.pools {
            if pool.is_none_or(|only| only == name) {
                let baseline = state
                    .knobs
                    .iter()
                    .map(|(name, knob)| (name.clone(), knob.spec.baseline.clone()))
                    .collect();
                writes.extend(state.writes(name, &baseline));
            }
        }
        Ok(writes)
    }

    /// Makes the baseline the confirmed set of one pool, or of all: the knobs have taken it. Trials end as superseded, and
    /// pins are released.
    pub fn commit_reset(&mut self, pool: Option<&PoolName>) {
        let names: Vec<PoolName> = self
            .pools
            .keys()
            .filter(|name| pool.is_none_or(|only| only == *name))
            .cloned()
            .collect();
        for name in &names {
            if let Some(state) = self.pools.get_mut(name) {
                let mut baseline = BTreeMap::new();
                for (knob, cell) in &mut state.knobs {
                    cell.confirmed = cell.spec.baseline.clone();
                    cell.tuned = false;
                    cell.pinned_until_ns = None;
                    baseline.insert(knob.clone(), cell.spec.baseline.clone());
                }
                state.set(&baseline);
                if let Some(trial) = &mut state.trial {
                    trial.before.clear();
                }
            }
            self.end_trial(name, ChangeStatus::Superseded);
        }
    }
}
