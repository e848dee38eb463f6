//! Who may ask: each attack on each route is refused, and whoever may ask is answered.

use super::*;

pub(super) type Attack = (
    &'static str,
    StatusCode,
    fn(axum::http::request::Builder) -> axum::http::request::Builder,
);

pub(super) fn attacks() -> Vec<Attack> {
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
pub(super) const ATTACKED: [&str; 26] = [
    "/",
    "/plain",
    "/ui/app.js",
    "/ui/app.css",
    "/livez",
    "/healthz",
    "/readyz",
    "/metrics",
    "/flamegraph",
    "/flamegraph/diff",
    "/flamegraph/change/{generation}",
    "/heatmap",
    "/profile/capabilities",
    "/profile/quality",
    "/debug/pprof/",
    "/debug/pprof/profile",
    "/api/v1/hosts",
    "/api/v1/hosts/{id}/status",
    "/api/v1/hosts/{id}/samples",
    "/api/v1/hosts/{id}/decisions",
    "/api/v1/hosts/{id}/history",
    "/api/v1/configuration",
    "/api/v1/configuration/effective",
    guard::CHECK_PATH,
    "/api/v1/events",
    "/nowhere",
];

pub(super) fn is_protected(headers: &HeaderMap) -> bool {
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
        let path = path.replace("{id}", "demo").replace("{generation}", "7");
        for (name, expected, attack) in attacks() {
            let request = attack(Request::get(&path)).body(Body::empty()).unwrap();
            let answer = stage.ask(request).await;
            // There a POST may come in, and this one brings no text.
            let takes = path == guard::CHECK_PATH && name == "POST";
            let expected = if takes {
                StatusCode::BAD_REQUEST
            } else {
                expected
            };
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
        let mut asked = Request::get("/plain").header(name, value);
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
        let mut asked = request(&path.replace("{id}", "demo").replace("{generation}", "7"))
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
