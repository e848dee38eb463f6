//! The control API over loopback TCP, for a sidecar that cannot reach the Unix socket.
//!
//! There the kernel does not say who is at the other end, so each request shows a token of a file. The file is read for each
//! request, so a token that was taken out is void at once; it must belong to the host's user or root and be closed to everybody
//! else. What operators may do is not offered here: that stays with the operator's socket.

use crate::governor::Refusal;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_sys::token::{self, TokenFileError};

/// How long the file may take to be read.
const FILE_TIME: Duration = Duration::from_millis(500);

/// Why there is no control API over TCP.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// Other machines would reach it, and nothing here encrypts.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The file of tokens cannot be used; nothing of what stands in it is told.
    #[error("the file of tokens {} cannot be used: {why}", .file.display())]
    Tokens {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: TokenFileError,
    },
}

/// A listener, and who may call over it.
#[derive(Debug)]
pub(crate) struct TcpDoor {
    pub(crate) listener: TcpListener,
    address: SocketAddr,
    tokens: PathBuf,
}

impl TcpDoor {
    /// Listens, once the tokens can be used.
    pub(crate) fn open(address: SocketAddr, tokens: PathBuf) -> Result<Self, TcpError> {
        if !address.ip().is_loopback() {
            return Err(TcpError::NotLoopback(address));
        }
        if let Err(why) = token::check(&tokens) {
            return Err(TcpError::Tokens { file: tokens, why });
        }
        let listen = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) =
            listen().map_err(|source| TcpError::Listen { address, source })?;
        Ok(Self {
            listener,
            address,
            tokens,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether whoever sent this head may call.
    pub(crate) async fn judge(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = |kind, detail: &str| Err(Box::new(Problem::new(kind, detail)));
        if !is_named(headers) {
            let detail = "this host does not go by that name";
            return refused(ProblemKind::Forbidden, detail);
        }
        let Some(shown) = bearer(headers) else {
            let detail = "over TCP a call needs `Authorization: Bearer` and a token";
            return refused(ProblemKind::Unauthenticated, detail);
        };
        let (file, shown) = (self.tokens.clone(), shown.to_vec());
        let looking = tokio::task::spawn_blocking(move || token::name_of(&file, &shown));
        let detail = match tokio::time::timeout(FILE_TIME, looking).await {
            Ok(Ok(Ok(Some(_)))) => return Ok(()),
            Ok(Ok(Ok(None))) => "the token is wrong",
            Ok(Ok(Err(why))) => {
                tracing::warn!(file = %self.tokens.display(), %why, "the file of tokens cannot be used");
                "the file of tokens cannot be used; the service's log says why"
            }
            Ok(Err(_)) | Err(_) => "the file of tokens was not read in time",
        };
        refused(ProblemKind::Unauthenticated, detail)
    }
}

/// Whether the one `Host` is a loopback name: a name of somebody else's may be made to lead here. The port may be another one,
/// for something may pass the call on.
fn is_named(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(HOST).iter();
    let (Some(host), None) = (all.next().and_then(|host| host.to_str().ok()), all.next()) else {
        return false;
    };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let mut own = ["127.0.0.1", "localhost", "[::1]"].into_iter();
    port.bytes().all(|digit| digit.is_ascii_digit())
        && own.any(|own| name.eq_ignore_ascii_case(own))
}

/// The one token that is shown.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (all.next().map(HeaderValue::as_bytes)?, all.next());
    let (scheme, token) = first.split_at_checked(7)?;
    (second.is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}
