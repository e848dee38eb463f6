//! The paths of the control API: who may call what, what the body must be, and how an answer or a refusal is written.

use crate::control::Control;
use crate::governor::{End, Refusal};
use bytes::Bytes;
use http::header::{
    ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use trimtab_protocol::name::{Generation, KnobName, PoolName};
use trimtab_protocol::problem::{self, Problem, ProblemKind};
use trimtab_protocol::{REQUEST_BYTES_MAX, STATE_BYTES_MAX, path};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(5);
/// How much of a body that is too long is still read, so that the caller hears the refusal.
const DISCARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Over the control socket.
    Sidecar,
    /// Over the operator's socket.
    Operator,
    /// Another user of the machine.
    Stranger,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    State,
    TakeLease,
    ReleaseLease,
    Change,
    End(End, Generation),
    Freeze,
    Unfreeze,
    Pin(PoolName, KnobName),
    Unpin(PoolName, KnobName),
    Reset,
}

type Answer = Response<Full<Bytes>>;

/// Answers one request. It never fails: whatever goes wrong is an answer.
pub(crate) async fn answer<B>(control: Arc<Control>, caller: Caller, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
{
    match dispatch(control, caller, request).await {
        Ok(answer) => answer,
        Err(refusal) => refused(&refusal),
    }
}

async fn dispatch<B>(
    control: Arc<Control>,
    caller: Caller,
    request: Request<B>,
) -> Result<Answer, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    if caller == Caller::Stranger {
        let detail = "only the host's own user and root may call";
        return refuse(ProblemKind::Forbidden, detail);
    }
    if is_from_a_browser(request.headers()) {
        let detail = "no browser has any business here, so something passes strangers on";
        return refuse(ProblemKind::Forbidden, detail);
    }
    #[cfg(feature = "pprof")]
    if request.method() == Method::GET && request.uri().path() == crate::pprof::PATH {
        return profile(request.uri().query()).await;
    }
    let call = route(request.method(), request.uri().path())?;
    if call.is_operators() && caller != Caller::Operator {
        let detail = "this is for operators, over the operator's socket";
        return refuse(ProblemKind::Forbidden, detail);
    }
    let body = read(request).await?;
    let host = Arc::clone(&control);
    match call {
        Call::State => state(&control).await,
        Call::TakeLease => json(&control.run(host.take_lease(parse(&body)?)).await?),
        Call::ReleaseLease => {
            control.run(host.release_lease(parse(&body)?)).await?;
            Ok(written(StatusCode::NO_CONTENT, Bytes::new(), None))
        }
        Call::Change => json(&control.run(host.change(parse(&body)?)).await?),
        Call::End(end, generation) => json(
            &control
                .run(host.end(end, generation, parse(&body)?))
                .await?,
        ),
        Call::Freeze => json(&control.run(host.freeze(parse_or_default(&body)?)).await?),
        Call::Unfreeze => json(&control.run(host.unfreeze()).await?),
        Call::Pin(pool, knob) => json(&control.run(host.pin(pool, knob, parse(&body)?)).await?),
        Call::Unpin(pool, knob) => json(&control.run(host.unpin(pool, knob)).await?),
        Call::Reset => json(&control.run(host.reset(parse_or_default(&body)?)).await?),
    }
}

impl Call {
    fn is_operators(&self) -> bool {
        match self {
            Self::Freeze | Self::Unfreeze | Self::Pin(..) | Self::Unpin(..) | Self::Reset => true,
            Self::State | Self::TakeLease | Self::ReleaseLease | Self::Change | Self::End(..) => {
                false
            }
        }
    }
}

/// Finds the call. A path that exists with another method is not the same as one that does not exist.
fn route(method: &Method, path: &str) -> Result<Call, Refusal> {
    let calls = calls(path);
    if calls.is_empty() {
        return refuse(ProblemKind::Unknown, format!("there is nothing at {path}"));
    }
    let allowed: Vec<&str> = calls.iter().map(|(method, _)| *method).collect();
    let allowed = allowed.join(", ");
    calls
        .into_iter()
        .find(|(offered, _)| *offered == method.as_str())
        .map(|(_, call)| call)
        .ok_or_else(|| {
            Box::new(Problem::new(
                ProblemKind::Method,
                format!("{path}: {allowed}"),
            ))
        })
}

fn calls(path: &str) -> Vec<(&'static str, Call)> {
    match path {
        path::STATE => return vec![("GET", Call::State)],
        path::LEASE => return vec![("POST", Call::TakeLease), ("DELETE", Call::ReleaseLease)],
        path::CHANGES => return vec![("POST", Call::Change)],
        path::FREEZE => return vec![("PUT", Call::Freeze), ("DELETE", Call::Unfreeze)],
        path::RESET => return vec![("POST", Call::Reset)],
        _ => {}
    }
    let below = |root: &str| path.strip_prefix(root)?.strip_prefix('/')?.split_once('/');
    if let Some((generation, end)) = below(path::CHANGES)
        && let Ok(generation) = generation.parse()
    {
        let end = match end {
            "confirm" => End::Confirm,
            "rollback" => End::RollBack,
            _ => return Vec::new(),
        };
        return vec![("POST", Call::End(end, Generation(generation)))];
    }
    if let Some((pool, knob)) = below(path::PINS) {
        let (pool, knob) = (PoolName::from(pool), KnobName::from(knob));
        return vec![
            ("PUT", Call::Pin(pool.clone(), knob.clone())),
            ("DELETE", Call::Unpin(pool, knob)),
        ];
    }
    Vec::new()
}

/// Whether a header stands there that browsers add and nobody else needs.
fn is_from_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether one content type is named, and it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (all.next(), all.next());
    let media = first
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    second.is_none()
        && media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads the body to its end, or as far as it may go.
async fn read<B>(request: Request<B>) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let is_json = is_json(request.headers());
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return refuse(ProblemKind::Malformed, "the body broke off");
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            seen = seen.saturating_add(data.len());
            if seen > DISCARD_BYTES_MAX {
                break;
            }
            if seen <= REQUEST_BYTES_MAX {
                bytes.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(read) => read?,
        Err(_) => return refuse(ProblemKind::Malformed, "the body did not arrive in time"),
    }
    if seen > REQUEST_BYTES_MAX {
        let detail = format!("a body may have {REQUEST_BYTES_MAX} bytes");
        return refuse(ProblemKind::TooLarge, detail);
    }
    if seen > 0 && !is_json {
        let detail = "a body needs the content type application/json";
        return refuse(ProblemKind::MediaType, detail);
    }
    Ok(Bytes::from(bytes))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Box::new(Problem::new(ProblemKind::Malformed, error.to_string())))
}

fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    parse(body)
}

async fn state(control: &Arc<Control>) -> Result<Answer, Refusal> {
    let host = Arc::clone(control);
    let mut state = control.run(async move { Ok(host.state().await) }).await?;
    let answer = json(&state)?;
    if answer.body().size_hint().exact() <= u64::try_from(STATE_BYTES_MAX).ok() {
        return Ok(answer);
    }
    // Histograms are what grows; a state without them is still a state, and a sidecar takes what is missing for missing.
    for pool in state.pools.values_mut() {
        pool.histograms = trimtab_protocol::state::Histograms::default();
    }
    json(&state)
}

/// A profile of the process by itself; the control side only waits for it.
#[cfg(feature = "pprof")]
async fn profile(query: Option<&str>) -> Result<Answer, Refusal> {
    use crate::pprof::{ProfileError, profile, window};
    let window = match window(query) {
        Ok(window) => window,
        Err(detail) => return refuse(ProblemKind::Malformed, detail),
    };
    match profile(window).await {
        Ok(bytes) => Ok(written(
            StatusCode::OK,
            Bytes::from(bytes),
            Some("application/octet-stream"),
        )),
        Err(error @ ProfileError::Busy) => refuse(ProblemKind::TooSoon, error.to_string()),
        Err(error @ ProfileError::Failed(_)) => refuse(ProblemKind::Internal, error.to_string()),
    }
}

fn json<T: Serialize>(value: &T) -> Result<Answer, Refusal> {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Box::new(Problem::new(ProblemKind::Internal, error.to_string())))?;
    Ok(written(
        StatusCode::OK,
        Bytes::from(bytes),
        Some("application/json"),
    ))
}

pub(crate) fn refused(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = serde_json::to_vec(problem).unwrap_or_default();
    let mut answer = written(status, Bytes::from(bytes), Some(problem::CONTENT_TYPE));
    if let Some(ms) = problem.retry_after_ms {
        let seconds = HeaderValue::from(ms.div_ceil(1_000));
        answer.headers_mut().insert(RETRY_AFTER, seconds);
    }
    if problem.kind == ProblemKind::Unauthenticated {
        let scheme = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    if problem.kind == ProblemKind::Method
        && let Some((_, allowed)) = problem.detail.rsplit_once(": ")
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}

fn written(status: StatusCode, body: Bytes, media: Option<&'static str>) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    if let Some(media) = media {
        let media = HeaderValue::from_static(media);
        answer.headers_mut().insert(CONTENT_TYPE, media);
    }
    answer
}

fn refuse<T>(kind: ProblemKind, detail: impl Into<String>) -> Result<T, Refusal> {
    Err(Box::new(Problem::new(kind, detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: &str, path: &str) -> ProblemKind {
        let method = method.parse().expect("a method");
        route(&method, path).expect_err("no such call").kind
    }

    #[test]
    fn every_call_has_its_path_and_method() {
        let found = |method: &str, path: &str| {
            route(&method.parse().expect("a method"), path).expect("a call")
        };
        assert_eq!(found("GET", "/trimtab/v1/state"), Call::State);
        assert_eq!(found("POST", "/trimtab/v1/lease"), Call::TakeLease);
        assert_eq!(found("DELETE", "/trimtab/v1/lease"), Call::ReleaseLease);
        assert_eq!(found("POST", "/trimtab/v1/changes"), Call::Change);
        assert_eq!(
            found("POST", "/trimtab/v1/changes/7/confirm"),
            Call::End(End::Confirm, Generation(7))
        );
        assert_eq!(
            found("POST", "/trimtab/v1/changes/7/rollback"),
            Call::End(End::RollBack, Generation(7))
        );
        for (method, path) in [
            ("PUT", "/trimtab/v1/freeze"),
            ("DELETE", "/trimtab/v1/freeze"),
            ("PUT", "/trimtab/v1/pins/web/workers"),
            ("DELETE", "/trimtab/v1/pins/web/workers"),
            ("POST", "/trimtab/v1/reset"),
        ] {
            assert!(found(method, path).is_operators(), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_not_a_wrong_path() {
        for path in [
            "/",
            "/trimtab/v1",
            "/trimtab/v1/state/",
            "/trimtab/v2/state",
        ] {
            assert_eq!(kind("GET", path), ProblemKind::Unknown, "{path}");
        }
        for path in ["/x/confirm", "/-1/confirm", "/7/keep", "/7", "/7/confirm/"] {
            let path = format!("/trimtab/v1/changes{path}");
            assert_eq!(kind("POST", &path), ProblemKind::Unknown, "{path}");
        }
        assert_eq!(kind("HEAD", "/trimtab/v1/state"), ProblemKind::Method);
        assert_eq!(kind("GET", "/trimtab/v1/changes"), ProblemKind::Method);
        let refusal = route(&Method::GET, "/trimtab/v1/freeze").expect_err("no such call");
        assert_eq!(refused(&refusal).headers()[ALLOW], "PUT, DELETE");
    }
}
