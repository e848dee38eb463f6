//! Counts of durations by bucket, every bucket in its place: a sum that ticks enter and leave at every second without a search
//! and without asking for memory.

use trimtab_protocol::histogram::{BUCKET_MAX, Histogram};

/// So many buckets there are.
pub(crate) const BUCKETS: usize = BUCKET_MAX as usize + 1;

/// A sum of histograms. Only what was added may be taken out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    by_bucket: [u64; BUCKETS],
    /// Outside of these, the second not included, every bucket is empty.
    filled: (usize, usize),
    /// The sum over all buckets.
    held: u64,
    /// How many durations the histograms say that they hold.
    count: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            by_bucket: [0; BUCKETS],
            filled: (BUCKETS, 0),
            held: 0,
            count: 0,
        }
    }
}

impl Counts {
    /// Adds a histogram.
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        self.count += histogram.count;
        for (bucket, count) in &histogram.buckets {
            let place = usize::from(bucket).min(BUCKETS - 1);
            if let Some(slot) = self.by_bucket.get_mut(place) {
                *slot += count;
            }
            self.held += count;
            self.filled = (self.filled.0.min(place), self.filled.1.max(place + 1));
        }
    }

    /// Takes one out again that was added.
    pub(crate) fn remove(&mut self, histogram: &Histogram) {
        self.count = self.count.saturating_sub(histogram.count);
        for (bucket, count) in &histogram.buckets {
            let place = usize::from(bucket).min(BUCKETS - 1);
            if let Some(slot) = self.by_bucket.get_mut(place) {
                *slot = slot.saturating_sub(count);
            }
            self.held = self.held.saturating_sub(count);
        }
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        let (first, end) = self.filled;
        if let Some(filled) = self.by_bucket.get_mut(first..end) {
            filled.fill(0);
        }
        self.filled = (BUCKETS, 0);
        (self.held, self.count) = (0, 0);
    }

    /// How many durations the histograms say that they hold.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// See [`Histogram::quantile_us`].
    #[must_use]
    pub(crate) fn quantile_us(&self, basis_points: u32) -> Option<u64> {
        let rank = Histogram::rank_of(self.held, basis_points)?;
        at_rank(self.filled(), rank)
    }

    /// The quantile of two sums together.
    #[must_use]
    pub(crate) fn quantile_of_both_us(&self, other: &Self, basis_points: u32) -> Option<u64> {
        let rank = Histogram::rank_of(self.held + other.held, basis_points)?;
        let (first, end) = (
            self.filled.0.min(other.filled.0),
            self.filled.1.max(other.filled.1),
        );
        let both = self.by_bucket.iter().zip(&other.by_bucket);
        let both = both.map(|(one, two)| one + two).enumerate();
        at_rank(both.take(end).skip(first), rank)
    }

    /// See [`Histogram::count_within`].
    #[must_use]
    pub(crate) fn count_within(&self, us: u64) -> u64 {
        let bound = usize::from(Histogram::bucket_of(us));
        let below = self.filled().take_while(|(place, _)| *place < bound);
        let full: u64 = below.map(|(_, count)| count).sum();
        let part = self.by_bucket.get(bound).copied().unwrap_or(0);
        full.saturating_add(Histogram::part_within(us, part))
    }

    fn filled(&self) -> impl Iterator<Item = (usize, u64)> {
        let (first, end) = self.filled;
        let counts = self.by_bucket.iter().copied().enumerate();
        counts.take(end).skip(first)
    }
}

fn at_rank(counts: impl Iterator<Item = (usize, u64)>, rank: u64) -> Option<u64> {
    let mut seen = 0_u64;
    for (place, count) in counts {
        seen = seen.saturating_add(count);
        if seen >= rank.max(1) {
            let bucket = u16::try_from(place).unwrap_or(BUCKET_MAX);
            return Some(Histogram::upper_bound_us(bucket));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|us| histogram.record(*us));
        histogram
    }

    proptest! {
        #[test]
        fn a_sum_says_what_the_merged_histogram_says(
            ticks in prop::collection::vec(prop::collection::vec(0_u64..1 << 40, 0..20), 1..8),
            gone in 0_usize..8, us in 0_u64..1 << 40, basis_points in 0_u32..=10_000,
        ) {
            let ticks: Vec<Histogram> = ticks.iter().map(|times| histogram(times)).collect();
            let mut counts = Counts::default();
            ticks.iter().for_each(|tick| counts.add(tick));
            let gone = gone.min(ticks.len());
            ticks[..gone].iter().for_each(|tick| counts.remove(tick));
            let mut merged = Histogram::default();
            ticks[gone..].iter().for_each(|tick| merged.merge(tick));
            prop_assert_eq!(counts.quantile_us(basis_points), merged.quantile_us(basis_points));
            prop_assert_eq!(counts.count_within(us), merged.count_within(us));
            prop_assert_eq!(counts.count(), merged.count);
            let (mut one, mut two) = (Counts::default(), Counts::default());
            ticks[gone..].iter().take(2).for_each(|tick| one.add(tick));
            ticks[gone..].iter().skip(2).for_each(|tick| two.add(tick));
            prop_assert_eq!(one.quantile_of_both_us(&two, basis_points), merged.quantile_us(basis_points));
            counts.clear();
            prop_assert_eq!(counts, Counts::default());
        }
    }
}
