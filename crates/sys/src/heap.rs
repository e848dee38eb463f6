//! The C library's own heap.

/// Gives whole free pages of glibc's heaps back to the system; nothing where the C library has no such call.
///
/// It takes each arena's lock in turn while it walks over its free memory, so it takes longer the more there is.
#[must_use = "it says whether anything was given back"]
pub fn trim() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim takes an integer, may be called by any thread at any time, and touches only memory that nobody
        // has been given.
        let answer = unsafe { libc::malloc_trim(0) };
        answer == 1
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

/// Whether [`trim`] can do anything here.
#[must_use]
pub fn can_trim() -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_survives_a_trim() {
        let kept: Vec<Vec<u8>> = (0..200).map(|number| vec![number; 10_000]).collect();
        let mut holes: Vec<Vec<u8>> = (0..400).map(|_| vec![1; 10_000]).collect();
        let mut turn = 0;
        holes.retain(|_| {
            turn += 1;
            turn % 2 == 0
        });
        let _given = trim();
        for (number, block) in (0..200).zip(&kept) {
            assert!(block.iter().all(|byte| *byte == number));
        }
        assert!(holes.iter().flatten().all(|byte| *byte == 1));
    }
}
