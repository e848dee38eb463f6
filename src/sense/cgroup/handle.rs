//! A small file of the kernel's that is read again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The most that is read of one file. The longest is `memory.stat`, with two to three kilobytes.
const BYTES_MAX: usize = 16 * 1024;

/// The buffer that all files of a reader share.
#[derive(Debug)]
pub(super) struct Scratch(Box<[u8]>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; BYTES_MAX].into_boxed_slice())
    }
}

/// A file that is held open, and opened again when it vanished and came back.
#[derive(Debug)]
pub(super) struct Handle {
    path: PathBuf,
    file: Option<File>,
}

impl Handle {
    pub(super) fn new(path: PathBuf) -> Self {
        let file = File::open(&path).ok();
        Self { path, file }
    }

    /// Its text as it is now, as far as it fits; nothing when the file is not there or not readable.
    pub(super) fn read<'a>(&mut self, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        let length = match self.length_held(scratch) {
            Some(length) => length,
            // A group that was removed and made again has new files under the old names.
            None => {
                self.file = File::open(&self.path).ok();
                self.file.as_ref()?.read_at(&mut scratch.0, 0).ok()?
            }
        };
        scratch.0.get(..length)
    }

    /// The same, and never opened again.
    pub(super) fn read_held<'a>(&self, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        let length = self.length_held(scratch)?;
        scratch.0.get(..length)
    }

    fn length_held(&self, scratch: &mut Scratch) -> Option<usize> {
        self.file.as_ref()?.read_at(&mut scratch.0, 0).ok()
    }

    /// The one number that it holds.
    pub(super) fn number(&mut self, scratch: &mut Scratch) -> Option<u64> {
        std::str::from_utf8(self.read(scratch)?)
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}
