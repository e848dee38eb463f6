//! The configuration: how it stands, every key in force, and what an edited profile would change.
//!
//! The check is the one route here that takes a body. It changes nothing and writes nothing, so it needs no token; the guard
//! has seen to it that the caller is no page of another site. One text is checked at a time.

use crate::serve::Shared;
use crate::serve::error::Refusal;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::routing::{MethodRouter, post};
use http_body_util::{BodyExt as _, Limited};
use std::sync::Arc;
use std::time::Duration;
use trimtab_protocol::configuration::{
    ConfigurationStatus, DraftVerdict, EffectiveConfiguration, ProfileDraft,
};

/// The longest body: the longest profile, written as JSON, in which most characters stay as they are.
const BODY_BYTES_MAX: usize = 300 * 1024;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);

/// How it stands.
pub(super) async fn status(State(shared): State<Shared>) -> Json<ConfigurationStatus> {
    Json((*shared.view().configuration).clone())
}

/// Every key in force, and the profiles as they are written.
pub(super) async fn effective(
    State(shared): State<Shared>,
) -> Result<Json<EffectiveConfiguration>, Refusal> {
    let tell = Arc::clone(&shared.deps.effective);
    // Files are read, and a file system may hang.
    let told = tokio::task::spawn_blocking(move || tell()).await;
    told.map(Json).map_err(|_| Refusal::Internal)
}

/// What a profile's text would change.
pub(super) fn check() -> MethodRouter<Shared> {
    post(consider).fallback(|| async { Refusal::NeedsPost })
}

async fn consider(
    State(shared): State<Shared>,
    request: Request,
) -> Result<Json<DraftVerdict>, Refusal> {
    let (parts, body) = request.into_parts();
    let media = parts.headers.get(header::CONTENT_TYPE);
    let media = media.and_then(|value| value.to_str().ok()).unwrap_or("");
    if !media
        .split(';')
        .next()
        .is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"))
    {
        let detail = "a text is sent as JSON, with the content type application/json";
        return Err(Refusal::Malformed(detail.to_owned()));
    }
    let Ok(_turn) = shared.checks.try_acquire() else {
        return Err(Refusal::Later {
            after_s: 1,
            detail: "another text is being checked",
        });
    };
    let draft = read(body).await?;
    let consider = Arc::clone(&shared.deps.consider);
    let considered = tokio::task::spawn_blocking(move || consider(&draft)).await;
    let verdict = considered.map_err(|_| Refusal::Internal)?;
    verdict
        .map(Json)
        .ok_or_else(|| Refusal::Unknown("there is no profile of that name".to_owned()))
}

async fn read(body: Body) -> Result<ProfileDraft, Refusal> {
    let reading = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(Ok(body)) = tokio::time::timeout(BODY_TIME, reading).await else {
        let detail =
            format!("the text did not arrive, or it is longer than {BODY_BYTES_MAX} bytes");
        return Err(Refusal::Malformed(detail));
    };
    serde_json::from_slice(&body.to_bytes()).map_err(|error| Refusal::Malformed(error.to_string()))
}
