//! A histogram that many threads record into without a lock, in the buckets of the protocol.

use std::sync::atomic::{AtomicU64, Ordering};
use trimtab_protocol::histogram::{BUCKET_MAX, Histogram};

const BUCKETS: usize = BUCKET_MAX as usize + 1;

/// Durations by bucket, and their sum.
#[derive(Debug)]
pub(crate) struct Tally {
    sum_us: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Tally {
    /// Adds one duration.
    pub(crate) fn record(&self, us: u64) {
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(usize::from(Histogram::bucket_of(us))) {
            bucket.fetch_add(1, Ordering::Release);
        }
    }

    /// Adds one duration where no other thread records, which is cheaper.
    pub(crate) fn record_alone(&self, us: u64) {
        bump(&self.sum_us, us);
        if let Some(bucket) = self.buckets.get(usize::from(Histogram::bucket_of(us))) {
            bump(bucket, 1);
        }
    }

    /// The sum of all durations, in microseconds.
    pub(crate) fn sum_us(&self) -> u64 {
        self.sum_us.load(Ordering::Relaxed)
    }

    /// Adds everything recorded so far to a histogram.
    pub(crate) fn add_to(&self, histogram: &mut Histogram) {
        for (number, bucket) in (0..=BUCKET_MAX).zip(&self.buckets) {
            let count = bucket.load(Ordering::Acquire);
            if count > 0 {
                histogram.buckets.add(number, count);
                histogram.count += count;
            }
        }
        let sum = self.sum_us.load(Ordering::Relaxed);
        histogram.sum_us = histogram.sum_us.saturating_add(sum);
    }

    /// Everything recorded so far.
    pub(crate) fn reading(&self) -> Histogram {
        let mut histogram = Histogram::default();
        self.add_to(&mut histogram);
        histogram
    }
}

/// Adds to a number that only the calling thread writes.
pub(crate) fn bump(number: &AtomicU64, by: u64) {
    let sum = number.load(Ordering::Relaxed).wrapping_add(by);
    number.store(sum, Ordering::Release);
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            sum_us: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_reads_as_the_histogram_of_what_was_recorded() {
        let (tally, mut histogram) = (Tally::default(), Histogram::default());
        for us in [
            0,
            1,
            2,
            900,
            901,
            5_000_000,
            u64::from(u32::MAX) * 9,
            1 << 60,
        ] {
            tally.record(us);
            histogram.record(us);
        }
        assert_eq!(tally.reading(), histogram);
    }
}
