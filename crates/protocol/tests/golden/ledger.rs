//! What the sidecar writes to its ledger and serves, each with every field filled in.

use super::wire::{instance, values};
use std::collections::BTreeMap;
use trimtab_protocol::change::{ChangeStatus, Phase};
use trimtab_protocol::command::{
    Command, CommandReceipt, CommandRecord, CommandResult, Operator, PinCommand, PlainCommand,
    ProfileCommand, UnpinCommand,
};
use trimtab_protocol::configuration::{
    ConfigurationStatus, ReloadRecord, ReloadResult, SettingChange, SettingProblem, Watching,
};
use trimtab_protocol::decision::{
    Absence, Action, ChangeSummary, Citation, Direction, Evidence, Expectation, Level, Mode,
    ProfileBasis, Reason, Regime, TriggerLack, ValueChange, Verdict, WindowFigures,
};
use trimtab_protocol::name::{Epoch, Generation, HostId, KnobName, PoolName};
use trimtab_protocol::operator::{FreezeRequest, ResetRequest};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::view::HostBrief;
use trimtab_protocol::view::{
    ChangeCounts, Check, DecisionRecord, Decisions, Entry, EntryBody, EntryId, HostStatus, Hosts,
    IntentRecord, KnobStatus, OutcomeRecord, PoolSample, PoolStatus, Readiness, Sample, Samples,
};

fn host() -> HostId {
    "shop".into()
}

fn entry(sequence: u64, body: EntryBody, text: &str) -> Entry {
    Entry {
        id: EntryId {
            boot: "18c2f1a0".to_owned(),
            sequence,
        },
        at_ms: 1_789_000_000_000,
        moment_ns: 918_273_645_000,
        host: host(),
        instance: Some(instance()),
        pool: Some("web".into()),
        body,
        text: text.to_owned(),
    }
}

fn window(workers: u64) -> WindowFigures {
    WindowFigures {
        seconds: 20.0,
        workers,
        completed: 1_600,
        good: 1_500,
        arrivals_per_s: 90.5,
        goodput_per_s: 75.0,
        busy: 15.25,
        queued: 3.5,
        lost_per_s: 1.5,
        failed_per_s: 0.25,
        p50_us: Some(12_000),
        p99_us: Some(150_000),
        wait_p95_us: Some(40_000),
    }
}

fn decision() -> DecisionRecord {
    DecisionRecord {
        action: Action::Try,
        reason: Reason::Starved {
            queued: 3.5,
            lost_per_s: 1.5,
        },
        regime: Regime::Starved,
        level: Level::Aggressive,
        load: Some(0.75),
        profile: "web".to_owned(),
        evidence: Evidence {
            now: Some(window(16)),
            before: Some(window(12)),
            cpu_share: Some(0.5),
            memory_share: Some(0.25),
        },
        expectation: Some(Expectation {
            goodput_per_s: 90.0,
            least_gain_per_s: 2.5,
        }),
        change: Some(ChangeSummary {
            generation: Some(Generation(12)),
            set: BTreeMap::from([(
                KnobName::from("workers"),
                ValueChange {
                    from: 16.into(),
                    to: 24.into(),
                },
            )]),
        }),
        bound_by: vec![Citation {
            key: "workers.max".to_owned(),
            file: "profiles/web.toml".to_owned(),
            line: 14,
            column: 7,
        }],
    }
}

pub(super) fn entry_decision() -> Entry {
    entry(
        42,
        EntryBody::Decision(decision()),
        "workers 16 -> 24 on trial: 3.5 wait and 1.5 are lost a second",
    )
}

pub(super) fn entry_intent() -> Entry {
    let intent = IntentRecord {
        action: Action::Try,
        epoch: Epoch(3),
        generation: Generation(12),
        set: values(&[("workers", 24)]),
    };
    entry(43, EntryBody::Intent(intent), "asks for workers 24")
}

pub(super) fn entry_outcome() -> Entry {
    let outcome = OutcomeRecord {
        action: Action::Try,
        generation: Generation(12),
        reason: None,
        took_us: 850,
    };
    entry(44, EntryBody::Outcome(outcome), "the host took it")
}

pub(super) fn entry_reload() -> Entry {
    let change = SettingChange {
        key: "profile.web.workers.max".to_owned(),
        from: Some("100".to_owned()),
        to: Some("1000".to_owned()),
        set_by: Some(Citation {
            key: "workers.max".to_owned(),
            file: "profiles/web.toml".to_owned(),
            line: 22,
            column: 7,
        }),
        needs_restart: false,
        drastic: true,
    };
    let reload = ReloadRecord {
        result: ReloadResult::Waiting,
        changes: vec![change],
        problems: Vec::new(),
    };
    let mut entry = entry(46, EntryBody::Reload(reload), "it waits");
    entry.pool = None;
    entry
}

pub(super) fn configuration_status() -> ConfigurationStatus {
    ConfigurationStatus {
        files: vec!["trimtab.toml".to_owned(), "trimtab.d/10.toml".to_owned()],
        watching: Watching::Events,
        in_force_since_ms: 1_763_734_500_000,
        applied: 3,
        refused: 1,
        problems: vec![SettingProblem {
            file: "profiles/web.toml".to_owned(),
            line: Some(22),
            column: Some(7),
            message: "`workers.max` must be a whole number".to_owned(),
            notes: vec!["it takes 1 to 100000".to_owned()],
        }],
        waiting: Vec::new(),
        needs_restart: vec!["serve.address".to_owned()],
    }
}

pub(super) fn entry_outcome_refused() -> Entry {
    let outcome = OutcomeRecord {
        action: Action::Confirm,
        generation: Generation(12),
        reason: Some(Reason::Refused {
            problem: ProblemKind::Frozen,
            detail: "an operator froze the host".to_owned(),
        }),
        took_us: 400,
    };
    let mut entry = entry(45, EntryBody::Outcome(outcome), "the host refused");
    entry.instance = None;
    entry.pool = None;
    entry
}

/// One entry for each command, with each way to be known and each result.
pub(super) fn entries_command() -> Vec<Entry> {
    let commands = [
        Command::Freeze(FreezeRequest {
            reason: Some("deploying".to_owned()),
        }),
        Command::Unfreeze(PlainCommand {}),
        Command::Pin(PinCommand {
            pool: "web".into(),
            knob: "workers".into(),
            value: Some(12.into()),
            for_ms: 600_000,
        }),
        Command::Unpin(UnpinCommand {
            pool: "web".into(),
            knob: "workers".into(),
        }),
        Command::Reset(ResetRequest { pool: None }),
        Command::Profile(ProfileCommand {
            pool: "web".into(),
            profile: Some("api".to_owned()),
            for_ms: None,
        }),
        Command::Approve(PlainCommand {}),
        Command::Reject(PlainCommand {}),
    ];
    let records = commands.into_iter().enumerate().map(|(at, asked)| {
        let operator = match at % 3 {
            0 => Operator::Socket {
                uid: 1_000,
                pid: Some(4_711),
            },
            1 => Operator::Socket {
                uid: 1_000,
                pid: None,
            },
            _ => Operator::Token {
                name: "night-shift".to_owned(),
                from: Some("127.0.0.1:40312".to_owned()),
            },
        };
        let outcome = match at % 3 {
            0 => CommandResult::Done {
                text: "done".to_owned(),
            },
            1 => CommandResult::Partly {
                text: "done".to_owned(),
                missing: "the host did not hear it".to_owned(),
            },
            _ => CommandResult::Refused {
                problem: ProblemKind::Value,
                detail: "too many".to_owned(),
            },
        };
        CommandRecord {
            asked,
            operator,
            dry_run: at % 2 == 1,
            outcome,
        }
    });
    records
        .zip(50..)
        .map(|(record, sequence)| {
            let pool = record.asked.pool().cloned();
            let mut entry = entry(
                sequence,
                EntryBody::Command(record),
                "an operator's command",
            );
            entry.pool = pool;
            entry
        })
        .collect()
}

pub(super) fn command_receipt() -> CommandReceipt {
    let workers = ValueChange {
        from: 16.into(),
        to: 12.into(),
    };
    CommandReceipt {
        host: host(),
        asked: Command::Reset(ResetRequest {
            pool: Some("web".into()),
        }),
        dry_run: true,
        recorded: true,
        frozen: false,
        text: "would set web workers from 16 to 12".to_owned(),
        missing: Some("the host did not hear it".to_owned()),
        values: BTreeMap::from([("web".into(), BTreeMap::from([("workers".into(), workers)]))]),
    }
}

pub(super) fn verdicts() -> Vec<Verdict> {
    vec![
        Verdict::GoodputRose {
            gain_per_s: 12.5,
            error_per_s: 2.5,
        },
        Verdict::TailFell {
            before_us: 150_000,
            now_us: 90_000,
        },
        Verdict::SameForLess {
            gain_per_s: 0.5,
            error_per_s: 2.5,
        },
        Verdict::GoodputFell {
            loss_per_s: 9.5,
            error_per_s: 2.5,
        },
        Verdict::ErrorsRose {
            before_per_s: 0.25,
            now_per_s: 4.5,
        },
        Verdict::TailRose {
            before_us: 90_000,
            now_us: 150_000,
        },
        Verdict::NoDifference {
            gain_per_s: -0.5,
            error_per_s: 2.5,
        },
        Verdict::Pooled { ratio: 1.0625 },
        Verdict::NothingWaits,
        Verdict::LoadMoved {
            before_per_s: 90.5,
            now_per_s: 30.5,
        },
        Verdict::TooFew {
            completed: 12,
            needed: 100,
        },
    ]
}

pub(super) fn reasons() -> Vec<Reason> {
    let mut reasons = reasons_to_hold();
    reasons.extend(reasons_to_act());
    reasons.extend(reasons_of_the_policy());
    reasons.extend(profile_reasons());
    reasons
}

fn reasons_of_the_policy() -> Vec<Reason> {
    vec![
        Reason::Climbing {
            service_us: 50_000,
            arrivals_per_s: 605.5,
        },
        Reason::Predicted {
            sizes: 4,
            gain_share: 0.125,
        },
        Reason::Surge {
            before_per_s: 10.5,
            now_per_s: 400.5,
        },
        Reason::Suspicious { slower: true },
        Reason::ServiceChanged {
            slower: false,
            expected_us: 90_000,
            seen_us: 40_000,
        },
        Reason::KnownAgain { workers: 24 },
        Reason::Collapsed {
            workers: 8,
            before_per_s: 400.5,
            now_per_s: 120.5,
        },
        Reason::QueueFollows {
            done_per_s: 480.5,
            p99_us: 90_000,
        },
        Reason::TimeoutFollows {
            p999_us: 700_000,
            successes: 1_800,
        },
        Reason::Relaxed { needed: 20 },
        Reason::NeedsNoProof,
    ]
}

fn profile_reasons() -> Vec<Reason> {
    let (job_ms, seconds) = (12.5, 300.5);
    let bases = [
        ProfileBasis::Operator {
            who: "user 0".to_owned(),
            seconds: Some(60.5),
        },
        ProfileBasis::Configured,
        ProfileBasis::Declared,
        ProfileBasis::LongJobs { job_ms, seconds },
        ProfileBasis::Computes {
            cpu_share: 0.5,
            job_ms,
            seconds,
        },
        ProfileBasis::Waits {
            cpu_share: 0.25,
            job_ms,
            seconds,
        },
        ProfileBasis::Unknown,
    ];
    let reasons = bases.map(|because| Reason::ProfileChosen {
        profile: "api".to_owned(),
        before: "default".to_owned(),
        because,
    });
    reasons.to_vec()
}

fn reasons_to_hold() -> Vec<Reason> {
    let verdict = verdicts().remove(0);
    vec![
        Reason::Blind {
            missing: "state".to_owned(),
            absence: Absence::TimedOut,
        },
        Reason::WarmingUp { seen: 3, needed: 5 },
        Reason::Stuck { seconds: 12.5 },
        Reason::ModeObserves,
        Reason::Standby {
            holder: "trimtab@node-8".to_owned(),
            expires_in_ms: 4_000,
        },
        Reason::LeasePending,
        Reason::Watching {
            seconds: 0.25,
            needed_s: 1.0,
        },
        Reason::Frozen,
        Reason::NotOffered,
        Reason::Pinned {
            knob: "workers".into(),
        },
        Reason::Yielding { seconds: 42.5 },
        Reason::Idle,
        Reason::Ample,
        Reason::NothingToGain,
        Reason::InPlace,
        Reason::TooFew {
            completed: 12,
            needed: 100,
        },
        Reason::Settling,
        Reason::Measuring {
            seconds: 8.5,
            verdict,
        },
        Reason::QuietAwaited,
        Reason::Pausing { seconds: 12.5 },
        Reason::OtherTrial {
            pool: "api".to_owned(),
        },
        Reason::Resting {
            direction: Direction::Up,
            seconds: 90.5,
        },
        Reason::AtBound {
            knob: "workers".into(),
            bound: 100,
        },
        Reason::LevelForbids {
            level: Level::Conservative,
            load: 0.125,
        },
        Reason::RateLimited {
            changes: 6,
            allowed: 6,
            window_s: 60.0,
        },
        Reason::MemoryForbids {
            predicted_share: 0.875,
            allowed_share: 0.75,
        },
        Reason::HarmBudget {
            predicted_share: 0.0125,
            spent_share: 0.0078125,
            allowed_share: 0.015,
        },
    ]
}

fn reasons_to_act() -> Vec<Reason> {
    let verdict = verdicts().remove(0);
    vec![
        Reason::Starved {
            queued: 3.5,
            lost_per_s: 1.5,
        },
        Reason::LookBelow {
            queued: 3.5,
            lost_per_s: 1.5,
        },
        Reason::TooLate {
            service_us: 4_100_000,
            slo_us: 2_600_000,
        },
        Reason::CpuFull { cpu_share: 0.9375 },
        Reason::ProfileSets,
        Reason::MemoryHigh {
            share: 0.75,
            at_share: 0.5,
        },
        Reason::MemoryEased {
            share: 0.25,
            at_share: 0.5,
        },
        Reason::TookEffect,
        Reason::NoEffect { seconds: 30.0 },
        Reason::Paid { verdict },
        Reason::DidNotPay { verdict },
        Reason::EvidenceLost {
            absence: Absence::NotOffered,
        },
        Reason::ShuttingDown,
        Reason::SettingsChanged,
        Reason::TriggerLacks {
            when: "cpu < 20%".to_owned(),
            lacks: TriggerLack::Benefit,
        },
        Reason::BetweenDecisions { seconds: 4.5 },
        Reason::Triggered {
            when: "tasks > 10000".to_owned(),
            because: "many requests wait".to_owned(),
        },
        Reason::TrialEnded {
            status: ChangeStatus::Superseded,
        },
        Reason::Refused {
            problem: ProblemKind::TooSoon,
            detail: "12 changes within 60 s are the most".to_owned(),
        },
        Reason::NotSent,
        Reason::AnswerLost {
            absence: Absence::Unreachable,
        },
    ]
}

pub(super) fn sample() -> Sample {
    Sample {
        at_ms: 1_789_000_000_000,
        moment_ns: 918_273_645_000,
        cpu_cores: Some(0.75),
        quota_cores: Some(1.5),
        throttled_share: Some(0.0625),
        rss_bytes: Some(81_788_928),
        memory_limit_bytes: Some(268_435_456),
        threads: Some(9),
        tasks: Some(61),
        read_bytes_per_s: Some(4_096.0),
        written_bytes_per_s: Some(8_192.0),
        received_bytes_per_s: Some(1_500.5),
        sent_bytes_per_s: Some(90_000.0),
        pools: BTreeMap::from([(
            PoolName::from("web"),
            PoolSample {
                workers: Some(16),
                timeout_ms: Some(200),
                queue_limit: Some(1_000),
                busy: Some(15.25),
                queued: Some(3.5),
                arrivals_per_s: Some(90.5),
                completions_per_s: Some(80.0),
                goodput_per_s: Some(75.0),
                lost_per_s: Some(1.5),
                failed_per_s: Some(0.25),
                p50_us: Some(12_000),
                p95_us: Some(90_000),
                p99_us: Some(150_000),
                wait_p95_us: Some(40_000),
            },
        )]),
    }
}

pub(super) fn samples() -> Samples {
    Samples {
        host: host(),
        samples: vec![Sample::default(), sample()],
    }
}

pub(super) fn decisions() -> Decisions {
    Decisions {
        host: host(),
        entries: vec![entry_decision(), entry_outcome()],
    }
}

pub(super) fn hosts() -> Hosts {
    Hosts {
        hosts: vec![
            HostBrief {
                host: host(),
                mode: Mode::Act,
                absent: None,
                summary: "All pools have what they need.".into(),
                pools: vec!["api".into(), "web".into()],
            },
            HostBrief {
                host: "mail".into(),
                mode: Mode::Advise,
                absent: Some(Absence::Unreachable),
                summary: "Nothing listens on its socket.".into(),
                pools: Vec::new(),
            },
        ],
    }
}

pub(super) fn host_status() -> HostStatus {
    let workers = KnobStatus {
        value: 24.into(),
        effective: 20.into(),
        baseline: 16.into(),
        min: 10,
        max: 100,
        pinned_for_ms: Some(60_000),
    };
    HostStatus {
        host: host(),
        mode: Mode::Act,
        absent: Some(Absence::TimedOut),
        summary: "the last answer came too late".to_owned(),
        app: "shop".to_owned(),
        version: "2.4.1".to_owned(),
        instance: Some(instance()),
        pid: Some(4_242),
        frozen: false,
        lease_holder: Some("trimtab@node-7".to_owned()),
        lease_ours: true,
        lease_expires_in_ms: Some(4_200),
        epoch: Some(Epoch(12)),
        uptime_ms: Some(86_400_000),
        held: BTreeMap::from([("ample".to_owned(), 41)]),
        age_ms: Some(1_200),
        conformance: 2,
        sample: sample(),
        pools: BTreeMap::from([(
            PoolName::from("web"),
            PoolStatus {
                profile: "web".to_owned(),
                profile_basis: Some(ProfileBasis::Declared),
                phase: Phase::Trial,
                generation: Generation(12),
                trial_expires_in_ms: Some(7_500),
                knobs: BTreeMap::from([(KnobName::from("workers"), workers)]),
                figures: BTreeMap::from([("cache_hits".to_owned(), 1_234)]),
                inert: vec!["connections.max".to_owned()],
                decision: Some(decision()),
                text: "workers 16 -> 24 on trial".to_owned(),
                changes: ChangeCounts {
                    made: 5,
                    kept: 2,
                    rolled_back: 2,
                    refused: 1,
                },
            },
        )]),
    }
}

pub(super) fn readiness() -> Readiness {
    Readiness {
        ready: false,
        checks: BTreeMap::from([
            (
                "host shop".to_owned(),
                Check {
                    ok: false,
                    text: "no answer for 12 s: is the service up?".to_owned(),
                },
            ),
            (
                "ledger".to_owned(),
                Check {
                    ok: true,
                    text: "writable".to_owned(),
                },
            ),
        ]),
    }
}
