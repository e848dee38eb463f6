//! The ledger on a disk that is there, breaks, fills and comes back.

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

/// A ledger of three entries, its one file, and what that holds.
fn three_lines() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
    for sequence in 1..=3 {
        ledger.append(&stored(sequence), false).unwrap();
    }
    let path = paths(directory.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    (directory, path, whole)
}

#[test]
fn a_torn_line_is_skipped_and_counted_and_nothing_else_is_lost() {
    let (directory, path, whole) = three_lines();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (found, skipped) = sequences(directory.path());
        let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count() as u64;
        assert_eq!(found.len() as u64, lines, "cut at {cut}");
        assert!(skipped.lines <= 1, "cut at {cut}");
    }
}

#[test]
fn a_flipped_byte_costs_at_most_the_lines_beside_it() {
    let (directory, path, whole) = three_lines();
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 0x15;
        fs::write(&path, &broken).unwrap();
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
fn the_end_is_read_from_its_first_whole_line_wherever_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
    for sequence in 1..=3 {
        ledger.append(&stored(sequence), false).unwrap();
    }
    let whole = fs::read(&paths(directory.path())[0]).unwrap();
    let breaks: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] == b'\n').collect();
    for bytes in 0..=whole.len() {
        let mut found = Vec::new();
        let mut take = |entry: Entry| found.push(entry.id.sequence);
        let read = scan_end(directory.path(), bytes as u64, &mut take).unwrap();
        assert_eq!(read, Skipped::default(), "the last {bytes} bytes");
        let cut = whole.len() - bytes;
        let starts = [0, breaks[0] + 1, breaks[1] + 1];
        let expected = starts.iter().filter(|&&start| start >= cut).count();
        assert_eq!(found, [1, 2, 3][3 - expected..], "the last {bytes} bytes");
    }
}

#[test]
fn a_name_that_cannot_be_kept_leaves_no_file_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
    ledger.keep_names = |_| Err(io::Error::other("the disk refuses"));
    for sequence in 1..=20 {
        ledger.append(&stored(sequence), true).unwrap_err();
    }
    assert_eq!(paths(directory.path()), Vec::<PathBuf>::new());
    ledger.keep_names = |_| Ok(());
    ledger.append(&stored(21), true).unwrap();
    assert_eq!(sequences(directory.path()), (vec![21], Skipped::default()));
}

#[test]
fn many_starts_leave_a_bounded_number_of_files() {
    let directory = tempfile::tempdir().unwrap();
    let starts = FILES_MAX as u64 + 20;
    for sequence in 1..=starts {
        let mut ledger = JsonLines::new(directory.path(), "b", 1 << 30);
        // What is looked at here is not the disk.
        ledger.keep_names = |_| Ok(());
        ledger.append(&stored(sequence), false).unwrap();
    }
    assert_eq!(paths(directory.path()).len(), FILES_MAX);
    let (found, _) = sequences(directory.path());
    assert_eq!(found.last(), Some(&starts), "the oldest went");
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
