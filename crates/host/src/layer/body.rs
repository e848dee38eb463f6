//! The body of a response that holds its pool's permit until it ends.

use crate::pool::{Exempt, Permit};
use bytes::Buf;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// A response's body as the service made it. Its last frame gives the permit back.
    #[derive(Debug)]
    pub struct PoolBody<B> {
        #[pin]
        body: Option<B>,
        hold: Option<Hold>,
        failed: bool,
        // How many bytes are still to come, if that was announced.
        remaining: Option<u64>,
    }
}

/// What a running response holds.
#[derive(Debug)]
pub(super) enum Hold {
    Permit(Permit),
    Exempt(Exempt),
}

impl<B: Body> PoolBody<B> {
    /// The pool's own answer: nothing.
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            hold: None,
            failed: false,
            remaining: None,
        }
    }

    /// Wraps the body of a response; `bodyless` says that none is sent, as to a HEAD request.
    pub(super) fn wrap(response: Response<B>, hold: Hold, bodyless: bool) -> Response<Self> {
        let status = response.status();
        let failed = status.is_server_error();
        let unsent =
            bodyless || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        // A server stops at the announced length and never asks for the end after it.
        let announced = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| {
            let remaining = announced.or_else(|| body.size_hint().exact());
            let ended = unsent || body.is_end_stream() || remaining == Some(0);
            let mut wrapped = Self {
                body: Some(body),
                hold: Some(hold),
                failed,
                remaining,
            };
            if ended {
                finish(&mut wrapped.hold, failed);
            }
            wrapped
        })
    }
}

impl<B: Body> Body for PoolBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        let mut poll = || body.as_mut().poll_frame(context);
        let frame = ready!(match this.hold.as_ref() {
            Some(hold) => hold.poll_measured(poll),
            None => poll(),
        });
        let ended = match &frame {
            None => true,
            Some(Err(_)) => {
                *this.failed = true;
                true
            }
            Some(Ok(frame)) => {
                let sent = frame.data_ref().map_or(0, Buf::remaining);
                let sent = u64::try_from(sent).unwrap_or(u64::MAX);
                *this.remaining = this.remaining.map(|left| left.saturating_sub(sent));
                *this.remaining == Some(0) || body.is_end_stream()
            }
        };
        if ended {
            finish(this.hold, *this.failed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Hold {
    /// The response is an upgrade or an event stream: from here on it runs outside the limit.
    pub(super) fn into_exempt(self) -> Self {
        match self {
            Self::Permit(permit) => Self::Exempt(permit.into_exempt()),
            Self::Exempt(exempt) => Self::Exempt(exempt),
        }
    }

    /// Runs one poll of the response's work and measures it when it is its turn.
    pub(super) fn poll_measured<T>(&self, poll: impl FnOnce() -> T) -> T {
        match self {
            Self::Permit(permit) => permit.slot().pool().poll_measured(poll),
            Self::Exempt(exempt) => exempt.pool().poll_measured(poll),
        }
    }
}

fn finish(hold: &mut Option<Hold>, failed: bool) {
    match hold.take() {
        Some(Hold::Permit(permit)) if failed => permit.fail(),
        Some(Hold::Permit(permit)) => permit.complete(),
        Some(Hold::Exempt(exempt)) => drop(exempt),
        None => {}
    }
}
