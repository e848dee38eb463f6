//! Hosts that are slow, broken or no hosts at all, each a few bytes on a socket.

use super::*;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::name::{Epoch, InstanceId, Revision};

/// Far beyond what any of these calls needs, so that only a hang reaches it.
const LONG: Duration = Duration::from_secs(20);
/// For calls that must run out of time.
const SHORT: Duration = Duration::from_millis(60);

const STATE: &str =
    r#"{"api":1,"app":"shop","instance":"i-1","at_ns":5,"pools":{"web":{"phase":"baseline"}}}"#;

struct Host {
    directory: tempfile::TempDir,
    listener: UnixListener,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("host.sock")).expect("a socket");
        Self {
            directory,
            listener,
        }
    }

    fn client(&self, deadline: Duration) -> HostClient {
        HostClient::new(self.directory.path().join("host.sock"), deadline)
    }

    /// Takes one connection, answers one request on it with this text, and closes it.
    async fn answer(&self, answer: &str) {
        self.answers(&[answer]).await;
    }

    /// Takes one connection, answers each request on it with the next of these texts, and closes it.
    async fn answers(&self, answers: &[&str]) {
        let (mut stream, _) = self.listener.accept().await.expect("a caller");
        for answer in answers {
            read_request(&mut stream).await;
            // A caller that has read enough hangs up, which is its good right.
            drop(stream.write_all(answer.as_bytes()).await);
        }
    }
}

/// Reads one request, with the body that its length announces, and returns it as text.
async fn read_request(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a number"));
            if bytes.len() >= end + 4 + length {
                return text;
            }
        }
        assert!(
            stream.read_buf(&mut bytes).await.expect("a request") > 0,
            "the caller went away after {text:?}"
        );
    }
}

fn http(status: &str, media_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn json(body: &str) -> String {
    http("200 OK", "application/json", body)
}

/// What one raw answer makes of a reading of the state.
async fn state_of(answer: &str) -> Answer<HostState> {
    let host = Host::new();
    let mut client = host.client(LONG);
    let (read, ()) = tokio::join!(client.state(), host.answer(answer));
    read
}

fn lost(answer: Answer<HostState>) -> Absence {
    match answer {
        Answer::Lost(absence) => absence,
        other => panic!("not lost: {other:?}"),
    }
}

#[tokio::test]
async fn a_state_is_read_over_one_kept_connection() {
    let host = Host::new();
    let mut client = host.client(LONG);
    assert!(client.peer().is_none());
    let calls = async {
        for _ in 0..3 {
            let Answer::Done(state) = client.state().await else {
                panic!("no state")
            };
            assert_eq!(state.app, "shop");
        }
        let peer = client.peer().expect("it answered");
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.connection, 1);
        assert!(peer.handle.as_ref().is_some_and(|handle| handle.is_alive()));
    };
    let answer = json(STATE);
    let answers = [answer.as_str(); 3];
    tokio::join!(calls, host.answers(&answers));
}

#[tokio::test]
async fn a_connection_that_the_host_closed_is_opened_again() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let answer = json(STATE);
    for round in 1..=3 {
        let (read, ()) = tokio::join!(client.state(), host.answer(&answer));
        assert!(matches!(read, Answer::Done(_)), "{read:?}");
        assert_eq!(client.peer().map(|peer| peer.connection), Some(round));
    }
}

#[tokio::test]
async fn an_answer_that_closes_the_connection_is_read_to_its_end() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n\r\n{STATE}"
    );
    for _ in 0..2 {
        let (read, ()) = tokio::join!(client.state(), host.answer(&answer));
        assert!(matches!(read, Answer::Done(_)), "{read:?}");
    }
}

#[tokio::test]
async fn whoever_talks_garbage_and_hangs_on_is_left_for_a_host() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let (garbage, state) = (json("[]"), json(STATE));
    let others = async {
        let (mut first, _) = host.listener.accept().await.expect("a caller");
        read_request(&mut first).await;
        first.write_all(garbage.as_bytes()).await.expect("it waits");
        host.answer(&state).await;
        first
    };
    let calls = async {
        assert_eq!(lost(client.state().await), Absence::Garbage);
        assert!(matches!(client.state().await, Answer::Done(_)));
    };
    let ((), _still_open) = tokio::time::timeout(LONG, async { tokio::join!(calls, others) })
        .await
        .expect("the host is asked over a connection of its own");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("host.sock");
    let mut client = HostClient::new(path.clone(), LONG);
    assert_eq!(lost(client.state().await), Absence::Unreachable);
    drop(UnixListener::bind(&path).expect("a socket"));
    assert_eq!(
        lost(client.state().await),
        Absence::Unreachable,
        "a file remains and nobody listens"
    );
}

#[tokio::test]
async fn a_host_that_hangs_up_without_a_word_is_unreachable() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let (read, ()) = tokio::join!(client.state(), host.answers(&[]));
    assert_eq!(lost(read), Absence::Unreachable);
    let (read, ()) = tokio::join!(client.state(), host.answer(""));
    assert_eq!(lost(read), Absence::Unreachable);
}

#[tokio::test]
async fn a_host_that_never_accepts_runs_out_of_time() {
    let host = Host::new();
    let mut client = host.client(SHORT);
    assert_eq!(lost(client.state().await), Absence::TimedOut);
    assert!(
        client.link.is_none(),
        "a late answer must not meet the next call"
    );
}

#[tokio::test]
async fn a_drip_does_not_stretch_the_deadline() {
    let host = Host::new();
    let mut client = host.client(SHORT);
    let drip = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        for byte in json(STATE).bytes().cycle() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let read = tokio::select! {
        read = client.state() => read,
        () = drip => panic!("the caller went away first"),
    };
    assert_eq!(lost(read), Absence::TimedOut);
}

#[tokio::test]
async fn a_body_without_end_is_cut_at_its_bound() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let written = AtomicUsize::new(0);
    let pour = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        read_request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {
            written.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    };
    let call = async {
        let read = client.state().await;
        drop(client);
        read
    };
    let (read, ()) = tokio::join!(call, pour);
    assert_eq!(lost(read), Absence::TooLarge);
    // The bound, and what lies in the socket's buffers.
    let written = written.load(Ordering::Relaxed);
    assert!(
        (STATE_BYTES_MAX..4 * STATE_BYTES_MAX).contains(&written),
        "{written}"
    );
}

#[tokio::test]
async fn a_length_beyond_the_bound_is_not_waited_for() {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n";
    assert_eq!(lost(state_of(answer).await), Absence::TooLarge);
}

#[tokio::test]
async fn answers_other_than_the_states_have_a_smaller_bound() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let long = json(&" ".repeat(ANSWER_BYTES_MAX + 1));
    let request = lease_request();
    let (read, ()) = tokio::join!(client.lease(&request), host.answer(&long));
    assert_eq!(read, Answer::Lost(Absence::TooLarge));
}

#[tokio::test]
async fn whatever_is_no_state_is_garbage() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many_headers = format!(
        "HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n",
        "x: y\r\n".repeat(2_000)
    );
    let gzip = json(STATE).replacen("\r\n", "\r\ncontent-encoding: gzip\r\n", 1);
    let cut = json(STATE).replace("}}}", "");
    for answer in [
        "220 mail.example.org ESMTP ready\r\n",
        "\x00\x01\x02\x03 not http at all \r\n\r\n",
        &json(""),
        &json("{}"),
        &json("null"),
        &json("[1,2,3]"),
        &json(&deep),
        &json(&STATE.replace("\"i-1\"", "7")),
        &json(&STATE.replace("\"at_ns\":5", "\"at_ns\":1e999")),
        &json(&STATE.replace("\"at_ns\":5", "\"at_ns\":5,\"at_ns\":6")),
        &http("200 OK", "text/html", STATE),
        &http("404 Not Found", "text/html", "<h1>no such page</h1>"),
        &http("500 Internal Server Error", "application/json", STATE),
        &http("502 Bad Gateway", "application/problem+json", "{}"),
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        &many_headers,
        &gzip,
        &cut,
    ] {
        let begin: String = answer.chars().take(120).collect();
        assert_eq!(lost(state_of(answer).await), Absence::Garbage, "{begin}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: http://192.0.2.1/trimtab/v1/state\r\ncontent-length: 0\r\n\r\n"
        );
        assert_eq!(lost(state_of(&answer).await), Absence::Redirected);
    }
}

#[tokio::test]
async fn another_version_is_named_as_such_whatever_its_shape() {
    for body in [
        STATE.replace("\"api\":1", "\"api\":2"),
        r#"{"api":2,"services":[]}"#.to_owned(),
    ] {
        assert_eq!(
            lost(state_of(&json(&body)).await),
            Absence::WrongVersion,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_host_of_another_user_is_sent_nothing() {
    let host = Host::new();
    let mut client = host.client(LONG).with_trusted_uids(vec![12_345]);
    let heard = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("it hangs up");
        bytes
    };
    let (read, heard) = tokio::join!(client.state(), heard);
    assert_eq!(lost(read), Absence::NotTrusted);
    assert!(heard.is_empty());
    assert!(client.peer().is_none());
}

#[tokio::test]
async fn an_interim_answer_is_passed_over() {
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{}", json(STATE));
    assert!(matches!(state_of(&answer).await, Answer::Done(_)));
}

#[tokio::test]
async fn a_problem_is_a_refusal_with_all_its_figures() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let mut problem = Problem::new(ProblemKind::Leased, "`other` holds it");
    problem.retry_after_ms = Some(700);
    let body = serde_json::to_string(&problem).expect("it is plain");
    let answer = http("409 Conflict", problem::CONTENT_TYPE, &body);
    let request = lease_request();
    let (read, ()) = tokio::join!(client.lease(&request), host.answer(&answer));
    assert_eq!(read, Answer::Refused(problem));
}

#[tokio::test]
async fn each_call_goes_to_its_path_and_takes_its_answer() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let receipt = serde_json::to_string(&receipt(9)).expect("it is plain");
    let lines = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        let mut lines = Vec::new();
        for answer in [
            json(r#"{"epoch":4,"expires_in_ms":5000}"#),
            json(&receipt),
            json(&receipt),
            json(&receipt),
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        ] {
            let request = read_request(&mut stream).await;
            assert!(request.contains("content-type: application/json\r\n"));
            lines.push(request.lines().next().unwrap_or_default().to_owned());
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
        lines
    };
    let calls = async {
        let grant = client.lease(&lease_request()).await;
        assert!(matches!(grant, Answer::Done(grant) if grant.epoch == Epoch(4)));
        let change = client.change(&change_request(9)).await;
        assert!(matches!(change, Answer::Done(receipt) if receipt.generation == Generation(9)));
        let confirmed = client.confirm(Generation(9), &end_request()).await;
        assert!(matches!(confirmed, Answer::Done(_)));
        let undone = client.rollback(Generation(9), &end_request()).await;
        assert!(matches!(undone, Answer::Done(_)));
        let released = client
            .release(&LeaseRelease {
                instance: InstanceId::from("i-1"),
                epoch: Epoch(4),
            })
            .await;
        assert_eq!(released, Answer::Done(()));
    };
    let (lines, ()) = tokio::join!(lines, calls);
    assert_eq!(
        lines,
        [
            "POST /trimtab/v1/lease HTTP/1.1",
            "POST /trimtab/v1/changes HTTP/1.1",
            "POST /trimtab/v1/changes/9/confirm HTTP/1.1",
            "POST /trimtab/v1/changes/9/rollback HTTP/1.1",
            "DELETE /trimtab/v1/lease HTTP/1.1",
        ]
    );
}

#[tokio::test]
async fn a_receipt_for_another_change_is_no_answer() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let other = json(&serde_json::to_string(&receipt(8)).expect("it is plain"));
    let request = change_request(9);
    let (read, ()) = tokio::join!(client.change(&request), host.answer(&other));
    assert_eq!(read, Answer::Lost(Absence::Garbage));
}

#[tokio::test]
async fn a_change_that_was_sent_and_not_answered_is_not_sent_again() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let seen = AtomicU64::new(0);
    let serve = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        read_request(&mut stream).await;
        stream
            .write_all(json(STATE).as_bytes())
            .await
            .expect("written");
        read_request(&mut stream).await;
        seen.fetch_add(1, Ordering::Relaxed);
        drop(stream);
        // Whoever comes back with the same change is counted.
        loop {
            let (mut stream, _) = host.listener.accept().await.expect("a caller");
            read_request(&mut stream).await;
            seen.fetch_add(1, Ordering::Relaxed);
        }
    };
    let calls = async {
        assert!(matches!(client.state().await, Answer::Done(_)));
        client.change(&change_request(9)).await
    };
    let change = tokio::select! {
        change = calls => change,
        () = serve => unreachable!("it serves for ever"),
    };
    assert_eq!(change, Answer::Lost(Absence::Unreachable));
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_midway_leaves_no_connection_behind() {
    let host = Host::new();
    let mut client = host.client(LONG);
    let stale = json(&STATE.replace("shop", "stale"));
    let serve = async {
        let (mut stream, _) = host.listener.accept().await.expect("a caller");
        read_request(&mut stream).await;
        stream
    };
    let mut first = tokio::select! {
        stream = serve => stream,
        read = client.state() => panic!("nobody answered, and yet: {read:?}"),
    };
    let fresh = json(STATE);
    first.write_all(stale.as_bytes()).await.unwrap_err();
    let (read, ()) = tokio::join!(client.state(), host.answer(&fresh));
    assert!(matches!(read, Answer::Done(state) if state.app == "shop"));
}

#[tokio::test]
async fn a_clone_has_a_connection_of_its_own() {
    let host = Host::new();
    let mut one = host.client(LONG);
    let mut two = one.clone();
    let answer = json(STATE);
    let serve = async {
        // Both are let in before either is answered: neither waits for the other.
        let (mut first, _) = host.listener.accept().await.expect("a caller");
        let (mut second, _) = host.listener.accept().await.expect("another");
        for stream in [&mut second, &mut first] {
            read_request(stream).await;
            stream.write_all(answer.as_bytes()).await.expect("written");
        }
    };
    let (one, two, ()) = tokio::join!(one.state(), two.state(), serve);
    assert!(matches!((one, two), (Answer::Done(_), Answer::Done(_))));
}

fn lease_request() -> LeaseRequest {
    LeaseRequest {
        instance: InstanceId::from("i-1"),
        holder: "sidecar".to_owned(),
        ttl_ms: 5_000,
        epoch: None,
    }
}

fn change_request(generation: u64) -> ChangeRequest {
    ChangeRequest {
        instance: InstanceId::from("i-1"),
        epoch: Epoch(4),
        generation: Generation(generation),
        pool: PoolName::from("web"),
        base_revision: Revision(0),
        trial_ms: 10_000,
        set: [("workers".into(), 8.into())].into(),
        reason: "work waits".to_owned(),
    }
}

fn end_request() -> EndTrialRequest {
    EndTrialRequest {
        instance: InstanceId::from("i-1"),
        epoch: Epoch(4),
        pool: PoolName::from("web"),
    }
}

fn receipt(generation: u64) -> ChangeReceipt {
    ChangeReceipt {
        generation: Generation(generation),
        pool: PoolName::from("web"),
        status: ChangeStatus::Trial,
        revision: Revision(1),
        expires_in_ms: Some(10_000),
        settling: false,
        knobs: std::collections::BTreeMap::new(),
    }
}
