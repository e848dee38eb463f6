//! How much of a stack is copied with each sample.
//!
//! Too little cuts stacks off. Too much costs the host, whose thread copies it, and room in the rings. So it begins with what is
//! enough for nearly all, grows where stacks are cut off, and shrinks once it is known how little of the copies was read.

use crate::quality::Quality;
use trimtab_sys::perf::STACK_BYTES_MAX;

/// How much of a stack is copied at first: enough for all but programs with large arrays on it.
pub(crate) const STACK_BYTES: u32 = 16_384;
/// No copy is smaller. Below that nothing is gained: the sample's other parts and the interrupt are what costs.
const STACK_BYTES_MIN: u64 = 2_048;
/// So many truncated samples are no accident. A host that works little has few samples, so more would be waited for in vain.
const TRUNCATED_MIN: u64 = 3;
/// Above this share of truncated samples, one in so many, the copy is doubled.
const TRUNCATED_ONE_IN: u64 = 100;
/// From so many samples on it is known how deep a process's stacks are.
const KNOWN_SAMPLES: u64 = 300;
/// A smaller copy is at least so many times what was ever read of one.
const ROOM: u64 = 2;
/// In steps of so many bytes.
const STEP_BYTES: u64 = 1_024;
/// Unless at least half is saved it stays.
const STACK_BYTES_WORTH: u32 = STACK_BYTES / 2;

/// A larger copy, where too many samples were cut off. A copy that was made smaller than usual has been too small at the first:
/// it becomes the usual one again.
pub(crate) fn larger(quality: &Quality, bytes: u32) -> Option<u32> {
    if bytes < STACK_BYTES {
        return (quality.truncated > 0).then_some(STACK_BYTES);
    }
    let too_many = quality.truncated >= TRUNCATED_MIN
        && quality.truncated * TRUNCATED_ONE_IN > quality.samples;
    let larger = (bytes * 2).min(STACK_BYTES_MAX);
    (too_many && larger > bytes).then_some(larger)
}

/// A copy smaller than the usual one, where of so many samples none needed more than `used` bytes.
pub(crate) fn smaller(quality: &Quality, used: u64, bytes: u32) -> Option<u32> {
    if quality.samples < KNOWN_SAMPLES || quality.truncated > 0 || bytes != STACK_BYTES {
        return None;
    }
    let enough = (used * ROOM)
        .next_multiple_of(STEP_BYTES)
        .max(STACK_BYTES_MIN);
    let enough = u32::try_from(enough).ok()?;
    (enough <= STACK_BYTES_WORTH).then_some(enough)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(samples: u64, truncated: u64) -> Quality {
        Quality {
            samples,
            truncated,
            ..Quality::default()
        }
    }

    #[test]
    fn the_copy_is_doubled_when_it_is_too_small_and_by_no_accident() {
        let after = |samples, truncated, bytes| larger(&quality(samples, truncated), bytes);
        assert_eq!(after(4, 3, STACK_BYTES), Some(2 * STACK_BYTES));
        assert_eq!(after(4, 2, STACK_BYTES), None);
        assert_eq!(after(1_000, 9, STACK_BYTES), None);
        assert_eq!(after(1_000, 11, 40_000), Some(STACK_BYTES_MAX));
        assert_eq!(after(10, 10, STACK_BYTES_MAX), None);
    }

    #[test]
    fn a_small_copy_is_given_up_with_the_first_stack_that_it_cuts_off() {
        assert_eq!(larger(&quality(100_000, 1), 4_096), Some(STACK_BYTES));
        assert_eq!(larger(&quality(100_000, 0), 4_096), None);
    }

    #[test]
    fn the_copy_shrinks_to_twice_of_what_many_samples_needed() {
        let after = |samples, used| smaller(&quality(samples, 0), used, STACK_BYTES);
        assert_eq!(after(299, 100), None, "too few to know");
        assert_eq!(after(300, 0), Some(2_048));
        assert_eq!(after(300, 1_024), Some(2_048));
        assert_eq!(after(300, 1_032), Some(3_072));
        assert_eq!(after(300, 4_096), Some(8_192));
        assert_eq!(after(300, 4_104), None, "the usual one it is");
        assert_eq!(smaller(&quality(300, 1), 100, STACK_BYTES), None);
        assert_eq!(smaller(&quality(300, 0), 100, 2 * STACK_BYTES), None);
    }
}
