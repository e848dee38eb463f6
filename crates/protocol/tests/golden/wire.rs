//! The messages of the control API, each with every field filled in.

use std::collections::BTreeMap;
use trimtab_protocol::change::{
    ChangeReceipt, ChangeRequest, ChangeStatus, EndTrialRequest, KnobReading, Phase, TrialState,
};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue, Shrink};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest, LeaseState};
use trimtab_protocol::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use trimtab_protocol::operator::{
    FreezeRequest, OperatorReceipt, PinRequest, PoolReceipt, ResetRequest,
};
use trimtab_protocol::problem::{Allowed, Fence, InForce, Problem, ProblemKind};
use trimtab_protocol::state::{
    CgroupFigures, Counters, Gauges, Histograms, HostState, PoolKind, PoolState, ProcessFigures,
    RuntimeFigures, feature,
};

pub(super) fn instance() -> InstanceId {
    "7f3a9c01d2e4b586".into()
}

pub(super) fn values(pairs: &[(&str, u64)]) -> BTreeMap<KnobName, KnobValue> {
    pairs
        .iter()
        .map(|(name, value)| (KnobName::from(*name), KnobValue::from(*value)))
        .collect()
}

fn words(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn knob(value: u64, effective: u64, unit: &str, kind: KnobKind) -> KnobState {
    KnobState {
        value: value.into(),
        effective: effective.into(),
        baseline: 16.into(),
        min: 1,
        max: 256,
        granularity: 1,
        max_ratio_bp: 20_000,
        unit: unit.to_owned(),
        kind,
        choices: Vec::new(),
        shrink: Shrink::Drains,
        persists: false,
        pinned_for_ms: None,
    }
}

fn level_knob() -> KnobState {
    KnobState {
        value: KnobValue::Choice("moderate".to_owned()),
        effective: KnobValue::Choice("moderate".to_owned()),
        baseline: KnobValue::Choice("conservative".to_owned()),
        min: 0,
        max: 2,
        choices: ["conservative", "moderate", "aggressive"]
            .map(str::to_owned)
            .to_vec(),
        shrink: Shrink::Kills,
        persists: true,
        pinned_for_ms: Some(90_000),
        ..knob(0, 0, "level", KnobKind::Choice)
    }
}

fn histogram(durations_us: &[u64]) -> Option<Histogram> {
    let mut histogram = Histogram::default();
    durations_us.iter().for_each(|us| histogram.record(*us));
    Some(histogram)
}

fn web_pool() -> PoolState {
    PoolState {
        kind: PoolKind::Web,
        generation: Generation(12),
        revision: Revision(5),
        phase: Phase::Trial,
        trial: Some(TrialState {
            generation: Generation(12),
            expires_in_ms: 21_500,
            before: values(&[("workers", 16)]),
        }),
        settling: true,
        knobs: BTreeMap::from([
            (
                KnobName::from(KnobName::WORKERS),
                knob(12, 14, "workers", KnobKind::Integer),
            ),
            (
                KnobName::from(KnobName::TIMEOUT_MS),
                knob(200, 200, "ms", KnobKind::DurationMs),
            ),
        ]),
        counters: Counters {
            arrived: Some(1_300),
            started: Some(1_250),
            completed: Some(1_200),
            failed: Some(8),
            rejected: Some(3),
            timed_out: Some(20),
            abandoned: Some(2),
            exempt: Some(4),
            busy_us: Some(48_000_000),
            wait_us: Some(9_000_000),
            cpu_us: Some(11_000_000),
        },
        gauges: Gauges {
            busy: Some(14),
            queued: Some(33),
            oldest_wait_ms: Some(180),
            tasks: Some(47),
            named: BTreeMap::from([("object_pool_kept".to_owned(), 12)]),
        },
        histograms: Histograms {
            total_us: histogram(&[900, 1_100, 40_000]),
            wait_us: histogram(&[0, 100, 9_000]),
            service_us: histogram(&[900, 1_000, 31_000]),
            timeout_us: histogram(&[200_000]),
        },
    }
}

pub(super) fn state() -> HostState {
    let process_pool = PoolState {
        kind: PoolKind::Other,
        generation: Generation(0),
        revision: Revision(0),
        phase: Phase::Baseline,
        trial: None,
        settling: false,
        knobs: BTreeMap::from([(KnobName::from("memory_level"), level_knob())]),
        counters: Counters::default(),
        gauges: Gauges::default(),
        histograms: Histograms::default(),
    };
    HostState {
        api: 1,
        features: [
            feature::CHANGES,
            feature::FREEZE,
            feature::LEASE,
            feature::PINS,
            feature::RESET,
        ]
        .map(str::to_owned)
        .to_vec(),
        app: "shop".to_owned(),
        version: "2.4.1".to_owned(),
        labels: words(&[("zone", "eu-1")]),
        instance: instance(),
        at_ns: 918_273_645_000,
        pid: 4_242,
        uptime_ms: 3_600_000,
        epoch: Epoch(3),
        generation: Generation(12),
        lease: Some(LeaseState {
            holder: "trimtab@node-7".to_owned(),
            expires_in_ms: 4_200,
        }),
        frozen: false,
        freeze_persistent: true,
        control_disabled: false,
        process: ProcessFigures {
            cpu_us: Some(61_000_000),
            rss_bytes: Some(81_788_928),
            threads: Some(9),
            tasks: Some(61),
            runtimes: BTreeMap::from([(
                "main".to_owned(),
                RuntimeFigures {
                    workers: Some(2),
                    tasks: Some(61),
                    global_queue: Some(5),
                },
            )]),
            cgroup: Some(CgroupFigures {
                cpu_quota_millicores: Some(1_500),
                throttled_us: Some(120_000),
                memory_bytes: Some(98_566_144),
                memory_limit_bytes: Some(268_435_456),
            }),
            kit_failures: Some(0),
        },
        pools: BTreeMap::from([
            (PoolName::from(PoolName::PROCESS), process_pool),
            (PoolName::from("web"), web_pool()),
        ]),
    }
}

pub(super) fn lease_request() -> LeaseRequest {
    LeaseRequest {
        instance: instance(),
        holder: "trimtab@node-7".to_owned(),
        ttl_ms: 5_000,
        epoch: None,
    }
}

pub(super) fn lease_renewal() -> LeaseRequest {
    LeaseRequest {
        epoch: Some(Epoch(3)),
        ..lease_request()
    }
}

pub(super) fn lease_release() -> LeaseRelease {
    LeaseRelease {
        instance: instance(),
        epoch: Epoch(3),
    }
}

pub(super) fn lease_grant() -> LeaseGrant {
    LeaseGrant {
        epoch: Epoch(3),
        expires_in_ms: 5_000,
    }
}

pub(super) fn change_request() -> ChangeRequest {
    ChangeRequest {
        instance: instance(),
        epoch: Epoch(3),
        generation: Generation(12),
        pool: "web".into(),
        base_revision: Revision(4),
        trial_ms: 30_000,
        set: BTreeMap::from([
            (KnobName::from("memory_level"), level_knob().value),
            (KnobName::from("workers"), 12.into()),
        ]),
        reason: "work waits and the CPU has room".to_owned(),
    }
}

pub(super) fn change_receipt_trial() -> ChangeReceipt {
    ChangeReceipt {
        generation: Generation(12),
        pool: "web".into(),
        status: ChangeStatus::Trial,
        revision: Revision(5),
        expires_in_ms: Some(30_000),
        settling: true,
        knobs: BTreeMap::from([(
            KnobName::from("workers"),
            KnobReading {
                value: 12.into(),
                effective: 16.into(),
            },
        )]),
    }
}

pub(super) fn change_receipt_confirmed() -> ChangeReceipt {
    ChangeReceipt {
        status: ChangeStatus::Confirmed,
        expires_in_ms: None,
        settling: false,
        knobs: BTreeMap::from([(
            KnobName::from("workers"),
            KnobReading {
                value: 12.into(),
                effective: 12.into(),
            },
        )]),
        ..change_receipt_trial()
    }
}

pub(super) fn end_trial_request() -> EndTrialRequest {
    EndTrialRequest {
        instance: instance(),
        epoch: Epoch(3),
        pool: "web".into(),
    }
}

pub(super) fn freeze_request() -> FreezeRequest {
    FreezeRequest {
        reason: Some("sale until midnight".to_owned()),
    }
}

pub(super) fn pin_request() -> PinRequest {
    PinRequest {
        value: 24.into(),
        for_ms: 600_000,
    }
}

pub(super) fn reset_request() -> ResetRequest {
    ResetRequest {
        pool: Some("web".into()),
    }
}

pub(super) fn operator_receipt() -> OperatorReceipt {
    OperatorReceipt {
        frozen: true,
        freeze_persistent: true,
        pools: BTreeMap::from([(
            PoolName::from("web"),
            PoolReceipt {
                revision: Revision(6),
                values: values(&[("timeout_ms", 200), ("workers", 16)]),
            },
        )]),
    }
}

/// One problem of each kind, with the fields that go with it.
pub(super) fn problems() -> Vec<Problem> {
    let kinds = [
        ProblemKind::Malformed,
        ProblemKind::Unauthenticated,
        ProblemKind::Forbidden,
        ProblemKind::Unknown,
        ProblemKind::Method,
        ProblemKind::Stale,
        ProblemKind::Leased,
        ProblemKind::TooLarge,
        ProblemKind::MediaType,
        ProblemKind::Value,
        ProblemKind::Frozen,
        ProblemKind::Pinned,
        ProblemKind::TooSoon,
        ProblemKind::Disabled,
        ProblemKind::KnobFailed,
        ProblemKind::Internal,
    ];
    kinds.map(problem).to_vec()
}

/// A confirmation that came after the host had undone the change.
pub(super) fn problem_too_late() -> Problem {
    let mut problem = Problem::new(ProblemKind::Stale, "change 12 is no longer on trial");
    problem.pool = Some("web".into());
    problem.receipt = Some(ChangeReceipt {
        status: ChangeStatus::Expired,
        ..change_receipt_confirmed()
    });
    problem
}

/// The match is exhaustive, so a new kind does not compile until it has a case here; add it to the list above as well.
fn problem(kind: ProblemKind) -> Problem {
    let detail = match kind {
        ProblemKind::Malformed => "unknown field `worker` at line 1 column 9",
        ProblemKind::Unauthenticated => "there is no Authorization header",
        ProblemKind::Forbidden => "this token is not the operator's",
        ProblemKind::Unknown => "there is no pool `wen`; there are `process` and `web`",
        ProblemKind::Method => "PATCH is not offered here",
        ProblemKind::Stale => "the plan was made for revision 4, and 5 is in force",
        ProblemKind::Leased => "`trimtab@node-8` holds the lease",
        ProblemKind::TooLarge => "a request is at most 65536 bytes",
        ProblemKind::MediaType => "the content type is text/plain",
        ProblemKind::Value => "workers: 500 is above 32, the most of one change",
        ProblemKind::Frozen => "an operator froze the host: sale until midnight",
        ProblemKind::Pinned => "an operator holds `workers` for 90 s more",
        ProblemKind::TooSoon => "12 changes of `web` within 60 s are the most",
        ProblemKind::Disabled => "TRIMTAB_DISABLE is set in the host",
        ProblemKind::KnobFailed => "the pool's owner is gone",
        ProblemKind::Internal => "a panic in the kit was caught",
    };
    let mut problem = Problem::new(kind, detail);
    if kind == ProblemKind::Stale {
        problem.fence = Some(Fence::Revision);
        problem.in_force = Some(InForce {
            instance: instance(),
            epoch: Epoch(3),
            generation: Generation(12),
            revision: Some(Revision(5)),
        });
    }
    if kind == ProblemKind::Value {
        problem.allowed = Some(Allowed {
            knob: "workers".into(),
            value: 500.into(),
            min: 8,
            max: 32,
            granularity: 1,
            choices: vec!["of a choice knob".to_owned()],
        });
    }
    if kind == ProblemKind::Leased {
        problem.holder = Some("trimtab@node-8".to_owned());
    }
    if matches!(
        kind,
        ProblemKind::Leased | ProblemKind::Pinned | ProblemKind::TooSoon
    ) {
        problem.retry_after_ms = Some(3_800);
    }
    if matches!(
        kind,
        ProblemKind::Stale | ProblemKind::Value | ProblemKind::TooSoon
    ) {
        problem.pool = Some("web".into());
    }
    problem
}
