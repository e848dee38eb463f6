//! The file of tokens: who may command over HTTP.
//!
//! Each line is a token, or a name and a token with a space between; `#` begins a line that is passed over. The file is read
//! anew for each request, so a token that was taken out is void at once. It must belong to this process's user or root and be
//! closed to everybody else, like a private key. A token is never logged, never shown, and never stands in an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The shortest token: 32 characters hold 128 bits in hexadecimal.
const TOKEN_BYTES_MIN: usize = 32;
/// What a token without a name is called.
const NAMELESS: &str = "unnamed";

/// Why the file of tokens cannot be used. Nothing of what stands in it is told.
#[derive(Debug, Error)]
pub(super) enum TokenFileError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is no plain file")]
    NotPlain,
    #[error("it belongs to user {0}, and must belong to this process's user or root")]
    ForeignOwner(u32),
    #[error("its mode is {0:03o}, and must be closed to group and others, as 600 is")]
    Open(u32),
    #[error("it is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
    #[error("line {0} is no token: it needs at least {TOKEN_BYTES_MIN} visible ASCII characters")]
    NoToken(usize),
    #[error("it holds no token")]
    Empty,
}

/// The name of a token, if the file has it.
///
/// How long this takes tells nothing of how much of a token was right: every line is compared, in constant time.
pub(super) fn name_of(file: &Path, shown: &[u8]) -> Result<Option<String>, TokenFileError> {
    let text = read(file)?;
    let mut found: Option<&str> = None;
    let mut tokens = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, token) = line.split_once(' ').unwrap_or((NAMELESS, line));
        let token = token.trim_start().as_bytes();
        let is_token =
            token.len() >= TOKEN_BYTES_MIN && token.iter().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(TokenFileError::NoToken(number + 1));
        }
        tokens += 1;
        let same: Choice = token.ct_eq(shown);
        if bool::from(same) {
            found = Some(name);
        }
    }
    if tokens == 0 {
        return Err(TokenFileError::Empty);
    }
    Ok(found.map(ToOwned::to_owned))
}

fn read(path: &Path) -> Result<String, TokenFileError> {
    // Opened without waiting: a pipe in its place must not hold up whoever asks.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    // What was opened is judged, not what the name leads to a moment later.
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(TokenFileError::NotPlain);
    }
    let owner = metadata.uid();
    if owner != 0 && owner != trimtab_sys::process::effective_uid() {
        return Err(TokenFileError::ForeignOwner(owner));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenFileError::Open(mode));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(TokenFileError::TooLong);
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    fn file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("tokens");
        fs::write(&path, text).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        path
    }

    #[test]
    fn a_token_is_known_by_its_name() {
        let root = tempfile::tempdir().expect("a directory");
        let text = format!("# who may\n\n{ONE}\nnight-shift   {TWO}\n");
        let path = file(root.path(), &text, 0o600);
        let name = |shown: &str| name_of(&path, shown.as_bytes()).expect("a good file");
        assert_eq!(name(ONE).as_deref(), Some("unnamed"));
        assert_eq!(name(TWO).as_deref(), Some("night-shift"));
        for wrong in ["", &ONE[1..], &format!("{ONE}0"), "night-shift"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        fs::write(&path, TWO).expect("writable");
        assert_eq!(name(ONE), None, "the file is read anew each time");
        assert_eq!(name(TWO).as_deref(), Some("unnamed"));
    }

    #[test]
    fn a_file_that_others_could_read_or_write_is_not_used() {
        let root = tempfile::tempdir().expect("a directory");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let path = file(root.path(), ONE, mode);
            let error = name_of(&path, ONE.as_bytes()).expect_err("it is open");
            assert!(matches!(error, TokenFileError::Open(_)), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_none_is_not_used_and_nothing_of_it_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let error = name_of(root.path(), b"").expect_err("a directory");
        assert!(matches!(error, TokenFileError::NotPlain), "{error}");
        let path = file(root.path(), "# nothing\n", 0o600);
        let error = name_of(&path, b"").expect_err("an empty one");
        assert!(matches!(error, TokenFileError::Empty), "{error}");
        let secret = "short-but-secret";
        let path = file(root.path(), &format!("\n{secret}\n"), 0o600);
        let error = name_of(&path, secret.as_bytes()).expect_err("too short");
        assert!(error.to_string().starts_with("line 2 "), "{error}");
        assert!(!format!("{error} {error:?}").contains(secret));
        let error = name_of(&root.path().join("none"), b"").expect_err("no such file");
        assert!(matches!(error, TokenFileError::Unreadable(_)), "{error}");
    }
}
