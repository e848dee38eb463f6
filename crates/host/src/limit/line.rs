//! The queue as the reading side sees it.
//!
//! The queue changes under its lock, and the reader must not take that lock. So whoever holds it publishes the queue's figures
//! here, and the reader takes them only if no one published in between; after a few vain tries it keeps what it had.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The figures of a queue, as last published.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Odd while someone publishes.
    version: AtomicU64,
    queued: AtomicU64,
    offset_ns: AtomicU64,
    oldest_ns: AtomicU64,
}

/// One consistent reading of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LineReading {
    /// How much waits.
    pub(crate) queued: u64,
    /// The sum of all leaving times less the sum of all arrival times, wrapping.
    pub(crate) offset_ns: u64,
    /// When the oldest of it arrived, if anything waits.
    pub(crate) oldest_ns: u64,
}

const TRIES: usize = 100;

impl Line {
    /// Publishes new figures. Only the holder of the queue's lock may call this.
    pub(crate) fn publish(&self, reading: LineReading) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.queued.store(reading.queued, Ordering::Relaxed);
        self.offset_ns.store(reading.offset_ns, Ordering::Relaxed);
        self.oldest_ns.store(reading.oldest_ns, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    /// How much waits.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// All figures of one moment, or nothing while they keep changing.
    pub(crate) fn read(&self) -> Option<LineReading> {
        (0..TRIES).find_map(|_| {
            let before = self.version.load(Ordering::Acquire);
            let reading = LineReading {
                queued: self.queued.load(Ordering::Relaxed),
                offset_ns: self.offset_ns.load(Ordering::Relaxed),
                oldest_ns: self.oldest_ns.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            let after = self.version.load(Ordering::Relaxed);
            if before == after && before.is_multiple_of(2) {
                return Some(reading);
            }
            std::hint::spin_loop();
            None
        })
    }
}

impl LineReading {
    /// The integral of the queue's length up to a moment, in nanoseconds.
    pub(crate) fn integral_ns(self, now_ns: u64) -> u64 {
        self.queued
            .wrapping_mul(now_ns)
            .wrapping_add(self.offset_ns)
    }

    /// How long the oldest has waited.
    pub(crate) fn oldest_wait_ns(self, now_ns: u64) -> u64 {
        if self.queued == 0 {
            return 0;
        }
        now_ns.saturating_sub(self.oldest_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_of_one_moment_while_another_thread_publishes() {
        let line = Line::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200_000 {
                    line.publish(LineReading {
                        queued: number,
                        offset_ns: number,
                        oldest_ns: number,
                    });
                }
            });
            for _ in 0..20_000 {
                if let Some(reading) = line.read() {
                    assert_eq!(reading.queued, reading.offset_ns);
                    assert_eq!(reading.queued, reading.oldest_ns);
                }
            }
        });
        assert!(line.read().is_some());
    }

    #[test]
    fn waiting_time_rises_while_nothing_moves() {
        let reading = LineReading {
            queued: 2,
            offset_ns: 0_u64.wrapping_sub(10).wrapping_sub(30),
            oldest_ns: 10,
        };
        assert_eq!(reading.integral_ns(100), 90 + 70);
        assert_eq!(reading.oldest_wait_ns(100), 90);
        assert_eq!(LineReading::default().oldest_wait_ns(100), 0);
    }
}
