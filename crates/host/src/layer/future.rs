//! A request on its way through a pool, up to the head of its response.

use super::body::{Hold, PoolBody};
use super::is_exempt;
use crate::deadline;
use crate::pool::{Enter, Exempt, Permit, PoolError};
use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower_service::Service;

pin_project! {
    /// The future of a [`PoolService`](super::PoolService).
    pub struct PoolFuture<S, Q>
    where
        S: Service<Q>,
    {
        #[pin]
        state: State<S, Q, S::Future>,
        bodyless: bool,
    }
}

pin_project! {
    #[project = Projected]
    enum State<S, Q, F> {
        // In a box, so that the requests that need not wait are not moved about with room for it.
        Waiting { entry: Option<Box<Entry<S, Q>>> },
        // The fields stand in the order in which they must be dropped: the work before its permit.
        Running {
            #[pin]
            work: F,
            hold: Option<Hold>,
        },
        Refused { refusal: PoolError },
        Done,
    }
}

/// A request that waits for its permit.
struct Entry<S, Q> {
    enter: Enter,
    service: S,
    request: Q,
}

impl<S: Service<Q>, Q> PoolFuture<S, Q> {
    pub(super) fn admitted(permit: Permit, work: S::Future, bodyless: bool) -> Self {
        Self {
            state: State::running(Hold::Permit(permit), work),
            bodyless,
        }
    }

    pub(super) fn exempt(exempt: Exempt, work: S::Future) -> Self {
        Self {
            state: State::running(Hold::Exempt(exempt), work),
            bodyless: false,
        }
    }

    pub(super) fn refused(refusal: PoolError) -> Self {
        Self {
            state: State::Refused { refusal },
            bodyless: false,
        }
    }

    pub(super) fn waiting(enter: Enter, service: S, request: Q, bodyless: bool) -> Self {
        let entry = Entry {
            enter,
            service,
            request,
        };
        Self {
            state: State::Waiting {
                entry: Some(Box::new(entry)),
            },
            bodyless,
        }
    }
}

impl<S, Q, F> State<S, Q, F> {
    fn running(hold: Hold, work: F) -> Self {
        Self::Running {
            work,
            hold: Some(hold),
        }
    }
}

impl<S, Q, B> Future for PoolFuture<S, Q>
where
    S: Service<Q, Response = Response<B>>,
    B: Body,
{
    type Output = Result<Response<PoolBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                Projected::Waiting { entry } => {
                    let Some(waiting) = entry else {
                        unreachable!("an entry stands here until it is answered");
                    };
                    let entered = ready!(Pin::new(&mut waiting.enter).poll(context));
                    match (entered, entry.take()) {
                        (Ok(permit), Some(mut entry)) => {
                            let work = entry.service.call(entry.request);
                            State::running(Hold::Permit(permit), work)
                        }
                        (Err(refusal), _) => State::Refused { refusal },
                        (Ok(_), None) => unreachable!("it stood there just now"),
                    }
                }
                Projected::Running { work, hold } => {
                    let ended = ready!(poll_running(work, hold, context));
                    let hold = hold.take();
                    // The work is dropped before its permit goes back.
                    this.state.set(State::Done);
                    return Poll::Ready(answer(ended, hold, *this.bodyless));
                }
                Projected::Refused { refusal } => {
                    let response = refused(*refusal);
                    this.state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                Projected::Done => unreachable!("polled after it was ready"),
            };
            this.state.set(next);
        }
    }
}

impl<S: Service<Q>, Q> fmt::Debug for PoolFuture<S, Q> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting { .. } => "waiting",
            State::Running { .. } => "running",
            State::Refused { .. } => "refused",
            State::Done => "done",
        };
        out.debug_struct("PoolFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Polls the service; `None` means that the time is up.
fn poll_running<F: Future>(
    work: Pin<&mut F>,
    hold: &mut Option<Hold>,
    context: &mut Context<'_>,
) -> Poll<Option<F::Output>> {
    match hold {
        None => work.poll(context).map(Some),
        Some(Hold::Exempt(exempt)) => {
            let polled = exempt.pool().poll_measured(|| work.poll(context));
            polled.map(Some)
        }
        Some(Hold::Permit(permit)) => {
            let slot = permit.slot_mut();
            let polled = {
                let _back = deadline::enter(Some(slot.deadline()));
                slot.pool().poll_measured(|| work.poll(context))
            };
            match polled {
                Poll::Ready(done) => {
                    slot.disarm();
                    Poll::Ready(Some(done))
                }
                Poll::Pending => slot.poll_deadline(context).map(|()| None),
            }
        }
    }
}

/// The response with its body wrapped, or the pool's own when the service was late.
fn answer<B: Body, E>(
    ended: Option<Result<Response<B>, E>>,
    hold: Option<Hold>,
    bodyless: bool,
) -> Result<Response<PoolBody<B>>, E> {
    match (ended, hold) {
        (Some(Ok(response)), Some(hold)) => {
            let hold = if is_exempt(response.status(), response.headers()) {
                hold.into_exempt()
            } else {
                hold
            };
            Ok(PoolBody::wrap(response, hold, bodyless))
        }
        (Some(Err(error)), hold) => {
            if let Some(Hold::Permit(permit)) = hold {
                permit.fail();
            }
            Err(error)
        }
        (None, Some(Hold::Permit(permit))) => {
            permit.time_out();
            Ok(refused(PoolError::TimedOut { waited: false }))
        }
        (Some(Ok(_)), None) | (None, _) => unreachable!("running work holds something"),
    }
}

/// The pool's own response.
fn refused<B: Body>(refusal: PoolError) -> Response<PoolBody<B>> {
    let mut response = Response::new(PoolBody::empty());
    match refusal {
        PoolError::Full { retry_after } => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            let seconds = HeaderValue::from(whole_seconds(retry_after));
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        PoolError::TimedOut { .. } => *response.status_mut() = StatusCode::GATEWAY_TIMEOUT,
    }
    response
}

/// Rounded up, for coming too early is in vain.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}
