//! What the governor shows: the state of the pools, and the answers to those who changed something.

use super::{Governor, Knob, Pool, ms_until};
use std::collections::BTreeMap;
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, KnobReading, TrialState};
use trimtab_protocol::knob::KnobState;
use trimtab_protocol::lease::LeaseState;
use trimtab_protocol::name::{Epoch, Generation, PoolName};
use trimtab_protocol::operator::PoolReceipt;
use trimtab_protocol::state::{Counters, Gauges, Histograms, PoolKind, PoolState};

impl Governor {
    /// The number of the last lease granted.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The highest generation accepted.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The lease in force.
    #[must_use]
    pub fn lease_state(&self, now_ns: u64) -> Option<LeaseState> {
        let lease = self.lease.as_ref()?;
        Some(LeaseState {
            holder: lease.holder.clone(),
            expires_in_ms: ms_until(lease.ends_ns, now_ns),
        })
    }

    /// The pools without their figures and without what their knobs say of themselves (`persists`).
    #[must_use]
    pub fn pool_states(&self, now_ns: u64) -> BTreeMap<PoolName, PoolState> {
        self.pools
            .iter()
            .map(|(name, pool)| (name.clone(), self.pool_state(name, pool, now_ns)))
            .collect()
    }

    /// The pools that an operator touched, with their revision and the targets now in force.
    #[must_use]
    pub fn pool_receipts(&self, only: Option<&PoolName>) -> BTreeMap<PoolName, PoolReceipt> {
        self.pools
            .iter()
            .filter(|(name, _)| only.is_none_or(|only| only == *name))
            .map(|(name, pool)| {
                let receipt = PoolReceipt {
                    revision: pool.revision,
                    values: pool.targets(),
                };
                (name.clone(), receipt)
            })
            .collect()
    }

    /// What a pool looks like in the answer to a change.
    pub(super) fn receipt(
        &self,
        generation: Generation,
        name: &PoolName,
        status: ChangeStatus,
    ) -> ChangeReceipt {
        let pool = self.pools.get(name);
        let reading = |knob: &Knob| KnobReading {
            value: knob.target.clone(),
            effective: knob.effective.clone(),
        };
        ChangeReceipt {
            generation,
            pool: name.clone(),
            status,
            revision: pool.map(|pool| pool.revision).unwrap_or_default(),
            expires_in_ms: None,
            settling: pool.is_some_and(Pool::is_settling),
            knobs: pool
                .iter()
                .flat_map(|pool| &pool.knobs)
                .map(|(name, knob)| (name.clone(), reading(knob)))
                .collect(),
        }
    }

    fn pool_state(&self, name: &PoolName, pool: &Pool, now_ns: u64) -> PoolState {
        let trial = pool.trial.as_ref().map(|trial| TrialState {
            generation: trial.generation,
            expires_in_ms: ms_until(self.trial_end_ns(name).unwrap_or(0), now_ns),
            before: trial.before.clone(),
        });
        PoolState {
            kind: PoolKind::default(),
            generation: pool.generation,
            revision: pool.revision,
            phase: pool.phase(),
            trial,
            settling: pool.is_settling(),
            knobs: pool
                .knobs
                .iter()
                .map(|(name, knob)| (name.clone(), knob.state(now_ns)))
                .collect(),
            counters: Counters::default(),
            gauges: Gauges::default(),
            histograms: Histograms::default(),
        }
    }
}

impl Knob {
    fn state(&self, now_ns: u64) -> KnobState {
        let spec = &self.spec;
        KnobState {
            value: self.target.clone(),
            effective: self.effective.clone(),
            baseline: spec.baseline.clone(),
            min: spec.min,
            max: spec.max,
            granularity: spec.granularity,
            max_ratio_bp: spec.max_ratio_bp,
            unit: spec.unit.to_owned(),
            kind: spec.kind,
            choices: spec.choices.clone(),
            shrink: self.shrink,
            persists: false,
            pinned_for_ms: self.pinned_until_ns.map(|until| ms_until(until, now_ns)),
        }
    }
}
