//! Serve over a view made by hand: each route, each attack on each route, and the stream of events.

use super::*;
use crate::serve::routes::table;
use crate::view::pack::SampleHistory;
use crate::view::ring::Ring;
use crate::view::{HostView, JournalHealth, Sort};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures_util::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use tower::ServiceExt;
use trimtab_protocol::change::Phase;
use trimtab_protocol::decision::{Absence, Action, Evidence, Level, Mode, Reason, Regime};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::{Generation, HostId, KnobName, PoolName};
use trimtab_protocol::view::{
    ChangeCounts, DecisionRecord, Decisions, Entry, EntryBody, EntryId, HostStatus, Hosts,
    KnobStatus, PoolSample, PoolStatus, Readiness, Sample, Samples,
};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const HOST: &str = "127.0.0.1:7676";

/// A view that a test changes as record would.
pub(super) struct Stage {
    sender: watch::Sender<Arc<View>>,
    entries: broadcast::Sender<Arc<Stored>>,
    pub(super) close: watch::Sender<bool>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let mut view = View::empty("boot");
        let status = status();
        let host = HostView {
            status: Arc::new(status),
            at: Moment::from_boot_ns(100 * SECOND),
            samples: SampleHistory::new(1_000, 1 << 20),
            entries: Ring::new(256, 1 << 20),
            deeds: Ring::new(64, 1 << 20),
        };
        view.hosts.insert(HostId::from("demo"), Arc::new(host));
        Self {
            sender: watch::Sender::new(Arc::new(view)),
            entries: broadcast::Sender::new(16),
            close: watch::Sender::new(false),
        }
    }

    pub(super) fn deps(&self) -> Deps {
        Deps {
            view: self.sender.subscribe(),
            entries: self.entries.clone(),
            metrics: Arc::new(|| Ok("# TYPE a counter\na_total 1\n# EOF\n".to_owned())),
            now: Arc::new(|| Moment::from_boot_ns(101 * SECOND)),
            stale_after: Span::from_secs(5),
            names: vec!["trimtab.example:8080".to_owned()],
        }
    }

    pub(super) fn router(&self) -> Router {
        let addr = HOST.parse().unwrap();
        router(self.deps(), addr, self.close.subscribe())
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        self.sender.send_modify(|view| change(Arc::make_mut(view)));
    }

    fn change_status(&self, change: impl FnOnce(&mut HostStatus)) {
        self.change(|view| {
            let host = view.hosts.get_mut("demo").unwrap();
            change(Arc::make_mut(&mut Arc::make_mut(host).status));
        });
    }

    /// Adds an entry as record does: first to the view, then to the listeners.
    pub(super) fn add(&self, pool: &str, action: Action, text: &str) {
        let sequence = self.sender.borrow().last_sequence + 1;
        let stored = Arc::new(stored(sequence, pool, action, text));
        self.change(|view| {
            view.last_sequence = sequence;
            let host = Arc::make_mut(view.hosts.get_mut("demo").unwrap());
            host.entries.push(Arc::clone(&stored));
            if stored.is_deed() {
                host.deeds.push(Arc::clone(&stored));
            }
        });
        drop(self.entries.send(stored));
    }

    fn add_sample(&self, second: u64) {
        self.change(|view| {
            let host = Arc::make_mut(view.hosts.get_mut("demo").unwrap());
            host.samples.push(&Sample {
                moment_ns: second * SECOND,
                cpu_cores: Some(0.25),
                ..Sample::default()
            });
        });
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(request(path).body(Body::empty()).unwrap()).await
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let streams = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == "text/event-stream");
        let bytes = if streams {
            bytes::Bytes::new()
        } else {
            to_bytes(body, 1 << 24).await.unwrap()
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn request(path: &str) -> axum::http::request::Builder {
    Request::get(path).header(header::HOST, HOST)
}

fn record(action: Action) -> DecisionRecord {
    DecisionRecord {
        action,
        reason: Reason::Ample,
        regime: Regime::Ample,
        level: Level::Moderate,
        load: Some(0.31),
        profile: "web".to_owned(),
        evidence: Evidence::default(),
        expectation: None,
        change: None,
        bound_by: Vec::new(),
    }
}

fn stored(sequence: u64, pool: &str, action: Action, text: &str) -> Stored {
    let entry = Entry {
        id: EntryId {
            boot: "boot".to_owned(),
            sequence,
        },
        at_ms: 1_790_000_000_000,
        moment_ns: 90 * SECOND,
        host: HostId::from("demo"),
        instance: None,
        pool: Some(PoolName::from(pool)),
        body: EntryBody::Decision(record(action)),
        text: text.to_owned(),
    };
    Stored {
        sequence,
        boot: Arc::from("boot"),
        pool: Some(Arc::from(pool)),
        sort: Sort::Decision,
        action,
        json: serde_json::to_string(&entry).unwrap().into_boxed_str(),
    }
}

fn status() -> HostStatus {
    let knob = KnobStatus {
        value: KnobValue::Integer(12),
        effective: KnobValue::Integer(10),
        baseline: KnobValue::Integer(8),
        min: 1,
        max: 64,
    };
    let pool = PoolStatus {
        profile: "web".to_owned(),
        phase: Phase::Trial,
        generation: Generation(3),
        knobs: BTreeMap::from([(KnobName::from("workers"), knob)]),
        inert: vec!["memory_level".to_owned()],
        decision: Some(record(Action::Hold)),
        text: "Held: work flows and nothing waits.".to_owned(),
        changes: ChangeCounts::default(),
    };
    let sample = PoolSample {
        workers: Some(12),
        goodput_per_s: Some(118.25),
        p50_us: Some(12_300),
        p95_us: Some(45_600),
        p99_us: Some(120_900),
        queued: Some(3.5),
        ..PoolSample::default()
    };
    HostStatus {
        host: HostId::from("demo"),
        mode: Mode::Act,
        absent: None,
        summary: "web is ample.".to_owned(),
        app: "shop".to_owned(),
        version: "1.2".to_owned(),
        instance: None,
        pid: Some(4_242),
        frozen: false,
        lease_holder: None,
        lease_ours: true,
        age_ms: Some(10),
        conformance: 2,
        sample: Sample {
            cpu_cores: Some(0.5),
            quota_cores: Some(2.0),
            rss_bytes: Some(64 << 20),
            pools: BTreeMap::from([(PoolName::from("web"), sample)]),
            ..Sample::default()
        },
        pools: BTreeMap::from([(PoolName::from("web"), pool)]),
    }
}

/// The routes that the module's documentation names.
fn documented() -> BTreeSet<String> {
    let rows = include_str!("../serve.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `/"));
    rows.map(|row| format!("/{}", row.split('`').next().unwrap()))
        .collect()
}

#[tokio::test]
async fn each_route_of_the_documentation_exists_and_answers_and_there_are_no_others() {
    let routes: BTreeSet<String> = table().iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(routes, documented());
    for path in routes {
        let path = path.replace("{id}", "demo");
        let answer = Stage::new().get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    }
}

type Attack = (
    &'static str,
    StatusCode,
    fn(axum::http::request::Builder) -> axum::http::request::Builder,
);

fn attacks() -> Vec<Attack> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    const MISDIRECTED: StatusCode = StatusCode::MISDIRECTED_REQUEST;
    const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
    const METHOD: StatusCode = StatusCode::METHOD_NOT_ALLOWED;
    vec![
        ("no Host", BAD, |request| request),
        ("two Hosts", BAD, |request| {
            request.header("host", HOST).header("host", HOST)
        }),
        ("empty Host", BAD, |request| request.header("host", "")),
        ("foreign Host", MISDIRECTED, |request| {
            request.header("host", "evil.example:7676")
        }),
        ("another port", MISDIRECTED, |request| {
            request.header("host", "127.0.0.1:80")
        }),
        ("no port", MISDIRECTED, |request| {
            request.header("host", "localhost")
        }),
        ("any address", MISDIRECTED, |request| {
            request.header("host", "0.0.0.0:7676")
        }),
        ("mapped address", MISDIRECTED, |request| {
            request.header("host", "[::ffff:127.0.0.1]:7676")
        }),
        ("trailing dot", MISDIRECTED, |request| {
            request.header("host", "localhost.:7676")
        }),
        ("user in Host", MISDIRECTED, |request| {
            request.header("host", "localhost@evil.example:7676")
        }),
        ("user before us", MISDIRECTED, |request| {
            request.header("host", "evil@127.0.0.1:7676")
        }),
        ("suffix", MISDIRECTED, |request| {
            request.header("host", "127.0.0.1:7676.evil.example")
        }),
        ("foreign Origin", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("origin", "http://evil.example")
        }),
        ("null Origin", FORBIDDEN, |request| {
            request.header("host", HOST).header("origin", "null")
        }),
        ("Origin of another port", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("origin", "http://127.0.0.1:8000")
        }),
        ("Origin by another name", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("origin", "http://trimtab.example:8080")
        }),
        ("cross-site", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("sec-fetch-site", "cross-site")
        }),
        ("same-site", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("sec-fetch-site", "same-site")
        }),
        ("two sites", FORBIDDEN, |request| {
            request
                .header("host", HOST)
                .header("sec-fetch-site", "none")
                .header("sec-fetch-site", "cross-site")
        }),
        ("POST", METHOD, |request| {
            request.header("host", HOST).method("POST")
        }),
        ("PUT", METHOD, |request| {
            request.header("host", HOST).method("PUT")
        }),
        ("DELETE", METHOD, |request| {
            request.header("host", HOST).method("DELETE")
        }),
        ("OPTIONS", METHOD, |request| {
            request.header("host", HOST).method("OPTIONS")
        }),
        ("odd method", METHOD, |request| {
            request.header("host", HOST).method("BREW")
        }),
    ]
}

/// Every path that is attacked. A route without a row here fails.
const ATTACKED: [&str; 11] = [
    "/",
    "/livez",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/hosts",
    "/api/v1/hosts/{id}/status",
    "/api/v1/hosts/{id}/samples",
    "/api/v1/hosts/{id}/decisions",
    "/api/v1/events",
    "/nowhere",
];

fn is_protected(headers: &HeaderMap) -> bool {
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    policy.starts_with("default-src 'none'; style-src 'sha256-")
        && headers[header::X_CONTENT_TYPE_OPTIONS] == "nosniff"
        && headers[header::REFERRER_POLICY] == "no-referrer"
        && headers[header::CACHE_CONTROL] == "no-store"
}

#[tokio::test]
async fn each_attack_on_each_route_is_refused() {
    let attacked: BTreeSet<String> = ATTACKED.iter().map(|&path| path.to_owned()).collect();
    let missing: Vec<_> = documented().difference(&attacked).cloned().collect();
    assert!(missing.is_empty(), "not attacked: {missing:?}");
    let stage = Stage::new();
    for path in ATTACKED {
        let path = path.replace("{id}", "demo");
        for (name, expected, attack) in attacks() {
            let request = attack(Request::get(&path)).body(Body::empty()).unwrap();
            let answer = stage.ask(request).await;
            assert_eq!(answer.status, expected, "{name} on {path}: {}", answer.body);
            assert_eq!(
                answer.headers[header::CONTENT_TYPE],
                "application/problem+json",
                "{name} on {path}"
            );
            assert!(is_protected(&answer.headers), "{name} on {path}");
        }
    }
}

#[tokio::test]
async fn an_absolute_target_must_be_this_server() {
    let stage = Stage::new();
    for (target, expected) in [
        ("http://127.0.0.1:7676/livez", StatusCode::OK),
        ("http://evil.example/livez", StatusCode::MISDIRECTED_REQUEST),
        (
            "http://evil@127.0.0.1:7676/livez",
            StatusCode::MISDIRECTED_REQUEST,
        ),
    ] {
        let answer = stage.get(target).await;
        assert_eq!(answer.status, expected, "{target}");
    }
}

#[tokio::test]
async fn whoever_may_ask_is_answered_with_protecting_headers() {
    let stage = Stage::new();
    for (name, value) in [
        ("host", HOST),
        ("host", "LOCALHOST:7676"),
        ("host", "[::1]:7676"),
        ("host", "trimtab.example:8080"),
        ("origin", "http://127.0.0.1:7676"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let mut asked = Request::get("/").header(name, value);
        if name != "host" {
            asked = asked.header("host", HOST);
        }
        let answer = stage.ask(asked.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {value}");
        assert!(is_protected(&answer.headers));
    }
    let head = request("/").method("HEAD").body(Body::empty()).unwrap();
    let answer = stage.ask(head).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn the_health_listener_may_be_asked_by_address_and_shows_nothing_else() {
    let stage = Stage::new();
    let deps = stage.deps();
    let guard = Guard::any_address(&deps.names);
    let router = guard.protect(routes::health_only(deps, stage.close.subscribe()));
    for (host, path, expected) in [
        ("10.1.2.3:7677", "/livez", StatusCode::OK),
        ("10.1.2.3", "/metrics", StatusCode::OK),
        ("[fd00::7]:7677", "/readyz", StatusCode::OK),
        (
            "evil.example:7677",
            "/livez",
            StatusCode::MISDIRECTED_REQUEST,
        ),
        (
            "evil@10.1.2.3:7677",
            "/livez",
            StatusCode::MISDIRECTED_REQUEST,
        ),
        (
            "10.1.2.3.evil.example",
            "/livez",
            StatusCode::MISDIRECTED_REQUEST,
        ),
        ("10.1.2.3:7677", "/", StatusCode::NOT_FOUND),
        ("10.1.2.3:7677", "/api/v1/hosts", StatusCode::NOT_FOUND),
    ] {
        let asked = Request::get(path)
            .header("host", host)
            .body(Body::empty())
            .unwrap();
        let answer = router.clone().oneshot(asked).await.unwrap();
        assert_eq!(answer.status(), expected, "{host} {path}");
    }
}

#[tokio::test]
async fn over_the_last_connections_only_health_is_answered() {
    let stage = Stage::new();
    for path in documented() {
        let mut asked = request(&path.replace("{id}", "demo"))
            .body(Body::empty())
            .unwrap();
        asked.extensions_mut().insert(guard::Reserve);
        let answer = stage.ask(asked).await;
        let health = guard::HEALTH_PATHS.contains(&path.as_str());
        let expected = if health {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        assert_eq!(answer.status, expected, "{path}");
    }
}

#[tokio::test]
async fn ready_means_that_the_host_is_read_in_time_and_the_ledger_writes() {
    let verdict = |stage: &Stage| {
        let asked = stage
            .router()
            .oneshot(request("/readyz?verbose").body(Body::empty()).unwrap());
        async move {
            let response = asked.await.unwrap();
            let status = response.status();
            let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let readiness: Readiness = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(readiness.ready, status == StatusCode::OK);
            let failed = readiness.checks.into_iter().filter(|(_, check)| !check.ok);
            failed.map(|(name, _)| name).collect::<Vec<_>>()
        }
    };
    let stage = Stage::new();
    assert!(verdict(&stage).await.is_empty());
    stage.change_status(|status| status.absent = Some(Absence::Unreachable));
    assert_eq!(verdict(&stage).await, ["host demo"]);
    let brief = stage.get("/readyz").await;
    assert_eq!(brief.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(brief.body.contains("nothing listens where the host should"));

    let stage = Stage::new();
    stage.change(|view| Arc::make_mut(view.hosts.get_mut("demo").unwrap()).at = Moment::default());
    assert_eq!(verdict(&stage).await, ["host demo"]);

    let stage = Stage::new();
    stage.change(|view| {
        view.journal = JournalHealth {
            ok: false,
            text: "no space".to_owned(),
            ..JournalHealth::default()
        };
    });
    assert_eq!(verdict(&stage).await, ["ledger"]);
    assert_eq!(stage.get("/livez").await.status, StatusCode::OK);

    let stage = Stage::new();
    stage.close.send_replace(true);
    assert_eq!(verdict(&stage).await, ["running"]);
    stage.change(|view| view.hosts.clear());
    assert_eq!(verdict(&stage).await, ["hosts", "running"]);
}

#[tokio::test]
async fn the_api_speaks_the_protocols_types() {
    let stage = Stage::new();
    let hosts: Hosts = stage.get("/api/v1/hosts").await.json();
    assert_eq!(hosts.hosts[0].pools, [PoolName::from("web")]);
    let answer = stage.get("/api/v1/hosts/demo/status").await;
    assert_eq!(answer.json::<HostStatus>(), status());
    let unknown = stage.get("/api/v1/hosts/other/status").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(
        unknown.headers[header::CONTENT_TYPE],
        "application/problem+json"
    );
    assert!(unknown.body.contains("known are: demo"));
}

#[tokio::test]
async fn samples_are_answered_oldest_first_after_a_moment_or_the_last_ones() {
    let stage = Stage::new();
    let seconds = |answer: Answer| {
        let samples: Samples = answer.json();
        let moments = samples
            .samples
            .iter()
            .map(|sample| sample.moment_ns / SECOND);
        moments.collect::<Vec<_>>()
    };
    assert!(seconds(stage.get("/api/v1/hosts/demo/samples").await).is_empty());
    for second in 1..=100 {
        stage.add_sample(second);
    }
    let path = "/api/v1/hosts/demo/samples";
    assert_eq!(
        seconds(stage.get(path).await),
        (1..=100).collect::<Vec<_>>()
    );
    assert_eq!(
        seconds(stage.get(&format!("{path}?limit=2")).await),
        [99, 100]
    );
    let since = 40 * SECOND;
    assert_eq!(
        seconds(stage.get(&format!("{path}?since={since}&limit=3")).await),
        [41, 42, 43]
    );
    assert!(seconds(stage.get(&format!("{path}?limit=0")).await).is_empty());
}

#[tokio::test]
async fn decisions_are_found_by_id_pool_and_action() {
    let stage = Stage::new();
    for number in 0..40 {
        let pool = if number % 2 == 0 { "web" } else { "api" };
        let action = if number == 5 {
            Action::Confirm
        } else {
            Action::Hold
        };
        stage.add(pool, action, "text");
    }
    let ids = |answer: Answer| {
        let decisions: Decisions = answer.json();
        let ids = decisions.entries.iter().map(|entry| entry.id.sequence);
        ids.collect::<Vec<_>>()
    };
    let path = "/api/v1/hosts/demo/decisions";
    assert_eq!(ids(stage.get(path).await), (1..=40).collect::<Vec<_>>());
    assert_eq!(
        ids(stage.get(&format!("{path}?limit=3")).await),
        [38, 39, 40]
    );
    assert_eq!(
        ids(stage.get(&format!("{path}?since=boot-36&limit=2")).await),
        [37, 38]
    );
    assert_eq!(
        ids(stage.get(&format!("{path}?since=older-36&limit=2")).await),
        [39, 40]
    );
    assert_eq!(
        ids(stage.get(&format!("{path}?pool=api&limit=2")).await),
        [38, 40]
    );
    assert_eq!(ids(stage.get(&format!("{path}?action=confirm")).await), [6]);
    for query in [
        "since=nonsense",
        "limit=-1",
        "limit=x",
        "action=explode",
        "limt=3",
    ] {
        let answer = stage.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(
            answer.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }
}

#[tokio::test]
async fn what_was_done_is_found_after_the_holds_around_it_are_gone() {
    let stage = Stage::new();
    stage.add("web", Action::Try, "the deed");
    for _ in 0..1_000 {
        stage.add("web", Action::Hold, "held");
    }
    let decisions: Decisions = stage
        .get("/api/v1/hosts/demo/decisions?limit=10000")
        .await
        .json();
    assert!(decisions.entries[0].id.sequence > 1);
    let deeds: Decisions = stage
        .get("/api/v1/hosts/demo/decisions?action=try")
        .await
        .json();
    assert_eq!(deeds.entries[0].text, "the deed");
    assert!(stage.get("/").await.body.contains("the deed"));
}

#[tokio::test]
async fn metrics_come_in_the_format_asked_for() {
    let stage = Stage::new();
    let plain = stage.get("/metrics").await;
    assert_eq!(plain.body, "# TYPE a_total counter\na_total 1\n");
    let asked = request("/metrics").header("accept", "application/openmetrics-text;version=1.0.0");
    let open = stage.ask(asked.body(Body::empty()).unwrap()).await;
    assert!(open.body.ends_with("# EOF\n"));
    assert!(
        open.headers[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
}

#[tokio::test]
async fn the_page_tells_the_pool_in_one_line_and_needs_no_script() {
    let stage = Stage::new();
    stage.add("web", Action::Try, "Tries workers 8 -> 12.");
    let page = stage.get("/").await.body;
    for expected in [
        "profile web, ample, moderate",
        "31 %",
        "12 (10 in effect), began with 8",
        "118.2 a second",
        "12.3 / 45.6 / 120.9 ms",
        "Held: work flows and nothing waits.",
        "Tries workers 8 -&gt; 12.",
        "CPU 0.50 of 2.0 cores",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(!page.contains("<script"));
    assert!(!page.contains(" style="));
}

#[tokio::test]
async fn names_and_words_of_the_host_stay_text() {
    let stage = Stage::new();
    let evil = "</h2><script>alert(1)</script>\u{1b}\u{202e}\" onload=\"x";
    stage.change_status(|status| {
        status.app = evil.to_owned();
        status.version = evil.to_owned();
        status.summary = evil.to_owned();
        let pool = status.pools["web"].clone();
        let pool = PoolStatus {
            profile: evil.to_owned(),
            inert: vec![evil.to_owned()],
            text: evil.to_owned(),
            ..pool
        };
        status.pools = BTreeMap::from([(PoolName::from(evil), pool)]);
    });
    stage.add(evil, Action::Try, evil);
    let page = stage.get("/").await.body;
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("\" onload"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

/// One reader of the stream.
struct Listener(axum::body::BodyDataStream);

impl Listener {
    fn new(response: axum::response::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Self(response.into_body().into_data_stream())
    }

    /// The ids and names of the next events; comments are passed over.
    async fn next(&mut self, count: usize) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let reading = async {
            while found.len() < count {
                let piece = self.0.next().await.expect("the stream goes on").unwrap();
                let text = String::from_utf8(piece.to_vec()).unwrap();
                let field = |name: &str| {
                    text.lines()
                        .find_map(|line| line.strip_prefix(name).map(str::to_owned))
                };
                if let (Some(id), Some(event)) = (field("id: "), field("event: ")) {
                    assert!(text.ends_with("\n\n"));
                    found.push((id, event));
                }
            }
        };
        let guard = std::time::Duration::from_secs(60);
        tokio::time::timeout(guard, reading)
            .await
            .expect("the events come");
        found
    }
}

async fn events(response: axum::response::Response, count: usize) -> Vec<(String, String)> {
    Listener::new(response).next(count).await
}

async fn listen(router: &Router, last: Option<&str>) -> axum::response::Response {
    let mut asked = request("/api/v1/events");
    if let Some(last) = last {
        asked = asked.header("last-event-id", last);
    }
    router
        .clone()
        .oneshot(asked.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

fn pairs(range: std::ops::RangeInclusive<u64>) -> Vec<(String, String)> {
    range
        .map(|number| (format!("boot-{number}"), "decision".to_owned()))
        .collect()
}

#[tokio::test]
async fn a_stream_tells_each_new_entry_once_and_in_order() {
    let stage = Stage::new();
    let router = stage.router();
    stage.add("web", Action::Hold, "before");
    let response = listen(&router, None).await;
    for _ in 0..5 {
        stage.add("web", Action::Hold, "after");
    }
    assert_eq!(events(response, 5).await, pairs(2..=6));
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_id_without_a_gap() {
    let stage = Stage::new();
    let router = stage.router();
    for _ in 0..100 {
        stage.add("web", Action::Hold, "before");
    }
    let response = listen(&router, Some("boot-3")).await;
    for _ in 0..60 {
        stage.add("web", Action::Hold, "after");
    }
    // The live channel holds sixteen, so most of these can only come from the view.
    assert_eq!(events(response, 157).await, pairs(4..=160));
}

#[tokio::test]
async fn a_stream_that_cannot_resume_says_so_and_goes_on() {
    let stage = Stage::new();
    let router = stage.router();
    for _ in 0..1_000 {
        stage.add("web", Action::Hold, "before");
    }
    for last in ["boot-2", "other-3", "nonsense", "boot-5000"] {
        let newest = stage.sender.borrow().last_sequence;
        let mut listener = Listener::new(listen(&router, Some(last)).await);
        let told = [(format!("boot-{newest}"), "resync".to_owned())];
        assert_eq!(listener.next(1).await, told, "{last}");
        stage.add("web", Action::Hold, "after");
        assert_eq!(
            listener.next(1).await,
            pairs(newest + 1..=newest + 1),
            "{last}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_falls_behind_further_than_the_history_is_told() {
    let stage = Stage::new();
    let router = stage.router();
    let response = listen(&router, None).await;
    for _ in 0..2_000 {
        stage.add("web", Action::Hold, "much");
    }
    let found = events(response, 1).await;
    assert_eq!(found, [("boot-2000".to_owned(), "resync".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_beats_and_ends_when_the_end_is_asked_for() {
    let stage = Stage::new();
    let router = stage.router();
    let mut pieces = listen(&router, None).await.into_body().into_data_stream();
    let first = pieces.next().await.unwrap().unwrap();
    assert_eq!(&first[..], b"retry: 2000\n\n");
    for _ in 0..3 {
        assert_eq!(
            &pieces.next().await.unwrap().unwrap()[..],
            b": still here\n\n"
        );
    }
    stage.close.send_replace(true);
    assert!(pieces.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_a_day() {
    let stage = Stage::new();
    let router = stage.router();
    let pieces = listen(&router, None).await.into_body().into_data_stream();
    let count = pieces.count().await;
    assert!((5_000..6_000).contains(&count), "{count}");
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_a_seat_comes_back() {
    let stage = Stage::new();
    let router = stage.router();
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(listen(&router, None).await);
    }
    let refused = listen(&router, None).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    open.pop();
    assert_eq!(listen(&router, None).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn only_a_loopback_address_is_bound() {
    let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (_listener, addr) = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert_ne!(addr.port(), 0);
}
