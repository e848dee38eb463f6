//! Objects that are used again: what one user has finished with serves the next, instead of being allocated anew.
//!
//! A pool never makes anybody wait: where it has nothing it makes a new object. Two knobs can be turned while it runs.
//! `object_pool` says how many unused objects are kept at most, `cleanup` how often those are dropped that nobody needed since
//! the last time. ([`ObjectPool`] is a [`Part`], with a name of its own.)
//!
//! Nothing is handed on that is unsafe to use again. The type says how it is wiped ([`Reusable`]); whatever cannot be trusted
//! is dropped and not kept: an object whose user panicked, one whose wiping panicked, and one that has grown beyond
//! [`ObjectPoolBuilder::bytes_max`], for a single large answer must not stay in memory for ever.
//!
//! ```
//! use std::io::Write;
//! use trimtab_host::object_pool::ObjectPool;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let buffers = ObjectPool::builder("page-buffers", || Vec::with_capacity(4096)).objects(100, 1..=10_000).build()?;
//! let mut page = buffers.take();
//! write!(page, "<h1>{}</h1>", "Kettles")?;
//! let body = page.freeze(); // the buffer comes back when the last copy of the body is gone
//! assert_eq!(&body[..], b"<h1>Kettles</h1>");
//! drop(body);
//! assert_eq!(buffers.kept(), 1);
//! # Ok(())
//! # }
//! ```

mod guard;

use crate::dial::{Dial, DialKnob};
use crate::fuse::Fuse;
use crate::part::{Part, PartFigures, PartKnob};
use crate::pool::BuildError;
use crate::sharded::{SHARDS, Sharded, mine};
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use trimtab_protocol::knob::KnobKind;
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;

pub use guard::{Pooled, Reusable};

/// A pool of objects. Clones are the same pool.
pub struct ObjectPool<T: Reusable> {
    inner: Arc<Inner<T>>,
}

/// Describes a pool of objects; see [`ObjectPool::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct ObjectPoolBuilder<T> {
    name: String,
    kind: PoolKind,
    make: Box<dyn Fn() -> T + Send + Sync>,
    objects: Dial,
    cleanup_ms: Dial,
    bytes_max: usize,
}

/// The most objects that a pool can be told to keep.
const OBJECTS_MAX: u64 = 1_000_000;
/// The shortest and the longest time between two cleanups: ten times a second is enough for anybody, and a day is never.
const CLEANUP_MS: RangeInclusive<u64> = 100..=86_400_000;
/// Kept objects cost memory only, so a step may be larger than the usual one: sixteenfold.
pub(crate) const STEP_RATIO_BP: u32 = 160_000;

impl<T: Reusable> ObjectPool<T> {
    /// Describes a new pool whose objects are made by `make`: at most 64 kept, of 1 to 10,000; a cleanup every 5 min, from
    /// 1 s to an hour; nothing above 1 MiB is kept.
    pub fn builder(
        name: &str,
        make: impl Fn() -> T + Send + Sync + 'static,
    ) -> ObjectPoolBuilder<T> {
        ObjectPoolBuilder {
            name: name.to_owned(),
            kind: PoolKind::Other,
            make: Box::new(make),
            objects: Dial::new(64, &(1..=10_000)),
            cleanup_ms: Dial::new(300_000, &(1_000..=3_600_000)),
            bytes_max: 1 << 20,
        }
    }

    /// An object that nobody else has: one that was used before and wiped since, or a new one. It never waits.
    #[must_use]
    pub fn take(&self) -> Pooled<T> {
        let kept = self.inner.pop();
        let tally = self.inner.tallies.at(mine());
        let counter = if kept.is_some() {
            &tally.hits
        } else {
            &tally.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let object = kept.unwrap_or_else(|| (self.inner.make)());
        Pooled::new(object, Arc::clone(&self.inner))
    }

    /// How many unused objects are kept now.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.inner.kept.load(Ordering::Acquire)
    }
}

impl<T: Reusable> Clone for ObjectPool<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<T: Reusable> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ObjectPool")
            .field("name", &self.inner.name)
            .field("kept", &self.kept())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ObjectPoolBuilder<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ObjectPoolBuilder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T: Reusable> ObjectPoolBuilder<T> {
    /// What sort of work uses the objects; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// How many unused objects are kept at most: the baseline, and the bounds.
    pub fn objects(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.objects = Dial::new(baseline, &bounds);
        self
    }

    /// How often objects are dropped that nobody needed since the last time, in milliseconds: the baseline, and the bounds.
    pub fn cleanup_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.cleanup_ms = Dial::new(baseline, &bounds);
        self
    }

    /// An object that holds more bytes than this is dropped after its use.
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Makes the pool; it is empty.
    ///
    /// # Errors
    /// [`BuildError`] if the name needs escaping, or a baseline or its bounds are out of range.
    pub fn build(self) -> Result<ObjectPool<T>, BuildError> {
        if !is_plain_name(&self.name) {
            return Err(BuildError::Name(self.name));
        }
        self.objects.check(KnobName::OBJECT_POOL, 0, OBJECTS_MAX)?;
        let (least, most) = CLEANUP_MS.into_inner();
        self.cleanup_ms.check(KnobName::CLEANUP, least, most)?;
        Ok(ObjectPool {
            inner: Arc::new(Inner {
                name: PoolName::from(self.name),
                kind: self.kind,
                make: self.make,
                objects: self.objects,
                cleanup_ms: self.cleanup_ms,
                bytes_max: self.bytes_max,
                shelves: Sharded::default(),
                kept: AtomicU64::new(0),
                surplus: AtomicU64::new(0),
                cleaned_ns: AtomicU64::new(0),
                tallies: Sharded::default(),
            }),
        })
    }
}

/// What all clones of a pool, and the objects in use, share.
struct Inner<T> {
    name: PoolName,
    kind: PoolKind,
    make: Box<dyn Fn() -> T + Send + Sync>,
    objects: Dial,
    cleanup_ms: Dial,
    bytes_max: usize,
    shelves: Sharded<Shelf<T>>,
    /// Never less than what lies on the shelves: it is raised before an object is put there, and lowered after one is taken.
    kept: AtomicU64,
    /// The least that was kept since the last cleanup: so many were not needed.
    surplus: AtomicU64,
    cleaned_ns: AtomicU64,
    tallies: Sharded<Tally>,
}

struct Shelf<T>(Mutex<Vec<T>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug, Default)]
struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    /// Objects that were not kept because they could not be trusted or had become too large.
    spoilt: AtomicU64,
}

impl<T> Inner<T> {
    /// An object from the caller's own shelf, else from any that nobody else is at.
    fn pop(&self) -> Option<T> {
        if self.kept.load(Ordering::Acquire) == 0 {
            return None;
        }
        let own = mine();
        let object = (0..SHARDS).find_map(|offset| {
            let shelf = &self.shelves.at(own + offset).0;
            if offset == 0 {
                return shelf.lock().unwrap_or_else(PoisonError::into_inner).pop();
            }
            match shelf.try_lock() {
                Ok(mut shelf) => shelf.pop(),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().pop(),
                Err(TryLockError::WouldBlock) => None,
            }
        })?;
        let left = self.kept.fetch_sub(1, Ordering::AcqRel) - 1;
        self.surplus.fetch_min(left, Ordering::AcqRel);
        Some(object)
    }

    fn put(&self, object: T) {
        let room = |kept| (kept < self.objects.get()).then_some(kept + 1);
        let reserved = self
            .kept
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        if reserved.is_err() {
            return;
        }
        let shelf = &self.shelves.at(mine()).0;
        shelf
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(object);
        // The limit may have been lowered between the reservation and the push.
        self.trim(self.objects.get());
    }

    /// Drops objects until no more are kept than this.
    fn trim(&self, objects: u64) {
        while self.kept.load(Ordering::Acquire) > objects {
            let found = self.shelves.iter().find_map(|shelf| {
                let mut shelf = shelf.0.lock().unwrap_or_else(PoisonError::into_inner);
                // Memory of the list itself goes back too.
                let object = shelf.pop();
                if shelf.len() < shelf.capacity() / 4 {
                    shelf.shrink_to_fit();
                }
                object
            });
            // What is counted and lies nowhere is on its way, and whoever puts it down looks again.
            let Some(object) = found else { return };
            let left = self.kept.fetch_sub(1, Ordering::AcqRel) - 1;
            self.surplus.fetch_min(left, Ordering::AcqRel);
            drop(object);
        }
    }

    /// Drops what was not needed since the last cleanup, if that is an interval ago; says when the next is due.
    fn clean(&self, now_ns: u64) -> u64 {
        let interval_ns = self.cleanup_ms.get().saturating_mul(1_000_000);
        let last_ns = self.cleaned_ns.load(Ordering::Acquire);
        let kept = self.kept.load(Ordering::Acquire);
        let due_ns = last_ns.saturating_add(interval_ns);
        if last_ns != 0 && now_ns < due_ns {
            return due_ns;
        }
        self.cleaned_ns.store(now_ns, Ordering::Release);
        if last_ns == 0 {
            self.surplus.store(kept, Ordering::Release);
        } else {
            let surplus = self.surplus.load(Ordering::Acquire).min(kept);
            self.trim(kept - surplus);
            let left = self.kept.load(Ordering::Acquire);
            self.surplus.store(left, Ordering::Release);
        }
        now_ns.saturating_add(interval_ns)
    }

    fn sum(&self, of: fn(&Tally) -> &AtomicU64) -> u64 {
        self.tallies
            .iter()
            .map(|tally| of(tally).load(Ordering::Relaxed))
            .sum()
    }
}

impl<T: Reusable> Inner<T> {
    /// An object comes back from its user.
    fn give_back(&self, mut object: T) {
        let trusted = !std::thread::panicking()
            && object.held_bytes() <= self.bytes_max
            && catch_unwind(AssertUnwindSafe(|| object.wipe())).is_ok();
        if trusted {
            self.put(object);
        } else {
            let tally = self.tallies.at(mine());
            tally.spoilt.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<T: Reusable> Part for ObjectPool<T> {
    fn name(&self) -> &PoolName {
        &self.inner.name
    }

    fn kind(&self) -> PoolKind {
        self.inner.kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let mut objects =
            self.inner
                .objects
                .spec(KnobName::OBJECT_POOL, "objects", KnobKind::Integer);
        let mut cleanup = self
            .inner
            .cleanup_ms
            .spec(KnobName::CLEANUP, "ms", KnobKind::DurationMs);
        objects.max_ratio_bp = STEP_RATIO_BP;
        cleanup.max_ratio_bp = STEP_RATIO_BP;
        let objects = PartKnob {
            spec: objects,
            knob: Arc::new(DialKnob {
                owner: Arc::clone(&self.inner),
                dial: |inner| &inner.objects,
                effective: |inner, target| target.max(inner.kept.load(Ordering::Acquire)),
                turned: |inner| inner.trim(inner.objects.get()),
            }),
        };
        let cleanup = PartKnob {
            spec: cleanup,
            knob: Arc::new(DialKnob {
                owner: Arc::clone(&self.inner),
                dial: |inner| &inner.cleanup_ms,
                effective: |_, target| target,
                turned: |_| (),
            }),
        };
        vec![objects, cleanup]
    }

    fn figures(&self, _now_ns: u64) -> PartFigures {
        let named = [
            ("object_pool_hits", self.inner.sum(|tally| &tally.hits)),
            ("object_pool_kept", self.kept()),
            ("object_pool_misses", self.inner.sum(|tally| &tally.misses)),
            ("object_pool_spoilt", self.inner.sum(|tally| &tally.spoilt)),
        ];
        PartFigures::named(named)
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        None
    }

    fn upkeep(&self, now_ns: u64) -> Option<u64> {
        Some(self.inner.clean(now_ns))
    }
}

#[cfg(test)]
mod tests;
