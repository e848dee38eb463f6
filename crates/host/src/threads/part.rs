//! A pool of threads as the control side sees it: the same three knobs as a pool's, its figures, and its fuse.

use super::{Inner, ThreadPool};
use crate::fuse::Fuse;
use crate::knob::KnobSpec;
use crate::number::{Number, NumberKnob};
use crate::part::{Part, PartFigures, PartKnob};
use crate::pool::Bounds;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::PoolKind;

impl Part for ThreadPool {
    fn name(&self) -> &PoolName {
        &self.inner().name
    }

    fn kind(&self) -> PoolKind {
        self.inner().kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let inner = self.inner();
        let integer = |name, unit, bounds: Bounds| {
            KnobSpec::integer(name, unit, bounds.baseline, bounds.min, bounds.max)
        };
        let timeout = inner.timeout_bounds;
        let specs = [
            (
                integer(KnobName::WORKERS, "threads", inner.worker_bounds),
                Setting::Workers,
            ),
            (
                integer(KnobName::QUEUE_LIMIT, "places", inner.queue_bounds),
                Setting::QueueLimit,
            ),
            (
                KnobSpec::duration_ms(
                    KnobName::TIMEOUT_MS,
                    timeout.baseline,
                    timeout.min,
                    timeout.max,
                ),
                Setting::TimeoutMs,
            ),
        ];
        let knob = |(spec, setting)| PartKnob {
            spec,
            knob: Arc::new(NumberKnob(ThreadNumber {
                pool: Arc::clone(inner),
                setting,
            })),
        };
        specs.map(knob).into()
    }

    fn figures(&self, now_ns: u64) -> PartFigures {
        self.inner().read(now_ns)
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        Some(Arc::clone(&self.inner().fuse))
    }

    fn steered(&self, steered: bool) {
        self.inner().steered.store(steered, Ordering::Release);
    }
}

#[derive(Clone, Copy, Debug)]
enum Setting {
    Workers,
    QueueLimit,
    TimeoutMs,
}

/// One of the three numbers. Setting it takes effect at once; what is above a lowered number is left to end by itself.
struct ThreadNumber {
    pool: Arc<Inner>,
    setting: Setting,
}

impl Number for ThreadNumber {
    fn bounds(&self) -> Bounds {
        match self.setting {
            Setting::Workers => self.pool.worker_bounds,
            Setting::QueueLimit => self.pool.queue_bounds,
            Setting::TimeoutMs => self.pool.timeout_bounds,
        }
    }

    fn target(&self) -> u64 {
        match self.setting {
            Setting::Workers => self.pool.target(),
            Setting::QueueLimit => self.pool.queue_limit.load(Ordering::Acquire),
            Setting::TimeoutMs => self.pool.timeout_ms.load(Ordering::Acquire),
        }
    }

    fn effective(&self, target: u64) -> u64 {
        match self.setting {
            Setting::Workers => target.max(self.pool.threads()),
            Setting::QueueLimit => {
                let running = self.pool.threads();
                target.max(self.pool.gate.held().saturating_sub(running))
            }
            Setting::TimeoutMs => target,
        }
    }

    fn store(&self, number: u64) -> Result<(), String> {
        match self.setting {
            Setting::Workers => {
                if let Err(error) = self.pool.set_workers(number) {
                    return Err(format!("no more threads are to be had: {error}"));
                }
            }
            Setting::QueueLimit => self.pool.queue_limit.store(number, Ordering::Release),
            Setting::TimeoutMs => self.pool.timeout_ms.store(number, Ordering::Release),
        }
        Ok(())
    }
}
