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
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.directory.join(name))?;
        // Without this the file's lines would be durable and its name would not.
        File::open(&self.directory)?.sync_all()?;
        Ok(Current { file, bytes: 0 })
    }

    /// Leaves room for one more file.
    fn drop_oldest(&self, names: &[Listed]) -> io::Result<()> {
        let files = || names.iter().filter(|name| name.is_file);
        let mut total: u64 = files().map(|file| file.bytes).sum();
        for file in files() {
            if total.saturating_add(self.file_bytes_max()) <= self.bytes_max {
                break;
            }
            fs::remove_file(&file.path)?;
            total -= file.bytes;
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

/// Reads the newest part of the ledger in a directory, of about so many bytes, oldest first. Its first line may be half of one.
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
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
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
mod tests {
    use super::*;
    use crate::record::tests::stored;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn sequences(directory: &Path) -> (Vec<u64>, Skipped) {
        let mut found = Vec::new();
        let skipped = scan(directory, &mut |entry| found.push(entry.id.sequence)).unwrap();
        (found, skipped)
    }

    fn paths(directory: &Path) -> Vec<PathBuf> {
        let listed = names(directory).unwrap();
        listed.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn what_is_appended_is_read_back_over_several_starts() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("deep/ledger");
        for (boot, sequence) in [("zz", 1), ("aa", 2)] {
            let mut ledger = JsonLines::new(&place, boot, 1 << 20);
            ledger.append(&stored(sequence), true).unwrap();
            assert_eq!(ledger.last_sequence(), sequence);
        }
        assert_eq!(sequences(&place), (vec![1, 2], Skipped::default()));
    }

    #[test]
    fn its_files_are_for_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("ledger");
        let mut ledger = JsonLines::new(&place, "b", 1 << 20);
        ledger.append(&stored(1), false).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&paths(&place)[0]), 0o600);
    }

    #[test]
    fn a_torn_line_is_skipped_and_counted_and_nothing_else_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
        for sequence in 1..=3 {
            ledger.append(&stored(sequence), false).unwrap();
        }
        let path = &paths(directory.path())[0];
        let whole = fs::read(path).unwrap();
        for cut in 0..whole.len() {
            fs::write(path, &whole[..cut]).unwrap();
            let (found, skipped) = sequences(directory.path());
            let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count() as u64;
            assert_eq!(found.len() as u64, lines, "cut at {cut}");
            assert!(skipped.lines <= 1, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_byte_costs_at_most_the_lines_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
        for sequence in 1..=3 {
            ledger.append(&stored(sequence), false).unwrap();
        }
        let path = &paths(directory.path())[0];
        let whole = fs::read(path).unwrap();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x15;
            fs::write(path, &broken).unwrap();
            let (found, _) = sequences(directory.path());
            assert!(!found.is_empty(), "flipped at {at}");
        }
    }

    #[test]
    fn it_rotates_and_stays_within_its_size() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = JsonLines::new(directory.path(), "b", BYTES_MIN);
        for sequence in 1..=2_000 {
            ledger.append(&stored(sequence), false).unwrap();
        }
        let total: u64 = paths(directory.path())
            .iter()
            .map(|path| fs::metadata(path).unwrap().size())
            .sum();
        assert!(total <= BYTES_MIN, "{total}");
        assert!(paths(directory.path()).len() > 2);
        let (found, skipped) = sequences(directory.path());
        assert_eq!(skipped, Skipped::default());
        assert_eq!(found.last(), Some(&2_000));
        assert!(found.is_sorted());
    }

    #[test]
    fn a_link_is_neither_followed_nor_read() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let place = directory.path().join("ledger");
        fs::create_dir(&place).unwrap();
        symlink(&outside, place.join("ledger-00000001-b.jsonl")).unwrap();
        let mut ledger = JsonLines::new(&place, "b", 1 << 20);
        ledger.append(&stored(1), true).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"precious");
        assert_eq!(sequences(&place), (vec![1], Skipped::default()));
    }

    #[test]
    fn two_sidecars_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = JsonLines::new(directory.path(), "a", 1 << 20);
        first.append(&stored(1), false).unwrap();
        let mut second = JsonLines::new(directory.path(), "b", 1 << 20);
        let error = second.append(&stored(1), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        second
            .append(&stored(1), false)
            .expect("the first has let go");
    }

    #[test]
    fn a_place_that_comes_back_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("ledger");
        fs::write(&place, "in the way").unwrap();
        let mut ledger = JsonLines::new(&place, "b", 1 << 20);
        ledger.append(&stored(1), true).unwrap_err();
        assert_eq!(ledger.last_sequence(), 0);
        fs::remove_file(&place).unwrap();
        ledger.append(&stored(2), true).unwrap();
        assert_eq!(sequences(&place).0, vec![2]);
    }
}
