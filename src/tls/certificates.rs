//! The certificate in force.

use super::{Part, TlsFault, TlsFiles};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, version};
use trimtab_sys::secret;

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(5);
/// How long a look may take before a connection goes on with what is in force.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// A certificate and its key, as they are in force.
pub struct Certificates {
    files: TlsFiles,
    in_force: Mutex<InForce>,
}

struct InForce {
    config: Arc<ServerConfig>,
    /// What the files were when this was read of them.
    stamps: Stamps,
    /// What they were when they were last read and were no good, so that it is said once.
    bad: Option<Stamps>,
    looked: Instant,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    changed: (i64, i64),
    length: u64,
}

/// Those of the certificate and the key.
type Stamps = [Option<Stamp>; 2];

impl std::fmt::Debug for Certificates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Certificates")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn read(files: TlsFiles) -> Result<Self, TlsFault> {
        let stamps = stamps(&files);
        let config = Arc::new(pair(&files)?);
        let in_force = Mutex::new(InForce {
            config,
            stamps,
            bad: None,
            looked: Instant::now(),
        });
        Ok(Self { files, in_force })
    }

    /// What accepts a connection with the certificate in force, after a look whether there is a newer one.
    pub(crate) async fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        if self.is_due() {
            let own = Arc::clone(self);
            let looking = tokio::task::spawn_blocking(move || own.look());
            if tokio::time::timeout(LOOK_TIME, looking).await.is_err() {
                tracing::warn!("the certificate's files were not read in time");
            }
        }
        TlsAcceptor::from(Arc::clone(&self.lock().config))
    }

    /// Whether the files should be looked at; whoever is told so looks, and nobody else for a while.
    fn is_due(&self) -> bool {
        let mut in_force = self.lock();
        let now = Instant::now();
        let is_due = now.saturating_duration_since(in_force.looked) >= LOOK;
        if is_due {
            in_force.looked = now;
        }
        is_due
    }

    fn look(&self) {
        self.look_with(pair);
    }

    /// Files that are no good are read again at each look, whether they have changed since or not: what kept them from being
    /// read may have been the system's, such as that no file could be opened.
    fn look_with(&self, read: impl FnOnce(&TlsFiles) -> Result<ServerConfig, TlsFault>) {
        let stamps = stamps(&self.files);
        if self.lock().stamps == stamps {
            return;
        }
        let read = read(&self.files);
        let mut in_force = self.lock();
        match read {
            Ok(config) => {
                in_force.config = Arc::new(config);
                in_force.stamps = stamps;
                in_force.bad = None;
                tracing::info!("the certificate was read anew");
            }
            Err(error) => {
                if in_force.bad.replace(stamps) != Some(stamps) {
                    tracing::warn!(%error, "the certificate has changed and the one before stays in force");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Stamp {
            place: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        })
    };
    [stamp(&files.certificate), stamp(&files.key)]
}

/// Certificate and key, tried on each other.
fn pair(files: &TlsFiles) -> Result<ServerConfig, TlsFault> {
    let fault = |part, why: String| TlsFault { part, why };
    let of_certificate = |why: String| fault(Part::Certificate, why);
    let text = secret::read_public(&files.certificate)
        .map_err(|error| of_certificate(error.to_string()))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| of_certificate(format!("it is no PEM: {error}")))?;
    if chain.is_empty() {
        let why = "there is no `-----BEGIN CERTIFICATE-----` in it";
        return Err(of_certificate(why.to_owned()));
    }
    // What is wrong with a key is said without a byte of it.
    let of_key = |why: String| fault(Part::Key, why);
    let text = secret::read(&files.key).map_err(|error| of_key(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| of_key("there is no private key in it, as PEM".to_owned()))?;
    drop(text);
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| fault(Part::Pair, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fault(Part::Pair, error.to_string()))
}

#[cfg(test)]
mod tests;
