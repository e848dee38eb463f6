//! The guard before every route: who may ask, and what the answer allows a browser to do.
//!
//! Loopback is no boundary. Any web page can send a request to 127.0.0.1, and a name that someone else owns can be made to
//! point here. So `Host` must be a name of this server with its port, `Origin` must be absent or this server, and a browser
//! that says the request comes from another site is refused. Nothing here changes anything, so only GET and HEAD are taken.
//! Each answer forbids scripts, foreign content, framing, sniffing, referrers and caching; only the dashboard may run its own
//! script.

use crate::serve::error::Refusal;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Marks a request that came over one of the last connections, which are kept for health checks.
#[derive(Clone, Copy, Debug)]
pub struct Reserve;

/// The paths that are answered even over the last connections.
pub const HEALTH_PATHS: [&str; 3] = ["/livez", "/healthz", "/readyz"];

/// What a page's content may do, where that differs from the plain page's; a handler adds it to its answer.
#[derive(Clone, Copy, Debug)]
pub struct ContentPolicy(pub &'static str);

/// The SHA-256 of the page's one style sheet is in here; a test compares them.
const CONTENT_POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-",
    include_str!("page.css.sha256"),
    "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Guard {
    names: Arc<[String]>,
    any_address: bool,
}

impl Guard {
    /// A guard for a server at this address: it goes by 127.0.0.1, localhost and \[::1\] with the address's port, and by
    /// further names as they are given.
    #[must_use]
    pub fn new(addr: SocketAddr, names: &[String]) -> Self {
        let port = addr.port();
        let own = ["127.0.0.1", "localhost", "[::1]"];
        let with_port = own.iter().map(|name| format!("{name}:{port}"));
        let without = own
            .iter()
            .filter(|_| port == 80)
            .map(|&name| name.to_owned());
        let further = names.iter().map(|name| name.to_ascii_lowercase());
        Self {
            names: with_port.chain(without).chain(further).collect(),
            any_address: false,
        }
    }

    /// A guard for a server that may be asked under any IP address, as a probe does, and by the names given.
    #[must_use]
    pub fn any_address(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            any_address: true,
        }
    }

    /// Puts the guard before every route of a router, its answer to unknown paths included.
    pub fn protect(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass))
    }

    /// Whether a request may be answered.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        let health = HEALTH_PATHS.contains(&request.uri().path());
        if request.extensions().get::<Reserve>().is_some() && !health {
            return Err(Refusal::Busy("too many connections are open"));
        }
        let host = host(request.headers())?;
        if !self.goes_by(host) {
            return Err(Refusal::Misdirected);
        }
        if let Some(authority) = request.uri().authority()
            && !self.goes_by(authority.as_str())
        {
            return Err(Refusal::Misdirected);
        }
        if !is_own_origin(request.headers(), host) {
            return Err(Refusal::Forbidden("the request comes from another origin"));
        }
        if !is_own_site(request.headers()) {
            return Err(Refusal::Forbidden("the request comes from another site"));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        Ok(())
    }

    fn goes_by(&self, host: &str) -> bool {
        self.names
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name))
            || self.any_address && is_address(host)
    }
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let own = response.extensions().get::<ContentPolicy>();
    let policy = own.map_or(CONTENT_POLICY, |policy| policy.0);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The one `Host` of the request.
fn host(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut all = headers.get_all(header::HOST).iter();
    let (first, second) = (all.next(), all.next());
    match (first.map(HeaderValue::to_str), second) {
        (Some(Ok(host)), None) if !host.is_empty() => Ok(host),
        (None, _) => Err(Refusal::Malformed("the request has no Host".to_owned())),
        (_, Some(_)) => Err(Refusal::Malformed("the request has two Hosts".to_owned())),
        (Some(_), None) => Err(Refusal::Malformed("the Host is not readable".to_owned())),
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
