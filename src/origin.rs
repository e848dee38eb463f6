//! Where a request over HTTP comes from, as far as its head tells: what every listener asks before it answers.
//!
//! Loopback is no boundary. Any web page can send a request to 127.0.0.1, and a name that someone else owns can be made to
//! point here. So `Host` must be a name of this server with its port, `Origin` must be absent or this server, and a browser
//! that says the request comes from another site is refused.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where a request's connection came from, as the accept loop saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// Why a request is not for this server, or not from where it may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// Its `Host` is missing, double or not readable.
    Malformed(&'static str),
    /// It was meant for another server.
    Misdirected,
    /// It comes from another origin or site.
    Foreign(&'static str),
}

/// The names by which a server may be asked.
#[derive(Clone, Debug)]
pub struct Names {
    names: Arc<[String]>,
    any_address: bool,
}

impl Names {
    /// The names of a server at this address: 127.0.0.1, localhost and \[::1\] with the address's port, and further names as
    /// they are given.
    #[must_use]
    pub fn loopback(addr: SocketAddr, further: &[String]) -> Self {
        let port = addr.port();
        let own = ["127.0.0.1", "localhost", "[::1]"];
        let with_port = own.iter().map(|name| format!("{name}:{port}"));
        let without = own
            .iter()
            .filter(|_| port == 80)
            .map(|&name| name.to_owned());
        let further = further.iter().map(|name| name.to_ascii_lowercase());
        Self {
            names: with_port.chain(without).chain(further).collect(),
            any_address: false,
        }
    }

    /// Any IP address, as a probe uses, and the names given.
    #[must_use]
    pub fn any_address(further: &[String]) -> Self {
        Self {
            names: further
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            any_address: true,
        }
    }

    /// Whether a request is for this server and from where it may come.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Stray> {
        let host = host(headers)?;
        if !self.go_by(host) {
            return Err(Stray::Misdirected);
        }
        if let Some(authority) = uri.authority()
            && !self.go_by(authority.as_str())
        {
            return Err(Stray::Misdirected);
        }
        if !is_own_origin(headers, host) {
            return Err(Stray::Foreign("the request comes from another origin"));
        }
        if !is_own_site(headers) {
            return Err(Stray::Foreign("the request comes from another site"));
        }
        Ok(())
    }

    fn go_by(&self, host: &str) -> bool {
        self.names
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name))
            || self.any_address && is_address(host)
    }
}

/// Whether a browser sent this, as far as its head tells.
#[must_use]
pub fn is_from_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(FETCH_SITE)
}

/// The one `Host` of the request.
fn host(headers: &HeaderMap) -> Result<&str, Stray> {
    let mut all = headers.get_all(header::HOST).iter();
    let (first, second) = (all.next(), all.next());
    match (first.map(HeaderValue::to_str), second) {
        (Some(Ok(host)), None) if !host.is_empty() => Ok(host),
        (None, _) => Err(Stray::Malformed("the request has no Host")),
        (_, Some(_)) => Err(Stray::Malformed("the request has two Hosts")),
        (Some(_), None) => Err(Stray::Malformed("the Host is not readable")),
    }
}

/// Whether the request has no origin, or one that is this server under the name it was asked by.
fn is_own_origin(headers: &HeaderMap, host: &str) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let site = origin
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("http://"));
        site.is_some_and(|site| site.eq_ignore_ascii_case(host))
    })
}

/// Whether the browser, if it is one that tells, says that nobody else sent it here.
fn is_own_site(headers: &HeaderMap) -> bool {
    headers
        .get_all(FETCH_SITE)
        .iter()
        .all(|site| matches!(site.as_bytes(), b"none" | b"same-origin"))
}

/// Whether a `Host` is an IP address, with or without a port.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    !host.contains('@')
        && bare.map_or_else(
            || {
                name.parse::<IpAddr>()
                    .is_ok_and(|address| address.is_ipv4())
            },
            |bare| bare.parse::<Ipv6Addr>().is_ok(),
        )
}
