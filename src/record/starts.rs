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

/// The file beside the ledger, with a start on a line: which time the machine ran, as the kernel names it, and the moment.
const FILE: &str = "starts";

/// Where the kernel names the time since the machine was last started.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Writes this start down, and says how many there were within the last minute, this one included. Moments count from the
/// machine's start, so those of an earlier one say nothing about now, and do not count. Where the kernel has no name for it,
/// all of them count that do not lie ahead of now.
///
/// # Errors
/// The file cannot be written; then nobody knows.
pub fn note(directory: &Path, now: Moment) -> io::Result<usize> {
    let boot = fs::read_to_string(BOOT).ok();
    let boot = boot.as_deref().map(str::trim);
    note_in(directory, boot.filter(|boot| is_name(boot)), now)
}

/// One word of a bounded length.
fn is_name(boot: &str) -> bool {
    (1..=64).contains(&boot.len()) && boot.bytes().all(|byte| byte.is_ascii_graphic())
}

fn note_in(directory: &Path, boot: Option<&str>, now: Moment) -> io::Result<usize> {
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
    let mut starts = recent(&known, boot, now);
    starts.push(now.as_boot_ns());
    let from = starts.len().saturating_sub(2 * STARTS_MAX);
    let text: String = starts
        .iter()
        .skip(from)
        .map(|start| match boot {
            Some(boot) => format!("{boot} {start}\n"),
            None => format!("{start}\n"),
        })
        .collect();
    let draft = directory.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    Ok(starts.len())
}

/// The starts within the last minute, out of whatever the file holds.
fn recent(text: &str, boot: Option<&str>, now: Moment) -> Vec<u64> {
    let now = now.as_boot_ns();
    let within = |start: &u64| *start <= now && now - *start < WINDOW.as_ns();
    let of_this_boot = |line: &str| match (boot, line.split_once(' ')) {
        (None, None) => line.parse().ok(),
        (None, Some((_, start))) => start.parse().ok(),
        (Some(_), None) => None,
        (Some(boot), Some((named, start))) => (named == boot).then(|| start.parse().ok())?,
    };
    text.lines()
        .filter_map(of_this_boot)
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
    fn starts_before_the_machine_was_booted_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let note = |boot, second| note_in(directory.path(), boot, at(second)).unwrap();
        // A sidecar that begins with the machine, and a machine that is booted again and again.
        let boots = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(boots.map(|boot| note(Some(boot), 20)), [1; 7]);
        assert_eq!([25, 30, 35, 40].map(|at| note(Some("g"), at)), [2, 3, 4, 5]);
        fs::write(directory.path().join(FILE), "41000000000\n").unwrap();
        assert_eq!(note(Some("g"), 42), 1, "nobody knows of which boot it is");
        assert_eq!(
            [43, 44].map(|at| note(None, at)),
            [2, 3],
            "no boot is named"
        );
    }

    #[test]
    fn the_kernel_names_the_boot_in_one_word() {
        let boot = fs::read_to_string(BOOT).unwrap();
        assert!(is_name(boot.trim()), "{boot:?}");
        for none in ["", "two words", "a\nb", &"x".repeat(65)] {
            assert!(!is_name(none), "{none:?}");
        }
    }

    #[test]
    fn a_file_full_of_garbage_counts_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join(FILE),
            "x\n-1\n99999999999999999999999\n\n \na \n a\nb 1 2\n",
        )
        .unwrap();
        assert_eq!(note(directory.path(), at(100)).unwrap(), 1);
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "no draft is left");
    }
}
