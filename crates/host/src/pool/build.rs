//! How a pool is described before it is made.

use super::{Bounds, Inner, Pool};
use crate::counters::RUNNING_MAX;
use std::ops::RangeInclusive;
use thiserror::Error;
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;

/// Why a pool cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name would need escaping in paths and labels.
    #[error(
        "the pool's name `{0}` is not 1 to 64 characters of a-z, 0-9, _ and -, beginning with a letter"
    )]
    Name(String),
    /// The name is the one of the whole process.
    #[error("the pool's name `{name}` is kept for the whole process", name = PoolName::PROCESS)]
    Reserved,
    /// A knob's smallest value is above its largest, or outside what a pool can do.
    #[error("`{knob}` cannot range from {min} to {max}; it may lie between {least} and {most}")]
    Bounds {
        /// The knob.
        knob: &'static str,
        /// The smallest value asked for.
        min: u64,
        /// The largest value asked for.
        max: u64,
        /// The smallest value possible.
        least: u64,
        /// The largest value possible.
        most: u64,
    },
    /// A knob's baseline is outside its bounds.
    #[error("the baseline {baseline} of `{knob}` is not between {min} and {max}")]
    Baseline {
        /// The knob.
        knob: &'static str,
        /// The baseline asked for.
        baseline: u64,
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
}

/// Describes a pool: its name, what sort of work it does, and each knob's baseline with its bounds.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PoolBuilder {
    name: String,
    kind: PoolKind,
    workers: Bounds,
    queue_limit: Bounds,
    timeout_ms: Bounds,
    timeout_max_ms: Option<Bounds>,
}

/// A day; a longer timeout is none.
const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;
/// A queue of more than this is not a queue any more, and each place in it costs memory.
const QUEUE_MAX: u64 = 1_000_000;

impl PoolBuilder {
    /// Begins a description with 10 workers of 1 to 512, a queue of 1,000 of up to 100,000, and a timeout of 30 s, from 0.1 s
    /// to 10 min.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PoolKind::Other,
            workers: Bounds::new(10, &(1..=512)),
            queue_limit: Bounds::new(1_000, &(0..=100_000)),
            timeout_ms: Bounds::new(30_000, &(100..=600_000)),
            timeout_max_ms: None,
        }
    }

    /// What sort of work the pool does; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// How much runs at once: the baseline, and the bounds that no change may leave. At least 1, at most 65,535.
    pub fn workers(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.workers = Bounds::new(baseline, &bounds);
        self
    }

    /// How much may wait: the baseline, and the bounds. 0 means no queue.
    pub fn queue_limit(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.queue_limit = Bounds::new(baseline, &bounds);
        self
    }

    /// How long work may take in all, waiting and running, in milliseconds: the baseline, and the bounds.
    pub fn timeout_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.timeout_ms = Bounds::new(baseline, &bounds);
        self
    }

    /// How long work may take at the most, in milliseconds, also where a caller asks for more: the baseline, and the bounds.
    /// It becomes a knob of its own, `timeout_max_ms`. Without it the largest `timeout_ms` is the most.
    pub fn timeout_max_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.timeout_max_ms = Some(Bounds::new(baseline, &bounds));
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    /// [`BuildError`] if the name needs escaping or is reserved, or a baseline or its bounds are out of range.
    pub fn build(self) -> Result<Pool, BuildError> {
        check_pool_name(&self.name)?;
        self.workers.check(KnobName::WORKERS, 1, RUNNING_MAX)?;
        self.queue_limit
            .check(KnobName::QUEUE_LIMIT, 0, QUEUE_MAX)?;
        self.timeout_ms
            .check(KnobName::TIMEOUT_MS, 1, TIMEOUT_MS_MAX)?;
        if let Some(bounds) = self.timeout_max_ms {
            bounds.check(KnobName::TIMEOUT_MAX_MS, 1, TIMEOUT_MS_MAX)?;
        }
        Ok(Pool::over(Inner::new(
            PoolName::from(self.name),
            self.kind,
            self.workers,
            self.queue_limit,
            self.timeout_ms,
            self.timeout_max_ms,
        )))
    }
}

/// A pool's name stands in paths and labels, and is not that of the whole process.
pub(crate) fn check_pool_name(name: &str) -> Result<(), BuildError> {
    if !is_plain_name(name) {
        return Err(BuildError::Name(name.to_owned()));
    }
    if name == PoolName::PROCESS {
        return Err(BuildError::Reserved);
    }
    Ok(())
}

impl Bounds {
    pub(crate) fn new(baseline: u64, bounds: &RangeInclusive<u64>) -> Self {
        Self {
            baseline,
            min: *bounds.start(),
            max: *bounds.end(),
        }
    }

    pub(crate) fn check(self, knob: &'static str, least: u64, most: u64) -> Result<(), BuildError> {
        let Self { baseline, min, max } = self;
        if min > max || min < least || max > most {
            return Err(BuildError::Bounds {
                knob,
                min,
                max,
                least,
                most,
            });
        }
        if !self.holds(baseline) {
            return Err(BuildError::Baseline {
                knob,
                baseline,
                min,
                max,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_needs_escaping_is_refused() {
        let refused = PoolBuilder::new("a b").build().unwrap_err();
        assert_eq!(refused, BuildError::Name("a b".to_owned()));
        let reserved = PoolBuilder::new("process").build().unwrap_err();
        assert_eq!(reserved, BuildError::Reserved);
    }

    #[test]
    fn a_baseline_outside_its_bounds_is_refused() {
        let refused = PoolBuilder::new("web").workers(9, 10..=20).build();
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the baseline 9 of `workers` is not between 10 and 20"
        );
    }

    #[test]
    fn bounds_that_a_pool_cannot_keep_are_refused() {
        let web = || PoolBuilder::new("web");
        for refused in [
            web().workers(1, 0..=5),
            web().workers(1, 1..=65_536),
            web().timeout_ms(0, 0..=5),
            web().timeout_ms(1, 1..=TIMEOUT_MS_MAX + 1),
            web().queue_limit(0, 0..=QUEUE_MAX + 1),
            #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
            web().queue_limit(5, 9..=1),
        ] {
            assert!(matches!(refused.build(), Err(BuildError::Bounds { .. })));
        }
    }

    #[test]
    fn the_defaults_make_a_pool() {
        assert!(PoolBuilder::new("web").build().is_ok());
    }
}
