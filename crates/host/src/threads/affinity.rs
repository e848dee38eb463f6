//! Which core a worker stays on, where the service asks for it.

use super::Inner;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::sync::atomic::Ordering;

/// Keeps the calling thread, the worker in this place, on its core. A core that the process may not use is counted, and the
/// worker runs wherever the system lets it.
pub(super) fn pin(pool: &Inner, index: usize) {
    let cores = &pool.cores;
    let Some(core) = index.checked_rem(cores.len()).map(|turn| cores[turn]) else {
        return;
    };
    let pinned = core < CpuSet::MAX_CPU && {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).is_ok()
    };
    if !pinned {
        pool.unpinned.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(pool = %pool.name, core, "a worker cannot be kept on this core");
    }
}
