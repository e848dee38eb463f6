//! Values that many threads add to at once: one copy for a few threads each, so that no two cores fight over a cache line.
//!
//! It never hands out a sum; the reader walks over the copies.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many copies there are. Threads share them in turn, so a machine with more cores still spreads its load eightfold.
pub(crate) const SHARDS: usize = 8;

/// A value alone on its cache lines; two lines, for processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// One copy of a value for a few threads each.
#[derive(Debug, Default)]
pub(crate) struct Sharded<T>([Padded<T>; SHARDS]);

impl<T> Sharded<T> {
    /// The copy with this number; any number will do.
    pub(crate) fn at(&self, shard: usize) -> &T {
        &self.0[shard % SHARDS].0
    }

    /// All copies.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// The number of the copy that the calling thread uses.
pub(crate) fn mine() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.try_with(|mine| *mine).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn nothing_added_by_many_threads_is_lost() {
        let sums = Sharded::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..SHARDS + 3 {
                scope.spawn(|| {
                    (0..100).for_each(|_| {
                        sums.at(mine()).fetch_add(1, Ordering::Relaxed);
                    })
                });
            }
        });
        let sum: u64 = sums.iter().map(|sum| sum.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 100 * (u64::try_from(SHARDS).unwrap() + 3));
    }
}
