//! Commands against stages that this test plays: a host, decide, and record.

use super::*;
use crate::clock::ManualClock;
use crate::message::{HostAnswer, HostCall};
use crate::origin::PeerAddress;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex as StdMutex;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tower::ServiceExt;
use trimtab_core::controller::ProfileSwitch;
use trimtab_core::moment::Moment;
use trimtab_core::observation::Answer;
use trimtab_protocol::command::{CommandReceipt, CommandRecord, CommandResult, Operator};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::operator::{OperatorReceipt, PoolReceipt};
use trimtab_protocol::state::HostState;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ADDRESS: &str = "127.0.0.1:7676";
const BASE: &str = "/api/v1/hosts/shop";

/// What the played stages heard.
#[derive(Debug, Default)]
struct Heard {
    calls: Vec<HostCall>,
    records: Vec<CommandRecord>,
    wishes: Vec<(String, bool)>,
    rulings: Vec<(bool, bool)>,
}

struct Stage {
    intake: Intake,
    heard: Arc<StdMutex<Heard>>,
    directory: TempDir,
}

fn knob(value: u64) -> Value {
    json!({"value": value, "effective": value, "baseline": 8, "min": 1, "max": 64, "max_ratio_bp": 20_000,
           "unit": "workers", "kind": "integer", "shrink": "drains", "persists": false})
}

fn state() -> HostState {
    let mut pinned = knob(100);
    pinned["max"] = json!(1_000);
    pinned["pinned_for_ms"] = json!(5_000);
    let trial = json!({"generation": 3, "expires_in_ms": 9_000, "before": {"workers": 10}});
    serde_json::from_value(json!({
        "api": 1, "app": "shop", "instance": "i", "at_ns": 1,
        "features": ["changes", "lease", "freeze", "pins", "reset"],
        "pools": {"web": {"phase": "trial", "trial": trial, "knobs": {"workers": knob(12), "queue_limit": pinned}}},
    }))
    .expect("it is a state")
}

fn receipt(workers: u64) -> OperatorReceipt {
    let web = PoolReceipt {
        revision: Default::default(),
        values: [("workers".into(), workers.into())].into(),
    };
    OperatorReceipt {
        frozen: true,
        freeze_persistent: true,
        pools: [("web".into(), web)].into(),
    }
}

impl Stage {
    /// With a host that does as asked.
    fn new() -> Self {
        Self::with_host(true)
    }

    fn with_host(answers: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let heard = Arc::new(StdMutex::new(Heard::default()));
        let (errands, mut errand) = mpsc::channel::<Errand>(4);
        let (wishes, mut wish) = mpsc::channel::<ProfileOrder>(4);
        let (rulings, mut ruling) = mpsc::channel::<Ruling>(4);
        let (records, mut record) = mpsc::channel(4);
        let ears = Arc::clone(&heard);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(Errand { call, answer }) = errand.recv() => {
                        let value = match &call {
                            HostCall::State => HostAnswer::State(Box::new(state())),
                            HostCall::Pin(_, _, pin) => HostAnswer::Receipt(receipt(pin.value.as_integer().unwrap_or(0))),
                            HostCall::Reset(_) => HostAnswer::Receipt(receipt(8)),
                            _ => HostAnswer::Receipt(receipt(10)),
                        };
                        ears.lock().expect("no panic").calls.push(call);
                        let absence = Absence::Unreachable;
                        let said = if answers { Answer::Done { value } } else { Answer::Lost { absence } };
                        drop(answer.send(said));
                    }
                    Some(order) = wish.recv() => {
                        ears.lock().expect("no panic").wishes.push((order.wish.who, order.dry_run));
                        let switch = ProfileSwitch { before: "web".to_owned(), after: "api".to_owned() };
                        drop(order.answer.send(Ok(switch)));
                    }
                    Some(word) = ruling.recv() => {
                        ears.lock().expect("no panic").rulings.push((word.approve, word.dry_run));
                        drop(word.answer.send(Err("nothing waits".to_owned())));
                    }
                    Some(recorded) = record.recv() => {
                        if let Recorded::Command { record, done, .. } = recorded {
                            ears.lock().expect("no panic").records.push(record);
                            done.send(Ok(())).expect("intake waits");
                        }
                    }
                    else => break,
                }
            }
        });
        let patience = Duration::from_secs(60);
        let intake = Intake::new(Deps {
            host: "shop".into(),
            latch: Latch::open(directory.path(), patience),
            errands,
            wishes,
            rulings: Some(rulings),
            records,
            clock: Arc::new(ManualClock::at(Moment::default(), 5)),
            patience,
        });
        Self {
            intake,
            heard,
            directory,
        }
    }

    fn latch(&self) -> &Latch {
        &self.intake.shared.deps.latch
    }

    /// A command over the operator's socket.
    async fn tell(&self, path: &str, body: &str) -> (StatusCode, Value) {
        let mut request = post(path, body);
        request.extensions_mut().insert(Operator::Socket {
            uid: 7,
            pid: Some(8),
        });
        read(self.intake.for_socket().oneshot(request).await).await
    }

    async fn done(&self, path: &str, body: &str) -> CommandReceipt {
        let (status, answer) = self.tell(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        serde_json::from_value(answer).expect("it is a receipt")
    }

    /// A command over HTTP, where the file of tokens has one.
    async fn over_http(&self, request: Request<Body>) -> (StatusCode, Value) {
        let file = self.directory.path().join("tokens");
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, TOKEN.as_bytes()))
            .expect("writable");
        let address = ADDRESS.parse().expect("an address");
        let router = self.intake.for_http((address, Scheme::Http), &[], file);
        read(router.oneshot(request).await).await
    }

    /// What was asked of the host apart from how it stands.
    fn calls(&self) -> Vec<HostCall> {
        let heard = self.heard.lock().expect("no panic");
        let calls = heard.calls.iter();
        calls
            .filter(|call| !matches!(call, HostCall::State))
            .cloned()
            .collect()
    }

    fn records(&self) -> Vec<CommandRecord> {
        self.heard.lock().expect("no panic").records.clone()
    }
}

fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(format!("{BASE}/{path}"))
        .header(header::HOST, ADDRESS)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .expect("a request")
}

async fn read(response: Result<Response<Body>, std::convert::Infallible>) -> (StatusCode, Value) {
    let (parts, body) = response.expect("it never fails").into_parts();
    assert_eq!(parts.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let bytes = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!text.contains(TOKEN), "a token was told: {text}");
    let value = serde_json::from_slice(&bytes).unwrap_or(Value::String(text));
    (parts.status, value)
}

const PIN: &str = r#"{"pool": "web", "knob": "workers", "value": 20, "for_ms": 60000}"#;

#[tokio::test]
async fn a_freeze_closes_the_latch_keeps_it_and_reaches_the_host() {
    let stage = Stage::new();
    let receipt = stage.done("freeze", r#"{"reason": "a deploy"}"#).await;
    assert!(receipt.frozen && receipt.recorded && receipt.missing.is_none());
    assert_eq!(preview::listed(&receipt.values), "web workers 12 -> 10");
    assert!(matches!(&stage.calls()[..], [HostCall::Freeze(_)]));
    let kept = std::fs::read_to_string(stage.directory.path().join("freeze"));
    assert!(kept.is_ok_and(|text| text.contains("a deploy") && text.contains("user 7")));

    let receipt = stage.done("unfreeze", "").await;
    assert!(!receipt.frozen && !stage.latch().is_frozen());
    assert!(!stage.directory.path().join("freeze").exists());
    assert!(matches!(stage.calls()[..], [_, HostCall::Unfreeze]));
}

#[tokio::test]
async fn the_operators_socket_tells_which_host_it_is_and_http_does_not() {
    let stage = Stage::new();
    let ask = || {
        let request = Request::get("/api/v1/hosts").header(header::HOST, ADDRESS);
        request.body(Body::empty()).expect("a request")
    };
    let mut known = ask();
    let extensions = known.extensions_mut();
    extensions.insert(Operator::Socket { uid: 7, pid: None });
    let (status, answer) = read(stage.intake.for_socket().oneshot(known).await).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, json!({"hosts": [{"host": "shop"}]}));
    let file = stage.directory.path().join("tokens");
    let address = ADDRESS.parse().expect("an address");
    let router = stage.intake.for_http((address, Scheme::Http), &[], file);
    let answer = router.oneshot(ask()).await.expect("it never fails");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "the pages have it");
}

#[tokio::test]
async fn a_freeze_holds_even_where_the_host_cannot_be_reached() {
    let stage = Stage::with_host(false);
    let receipt = stage.done("freeze", "{}").await;
    assert!(receipt.frozen && stage.latch().is_frozen());
    assert!(
        receipt
            .missing
            .is_some_and(|it| it.contains("undoes its own trial"))
    );
    let outcome = &stage.records()[0].outcome;
    assert!(
        matches!(outcome, CommandResult::Partly { .. }),
        "{outcome:?}"
    );
    let (status, _) = stage.tell("pin", PIN).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_dry_run_of_any_command_changes_nothing_and_says_what_would() {
    let stage = Stage::new();
    let before = std::fs::read_dir(stage.directory.path()).expect("it is there");
    assert_eq!(before.count(), 0);
    for (path, body, says) in [
        ("freeze", "{}", "would undo the trial of web"),
        ("unfreeze", "{}", "nothing is frozen"),
        (
            "pin",
            PIN,
            "would hold workers of web at 20 for 60 s (web workers 12 -> 20)",
        ),
        (
            "unpin",
            r#"{"pool": "web", "knob": "queue_limit"}"#,
            "would release queue_limit of web",
        ),
        ("reset", "", "web queue_limit 100 -> 8, web workers 12 -> 8"),
        (
            "profile",
            r#"{"pool": "web", "profile": "api"}"#,
            "web would follow the profile api instead of web",
        ),
    ] {
        let receipt = stage.done(&format!("{path}?dry_run=true"), body).await;
        assert!(
            receipt.dry_run && receipt.text.contains(says),
            "{}",
            receipt.text
        );
    }
    let (status, _) = stage.tell("approve?dry_run=true", "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(stage.calls().is_empty(), "{:?}", stage.calls());
    assert!(!stage.latch().is_frozen());
    let after = std::fs::read_dir(stage.directory.path()).expect("it is there");
    assert_eq!(after.count(), 0, "nothing was written");
    let heard = stage.heard.lock().expect("no panic");
    assert!(heard.wishes.iter().all(|(_, dry_run)| *dry_run));
    assert_eq!(heard.rulings, [(true, true)]);
    assert!(heard.records.iter().all(|record| record.dry_run));
    assert_eq!(heard.records.len(), 7, "a dry run is in the ledger too");
}

#[tokio::test]
async fn each_command_is_in_the_ledger_with_who_and_what_came_of_it() {
    let stage = Stage::new();
    let receipt = stage.done("pin", PIN).await;
    assert_eq!(preview::listed(&receipt.values), "web workers 12 -> 20");
    stage.done("reset", r#"{"pool": "web"}"#).await;
    let (status, _) = stage
        .tell(
            "pin",
            r#"{"pool": "web", "knob": "workers", "value": 65, "for_ms": 1}"#,
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, _) = stage
        .tell("unpin", r#"{"pool": "web", "knob": "workers"}"#)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nobody holds it");
    stage.tell("reject", "").await;
    let records = stage.records();
    let words: Vec<&str> = records.iter().map(|record| record.asked.word()).collect();
    assert_eq!(words, ["pin", "reset", "pin", "unpin", "reject"]);
    let who = Operator::Socket {
        uid: 7,
        pid: Some(8),
    };
    assert!(records.iter().all(|record| record.operator == who));
    let refused = |record: &CommandRecord| match record.outcome {
        CommandResult::Refused { problem, .. } => Some(problem),
        CommandResult::Done { .. } | CommandResult::Partly { .. } => None,
    };
    let refusals: Vec<_> = records.iter().map(refused).collect();
    assert_eq!(
        refusals,
        [
            None,
            None,
            Some(ProblemKind::Value),
            Some(ProblemKind::Unknown),
            Some(ProblemKind::Unknown)
        ]
    );
    assert!(matches!(
        stage.calls()[..],
        [HostCall::Pin(..), HostCall::Reset(_)]
    ));
}

#[tokio::test]
async fn a_pin_without_a_value_holds_what_stands() {
    let stage = Stage::new();
    let body = r#"{"pool": "web", "knob": "workers", "for_ms": 1000}"#;
    stage.done("pin", body).await;
    let calls = stage.calls();
    let [HostCall::Pin(_, _, pin)] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert_eq!(pin.value, 12.into());
}

/// Every route, with a body that it would take.
fn every_route() -> Vec<(&'static str, &'static str)> {
    let body = |path: &str| match path.rsplit('/').next() {
        Some("pin") => PIN,
        Some("unpin") => r#"{"pool": "web", "knob": "queue_limit"}"#,
        Some("profile") => r#"{"pool": "web", "profile": "api"}"#,
        _ => "{}",
    };
    let table = routes::TABLE.iter();
    table
        .map(|(path, _)| (path.rsplit('/').next().unwrap_or(path), body(path)))
        .collect()
}

#[test]
fn the_table_in_the_documentation_is_the_table_of_routes() {
    let documented: Vec<&str> = include_str!("../intake.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `")?.split('`').next())
        .collect();
    let served: Vec<&str> = routes::TABLE.iter().map(|(path, _)| *path).collect();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn what_is_no_command_is_refused_on_every_route() {
    let stage = Stage::new();
    for (path, body) in every_route() {
        for (query, expected) in [
            ("dry_run=yes", 400),
            ("dryrun=true", 400),
            ("dry_run=true&x", 400),
        ] {
            let (status, _) = stage.tell(&format!("{path}?{query}"), body).await;
            assert_eq!(status, expected, "{path}?{query}");
        }
        let (status, _) = stage.tell(path, "{\"colour\": \"green\"}").await;
        assert_eq!(status, 400, "{path}");
        let (status, _) = stage.tell(path, &"x".repeat(70_000)).await;
        assert_eq!(status, 413, "{path}");
        let known = Operator::Socket { uid: 7, pid: None };
        type Change = fn(&mut Request<Body>);
        let changes: [(Change, u16); 6] = [
            (|it| *it.method_mut() = Method::GET, 405),
            (|it| *it.method_mut() = Method::PUT, 405),
            (
                |it| drop(it.headers_mut().remove(header::CONTENT_TYPE)),
                415,
            ),
            (
                |it| {
                    drop(
                        it.headers_mut()
                            .insert(header::CONTENT_TYPE, "text/plain".parse().expect("a value")),
                    )
                },
                415,
            ),
            (
                |it| {
                    drop(
                        it.headers_mut()
                            .insert(header::ORIGIN, "null".parse().expect("a value")),
                    )
                },
                403,
            ),
            (|it| drop(it.extensions_mut().remove::<Operator>()), 403),
        ];
        for (change, expected) in changes {
            let mut request = post(path, body);
            request.extensions_mut().insert(known.clone());
            change(&mut request);
            let (status, answer) = read(stage.intake.for_socket().oneshot(request).await).await;
            assert_eq!(status, expected, "{path}: {answer}");
        }
    }
    let other = Request::post("/api/v1/hosts/other/freeze")
        .header(header::CONTENT_TYPE, "application/json")
        .extension(Operator::Socket { uid: 7, pid: None })
        .body(Body::empty())
        .expect("a request");
    let (status, _) = read(stage.intake.for_socket().oneshot(other).await).await;
    assert_eq!(status, 404);
    assert!(stage.calls().is_empty() && stage.records().is_empty());
    assert!(!stage.latch().is_frozen());
}

#[tokio::test]
async fn over_http_only_a_token_of_the_file_commands() {
    let stage = Stage::new();
    let bearer = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}", TOKEN.replace('0', "1"));
    for (path, body) in every_route() {
        type Row<'a> = (&'a [(&'a str, &'a str)], u16);
        let rows: [Row<'_>; 9] = [
            (&[], 401),
            (&[("authorization", &wrong)], 401),
            (&[("authorization", TOKEN)], 401),
            (&[("authorization", "Bearer ")], 401),
            (&[("authorization", "Basic dTpw")], 401),
            (
                &[("authorization", &bearer), ("authorization", &wrong)],
                401,
            ),
            (
                &[
                    ("authorization", &bearer),
                    ("origin", "http://evil.example"),
                ],
                403,
            ),
            (
                &[("authorization", &bearer), ("sec-fetch-site", "cross-site")],
                403,
            ),
            (&[("authorization", &bearer), ("host", "evil.example")], 400),
        ];
        for (headers, expected) in rows {
            let mut request = post(path, body);
            for (name, value) in headers {
                let name: header::HeaderName = name.parse().expect("a name");
                let value = value.parse().expect("a value");
                request.headers_mut().append(name, value);
            }
            let (status, answer) = stage.over_http(request).await;
            assert_eq!(status, expected, "{path} {headers:?}: {answer}");
        }
        let mut elsewhere = post(path, body);
        let host = "evil.example".parse().expect("a value");
        elsewhere.headers_mut().insert(header::HOST, host);
        assert_eq!(stage.over_http(elsewhere).await.0, 421, "{path}");
    }
    assert!(stage.calls().is_empty() && stage.records().is_empty());

    let mut request = post("freeze", "{}");
    let value = bearer.parse().expect("a value");
    request.headers_mut().insert(header::AUTHORIZATION, value);
    let peer = PeerAddress("127.0.0.1:40000".parse().expect("an address"));
    request.extensions_mut().insert(peer);
    let (status, answer) = stage.over_http(request).await;
    assert_eq!(status, 200, "{answer}");
    let expected = Operator::Token {
        name: "unnamed".to_owned(),
        from: Some("127.0.0.1:40000".to_owned()),
    };
    assert_eq!(stage.records()[0].operator, expected);
    assert!(!format!("{:?}", stage.records()).contains(TOKEN));
}

#[tokio::test]
async fn a_problem_says_what_would_have_been_taken() {
    let stage = Stage::new();
    let (_, answer) = stage
        .tell(
            "pin",
            r#"{"pool": "web", "knob": "workers", "value": 65, "for_ms": 1}"#,
        )
        .await;
    let problem: Problem = serde_json::from_value(answer).expect("it is a problem");
    let allowed = problem.allowed.expect("it says so");
    assert_eq!((allowed.min, allowed.max), (1, 64));
    let (_, answer) = stage.tell("reset", r#"{"pool": "wen"}"#).await;
    assert!(
        answer["detail"]
            .as_str()
            .is_some_and(|it| it.ends_with("known are: web"))
    );
}

/// A host that answers when the test lets it, and a ledger that takes everything.
struct Held {
    intake: Intake,
    errands: mpsc::Receiver<Errand>,
    records: mpsc::Receiver<Recorded>,
    directory: TempDir,
}

impl Held {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (errands, errand) = mpsc::channel(4);
        let (records, record) = mpsc::channel(4);
        let patience = Duration::from_secs(60);
        let intake = Intake::new(Deps {
            host: "shop".into(),
            latch: Latch::open(directory.path(), patience),
            errands,
            wishes: mpsc::channel(1).0,
            rulings: None,
            records,
            clock: Arc::new(ManualClock::at(Moment::default(), 5)),
            patience,
        });
        Self {
            intake,
            errands: errand,
            records: record,
            directory,
        }
    }

    /// Begins a command, as a connection does.
    fn begin(&self, path: &str, body: &str) -> tokio::task::JoinHandle<(StatusCode, Value)> {
        let mut request = post(path, body);
        let who = Operator::Socket { uid: 7, pid: None };
        request.extensions_mut().insert(who);
        let router = self.intake.for_socket();
        tokio::spawn(async move { read(router.oneshot(request).await).await })
    }

    async fn asked(&mut self) -> Errand {
        let asked = tokio::time::timeout(Duration::from_secs(20), self.errands.recv());
        asked.await.expect("in time").expect("the host is asked")
    }

    /// Lets the host answer how it stands, and then the next call.
    async fn answer(&mut self) -> HostCall {
        let Errand { call, answer } = self.asked().await;
        assert!(matches!(call, HostCall::State), "{call:?}");
        let value = HostAnswer::State(Box::new(state()));
        answer.send(Answer::Done { value }).expect("it waits");
        let Errand { call, answer } = self.asked().await;
        let value = HostAnswer::Receipt(receipt(10));
        answer.send(Answer::Done { value }).expect("it waits");
        call
    }

    /// The next line of the ledger.
    async fn record(&mut self) -> CommandRecord {
        let next = tokio::time::timeout(Duration::from_secs(20), self.records.recv());
        match next.await.expect("in time").expect("a line") {
            Recorded::Command { record, done, .. } => {
                done.send(Ok(())).expect("the command waits");
                record
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_whose_caller_goes_away_is_carried_out_and_is_in_the_ledger() {
    let mut held = Held::new();
    for (path, body) in [("freeze", "{}"), ("unfreeze", ""), ("pin", PIN)] {
        let caller = held.begin(path, body);
        let Errand { answer, .. } = held.asked().await;
        // As where a client is ended while it waits.
        caller.abort();
        assert!(caller.await.expect_err("it is gone").is_cancelled());
        let value = HostAnswer::State(Box::new(state()));
        answer
            .send(Answer::Done { value })
            .expect("the command still waits");
        let Errand { call, answer } = held.asked().await;
        assert!(!matches!(call, HostCall::State), "{call:?}");
        let value = HostAnswer::Receipt(receipt(10));
        answer
            .send(Answer::Done { value })
            .expect("the command still waits");
        let record = held.record().await;
        assert_eq!(record.asked.word(), path);
        assert!(
            matches!(record.outcome, CommandResult::Done { .. }),
            "{record:?}"
        );
        let kept = held.directory.path().join("freeze").exists();
        assert_eq!(
            kept,
            path == "freeze",
            "a freeze is kept and an unfreeze removes it"
        );
    }
}

#[tokio::test]
async fn a_freeze_that_comes_while_one_is_lifted_stays_in_force() {
    let mut held = Held::new();
    let latch = held.intake.shared.deps.latch.clone();
    latch.close();
    let unfreeze = held.begin("unfreeze", "");
    let Errand { answer, .. } = held.asked().await;
    let seen = latch.seen();
    let freeze = held.begin("freeze", "{}");
    while latch.seen() == seen {
        tokio::task::yield_now().await;
    }
    let value = HostAnswer::State(Box::new(state()));
    answer.send(Answer::Done { value }).expect("it waits");
    let Errand { call, answer } = held.asked().await;
    assert!(matches!(call, HostCall::Unfreeze), "{call:?}");
    let value = HostAnswer::Receipt(receipt(10));
    answer.send(Answer::Done { value }).expect("it waits");
    held.record().await;
    let (_, lifted) = unfreeze.await.expect("it ends");
    assert_eq!(lifted["frozen"], true, "{lifted}");
    let text = lifted["text"].as_str().unwrap_or_default();
    assert!(text.contains("another freeze has come since"), "{lifted}");
    assert!(matches!(held.answer().await, HostCall::Freeze(_)));
    held.record().await;
    let (_, frozen) = freeze.await.expect("it ends");
    assert_eq!(frozen["frozen"], true, "{frozen}");
    assert!(latch.is_frozen() && held.directory.path().join("freeze").exists());
}

#[tokio::test(start_paused = true)]
async fn at_the_end_a_command_that_runs_is_told_to_hurry_and_its_line_is_written() {
    let mut held = Held::new();
    let caller = held.begin("pin", PIN);
    let Errand { answer, .. } = held.asked().await;
    let (end, ended) = oneshot::channel::<()>();
    let finish = tokio::spawn(held.intake.finish(async move { drop(ended.await) }));
    drop(end);
    // The host says nothing any more; the time that there is runs out by itself.
    let record = held.record().await;
    assert!(
        matches!(&record.outcome, CommandResult::Refused { detail, .. } if detail.contains("shutting down")),
        "{record:?}"
    );
    finish.await.expect("it ends");
    let (status, _) = caller.await.expect("it is answered");
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    drop(answer);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_nothing_is_waited_for_where_no_command_runs() {
    let held = Held::new();
    let before = tokio::time::Instant::now();
    held.intake.finish(async {}).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "of the test's own time");
}
