//! Files whose names others may have written: opened only if they are plain files, and without waiting.
//!
//! What was opened is judged, not what the name led to a moment before.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use thiserror::Error;

/// Why a file is not opened.
#[derive(Debug, Error)]
pub enum PlainError {
    /// The system does not let it be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is something else than a file.
    #[error("it is no plain file")]
    NotPlain,
    /// It is a link to a file that lies elsewhere.
    #[error("it is a link to a file outside its directory")]
    Elsewhere,
}

/// Opens a file for reading, wherever a link of that name leads.
///
/// # Errors
/// Why it is not opened.
pub fn open(path: &Path) -> Result<(File, Metadata), PlainError> {
    checked(with(path, 0)?)
}

/// Opens a file of a directory for reading. Where its name is a link, the file that it leads to must lie somewhere below the
/// directory too.
///
/// # Errors
/// Why it is not opened.
pub fn open_below(directory: &Path, path: &Path) -> Result<(File, Metadata), PlainError> {
    match with(path, libc::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => through_link(directory, path),
        opened => checked(opened?),
    }
}

/// The file is held first, then it is asked where it lies, and then that very file is opened: a link that is turned around
/// meanwhile changes nothing. Nothing is opened for reading before it is known to be a file that may be.
fn through_link(directory: &Path, path: &Path) -> Result<(File, Metadata), PlainError> {
    let held = with(path, libc::O_PATH)?;
    let itself = Path::new("/proc/self/fd").join(held.as_raw_fd().to_string());
    let place = fs::read_link(&itself)?;
    if !place.starts_with(directory.canonicalize()?) {
        return Err(PlainError::Elsewhere);
    }
    if !held.metadata()?.is_file() {
        return Err(PlainError::NotPlain);
    }
    checked(with(&itself, 0)?)
}

/// Without waiting: a pipe in a file's place must not hold up whoever asks.
fn with(path: &Path, flags: i32) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | flags)
        .open(path)
}

fn checked(file: File) -> Result<(File, Metadata), PlainError> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(PlainError::NotPlain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    fn text(opened: Result<(File, Metadata), PlainError>) -> String {
        let mut text = String::new();
        let (mut file, _) = opened.expect("it is a plain file");
        file.read_to_string(&mut text).expect("it is text");
        text
    }

    #[test]
    fn a_link_is_followed_to_files_below_its_directory_and_no_others() {
        let root = tempfile::tempdir().expect("a directory");
        let own = root.path().join("own");
        fs::create_dir_all(own.join("..set")).expect("ours");
        fs::write(own.join("..set/a"), "inside").expect("ours");
        fs::write(root.path().join("secret"), "outside").expect("ours");
        fs::write(root.path().join("own-not"), "beside").expect("ours");
        // As an orchestrator lays out a set of files that it swaps as a whole.
        symlink("..set", own.join("..data")).expect("ours");
        symlink("..data/a", own.join("a")).expect("ours");
        symlink(own.join("..set/a"), own.join("whole")).expect("ours");
        symlink("../secret", own.join("out")).expect("ours");
        symlink("../own-not", own.join("like")).expect("ours");
        symlink("/dev/null", own.join("device")).expect("ours");
        symlink("..set", own.join("directory")).expect("ours");
        // The directory itself may be named by a link.
        let named = root.path().join("named");
        symlink("own", &named).expect("ours");
        for place in [&own, &named] {
            let at = |name: &str| open_below(place, &place.join(name));
            assert_eq!(text(at("a")), "inside");
            assert_eq!(text(at("whole")), "inside");
            assert_eq!(text(at("..set/a")), "inside");
            for out in ["out", "like", "device"] {
                assert!(matches!(at(out), Err(PlainError::Elsewhere)), "{out}");
            }
            assert!(matches!(at("directory"), Err(PlainError::NotPlain)));
            assert!(matches!(at("none"), Err(PlainError::Unreadable(_))));
            assert_eq!(
                text(open(&place.join("out"))),
                "outside",
                "who may lead anywhere"
            );
        }
    }

    #[test]
    fn a_pipe_is_not_waited_at() {
        let root = tempfile::tempdir().expect("a directory");
        let pipe = root.path().join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("it runs").success());
        symlink("pipe", root.path().join("link")).expect("ours");
        for name in ["pipe", "link"] {
            let path = root.path().join(name);
            assert!(matches!(open(&path), Err(PlainError::NotPlain)), "{name}");
            let below = open_below(root.path(), &path);
            assert!(matches!(below, Err(PlainError::NotPlain)), "{name}");
        }
    }
}
