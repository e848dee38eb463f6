//! What a command would change, from the host's state: for a dry run, and to say afterwards from what to what.

use super::{Refusal, refused};
use std::collections::BTreeMap;
use trimtab_protocol::command::{COMMAND_MS_MAX, PinCommand, UnpinCommand};
use trimtab_protocol::decision::ValueChange;
use trimtab_protocol::knob::{KnobState, KnobValue};
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::operator::{OperatorReceipt, ResetRequest};
use trimtab_protocol::problem::{Allowed, ProblemKind};
use trimtab_protocol::state::{HostState, PoolState, feature};

/// The targets that change, by pool and knob.
pub(super) type Values = BTreeMap<PoolName, BTreeMap<KnobName, ValueChange>>;

/// The pools whose trial is open.
pub(super) fn on_trial(state: &HostState) -> Vec<&PoolName> {
    let open = state.pools.iter().filter(|(_, pool)| pool.trial.is_some());
    open.map(|(name, _)| name).collect()
}

/// What a freeze would change: the values of open trials go back.
pub(super) fn freeze(state: &HostState) -> Values {
    let mut values = Values::new();
    for (name, pool) in &state.pools {
        if let Some(trial) = &pool.trial {
            put(&mut values, name, pool, &trial.before);
        }
    }
    values
}

/// The value that a pin would hold, and what would change for it. The host itself may refuse more, such as a shrink below
/// what is busy for a knob that would kill work.
pub(super) fn pin(state: &HostState, command: &PinCommand) -> Result<(KnobValue, Values), Refusal> {
    offers(state, feature::PINS)?;
    if !(1..=COMMAND_MS_MAX).contains(&command.for_ms) {
        let detail = format!("`for_ms` must be from 1 to {COMMAND_MS_MAX}");
        return Err(refused(ProblemKind::Value, detail));
    }
    let pool = find(state, &command.pool)?;
    let knob = knob(pool, &command.pool, &command.knob)?;
    let value = command.value.clone().unwrap_or_else(|| knob.value.clone());
    fits(&command.pool, &command.knob, knob, &value)?;
    let mut values = Values::new();
    let set = BTreeMap::from([(command.knob.clone(), value.clone())]);
    put(&mut values, &command.pool, pool, &set);
    Ok((value, values))
}

/// Whether there is a pin to be released.
pub(super) fn unpin(state: &HostState, command: &UnpinCommand) -> Result<(), Refusal> {
    offers(state, feature::PINS)?;
    let pool = find(state, &command.pool)?;
    let knob = knob(pool, &command.pool, &command.knob)?;
    if knob.pinned_for_ms.is_some() {
        return Ok(());
    }
    let detail = format!("nobody holds `{}` of `{}`", command.knob, command.pool);
    Err(about(ProblemKind::Unknown, &command.pool, detail))
}

/// What a reset would change.
pub(super) fn reset(state: &HostState, request: &ResetRequest) -> Result<Values, Refusal> {
    offers(state, feature::RESET)?;
    if let Some(pool) = &request.pool {
        find(state, pool)?;
    }
    let mut values = Values::new();
    for (name, pool) in &state.pools {
        if request.pool.as_ref().is_none_or(|only| only == name) {
            let baseline = pool.knobs.iter();
            let baseline = baseline.map(|(name, knob)| (name.clone(), knob.baseline.clone()));
            put(&mut values, name, pool, &baseline.collect());
        }
    }
    Ok(values)
}

/// What did change, from the state before and the host's receipt.
pub(super) fn changed(before: &HostState, receipt: &OperatorReceipt) -> Values {
    let mut values = Values::new();
    for (name, after) in &receipt.pools {
        if let Some(pool) = before.pools.get(name) {
            put(&mut values, name, pool, &after.values);
        }
    }
    values
}

/// The changes in words: `web workers 4 -> 12`.
pub(super) fn listed(values: &Values) -> String {
    let mut parts = Vec::new();
    for (pool, knobs) in values {
        for (knob, change) in knobs {
            parts.push(format!("{pool} {knob} {} -> {}", change.from, change.to));
        }
    }
    if parts.is_empty() {
        "no value changes".to_owned()
    } else {
        parts.join(", ")
    }
}

fn put(
    values: &mut Values,
    name: &PoolName,
    pool: &PoolState,
    set: &BTreeMap<KnobName, KnobValue>,
) {
    for (knob, to) in set {
        if let Some(state) = pool.knobs.get(knob)
            && state.value != *to
        {
            let change = ValueChange {
                from: state.value.clone(),
                to: to.clone(),
            };
            values
                .entry(name.clone())
                .or_default()
                .insert(knob.clone(), change);
        }
    }
}

fn offers(state: &HostState, feature: &str) -> Result<(), Refusal> {
    if state.control_disabled {
        let detail = "control is switched off in the host";
        return Err(refused(ProblemKind::Disabled, detail));
    }
    if state.offers(feature) {
        return Ok(());
    }
    let detail = format!("this host does not offer `{feature}`");
    Err(refused(ProblemKind::Unknown, detail))
}

fn find<'s>(state: &'s HostState, name: &PoolName) -> Result<&'s PoolState, Refusal> {
    state.pools.get(name).ok_or_else(|| {
        let known: Vec<&str> = state.pools.keys().map(PoolName::as_str).collect();
        let detail = format!("there is no pool `{name}`; known are: {}", known.join(", "));
        about(ProblemKind::Unknown, name, detail)
    })
}

fn knob<'s>(
    pool: &'s PoolState,
    pool_name: &PoolName,
    name: &KnobName,
) -> Result<&'s KnobState, Refusal> {
    pool.knobs.get(name).ok_or_else(|| {
        let known: Vec<&str> = pool.knobs.keys().map(KnobName::as_str).collect();
        let known = known.join(", ");
        let detail = format!("`{pool_name}` has no knob `{name}`; it has: {known}");
        about(ProblemKind::Unknown, pool_name, detail)
    })
}

fn fits(
    pool: &PoolName,
    name: &KnobName,
    knob: &KnobState,
    value: &KnobValue,
) -> Result<(), Refusal> {
    let stood_before = *value == knob.value || *value == knob.baseline;
    let good = match value {
        KnobValue::Integer(value) => {
            let step = knob.granularity.max(1);
            knob.choices.is_empty()
                && (knob.min..=knob.max).contains(value)
                && (stood_before || (value - knob.min).is_multiple_of(step))
        }
        KnobValue::Choice(word) => knob.choices.contains(word),
    };
    if good {
        return Ok(());
    }
    let takes = if knob.choices.is_empty() {
        format!(
            "{} to {}, in steps of {}",
            knob.min,
            knob.max,
            knob.granularity.max(1)
        )
    } else {
        knob.choices.join(", ")
    };
    let detail = format!("`{name}` of `{pool}` does not take {value}; it takes {takes}");
    let mut problem = about(ProblemKind::Value, pool, detail);
    problem.allowed = Some(Allowed {
        knob: name.clone(),
        value: value.clone(),
        min: knob.min,
        max: knob.max,
        granularity: knob.granularity,
        choices: knob.choices.clone(),
    });
    Err(problem)
}

fn about(kind: ProblemKind, pool: &PoolName, detail: String) -> Refusal {
    let mut problem = refused(kind, detail);
    problem.pool = Some(pool.clone());
    problem
}
