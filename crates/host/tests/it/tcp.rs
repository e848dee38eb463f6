//! The control API over loopback TCP: with a token as over the socket, without one not at all.

use crate::attacks::{attacks, attacks_by_body, documented, standing, target};
use crate::client::{Calls, raw_tcp};
use crate::part::Fake;
use crate::{Bench, builder};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use trimtab_host::host::{HostError, TcpError};
use trimtab_protocol::problem::ProblemKind::{Forbidden, Unauthenticated};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const GOOD: &str = "authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

fn put(directory: &Path, text: &str, mode: u32) -> PathBuf {
    let path = directory.join("tokens");
    fs::write(&path, text).expect("writable");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
    path
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A host over TCP too, with a trial open under a lease.
fn bench(directory: &Path) -> (Bench, SocketAddr, serde_json::Value) {
    let file = put(directory, TOKEN, 0o600);
    let bench = Bench::with(|builder| builder.tcp(loopback(), file));
    bench.lease("us", 60_000);
    let trial = bench.planned(60_000, &json!({ "workers": 9 }));
    assert_eq!(bench.sidecar("POST", "/changes", &trial).status, 200);
    let address = bench.host.tcp_address().expect("it listens");
    (bench, address, trial)
}

#[test]
fn without_a_token_of_the_file_no_call_is_taken_and_nothing_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, address, trial) = bench(directory.path());
    let before = standing(&bench);
    let own = address.to_string();
    let twice = format!("{GOOD}{GOOD}");
    let longer = GOOD.replace("\r\n", "0\r\n");
    for call in documented() {
        let target = target(&bench, call, &trial);
        let what = format!("{} {}", target.method, target.path);
        for shown in [
            "",
            "authorization: Bearer\r\n",
            "authorization: Bearer no\r\n",
            "authorization: Basic YTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n",
            &twice,
            &longer,
        ] {
            let text = target.good().with(shown).text(&own);
            let reply = raw_tcp(address, text.as_bytes());
            assert_eq!(reply.kind(), Unauthenticated, "{shown:?} on {what}");
            assert!(reply.head.contains("www-authenticate: bearer"), "{what}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:7070",
            "evil@127.0.0.1",
            "127.0.0.1:x",
            "",
        ] {
            let text = target.good().with(GOOD).text(host);
            let reply = raw_tcp(address, text.as_bytes());
            assert_eq!(reply.kind(), Forbidden, "{what} to {host:?}");
        }
    }
    assert_eq!(standing(&bench), before);
}

#[test]
fn with_a_token_it_is_a_sidecars_door_and_refuses_what_the_socket_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, address, trial) = bench(directory.path());
    let before = standing(&bench);
    let own = address.to_string();
    for call in documented() {
        let target = target(&bench, call, &trial);
        let what = format!("{} {}", target.method, target.path);
        if target.is_operators {
            let text = target.good().with(GOOD).text(&own);
            let reply = raw_tcp(address, text.as_bytes());
            assert_eq!(reply.kind(), Forbidden, "{what} is an operator's");
            continue;
        }
        for (name, expected, attack) in attacks().into_iter().chain(attacks_by_body()) {
            let Some(shot) = attack(&target, target.good()) else {
                continue;
            };
            let reply = raw_tcp(address, shot.with(GOOD).text(&own).as_bytes());
            assert_eq!(reply.kind(), expected, "{name} on {what}");
        }
    }
    assert_eq!(standing(&bench), before);
    let state =
        format!("GET /trimtab/v1/state HTTP/1.1\r\nhost: {own}\r\nconnection: close\r\n{GOOD}\r\n");
    assert_eq!(raw_tcp(address, state.as_bytes()).status, 200);
    put(directory.path(), &TOKEN.replace('0', "9"), 0o600);
    let late = raw_tcp(address, state.as_bytes());
    assert_eq!(
        late.kind(),
        Unauthenticated,
        "a token that was taken out is void"
    );
    put(directory.path(), TOKEN, 0o644);
    let open = raw_tcp(address, state.as_bytes());
    assert_eq!(open.kind(), Unauthenticated, "anybody could have read it");
}

#[test]
fn a_host_listens_on_loopback_alone_and_only_with_tokens() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = |address: &str, file: &Path| {
        let part = Fake::new("web");
        let address = address.parse().expect("an address");
        let host = builder(directory.path(), &part).tcp(address, file).start();
        host.map(drop).expect_err("it is refused")
    };
    let good = put(directory.path(), TOKEN, 0o600);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:7070"] {
        let error = start(address, &good);
        assert!(
            matches!(error, HostError::Tcp(TcpError::NotLoopback(_))),
            "{error}"
        );
    }
    let none = directory.path().join("none");
    for file in [&none, &put(directory.path(), TOKEN, 0o640)] {
        let error = start("127.0.0.1:0", file);
        assert!(
            matches!(error, HostError::Tcp(TcpError::Tokens { .. })),
            "{error}"
        );
        assert!(!error.to_string().contains(TOKEN));
    }
}

/// A connection that stays open for as long as the host lets it.
fn linger(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream
        .set_read_timeout(Some(crate::LONG))
        .expect("a hang guard");
    stream.write_all(bytes).expect("it is read");
    stream
}

fn ask(shown: &str) -> String {
    format!("GET /trimtab/v1/state HTTP/1.1\r\nhost: localhost\r\n{shown}\r\n")
}

/// The head of one answer and nothing beyond its body, where the connection stays open.
fn status_of_one_answer(stream: &mut TcpStream) -> u16 {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("text").to_lowercase();
    let length = head.split_once("content-length: ").expect("a length").1;
    let length = length.split("\r\n").next().expect("a line");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).expect("a body");
    let status = head.split(' ').nth(1).expect("a status");
    status.parse().expect("a number")
}

#[test]
fn a_crowd_without_a_token_keeps_nobody_with_one_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_bench, address, _) = bench(directory.path());
    let kept = &mut linger(address, ask(GOOD).as_bytes());
    assert_eq!(status_of_one_answer(kept), 200);
    let mut crowd = Vec::new();
    for number in 0..60 {
        // Some say nothing, some show no token, some a wrong one, and some never come to an end.
        crowd.push(match number % 4 {
            0 => linger(address, b""),
            1 => linger(address, ask("").as_bytes()),
            2 => linger(address, ask("authorization: Bearer no\r\n").as_bytes()),
            _ => linger(address, b"GET /trimtab/v1/state HTTP/1.1\r\nhost: loc"),
        });
    }
    for _ in 0..5 {
        let closing = format!("{GOOD}connection: close\r\n");
        let reply = raw_tcp(address, ask(&closing).as_bytes());
        assert_eq!(reply.status, 200, "a new connection that shows it");
        kept.write_all(ask(GOOD).as_bytes()).expect("it is open");
        assert_eq!(status_of_one_answer(kept), 200, "one that has shown it");
        for _ in 0..10 {
            crowd.push(linger(address, ask("").as_bytes()));
        }
    }
}

#[test]
fn who_shows_no_token_is_answered_once_and_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_bench, address, _) = bench(directory.path());
    for shown in ["", "authorization: Bearer no\r\n"] {
        let twice = ask(shown).repeat(2);
        let reply = raw_tcp(address, twice.as_bytes());
        assert_eq!(reply.status, 401, "{shown:?}");
        assert!(reply.head.contains("connection: close"), "{}", reply.head);
        assert!(!reply.body.contains("HTTP/1.1"), "{}", reply.body);
    }
    let elsewhere = ask(GOOD).replace("localhost", "evil.example");
    let reply = raw_tcp(address, elsewhere.as_bytes());
    assert_eq!(reply.status, 403);
    assert!(reply.head.contains("connection: close"), "{}", reply.head);
    // A token that is taken out ends the connections that it opened as well.
    let kept = &mut linger(address, ask(GOOD).as_bytes());
    assert_eq!(status_of_one_answer(kept), 200);
    put(directory.path(), &TOKEN.replace('0', "9"), 0o600);
    kept.write_all(ask(GOOD).as_bytes()).expect("it is open");
    let mut rest = String::new();
    kept.read_to_string(&mut rest).expect("it ends");
    assert!(rest.starts_with("HTTP/1.1 401"), "{rest}");
}
