//! What one knob takes in one change: its bounds, its granularity and the largest step.

use super::{Knob, Refusal};
use trimtab_protocol::knob::{KnobKind, KnobValue, Shrink};
use trimtab_protocol::name::PoolName;
use trimtab_protocol::problem::{Allowed, Problem, ProblemKind};

/// Which of a knob's rules a value must keep. The bounds always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Everything: a new value from a sidecar.
    All,
    /// Not the step: an operator's value.
    AnyStep,
    /// Only the bounds: a value that has stood before.
    BoundsOnly,
}

impl Knob {
    /// Checks a value. `busy` is how much work runs, and matters only where a shrink would kill it.
    pub(super) fn check(
        &self,
        pool: &PoolName,
        value: &KnobValue,
        rules: Rules,
        busy: Option<u64>,
    ) -> Result<(), Refusal> {
        match (self.spec.kind, value) {
            (KnobKind::Choice, KnobValue::Choice(word)) if self.spec.choices.contains(word) => {
                Ok(())
            }
            (KnobKind::Choice, _) => Err(self.refuse(
                pool,
                value,
                (self.spec.min, self.spec.max),
                "it is not one of the choices",
            )),
            (_, KnobValue::Choice(_)) => {
                let range = self.range(rules);
                Err(self.refuse(pool, value, range, "it is not a number"))
            }
            (_, KnobValue::Integer(number)) => self.check_number(pool, value, *number, rules, busy),
        }
    }

    fn check_number(
        &self,
        pool: &PoolName,
        value: &KnobValue,
        number: u64,
        rules: Rules,
        busy: Option<u64>,
    ) -> Result<(), Refusal> {
        let (low, high) = self.range(rules);
        if !(self.spec.min..=self.spec.max).contains(&number) {
            return Err(self.refuse(pool, value, (low, high), "it is out of bounds"));
        }
        if rules != Rules::BoundsOnly
            && !(number - self.spec.min).is_multiple_of(self.spec.granularity.max(1))
        {
            return Err(self.refuse(pool, value, (low, high), "it is between two steps"));
        }
        if !(low..=high).contains(&number) {
            return Err(self.refuse(pool, value, (low, high), "the step is too large"));
        }
        self.check_kill(pool, value, number, (low, high), busy)
    }

    /// A knob whose shrink kills does not go below what is busy; where that is not known, it does not shrink.
    fn check_kill(
        &self,
        pool: &PoolName,
        value: &KnobValue,
        number: u64,
        (low, high): (u64, u64),
        busy: Option<u64>,
    ) -> Result<(), Refusal> {
        let shrinks = self.target.as_integer().is_some_and(|now| number < now);
        if self.shrink == Shrink::Drains || !shrinks {
            return Ok(());
        }
        match busy {
            Some(busy) if number >= busy => Ok(()),
            Some(busy) => {
                let why = "a shrink of this knob kills, and more than that is busy";
                Err(self.refuse(pool, value, (low.max(busy), high), why))
            }
            None => {
                let why = "a shrink of this knob kills, and it is not known how much is busy";
                let now = self.target.as_integer().unwrap_or(low);
                Err(self.refuse(pool, value, (now, high), why))
            }
        }
    }

    /// The values of one change under these rules, both ends included.
    fn range(&self, rules: Rules) -> (u64, u64) {
        match rules {
            Rules::All => self.step_range(),
            Rules::AnyStep | Rules::BoundsOnly => (self.spec.min, self.spec.max),
        }
    }

    /// The values that one step reaches: by the ratio, but always at least one granule, so that a small value can grow.
    fn step_range(&self) -> (u64, u64) {
        let spec = &self.spec;
        let Some(now) = self.target.as_integer() else {
            return (spec.min, spec.max);
        };
        let granule = spec.granularity.max(1);
        let ratio_bp = u128::from(spec.max_ratio_bp.max(BP));
        let scaled = u128::from(now) * ratio_bp / u128::from(BP);
        let high = u64::try_from(scaled).unwrap_or(u64::MAX);
        let low = (u128::from(now) * u128::from(BP)).div_ceil(ratio_bp);
        let low = u64::try_from(low).unwrap_or(u64::MAX);
        // Someone else may have set the knob out of its bounds; then the way back in is open.
        let low = low.min(now.saturating_sub(granule)).min(spec.max);
        let high = high.max(now.saturating_add(granule)).max(spec.min);
        let up = |number: u64| spec.min + (number - spec.min).div_ceil(granule) * granule;
        let down = |number: u64| spec.min + (number - spec.min) / granule * granule;
        let top = down(spec.max);
        (up(low.max(spec.min)).min(top), down(high.min(spec.max)))
    }

    /// The value one step nearer to the baseline.
    pub(super) fn step_to_baseline(&self) -> KnobValue {
        let baseline = &self.spec.baseline;
        let (Some(now), Some(goal)) = (self.target.as_integer(), baseline.as_integer()) else {
            return baseline.clone();
        };
        let (low, high) = self.step_range();
        let next = goal.clamp(low, high.max(low));
        // Where no aligned value lies between here and the baseline, the baseline itself is the next step.
        let closer = if goal < now { next < now } else { next > now };
        KnobValue::Integer(if closer { next } else { goal })
    }

    fn refuse(
        &self,
        pool: &PoolName,
        value: &KnobValue,
        (min, max): (u64, u64),
        why: &str,
    ) -> Refusal {
        let knob = &self.spec.name;
        let detail = format!("`{knob}` = {value} in pool `{pool}`: {why}");
        let mut problem = Problem::new(ProblemKind::Value, detail);
        problem.pool = Some(pool.clone());
        problem.allowed = Some(Allowed {
            knob: knob.clone(),
            value: value.clone(),
            min,
            max,
            granularity: self.spec.granularity,
            choices: self.spec.choices.clone(),
        });
        Box::new(problem)
    }
}

/// One, in basis points.
const BP: u32 = 10_000;
