//! The accept loop over real sockets for its seats, and over pipes with a paused clock for its deadlines.

#[cfg(feature = "tls")]
mod tls;

use super::*;
use crate::serve::{Entrance, Reach};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::oneshot;
use tokio::time::Instant;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GUARD: Duration = Duration::from_secs(600);

fn nobody() -> PeerAddress {
    PeerAddress(SocketAddr::from(([127, 0, 0, 1], 1)))
}

fn router() -> Router {
    Router::new().route("/", get(async || "hello"))
}

/// What a peer reads until the connection ends.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the last byte says the same as an end.
    let _ended = timeout(GUARD, stream.read_to_end(&mut bytes))
        .await
        .expect("it ends");
    String::from_utf8(bytes).unwrap()
}

/// One answer with a known body.
async fn answer(stream: &mut TcpStream, body: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while !bytes.ends_with(body.as_bytes()) {
            assert_ne!(
                stream.read_buf(&mut bytes).await.unwrap(),
                0,
                "the answer is whole"
            );
        }
    };
    timeout(GUARD, reading).await.expect("an answer comes");
    String::from_utf8(bytes).unwrap()
}

fn piped(limits: Limits) -> (tokio::io::DuplexStream, watch::Sender<bool>) {
    let (peer, ours) = duplex(1 << 16);
    let (close, closing) = watch::channel(false);
    let (heads, ours) = patient(ours, limits);
    tokio::spawn(serve(
        ours,
        heads,
        router(),
        limits,
        (None, nobody()),
        closing,
    ));
    (peer, close)
}

struct Server {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

async fn server(limits: Limits, router: Router) -> Server {
    let (listener, addr) = crate::serve::bind("127.0.0.1:0".parse().unwrap(), Reach::Loopback)
        .await
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (close, _) = watch::channel(false);
    let task = tokio::spawn(run((listener, None), router, limits, close, async {
        drop(stopped.await);
    }));
    Server { addr, stop, task }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_nothing_is_dropped_after_five_seconds() {
    let (mut peer, _close) = piped(Limits::default());
    let began = Instant::now();
    assert_eq!(rest(&mut peer).await, "");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_never_finished_is_dropped_after_ten_seconds() {
    let (mut peer, _close) = piped(Limits::default());
    let began = Instant::now();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
    let answer = rest(&mut peer).await;
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_rest_a_minute_between_two_requests() {
    let (mut peer, _close) = piped(Limits::default());
    let began = Instant::now();
    peer.write_all(ASK).await.unwrap();
    sleep(Duration::from_secs(45)).await;
    peer.write_all(ASK).await.unwrap();
    let answers = rest(&mut peer).await;
    assert_eq!(answers.matches("200 OK").count(), 2, "{answers}");
    assert_eq!(began.elapsed().as_secs(), 105);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_is_refused() {
    for head in [
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "a".repeat(20_000)
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: a\r\n".repeat(100)
        ),
    ] {
        let (mut peer, _close) = piped(Limits::default());
        peer.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut peer).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resting_connection_ends_when_the_server_does() {
    let (mut peer, close) = piped(Limits::default());
    peer.write_all(ASK).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    close.send_replace(true);
    assert!(rest(&mut peer).await.contains("hello"));
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test]
async fn beyond_the_seats_connections_are_told_and_a_seat_that_is_left_is_free() {
    let limits = Limits {
        connections: 4,
        reserved: 0,
        ..Limits::default()
    };
    let server = server(limits, router()).await;
    let mut seated = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        answer(&mut stream, "hello").await;
        seated.push(stream);
    }
    let mut refused = TcpStream::connect(server.addr).await.unwrap();
    refused.write_all(ASK).await.unwrap();
    let told = rest(&mut refused).await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");

    drop(seated.pop());
    let asking = async {
        loop {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(ASK).await.unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.unwrap();
            if first == *b"HTTP/1.1 200" {
                return;
            }
        }
    };
    timeout(GUARD, asking).await.expect("the seat comes back");
}

#[tokio::test]
async fn the_last_seats_answer_health_alone() {
    let limits = Limits {
        connections: 3,
        reserved: 1,
        ..Limits::default()
    };
    let stage = crate::serve::tests::Stage::new();
    let (listener, addr) = crate::serve::bind("127.0.0.1:0".parse().unwrap(), Reach::Loopback)
        .await
        .unwrap();
    let open = Entrance::default();
    let router = crate::serve::router(stage.deps(), addr, open, stage.close.subscribe());
    let (close, _) = watch::channel(false);
    let listening = (listener, None);
    tokio::spawn(run(
        listening,
        router,
        limits,
        close,
        std::future::pending(),
    ));
    let ask = |path: &'static str| async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(GUARD, stream.read_exact(&mut first))
            .await
            .expect("an answer")
            .unwrap();
        (String::from_utf8(first.to_vec()).unwrap(), stream)
    };
    let (first, _one) = ask("/").await;
    let (second, _two) = ask("/metrics").await;
    assert_eq!((&*first, &*second), ("HTTP/1.1 200", "HTTP/1.1 200"));
    let (third, held) = ask("/metrics").await;
    assert_eq!(third, "HTTP/1.1 503");
    drop(held);
    let asking = async {
        // Until the server has noticed that the seat is free.
        loop {
            let (first, _stream) = ask("/livez").await;
            if first == "HTTP/1.1 200" {
                return;
            }
        }
    };
    timeout(GUARD, asking).await.expect("health is answered");
}

#[tokio::test]
async fn the_end_waits_for_open_answers_but_not_for_ever() {
    let limits = Limits {
        drain: Duration::from_millis(50),
        ..Limits::default()
    };
    let router = Router::new().route("/", get(std::future::pending::<&'static str>));
    let server = server(limits, router).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(ASK).await.unwrap();
    server.stop.send(()).unwrap();
    timeout(GUARD, server.task).await.expect("it ends").unwrap();
    assert_eq!(rest(&mut stream).await, "");
    TcpStream::connect(server.addr)
        .await
        .expect_err("nobody listens any more");
}
