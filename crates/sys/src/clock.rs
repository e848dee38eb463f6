//! The boot-time clock: it never jumps, and it goes on while the machine is suspended, so a lease ends on time after a wake-up.

use std::mem::MaybeUninit;

/// Nanoseconds since the machine's boot, time in suspend included.
#[must_use]
pub fn boot_ns() -> u64 {
    read(libc::CLOCK_BOOTTIME).unwrap_or(0)
}

/// Nanoseconds of CPU time that all threads of this process have used together, or nothing when the kernel does not tell.
#[must_use]
pub fn process_cpu_ns() -> Option<u64> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Nanoseconds of CPU time that the calling thread has used, or nothing where the kernel does not count them.
#[must_use]
pub fn thread_cpu_ns() -> Option<u64> {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Reads one clock, or nothing when the kernel does not know it.
pub(crate) fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is to writable memory of the size of a timespec, which the kernel fills in or leaves alone.
    let answer = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    // SAFETY: clock_gettime answered 0, so it has written the whole timespec.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_boot_clock_runs_forward() {
        let first = super::boot_ns();
        let second = super::boot_ns();
        assert!(first > 0 && second >= first);
    }

    #[test]
    fn the_process_has_used_cpu_time_and_uses_more() {
        let first = super::process_cpu_ns().expect("Linux has the clock");
        let sum = (0..1_000_000_u64).fold(0, |sum, number| sum ^ std::hint::black_box(number));
        assert!(super::process_cpu_ns() > Some(first), "{sum}");
    }

    #[test]
    fn a_thread_that_computes_uses_cpu_time() {
        let before = super::thread_cpu_ns().expect("counted");
        let mut used = before;
        while used == before {
            used = super::thread_cpu_ns().expect("counted");
        }
        assert!(used > before);
        assert!(super::process_cpu_ns().expect("counted") >= used);
    }
}
