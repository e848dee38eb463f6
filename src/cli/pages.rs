//! The options by which a command reaches a sidecar's pages, and the connection that comes of them.

use super::client::ClientError;
use clap::Args;
use hyper::Uri;
use hyper::http::uri::Authority;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use trimtab_sys::token;

/// Where the pages are, and what they want to be shown.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PagesArgs {
    /// Where the sidecar's pages are
    #[arg(long, default_value = "http://127.0.0.1:7676")]
    pub url: Uri,
    /// For an https URL: who vouches for the pages, as PEM; where they vouch for themselves, their own certificate
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// A file whose first token is shown to the pages
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no connection.
pub(super) enum Unconnected {
    /// The command line is at fault.
    Wrong(ClientError),
    /// Nobody is there, or not whom we want.
    Nobody(String),
}

impl PagesArgs {
    /// The pages at a URL that want nothing to be shown.
    #[cfg(test)]
    pub(super) fn at(url: &str) -> Self {
        Self {
            url: url.parse().expect("it is a URL"),
            certificate: None,
            token_file: None,
        }
    }

    /// The token to be shown, if there is a file of them.
    pub(super) fn token(&self) -> Result<Option<String>, ClientError> {
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let first = token::first(file);
        let wrong = |why: String| ClientError::Setup(file.display().to_string(), why);
        first.map(Some).map_err(|error| wrong(error.to_string()))
    }

    /// The host and port that the URL names.
    pub(super) fn authority(&self) -> Result<&Authority, ClientError> {
        let is_plain = self.url.scheme_str() == Some("http");
        let is_known = is_plain || self.is_secure();
        let is_root = matches!(self.url.path(), "" | "/");
        let authority = self.url.authority().filter(|_| is_known && is_root);
        authority.ok_or_else(|| ClientError::Address(self.url.clone()))
    }

    fn is_secure(&self) -> bool {
        self.url.scheme_str() == Some("https")
    }

    /// Connects, and where it is https convinces itself of who is there.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Unconnected> {
        let authority = self.authority().map_err(Unconnected::Wrong)?;
        let name = authority.host().trim_matches(['[', ']']);
        let usual = if self.is_secure() { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(usual);
        let nobody = |error: std::io::Error| Unconnected::Nobody(error.to_string());
        let stream = TcpStream::connect((name, port)).await.map_err(nobody)?;
        if self.is_secure() {
            self.secured(name, stream).await
        } else {
            Ok(Box::new(stream))
        }
    }

    #[cfg(feature = "tls")]
    async fn secured(&self, name: &str, stream: TcpStream) -> Result<Box<dyn Stream>, Unconnected> {
        let Some(file) = &self.certificate else {
            let why = "who vouches for the pages is not said; name the file with `--certificate`";
            let wrong = ClientError::Setup(self.url.to_string(), why.to_owned());
            return Err(Unconnected::Wrong(wrong));
        };
        let connected = crate::tls::connect(file, name, stream).await;
        match connected {
            Ok(stream) => Ok(Box::new(stream)),
            Err(crate::tls::ConnectError::File(why)) => {
                let wrong = ClientError::Setup(file.display().to_string(), why);
                Err(Unconnected::Wrong(wrong))
            }
            Err(crate::tls::ConnectError::Peer(why)) => Err(Unconnected::Nobody(why)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secured(
        &self,
        _name: &str,
        _stream: TcpStream,
    ) -> Result<Box<dyn Stream>, Unconnected> {
        let why = "this program was built without the feature `tls`";
        let wrong = ClientError::Setup(self.url.to_string(), why.to_owned());
        Err(Unconnected::Wrong(wrong))
    }
}
