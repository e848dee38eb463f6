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

/// How a browser reaches a server, which its `Origin` begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    #[default]
    Http,
    /// With TLS.
    Https,
    /// Through a proxy, which may do either.
    Proxied,
}

impl Scheme {
    /// What is left of an origin behind its scheme, if it is one of these.
    fn site(self, origin: &str) -> Option<&str> {
        let plain = || origin.strip_prefix("http://");
        let secure = || origin.strip_prefix("https://");
        match self {
            Self::Http => plain(),
            Self::Https => secure(),
            Self::Proxied => secure().or_else(plain),
        }
    }

    /// The port that stands in no `Host`.
    fn unsaid_port(self, port: u16) -> bool {
        match self {
            Self::Http | Self::Proxied => port == 80,
            Self::Https => port == 443,
        }
    }
}

/// The names by which a server may be asked.
#[derive(Clone, Debug)]
pub struct Names {
    names: Arc<[String]>,
    any_address: bool,
    scheme: Scheme,
}

impl Names {
    /// The names of a server at this address, with its port, and further names as they are given.
    ///
    /// At a loopback address these are 127.0.0.1, localhost and \[::1\]. At another it is the address itself, or any address
    /// where it listens on all of them: a page that was tricked into asking here sends a name. A server that others reach
    /// without a proxy also goes by its further names with the port.
    #[must_use]
    pub fn of(addr: SocketAddr, further: &[String], scheme: Scheme) -> Self {
        let (ip, port) = (addr.ip(), addr.port());
        let own: Vec<String> = if ip.is_loopback() || ip.is_unspecified() {
            ["127.0.0.1", "localhost", "[::1]"]
                .map(str::to_owned)
                .into()
        } else if ip.is_ipv6() {
            vec![format!("[{ip}]")]
        } else {
            vec![ip.to_string()]
        };
        let further = further.iter().map(|name| name.to_ascii_lowercase());
        let further: Vec<String> = further.collect();
        let reached = (!ip.is_loopback()).then_some(&further);
        let ported = own.iter().chain(reached.into_iter().flatten());
        let with_port = ported.map(|name| format!("{name}:{port}"));
        let unsaid = scheme.unsaid_port(port).then_some(&own);
        let without = unsaid.into_iter().flatten().cloned();
        Self {
            names: with_port.chain(without).chain(further.clone()).collect(),
            any_address: ip.is_unspecified(),
            scheme,
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
            scheme: Scheme::default(),
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
        if !is_own_origin(headers, host, self.scheme) {
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
fn is_own_origin(headers: &HeaderMap, host: &str, scheme: Scheme) -> bool {
    headers.get_all(header::ORIGIN).iter().all(|origin| {
        let site = origin.to_str().ok().and_then(|text| scheme.site(text));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(address: &str, scheme: Scheme) -> Names {
        let address = address.parse().expect("an address");
        Names::of(address, &["Trimtab.example".to_owned()], scheme)
    }

    fn asked(names: &Names, host: &str, origin: Option<&str>) -> Result<(), Stray> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a host"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("an origin"));
        }
        names.check(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn a_server_goes_by_its_address_and_by_the_names_that_it_was_given() {
        const LOOPBACK: &str = "127.0.0.1:7676";
        const ONE: &str = "192.0.2.7:7676";
        const ALL: &str = "0.0.0.0:7676";
        const SIX: &str = "[2001:db8::7]:443";
        for (address, host, is_one) in [
            (LOOPBACK, "localhost:7676", true),
            (LOOPBACK, "trimtab.example", true),
            (LOOPBACK, "trimtab.example:7676", false),
            (LOOPBACK, "192.0.2.7:7676", false),
            (ONE, "192.0.2.7:7676", true),
            (ONE, "192.0.2.7", false),
            (ONE, "192.0.2.8:7676", false),
            (ONE, "localhost:7676", false),
            (ONE, "trimtab.example:7676", true),
            (ONE, "evil.example:7676", false),
            (ALL, "192.0.2.8:7676", true),
            (ALL, "localhost:7676", true),
            (ALL, "trimtab.example:7676", true),
            (ALL, "evil.example:7676", false),
            (SIX, "[2001:db8::7]:443", true),
            (SIX, "[2001:db8::7]", true),
            (SIX, "[2001:db8::8]", false),
        ] {
            let answer = asked(&names(address, Scheme::Https), host, None);
            let expected = if is_one {
                Ok(())
            } else {
                Err(Stray::Misdirected)
            };
            assert_eq!(answer, expected, "{host} at {address}");
        }
    }

    #[test]
    fn an_origin_has_the_scheme_by_which_the_server_is_reached() {
        let host = "127.0.0.1:7676";
        for (scheme, plain, secure) in [
            (Scheme::Http, true, false),
            (Scheme::Https, false, true),
            (Scheme::Proxied, true, true),
        ] {
            let names = names(host, scheme);
            let may = |origin: &str| asked(&names, host, Some(origin)).is_ok();
            assert_eq!(may("http://127.0.0.1:7676"), plain, "{scheme:?}");
            assert_eq!(may("https://127.0.0.1:7676"), secure, "{scheme:?}");
            assert!(!may("https://evil.example"), "{scheme:?}");
            assert!(!may("null"), "{scheme:?}");
        }
    }
}
