//! Sweeps are dear and always come out alike, so their results are kept on disk.
//!
//! The key holds the scenario and what one static run of it came to, so a change of the simulator's laws makes a new key.

use super::{Best, SWEEP_SEEDS, best, still};
use crate::scenario::Scenario;
use crate::trace::Trace;
use std::path::PathBuf;

/// A directory of results; without one every sweep is made anew.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// A cache in a directory, which is made when the first result is kept.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }

    /// The best static setting of a scenario. A result that cannot be read or kept is only made again.
    #[must_use]
    pub fn best(&self, scenario: &Scenario) -> Best {
        let Some(directory) = &self.directory else {
            return best(scenario);
        };
        let file = directory.join(format!("{}-{:016x}.json", scenario.name, key(scenario)));
        let kept = std::fs::read_to_string(&file).ok();
        if let Some(best) = kept.and_then(|text| serde_json::from_str(&text).ok()) {
            return best;
        }
        let best = best(scenario);
        if let Ok(text) = serde_json::to_string(&best)
            && std::fs::create_dir_all(directory).is_ok()
        {
            // Another process may write the same result at the same time, so it is written aside and moved there.
            let aside = file.with_extension(format!("{}.part", std::process::id()));
            if std::fs::write(&aside, text).is_ok() {
                drop(std::fs::rename(&aside, &file));
            }
        }
        best
    }
}

fn key(scenario: &Scenario) -> u64 {
    let seed = SWEEP_SEEDS[0];
    let operator = scenario.started_at(&scenario.operator());
    let outcome = still(&operator, &Trace::draw(&operator, seed), seed);
    let mut text = format!("{scenario:?}");
    if scenario.pools.len() > 1 {
        // What the sweep of several pools looks for: the static vector, and one between each two turning points.
        text.push_str("by spans");
    }
    for pool in &outcome.pools {
        text.push_str(&format!(
            "{} {} {:?}",
            pool.completed,
            pool.goodput(),
            pool.p99()
        ));
    }
    fnv(&text)
}

/// The hash of Fowler, Noll and Vo, 64 bits, variant 1a.
fn fnv(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}
