//! The guard before every command: who gives it, and that no browser was tricked into giving it.
//!
//! Over the operator's socket the kernel says who is there, and the accept loop has looked already. A browser cannot reach a
//! Unix socket by itself, so what looks like one is refused: something would be passing strangers on.
//!
//! Over HTTP `Host`, `Origin` and `Sec-Fetch-Site` are judged as for every page, and then `Authorization: Bearer` must show a
//! token of the file. A page of another site could not send that header without asking first, and nothing here answers such
//! a question.

use crate::origin::{Names, PeerAddress, Stray, is_from_a_browser};
use crate::token;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::path::PathBuf;
use trimtab_protocol::command::Operator;
use trimtab_protocol::problem::{CONTENT_TYPE, Problem, ProblemKind};

/// Who may command over HTTP.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// The names of the listener.
    pub(super) names: Names,
    /// The file.
    pub(super) file: PathBuf,
}

impl Tokens {
    /// Puts the guard before the routes of a router, and only before those.
    pub(super) fn protect(self, router: Router) -> Router {
        router.route_layer(from_fn_with_state(self, pass_with_token))
    }

    async fn judge(&self, request: &Parts) -> Result<Operator, Response> {
        if let Err(stray) = self.names.check(&request.uri, &request.headers) {
            return Err(astray(stray));
        }
        let Some(shown) = token::bearer(&request.headers) else {
            let detail = "this needs `Authorization: Bearer` and a token, or the operator's socket";
            return Err(unknown_caller(detail));
        };
        let name = match token::look_up(&self.file, shown).await {
            Ok(name) => name,
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "the file of tokens cannot be used");
                let detail = "the file of tokens cannot be used; the sidecar's log says why";
                return Err(unknown_caller(detail));
            }
        };
        let from = request.extensions.get::<PeerAddress>();
        let from = from.map(|PeerAddress(address)| address.to_string());
        match name {
            Some(name) => Ok(Operator::Token { name, from }),
            None => {
                tracing::warn!(from, "a command came with a wrong token");
                Err(unknown_caller("the token is wrong"))
            }
        }
    }
}

/// Puts the guard of the operator's socket before a router; the accept loop has said who asks.
pub(super) fn for_socket(router: Router) -> Router {
    router.layer(from_fn(pass_from_socket))
}

async fn pass_with_token(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let response = match tokens.judge(&parts).await {
        Ok(operator) => {
            parts.extensions.insert(operator);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(response) => response,
    };
    with_headers(response)
}

async fn pass_from_socket(request: Request, next: Next) -> Response {
    let response = if is_from_a_browser(request.headers()) {
        let detail = "a browser has no business at this socket";
        refusal(&Problem::new(ProblemKind::Forbidden, detail))
    } else if request.extensions().get::<Operator>().is_none() {
        refusal(&Problem::new(
            ProblemKind::Forbidden,
            "only this sidecar's user, root and the users that the configuration names may command",
        ))
    } else {
        next.run(request).await
    };
    with_headers(response)
}

fn astray(stray: Stray) -> Response {
    match stray {
        Stray::Malformed(why) => refusal(&Problem::new(ProblemKind::Malformed, why)),
        Stray::Foreign(why) => refusal(&Problem::new(ProblemKind::Forbidden, why)),
        Stray::Misdirected => {
            let mut problem = Problem::new(
                ProblemKind::Forbidden,
                "this server does not go by that name",
            );
            problem.status = StatusCode::MISDIRECTED_REQUEST.as_u16();
            refusal(&problem)
        }
    }
}

fn unknown_caller(detail: &str) -> Response {
    let mut response = refusal(&Problem::new(ProblemKind::Unauthenticated, detail));
    let scheme = HeaderValue::from_static("Bearer");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    response
}

/// A problem as an answer.
pub(super) fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(problem).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
    if problem.kind == ProblemKind::Method {
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

fn with_headers(mut response: Response) -> Response {
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
