//! The other end: a connection to pages, of which it is known who has to vouch for them.

use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};
use trimtab_sys::secret;

/// Why there is no encrypted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConnectError {
    /// The file of who has to vouch cannot be used.
    File(String),
    /// Whoever is there is not who was meant, or speaks something else.
    Peer(String),
}

/// Encrypts a connection to a server of this name, for which one of the certificates of the file has to vouch.
pub(crate) async fn connect<T>(
    file: &Path,
    name: &str,
    stream: T,
) -> Result<TlsStream<T>, ConnectError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let text = secret::read_public(file).map_err(|error| ConnectError::File(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(ConnectError::File)?;
    }
    if roots.is_empty() {
        let why = "there is no `-----BEGIN CERTIFICATE-----` in it";
        return Err(ConnectError::File(why.to_owned()));
    }
    let name = ServerName::try_from(name.to_owned())
        .map_err(|error| ConnectError::Peer(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| ConnectError::File(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| ConnectError::Peer(error.to_string()))
}
