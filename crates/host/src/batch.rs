//! When a batch is full, and how long it waits for more.
//!
//! A batch is sent on when it holds `batch_size` pieces, or when its first piece has waited for `linger_ms`. Both are knobs. The
//! wait adapts by itself, within the knob: while batches fill, one that stalls half full is not held for the whole linger, but for
//! twice as long as the last ones took to fill; each batch that had to linger doubles the wait again, up to the knob.
//!
//! It holds times and counts only; the pieces themselves are with whoever collects them.

use crate::dial::Dial;
use crate::pool::BuildError;
use std::ops::RangeInclusive;
use std::time::Duration;
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;

/// Describes a stage that collects pieces into batches.
#[derive(Debug)]
#[must_use = "a batch does nothing until it is part of a pipeline"]
pub struct Batch {
    pub(crate) name: String,
    pub(crate) kind: PoolKind,
    pub(crate) size: Dial,
    pub(crate) linger_ms: Dial,
    pub(crate) queue_limit: Dial,
}

const SIZE_MAX: u64 = 100_000;
/// A piece that waits longer than this for company would be better off alone.
const LINGER_MS_MAX: u64 = 60_000;
const QUEUE_MAX: u64 = 1_000_000;

impl Batch {
    /// Batches of 100 pieces, of 1 to 10,000, that wait for 20 ms, of 0 to 1 s; before them 256 pieces may wait.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PoolKind::Other,
            size: Dial::new(100, &(1..=10_000)),
            linger_ms: Dial::new(20, &(0..=1_000)),
            queue_limit: Dial::new(256, &(1..=10_000)),
        }
    }

    /// What sort of work it belongs to; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// How much a batch holds at most: the baseline, and the bounds. At least 1.
    pub fn size(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.size = Dial::new(baseline, &bounds);
        self
    }

    /// How long the first piece of a batch waits for more at most, in milliseconds: the baseline, and the bounds.
    pub fn linger_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.linger_ms = Dial::new(baseline, &bounds);
        self
    }

    /// How much may wait before it: the baseline, and the bounds. At least 1.
    pub fn queue_limit(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.queue_limit = Dial::new(baseline, &bounds);
        self
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if !is_plain_name(&self.name) {
            return Err(BuildError::Name(self.name.clone()));
        }
        if self.name == PoolName::PROCESS {
            return Err(BuildError::Reserved);
        }
        self.size.check(KnobName::BATCH_SIZE, 1, SIZE_MAX)?;
        self.linger_ms
            .check(KnobName::LINGER_MS, 0, LINGER_MS_MAX)?;
        self.queue_limit.check(KnobName::QUEUE_LIMIT, 1, QUEUE_MAX)
    }
}

/// How long batches wait, by how the last ones went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Linger {
    /// The wait that the last batches suggest; nothing while they all had to linger.
    suggested: Option<Duration>,
}

/// Beyond the time that the last batches took, for arrivals are not even.
const PATIENCE: u32 = 2;
/// No wait is shorter: a timer has no finer grain.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl Linger {
    /// How long the next batch waits, with the knob at `linger`.
    pub(crate) fn wait(self, linger: Duration) -> Duration {
        self.suggested
            .map_or(linger, |suggested| suggested.max(WAIT_MIN).min(linger))
    }

    /// A batch was full after this long.
    pub(crate) fn filled(&mut self, after: Duration) {
        let wished = after * PATIENCE;
        // The mean of what was and what is, so that one odd batch changes little.
        self.suggested = Some(self.suggested.map_or(wished, |was| (was + wished) / 2));
    }

    /// A batch was sent on before it was full.
    pub(crate) fn lingered(&mut self, linger: Duration) {
        self.suggested = self
            .suggested
            .map(|was| was.max(WAIT_MIN) * 2)
            .filter(|doubled| *doubled < linger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn batches_that_fill_shorten_the_wait_and_those_that_linger_lengthen_it() {
        let mut linger = Linger::default();
        assert_eq!(linger.wait(LINGER), LINGER);
        linger.filled(ms(10));
        assert_eq!(linger.wait(LINGER), ms(20));
        linger.filled(ms(4));
        assert_eq!(linger.wait(LINGER), ms(14));
        for expected in [28, 56, 100, 100] {
            linger.lingered(LINGER);
            assert_eq!(linger.wait(LINGER), ms(expected));
        }
    }

    #[test]
    fn the_wait_is_never_above_the_knob() {
        let mut linger = Linger::default();
        linger.filled(ms(90));
        assert_eq!(linger.wait(LINGER), LINGER);
        assert_eq!(linger.wait(ms(5)), ms(5));
        linger.filled(Duration::ZERO);
        linger.filled(Duration::ZERO);
        assert!(linger.wait(LINGER) < LINGER);
        assert_eq!(linger.wait(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_batch_that_cannot_be_is_refused() {
        assert!(Batch::new("B").check().is_err());
        assert!(Batch::new("b").size(1, 0..=5).check().is_err());
        assert!(Batch::new("b").linger_ms(9, 10..=20).check().is_err());
        assert!(Batch::new("b").check().is_ok());
    }
}
