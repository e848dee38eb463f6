//! A pool as the control side sees it: three knobs, its figures, and its fuse.

use super::{Bounds, Inner, Pool};
use crate::fuse::Fuse;
use crate::knob::KnobSpec;
use crate::number::{Number, NumberKnob};
use crate::part::{Part, PartFigures, PartKnob};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::PoolKind;

impl Part for Pool {
    fn name(&self) -> &PoolName {
        &self.inner.name
    }

    fn kind(&self) -> PoolKind {
        self.inner.kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let Inner {
            workers,
            queue_limit,
            timeout_ms,
            ..
        } = &*self.inner;
        let integer = |name, unit, held: &Bounds| {
            KnobSpec::integer(name, unit, held.baseline, held.min, held.max)
        };
        let Bounds { baseline, min, max } = *timeout_ms;
        let specs = [
            (
                integer(KnobName::WORKERS, "workers", workers),
                Setting::Workers,
            ),
            (
                integer(KnobName::QUEUE_LIMIT, "places", queue_limit),
                Setting::QueueLimit,
            ),
            (
                KnobSpec::duration_ms(KnobName::TIMEOUT_MS, baseline, min, max),
                Setting::TimeoutMs,
            ),
        ];
        let most = self.inner.timeout_max_ms.map(|most| {
            let Bounds { baseline, min, max } = most;
            let spec = KnobSpec::duration_ms(KnobName::TIMEOUT_MAX_MS, baseline, min, max);
            (spec, Setting::TimeoutMaxMs)
        });
        let knob = |(spec, setting)| PartKnob {
            spec,
            knob: Arc::new(NumberKnob(PoolNumber {
                pool: Arc::clone(&self.inner),
                setting,
            })),
        };
        specs.into_iter().chain(most).map(knob).collect()
    }

    fn figures(&self, now_ns: u64) -> PartFigures {
        self.inner.figures(now_ns)
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        Some(Arc::clone(&self.inner.limit.fuse))
    }
}

#[derive(Clone, Copy, Debug)]
enum Setting {
    Workers,
    QueueLimit,
    TimeoutMs,
    TimeoutMaxMs,
}

/// One of a pool's three numbers. Setting it takes effect at once; what is above a lowered number is left to end by itself.
struct PoolNumber {
    pool: Arc<Inner>,
    setting: Setting,
}

impl Number for PoolNumber {
    fn bounds(&self) -> Bounds {
        match self.setting {
            Setting::Workers => self.pool.workers,
            Setting::QueueLimit => self.pool.queue_limit,
            Setting::TimeoutMs => self.pool.timeout_ms,
            Setting::TimeoutMaxMs => self.pool.timeout_max_ms.unwrap_or(self.pool.timeout_ms),
        }
    }

    fn target(&self) -> u64 {
        match self.setting {
            Setting::Workers => self.pool.limit.workers(),
            Setting::QueueLimit => self.pool.limit.queue_limit(),
            Setting::TimeoutMs => self.pool.timeout_ms_now.load(Ordering::Acquire),
            Setting::TimeoutMaxMs => self.pool.timeout_max_ms_now.load(Ordering::Acquire),
        }
    }

    fn effective(&self, target: u64) -> u64 {
        match self.setting {
            Setting::Workers => target.max(self.pool.limit.busy()),
            Setting::QueueLimit => target.max(self.pool.limit.queued()),
            Setting::TimeoutMs | Setting::TimeoutMaxMs => target,
        }
    }

    fn store(&self, number: u64) -> Result<(), String> {
        match self.setting {
            Setting::Workers => self.pool.limit.set_workers(number),
            Setting::QueueLimit => self.pool.limit.set_queue_limit(number),
            Setting::TimeoutMs => self.pool.timeout_ms_now.store(number, Ordering::Release),
            Setting::TimeoutMaxMs => self
                .pool
                .timeout_max_ms_now
                .store(number, Ordering::Release),
        }
        Ok(())
    }
}
