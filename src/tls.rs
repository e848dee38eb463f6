//! TLS for the pages: a certificate and its key, tried on each other before they are believed, and read anew when they change.
//!
//! There is TLS 1.3 and nothing older; every browser, curl and Prometheus of the last years speaks it. The key is read like any
//! secret: only from a file that nobody else could have read. The files are looked at when somebody connects, at most every few
//! seconds. When they have changed they are read anew; a pair that does not fit, such as one of which half is written, changes
//! nothing, and is said in the log.
//!
//! Without the feature `tls` nothing of this is in the program, and a configuration that names a certificate is refused.

#[cfg(feature = "tls")]
mod certificates;
#[cfg(feature = "tls")]
mod client;

#[cfg(feature = "tls")]
pub use self::certificates::Certificates;
#[cfg(feature = "tls")]
pub(crate) use self::client::{ConnectError, connect};

use std::fmt;
use std::path::PathBuf;

/// Where a certificate and its key stand, both as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and after it those that vouch for it, if there are any.
    pub certificate: PathBuf,
    /// The private key, closed to group and others.
    pub key: PathBuf,
}

/// Of which file something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate's.
    Certificate,
    /// The key's.
    Key,
    /// Of both together.
    Pair,
}

/// Why a certificate and its key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// Which file it is about.
    pub part: Part,
    /// Why.
    pub why: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match self.part {
            Part::Certificate => "the certificate cannot be used",
            Part::Key => "the key cannot be used",
            Part::Pair => "certificate and key cannot be used together",
        };
        write!(out, "{subject}: {}", self.why)
    }
}

impl std::error::Error for TlsFault {}

/// Whether a certificate and its key could be used now.
///
/// # Errors
/// Why they could not.
#[cfg(feature = "tls")]
pub fn check(files: &TlsFiles) -> Result<(), TlsFault> {
    Certificates::read(files.clone()).map(drop)
}

/// Whether a certificate and its key could be used now.
///
/// # Errors
/// They never can: this program has no TLS.
#[cfg(not(feature = "tls"))]
pub fn check(_files: &TlsFiles) -> Result<(), TlsFault> {
    Err(absent())
}

#[cfg(not(feature = "tls"))]
fn absent() -> TlsFault {
    TlsFault {
        part: Part::Pair,
        why: "this program was built without the feature `tls`".to_owned(),
    }
}

/// What cannot be had without the feature `tls`.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub enum Certificates {}

#[cfg(not(feature = "tls"))]
impl Certificates {
    /// Reads nothing.
    ///
    /// # Errors
    /// Always: this program has no TLS.
    pub fn read(_files: TlsFiles) -> Result<Self, TlsFault> {
        Err(absent())
    }
}
