//! The guard before every route: who may ask, and what the answer allows a browser to do.
//!
//! Where a request comes from is judged by [`origin`](crate::origin). Nothing here changes anything, so only GET and HEAD are
//! taken, and POST where a text comes along to be checked. Each answer forbids scripts, foreign content, framing, sniffing, referrers and caching; only the dashboard may run
//! its own script.
//!
//! Beyond loopback a token has to be shown on every route: as `Authorization: Bearer`, or as the password that a browser asks
//! for. A browser would send that password again by itself when another site sends it here, which is what the judging of
//! `Origin` and `Sec-Fetch-Site` is for; and nothing here changes anything.

use crate::origin::{Names, Scheme, Stray};
use crate::serve::error::Refusal;
use crate::token;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Marks a request that came over one of the last connections, which are kept for health checks.
#[derive(Clone, Copy, Debug)]
pub struct Reserve;

/// The paths that are answered even over the last connections.
pub const HEALTH_PATHS: [&str; 3] = ["/livez", "/healthz", "/readyz"];

/// The path that takes a text, and so POST alone.
pub const CHECK_PATH: &str = "/api/v1/configuration/check";

/// What a page's content may do, where that differs from the plain page's; a handler adds it to its answer.
#[derive(Clone, Copy, Debug)]
pub struct ContentPolicy(pub &'static str);

/// The SHA-256 of the page's one style sheet is in here; a test compares them.
const CONTENT_POLICY: &str = concat!(
    "default-src 'none'; style-src 'sha256-",
    include_str!("page.css.sha256"),
    "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
);

/// Who may ask.
#[derive(Clone, Debug)]
pub struct Guard {
    names: Names,
    /// The file of the tokens of which one has to be shown; nothing has to be shown without it.
    tokens: Option<Arc<PathBuf>>,
}

impl Guard {
    /// A guard for a server at this address, which goes by further names as they are given.
    #[must_use]
    pub fn new(addr: SocketAddr, names: &[String], scheme: Scheme) -> Self {
        Self {
            names: Names::of(addr, names, scheme),
            tokens: None,
        }
    }

    /// The same guard, which lets nobody pass who does not show a token of this file.
    #[must_use]
    pub fn with_tokens(self, file: Option<PathBuf>) -> Self {
        let tokens = file.map(Arc::new);
        Self { tokens, ..self }
    }

    /// A guard for a server that may be asked under any IP address, as a probe does, and by the names given.
    #[must_use]
    pub fn any_address(names: &[String]) -> Self {
        Self {
            names: Names::any_address(names),
            tokens: None,
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
        self.names.check(request.uri(), request.headers())?;
        let checks = request.uri().path() == CHECK_PATH && request.method() == Method::POST;
        if !checks && !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        Ok(())
    }

    /// Whether whoever asks shows a token, where one is wanted.
    async fn knows(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(file) = &self.tokens else {
            return Ok(());
        };
        let why = "this needs a token: `Authorization: Bearer`, or the token as password";
        let shown = token::bearer_or_password(headers).ok_or(Refusal::Unauthenticated(why))?;
        match token::look_up(file, &shown).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::Unauthenticated("the token is wrong")),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the file of tokens cannot be used");
                let why = "the file of tokens cannot be used; the sidecar's log says why";
                Err(Refusal::Unauthenticated(why))
            }
        }
    }
}

impl From<Stray> for Refusal {
    fn from(stray: Stray) -> Self {
        match stray {
            Stray::Malformed(why) => Self::Malformed(why.to_owned()),
            Stray::Misdirected => Self::Misdirected,
            Stray::Foreign(why) => Self::Forbidden(why),
        }
    }
}

async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let judged = match guard.check(&request) {
        Ok(()) => guard.knows(request.headers()).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match judged {
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
