//! How a pool of threads sizes itself while nobody tunes it.
//!
//! Slow and simple on purpose: whoever wants it better attaches a sidecar, and then this does nothing. It looks once a second. It
//! grows when for three looks jobs have waited and all workers have been busy; but not beyond the cores where the workers compute
//! most of the time, for then another thread only takes turns with them. It takes a growth back that brought no more
//! completed jobs, and then leaves it at that for a minute. It shrinks by one when for half a minute less than half of
//! the workers were busy and nothing waited.

use super::Inner;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trimtab_sys::clock::boot_ns;

/// Whether a pool of threads scales itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scaling {
    /// Between its bounds, while no sidecar holds the lease, no operator has frozen the host or pinned a knob of the pool, and no value
    /// that a sidecar proved is held.
    #[default]
    Alone,
    /// Only whoever tunes it changes its size.
    Never,
}

/// What one look sees.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) at_ns: u64,
    pub(super) workers: u64,
    pub(super) queued: u64,
    pub(super) completed: u64,
    pub(super) busy_us: u64,
    pub(super) cpu_us: u64,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Scaler {
    last: Option<Look>,
    starved: u32,
    idle: u32,
    rests: u32,
    proof: Option<Proof>,
}

/// A growth that has yet to show what it brought.
#[derive(Clone, Copy, Debug)]
struct Proof {
    workers_before: u64,
    completed_before: u64,
    looks: u32,
    began: Look,
}

/// Long against a burst, short against a change of the day's load.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const STARVED_LOOKS: u32 = 3;
const IDLE_LOOKS: u32 = 30;
/// How long a growth has to show itself.
const PROOF_LOOKS: u32 = 5;
/// How long nothing grows after a growth that brought nothing.
const REST_LOOKS: u32 = 60;

impl Scaler {
    /// Looks, and answers the size that the pool should have if it should have another.
    pub(super) fn look(&mut self, now: Look, min: u64, max: u64, cores: u64) -> Option<u64> {
        let last = self.last.replace(now)?;
        if last.workers != now.workers {
            // Someone else set it, and is now the one who decides; or it is our own last step.
            (self.starved, self.idle) = (0, 0);
        }
        self.rests = self.rests.saturating_sub(1);
        if let Some(back) = self.judge(now) {
            return Some(back);
        }
        let could_us = now.at_ns.saturating_sub(last.at_ns) / 1_000 * now.workers;
        let worked_us = now.busy_us.saturating_sub(last.busy_us);
        let computed_us = now.cpu_us.saturating_sub(last.cpu_us);
        let all_busy = worked_us * 10 >= could_us * 9;
        let computes = computed_us * 2 > worked_us;
        let waits = now.queued > 0 && last.queued > 0;
        self.starved = if waits && all_busy && !(computes && now.workers >= cores) {
            self.starved + 1
        } else {
            0
        };
        self.idle = if now.queued == 0 && worked_us * 2 < could_us {
            self.idle + 1
        } else {
            0
        };
        if self.starved >= STARVED_LOOKS && self.rests == 0 && self.proof.is_none() {
            return self.grow(now, last, max);
        }
        if self.idle >= IDLE_LOOKS && now.workers > min {
            (self.idle, self.proof) = (0, None);
            return Some(now.workers - 1);
        }
        None
    }

    fn grow(&mut self, now: Look, last: Look, max: u64) -> Option<u64> {
        let grown = (now.workers + (now.workers / 4).max(1)).min(max);
        if grown == now.workers {
            return None;
        }
        self.starved = 0;
        self.proof = Some(Proof {
            workers_before: now.workers,
            completed_before: now.completed.saturating_sub(last.completed),
            looks: 0,
            began: now,
        });
        Some(grown)
    }

    /// Once a growth had its time: the size before it, if it brought nothing.
    fn judge(&mut self, now: Look) -> Option<u64> {
        let proof = self.proof.as_mut()?;
        proof.looks += 1;
        if proof.looks < PROOF_LOOKS {
            return None;
        }
        let proof = self.proof.take()?;
        let completed = now.completed.saturating_sub(proof.began.completed);
        if completed > proof.completed_before * u64::from(PROOF_LOOKS) {
            return None;
        }
        self.rests = REST_LOOKS;
        Some(proof.workers_before)
    }
}

/// How many cores the process may use.
pub(super) fn cores() -> u64 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u64::try_from(cores.get()).unwrap_or(u64::MAX))
}

/// The thread that looks, until the pool is closed.
pub(super) fn run(pool: &Arc<Inner>) {
    let mut scaler = Scaler::default();
    let bounds = pool.worker_bounds;
    while !pool.is_closed() {
        std::thread::park_timeout(LOOK_EVERY);
        if pool.steered.load(Ordering::Acquire) {
            scaler = Scaler::default();
            continue;
        }
        let read = pool.read(boot_ns());
        let count = |counted: Option<u64>| counted.unwrap_or(0);
        let look = Look {
            at_ns: boot_ns(),
            workers: pool.target(),
            queued: count(read.gauges.queued),
            completed: count(read.counters.completed),
            busy_us: count(read.counters.busy_us),
            cpu_us: count(read.counters.cpu_us),
        };
        let Some(workers) = scaler.look(look, bounds.min, bounds.max, cores()) else {
            continue;
        };
        // Whoever began to tune it since the look has the last word a moment later all the same.
        if !pool.steered.load(Ordering::Acquire)
            && let Err(error) = pool.set_workers(workers)
        {
            tracing::debug!(pool = %pool.name, %error, "no more threads are to be had");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool that completes a job a worker in 100 ms, on a machine of 4 cores.
    struct World {
        scaler: Scaler,
        look: Look,
    }

    impl World {
        fn new(workers: u64) -> Self {
            let look = Look {
                workers,
                ..Look::default()
            };
            Self {
                scaler: Scaler::default(),
                look,
            }
        }

        /// A second in which so many workers were busy, computing for so much of it, with so much waiting.
        fn second(&mut self, busy: u64, cpu_percent: u64, queued: u64) -> Option<u64> {
            self.look.at_ns += 1_000_000_000;
            self.look.busy_us += busy * 1_000_000;
            self.look.cpu_us += busy * cpu_percent * 10_000;
            self.look.completed += busy * 10;
            self.look.queued = queued;
            let size = self.scaler.look(self.look, 2, 20, 4);
            self.look.workers = size.unwrap_or(self.look.workers);
            size
        }
    }

    #[test]
    fn a_starved_pool_grows_step_by_step_up_to_its_bound() {
        let mut world = World::new(8);
        let mut sizes = Vec::new();
        for _ in 0..200 {
            let busy = world.look.workers;
            sizes.extend(world.second(busy, 5, 50));
        }
        assert_eq!(sizes, [10, 12, 15, 18, 20]);
    }

    #[test]
    fn workers_that_compute_do_not_grow_beyond_the_cores() {
        let mut world = World::new(3);
        let mut sizes = Vec::new();
        for _ in 0..100 {
            let busy = world.look.workers;
            sizes.extend(world.second(busy, 95, 50));
        }
        assert_eq!(sizes, [4]);
    }

    #[test]
    fn a_growth_that_brings_nothing_is_taken_back_for_a_while() {
        let mut world = World::new(8);
        let mut sizes = Vec::new();
        for _ in 0..60 {
            let all = world.look.workers;
            world.look.busy_us += (all - 8) * 1_000_000;
            sizes.extend(world.second(8, 5, 50));
        }
        assert_eq!(sizes, [10, 8]);
    }

    #[test]
    fn an_idle_pool_shrinks_slowly_down_to_its_bound() {
        let mut world = World::new(4);
        let sizes: Vec<_> = (0..29).filter_map(|_| world.second(1, 50, 0)).collect();
        assert!(sizes.is_empty());
        let sizes: Vec<_> = (0..500).filter_map(|_| world.second(0, 0, 0)).collect();
        assert_eq!(sizes, [3, 2]);
    }

    #[test]
    fn a_burst_changes_nothing() {
        let mut world = World::new(8);
        for _ in 0..50 {
            assert_eq!(world.second(8, 5, 50), None);
            assert_eq!(world.second(8, 5, 50), None);
            assert_eq!(world.second(6, 5, 0), None);
        }
    }
}
