//! How readily the whole process gives memory back to the system: the knob `memory_level` of the pseudo-pool `process`.
//!
//! An allocator keeps what was freed, because asking the system again takes time; so the resident memory of a service stays
//! near its peak. The three levels say how much time may be spent on giving it back:
//!
//! | level | jemalloc | glibc |
//! |---|---|---|
//! | `conservative` | unused pages are kept for 30 s | glibc's own ways: freed memory mostly stays |
//! | `moderate` | jemalloc's own ways, as the service started it | free pages are given back every 30 s |
//! | `aggressive` | all that is unused is given back at once, and then what was unused for half a second | free pages are given back at once, and then every second |
//!
//! The baseline is the level that is the allocator's own way, so making a [`Memory`] changes nothing. Jemalloc needs the
//! feature `jemalloc`, and a service that has made it its global allocator (`memory::Jemalloc`); the kit never installs one.
//!
//! It works on a thread of the control side, never on one that serves requests; but whoever allocates meanwhile may wait for
//! the allocator's lock.

use crate::fuse::Fuse;
use crate::knob::{Applied, Knob, KnobFuture, KnobReading, KnobSpec};
use crate::part::{Part, PartFigures, PartKnob};
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::PoolKind;
use trimtab_sys::heap;
#[cfg(feature = "jemalloc")]
use trimtab_sys::jemalloc::{self, Decay};

/// The allocator, for a service's `#[global_allocator]`: the very one whose controls the kit reaches.
#[cfg(feature = "jemalloc")]
pub use tikv_jemallocator::Jemalloc;

/// The memory of the whole process, as a part. There should be one in a host.
#[derive(Clone, Debug)]
pub struct Memory {
    inner: Arc<Inner>,
}

/// There is no allocator whose ways can be changed: not jemalloc (or the feature `jemalloc` is off), and not glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process has no allocator whose ways can be changed")]
pub struct NoAllocator;

/// How readily memory is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLevel {
    /// Memory is kept, so that work seldom waits for it.
    Conservative,
    /// Memory is given back after a while.
    Moderate,
    /// Memory is given back at once.
    Aggressive,
}

impl Memory {
    /// Finds out from which allocator the process has its memory.
    ///
    /// # Errors
    /// [`NoAllocator`] if it is none of those that can be told how readily to give memory back.
    pub fn detect() -> Result<Self, NoAllocator> {
        let allocator = Allocator::detect().ok_or(NoAllocator)?;
        let baseline = allocator.own_ways();
        Ok(Self {
            inner: Arc::new(Inner {
                name: PoolName::from(PoolName::PROCESS),
                allocator,
                target: AtomicU8::new(baseline.number()),
                in_force: AtomicU8::new(baseline.number()),
                tended_ns: Mutex::new(0),
                given_back: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        })
    }

    /// The allocator's name.
    #[must_use]
    pub fn allocator(&self) -> &'static str {
        match self.inner.allocator {
            #[cfg(feature = "jemalloc")]
            Allocator::Jemalloc { .. } => "jemalloc",
            Allocator::Glibc => "glibc",
        }
    }

    /// The level that is the target now.
    #[must_use]
    pub fn level(&self) -> MemoryLevel {
        MemoryLevel::from_number(self.inner.target.load(Ordering::Acquire))
    }
}

impl MemoryLevel {
    const ALL: [Self; 3] = [Self::Conservative, Self::Moderate, Self::Aggressive];

    /// The word that the knob takes for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Conservative => "conservative",
            Self::Moderate => "moderate",
            Self::Aggressive => "aggressive",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Conservative => 0,
            Self::Moderate => 1,
            Self::Aggressive => 2,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Conservative,
            1 => Self::Moderate,
            _ => Self::Aggressive,
        }
    }

    fn value(self) -> KnobValue {
        KnobValue::Choice(self.word().to_owned())
    }
}

/// What all clones share.
#[derive(Debug)]
struct Inner {
    name: PoolName,
    allocator: Allocator,
    target: AtomicU8,
    /// Follows the target at the upkeep: giving back may take long, and turning a knob must not.
    in_force: AtomicU8,
    tended_ns: Mutex<u64>,
    /// How often memory was given back.
    given_back: AtomicU64,
    failed: AtomicU64,
}

/// An allocator whose ways can be changed.
#[derive(Clone, Copy, Debug)]
enum Allocator {
    #[cfg(feature = "jemalloc")]
    Jemalloc {
        /// What the service started it with.
        own: Decay,
    },
    Glibc,
}

/// How often what is due is given back, in nanoseconds.
#[cfg(feature = "jemalloc")]
const EVERY_HALF_SECOND_NS: u64 = 500_000_000;
const EVERY_SECOND_NS: u64 = 1_000_000_000;
const EVERY_HALF_MINUTE_NS: u64 = 30_000_000_000;

/// Long enough that a service which allocates again within seconds finds its pages there.
#[cfg(feature = "jemalloc")]
const KEPT_LONG: Decay = Decay {
    dirty_ms: 30_000,
    muzzy_ms: 30_000,
};
/// Long enough that a request which allocates, frees and allocates again pays for its pages once.
#[cfg(feature = "jemalloc")]
const KEPT_SHORT: Decay = Decay {
    dirty_ms: 500,
    muzzy_ms: 0,
};

impl Allocator {
    fn detect() -> Option<Self> {
        #[cfg(feature = "jemalloc")]
        if jemalloc::is_in_use() {
            let own = jemalloc::decay().ok()?;
            return Some(Self::Jemalloc { own });
        }
        heap::can_trim().then_some(Self::Glibc)
    }

    /// The level that changes nothing about it.
    fn own_ways(self) -> MemoryLevel {
        match self {
            #[cfg(feature = "jemalloc")]
            Self::Jemalloc { .. } => MemoryLevel::Moderate,
            Self::Glibc => MemoryLevel::Conservative,
        }
    }

    /// Goes over to a level.
    fn enter(self, level: MemoryLevel) -> io::Result<()> {
        match self {
            #[cfg(feature = "jemalloc")]
            Self::Jemalloc { own } => {
                jemalloc::set_decay(match level {
                    MemoryLevel::Conservative => KEPT_LONG,
                    MemoryLevel::Moderate => own,
                    MemoryLevel::Aggressive => KEPT_SHORT,
                })?;
                if level == MemoryLevel::Aggressive {
                    jemalloc::give_back_all()?;
                }
            }
            Self::Glibc => {
                if level != MemoryLevel::Conservative {
                    self.give_back();
                }
            }
        }
        Ok(())
    }

    /// How often it must be reminded at a level; nothing where it needs none.
    fn every_ns(self, level: MemoryLevel) -> Option<u64> {
        match (self, level) {
            #[cfg(feature = "jemalloc")]
            // An idle service allocates nothing, and then jemalloc does not look at the clock.
            (Self::Jemalloc { .. }, MemoryLevel::Aggressive) => Some(EVERY_HALF_SECOND_NS),
            #[cfg(feature = "jemalloc")]
            (Self::Jemalloc { .. }, MemoryLevel::Conservative | MemoryLevel::Moderate) => None,
            (Self::Glibc, MemoryLevel::Conservative) => None,
            (Self::Glibc, MemoryLevel::Moderate) => Some(EVERY_HALF_MINUTE_NS),
            (Self::Glibc, MemoryLevel::Aggressive) => Some(EVERY_SECOND_NS),
        }
    }

    fn give_back(self) -> bool {
        match self {
            #[cfg(feature = "jemalloc")]
            Self::Jemalloc { .. } => jemalloc::give_back_due().is_ok(),
            Self::Glibc => heap::trim(),
        }
    }
}

impl Inner {
    fn upkeep(&self, now_ns: u64) -> Option<u64> {
        let mut tended_ns = self
            .tended_ns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let target = self.target.load(Ordering::Acquire);
        let level = MemoryLevel::from_number(target);
        if self.in_force.load(Ordering::Acquire) != target {
            if let Err(error) = self.allocator.enter(level) {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "the allocator did not take all of a memory level");
            }
            self.given_back.fetch_add(1, Ordering::Relaxed);
            self.in_force.store(target, Ordering::Release);
            *tended_ns = now_ns;
        }
        let every_ns = self.allocator.every_ns(level)?;
        if now_ns.saturating_sub(*tended_ns) >= every_ns {
            self.allocator.give_back();
            self.given_back.fetch_add(1, Ordering::Relaxed);
            *tended_ns = now_ns;
        }
        Some(tended_ns.saturating_add(every_ns))
    }
}

/// The knob `memory_level`.
#[derive(Debug)]
struct Level(Arc<Inner>);

impl Knob for Level {
    fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>> {
        Box::pin(async {
            let value =
                |level: &AtomicU8| MemoryLevel::from_number(level.load(Ordering::Acquire)).value();
            Ok(KnobReading {
                value: value(&self.0.target),
                effective: value(&self.0.in_force),
            })
        })
    }

    fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied> {
        Box::pin(async move {
            let named = MemoryLevel::ALL
                .into_iter()
                .find(|level| *value == level.value());
            let Some(level) = named else {
                return Applied::Refused(format!("{value} is not a memory level"));
            };
            self.0.target.store(level.number(), Ordering::Release);
            // Its upkeep follows right after this.
            if self.0.in_force.load(Ordering::Acquire) == level.number() {
                Applied::Done
            } else {
                Applied::Settling
            }
        })
    }
}

impl Part for Memory {
    fn name(&self) -> &PoolName {
        &self.inner.name
    }

    fn kind(&self) -> PoolKind {
        PoolKind::Other
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let words = MemoryLevel::ALL.map(MemoryLevel::word);
        let baseline = self.inner.allocator.own_ways().word();
        vec![PartKnob {
            spec: KnobSpec::choice(KnobName::MEMORY_LEVEL, "level", baseline, &words),
            knob: Arc::new(Level(Arc::clone(&self.inner))),
        }]
    }

    fn figures(&self, _now_ns: u64) -> PartFigures {
        let figure = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let named = [
            ("memory_failures", figure(&self.inner.failed)),
            ("memory_given_back", figure(&self.inner.given_back)),
        ];
        PartFigures::named(named)
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        None
    }

    fn upkeep(&self, now_ns: u64) -> Option<u64> {
        self.inner.upkeep(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[tokio::test]
    async fn a_level_takes_effect_when_the_part_is_steered_and_is_kept_up() {
        let memory = Memory::detect().unwrap();
        assert_eq!(memory.allocator(), "glibc");
        assert_eq!(memory.level(), MemoryLevel::Conservative);
        let knob = &memory.knobs()[0].knob;
        assert_eq!(memory.upkeep(SECOND), None, "its own ways need nobody");

        let aggressive = MemoryLevel::Aggressive.value();
        assert_eq!(knob.apply(&aggressive).await, Applied::Settling);
        assert_eq!(memory.upkeep(2 * SECOND), Some(3 * SECOND));
        assert_eq!(knob.read().await.unwrap().effective, aggressive);
        assert_eq!(memory.upkeep(2 * SECOND + 9), Some(3 * SECOND));
        assert_eq!(memory.upkeep(3 * SECOND), Some(4 * SECOND));
        let given_back = memory.figures(0).gauges.named["memory_given_back"];
        assert_eq!(given_back, 2);

        knob.apply(&MemoryLevel::Conservative.value()).await;
        assert_eq!(memory.upkeep(4 * SECOND), None);
        assert_eq!(memory.level(), MemoryLevel::Conservative);
    }

    #[tokio::test]
    async fn another_word_is_refused_and_changes_nothing() {
        let memory = Memory::detect().unwrap();
        let knob = &memory.knobs()[0].knob;
        for wrong in [KnobValue::Integer(2), KnobValue::Choice("eager".to_owned())] {
            assert!(matches!(knob.apply(&wrong).await, Applied::Refused(_)));
        }
        assert_eq!(memory.level(), MemoryLevel::Conservative);
    }
}
