//! Time for the shell: the boot-time clock that decisions go by, and the wall clock that people read.
//!
//! Stages take a [`Clock`] and never read the system's clocks themselves, so a test can move time. Nothing is ever decided by
//! the wall clock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use trimtab_core::moment::{Moment, Span};

/// Where a stage gets its time from.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now, by the boot-time clock.
    fn now(&self) -> Moment;

    /// Now for people, in milliseconds since 1970.
    fn wall_ms(&self) -> u64;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        Moment::from_boot_ns(trimtab_sys::clock::boot_ns())
    }

    fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or(0)
    }
}

/// A clock that stands still until it is moved; both its times move together.
#[derive(Debug, Default)]
pub struct ManualClock {
    boot_ns: AtomicU64,
    wall_offset_ms: u64,
}

impl ManualClock {
    /// A clock that stands at a moment, with the wall clock that many milliseconds ahead of it.
    #[must_use]
    pub fn at(moment: Moment, wall_offset_ms: u64) -> Self {
        Self {
            boot_ns: AtomicU64::new(moment.as_boot_ns()),
            wall_offset_ms,
        }
    }

    /// Moves it on.
    pub fn advance(&self, span: Span) {
        self.boot_ns.fetch_add(span.as_ns(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment::from_boot_ns(self.boot_ns.load(Ordering::SeqCst))
    }

    fn wall_ms(&self) -> u64 {
        self.wall_offset_ms
            .saturating_add(self.boot_ns.load(Ordering::SeqCst) / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clocks_run_forward() {
        let first = BootClock.now();
        assert!(BootClock.now() >= first);
        // 2020-01-01; a machine without a clock of its own would say 1970.
        assert!(BootClock.wall_ms() > 1_577_836_800_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_it_is_moved() {
        let clock = ManualClock::at(Moment::from_boot_ns(5), 1_000);
        assert_eq!(clock.now(), clock.now());
        clock.advance(Span::from_ms(3));
        assert_eq!(clock.now(), Moment::from_boot_ns(3_000_005));
        assert_eq!(clock.wall_ms(), 1_003);
    }
}
