//! A chunk in use, and a text made of chunks.

use super::{Inner, Slab};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;

/// A piece of memory of the slab's size, into which is written until it is full. It goes back when this is dropped.
#[derive(Debug)]
pub struct Chunk {
    bytes: BytesMut,
    slab: Arc<Inner>,
}

impl Chunk {
    pub(super) fn new(bytes: BytesMut, slab: Arc<Inner>) -> Self {
        Self { bytes, slab }
    }

    /// Writes as much as there is room for, and says how much that was.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        if let Some(part) = bytes.get(..taken) {
            self.bytes.extend_from_slice(part);
        }
        taken
    }

    /// How many bytes can still be written.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// What was written, to be shared without a copy. The chunk goes back when the last of it is dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.slab.give_back(std::mem::take(&mut self.bytes));
    }
}

/// A text in as many chunks as it needs. Writing to it cannot fail.
#[derive(Debug)]
pub struct Text {
    slab: Slab,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Text {
    pub(super) fn new(slab: Slab) -> Self {
        Self {
            slab,
            chunks: Vec::new(),
            bytes: 0,
        }
    }

    /// What was written, chunk by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().map(AsRef::as_ref)
    }

    /// How many bytes were written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunks.last().is_none_or(|chunk| chunk.room() == 0) && !bytes.is_empty() {
            self.chunks.push(self.slab.chunk());
        }
        let taken = self.chunks.last_mut().map_or(0, |chunk| chunk.fill(bytes));
        self.bytes += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_text_is_what_was_written_to_it_however_it_is_cut() {
        let slab = Slab::builder("slab")
            .chunk_bytes(16, 16..=64)
            .build()
            .unwrap();
        let mut text = slab.text();
        assert!(text.is_empty());
        let written: Vec<u8> = (0..=200).collect();
        for part in written.chunks(7) {
            text.write_all(part).unwrap();
        }
        let read: Vec<u8> = text.chunks().flatten().copied().collect();
        assert_eq!(read, written);
        assert_eq!(text.len(), 201);
        assert_eq!(text.chunks().count(), 201_usize.div_ceil(16));
    }

    #[test]
    fn a_frozen_chunk_comes_back_with_its_last_copy() {
        let slab = Slab::builder("slab").build().unwrap();
        let mut chunk = slab.chunk();
        chunk.fill(b"body");
        let kept = slab.kept();
        let bytes = chunk.freeze();
        let copy = bytes.clone();
        drop(bytes);
        assert_eq!((&copy[..], slab.kept()), (&b"body"[..], kept));
        drop(copy);
        assert_eq!(slab.kept(), kept + 1);
    }
}
