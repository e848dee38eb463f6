//! How much a pool of threads holds at most, and the integral of how long jobs wait.
//!
//! A pool holds what runs and what waits. Nobody counts it in one number that all threads fight over: whoever hands a job
//! over counts it in, each worker counts what it ended in a number of its own few, and the sum of those is looked up
//! again only when the pool seems full.

use crate::sharded::{self, Padded, Sharded};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Gate {
    entered: Padded<AtomicU64>,
    /// A sum of `ended` at some time; never more than it is.
    ended_seen: Padded<AtomicU64>,
    ended: Sharded<AtomicU64>,
    /// What came into the queue, as [`waits`] words.
    queued: Sharded<AtomicU64>,
    /// What left it other than into a worker's hands.
    left: AtomicU64,
}

impl Gate {
    /// Lets a job in unless the pool holds as many as it may.
    pub(super) fn enter(&self, capacity: u64) -> bool {
        let mut looked = false;
        let mut entered = self.entered.0.load(Ordering::Relaxed);
        loop {
            let seen = self.ended_seen.0.load(Ordering::Relaxed);
            if entered.saturating_sub(seen) >= capacity {
                if looked {
                    return false;
                }
                looked = true;
                self.ended_seen.0.fetch_max(self.ended(), Ordering::Relaxed);
                continue;
            }
            match self.entered.0.compare_exchange_weak(
                entered,
                entered + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => entered = now,
            }
        }
    }

    /// A job ended; `worker` spreads the counting.
    pub(super) fn end(&self, worker: usize) {
        self.ended.at(worker).fetch_add(1, Ordering::SeqCst);
    }

    /// A job that was let in waits from now on.
    pub(super) fn wait(&self, now_ns: u64) {
        let queued = self.queued.at(sharded::mine());
        queued.fetch_add(waits::begin(now_ns), Ordering::Release);
    }

    /// A job that waited is gone without having come to a worker.
    pub(super) fn leave(&self, now_ns: u64) {
        self.left.fetch_add(waits::end(now_ns), Ordering::Release);
    }

    /// All jobs that were let in.
    pub(super) fn entered(&self) -> u64 {
        self.entered.0.load(Ordering::Acquire)
    }

    /// How many jobs are in the pool, running or waiting; never less than there are.
    pub(super) fn held(&self) -> u64 {
        let ended = self.ended();
        self.entered().saturating_sub(ended)
    }

    /// The sum of what waits, as a [`waits`] word; `left` is what workers took, read before this is called, so that no leaving is
    /// seen without its coming.
    pub(super) fn waiting(&self, left: u64) -> u64 {
        let left = left.wrapping_add(self.left.load(Ordering::Acquire));
        let queued = self.queued.iter();
        queued.fold(left, |sum, queued| {
            sum.wrapping_add(queued.load(Ordering::Acquire))
        })
    }

    fn ended(&self) -> u64 {
        let shards = self.ended.iter();
        shards.map(|ended| ended.load(Ordering::SeqCst)).sum()
    }
}

/// Words that add up to how much waits and since when: a count below, and above it the sum of leaving times less the sum of
/// arrival times. One word, so that a reader never sees the one without the other.
pub(super) mod waits {
    /// Enough for the largest queue and all workers.
    const COUNT_BITS: u32 = 20;
    const COUNT: u64 = (1 << COUNT_BITS) - 1;
    /// Times are counted in units of 2^17 ns, 131 us: then the sum wraps only after minutes of a million jobs waiting, and what
    /// rounding takes from one wait it gives to the next.
    const UNIT_BITS: u32 = 17;
    const SUM: u64 = u64::MAX >> COUNT_BITS;

    pub(in crate::threads) fn begin(now_ns: u64) -> u64 {
        1_u64.wrapping_sub((now_ns >> UNIT_BITS) << COUNT_BITS)
    }

    pub(in crate::threads) fn end(now_ns: u64) -> u64 {
        ((now_ns >> UNIT_BITS) << COUNT_BITS).wrapping_sub(1)
    }

    /// How much waits.
    pub(in crate::threads) fn count(word: u64) -> u64 {
        word & COUNT
    }

    /// The integral of how much waits, in units, wrapping.
    pub(in crate::threads) fn integral(word: u64, now_ns: u64) -> u64 {
        let waiting = count(word).wrapping_mul(now_ns >> UNIT_BITS);
        (word >> COUNT_BITS).wrapping_add(waiting) & SUM
    }

    /// The way from one integral to a later one in microseconds, or nothing if the later one lies before.
    pub(in crate::threads) fn step_us(from: u64, to: u64) -> Option<u64> {
        let step = to.wrapping_sub(from) & SUM;
        // A step of more than half of what can be told is one back.
        (step <= SUM / 2).then(|| step.saturating_mul(1 << UNIT_BITS) / 1_000)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const UNIT: u64 = 1 << UNIT_BITS;

        #[test]
        fn waiting_time_rises_while_nothing_moves_and_stays_when_all_have_left() {
            let start = 77 * UNIT;
            let two = begin(start).wrapping_add(begin(start + 2 * UNIT));
            assert_eq!(count(two), 2);
            assert_eq!(integral(two, start + 5 * UNIT), 5 + 3);
            assert_eq!(integral(two, start + 6 * UNIT), 6 + 4);
            let none = two
                .wrapping_add(end(start + 6 * UNIT))
                .wrapping_add(end(start + 6 * UNIT));
            assert_eq!(count(none), 0);
            assert_eq!(integral(none, start + 999 * UNIT), 10);
        }

        #[test]
        fn a_step_back_is_none_and_a_wrapped_sum_goes_on() {
            assert_eq!(step_us(5, 3), None);
            assert_eq!(step_us(SUM, 0), Some(UNIT / 1_000));
            assert_eq!(step_us(3, 5), Some(2 * UNIT / 1_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_lets_in_again_what_has_ended() {
        let gate = Gate::default();
        assert!(gate.enter(2) && gate.enter(2));
        assert!(!gate.enter(2));
        gate.end(5);
        assert!(gate.enter(2));
        assert!(!gate.enter(2));
        assert!(gate.enter(3), "a larger pool holds more");
        assert_eq!(gate.held(), 3);
    }

    #[test]
    fn many_threads_never_get_more_in_than_the_gate_holds() {
        let gate = Gate::default();
        let entered = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        entered.fetch_add(u64::from(gate.enter(100)), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(entered.into_inner(), 100);
    }
}
