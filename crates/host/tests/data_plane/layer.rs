//! The layer around an axum router.

use crate::support::{apply, assert_drained, busy_and_queued, figures, outcomes, pool, settle};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tower::ServiceExt;
use trimtab_host::layer::PoolLayer;
use trimtab_host::pool::Pool;

/// A body whose frames come out of a channel.
struct Frames(mpsc::Receiver<&'static str>);

impl axum::body::HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|sent| sent.map(|text| Ok(Frame::data(Bytes::from(text)))))
    }
}

/// A body that breaks at once.
struct Broken;

impl axum::body::HttpBody for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::other("broken"))))
    }
}

fn mistake() -> &'static str {
    panic!("the handler's own mistake")
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("valid")
}

async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    let Ok(response) = router.clone().oneshot(request).await;
    response
}

/// A router whose `/` answers after a permit of the gate.
fn gated(pool: &Pool, gate: &Arc<Semaphore>) -> Router {
    let gate = Arc::clone(gate);
    let handler = move || async move {
        gate.acquire().await.expect("open").forget();
        "done"
    };
    Router::new()
        .route("/", get(handler))
        .layer(PoolLayer::new(pool.clone()))
}

/// A router whose `/` answers with a body out of a channel, and that channel.
fn streaming(pool: &Pool) -> (Router, mpsc::Sender<&'static str>) {
    let (sender, frames) = mpsc::channel(4);
    let frames = Arc::new(Mutex::new(Some(frames)));
    let handler = move || async move {
        let frames = frames.lock().await.take().expect("asked once");
        Body::new(Frames(frames))
    };
    let router = Router::new()
        .route("/", get(handler))
        .route_layer(PoolLayer::new(pool.clone()));
    (router, sender)
}

fn answering<R: IntoResponse + Clone + Send + Sync + 'static>(pool: &Pool, response: R) -> Router {
    Router::new()
        .route("/", any(move || async move { response }))
        .layer(PoolLayer::new(pool.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_request_holds_its_permit_until_its_body_has_ended() {
    let pool = pool(1, 0);
    let router = answering(&pool, "hello");
    let response = send(&router, request("/")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert!(!response.body().is_end_stream());
    assert_eq!(busy_and_queued(&pool), (1, 0));
    let body = response.into_body().collect().await.expect("whole");
    assert_eq!(body.to_bytes(), "hello");
    assert_eq!(outcomes(&pool), [1, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_answers_503_and_says_when_to_come_back() {
    let (pool, gate) = (pool(1, 1), Arc::new(Semaphore::new(0)));
    let router = gated(&pool, &gate);
    let first = tokio::spawn(router.clone().oneshot(request("/")));
    let second = tokio::spawn(router.clone().oneshot(request("/")));
    settle().await;
    assert_eq!(busy_and_queued(&pool), (1, 1));
    let refused = send(&router, request("/")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    assert!(refused.body().is_end_stream());
    gate.add_permits(2);
    for task in [first, second] {
        let Ok(response) = task.await.expect("ended");
        let body = response.into_body().collect().await.expect("whole");
        assert_eq!(body.to_bytes(), "done");
    }
    assert_eq!(outcomes(&pool), [2, 0, 1, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_gets_504_whether_it_ran_or_waited() {
    let (pool, gate) = (pool(1, 1), Arc::new(Semaphore::new(0)));
    let router = gated(&pool, &gate);
    let running = tokio::spawn(router.clone().oneshot(request("/")));
    let waiting = tokio::spawn(router.clone().oneshot(request("/")));
    for task in [running, waiting] {
        let Ok(response) = task.await.expect("ended");
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
    assert_eq!(outcomes(&pool), [0, 0, 0, 2, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_body_goes_on_across_a_shrink_and_past_the_timeout() {
    let pool = pool(4, 0);
    let (router, frames) = streaming(&pool);
    let mut body = send(&router, request("/")).await.into_body();
    frames.send("one").await.expect("read");
    let first = body.frame().await.expect("a frame").expect("whole");
    assert_eq!(first.into_data().expect("data"), "one");
    apply(&pool, "workers", 1).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(busy_and_queued(&pool), (1, 0));
    frames.send("two").await.expect("read");
    drop(frames);
    let rest = body.collect().await.expect("whole").to_bytes();
    assert_eq!(rest, "two");
    assert_eq!(outcomes(&pool), [1, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_client_did_not_want_to_the_end_is_abandoned() {
    let pool = pool(1, 0);
    let (router, frames) = streaming(&pool);
    let response = send(&router, request("/")).await;
    drop(response);
    assert!(frames.is_closed());
    assert_eq!(outcomes(&pool), [0, 0, 0, 0, 1, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_server_error_or_a_broken_body_counts_as_failed() {
    let pool = pool(1, 0);
    let failing = answering(&pool, (StatusCode::INTERNAL_SERVER_ERROR, "sorry"));
    let response = send(&failing, request("/")).await;
    response.into_body().collect().await.expect("whole");
    let breaking = Router::new()
        .route("/", get(|| async { Body::new(Broken) }))
        .layer(PoolLayer::new(pool.clone()));
    let response = send(&breaking, request("/")).await;
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(outcomes(&pool), [0, 2, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_is_complete_at_its_head() {
    let pool = pool(1, 0);
    drop(send(&answering(&pool, StatusCode::NO_CONTENT), request("/")).await);
    let mut head = request("/");
    *head.method_mut() = Method::HEAD;
    drop(send(&answering(&pool, "not sent"), head).await);
    assert_eq!(outcomes(&pool), [2, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_body_of_announced_length_is_complete_with_its_last_byte() {
    let pool = pool(1, 0);
    let (sender, frames) = mpsc::channel(4);
    let frames = Arc::new(Mutex::new(Some(frames)));
    let handler = move || async move {
        let frames = frames.lock().await.take().expect("asked once");
        ([(CONTENT_LENGTH, "3")], Body::new(Frames(frames)))
    };
    let router = Router::new()
        .route("/", get(handler))
        .layer(PoolLayer::new(pool.clone()));
    let mut body = send(&router, request("/")).await.into_body();
    sender.send("one").await.expect("read");
    body.frame().await.expect("a frame").expect("whole");
    drop(body);
    assert_eq!(outcomes(&pool), [1, 0, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn upgrades_and_event_streams_pass_a_full_pool_and_have_no_timeout() {
    let pool = pool(1, 0);
    let permit = pool.enter().await.expect("free");
    let router = answering(&pool, "passed");
    for (name, value) in [
        (CONNECTION, "keep-alive, Upgrade"),
        (ACCEPT, "text/event-stream;q=1, */*"),
    ] {
        let mut exempt = request("/");
        exempt
            .headers_mut()
            .insert(name, value.parse().expect("a header"));
        let response = send(&router, exempt).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(figures(&pool).gauges.tasks, Some(2));
    }
    let refused = send(&router, request("/")).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    permit.complete();
    assert_eq!(outcomes(&pool), [1, 0, 1, 0, 0, 2]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_turns_out_to_be_an_event_stream_gives_its_permit_back() {
    let pool = pool(1, 0);
    let events = (
        [(CONTENT_TYPE, "text/event-stream; charset=utf-8")],
        "data: 1",
    );
    let response = send(&answering(&pool, events), request("/")).await;
    assert_eq!(busy_and_queued(&pool), (0, 0));
    assert_eq!(figures(&pool).gauges.tasks, Some(1));
    drop(response);
    drop(
        send(
            &answering(&pool, StatusCode::SWITCHING_PROTOCOLS),
            request("/"),
        )
        .await,
    );
    assert_eq!(outcomes(&pool), [0, 0, 0, 0, 0, 2]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_went_away_is_abandoned() {
    let (pool, gate) = (pool(1, 1), Arc::new(Semaphore::new(0)));
    let router = gated(&pool, &gate);
    let running = tokio::spawn(router.clone().oneshot(request("/")));
    let waiting = tokio::spawn(router.clone().oneshot(request("/")));
    settle().await;
    for task in [waiting, running] {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert_eq!(outcomes(&pool), [0, 0, 0, 0, 2, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_handler_gives_the_permit_back() {
    let pool = pool(1, 0);
    let router = Router::new()
        .route("/", get(|| async { mistake() }))
        .layer(PoolLayer::new(pool.clone()));
    let panicked = tokio::spawn(router.oneshot(request("/")));
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(outcomes(&pool), [0, 1, 0, 0, 0, 0]);
    assert_drained(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_callers_deadline_is_heeded_where_that_is_asked_for() {
    let (pool, gate) = (pool(4, 0), Arc::new(Semaphore::new(0)));
    let waits = move || async move {
        gate.acquire().await.expect("open").forget();
    };
    let plain = Router::new().route("/", get(waits));
    let layer = PoolLayer::new(pool.clone());
    for (layer, seconds) in [(layer.clone(), 30), (layer.heed_deadlines(), 3)] {
        let router = plain.clone().layer(layer);
        let mut asks = request("/");
        let header = "3000".parse().expect("a header");
        asks.headers_mut().insert("x-request-timeout-ms", header);
        let began = tokio::time::Instant::now();
        let response = send(&router, asks).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        // What passes on the real clock up to the first wait is taken off.
        let lasted = began.elapsed() + Duration::from_millis(500);
        assert_eq!(lasted.as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_passes_the_rest_of_its_time_on() {
    let pool = pool(1, 0);
    let asks = || async {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let mut headers = http::HeaderMap::new();
        trimtab_host::deadline::pass_on(&mut headers);
        headers
    };
    let router = Router::new()
        .route("/", get(asks))
        .layer(PoolLayer::new(pool.clone()));
    let response = send(&router, request("/")).await;
    let passed = &response.headers()["x-request-timeout-ms"];
    let passed_ms: u64 = passed.to_str().expect("text").parse().expect("a number");
    assert!(passed_ms <= 29_000 && passed_ms > 28_000, "{passed_ms}");
}
