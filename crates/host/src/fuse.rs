//! The fuse of a trial: a deadline that the request path itself looks at.
//!
//! A trial ends by the host's own timer. But a process that was stopped may be handed a request before its timer thread runs
//! again, and no request may be admitted at trial values after the trial's end. So the deadline also stands in an atomic that
//! each admission reads: once it has passed, admission waits until the control side has undone the trial.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// A deadline on the boot-time clock, or none.
#[derive(Debug, Default)]
pub struct Fuse {
    /// Nanoseconds of the boot-time clock; 0 means that no trial is open.
    deadline_ns: AtomicU64,
    cleared: Notify,
}

impl Fuse {
    /// Sets or moves the deadline: the earlier of the trial's own and its lease's.
    pub fn arm(&self, deadline_ns: u64) {
        self.deadline_ns
            .store(deadline_ns.max(1), Ordering::Release);
        self.cleared.notify_waiters();
    }

    /// Takes the deadline away: the trial was confirmed, or its values were undone.
    pub fn clear(&self) {
        self.deadline_ns.store(0, Ordering::Release);
        self.cleared.notify_waiters();
    }

    /// Whether the deadline has passed and the trial's values still stand. Costs one atomic load while no trial is open.
    #[must_use]
    pub fn is_burnt(&self) -> bool {
        let deadline = self.deadline_ns.load(Ordering::Acquire);
        deadline != 0 && trimtab_sys::clock::boot_ns() >= deadline
    }

    /// Waits until the fuse is not burnt.
    pub async fn whole(&self) {
        loop {
            let cleared = self.cleared.notified();
            if !self.is_burnt() {
                return;
            }
            cleared.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_burns_at_its_deadline_and_not_before() {
        let fuse = Fuse::default();
        assert!(!fuse.is_burnt());
        fuse.arm(trimtab_sys::clock::boot_ns() + 3_600_000_000_000);
        assert!(!fuse.is_burnt());
        fuse.arm(1);
        assert!(fuse.is_burnt());
        fuse.clear();
        assert!(!fuse.is_burnt());
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_the_fuse_is_cleared() {
        let fuse = Fuse::default();
        fuse.arm(1);
        let clearing = async {
            tokio::task::yield_now().await;
            fuse.clear();
        };
        tokio::join!(fuse.whole(), clearing);
    }
}
