//! The table of commands: their paths, and how a request becomes a command.

use super::guard::refusal;
use super::{Refusal, Shared, refused, work};
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;
use trimtab_protocol::REQUEST_BYTES_MAX;
use trimtab_protocol::command::{Command, Operator};
use trimtab_protocol::problem::{Problem, ProblemKind};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How a body becomes a command.
type Parse = fn(&[u8]) -> Result<Command, Refusal>;

/// Every command. The table in the module's documentation says the same, and a test compares them.
pub(super) const TABLE: [(&str, Parse); 8] = [
    ("/api/v1/hosts/{id}/freeze", |body| {
        or_empty(body).map(Command::Freeze)
    }),
    ("/api/v1/hosts/{id}/unfreeze", |body| {
        or_empty(body).map(Command::Unfreeze)
    }),
    ("/api/v1/hosts/{id}/pin", |body| {
        parse(body).map(Command::Pin)
    }),
    ("/api/v1/hosts/{id}/unpin", |body| {
        parse(body).map(Command::Unpin)
    }),
    ("/api/v1/hosts/{id}/reset", |body| {
        or_empty(body).map(Command::Reset)
    }),
    ("/api/v1/hosts/{id}/profile", |body| {
        parse(body).map(Command::Profile)
    }),
    ("/api/v1/hosts/{id}/approve", |body| {
        or_empty(body).map(Command::Approve)
    }),
    ("/api/v1/hosts/{id}/reject", |body| {
        or_empty(body).map(Command::Reject)
    }),
];

/// A router of every command, without a guard.
pub(super) fn all(shared: Shared) -> Router {
    let routes = TABLE
        .into_iter()
        .fold(Router::new(), |router, (path, parse)| {
            router.route(path, route(parse))
        });
    routes.with_state(shared)
}

/// A router of what the operator's socket alone tells, for there are no pages behind it: which host this is.
pub(super) fn hosts(shared: Shared) -> Router {
    let tell = |State(shared): State<Shared>| async move {
        Json(json!({ "hosts": [{ "host": shared.deps.host }] }))
    };
    Router::new()
        .route("/api/v1/hosts", get(tell))
        .with_state(shared)
}

fn route(parse: Parse) -> MethodRouter<Shared> {
    let take = move |State(shared): State<Shared>,
                     Path(id): Path<String>,
                     RawQuery(query): RawQuery,
                     Extension(operator): Extension<Operator>,
                     request: Request| async move {
        match read(&shared, &id, query.as_deref(), request, parse).await {
            Ok((command, dry_run)) => {
                match work::carry_out(&shared, command, operator, dry_run).await {
                    Ok(receipt) => Json(receipt).into_response(),
                    Err(problem) => refusal(&problem),
                }
            }
            Err(problem) => refusal(&problem),
        }
    };
    post(take).fallback(wrong_method)
}

async fn wrong_method() -> Response {
    refusal(&Problem::new(
        ProblemKind::Method,
        "a command is given with POST",
    ))
}

/// The command, and whether it is a dry run.
async fn read(
    shared: &Shared,
    id: &str,
    query: Option<&str>,
    request: Request,
    parse: Parse,
) -> Result<(Command, bool), Refusal> {
    let host = &shared.deps.host;
    if id != host.as_str() {
        let detail = format!("there is no such host; known is: {host}");
        return Err(refused(ProblemKind::Unknown, detail));
    }
    let dry_run = dry_run(query)?;
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        let detail = "a command needs the content type application/json";
        return Err(refused(ProblemKind::MediaType, detail));
    }
    let body = read_body(body).await?;
    Ok((parse(&body)?, dry_run))
}

/// A word that is not understood is refused: who mistypes `dry_run` must not find the command carried out.
fn dry_run(query: Option<&str>) -> Result<bool, Refusal> {
    match query {
        None | Some("" | "dry_run=false") => Ok(false),
        Some("dry_run=true") => Ok(true),
        Some(_) => {
            let detail = "the query may be `dry_run=true` or `dry_run=false` and nothing else";
            Err(refused(ProblemKind::Malformed, detail))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (all.next(), all.next());
    let media = first
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    second.is_none()
        && media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

async fn read_body(body: Body) -> Result<Vec<u8>, Refusal> {
    let reading = Limited::new(body, REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body may have {REQUEST_BYTES_MAX} bytes");
            Err(refused(ProblemKind::TooLarge, detail))
        }
        Ok(Err(_)) => Err(refused(ProblemKind::Malformed, "the body broke off")),
        Err(_) => {
            let detail = "the body did not arrive in time";
            Err(refused(ProblemKind::Malformed, detail))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| refused(ProblemKind::Malformed, error.to_string()))
}

fn or_empty<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    parse(body)
}
