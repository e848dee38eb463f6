//! Chunks of one fixed size, cut from larger blocks and used again: no piece of work allocates, and nothing fragments.
//!
//! A block is one allocation of [`CHUNKS_PER_BLOCK`] chunks. Cutting and sharing it is the work of the crate `bytes`, with
//! which the kit's bodies are made anyway: each chunk is a handle of its own to its part of the block, and the block goes back
//! to the allocator when the last of its chunks is dropped.
//!
//! Two knobs can be turned while it runs. `slab` is the size of a chunk in bytes; chunks of another size that are still in use
//! are dropped when they come back. `cleanup` says how often chunks are dropped that nobody needed since the last time.
//!
//! What the last user wrote cannot be read: a chunk shows only what was written since it was handed out.
//!
//! ```
//! use std::io::Write;
//! use trimtab_host::slab::Slab;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let slab = Slab::builder("receipts").chunk_bytes(1024, 256..=65_536).build()?;
//! let mut text = slab.text();
//! text.write_all(&[7; 3000])?; // takes three chunks
//! let sizes: Vec<usize> = text.chunks().map(<[u8]>::len).collect();
//! assert_eq!(sizes, [1024, 1024, 952]);
//! # Ok(())
//! # }
//! ```

mod chunk;

use crate::dial::{Dial, DialKnob};
use crate::fuse::Fuse;
use crate::object_pool::STEP_RATIO_BP;
use crate::part::{Part, PartFigures, PartKnob};
use crate::pool::BuildError;
use bytes::BytesMut;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimtab_protocol::knob::KnobKind;
use trimtab_protocol::name::{KnobName, PoolName, is_plain_name};
use trimtab_protocol::state::PoolKind;

pub use chunk::{Chunk, Text};

/// How many chunks one block has: enough that a block is rarely asked for, few enough that one chunk in use holds little else.
pub const CHUNKS_PER_BLOCK: usize = 32;

/// A source of chunks. Clones are the same slab.
#[derive(Clone, Debug)]
pub struct Slab {
    inner: Arc<Inner>,
}

/// Describes a slab; see [`Slab::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct SlabBuilder {
    name: String,
    kind: PoolKind,
    chunk_bytes: Dial,
    cleanup_ms: Dial,
}

/// A chunk's least and largest size: below, its bookkeeping outweighs it; above, a block is tens of megabytes.
const CHUNK_BYTES: RangeInclusive<u64> = 16..=(1 << 20);
/// As for an object pool.
const CLEANUP_MS: RangeInclusive<u64> = 100..=86_400_000;

impl Slab {
    /// Describes a new slab: chunks of 1 KiB, of 256 B to 64 KiB, and a cleanup every 5 min, from 1 s to an hour.
    pub fn builder(name: &str) -> SlabBuilder {
        SlabBuilder {
            name: name.to_owned(),
            kind: PoolKind::Other,
            chunk_bytes: Dial::new(1_024, &(256..=65_536)),
            cleanup_ms: Dial::new(300_000, &(1_000..=3_600_000)),
        }
    }

    /// An empty chunk that nobody else has.
    #[must_use]
    pub fn chunk(&self) -> Chunk {
        let bytes = self.inner.take();
        Chunk::new(bytes, Arc::clone(&self.inner))
    }

    /// A text of any length, which takes chunks as it grows.
    #[must_use]
    pub fn text(&self) -> Text {
        Text::new(self.clone())
    }

    /// How many unused chunks are kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.inner.free().chunks.len()
    }
}

impl SlabBuilder {
    /// What sort of work uses the chunks; it chooses the sidecar's profile.
    pub fn kind(mut self, kind: PoolKind) -> Self {
        self.kind = kind;
        self
    }

    /// The size of a chunk in bytes: the baseline, and the bounds.
    pub fn chunk_bytes(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.chunk_bytes = Dial::new(baseline, &bounds);
        self
    }

    /// How often chunks are dropped that nobody needed since the last time, in milliseconds: the baseline, and the bounds.
    pub fn cleanup_ms(mut self, baseline: u64, bounds: RangeInclusive<u64>) -> Self {
        self.cleanup_ms = Dial::new(baseline, &bounds);
        self
    }

    /// Makes the slab; it has no block yet.
    ///
    /// # Errors
    /// [`BuildError`] if the name needs escaping, or a baseline or its bounds are out of range.
    pub fn build(self) -> Result<Slab, BuildError> {
        if !is_plain_name(&self.name) {
            return Err(BuildError::Name(self.name));
        }
        let (least, most) = CHUNK_BYTES.into_inner();
        self.chunk_bytes.check(KnobName::SLAB, least, most)?;
        let (least, most) = CLEANUP_MS.into_inner();
        self.cleanup_ms.check(KnobName::CLEANUP, least, most)?;
        Ok(Slab {
            inner: Arc::new(Inner {
                name: PoolName::from(self.name),
                kind: self.kind,
                chunk_bytes: self.chunk_bytes,
                cleanup_ms: self.cleanup_ms,
                free: Mutex::default(),
                in_use: AtomicU64::new(0),
            }),
        })
    }
}

/// What all clones of a slab, and the chunks in use, share.
#[derive(Debug)]
struct Inner {
    name: PoolName,
    kind: PoolKind,
    chunk_bytes: Dial,
    cleanup_ms: Dial,
    free: Mutex<Free>,
    in_use: AtomicU64,
}

/// Chunks that nobody uses; all of the size that was in force when the lock was last held.
#[derive(Debug, Default)]
struct Free {
    chunks: Vec<BytesMut>,
    /// The least that was free since the last cleanup.
    surplus: usize,
    cleaned_ns: u64,
    hits: u64,
    blocks: u64,
}

impl Inner {
    fn take(&self) -> BytesMut {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        let size = self.size();
        let mut free = self.free();
        match free.chunks.pop() {
            Some(chunk) if chunk.capacity() == size => {
                free.surplus = free.surplus.min(free.chunks.len());
                free.hits += 1;
                chunk
            }
            _ => {
                // A size that was changed this moment: what is left of the other is of no use.
                let stale = std::mem::take(&mut free.chunks);
                let mut block = BytesMut::with_capacity(size * CHUNKS_PER_BLOCK);
                let cut = (1..CHUNKS_PER_BLOCK).map(|_| block.split_off(block.capacity() - size));
                free.chunks.extend(cut);
                free.blocks += 1;
                free.surplus = 0;
                drop(free);
                drop(stale);
                block
            }
        }
    }

    fn give_back(&self, mut chunk: BytesMut) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        chunk.clear();
        let mut free = self.free();
        if chunk.capacity() == self.size() {
            free.chunks.push(chunk);
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.chunk_bytes.get()).unwrap_or(usize::MAX)
    }

    /// Drops free chunks of another size than the one in force.
    fn refit(&self) {
        let size = self.size();
        let mut free = self.free();
        free.chunks.retain(|chunk| chunk.capacity() == size);
        free.surplus = free.surplus.min(free.chunks.len());
    }

    /// Drops what was not needed since the last cleanup, if that is an interval ago; says when the next is due.
    fn clean(&self, now_ns: u64) -> u64 {
        let interval_ns = self.cleanup_ms.get().saturating_mul(1_000_000);
        let mut free = self.free();
        let due_ns = free.cleaned_ns.saturating_add(interval_ns);
        if free.cleaned_ns != 0 && now_ns < due_ns {
            return due_ns;
        }
        if free.cleaned_ns != 0 {
            // Neighbours together, so that whole blocks become free and not a chunk of each.
            free.chunks.sort_unstable_by_key(|chunk| chunk.as_ptr());
            let left = free.chunks.len().saturating_sub(free.surplus);
            free.chunks.truncate(left);
            free.chunks.shrink_to_fit();
        }
        free.cleaned_ns = now_ns;
        free.surplus = free.chunks.len();
        now_ns.saturating_add(interval_ns)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part for Slab {
    fn name(&self) -> &PoolName {
        &self.inner.name
    }

    fn kind(&self) -> PoolKind {
        self.inner.kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let inner = &self.inner;
        let mut chunk = inner
            .chunk_bytes
            .spec(KnobName::SLAB, "bytes", KnobKind::Bytes);
        let mut cleanup = inner
            .cleanup_ms
            .spec(KnobName::CLEANUP, "ms", KnobKind::DurationMs);
        chunk.max_ratio_bp = STEP_RATIO_BP;
        cleanup.max_ratio_bp = STEP_RATIO_BP;
        let chunk = PartKnob {
            spec: chunk,
            knob: Arc::new(DialKnob {
                owner: Arc::clone(inner),
                dial: |inner| &inner.chunk_bytes,
                // A chunk that is handed out from now on has this size.
                effective: |_, target| target,
                turned: |inner| inner.refit(),
            }),
        };
        let cleanup = PartKnob {
            spec: cleanup,
            knob: Arc::new(DialKnob {
                owner: Arc::clone(inner),
                dial: |inner| &inner.cleanup_ms,
                effective: |_, target| target,
                turned: |_| (),
            }),
        };
        vec![chunk, cleanup]
    }

    fn figures(&self, _now_ns: u64) -> PartFigures {
        let in_use = self.inner.in_use.load(Ordering::Relaxed);
        let free = self.inner.free();
        let kept = u64::try_from(free.chunks.len()).unwrap_or(u64::MAX);
        let named = [
            ("slab_blocks", free.blocks),
            ("slab_hits", free.hits),
            ("slab_in_use", in_use),
            ("slab_kept", kept),
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
mod tests {
    use super::*;
    use crate::knob::Applied;

    const SECOND: u64 = 1_000_000_000;

    fn slab() -> Slab {
        Slab::builder("slab").build().unwrap()
    }

    fn named(slab: &Slab, name: &str) -> u64 {
        slab.figures(0).gauges.named[name]
    }

    #[test]
    fn one_block_serves_as_many_chunks_as_it_has() {
        let slab = slab();
        let mut chunks: Vec<Chunk> = (0..CHUNKS_PER_BLOCK).map(|_| slab.chunk()).collect();
        assert_eq!(named(&slab, "slab_blocks"), 1);
        let mut places: Vec<_> = chunks
            .iter_mut()
            .map(|chunk| {
                assert_eq!(chunk.fill(&[1; 2_000]), 1_024);
                chunk.as_ref().as_ptr()
            })
            .collect();
        places.sort_unstable();
        let apart = |pair: &[*const u8]| pair[1].addr() - pair[0].addr() == 1_024;
        assert!(places.windows(2).all(apart), "no chunk overlaps another");
        drop(chunks);
        assert_eq!(slab.kept(), CHUNKS_PER_BLOCK);
        assert_eq!(named(&slab, "slab_in_use"), 0);
    }

    #[test]
    fn a_chunk_shows_only_what_its_user_wrote() {
        let slab = slab();
        let mut first = slab.chunk();
        first.fill(b"a secret");
        drop(first);
        let mut second = slab.chunk();
        assert_eq!(second.as_ref(), b"");
        second.fill(b"me");
        assert_eq!(second.as_ref(), b"me");
    }

    #[tokio::test]
    async fn another_size_holds_for_what_is_handed_out_from_then_on() {
        let slab = slab();
        let old = slab.chunk();
        let knobs = slab.knobs();
        assert_eq!(knobs[0].knob.apply(&4_096.into()).await, Applied::Done);
        assert_eq!(slab.kept(), 0);
        let mut new = slab.chunk();
        assert_eq!(new.fill(&[0; 5_000]), 4_096);
        drop(old);
        assert_eq!(slab.kept(), CHUNKS_PER_BLOCK - 1, "the old one is not kept");
    }

    #[test]
    fn a_cleanup_drops_what_nobody_needed_since_the_last() {
        let slab = slab();
        drop((0..40).map(|_| slab.chunk()).collect::<Vec<_>>());
        assert_eq!(slab.kept(), 2 * CHUNKS_PER_BLOCK);
        assert_eq!(slab.upkeep(SECOND), Some(301 * SECOND));
        drop((0..10).map(|_| slab.chunk()).collect::<Vec<_>>());
        assert_eq!(slab.upkeep(300 * SECOND), Some(301 * SECOND));
        assert_eq!(slab.upkeep(301 * SECOND), Some(601 * SECOND));
        assert_eq!(slab.kept(), 10);
    }

    #[test]
    fn a_size_beyond_what_a_slab_can_do_is_refused() {
        let tiny = Slab::builder("slab").chunk_bytes(8, 8..=16).build();
        assert!(matches!(tiny, Err(BuildError::Bounds { .. })));
        assert!(Slab::builder("A").build().is_err());
    }
}
