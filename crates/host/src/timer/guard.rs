//! A thread that looks after the tasks that watch deadlines.
//!
//! A task runs only while somebody polls its runtime, and nothing tells that nobody does: a pool that was first used in a runtime
//! of one thread, which its owner kept and went away from, would tell no deadline any more. So now and then this looks whether
//! somebody is overdue, and if so wakes them; the first that is polled starts the task on its own runtime. It is one thread for
//! all pools of the process, begun with the first deadline that is waited for, and it sleeps while none is.
//!
//! It tells no deadline itself, so tokio's clock holds even where a test has stopped it; there the guard at most wakes in vain.

use super::Sweeper;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// How often it looks. With the margin it bounds how late a deadline is told after the task's runtime has stopped.
const PERIOD: Duration = Duration::from_millis(250);
/// So much later than its deadline nobody is woken by a task that runs; a runtime as slow as this loses nothing but the wake.
const MARGIN: Duration = Duration::from_millis(250);

static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    sweepers: Vec::new(),
    is_kept: false,
});
static MORE: Condvar = Condvar::new();

struct Watched {
    sweepers: Vec<Weak<Sweeper>>,
    /// Whether the thread is there.
    is_kept: bool,
}

/// Looks after this one from now on, until nothing waits. Without a thread it is as if nobody did.
pub(super) fn watch(sweeper: &Arc<Sweeper>) {
    let mut watched = lock();
    watched.sweepers.push(Arc::downgrade(sweeper));
    if watched.is_kept {
        MORE.notify_one();
        return;
    }
    let thread = thread::Builder::new().name("trimtab-timer".to_owned());
    match thread.spawn(keep_watch) {
        Ok(_) => watched.is_kept = true,
        Err(error) => tracing::debug!(%error, "nobody looks after the timers of pools"),
    }
}

fn keep_watch() {
    loop {
        let mut watched = lock();
        while watched.sweepers.is_empty() {
            watched = MORE.wait(watched).unwrap_or_else(PoisonError::into_inner);
        }
        drop(watched);
        thread::park_timeout(PERIOD);
        let mut sweepers = mem::take(&mut lock().sweepers);
        // Wakers are others' code, and may be the last that hold a task.
        sweepers.retain(|sweeper| {
            catch_unwind(AssertUnwindSafe(|| is_needed(sweeper))).unwrap_or(true)
        });
        lock().sweepers.append(&mut sweepers);
    }
}

fn is_needed(sweeper: &Weak<Sweeper>) -> bool {
    sweeper
        .upgrade()
        .is_some_and(|sweeper| sweeper.tend(MARGIN))
}

fn lock() -> MutexGuard<'static, Watched> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
