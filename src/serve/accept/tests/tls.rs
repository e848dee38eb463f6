//! The accept loop behind TLS: a real client over loopback, and those that speak something else or never come to an end.

use super::*;
use crate::tls::{Certificates, TlsFiles, connect};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/tls").join(name)
}

fn certificates() -> (TempDir, Arc<Certificates>) {
    let root = tempfile::tempdir().unwrap();
    let key = root.path().join("key.pem");
    std::fs::copy(fixture("one.key.pem"), &key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let certificate = fixture("one.pem");
    let read = Certificates::read(TlsFiles { certificate, key }).unwrap();
    (root, Arc::new(read))
}

/// A server with so many seats, which gives a handshake and a first byte so long.
async fn secure_server(connections: usize, first_byte: Duration) -> (TempDir, SocketAddr) {
    let (root, certificates) = certificates();
    let address = "127.0.0.1:0".parse().unwrap();
    let (listener, addr) = crate::serve::bind(address, Reach::Loopback).await.unwrap();
    let limits = Limits {
        connections,
        reserved: 0,
        first_byte,
        ..Limits::default()
    };
    let (close, _) = watch::channel(false);
    let listening = (listener, Some(certificates));
    tokio::spawn(run(
        listening,
        router(),
        limits,
        close,
        std::future::pending(),
    ));
    (root, addr)
}

/// What one request is answered over TLS, by a client that trusts one certificate and expects one name.
async fn told(addr: SocketAddr, trusted: &str, name: &str) -> Result<String, String> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let trusted = fixture(trusted);
    let connecting = connect(&trusted, name, stream);
    let connected = timeout(GUARD, connecting).await.expect("it ends");
    let mut stream = connected.map_err(|error| format!("{error:?}"))?;
    let asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream
        .write_all(asked)
        .await
        .map_err(|error| error.to_string())?;
    Ok(rest(&mut stream).await)
}

const LONG: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_client_that_trusts_the_certificate_is_answered_and_no_other_asks() {
    let (_root, addr) = secure_server(8, LONG).await;
    for name in ["127.0.0.1", "localhost"] {
        let answer = told(addr, "one.pem", name).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
            "{answer}"
        );
    }
    let error = told(addr, "other.pem", "127.0.0.1").await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let error = told(addr, "one.pem", "127.0.0.2").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    told(addr, "one.pem", "127.0.0.1")
        .await
        .expect("they did no harm");
}

#[tokio::test]
async fn whoever_speaks_without_encryption_is_answered_nothing() {
    let (_root, addr) = secure_server(8, LONG).await;
    for said in [ASK, &b"\x16\x03\x01\xff\xff"[..], b"\x80\x00", b"\0"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        // A reset says the same as an end.
        let _ended = timeout(GUARD, stream.read_to_end(&mut bytes))
            .await
            .expect("it ends");
        assert!(bytes.len() <= 7, "at most an alert: {bytes:?}");
    }
    told(addr, "one.pem", "127.0.0.1")
        .await
        .expect("they did no harm");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_left_however_it_drips() {
    // The beginning of a greeting that announces more than ever comes.
    let greeting = [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[0; 500],
    ]
    .concat();
    for every in [None, Some(Duration::from_millis(100))] {
        let (_root, certificates) = certificates();
        let (mut peer, ours) = duplex(1 << 16);
        let (_, ours) = patient(ours, Limits::default());
        let began = Instant::now();
        let dripping = async {
            for byte in greeting.iter().take(if every.is_some() { 500 } else { 0 }) {
                peer.write_all(&[*byte]).await.unwrap();
                sleep(every.unwrap_or_default()).await;
            }
            std::future::pending::<()>().await;
        };
        let left = tokio::select! {
            stream = handshake(&certificates, ours, Limits::default()) => stream.is_none(),
            () = dripping => unreachable!("it drips for ever"),
        };
        assert!(left, "it came to no encryption");
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}

#[tokio::test]
async fn a_hung_handshake_holds_a_seat_and_gives_it_back() {
    let (_root, addr) = secure_server(1, Duration::from_millis(200)).await;
    let mut hung = TcpStream::connect(addr).await.unwrap();
    hung.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    // While it holds the only seat, others are closed without a word; then they are served.
    let asking = async {
        while told(addr, "one.pem", "127.0.0.1").await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(GUARD, asking).await.expect("the seat comes back");
    assert_eq!(rest(&mut hung).await, "", "it was closed");
}

#[tokio::test(start_paused = true)]
async fn after_the_handshake_a_head_has_its_time_and_a_rest_its_own() {
    let (_root, certificates) = certificates();
    let (peer, ours) = duplex(1 << 16);
    let (close, closing) = watch::channel(false);
    let (heads, ours) = patient(ours, Limits::default());
    tokio::spawn(async move {
        let limits = Limits::default();
        let stream = handshake(&certificates, ours, limits).await.unwrap();
        serve(stream, heads, router(), limits, (None, nobody()), closing).await;
    });
    let mut peer = connect(&fixture("one.pem"), "localhost", peer)
        .await
        .unwrap();
    let began = Instant::now();
    peer.write_all(ASK).await.unwrap();
    sleep(Duration::from_secs(45)).await;
    peer.write_all(ASK).await.unwrap();
    let answers = rest(&mut peer).await;
    assert_eq!(answers.matches("200 OK").count(), 2, "{answers}");
    assert_eq!(began.elapsed().as_secs(), 105);
    drop(close);
}
