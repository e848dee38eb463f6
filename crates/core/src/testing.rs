//! Made-up readings for the unit tests of this crate.

use crate::moment::Span;
use crate::policy::Sight;
use crate::profile::{Cited, KnobRange, Levels, MemoryLadder, Profile};
use crate::window::PoolDelta;
use std::collections::BTreeMap;
use trimtab_protocol::change::{MAX_RATIO_BP_DEFAULT, Phase};
use trimtab_protocol::decision::Citation;
use trimtab_protocol::knob::{KnobKind, KnobState, KnobValue, Shrink};
use trimtab_protocol::name::{Generation, KnobName, Revision};
use trimtab_protocol::state::{Counters, Gauges, Histograms, PoolKind, PoolState};

/// A knob that takes 1 to 512.
pub(crate) fn knob(value: u64) -> KnobState {
    KnobState {
        value: KnobValue::Integer(value),
        effective: KnobValue::Integer(value),
        baseline: KnobValue::Integer(value),
        min: 1,
        max: 512,
        granularity: 1,
        max_ratio_bp: MAX_RATIO_BP_DEFAULT,
        unit: "workers".into(),
        kind: KnobKind::Integer,
        choices: Vec::new(),
        shrink: Shrink::Drains,
        persists: false,
        pinned_for_ms: None,
    }
}

/// A pool that has done nothing yet.
pub(crate) fn pool(workers: u64) -> PoolState {
    let zero = Some(0);
    PoolState {
        kind: PoolKind::Web,
        generation: Generation(0),
        revision: Revision(0),
        phase: Phase::Baseline,
        trial: None,
        settling: false,
        knobs: BTreeMap::from([(KnobName::from(KnobName::WORKERS), knob(workers))]),
        counters: Counters {
            arrived: zero,
            started: zero,
            completed: zero,
            failed: zero,
            rejected: zero,
            timed_out: zero,
            abandoned: zero,
            exempt: zero,
            busy_us: zero,
            wait_us: zero,
            cpu_us: None,
        },
        gauges: Gauges {
            busy: zero,
            queued: zero,
            oldest_wait_ms: zero,
            tasks: zero,
            ..Gauges::default()
        },
        histograms: Histograms::default(),
    }
}

/// A second in which so much ended among so many busy workers.
pub(crate) fn busy_second(workers: u64, completed: u64) -> PoolDelta {
    let (earlier, mut later) = (pool(workers), pool(workers));
    later.counters.completed = Some(completed);
    later.counters.busy_us = Some(workers * 1_000_000);
    PoolDelta::between(&earlier, &later, Span::from_secs(1)).expect("both complete")
}

/// A look at a pool of so many workers of which people chose 16, where nothing is known of CPU, memory and goals.
pub(crate) fn sight(now_s: f64, workers: u64, delta: &PoolDelta) -> Sight<'_> {
    Sight {
        now_s,
        workers,
        delta,
        cores: None,
        cpu_share: None,
        memory_share: None,
        memory_share_max: 1.0,
        slo_s: None,
        bounds: (1, 100),
        home: 16,
        start: 0,
        held: 0.0,
        held_at_load: 0.0,
        changes: 0,
        trial: None,
        pending: false,
        free: true,
    }
}

fn cited<T>(value: T, line: u32) -> Cited<T> {
    Cited {
        value,
        citation: Citation {
            key: "key".into(),
            file: "test.toml".into(),
            line,
            column: 1,
        },
    }
}

/// A profile for 1 to 512 workers.
pub(crate) fn profile() -> Profile {
    let range = |start, min, max| KnobRange {
        start: cited(start, 1),
        min: cited(min, 2),
        max: cited(max, 3),
    };
    Profile {
        name: "test".into(),
        workers: range(10, 1, 512),
        queue_limit: range(1_000, 1, 100_000),
        timeout_ms: range(30_000, 1_000, 60_000),
        slo_ms: Some(cited(1_000, 4)),
        changes_per_window: cited(10, 5),
        change_window: cited(Span::from_secs(60), 6),
        others: BTreeMap::new(),
        decide_every: None,
        levels: Levels::default(),
        ladder: MemoryLadder::default(),
        triggers: Vec::new(),
    }
}

/// A bug that a test seeds, to see that the law it breaks is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The guard does not hold values within their bounds.
    NoBounds,
    /// The guard does not shorten steps.
    NoStep,
    /// The guard does not count changes.
    NoRate,
    /// The guard lets two pools probe at once.
    NoTurns,
    /// A pool without figures is halved.
    ShrinksBlind,
    /// An operator's freeze is not seen.
    IgnoresFreeze,
    /// A trial is kept whatever it did.
    KeepsLosses,
    /// What did not pay is tried again at once.
    NeverRests,
    /// A pool with nothing to do is changed.
    Fidgets,
    /// What is proposed does not follow from the history alone.
    RollsDice,
}

thread_local! {
    static SEEDED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
    static DICE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Seeds a bug in this thread for as long as it lives.
pub(crate) struct Seeded;

impl Seeded {
    pub(crate) fn new(fault: Fault) -> Self {
        SEEDED.set(Some(fault));
        Self
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        SEEDED.set(None);
    }
}

/// Whether a bug is seeded here.
pub(crate) fn has(fault: Fault) -> bool {
    SEEDED.get() == Some(fault)
}

/// Another number each time, whatever happened before.
pub(crate) fn dice() -> u64 {
    DICE.set(DICE.get() + 1);
    DICE.get()
}
