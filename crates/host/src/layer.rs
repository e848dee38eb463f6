//! A tower layer that puts an HTTP service, such as an axum router, into a pool.
//!
//! A request waits for a permit, and its permit lives until the body of the response has ended, for until then the worker is in
//! use. A full pool answers 503 with `Retry-After`, a late one 504. The timeout runs until the head of the response; a
//! body that has begun is never cut off, neither by the timeout nor by a shrink.
//!
//! A response with a status of 500 and above counts as failed, and a body that the client did not want to the end as abandoned.
//! Upgrades and event streams live as long as the client likes, so they are exempt from the limit and the timeout and only
//! counted: a request that asks for one is let through, and a response that turns out to be one gives its permit back.
//! So whoever can send such a request decides not to be limited; a service that must not allow it strips the headers first.
//!
//! The layer never reads a body and never changes a request or a response of the service.

mod body;
mod future;

use crate::deadline::taken_from;
use crate::pool::Pool;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Request, Response, StatusCode};
use http_body::Body;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

pub use body::PoolBody;
pub use future::PoolFuture;

/// Puts services into a pool.
#[derive(Clone, Debug)]
pub struct PoolLayer {
    pool: Pool,
    heeds: bool,
}

impl PoolLayer {
    /// A layer over this pool; several layers may share one pool.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, heeds: false }
    }

    /// Gives a request whose headers say how long its sender waits that much time instead of the pool's timeout, up to the pool's
    /// maximum; see [`deadline`](crate::deadline). Whoever can send such a header decides about it, so it is off unless asked for.
    #[must_use]
    pub fn heed_deadlines(mut self) -> Self {
        self.heeds = true;
        self
    }
}

impl<S> Layer<S> for PoolLayer {
    type Service = PoolService<S>;

    fn layer(&self, inner: S) -> PoolService<S> {
        PoolService {
            pool: self.pool.clone(),
            heeds: self.heeds,
            inner,
        }
    }
}

/// A service whose requests run in a pool.
#[derive(Clone, Debug)]
pub struct PoolService<S> {
    pool: Pool,
    heeds: bool,
    inner: S,
}

impl<S, Q, B> Service<Request<Q>> for PoolService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone,
    B: Body,
{
    type Response = Response<PoolBody<B>>;
    type Error = S::Error;
    type Future = PoolFuture<S, Request<Q>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let bodyless = request.method() == http::Method::HEAD;
        if asks_for_exemption(request.headers()) {
            let exempt = self.pool.exempt();
            return PoolFuture::exempt(exempt, self.inner.call(request));
        }
        let asked = self.heeds.then(|| taken_from(request.headers())).flatten();
        let mut enter = match asked {
            Some(time) => self.pool.enter_within(time),
            None => self.pool.enter(),
        };
        match enter.arrive() {
            Poll::Ready(Ok(permit)) => {
                PoolFuture::admitted(permit, self.inner.call(request), bodyless)
            }
            Poll::Ready(Err(refusal)) => PoolFuture::refused(refusal),
            Poll::Pending => {
                // The service that was made ready is the one that must be called.
                let spare = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, spare);
                PoolFuture::waiting(enter, ready, request, bodyless)
            }
        }
    }
}

/// Whether a request asks for an upgrade or an event stream.
fn asks_for_exemption(headers: &HeaderMap) -> bool {
    has_word(headers, &CONNECTION, "upgrade") || has_word(headers, &ACCEPT, EVENT_STREAM)
}

/// Whether a response is an upgrade or an event stream.
fn is_exempt(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || is_event_stream(headers)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let essence = kind.as_bytes().split_at_checked(EVENT_STREAM.len());
        essence.is_some_and(|(essence, parameters)| {
            essence.eq_ignore_ascii_case(EVENT_STREAM.as_bytes())
                && parameters.first().is_none_or(|next| b"; ".contains(next))
        })
    })
}

/// Whether a list of words, each perhaps with parameters, has this one.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.to_str().is_ok_and(|list| {
            list.split(',')
                .filter_map(|item| item.split(';').next())
                .any(|item| item.trim().eq_ignore_ascii_case(word))
        })
    })
}

const EVENT_STREAM: &str = "text/event-stream";
