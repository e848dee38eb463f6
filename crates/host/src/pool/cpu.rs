//! How much CPU time a pool's work uses, told from samples.
//!
//! Reading a thread's CPU clock is a system call, too dear for every poll of a short piece of work. So each thread measures
//! one poll in N and counts it N times. N follows the thread's pace: a thread with few long polls measures every one, and a busy
//! thread measures some hundred a second. The gap between two samples is drawn at random, so that work which
//! repeats in step with it is neither always nor never seen.

use std::cell::Cell;
use trimtab_sys::clock::{boot_ns, thread_cpu_ns};

/// Runs one poll; answers its result, and the CPU time to count in nanoseconds if this poll was measured.
pub(crate) fn sampled<T>(poll: impl FnOnce() -> T) -> (T, Option<u64>) {
    let Some(weight) = SAMPLER.try_with(Sampler::next).unwrap_or(None) else {
        return (poll(), None);
    };
    let before = thread_cpu_ns();
    let polled = poll();
    let used = thread_cpu_ns()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    (polled, used.map(|ns| ns.saturating_mul(u64::from(weight))))
}

thread_local! {
    static SAMPLER: Sampler = const { Sampler::new() };
}

/// Which polls of a thread are measured.
struct Sampler {
    /// Polls until the next sample.
    left: Cell<u32>,
    /// N: a sample stands for this many polls.
    every: Cell<u32>,
    sampled_ns: Cell<u64>,
    noise: Cell<u32>,
}

const EVERY_MAX: u32 = 256;
/// Samples closer together than this are too many; further apart than eight times this, too few.
const GAP_NS: u64 = 4_000_000;

impl Sampler {
    const fn new() -> Self {
        Self {
            left: Cell::new(0),
            every: Cell::new(1),
            sampled_ns: Cell::new(0),
            noise: Cell::new(0x9e37_79b9),
        }
    }

    /// How many polls the coming one stands for, if it is to be measured.
    fn next(&self) -> Option<u32> {
        let left = self.left.get();
        if left > 0 {
            self.left.set(left - 1);
            return None;
        }
        let weight = self.every.get();
        self.pace(boot_ns());
        Some(weight)
    }

    /// Chooses the next gap: uniform, and N on average.
    fn pace(&self, now_ns: u64) {
        let gap = now_ns.saturating_sub(self.sampled_ns.replace(now_ns));
        let every = match self.every.get() {
            every if gap < GAP_NS => (every * 2).min(EVERY_MAX),
            every if gap > GAP_NS * 8 => (every / 2).max(1),
            every => every,
        };
        self.every.set(every);
        let mut noise = self.noise.get();
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        self.noise.set(noise);
        self.left.set(noise % (every * 2 - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_about_as_many_polls_as_there_were() {
        let sampler = Sampler::new();
        let polls = 200_000;
        let stood_for: u32 = (0..polls).filter_map(|_| sampler.next()).sum();
        let share = f64::from(stood_for) / f64::from(polls);
        assert!((0.9..1.1).contains(&share), "{share}");
    }

    #[test]
    fn a_slow_thread_measures_every_poll() {
        let sampler = Sampler::new();
        for _ in 0..20 {
            sampler.pace(boot_ns());
        }
        assert!(sampler.every.get() > 1);
        for step in 1..20 {
            sampler.pace(boot_ns() + step * GAP_NS * 100);
        }
        assert_eq!((sampler.every.get(), sampler.left.get()), (1, 0));
    }
}
