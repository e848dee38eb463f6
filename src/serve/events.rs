//! New entries as server-sent events.
//!
//! A stream remembers only the number of the entry it sent last. Whatever is missing between that and the live entries comes
//! from the newest view, a few at a time, so a slow reader costs no memory. Where the view no longer holds it, or the id is of
//! another start of the sidecar, the stream says `resync` once, and the reader fetches the status and the decisions again.
//!
//! A reader that does not read at all is dropped by the connection's own write deadline: a body that nobody reads is never
//! polled, so a deadline in here would never fire.

use crate::serve::error::Refusal;
use crate::serve::{Shared, closed};
use crate::view::{Stored, View};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};
use trimtab_protocol::view::EntryId;

/// A comment is sent after this much silence, so that a dead connection is found.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this long; the reader resumes with a new one.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How many entries are taken from the view at once.
const BATCH: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    since: Option<String>,
    /// Whether the status of each host is wanted too, each time there is a new one.
    #[serde(default)]
    status: bool,
}

/// The stream.
pub(super) async fn stream(
    State(shared): State<Shared>,
    query: Result<Query<EventQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| Refusal::Malformed(error.body_text()))?;
    let busy = |_| Refusal::Busy("too many event streams are open");
    let permit = Arc::clone(&shared.streams).try_acquire_owned();
    let permit = permit.map_err(busy)?;
    let asked = headers.get("last-event-id");
    let after = match asked.map(|id| id.to_str().unwrap_or_default().to_owned()) {
        Some(id) => Some(id),
        None => query.since,
    };
    let feed = Feed::new(&shared, after, query.status, permit);
    let body = Body::from_stream(stream::unfold(feed, |mut feed| async move {
        let piece = feed.next().await?;
        Some((Ok::<_, Infallible>(piece), feed))
    }));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// One reader's place in the ledger.
struct Feed {
    view: watch::Receiver<Arc<View>>,
    live: broadcast::Receiver<Arc<Stored>>,
    closing: watch::Receiver<bool>,
    /// The number of the entry that was sent last.
    sent: u64,
    ready: VecDeque<Arc<Stored>>,
    greeted: bool,
    resync: bool,
    /// Whether entries may be missing between the last one sent and the live ones.
    behind: bool,
    /// Whether the status of each host is sent too, each time there is a new one.
    statuses: bool,
    ends: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn new(
        shared: &Shared,
        after: Option<String>,
        statuses: bool,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // First listen, then look: what is made in between is in both, and is sent once.
        let live = shared.deps.entries.subscribe();
        let view = shared.view();
        let wanted = after.map(|id| {
            let id = EntryId::try_from(id).ok();
            id.filter(|id| *id.boot == *view.boot && id.sequence <= view.last_sequence)
        });
        let (sent, resync) = match wanted {
            None => (view.last_sequence, false),
            Some(Some(id)) => (id.sequence, false),
            Some(None) => (view.last_sequence, true),
        };
        Self {
            view: shared.deps.view.clone(),
            live,
            closing: shared.closing.clone(),
            sent,
            ready: VecDeque::new(),
            greeted: false,
            resync,
            behind: true,
            statuses,
            ends: Instant::now() + LIFE,
            _permit: permit,
        }
    }

    /// The next piece of the stream, or its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        if self.behind && self.ready.is_empty() {
            self.catch_up();
        }
        if self.resync {
            self.resync = false;
            return Some(self.resync_event());
        }
        if let Some(entry) = self.ready.pop_front() {
            return Some(self.event(&entry));
        }
        loop {
            let (closing, ends) = (self.closing.clone(), self.ends);
            let end = async move {
                tokio::select! {
                    () = closed(closing) => {}
                    () = sleep_until(ends) => {}
                }
            };
            let next = tokio::select! {
                biased;
                () = end => return None,
                next = timeout(HEARTBEAT, self.live.recv()) => next,
                Ok(()) = self.view.changed(), if self.statuses => return Some(self.status_events()),
            };
            match next {
                Err(_silence) => return Some(Bytes::from_static(b": still here\n\n")),
                Ok(Ok(entry)) if entry.sequence <= self.sent => {}
                Ok(Ok(entry)) => return Some(self.event(&entry)),
                Ok(Err(RecvError::Lagged(_))) => {
                    self.behind = true;
                    self.catch_up();
                    if self.resync {
                        self.resync = false;
                        return Some(self.resync_event());
                    }
                    if let Some(entry) = self.ready.pop_front() {
                        return Some(self.event(&entry));
                    }
                }
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// Takes the next entries after the last one sent from the view, if it still holds them all.
    fn catch_up(&mut self) {
        let view = Arc::clone(&self.view.borrow());
        let missing = view.last_sequence.saturating_sub(self.sent);
        let mut held: Vec<&Arc<Stored>> = Vec::new();
        for host in view.hosts.values() {
            let newer = host.entries.iter().rev();
            held.extend(newer.take_while(|entry| entry.sequence > self.sent));
        }
        if u64::try_from(held.len()) != Ok(missing) {
            self.sent = view.last_sequence;
            self.resync = true;
            self.behind = false;
            return;
        }
        held.sort_unstable_by_key(|entry| entry.sequence);
        self.behind = held.len() > BATCH;
        self.ready.extend(held.into_iter().take(BATCH).cloned());
    }

    fn event(&mut self, entry: &Stored) -> Bytes {
        self.sent = entry.sequence;
        let (boot, sequence, word) = (&entry.boot, entry.sequence, entry.sort.word());
        let json = &entry.json;
        Bytes::from(format!(
            "id: {boot}-{sequence}\nevent: {word}\ndata: {json}\n\n"
        ))
    }

    /// The newest status of each host. It has no id, for a reader that resumes asks for entries and gets the newest status anyway.
    fn status_events(&mut self) -> Bytes {
        let view = Arc::clone(&self.view.borrow_and_update());
        let texts = view
            .hosts
            .values()
            .filter_map(|host| serde_json::to_string(&*host.status).ok());
        let events: String = texts
            .map(|json| format!("event: status\ndata: {json}\n\n"))
            .collect();
        Bytes::from(events)
    }

    fn resync_event(&self) -> Bytes {
        let boot = Arc::clone(&self.view.borrow().boot);
        let id = format!("{boot}-{}", self.sent);
        Bytes::from(format!(
            "id: {id}\nevent: resync\ndata: {{\"last\":\"{id}\"}}\n\n"
        ))
    }
}
