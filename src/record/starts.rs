//! How often the sidecar was started within the last minute: one that keeps crashing must not keep changing a service.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use trimtab_core::moment::{Moment, Span};

/// So many starts within `WINDOW` are a crash loop.
pub const STARTS_MAX: usize = 5;
/// The time over which starts are counted.
const WINDOW: Span = Span::from_secs(60);
/// How long a sidecar in a crash loop only watches.
pub const CALM: Span = Span::from_secs(600);

/// The file beside the ledger, with the moment of each start on a line.
const FILE: &str = "starts";

/// Writes this start down, and says how many there were within the last minute, this one included. Moments of the time before
/// the machine was booted lie ahead of now, and do not count.
///
/// # Errors
/// The file cannot be written; then nobody knows.
pub fn note(directory: &Path, now: Moment) -> io::Result<usize> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let path = directory.join(FILE);
    let known = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut starts = recent(&known, now);
    starts.push(now.as_boot_ns());
    let from = starts.len().saturating_sub(2 * STARTS_MAX);
    let text: String = starts
        .iter()
        .skip(from)
        .map(|start| format!("{start}\n"))
        .collect();
    let draft = directory.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    Ok(starts.len())
}

/// The starts within the last minute, out of whatever the file holds.
fn recent(text: &str, now: Moment) -> Vec<u64> {
    let now = now.as_boot_ns();
    let within = |start: &u64| *start <= now && now - *start < WINDOW.as_ns();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .filter(within)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Span::from_secs(seconds))
    }

    #[test]
    fn starts_of_the_last_minute_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("ledger");
        let counts: Vec<usize> = [100, 110, 120, 130, 140, 165, 300]
            .map(|second| note(&place, at(second)).unwrap())
            .to_vec();
        assert_eq!(counts, [1, 2, 3, 4, 5, 5, 1]);
        assert_eq!(note(&place, at(5)).unwrap(), 1, "the machine was booted");
    }

    #[test]
    fn a_file_full_of_garbage_counts_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join(FILE),
            "x\n-1\n99999999999999999999999\n\n",
        )
        .unwrap();
        assert_eq!(note(directory.path(), at(100)).unwrap(), 1);
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "no draft is left");
    }
}
