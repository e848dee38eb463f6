//! A change of one pool: who may make it, what it may contain, and how it becomes a trial.

use super::bounds::Rules;
use super::{Governor, Pool, Refusal, Trial, Write, ms_until, ns};
use std::collections::BTreeMap;
use trimtab_protocol::change::{
    CHANGE_WINDOW_MS, CHANGES_PER_WINDOW, ChangeReceipt, ChangeRequest, ChangeStatus, TRIAL_MS_MAX,
    TRIAL_MS_MIN,
};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::problem::{Fence, Problem, ProblemKind};

/// A change that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePlan {
    /// The request.
    pub request: ChangeRequest,
    /// The knobs to be set, all or none.
    pub writes: Vec<Write>,
    /// When the trial ends unless the lease is renewed, on the boot-time clock.
    pub ends_ns: u64,
    deadline_ns: u64,
}

/// What is to be done about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// Nothing: it was made before, and this was the answer.
    Answered(ChangeReceipt),
    /// Set the knobs, then commit or forget it.
    Apply(ChangePlan),
}

impl Governor {
    /// Judges a change. `busy` is how much work runs in the pool, where that is known.
    ///
    /// # Errors
    /// `stale`, `disabled`, `unknown`, `frozen`, `pinned`, `value`, `too-soon` and, while the pool still owes an undo, `knob-failed`.
    pub fn plan_change(
        &self,
        request: &ChangeRequest,
        busy: Option<u64>,
        now_ns: u64,
    ) -> Result<Planned, Refusal> {
        self.check_instance(&request.instance)?;
        if let Some(receipt) = self.outcomes.answer(request) {
            return Ok(Planned::Answered(receipt));
        }
        self.check_enabled()?;
        self.check_epoch(request.epoch, Some(&request.pool))?;
        self.check_generation(request)?;
        let pool = self.pool(&request.pool)?;
        self.check_stillness(request, pool, now_ns)?;
        check_trial_ms(request)?;
        pool.check_set(request, busy, now_ns)?;
        let deadline_ns = now_ns.saturating_add(ns(request.trial_ms));
        let lease_ns = self.lease.as_ref().map_or(now_ns, |lease| lease.ends_ns);
        Ok(Planned::Apply(ChangePlan {
            request: request.clone(),
            writes: pool.writes(&request.pool, &request.set),
            ends_ns: deadline_ns.min(lease_ns),
            deadline_ns,
        }))
    }

    /// Makes a planned change the pool's trial: its knobs have been set.
    pub fn commit_change(&mut self, plan: &ChangePlan, now_ns: u64) {
        let request = &plan.request;
        let Some(pool) = self.pools.get_mut(&request.pool) else {
            return;
        };
        let before = pool
            .targets()
            .into_iter()
            .filter(|(name, _)| request.set.contains_key(name))
            .collect();
        pool.set(&request.set);
        pool.generation = request.generation;
        if pool.recent_ns.len() >= CHANGES_PER_WINDOW {
            pool.recent_ns.pop_front();
        }
        pool.recent_ns.push_back(now_ns);
        pool.trial = Some(Trial {
            generation: request.generation,
            revision: pool.revision,
            deadline_ns: plan.deadline_ns,
            before,
        });
        self.generation = request.generation;
        let ends_ns = self.trial_end_ns(&request.pool);
        let mut receipt = self.receipt(request.generation, &request.pool, ChangeStatus::Trial);
        receipt.expires_in_ms = ends_ns.map(|ends_ns| ms_until(ends_ns, now_ns));
        self.outcomes.began(request.clone(), receipt);
    }

    /// The answer to a change that was just committed, with what the knobs have said since.
    #[must_use]
    pub fn finish_change(&mut self, plan: &ChangePlan) -> Option<ChangeReceipt> {
        let request = &plan.request;
        let fresh = self.receipt(request.generation, &request.pool, ChangeStatus::Trial);
        let receipt = self.outcomes.receipt_mut(request.generation)?;
        receipt.settling = fresh.settling;
        receipt.knobs = fresh.knobs;
        Some(receipt.clone())
    }

    fn check_generation(&self, request: &ChangeRequest) -> Result<(), Refusal> {
        if request.generation > self.generation {
            return Ok(());
        }
        let detail = format!(
            "generation {} is not above {}, the last one accepted",
            request.generation, self.generation
        );
        Err(self.stale(Some(Fence::Generation), Some(&request.pool), detail))
    }

    /// Whether the pool is where the plan thought it was, and nothing is under way in it.
    fn check_stillness(
        &self,
        request: &ChangeRequest,
        pool: &Pool,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let name = &request.pool;
        if self.frozen {
            let detail = "an operator froze the host, and only an operator lifts that";
            return Err(Box::new(Problem::new(ProblemKind::Frozen, detail)));
        }
        if request.base_revision != pool.revision {
            let detail = format!(
                "the plan was made on revision {}, and `{name}` is at {}",
                request.base_revision, pool.revision
            );
            return Err(self.stale(Some(Fence::Revision), Some(name), detail));
        }
        if let Some(trial) = &pool.trial {
            let detail = format!(
                "`{name}` has an open trial: generation {}",
                trial.generation
            );
            let mut refusal = self.stale(None, Some(name), detail);
            let ends_ns = self.trial_end_ns(name).unwrap_or(trial.deadline_ns);
            refusal.retry_after_ms = Some(ms_until(ends_ns, now_ns));
            return Err(refusal);
        }
        if let Some((knob, _)) = pool.knobs.iter().find(|(_, knob)| knob.owed.is_some()) {
            let detail = format!("`{knob}` in pool `{name}` has not yet taken the value before");
            return Err(Box::new(Problem::new(ProblemKind::KnobFailed, detail)));
        }
        Ok(())
    }
}

impl Pool {
    fn check_set(
        &self,
        request: &ChangeRequest,
        busy: Option<u64>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let pool = &request.pool;
        if request.set.is_empty() {
            let detail = "`set` names no knob";
            return Err(Box::new(Problem::new(ProblemKind::Value, detail)));
        }
        let proven = self.is_proven(&request.set);
        let rules = if proven {
            Rules::BoundsOnly
        } else {
            Rules::All
        };
        for (name, value) in &request.set {
            let knob = self.knob(pool, name)?;
            if let Some(until_ns) = knob.pinned_until_ns {
                let detail = format!("an operator holds `{name}` in pool `{pool}`");
                let mut problem = Problem::new(ProblemKind::Pinned, detail);
                problem.pool = Some(pool.clone());
                problem.retry_after_ms = Some(ms_until(until_ns, now_ns));
                return Err(Box::new(problem));
            }
            knob.check(pool, value, rules, busy)?;
        }
        if proven {
            return Ok(());
        }
        self.check_rate(pool, now_ns)
    }

    pub(super) fn knob(&self, pool: &PoolName, name: &KnobName) -> Result<&super::Knob, Refusal> {
        self.knobs.get(name).ok_or_else(|| {
            let detail = format!("pool `{pool}` has no knob `{name}`");
            let mut problem = Problem::new(ProblemKind::Unknown, detail);
            problem.pool = Some(pool.clone());
            Box::new(problem)
        })
    }

    fn check_rate(&self, pool: &PoolName, now_ns: u64) -> Result<(), Refusal> {
        let window_ns = ns(CHANGE_WINDOW_MS);
        let in_window = |at_ns: &&u64| now_ns.saturating_sub(**at_ns) < window_ns;
        let recent = self.recent_ns.iter().filter(in_window).count();
        if recent < CHANGES_PER_WINDOW {
            return Ok(());
        }
        let at_ns = self.recent_ns.front().copied().unwrap_or(now_ns);
        let detail = format!("pool `{pool}` changed {recent} times within {CHANGE_WINDOW_MS} ms");
        let mut problem = Problem::new(ProblemKind::TooSoon, detail);
        problem.pool = Some(pool.clone());
        problem.retry_after_ms = Some(ms_until(at_ns.saturating_add(window_ns), now_ns));
        Err(Box::new(problem))
    }

    /// Whether the pool would stand at its baseline or at a set confirmed in this instance; pinned knobs are not looked at.
    fn is_proven(&self, set: &BTreeMap<KnobName, KnobValue>) -> bool {
        let stands_at = |goal: &dyn Fn(&KnobName) -> Option<KnobValue>| {
            self.knobs.iter().all(|(name, knob)| {
                knob.pinned_until_ns.is_some()
                    || goal(name).as_ref() == Some(set.get(name).unwrap_or(&knob.target))
            })
        };
        let baseline = |name: &KnobName| Some(self.knobs.get(name)?.spec.baseline.clone());
        stands_at(&baseline)
            || self
                .proven
                .iter()
                .any(|proven| stands_at(&|name| proven.get(name).cloned()))
    }

    /// The writes that bring the pool to a set; knobs that stand there already are left alone.
    pub(super) fn writes(
        &self,
        pool: &PoolName,
        set: &BTreeMap<KnobName, KnobValue>,
    ) -> Vec<Write> {
        let mut writes = Vec::new();
        for (name, value) in set {
            if let Some(knob) = self.knobs.get(name)
                && knob.target != *value
            {
                writes.push(Write {
                    pool: pool.clone(),
                    knob: name.clone(),
                    before: knob.target.clone(),
                    value: value.clone(),
                });
            }
        }
        writes
    }
}

fn check_trial_ms(request: &ChangeRequest) -> Result<(), Refusal> {
    if (TRIAL_MS_MIN..=TRIAL_MS_MAX).contains(&request.trial_ms) {
        return Ok(());
    }
    let detail = format!(
        "`trial_ms` = {} is not within {TRIAL_MS_MIN} and {TRIAL_MS_MAX}",
        request.trial_ms
    );
    Err(Box::new(Problem::new(ProblemKind::Value, detail)))
}
