//! Where a host offers its control API.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a host offers its control API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPlace {
    /// On a Unix socket, where the kernel says who is at the other end.
    Socket(PathBuf),
    /// On loopback TCP, where each request shows a token.
    Tcp {
        /// The address.
        address: LoopbackAddress,
        /// The file whose first token is shown; it is read for each connection.
        token_file: PathBuf,
    },
}

impl From<PathBuf> for HostPlace {
    fn from(path: PathBuf) -> Self {
        Self::Socket(path)
    }
}

impl From<&Path> for HostPlace {
    fn from(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }
}

impl fmt::Display for HostPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(out),
            Self::Tcp { address, .. } => address.fmt(out),
        }
    }
}

/// An address that no other machine reaches, written as a URL: `http://127.0.0.1:7070`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopbackAddress(SocketAddr);

impl LoopbackAddress {
    /// The address itself.
    #[must_use]
    pub fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// Whether a text is meant for one and for no path.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains("://")
    }
}

impl fmt::Display for LoopbackAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "http://{}", self.0)
    }
}

/// A text that is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not like http://127.0.0.1:7070")]
pub struct NotLoopback;

impl FromStr for LoopbackAddress {
    type Err = NotLoopback;

    fn from_str(text: &str) -> Result<Self, NotLoopback> {
        let bare = text.strip_prefix("http://").ok_or(NotLoopback)?;
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let address: SocketAddr = bare.parse().map_err(|_| NotLoopback)?;
        if address.ip().is_loopback() && address.port() != 0 {
            Ok(Self(address))
        } else {
            Err(NotLoopback)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_loopback_with_a_port() {
        for text in ["http://127.0.0.1:7070", "http://[::1]:1"] {
            let address: LoopbackAddress = text.parse().expect("it is one");
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "http://192.0.2.7:7070",
            "http://localhost:7070",
            "https://127.0.0.1:7070",
            "127.0.0.1:7070",
            "http://127.0.0.1:7070/x",
            "",
        ] {
            assert_eq!(text.parse::<LoopbackAddress>(), Err(NotLoopback), "{text}");
        }
    }
}
