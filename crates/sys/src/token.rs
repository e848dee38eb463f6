//! Files of tokens: who may command over HTTP, who may look at pages, what a host wants to be shown.
//!
//! Each line is a token, or a name and a token with a space between; `#` begins a line that is passed over. A file is read anew
//! for each question, so a token that was taken out is void at once. It must belong to this process's user or root and be
//! closed to everybody else, like a private key. A token is never logged, never shown, and never stands in an error.

use crate::secret::{self, SecretError};
use std::path::Path;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

/// The shortest token: 32 characters hold 128 bits in hexadecimal.
const TOKEN_BYTES_MIN: usize = 32;
/// What a token without a name is called.
const NAMELESS: &str = "unnamed";

/// Why a file of tokens cannot be used. Nothing of what stands in it is told.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// It is not read.
    #[error(transparent)]
    File(#[from] SecretError),
    /// A line is none.
    #[error("line {0} is no token: it needs at least {TOKEN_BYTES_MIN} visible ASCII characters")]
    NoToken(usize),
    /// There is none in it.
    #[error("it holds no token")]
    Empty,
}

/// The first token of the file, to be shown to somebody.
///
/// # Errors
/// Why the file cannot be used.
pub fn first(file: &Path) -> Result<String, TokenFileError> {
    let text = secret::read(file)?;
    let first = lines(&text).next().ok_or(TokenFileError::Empty)??;
    Ok(first.1.to_owned())
}

/// Whether the file could be used now.
///
/// # Errors
/// Why the file cannot be used.
pub fn check(file: &Path) -> Result<(), TokenFileError> {
    name_of(file, b"").map(drop)
}

/// The name of a token, if the file has it.
///
/// How long this takes tells nothing of how much of a token was right: every line is compared, in constant time.
///
/// # Errors
/// Why the file cannot be used.
pub fn name_of(file: &Path, shown: &[u8]) -> Result<Option<String>, TokenFileError> {
    let text = secret::read(file)?;
    let mut found: Option<&str> = None;
    let mut tokens = 0;
    for line in lines(&text) {
        let (name, token) = line?;
        tokens += 1;
        let same: Choice = token.as_bytes().ct_eq(shown);
        if bool::from(same) {
            found = Some(name);
        }
    }
    if tokens == 0 {
        return Err(TokenFileError::Empty);
    }
    Ok(found.map(ToOwned::to_owned))
}

/// The names and tokens of a file.
fn lines(text: &str) -> impl Iterator<Item = Result<(&str, &str), TokenFileError>> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| {
        let (name, token) = line.split_once(' ').unwrap_or((NAMELESS, line));
        let token = token.trim_start();
        let is_token =
            token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_token {
            Ok((name, token))
        } else {
            Err(TokenFileError::NoToken(number + 1))
        }
    })
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
        assert_eq!(first(&path).expect("a good file"), ONE);
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
            assert!(
                matches!(error, TokenFileError::File(SecretError::Open(_))),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_none_is_not_used_and_nothing_of_it_is_told() {
        let root = tempfile::tempdir().expect("a directory");
        let error = name_of(root.path(), b"").expect_err("a directory");
        assert!(
            matches!(error, TokenFileError::File(SecretError::NotPlain)),
            "{error}"
        );
        let path = file(root.path(), "# nothing\n", 0o600);
        let error = name_of(&path, b"").expect_err("an empty one");
        assert!(matches!(error, TokenFileError::Empty), "{error}");
        let secret = "short-but-secret";
        let path = file(root.path(), &format!("\n{secret}\n"), 0o600);
        let error = name_of(&path, secret.as_bytes()).expect_err("too short");
        assert!(error.to_string().starts_with("line 2 "), "{error}");
        assert!(!format!("{error} {error:?}").contains(secret));
        let error = name_of(&root.path().join("none"), b"").expect_err("no such file");
        assert!(
            matches!(error, TokenFileError::File(SecretError::Unreadable(_))),
            "{error}"
        );
    }
}
