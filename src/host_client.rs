//! The typed client of the control API, over a Unix socket or over loopback TCP.
//!
//! Whatever is at the other end, a call ends within its deadline, reads a bounded number of bytes, and gives an [`Answer`]:
//! done, refused, or lost with the reason. It trusts nothing: on a socket the peer's user is checked before a byte is sent, over
//! TCP a token is shown, for there the kernel tells nothing of the peer; redirects are not followed, and an answer of another content type, version or shape is never taken for a state.
//!
//! One client keeps one connection and makes one call at a time. Stages that call at the same time have a client each, so a
//! slow change never delays a reading.

mod link;
mod operator;

use self::link::{Link, Reply, SendError};
use crate::place::HostPlace;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{Generation, PoolName};
use trimtab_protocol::problem::{self, Problem, ProblemKind};
use trimtab_protocol::state::HostState;
use trimtab_protocol::{API_VERSION, STATE_BYTES_MAX, path};
use trimtab_sys::process::{PidFd, effective_uid};

/// How long a call may take in all when nothing else is configured.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(1);

/// The longest answer that is read, apart from the state's.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is looked at and taken apart at once"
)]
pub enum Answer<T> {
    /// The host did as asked.
    Done(T),
    /// The host refused, and nothing changed.
    Refused(Problem),
    /// No answer, or none that can be read: whether the call took effect is not known.
    Lost(Absence),
}

/// The process at the other end of the socket, by the kernel's word.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its number; nothing when it lives in another process namespace.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// A handle of it, where the kernel gives one.
    pub handle: Option<Arc<PidFd>>,
    /// Which connection of this client told so, from 1.
    pub connection: u64,
}

/// A client of one host. A clone has the same settings and a connection of its own.
#[derive(Debug)]
pub struct HostClient {
    place: HostPlace,
    deadline: Duration,
    trusted_uids: Vec<u32>,
    connections: u64,
    link: Option<Link>,
    peer: Option<Peer>,
}

impl Clone for HostClient {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            deadline: self.deadline,
            trusted_uids: self.trusted_uids.clone(),
            connections: 0,
            link: None,
            peer: None,
        }
    }
}

impl HostClient {
    /// A client of the host that listens there. Nothing is opened before the first call.
    #[must_use]
    pub fn new(place: impl Into<HostPlace>, deadline: Duration) -> Self {
        Self {
            place: place.into(),
            deadline,
            trusted_uids: vec![effective_uid(), 0],
            connections: 0,
            link: None,
            peer: None,
        }
    }

    /// The same client, which trusts hosts of just these users instead of its own user and root.
    #[must_use]
    pub fn with_trusted_uids(mut self, uids: Vec<u32>) -> Self {
        self.trusted_uids = uids;
        self
    }

    /// How long one call may take in all.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Who was at the other end of the last connection; nothing before the first, and nothing over TCP.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Reads the whole state.
    pub async fn state(&mut self) -> Answer<HostState> {
        let answer = match self.send(Method::GET, path::STATE, Bytes::new()).await {
            Ok(reply) => read_state(&reply),
            Err(absence) => Answer::Lost(absence),
        };
        self.judge(answer)
    }

    /// Takes or renews the lease.
    pub async fn lease(&mut self, request: &LeaseRequest) -> Answer<LeaseGrant> {
        self.ask(Method::POST, path::LEASE, request).await
    }

    /// Gives the lease back.
    pub async fn release(&mut self, request: &LeaseRelease) -> Answer<()> {
        let sent = self.send(Method::DELETE, path::LEASE, encode(request));
        let answer = match sent.await {
            Ok(reply) if reply.status.is_success() => Answer::Done(()),
            Ok(reply) => read_failure(&reply),
            Err(absence) => Answer::Lost(absence),
        };
        self.judge(answer)
    }

    /// Begins a trial.
    pub async fn change(&mut self, request: &ChangeRequest) -> Answer<ChangeReceipt> {
        let answer = self.ask(Method::POST, path::CHANGES, request).await;
        self.judge(about(answer, request.generation, &request.pool))
    }

    /// Keeps a trial's values.
    pub async fn confirm(
        &mut self,
        generation: Generation,
        request: &EndTrialRequest,
    ) -> Answer<ChangeReceipt> {
        self.end_trial(generation, "confirm", request).await
    }

    /// Undoes a trial.
    pub async fn rollback(
        &mut self,
        generation: Generation,
        request: &EndTrialRequest,
    ) -> Answer<ChangeReceipt> {
        self.end_trial(generation, "rollback", request).await
    }

    async fn end_trial(
        &mut self,
        generation: Generation,
        verb: &str,
        request: &EndTrialRequest,
    ) -> Answer<ChangeReceipt> {
        let path = format!("{}/{generation}/{verb}", path::CHANGES);
        let answer = self.ask(Method::POST, &path, request).await;
        self.judge(about(answer, generation, &request.pool))
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        request: &impl Serialize,
    ) -> Answer<T> {
        let answer = match self.send(method, path, encode(request)).await {
            Ok(reply) => read(&reply),
            Err(absence) => Answer::Lost(absence),
        };
        self.judge(answer)
    }

    /// Ends the connection after an answer that no host gives: whoever keeps it open would keep us from the host that takes
    /// its place on the socket. And after one that the token is wrong, for it is read with each connection: it may have been
    /// changed on both sides since.
    fn judge<T>(&mut self, answer: Answer<T>) -> Answer<T> {
        let ends = match &answer {
            Answer::Done(_) => false,
            Answer::Refused(problem) => problem.kind == ProblemKind::Unauthenticated,
            Answer::Lost(_) => true,
        };
        if ends {
            self.link = None;
        }
        answer
    }

    /// One call with its total deadline. A call that fails or is dropped midway takes its connection with it, so that a late
    /// answer can never be taken for the answer to a later call.
    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Reply, Absence> {
        let deadline = self.deadline;
        tokio::time::timeout(deadline, self.exchange(method, path, body))
            .await
            .unwrap_or(Err(Absence::TimedOut))
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, Absence> {
        let limit = if method == Method::GET {
            STATE_BYTES_MAX
        } else {
            ANSWER_BYTES_MAX
        };
        if let Some(mut kept) = self.link.take() {
            match kept.send(&method, path, body.clone(), limit).await {
                Ok(reply) => return Ok(self.keep(kept, reply)),
                // The host closed the kept connection since the last call. What was never sent can be sent again, and so
                // can a reading.
                Err(SendError::NotSent) => {}
                Err(SendError::Unanswered) if method == Method::GET => {}
                Err(error) => return Err(error.absence()),
            }
        }
        self.connections += 1;
        let (mut link, peer) =
            Link::open(&self.place, &self.trusted_uids, self.connections).await?;
        self.peer = peer;
        match link.send(&method, path, body, limit).await {
            Ok(reply) => Ok(self.keep(link, reply)),
            Err(error) => Err(error.absence()),
        }
    }

    fn keep(&mut self, link: Link, reply: Reply) -> Reply {
        self.link = Some(link);
        reply
    }
}

fn encode(request: &impl Serialize) -> Bytes {
    serde_json::to_vec(request)
        .expect("requests have text keys and plain values")
        .into()
}

fn read_state(reply: &Reply) -> Answer<HostState> {
    match read::<HostState>(reply) {
        Answer::Done(state) if state.api != API_VERSION => Answer::Lost(Absence::WrongVersion),
        // The state of another version may have another shape, but it says its version in the same place.
        Answer::Lost(Absence::Garbage) if reply.is(StatusCode::OK, "application/json") => {
            let other = serde_json::from_slice::<Version>(&reply.body)
                .is_ok_and(|version| version.api != API_VERSION);
            Answer::Lost(if other {
                Absence::WrongVersion
            } else {
                Absence::Garbage
            })
        }
        answer => answer,
    }
}

#[derive(serde::Deserialize)]
struct Version {
    api: u32,
}

fn read<T: DeserializeOwned>(reply: &Reply) -> Answer<T> {
    if !reply.status.is_success() {
        return read_failure(reply);
    }
    if !reply.has_media_type("application/json") {
        return Answer::Lost(Absence::Garbage);
    }
    match serde_json::from_slice(&reply.body) {
        Ok(value) => Answer::Done(value),
        Err(_) => Answer::Lost(Absence::Garbage),
    }
}

fn read_failure<T>(reply: &Reply) -> Answer<T> {
    if reply.status.is_redirection() {
        return Answer::Lost(Absence::Redirected);
    }
    let refusal = reply.status.is_client_error() || reply.status.is_server_error();
    if refusal
        && reply.has_media_type(problem::CONTENT_TYPE)
        && let Ok(problem) = serde_json::from_slice(&reply.body)
    {
        return Answer::Refused(problem);
    }
    Answer::Lost(Absence::Garbage)
}

/// A receipt for another change is no answer to this one.
fn about(
    answer: Answer<ChangeReceipt>,
    generation: Generation,
    pool: &PoolName,
) -> Answer<ChangeReceipt> {
    match answer {
        Answer::Done(receipt) if receipt.generation != generation || receipt.pool != *pool => {
            Answer::Lost(Absence::Garbage)
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
