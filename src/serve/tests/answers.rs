//! What each route says: the checks, the data, the metrics, and the page.

use super::*;

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
    assert!(stage.get("/plain").await.body.contains("the deed"));
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
    let page = stage.get("/plain").await.body;
    for expected in [
        "profile web, ample, moderate",
        "31 %",
        "12 (10 in effect), began with 8",
        "118.2 a second",
        "12.3 / 45.6 / 120.9 ms",
        "Held: work flows and nothing waits.",
        "Tries workers 8 -&gt; 12.",
        "CPU 0.50 of 2.0 cores",
        "href=\"/plain?live\"",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    assert!(!page.contains("http-equiv"));
    assert!(!page.contains("<script"));
    assert!(!page.contains(" style="));
}

#[tokio::test]
async fn the_page_loads_again_by_itself_only_where_the_reader_asked_for_it() {
    let stage = Stage::new();
    let still = stage.get("/plain").await;
    assert!(!still.headers.contains_key("refresh"));
    let live = stage.get("/plain?live").await;
    assert_eq!(live.headers["refresh"], "5");
    assert!(live.body.contains("Stop that"));
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
            figures: BTreeMap::from([(evil.to_owned(), 1)]),
            inert: vec![evil.to_owned()],
            text: evil.to_owned(),
            ..pool
        };
        status.pools = BTreeMap::from([(PoolName::from(evil), pool)]);
    });
    stage.add(evil, Action::Try, evil);
    let page = stage.get("/plain").await.body;
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("\" onload"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn the_dashboard_may_run_its_own_script_and_nothing_else() {
    let stage = Stage::new();
    let page = stage.get("/").await;
    let policy = page.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    if dashboard::is_bundled() {
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
        assert!(page.body.contains("/ui/app.js"));
    } else {
        assert!(page.body.contains("web is ample."));
    }
    assert!(!policy.contains("unsafe"));
    assert!(page.headers[header::CACHE_CONTROL] == "no-store");
}

/// A text that is sent to be checked.
fn draft(body: impl Into<Body>) -> Request<Body> {
    Request::post(guard::CHECK_PATH)
        .header(header::HOST, HOST)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn a_text_is_checked_and_what_is_none_is_refused() {
    let stage = Stage::new();
    let answer = stage.ask(draft(r#"{"profile": "web", "text": ""}"#)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(answer.json::<DraftVerdict>().needs_approval);
    for (body, expected) in [
        (
            r#"{"profile": "none", "text": ""}"#.to_owned(),
            StatusCode::NOT_FOUND,
        ),
        (r#"{"profile": "web"}"#.to_owned(), StatusCode::BAD_REQUEST),
        (
            r#"{"profile": "web", "text": "", "x": 1}"#.to_owned(),
            StatusCode::BAD_REQUEST,
        ),
        ("{".to_owned(), StatusCode::BAD_REQUEST),
        (
            format!(r#"{{"profile": "web", "text": "{}"}}"#, "x".repeat(400_000)),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let answer = stage.ask(draft(body)).await;
        assert_eq!(answer.status, expected, "{}", answer.body);
    }
    // A form of another page could send plain text without being asked whether it may.
    let mut plain = draft(r#"{"profile": "web", "text": ""}"#);
    plain.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(stage.ask(plain).await.status, StatusCode::BAD_REQUEST);
    let read = stage.get(guard::CHECK_PATH).await;
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(read.headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn a_long_time_is_answered_in_columns() {
    let stage = Stage::new();
    for second in 1..=40 {
        stage.add_sample(second);
    }
    let path = "/api/v1/hosts/demo/history?pool=web&columns=4";
    let made: Overview = stage.get(path).await.json();
    assert_eq!(
        (made.columns, made.host_figures["cpu_cores"].most.len()),
        (4, 4)
    );
    for wrong in ["columns=0", "columns=100000", "from=9&until=9", "colour=1"] {
        let path = format!("/api/v1/hosts/demo/history?{wrong}");
        assert_eq!(
            stage.get(&path).await.status,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn entries_are_found_by_their_sort() {
    let stage = Stage::new();
    stage.add("web", Action::Hold, "Held.");
    let of = async |sort: &str| {
        let path = format!("/api/v1/hosts/demo/decisions?entry={sort}");
        stage.get(&path).await
    };
    assert_eq!(of("decision").await.json::<Decisions>().entries.len(), 1);
    assert_eq!(of("command").await.json::<Decisions>().entries.len(), 0);
    assert_eq!(of("gossip").await.status, StatusCode::BAD_REQUEST);
}
