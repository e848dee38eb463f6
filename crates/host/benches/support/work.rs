//! Work that takes the same time wherever it is called from.
//!
//! There is one copy of it, which is never inlined and uses registers alone. Work that was inlined where it was called took up to
//! twice as long in one of two places that were compared, and that looked like the cost of what was measured.

use std::hint::black_box;
use trimtab_sys::clock::boot_ns;

/// A chain of steps of a nanosecond or so, each of which needs the one before.
#[inline(never)]
pub(crate) fn work(seed: u32, steps: u32) -> u32 {
    (0..steps).fold(seed, |sum, step| sum.wrapping_mul(0x9e37_79b1) ^ step)
}

/// How many steps take a microsecond, at the best of some tries.
pub(crate) fn steps_of_a_microsecond() -> u32 {
    const STEPS: u32 = 1_000_000;
    let best = (0..20).map(|_| {
        let began = boot_ns();
        black_box(work(7, black_box(STEPS)));
        boot_ns() - began
    });
    let best_ns = best.min().unwrap_or(1).max(1);
    let steps = u64::from(STEPS) * 1_000 / best_ns;
    u32::try_from(steps).unwrap_or(1).max(1)
}
