//! Files that hold a secret, such as tokens or a private key: read only when nobody else could have read or written them.

use crate::plain::{self, PlainError};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use thiserror::Error;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why such a file cannot be used. Nothing of what stands in it is told.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The system does not let it be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is something else than a file.
    #[error("it is no plain file")]
    NotPlain,
    /// Its user is another.
    #[error("it belongs to user {0}, and must belong to this process's user or root")]
    ForeignOwner(u32),
    /// Others may read or write it.
    #[error("its mode is {0:03o}, and must be closed to group and others, as 600 is")]
    Open(u32),
    /// No secret is that long.
    #[error("it is longer than {FILE_BYTES_MAX} bytes")]
    TooLong,
}

impl From<PlainError> for SecretError {
    fn from(error: PlainError) -> Self {
        match error {
            PlainError::Unreadable(error) => Self::Unreadable(error),
            PlainError::NotPlain | PlainError::Elsewhere => Self::NotPlain,
        }
    }
}

/// Reads it as text. It must belong to this process's user or root and be closed to everybody else.
///
/// # Errors
/// Why it cannot be used.
pub fn read(path: &Path) -> Result<String, SecretError> {
    let (file, metadata) = plain::open(path)?;
    let owner = metadata.uid();
    if owner != 0 && owner != crate::process::effective_uid() {
        return Err(SecretError::ForeignOwner(owner));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open(mode));
    }
    text(file, &metadata)
}

/// Reads one that is no secret with the same care, whoever may read it.
///
/// # Errors
/// Why it cannot be used.
pub fn read_public(path: &Path) -> Result<String, SecretError> {
    let (file, metadata) = plain::open(path)?;
    text(file, &metadata)
}

fn text(file: File, metadata: &std::fs::Metadata) -> Result<String, SecretError> {
    if metadata.len() > FILE_BYTES_MAX {
        return Err(SecretError::TooLong);
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}
