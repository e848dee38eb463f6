//! Histograms of durations: eight buckets an octave, sparse, cumulative since the host started.
//!
//! The buckets are those of a Prometheus native histogram with schema 3: bucket `i` holds durations above `2^((i-1)/8)` and up
//! to `2^(i/8)` microseconds. So a quantile read from them is at most 9 % above the true one, whatever its size, and two
//! histograms subtract bucket by bucket.

mod buckets;

pub use buckets::{Buckets, Iter};

use serde::{Deserialize, Serialize};

/// Buckets to an octave; schema 3 of Prometheus native histograms.
pub const BUCKETS_PER_OCTAVE: u32 = 8;

/// The last bucket: it holds everything above its lower bound, which is 2^47 microseconds, some four years.
pub const BUCKET_MAX: u16 = 48 * 8 - 1;

/// Upper bounds of the eight buckets of the octave from 2^32 to 2^33, rounded down: `floor(2^(32 + i/8))`. All other octaves
/// are these shifted, so that a bucket is found with whole numbers only.
const OCTAVE: [u64; 8] = [
    4_294_967_296,
    4_683_695_047,
    5_107_605_667,
    5_569_883_475,
    6_074_000_999,
    6_623_745_058,
    7_223_245_205,
    7_877_004_751,
];

/// A sparse histogram of durations in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Histogram {
    /// How many durations were recorded, by bucket number; a bucket that is not named is empty.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<u16, u64>))]
    pub buckets: Buckets,
    /// How many durations were recorded in all.
    pub count: u64,
    /// The sum of all durations, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// The number of the bucket that holds a duration.
    #[must_use]
    pub fn bucket_of(us: u64) -> u16 {
        if us <= 1 {
            return 0;
        }
        let octave = us.ilog2();
        if octave >= 47 {
            return BUCKET_MAX;
        }
        let scaled = if octave <= 32 {
            us << (32 - octave)
        } else {
            us.div_ceil(1 << (octave - 32))
        };
        // The bounds rise, so this counts the ones below; it looks at all of them, for that needs no guess at where to stop.
        let within = OCTAVE.iter().filter(|bound| scaled > **bound).count();
        let bucket =
            octave * BUCKETS_PER_OCTAVE + u32::try_from(within).unwrap_or(BUCKETS_PER_OCTAVE);
        u16::try_from(bucket).unwrap_or(BUCKET_MAX)
    }

    /// The largest duration that a bucket holds, in microseconds; the last bucket has none and answers its lower bound.
    #[must_use]
    pub fn upper_bound_us(bucket: u16) -> u64 {
        let bucket = bucket.min(BUCKET_MAX - 7);
        let (octave, within) = (
            u32::from(bucket) / BUCKETS_PER_OCTAVE,
            usize::from(bucket % 8),
        );
        let bound = OCTAVE.get(within).copied().unwrap_or(OCTAVE[0]);
        if octave <= 32 {
            bound >> (32 - octave)
        } else {
            bound << (octave - 32)
        }
    }

    /// Adds one duration.
    pub fn record(&mut self, us: u64) {
        self.buckets.add(Self::bucket_of(us), 1);
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// What was recorded between an earlier reading and this one, or nothing when a bucket went backwards, which means that
    /// the two are not readings of one histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            count: self.count.checked_sub(earlier.count)?,
            sum_us: self.sum_us.checked_sub(earlier.sum_us)?,
            buckets: self.buckets.since(&earlier.buckets)?,
        })
    }

    /// Adds another histogram's counts to this one.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.buckets.add(bucket, count);
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// The upper bound in microseconds of the bucket in which the `rank`-th smallest duration lies, counted from 1.
    #[must_use]
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut seen = 0_u64;
        for (bucket, count) in &self.buckets {
            seen = seen.saturating_add(count);
            if seen >= rank.max(1) {
                return Some(Self::upper_bound_us(bucket));
            }
        }
        None
    }

    /// A quantile in microseconds, given in parts of 10,000 (9,900 is p99); nothing when the histogram is empty.
    #[must_use]
    pub fn quantile_us(&self, basis_points: u32) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        self.at_rank(Self::rank_of(total, basis_points)?)
    }

    /// The rank at which a quantile lies among so many durations, counted from 1; nothing where there are none.
    #[must_use]
    pub fn rank_of(total: u64, basis_points: u32) -> Option<u64> {
        (total > 0).then_some(())?;
        let rank = (u128::from(total) * u128::from(basis_points.min(10_000))).div_ceil(10_000);
        Some(u64::try_from(rank).unwrap_or(total))
    }

    /// How many durations are at most this many microseconds, as far as buckets tell: those of the bucket in which the bound
    /// lies are taken to be spread evenly over it.
    #[must_use]
    pub fn count_within(&self, us: u64) -> u64 {
        let bound = Self::bucket_of(us);
        let below = self
            .buckets
            .iter()
            .take_while(|(bucket, _)| *bucket < bound);
        let full: u64 = below.map(|(_, count)| count).sum();
        full.saturating_add(Self::part_within(us, self.buckets.get(bound)))
    }

    /// How many of the durations in the bucket of a bound are taken to lie within that bound, in microseconds.
    #[must_use]
    pub fn part_within(us: u64, in_bucket: u64) -> u64 {
        let bound = Self::bucket_of(us);
        let lower = if bound == 0 {
            0
        } else {
            Self::upper_bound_us(bound - 1)
        };
        let width = Self::upper_bound_us(bound).saturating_sub(lower).max(1);
        let within = us.saturating_sub(lower).min(width);
        let share = u128::from(in_bucket) * u128::from(within) / u128::from(width);
        u64::try_from(share).unwrap_or(in_bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_grow_by_an_eighth_of_an_octave() {
        assert_eq!(Histogram::upper_bound_us(0), 1);
        assert_eq!(Histogram::upper_bound_us(8), 2);
        assert_eq!(Histogram::upper_bound_us(80), 1024);
        for bucket in 40..BUCKET_MAX - 8 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "the bounds in this range are exact enough for a ratio"
            )]
            let ratio = Histogram::upper_bound_us(bucket + 1) as f64
                / Histogram::upper_bound_us(bucket) as f64;
            assert!((1.05..1.13).contains(&ratio), "bucket {bucket}: {ratio}");
        }
    }

    #[test]
    fn a_quantile_is_the_bound_below_which_that_share_lies() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record(us));
        let p99 = histogram.quantile_us(9_900).expect("not empty");
        assert!((990..=1080).contains(&p99), "{p99}");
        assert_eq!(Histogram::default().quantile_us(5_000), None);
    }

    #[test]
    fn a_bound_within_a_bucket_counts_its_share_of_it() {
        let mut histogram = Histogram::default();
        (0..1_000).for_each(|_| histogram.record(990_000));
        let bucket = Histogram::bucket_of(990_000);
        let (lower, upper) = (
            Histogram::upper_bound_us(bucket - 1),
            Histogram::upper_bound_us(bucket),
        );
        assert_eq!(histogram.count_within(lower), 0);
        assert_eq!(histogram.count_within(upper), 1_000);
        let half = histogram.count_within(u64::midpoint(lower, upper));
        assert!((499..=500).contains(&half), "{half}");
    }

    #[test]
    fn a_histogram_beside_a_tag_is_read_as_it_was_written() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "evidence", rename_all = "snake_case")]
        enum Tagged {
            Fresh { value: Histogram },
        }
        let mut value = Histogram::default();
        for us in [3, 70, 900_000] {
            value.record(us);
        }
        let tagged = Tagged::Fresh { value };
        let text = serde_json::to_string(&tagged).expect("can be written");
        assert_eq!(
            serde_json::from_str::<Tagged>(&text).expect("can be read"),
            tagged
        );
        let wrong = text.replace("\"13\":1", "\"-1\":1");
        assert_ne!(wrong, text);
        assert!(serde_json::from_str::<Tagged>(&wrong).is_err());
    }

    #[test]
    fn a_histogram_that_went_backwards_has_no_difference() {
        let mut earlier = Histogram::default();
        earlier.record(5);
        earlier.record(500);
        let mut later = Histogram::default();
        (0..3).for_each(|_| later.record(5));
        assert_eq!(later.since(&earlier), None);
    }

    proptest! {
        #[test]
        fn a_duration_lies_within_its_bucket(us in 0_u64..1 << 46) {
            let bucket = Histogram::bucket_of(us);
            prop_assert!(us <= Histogram::upper_bound_us(bucket));
            if bucket > 0 && us > 32 {
                prop_assert!(us > Histogram::upper_bound_us(bucket - 1), "{us} in {bucket}");
            }
        }

        #[test]
        fn what_was_added_is_what_the_difference_shows(first in prop::collection::vec(0_u64..1 << 40, 0..50),
                                                       second in prop::collection::vec(0_u64..1 << 40, 0..50)) {
            let mut earlier = Histogram::default();
            first.iter().for_each(|us| earlier.record(*us));
            let mut later = earlier.clone();
            let mut added = Histogram::default();
            second.iter().for_each(|us| { later.record(*us); added.record(*us); });
            prop_assert_eq!(later.since(&earlier), Some(added));
        }
    }
}
