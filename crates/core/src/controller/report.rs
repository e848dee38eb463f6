//! The host as the controller sees it, for people: its status and the sample of the tick.

use super::others::untunable;
use super::round::Deltas;
use super::{Controller, Tuner, tunable};
use crate::guard::{Bounds, takes};
use crate::moment::Moment;
use crate::number::fraction;
use crate::observation::Observation;
use crate::profile::Profile;
use crate::signal::HostSignals;
use crate::window::PoolDelta;
use std::collections::BTreeMap;
use trimtab_protocol::decision::Absence;
use trimtab_protocol::knob::KnobState;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::{HostState, PoolState, feature};
use trimtab_protocol::view::{
    DecisionRecord, HostStatus, KnobStatus, PoolSample, PoolStatus, Sample,
};

/// The status after a tick; the texts are left empty, for sentences are made where decisions are recorded.
pub(super) fn status(
    controller: &Controller,
    observation: Option<&Observation>,
    signals: &HostSignals,
    records: &[(Option<PoolName>, DecisionRecord)],
    at: Moment,
    at_ms: u64,
) -> HostStatus {
    let state = observation.and_then(|observation| observation.state.fresh());
    let settings = &controller.settings;
    HostStatus {
        host: settings.host.clone(),
        mode: settings.mode,
        absent: if state.is_none() {
            Some(Absence::NotYet)
        } else {
            None
        },
        summary: String::new(),
        app: state.map(|state| state.app.clone()).unwrap_or_default(),
        version: state.map(|state| state.version.clone()).unwrap_or_default(),
        instance: controller.instance.clone(),
        pid: observation.and_then(|observation| observation.pid),
        frozen: controller.frozen || state.is_some_and(|state| state.frozen),
        lease_holder: state
            .and_then(|state| state.lease.as_ref())
            .map(|lease| lease.holder.clone()),
        lease_ours: controller.lease.is_some()
            && state
                .and_then(|state| state.lease.as_ref())
                .is_some_and(|lease| lease.holder == settings.holder),
        lease_expires_in_ms: state
            .and_then(|state| state.lease.as_ref())
            .map(|lease| lease.expires_in_ms),
        epoch: state.map(|state| state.epoch),
        uptime_ms: state.map(|state| state.uptime_ms),
        held: BTreeMap::new(),
        age_ms: observation.map(|observation| at.since(observation.at).as_ms()),
        conformance: state.map_or(0, conformance),
        sample: sample(observation, signals, at, at_ms),
        pools: state
            .map(|state| pools(controller, state, records, at))
            .unwrap_or_default(),
    }
}

/// 0: state only; 1: changes; 2: changes under a lease, with freeze and reset.
fn conformance(state: &HostState) -> u8 {
    let all = [
        feature::CHANGES,
        feature::LEASE,
        feature::FREEZE,
        feature::RESET,
    ];
    if all.iter().all(|feature| state.offers(feature)) {
        2
    } else {
        u8::from(state.offers(feature::CHANGES))
    }
}

fn sample(
    observation: Option<&Observation>,
    signals: &HostSignals,
    at: Moment,
    at_ms: u64,
) -> Sample {
    let process = observation.and_then(|observation| observation.process.fresh());
    let state = observation.and_then(|observation| observation.state.fresh());
    Sample {
        at_ms,
        moment_ns: at.as_boot_ns(),
        cpu_cores: signals.cpu_cores,
        quota_cores: signals.quota_cores,
        throttled_share: signals.throttled_share,
        rss_bytes: process.map(|process| process.rss_bytes),
        memory_limit_bytes: signals.memory_limit_bytes,
        threads: process.map(|process| process.threads),
        tasks: state.and_then(|state| state.process.tasks),
        read_bytes_per_s: signals.io.read_per_s,
        written_bytes_per_s: signals.io.written_per_s,
        received_bytes_per_s: signals.io.received_per_s,
        sent_bytes_per_s: signals.io.sent_per_s,
        pools: BTreeMap::new(),
    }
}

/// Adds what each pool did in this tick to the sample.
pub(super) fn fill_rates(
    sample: &mut Sample,
    controller: &Controller,
    state: &HostState,
    deltas: &Deltas<'_>,
) {
    for (name, pool) in tunable(state) {
        let delta = deltas.get(name).and_then(|delta| delta.as_deref().ok());
        let slo_ms = controller
            .profile_of(name, pool)
            .and_then(|profile| Tuner::slo_ms(pool, profile));
        sample
            .pools
            .insert(name.clone(), pool_sample(pool, delta, slo_ms));
    }
}

fn pool_sample(pool: &PoolState, delta: Option<&PoolDelta>, slo_ms: Option<u64>) -> PoolSample {
    let value = |knob: &str| {
        pool.knobs
            .get(knob)
            .and_then(|knob| knob.value.as_integer())
    };
    let rate = |count: fn(&PoolDelta) -> u64| {
        delta.map(|delta| fraction(count(delta)) / delta.span.as_secs_f64())
    };
    let quantile = |basis_points| delta?.total.as_ref()?.quantile_us(basis_points);
    PoolSample {
        workers: value(KnobName::WORKERS),
        timeout_ms: value(KnobName::TIMEOUT_MS),
        queue_limit: value(KnobName::QUEUE_LIMIT),
        busy: delta.map(PoolDelta::busy),
        queued: delta.map(PoolDelta::waiting),
        arrivals_per_s: rate(|delta| delta.arrived),
        completions_per_s: rate(|delta| delta.completed),
        goodput_per_s: delta.map(|delta| fraction(delta.good(slo_ms)) / delta.span.as_secs_f64()),
        lost_per_s: rate(|delta| delta.lost),
        failed_per_s: rate(|delta| delta.failed),
        p50_us: quantile(5_000),
        p95_us: quantile(9_500),
        p99_us: quantile(9_900),
        wait_p95_us: delta.and_then(|delta| delta.wait.as_ref()?.quantile_us(9_500)),
    }
}

fn pools(
    controller: &Controller,
    state: &HostState,
    records: &[(Option<PoolName>, DecisionRecord)],
    at: Moment,
) -> BTreeMap<PoolName, PoolStatus> {
    let all = tunable(state).chain(untunable(state));
    let described = all.filter_map(|(name, pool)| {
        let has_workers = pool.knobs.contains_key(KnobName::WORKERS);
        let profile = if has_workers {
            controller.profile_of(name, pool)?
        } else {
            controller.profile_of_other(name, state)?
        };
        let decision = records
            .iter()
            .rev()
            .find(|(of, _)| of.as_ref() == Some(name))
            .map(|(_, record)| record.clone());
        let tuner = controller.tuners.get(name);
        let status = PoolStatus {
            profile: profile.name.clone(),
            profile_basis: controller
                .choices
                .basis(&controller.settings, name, pool, at),
            phase: pool.phase,
            generation: pool.generation,
            trial_expires_in_ms: pool.trial.as_ref().map(|trial| trial.expires_in_ms),
            knobs: knobs(pool, profile),
            figures: pool.gauges.named.clone(),
            inert: if has_workers {
                inert(controller, pool, state, profile)
            } else {
                Vec::new()
            },
            decision,
            text: String::new(),
            changes: tuner.map_or_else(|| controller.others.counts(name), |tuner| tuner.counts),
        };
        Some((name.clone(), status))
    });
    let mut pools = BTreeMap::new();
    for (name, status) in described {
        pools.insert(name, status);
    }
    pools
}

fn knobs(pool: &PoolState, profile: &Profile) -> BTreeMap<KnobName, KnobStatus> {
    let mut knobs = BTreeMap::new();
    for (name, knob) in &pool.knobs {
        knobs.insert(name.clone(), knob_status(name, knob, profile));
    }
    knobs
}

fn knob_status(name: &KnobName, knob: &KnobState, profile: &Profile) -> KnobStatus {
    let bounds = match name.as_str() {
        KnobName::WORKERS => Bounds::of(knob, profile),
        _ => Bounds {
            min: knob.min,
            max: knob.max,
        },
    };
    KnobStatus {
        value: knob.value.clone(),
        effective: knob.effective.clone(),
        baseline: knob.baseline.clone(),
        min: bounds.min,
        max: bounds.max,
        pinned_for_ms: knob.pinned_for_ms,
    }
}

/// Keys of the profile that nothing in the host follows: its knob is missing, or takes no such value. The knobs beyond the three
/// of a pool may be the pool's own or those of any part that follows the same profile.
fn inert(
    controller: &Controller,
    pool: &PoolState,
    state: &HostState,
    profile: &Profile,
) -> Vec<String> {
    let tuned = [
        KnobName::WORKERS,
        KnobName::QUEUE_LIMIT,
        KnobName::TIMEOUT_MS,
    ];
    let lacking = tuned
        .into_iter()
        .filter(|knob| !pool.knobs.contains_key(*knob))
        .map(ToOwned::to_owned);
    let followed = |knob: &KnobName, value| {
        untunable(state)
            .filter(|(name, _)| {
                let follows = controller.profile_of_other(name, state);
                follows.is_some_and(|follows| follows.name == profile.name)
                    || name.as_str() == PoolName::PROCESS
            })
            .filter_map(|(_, other)| other.knobs.get(knob))
            .any(|knob| takes(knob, value))
    };
    let unfollowed = profile
        .others
        .iter()
        .filter(|(knob, value)| !followed(knob, &value.value))
        .map(|(knob, _)| knob.to_string());
    lacking.chain(unfollowed).collect()
}
