//! The ledger on disk: one line of JSON an entry, in files of bounded size.
//!
//! A directory holds `ledger-<number>-<boot>.jsonl`; numbers rise over starts and rotations, so sorting by name sorts by
//! time. A file is begun anew at each start, created exclusively with mode 0600, so a link that someone left there is never
//! followed. When it passes a quarter of the size allowed in all, the next one is begun and the oldest ones go.
//!
//! A line bears a checksum as its last field. One that is torn, such as the last one before a crash, or in which anything was
//! turned over, is skipped and counted; every line around it is kept.
//! After a failed write the file is cut back to its last whole line or left behind; after a failed sync it is always left
//! behind, because the kernel may drop what it could not write and then say that all is well.
//!
//! Nothing is decided by what stands here: it is for people and for replay.

mod seal;

use crate::fail::{self, Point};
use crate::view::{Sort, Stored};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use trimtab_protocol::view::Entry;

/// The longest line that is read back, in bytes.
const LINE_MAX: u64 = 256 * 1024;

/// The smallest size allowed in all, in bytes.
const BYTES_MIN: u64 = 64 * 1024;

/// The most files, however small: each start begins one, and each is looked at by the next.
const FILES_MAX: usize = 256;

/// Where entries are kept.
pub trait Ledger: Send + fmt::Debug {
    /// Adds an entry. With `durable` it returns only once the entry would survive a power cut.
    ///
    /// # Errors
    /// The entry is not kept. A later call may succeed; the entry that failed is not tried again.
    fn append(&mut self, entry: &Stored, durable: bool) -> io::Result<()>;

    /// Reads everything that is kept, oldest first, and says how much of it could not be read.
    ///
    /// # Errors
    /// The place itself cannot be read. A single bad line or file is no error.
    fn scan(&self, each: &mut dyn FnMut(Entry)) -> io::Result<Skipped>;

    /// The number of the last entry that was kept since this start; 0 before the first.
    fn last_sequence(&self) -> u64;
}

/// What a scan could not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Lines that are no entry.
    pub lines: u64,
    /// Files that could not be read to their end.
    pub files: u64,
}

/// A ledger in a directory.
///
/// It is opened at its first entry, and again after a failure, so a disk that comes back is used again.
#[derive(Debug)]
pub struct JsonLines {
    directory: PathBuf,
    boot: String,
    bytes_max: u64,
    last_sequence: u64,
    lock: Option<File>,
    current: Option<Current>,
    /// Makes names in the directory durable.
    keep_names: fn(&Path) -> io::Result<()>,
}

#[derive(Debug)]
struct Current {
    file: File,
    bytes: u64,
}

impl JsonLines {
    /// A ledger in this directory, of at most so many bytes in all, for this start of the sidecar.
    #[must_use]
    pub fn new(directory: &Path, boot: &str, bytes_max: u64) -> Self {
        Self {
            directory: directory.to_owned(),
            boot: boot.to_owned(),
            bytes_max: bytes_max.max(BYTES_MIN),
            last_sequence: 0,
            lock: None,
            current: None,
            keep_names: |directory| File::open(directory)?.sync_all(),
        }
    }

    fn open(&mut self) -> io::Result<&mut Current> {
        if self.current.is_none() {
            self.current = Some(self.begin_file()?);
        }
        self.current
            .as_mut()
            .ok_or_else(|| io::Error::other("the ledger's file is not open"))
    }

    fn begin_file(&mut self) -> io::Result<Current> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        if self.lock.is_none() {
            self.lock = Some(lock(&self.directory)?);
        }
        let names = names(&self.directory)?;
        let number = names.last().map_or(1, |name| name.number.saturating_add(1));
        self.drop_oldest(&names)?;
        let name = format!("ledger-{number:08}-{}.jsonl", self.boot);
        let path = self.directory.join(name);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // Without this the file's lines would be durable and its name would not.
        if let Err(error) = (self.keep_names)(&self.directory) {
            // It is empty, and the next entry begins another.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        Ok(Current { file, bytes: 0 })
    }

    /// Leaves room for one more file.
    fn drop_oldest(&self, names: &[Listed]) -> io::Result<()> {
        let files = || names.iter().filter(|name| name.is_file);
        let mut total: u64 = files().map(|file| file.bytes).sum();
        let mut count = files().count();
        for file in files() {
            let has_room = total.saturating_add(self.file_bytes_max()) <= self.bytes_max;
            if has_room && count < FILES_MAX {
                break;
            }
            fs::remove_file(&file.path)?;
            total -= file.bytes;
            count -= 1;
        }
        Ok(())
    }

    fn file_bytes_max(&self) -> u64 {
        self.bytes_max / 4
    }
}

impl Ledger for JsonLines {
    fn append(&mut self, entry: &Stored, durable: bool) -> io::Result<()> {
        let file_bytes_max = self.file_bytes_max();
        let line = seal::sealed(&entry.json);
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.bytes.saturating_add(length) > file_bytes_max)
        {
            self.current = None;
        }
        let current = self.open()?;
        if let Err(error) = current.file.write_all(&line) {
            if current.file.set_len(current.bytes).is_err() {
                self.current = None;
            }
            return Err(error);
        }
        current.bytes += length;
        if entry.sort == Sort::Intent {
            fail::at(Point::IntentWritten);
        }
        if durable && let Err(error) = current.file.sync_data() {
            self.current = None;
            return Err(error);
        }
        self.last_sequence = entry.sequence;
        Ok(())
    }

    fn scan(&self, each: &mut dyn FnMut(Entry)) -> io::Result<Skipped> {
        scan(&self.directory, each)
    }

    fn last_sequence(&self) -> u64 {
        self.last_sequence
    }
}

/// Reads the ledger in a directory, oldest first, without taking its lock; a running sidecar may go on writing.
///
/// # Errors
/// The directory cannot be read. A single bad line or file is counted and skipped.
pub fn scan(directory: &Path, each: &mut dyn FnMut(Entry)) -> io::Result<Skipped> {
    let mut skipped = Skipped::default();
    for file in names(directory)?.iter().filter(|name| name.is_file) {
        if scan_file(&file.path, 0, each, &mut skipped).is_err() {
            skipped.files += 1;
        }
    }
    Ok(skipped)
}

/// Reads the newest part of the ledger in a directory, of about so many bytes, oldest first. A line that begins before that part
/// does not belong to it.
///
/// # Errors
/// The directory cannot be read. A single bad line or file is counted and skipped.
pub fn scan_end(
    directory: &Path,
    bytes_max: u64,
    each: &mut dyn FnMut(Entry),
) -> io::Result<Skipped> {
    let mut left = bytes_max;
    let mut chosen = Vec::new();
    for file in names(directory)?
        .into_iter()
        .rev()
        .filter(|name| name.is_file)
    {
        if left == 0 {
            break;
        }
        chosen.push((file.path, file.bytes.saturating_sub(left)));
        left = left.saturating_sub(file.bytes);
    }
    let mut skipped = Skipped::default();
    for (path, from) in chosen.iter().rev() {
        if scan_file(path, *from, each, &mut skipped).is_err() {
            skipped.files += 1;
        }
    }
    Ok(skipped)
}

fn scan_file(
    path: &Path,
    from: u64,
    each: &mut dyn FnMut(Entry),
    skipped: &mut Skipped,
) -> io::Result<()> {
    // The listing showed a regular file; these flags keep it one if it was replaced since.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    // From the byte before, so that a line which begins just there is not taken for the rest of another.
    file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
    let mut reader = BufReader::new(file);
    if from > 0 {
        reader.skip_until(b'\n')?;
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        let entry = seal::opened(&line).map(|json| serde_json::from_slice(&json));
        match entry {
            Some(Ok(entry)) => each(entry),
            Some(Err(_)) | None => skipped.lines += 1,
        }
    }
}

struct Listed {
    number: u64,
    path: PathBuf,
    bytes: u64,
    is_file: bool,
}

/// Everything that bears the name of a ledger's file, oldest first. A link may; it is no file of ours and never opened.
fn names(directory: &Path) -> io::Result<Vec<Listed>> {
    let mut found = Vec::new();
    for item in fs::read_dir(directory)? {
        let item = item?;
        let name = item.file_name();
        let Some(number) = name.to_str().and_then(number) else {
            continue;
        };
        let metadata = item.metadata()?;
        found.push(Listed {
            number,
            path: item.path(),
            bytes: metadata.len(),
            is_file: metadata.is_file(),
        });
    }
    found.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    Ok(found)
}

fn number(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("ledger-")?.strip_suffix(".jsonl")?;
    rest.split_once('-')?.0.parse().ok()
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(directory.join("ledger.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process writes the ledger in this directory",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
