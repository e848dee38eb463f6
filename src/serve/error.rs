//! Refusals as `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use thiserror::Error;
use trimtab_protocol::problem::{CONTENT_TYPE, Problem, ProblemKind};

/// Why a request got no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The request is not well formed.
    #[error("{0}")]
    Malformed(String),
    /// The caller may not ask this from where it stands.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The caller shows no token of the file.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The request was meant for another server.
    #[error("this server does not go by that name")]
    Misdirected,
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// Only GET and HEAD are taken.
    #[error("this path takes GET and HEAD only")]
    Method,
    /// Only POST is taken.
    #[error("this path takes POST only")]
    NeedsPost,
    /// Too many connections or streams are open.
    #[error("{0}")]
    Busy(&'static str),
    /// It can be had later.
    #[error("{detail}")]
    Later {
        /// After how many seconds.
        after_s: u64,
        /// What is in the way.
        detail: &'static str,
    },
    /// An answer could not be made.
    #[error("the answer could not be made")]
    Internal,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = match &self {
            Self::Malformed(_) => ProblemKind::Malformed,
            Self::Forbidden(_) => ProblemKind::Forbidden,
            Self::Unauthenticated(_) => ProblemKind::Unauthenticated,
            Self::Unknown(_) => ProblemKind::Unknown,
            Self::Method | Self::NeedsPost => ProblemKind::Method,
            Self::Internal => ProblemKind::Internal,
            Self::Misdirected => return plain(StatusCode::MISDIRECTED_REQUEST, &self.to_string()),
            Self::Later { after_s, .. } => {
                let mut response = plain(StatusCode::TOO_MANY_REQUESTS, &self.to_string());
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*after_s));
                return response;
            }
            Self::Busy(_) => {
                let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, &self.to_string());
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
                return response;
            }
        };
        let status = StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let problem = Problem::new(kind, self.to_string());
        let mut response = problem_json(status, &problem);
        let (name, value) = match self {
            Self::Method => (header::ALLOW, "GET, HEAD"),
            Self::NeedsPost => (header::ALLOW, "POST"),
            // A browser asks the person before it for a name, which may be any, and for the token as password.
            Self::Unauthenticated(_) => (header::WWW_AUTHENTICATE, "Basic realm=\"trimtab\""),
            _ => return response,
        };
        let headers = response.headers_mut();
        headers.insert(name, HeaderValue::from_static(value));
        response
    }
}

/// A problem that the status alone explains, for which RFC 9457 has the type `about:blank`.
fn plain(status: StatusCode, detail: &str) -> Response {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    problem_json(status, &problem)
}

fn problem_json(status: StatusCode, problem: &impl serde::Serialize) -> Response {
    let body = serde_json::to_string(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}
