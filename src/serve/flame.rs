//! Graphs of where the host's time goes: now, then, and before and after each change.
//!
//! A question goes to the profiler over a channel, and the answer is waited for here, so nothing else waits. A picture may run
//! its own script for search and zoom, but under a policy that gives it an origin of its own and nothing to reach.

mod heat;
mod link;
mod query;

use self::query::{GraphQuery, Moments};
use crate::message::{FlameAnswer, FlameCall};
use crate::serve::Shared;
use crate::serve::error::Refusal;
use crate::serve::guard::ContentPolicy;
use crate::serve::routes::find;
use crate::view::{HostView, Sort, View};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use maud::{DOCTYPE, html};
use serde::{Deserialize, Serialize};
use std::io;
use tokio::sync::oneshot;
use trimtab_flame::ask::{Ask, Because, Outcome, Remembered, Shot};
use trimtab_flame::ladder::Step;
use trimtab_flame::{Format, Kind, Quality, shoot_own};
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::view::{Entry, EntryBody};

pub(super) use self::heat::show as heatmap;
pub(super) use self::link::of_change as link_of_change;

/// A picture's script may run, in an origin of its own: it cannot ask this server or any other.
const PICTURE: ContentPolicy = ContentPolicy(
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'self'",
);
/// How many seconds before and after a change are compared.
const CHANGE_S: u64 = 10;
/// How much the clock for people may have been set forward since an entry was written.
const WALL_SLACK_MS: u64 = 60_000;
/// The window that `go tool pprof` expects.
const PPROF_S: u64 = 30;

/// A graph of the time that now begins, or of remembered time where `from` is given.
pub(super) async fn graph(
    State(shared): State<Shared>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let shot = shot(&shared, &query)?;
    let ask = match query.past(now_ns(&shared))? {
        Some(stretch) => Ask::Past {
            shot: remembered(&query, shot.clone())?,
            stretch,
        },
        None if by_itself(&shared, &query, &shot).await? => {
            return own_picture(shot, query.window_ms()?).await;
        }
        None => Ask::Next {
            shot: shot.clone(),
            window_ms: query.window_ms()?,
        },
    };
    picture(&shared, ask, shot.format).await
}

/// Two remembered times compared.
pub(super) async fn difference(
    State(shared): State<Shared>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let shot = compared(&query, shot(&shared, &query)?)?;
    let Moments { before, after } = query.moments(now_ns(&shared))?;
    let format = shot.format;
    picture(
        &shared,
        Ask::Difference {
            shot,
            before,
            after,
        },
        format,
    )
    .await
}

/// The seconds before a change against those after it.
pub(super) async fn change(
    State(shared): State<Shared>,
    Path(generation): Path<String>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let generation: u64 = generation
        .parse()
        .map_err(|_| Refusal::Malformed("a change's generation is a number".to_owned()))?;
    let host = query.host(&shared)?;
    let view = shared.view();
    let host = find(&view, &host)?;
    let instance = query.instance.as_deref();
    let entry = beginning_of(host, generation, instance).ok_or_else(|| {
        Refusal::Unknown(format!("no change {generation} of this host is remembered"))
    })?;
    if is_of_earlier_boot(&shared, entry.at_ms) {
        return Err(Refusal::Unknown(format!(
            "change {generation} was made before this machine was started, of which no graph is remembered"
        )));
    }
    let at_ns = entry.moment_ns;
    let mut shot = compared(&query, shot(&shared, &query)?)?;
    shot.title = format!("{}, change {generation}", shot.title);
    let Moments { before, after } =
        query::around(at_ns, query.seconds()?.unwrap_or(CHANGE_S), now_ns(&shared))?;
    let format = shot.format;
    picture(
        &shared,
        Ask::Difference {
            shot,
            before,
            after,
        },
        format,
    )
    .await
}

/// What can be seen of the host, and what is in the way of more.
#[derive(Debug, Serialize)]
pub(super) struct Capabilities {
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remembered: Option<Remembered>,
}

pub(super) async fn capabilities(
    State(shared): State<Shared>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<Json<Capabilities>, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let Shot {
        pid, own_profile, ..
    } = shot(&shared, &query)?;
    match ask(&shared, Ask::Capabilities { pid, own_profile })
        .await?
        .outcome
    {
        Outcome::Capabilities { steps, remembered } => Ok(Json(Capabilities { steps, remembered })),
        other => Err(refusal(other)),
    }
}

/// How good the last graphs were, newest last.
#[derive(Debug, Serialize)]
pub(super) struct Qualities {
    recent: Vec<Rated>,
}

#[derive(Debug, Serialize)]
struct Rated {
    kind: Kind,
    complete_percent: f64,
    unknown_percent: f64,
    quality: Quality,
}

pub(super) async fn quality(State(shared): State<Shared>) -> Result<Json<Qualities>, Refusal> {
    match ask(&shared, Ask::Quality).await?.outcome {
        Outcome::Quality { recent } => {
            let rate = |(kind, quality): (Kind, Quality)| Rated {
                kind,
                complete_percent: quality.complete_percent(),
                unknown_percent: quality.unknown_percent(),
                quality,
            };
            Ok(Json(Qualities {
                recent: recent.into_iter().map(rate).collect(),
            }))
        }
        other => Err(refusal(other)),
    }
}

/// What there is for `go tool pprof` and its like.
pub(super) async fn pprof_index() -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Profiles" } }
            body {
                h1 { "Profiles of the host" }
                ul { li { a href="profile?seconds=30" { "profile" } ": where its CPU time goes, gzipped, for go tool pprof" } }
                p { a href="/flamegraph" { "The same as a picture" } }
            }
        }
    };
    Html(page.into_string())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PprofQuery {
    seconds: Option<u64>,
    hz: Option<u32>,
    target: Option<query::Target>,
}

/// CPU time as a gzipped profile.
pub(super) async fn pprof_profile(
    State(shared): State<Shared>,
    query: Result<Query<PprofQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(PprofQuery {
        seconds,
        hz,
        target,
    }) = query.map_err(malformed)?;
    let query = GraphQuery {
        seconds: Some(seconds.unwrap_or(PPROF_S)),
        hz,
        target,
        ..GraphQuery::default()
    };
    let shot = Shot {
        format: Format::Pprof,
        ..shot(&shared, &query)?
    };
    let window_ms = query.window_ms()?;
    let mut response = if by_itself(&shared, &query, &shot).await? {
        own_picture(shot, window_ms).await?
    } else {
        picture(&shared, Ask::Next { shot, window_ms }, Format::Pprof).await?
    };
    let name = header::HeaderValue::from_static("attachment; filename=\"profile\"");
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// What tells of a change's beginning: the newest entry of that number, of one run of the host or of any.
fn beginning_of(host: &HostView, generation: u64, instance: Option<&str>) -> Option<Entry> {
    let tells = host
        .deeds
        .iter()
        .rev()
        .filter(|stored| stored.sort != Sort::Decision);
    let mut entries = tells.filter_map(|stored| stored.entry());
    // What tells of the trial's beginning counts, not of its end.
    entries.find(|entry| {
        let begins = match &entry.body {
            EntryBody::Outcome(outcome) => {
                outcome.generation.0 == generation && outcome.action == Action::Try
            }
            EntryBody::Intent(intent) => {
                intent.generation.0 == generation && intent.action == Action::Try
            }
            _ => false,
        };
        let own = entry.instance.as_ref().map(InstanceId::as_str);
        begins && (instance.is_none() || own == instance)
    })
}

/// Whether something is older than this run of the machine, so that its moment is by another boot-time clock. A clock that
/// people read is set from time to time, so what is close is taken for younger.
fn is_of_earlier_boot(shared: &Shared, at_ms: u64) -> bool {
    let age_ms = (shared.deps.wall_ms)().saturating_sub(at_ms);
    age_ms > (shared.deps.now)().as_boot_ns() / 1_000_000 + WALL_SLACK_MS
}

/// What is to be looked at, and how.
fn shot(shared: &Shared, query: &GraphQuery) -> Result<Shot, Refusal> {
    let view = shared.view();
    let (pid, title) = match query.target.unwrap_or_default() {
        query::Target::Own => (std::process::id(), "Trimtab itself".to_owned()),
        query::Target::Host => {
            let host = query.host(shared)?;
            let host = find(&view, &host)?;
            let unknown = || {
                Refusal::Unknown(
                    "the host's process is not known, so there is nothing to look at".to_owned(),
                )
            };
            (
                host.status.pid.ok_or_else(unknown)?,
                host.status.host.to_string(),
            )
        }
    };
    Ok(Shot {
        title,
        kind: query.kind.unwrap_or_default(),
        hz: query.hz()?,
        thread: query.thread.clone(),
        inlined: query.inlined.unwrap_or(false),
        view: query.view.unwrap_or_default(),
        format: query.format.unwrap_or_default(),
        own_profile: shared
            .deps
            .own_profile
            .clone()
            .filter(|_| query.target.unwrap_or_default() == query::Target::Host),
        ..Shot::of(pid)
    })
}

/// What is remembered is the host's CPU time alone, and nothing else must look like it.
fn remembered(query: &GraphQuery, shot: Shot) -> Result<Shot, Refusal> {
    let wrong = match (query.target.unwrap_or_default(), shot.kind) {
        (query::Target::Host, Kind::Cpu) => return Ok(shot),
        (query::Target::Host, Kind::Offcpu | Kind::Wall) => {
            "of the past CPU time alone is remembered: leave out `type`"
        }
        (query::Target::Own, _) => "of the past only the host's is remembered: leave out `target`",
    };
    Err(Refusal::Malformed(wrong.to_owned()))
}

/// What is compared is remembered, and there are formats that know no comparison.
fn compared(query: &GraphQuery, shot: Shot) -> Result<Shot, Refusal> {
    if !shot.format.compares() {
        let text =
            "a comparison is written as svg or folded: leave out `format`, or give one of these";
        return Err(Refusal::Malformed(text.to_owned()));
    }
    remembered(query, shot)
}

/// Whether the sidecar must look at itself from inside, because the kernel lets its profiler not.
async fn by_itself(shared: &Shared, query: &GraphQuery, shot: &Shot) -> Result<bool, Refusal> {
    if query.target != Some(query::Target::Own) || shot.kind != Kind::Cpu {
        return Ok(false);
    }
    let question = Ask::Capabilities {
        pid: shot.pid,
        own_profile: None,
    };
    match ask(shared, question).await?.outcome {
        Outcome::Capabilities { steps, .. } => Ok(!steps
            .iter()
            .any(|step| step.reached && step.rung.has_native_stacks())),
        other => Err(refusal(other)),
    }
}

/// The sidecar's own time, seen from inside.
async fn own_picture(shot: Shot, window_ms: u64) -> Result<Response, Refusal> {
    let format = shot.format;
    let taking = tokio::task::spawn_blocking(move || shoot_own(&shot, window_ms));
    match taking.await {
        Ok(Ok(bytes)) => Ok(drawn(format, bytes.into())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(Refusal::Later {
            after_s: window_ms.div_ceil(1_000),
            detail: "another graph of the same kind is being taken",
        }),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no graph of this process could be made");
            Err(Refusal::Internal)
        }
        Err(_) => Err(Refusal::Internal),
    }
}

fn drawn(format: Format, bytes: Bytes) -> Response {
    let mut response = ([(header::CONTENT_TYPE, format.media())], bytes).into_response();
    if format == Format::Svg {
        response.extensions_mut().insert(PICTURE);
    }
    response
}

async fn picture(shared: &Shared, question: Ask, format: Format) -> Result<Response, Refusal> {
    let FlameAnswer { outcome, bytes } = ask(shared, question).await?;
    match outcome {
        Outcome::Graph { .. } => Ok(drawn(format, bytes)),
        other => Err(refusal(other)),
    }
}

/// Asks the profiler.
async fn ask(shared: &Shared, ask: Ask) -> Result<FlameAnswer, Refusal> {
    let (answer, answered) = oneshot::channel();
    let call = FlameCall { ask, answer };
    let gone = |_| Refusal::Busy("the profiler cannot be asked now");
    shared
        .deps
        .flame
        .try_send(call)
        .map_err(|_| Refusal::Later {
            after_s: 1,
            detail: "too many graphs are asked for",
        })?;
    answered.await.map_err(gone)
}

fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Busy { retry_after_s } => Refusal::Later {
            after_s: retry_after_s,
            detail: "another graph of the same kind is being taken",
        },
        Outcome::Failed {
            because: Because::Unknown | Because::Denied,
            problem,
        } => Refusal::Unknown(problem),
        Outcome::Failed {
            because: Because::Internal,
            problem,
        } => {
            tracing::warn!(problem, "no graph could be made");
            Refusal::Busy("the profiler could not make the graph; ask again")
        }
        _ => Refusal::Internal,
    }
}

fn now_ns(shared: &Shared) -> u64 {
    (shared.deps.now)().as_boot_ns()
}

/// The one host, for those who do not name one.
fn only_host(view: &View) -> Option<String> {
    let mut hosts = view.hosts.keys();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.to_string()),
        _ => None,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it stands where a function of the error itself is asked for"
)]
fn malformed(rejection: QueryRejection) -> Refusal {
    Refusal::Malformed(rejection.body_text())
}
