//! Who may call, and how much.

use crate::client::{Calls, raw, send};
use crate::part::Fake;
use crate::{Bench, builder};
use serde_json::json;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use trimtab_host::host::{HostError, SocketError};
use trimtab_protocol::problem::ProblemKind;

#[test]
fn operators_calls_are_forbidden_on_the_control_socket() {
    let bench = Bench::new();
    let pin = json!({ "value": 9, "for_ms": 1_000 });
    for (method, path, body) in [
        ("PUT", "/freeze", json!({})),
        ("DELETE", "/freeze", json!({})),
        ("PUT", "/pins/web/workers", pin.clone()),
        ("DELETE", "/pins/web/workers", json!({})),
        ("POST", "/reset", json!({})),
    ] {
        assert_eq!(
            bench.sidecar(method, path, &body).kind(),
            ProblemKind::Forbidden,
            "{path}"
        );
    }
    assert!(!bench.state().frozen);
    assert_eq!(bench.operator("GET", "/state", None).status, 200);
}

#[test]
fn a_body_of_a_megabyte_is_refused_and_the_host_goes_on() {
    let bench = Bench::new();
    let mut body = bench.planned(2_000, &json!({ "workers": 9 }));
    body["reason"] = json!("x".repeat(1 << 20));
    assert_eq!(
        bench.sidecar("POST", "/changes", &body).kind(),
        ProblemKind::TooLarge
    );
    bench.state();
}

#[test]
fn a_body_without_an_end_is_cut_off() {
    let bench = Bench::new();
    let socket = bench.host.control_socket();
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(crate::LONG)).expect("a guard");
    let head = b"POST /trimtab/v1/changes HTTP/1.1\r\nhost: x\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).expect("it is read");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // It may hang up at any point after it has seen enough.
    let sent = (0..10_000).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok());
    assert!(sent.count() < 1_000);
    bench.state();
}

#[test]
fn silent_connections_do_not_keep_an_operator_out() {
    let bench = Bench::new();
    let mut silent: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(bench.host.control_socket()).expect("it listens"))
        .collect();
    assert_eq!(bench.operator("PUT", "/freeze", None).status, 200);
    // The last ones came when there was no place left.
    let mut last = silent.pop().expect("forty");
    last.set_read_timeout(Some(crate::LONG)).expect("a guard");
    assert_eq!(last.read(&mut [0; 1]).expect("closed"), 0);
}

#[test]
fn garbage_is_not_answered_with_a_crash() {
    let bench = Bench::new();
    for bytes in [
        &b"\r\n\r\n\0\xff\xfe garbage\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(bench.host.control_socket()).expect("it listens");
        stream.set_read_timeout(Some(crate::LONG)).expect("a guard");
        stream.write_all(bytes).expect("it is read");
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."));
    }
    let upgrade = b"GET /trimtab/v1/state HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(raw(bench.host.control_socket(), upgrade).status, 200);
}

#[test]
fn the_sockets_are_private_and_not_taken_from_a_living_host() {
    let bench = Bench::new();
    for path in [bench.host.control_socket(), bench.host.operator_socket()] {
        assert_eq!(fs::metadata(path).expect("there").mode() & 0o777, 0o600);
    }
    let second = builder(bench.dir.path(), &Fake::new("web")).start();
    assert!(matches!(
        second,
        Err(HostError::Socket(SocketError::InUse(_)))
    ));
    bench.state();
}

const SOCKET: &str = "TRIMTAB_TEST_SOCKET";

/// Asks for the state as whoever runs this; see the test below.
#[test]
#[ignore = "it is run by the test below, as another user"]
fn a_stranger_asks() {
    let socket = std::env::var_os(SOCKET).expect("set by the test below");
    let reply = send(Path::new(&socket), "GET", "/trimtab/v1/state", None);
    assert_eq!(reply.kind(), ProblemKind::Forbidden);
}

#[test]
fn another_user_is_turned_away_even_where_the_socket_is_open() {
    let bench = Bench::new();
    let socket = bench.host.control_socket();
    if fs::metadata(socket).expect("there").uid() != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    for (path, mode) in [
        (bench.dir.path(), 0o755),
        (socket.parent().expect("a directory"), 0o755),
        (socket, 0o666),
    ] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
    }
    let program = std::env::current_exe().expect("this test");
    let copy = bench.dir.path().join("stranger");
    fs::copy(program, &copy).expect("there is room");
    let ran = Command::new(&copy)
        .args(["--exact", "guard::a_stranger_asks", "--ignored"])
        .env(SOCKET, socket)
        .current_dir("/")
        .uid(65_534)
        .gid(65_534)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
}
