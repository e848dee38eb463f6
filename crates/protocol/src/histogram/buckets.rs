//! Counts by bucket, in one piece of memory: a reading is copied, subtracted and thrown away at every tick.

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How many durations were recorded, by bucket number. A bucket that is not there is empty. Written as a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets(
    /// In the order of the numbers, each at most once.
    Vec<(u16, u64)>,
);

impl Buckets {
    /// The count of one bucket.
    #[must_use]
    pub fn get(&self, bucket: u16) -> u64 {
        let place = self.0.binary_search_by_key(&bucket, |(number, _)| *number);
        let held = place.ok().and_then(|place| self.0.get(place));
        held.map_or(0, |(_, count)| *count)
    }

    /// Adds to one bucket.
    pub fn add(&mut self, bucket: u16, count: u64) {
        match self.0.binary_search_by_key(&bucket, |(number, _)| *number) {
            Ok(place) => {
                if let Some((_, held)) = self.0.get_mut(place) {
                    *held += count;
                }
            }
            Err(place) => self.0.insert(place, (bucket, count)),
        }
    }

    /// All buckets that are there, from the shortest durations to the longest.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.iter())
    }

    /// What was added since an earlier reading; nothing when a bucket went backwards.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        let both = || self.0.iter().zip(&earlier.0);
        let same_buckets = self.0.len() == earlier.0.len()
            && both().all(|((bucket, count), (was, before))| bucket == was && count >= before);
        if !same_buckets {
            return self.since_others(earlier);
        }
        // Most readings name the buckets of the one before, and few of them have changed.
        let changed = both().filter(|((_, count), (_, before))| count > before);
        let mut added = Vec::with_capacity(changed.clone().count());
        added.extend(changed.map(|((bucket, count), (_, before))| (*bucket, count - before)));
        Some(Self(added))
    }

    /// The same where the buckets are others than before.
    fn since_others(&self, earlier: &Self) -> Option<Self> {
        let mut added = Vec::with_capacity(self.0.len());
        let mut before = earlier.iter().peekable();
        for (bucket, count) in self {
            while let Some((_, gone)) = before.next_if(|(number, _)| *number < bucket) {
                (gone == 0).then_some(())?;
            }
            let was = before.next_if(|(number, _)| *number == bucket);
            let more = count.checked_sub(was.map_or(0, |(_, was)| was))?;
            if more > 0 {
                added.push((bucket, more));
            }
        }
        before.all(|(_, gone)| gone == 0).then_some(Self(added))
    }
}

impl FromIterator<(u16, u64)> for Buckets {
    fn from_iter<I: IntoIterator<Item = (u16, u64)>>(counts: I) -> Self {
        let mut buckets = Self::default();
        counts
            .into_iter()
            .for_each(|(bucket, count)| buckets.add(bucket, count));
        buckets
    }
}

/// See [`Buckets::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(std::slice::Iter<'a, (u16, u64)>);

impl Iterator for Iter<'_> {
    type Item = (u16, u64);

    fn next(&mut self) -> Option<(u16, u64)> {
        self.0.next().copied()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a> IntoIterator for &'a Buckets {
    type Item = (u16, u64);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Reads bucket numbers also where they come as text: JSON has no other keys, and a reader that first looks at a tag beside
/// them hands them on as it found them. Of a number that stands twice the last one counts.
impl<'de> Deserialize<'de> for Buckets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let named = BTreeMap::<BucketNumber, u64>::deserialize(deserializer)?;
        let bare = |(number, count): (BucketNumber, u64)| (number.0, count);
        Ok(Self(named.into_iter().map(bare).collect()))
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct BucketNumber(u16);

impl<'de> Deserialize<'de> for BucketNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BucketNumberVisitor)
    }
}

struct BucketNumberVisitor;

impl Visitor<'_> for BucketNumberVisitor {
    type Value = BucketNumber;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the number of a bucket")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let number = u16::try_from(number).ok();
        number
            .map(BucketNumber)
            .ok_or_else(|| E::custom("no number of a bucket"))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let number = text.parse().map(BucketNumber);
        number.map_err(|_| E::custom(format!("`{text}` is no number of a bucket")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_stand_in_order_however_they_come() {
        let buckets: Buckets = [(9, 1), (2, 4), (9, 2), (5, 1)].into_iter().collect();
        assert_eq!(buckets.iter().collect::<Vec<_>>(), [(2, 4), (5, 1), (9, 3)]);
        assert_eq!((buckets.get(9), buckets.get(3)), (3, 0));
    }

    #[test]
    fn a_bucket_that_vanished_or_fell_leaves_no_difference() {
        let of = |counts: &[(u16, u64)]| counts.iter().copied().collect::<Buckets>();
        let (earlier, later) = (of(&[(1, 2), (4, 0), (7, 5)]), of(&[(1, 2), (3, 1), (7, 6)]));
        assert_eq!(later.since(&earlier), Some(of(&[(3, 1), (7, 1)])));
        assert_eq!(of(&[(1, 2)]).since(&earlier), None);
        assert_eq!(of(&[(1, 1), (7, 9)]).since(&earlier), None);
    }
}
