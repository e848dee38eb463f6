//! The history in memory: samples and ledger entries, streamed in small pieces.
//!
//! Entries were serialised when they were made and go out as they are; samples are unpacked a few at a time. However much is
//! asked for, an answer never stands in memory as a whole.

use crate::serve::Shared;
use crate::serve::error::Refusal;
use crate::serve::routes::{find, json};
use crate::view::pack::SampleHistory;
use crate::view::ring::Ring;
use crate::view::{HostView, Sort, Stored};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::HostId;
use trimtab_protocol::view::EntryId;

/// How many items are answered when the caller does not say.
const LIMIT_DEFAULT: usize = 1_000;
/// How many items are answered at most.
const LIMIT_MAX: usize = 10_000;
/// Where the graph of before and after each entry's change is, in the words of RFC 9652.
const GRAPH_OF_CHANGE: &str =
    "\"/flamegraph/change/{generation}{?instance}\"; rel=\"related\"; title=\"before and after\"";
/// How many items make a piece of the answer.
const PIECE: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleQuery {
    since: Option<u64>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DecisionQuery {
    since: Option<String>,
    limit: Option<usize>,
    pool: Option<String>,
    action: Option<Action>,
    entry: Option<Sort>,
}

/// What was read, oldest first. After `since` the first ones, without it the last ones.
pub(super) async fn samples(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    query: Result<Query<SampleQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let view = shared.view();
    let host = find(&view, &id)?;
    let history = host.samples.clone();
    let after = query.since.unwrap_or(0);
    let newer = history
        .packed()
        .rev()
        .take_while(|packed| query.since.is_none() || SampleHistory::moment_ns(packed) > after)
        .cloned();
    let chosen = limited(newer.collect(), query.since.is_some(), query.limit);
    let pieces = chosen.chunks(PIECE).map(<[_]>::to_vec).collect::<Vec<_>>();
    let texts = pieces.into_iter().map(move |piece| {
        let texts = piece
            .iter()
            .filter_map(|packed| serde_json::to_string(&history.unpack(packed)).ok());
        texts.collect::<Vec<String>>().join(",")
    });
    Ok(listing(&host.status.host, "samples", texts))
}

/// Ledger entries, oldest first. After `since` the first ones, without it the last ones.
pub(super) async fn decisions(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    query: Result<Query<DecisionQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(malformed)?;
    let since = query.since.map(EntryId::try_from).transpose();
    let since = since.map_err(Refusal::Malformed)?;
    let view = shared.view();
    let host = find(&view, &id)?;
    // An id of another start says nothing about these numbers.
    let since = since.filter(|id| *id.boot == *view.boot);
    let after = since.as_ref().map_or(0, |id| id.sequence);
    let newer = source(host, query.action, query.entry)
        .iter()
        .rev()
        .take_while(|entry| since.is_none() || entry.sequence > after)
        .filter(|entry| {
            query
                .action
                .is_none_or(|action| entry.action == Some(action))
        })
        .filter(|entry| query.entry.is_none_or(|sort| entry.sort == sort))
        .filter(|entry| query.pool.is_none() || query.pool.as_deref() == entry.pool.as_deref())
        .cloned();
    let chosen: Vec<Arc<Stored>> = limited(newer.collect(), since.is_some(), query.limit);
    let pieces = chosen.chunks(PIECE).map(<[_]>::to_vec).collect::<Vec<_>>();
    let texts = pieces.into_iter().map(|piece| {
        let texts: Vec<&str> = piece.iter().map(|entry| &*entry.json).collect();
        texts.join(",")
    });
    let mut response = listing(&host.status.host, "entries", texts);
    let name = HeaderName::from_static("link-template");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(GRAPH_OF_CHANGE));
    Ok(response)
}

/// Where entries of this action and sort reach furthest back.
fn source(host: &HostView, action: Option<Action>, sort: Option<Sort>) -> &Ring<Arc<Stored>> {
    let oldest = |ring: &Ring<Arc<Stored>>| ring.iter().next().map(|entry| entry.sequence);
    let is_deed = action.is_some_and(|action| !matches!(action, Action::Hold | Action::Advise))
        || sort.is_some_and(|sort| sort != Sort::Decision);
    if is_deed && oldest(&host.deeds) < oldest(&host.entries) {
        &host.deeds
    } else {
        &host.entries
    }
}

/// Turns newest-first into oldest-first, and keeps the oldest or the newest of them.
fn limited<T>(mut newest_first: Vec<T>, keep_oldest: bool, limit: Option<usize>) -> Vec<T> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    if !keep_oldest {
        newest_first.truncate(limit);
    }
    newest_first.reverse();
    newest_first.truncate(limit);
    newest_first
}

/// `{"host":"…","NAME":[…]}`, piece by piece.
fn listing(
    host: &HostId,
    name: &str,
    pieces: impl Iterator<Item = String> + Send + 'static,
) -> Response {
    let host = serde_json::to_string(host).unwrap_or_default();
    let head = format!("{{\"host\":{host},\"{name}\":[");
    let pieces = pieces.enumerate().map(|(at, piece)| match at {
        0 => piece,
        _ => format!(",{piece}"),
    });
    let all = std::iter::once(head)
        .chain(pieces)
        .chain(std::iter::once("]}".to_owned()))
        .map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    json(Body::from_stream(stream::iter(all)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it stands where a function of the error itself is asked for"
)]
fn malformed(rejection: QueryRejection) -> Refusal {
    Refusal::Malformed(rejection.body_text())
}
