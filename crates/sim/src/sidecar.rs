//! The sidecar in the simulator: the product's own controller, told of the scenario's bounds by a profile.

use crate::host::HOLDER;
use crate::number::whole;
use crate::scenario::{Pool, Scenario};
use crate::world::HOST;
use std::collections::BTreeMap;
use trimtab_core::controller::Controller;
use trimtab_core::guard::MEMORY_SHARE_MAX;
use trimtab_core::moment::Span;
use trimtab_core::profile::{Cited, KnobRange, Levels, MemoryLadder, Profile, Settings};
use trimtab_protocol::decision::{Citation, Mode};
use trimtab_protocol::name::{HostId, PoolName};

/// The largest queue that a profile allows; the scenarios bound only its start.
const QUEUE_LIMIT_MAX: u64 = 100_000;

/// Trials in a minute that a profile allows: the sidecar's default.
const CHANGES_PER_WINDOW: u32 = 10;

/// The product's controller for a scenario, in mode `act`.
#[must_use]
pub fn controller(scenario: &Scenario) -> Controller {
    Controller::new(settings(scenario))
}

/// What the controller is told: one profile a pool, assigned by name.
#[must_use]
pub fn settings(scenario: &Scenario) -> Settings {
    let profiles = scenario.pools.iter().map(|pool| {
        let profile = profile(pool, &scenario.name);
        (pool.name.clone(), profile)
    });
    let mut profiles: BTreeMap<String, Profile> = profiles.collect();
    if let Some(first) = scenario.pools.first() {
        let default = profile(first, &scenario.name);
        profiles.entry("default".to_owned()).or_insert(default);
    }
    let assigned = scenario
        .pools
        .iter()
        .map(|pool| (PoolName::from(pool.name.as_str()), pool.name.clone()));
    Settings {
        host: HostId::from(HOST),
        mode: Mode::Act,
        holder: HOLDER.to_owned(),
        interval: Span::from_secs(1),
        profiles,
        assigned: assigned.collect(),
    }
}

fn profile(pool: &Pool, scenario: &str) -> Profile {
    let ms = |seconds: f64| whole(seconds * 1e3);
    let range = |name, start, min, max| KnobRange {
        start: cited(start, scenario, &format!("{name}.start")),
        min: cited(min, scenario, &format!("{name}.min")),
        max: cited(max, scenario, &format!("{name}.max")),
    };
    Profile {
        name: pool.name.clone(),
        workers: range(
            "workers",
            pool.start.clamp(pool.min, pool.max),
            pool.min,
            pool.max,
        ),
        queue_limit: range(
            "queue_limit",
            pool.queue_limit,
            1,
            pool.queue_limit.max(QUEUE_LIMIT_MAX),
        ),
        timeout_ms: range(
            "timeout_ms",
            ms(pool.timeout.clamp(pool.timeout_min, pool.timeout_max)),
            ms(pool.timeout_min),
            ms(pool.timeout_max),
        ),
        slo_ms: Some(cited(ms(pool.slo), scenario, "slo_ms")),
        changes_per_window: cited(CHANGES_PER_WINDOW, scenario, "changes_per_window"),
        change_window: cited(Span::from_secs(60), scenario, "change_window"),
        others: BTreeMap::new(),
        decide_every: None,
        levels: Levels::default(),
        ladder: ladder(scenario),
        triggers: Vec::new(),
    }
}

/// A scenario bounds memory by its limit alone, so the ladder stands out of the way of the guard's own share.
fn ladder(scenario: &str) -> MemoryLadder {
    let most = MEMORY_SHARE_MAX;
    MemoryLadder {
        level: cited(most, scenario, "memory.level"),
        no_growth: cited(most, scenario, "memory.no_growth"),
        step_down: cited(0.5 * (1.0 + most), scenario, "memory.step_down"),
    }
}

fn cited<T>(value: T, file: &str, key: &str) -> Cited<T> {
    let citation = Citation {
        key: key.to_owned(),
        file: file.to_owned(),
        line: 1,
        column: 1,
    };
    Cited { value, citation }
}
