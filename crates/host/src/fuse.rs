//! The fuse of a trial: a deadline that the request path itself looks at.
//!
//! A trial ends by the host's own timer. But a process that was stopped may be handed a request before its timer thread runs
//! again, and no request may be admitted at trial values after the trial's end. So the deadline also stands in an atomic that
//! each admission reads: once it has passed, admission waits until the control side has undone the trial.
//!
//! The control side first puts the old values back through the knobs and then clears the fuse. Whoever holds work back while
//! the fuse is burnt registers with [`Fuse::watch`] and is called after each change of the deadline, so that nothing that
//! waited is forgotten.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

type Watcher = Arc<dyn Fn() + Send + Sync>;

/// A deadline on the boot-time clock, or none.
#[derive(Default)]
pub struct Fuse {
    /// Nanoseconds of the boot-time clock; 0 means that no trial is open.
    deadline_ns: AtomicU64,
    changed: Notify,
    watchers: Mutex<Vec<Watcher>>,
}

impl Fuse {
    /// Sets or moves the deadline: the earlier of the trial's own and its lease's.
    pub fn arm(&self, deadline_ns: u64) {
        self.set(deadline_ns.max(1));
    }

    /// Takes the deadline away: the trial was confirmed, or its values were undone.
    pub fn clear(&self) {
        self.set(0);
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
            let changed = self.changed.notified();
            if !self.is_burnt() {
                return;
            }
            changed.await;
        }
    }

    /// Registers what is called after each [`Fuse::arm`] and [`Fuse::clear`], on the caller's thread. It must be quick and
    /// must not arm or clear a fuse itself.
    pub fn watch(&self, watcher: impl Fn() + Send + Sync + 'static) {
        self.watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(watcher));
    }

    fn set(&self, deadline_ns: u64) {
        self.deadline_ns.store(deadline_ns, Ordering::Release);
        self.changed.notify_waiters();
        let watchers = self
            .watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for watcher in watchers {
            watcher();
        }
    }
}

impl fmt::Debug for Fuse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fuse")
            .field("deadline_ns", &self.deadline_ns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

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

    #[test]
    fn a_watcher_is_called_after_the_deadline_has_changed() {
        let fuse = Arc::new(Fuse::default());
        let (seen, watched) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&fuse));
        let counted = Arc::clone(&seen);
        fuse.arm(1);
        fuse.watch(move || {
            if !watched.is_burnt() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        fuse.arm(1);
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        fuse.clear();
        fuse.arm(u64::MAX);
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }
}
