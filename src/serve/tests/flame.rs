//! Graphs over HTTP, with a profiler that answers at once and repeats the question.

use super::*;
use crate::message::FlameAnswer;
use trimtab_flame::Quality;
use trimtab_flame::ask::{Ask, Because, HeatColumn, Outcome};
use trimtab_protocol::view::{Entry, OutcomeRecord};

/// A profiler of which process 7 can be asked; it draws the question itself, so that a test can read it.
pub(super) fn profiler() -> mpsc::Sender<FlameCall> {
    let (sender, mut calls) = mpsc::channel::<FlameCall>(16);
    std::thread::spawn(move || {
        while let Some(FlameCall { ask, answer }) = calls.blocking_recv() {
            let text = serde_json::to_string(&ask).unwrap();
            let outcome = match ask {
                Ask::Next {
                    window_ms: 59_000, ..
                } => Outcome::Busy { retry_after_s: 12 },
                Ask::Next {
                    window_ms: 58_000, ..
                } => Outcome::Failed {
                    because: Because::Internal,
                    problem: "it died".to_owned(),
                },
                Ask::Next {
                    window_ms: 57_000, ..
                } => Outcome::Failed {
                    because: Because::Unknown,
                    problem: "there is no process 7".to_owned(),
                },
                Ask::Next { .. } | Ask::Past { .. } | Ask::Difference { .. } => Outcome::Graph {
                    quality: Quality::default(),
                },
                Ask::Heat { .. } => Outcome::Heat {
                    columns: vec![HeatColumn {
                        from_ns: 95 * SECOND,
                        cells: vec![1, 2],
                    }],
                    hz: 49,
                },
                Ask::Capabilities { .. } => Outcome::Capabilities {
                    steps: vec![trimtab_flame::ladder::Step {
                        rung: trimtab_flame::ladder::Rung::PerfUser,
                        reached: true,
                        reason: "the kernel lets it".to_owned(),
                        fix: String::new(),
                    }],
                    remembered: None,
                },
                Ask::Quality => Outcome::Quality {
                    recent: vec![(
                        trimtab_flame::Kind::Cpu,
                        Quality {
                            samples: 4,
                            complete: 3,
                            ..Quality::default()
                        },
                    )],
                },
                Ask::Push { .. } | Ask::Remember { .. } => Outcome::Done,
            };
            drop(answer.send(FlameAnswer {
                outcome,
                bytes: bytes::Bytes::from(text),
            }));
        }
    });
    sender
}

impl Stage {
    /// A stage whose host has a process and made the change 7 at second 90.
    pub(super) fn with_change() -> Self {
        let stage = Self::new();
        stage.change_status(|status| status.pid = Some(7));
        stage.begin(|_| {});
        stage
    }

    /// Adds the beginning of the change 7, which is told as this makes it.
    fn begin(&self, make: impl FnOnce(&mut Entry)) {
        let mut told = stored(1, "web", Action::Try, "Grew <workers> to 12.");
        let mut entry = told.entry().unwrap();
        make(&mut entry);
        entry.body = EntryBody::Outcome(OutcomeRecord {
            action: Action::Try,
            generation: Generation(7),
            reason: None,
            took_us: 900,
        });
        told.json = serde_json::to_string(&entry).unwrap().into_boxed_str();
        told.sort = Sort::Outcome;
        self.change(|view| {
            let host = Arc::make_mut(view.hosts.get_mut("demo").unwrap());
            host.deeds.push(Arc::new(told));
        });
    }
}

#[tokio::test]
async fn a_picture_is_served_in_a_sandbox_with_what_was_asked() {
    let stage = Stage::with_change();
    let path = "/flamegraph?type=wall&seconds=5&hz=199&thread=api%201&view=icicle&format=svg";
    let answer = stage.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "image/svg+xml");
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap();
    assert!(
        policy.starts_with("sandbox allow-scripts; default-src 'none'")
            && !policy.contains("same-origin"),
        "{policy}"
    );
    for part in [
        "\"pid\":7",
        "\"kind\":\"wall\"",
        "\"window_ms\":5000",
        "\"hz\":199",
        "\"thread\":\"api 1\"",
        "\"view\":\"icicle\"",
    ] {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
    let own = stage.get("/flamegraph?target=self&format=folded").await;
    assert!(
        own.body
            .contains(&format!("\"pid\":{}", std::process::id())),
        "{}",
        own.body
    );
    assert_eq!(
        own.headers[header::CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
}

#[tokio::test]
async fn past_times_are_asked_for_by_moment_or_by_seconds_before_now() {
    let stage = Stage::with_change();
    let answer = stage.get("/flamegraph?from=-30&until=-10").await;
    assert!(
        answer
            .body
            .contains("{\"from_ns\":71000000000,\"until_ns\":91000000000}"),
        "{}",
        answer.body
    );
    let answer = stage.get("/flamegraph/diff?a=-20..-10&b=-10..").await;
    assert!(
        answer.body.contains("\"before\":{\"from_ns\":81000000000"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_change_is_compared_with_what_was_before_it() {
    let stage = Stage::with_change();
    let answer = stage.get("/flamegraph/change/7?seconds=20").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(
        answer
            .body
            .contains("\"before\":{\"from_ns\":70000000000,\"until_ns\":90000000000}"),
        "{}",
        answer.body
    );
    assert!(
        answer
            .body
            .contains("\"after\":{\"from_ns\":90000000000,\"until_ns\":101000000000}"),
        "only until now: {}",
        answer.body
    );
    assert_eq!(
        stage.get("/flamegraph/change/8").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        stage.get("/flamegraph/change/x").await.status,
        StatusCode::BAD_REQUEST
    );
    let page = stage.get("/plain").await;
    assert!(
        page.body.contains("href=\"/flamegraph/change/7\""),
        "{}",
        page.body
    );
    let decisions = stage.get("/api/v1/hosts/demo/decisions").await;
    let link = decisions.headers["link-template"].to_str().unwrap();
    assert!(
        link.contains("/flamegraph/change/{generation}{?instance}"),
        "{link}"
    );
}

#[tokio::test]
async fn a_change_of_an_earlier_run_of_the_host_is_not_the_new_ones_of_its_number() {
    let stage = Stage::with_change();
    stage.begin(|entry| {
        entry.instance = Some("old run".into());
        entry.moment_ns = 60 * SECOND;
    });
    stage.begin(|entry| entry.instance = Some("new".into()));
    let before = |at_s: u64| format!("\"until_ns\":{at_s}000000000}},\"after\"");
    for (query, at_s) in [("", 90), ("?instance=new", 90), ("?instance=old%20run", 60)] {
        let path = format!("/flamegraph/change/7{query}");
        let answer = stage.get(&path).await;
        assert!(
            answer.body.contains(&before(at_s)),
            "{path}: {}",
            answer.body
        );
    }
    let other = stage.get("/flamegraph/change/7?instance=other").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    for page in ["/plain", "/heatmap?window=60"] {
        let answer = stage.get(page).await;
        for link in ["change/7?instance=old%20run\"", "change/7?instance=new\""] {
            assert!(answer.body.contains(link), "{page}: {}", answer.body);
        }
    }
    let elsewhere = stage.get("/flamegraph?instance=new").await;
    assert_eq!(elsewhere.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_an_earlier_start_of_the_machine_wrote_has_its_age_and_no_graph() {
    let stage = Stage::with_change();
    // The machine runs for 101 seconds; this was written two hours ago, when its clock stood further than it does now.
    stage.begin(|entry| {
        entry.at_ms = WROTE_MS - 7_200_000;
        entry.moment_ns = 95 * SECOND;
        entry.instance = Some("old".into());
    });
    let page = stage.get("/plain").await;
    assert!(
        page.body.contains(">2 h ago<") && page.body.contains(">11 s ago<"),
        "{}",
        page.body
    );
    let answer = stage.get("/flamegraph/change/7?instance=old").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
    assert!(
        answer.body.contains("before this machine was started"),
        "{}",
        answer.body
    );
    let heat = stage.get("/heatmap?window=60").await;
    assert!(!heat.body.contains("instance=old"), "{}", heat.body);
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_and_never_a_fault() {
    let stage = Stage::with_change();
    let busy = stage.get("/flamegraph?seconds=59").await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(busy.headers[header::RETRY_AFTER], "12");
    let dead = stage.get("/flamegraph?seconds=58").await;
    assert_eq!(dead.status, StatusCode::SERVICE_UNAVAILABLE);
    let nobody = stage.get("/flamegraph?seconds=57").await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    for wrong in [
        "/flamegraph?seconds=61",
        "/flamegraph?seconds=0",
        "/flamegraph?hz=100000",
        "/flamegraph?format=gif",
        "/flamegraph?type=gpu",
        "/flamegraph?until=-5",
        "/flamegraph?a=-5..",
        "/flamegraph?colour=red",
        "/flamegraph/diff?a=-5..-9&b=-3..",
        "/heatmap?window=0",
        "/debug/pprof/profile?seconds=600",
    ] {
        assert_eq!(
            stage.get(wrong).await.status,
            StatusCode::BAD_REQUEST,
            "{wrong}"
        );
    }
    // What only some formats can show, and only of the host, is refused before anybody is asked.
    for path in ["/flamegraph/diff?", "/flamegraph/change/7?"] {
        for format in ["pprof", "speedscope", "firefox"] {
            let answer = stage.get(&format!("{path}format={format}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {format}");
            assert!(answer.body.contains("svg or folded"), "{}", answer.body);
        }
        let answer = stage.get(&format!("{path}format=folded")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    for path in [
        "/flamegraph/diff?",
        "/flamegraph/change/7?",
        "/flamegraph?from=-5&",
    ] {
        let answer = stage.get(&format!("{path}target=self")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(
            answer.body.contains("leave out `target`"),
            "{}",
            answer.body
        );
    }
    // Of the past CPU time alone is remembered, and what is asked for as another type must not be answered with that.
    for kind in ["offcpu", "wall"] {
        let past = format!("/flamegraph?from=-30&until=-10&type={kind}");
        let answer = stage.get(&past).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{past}");
        assert!(answer.body.contains("leave out `type`"), "{}", answer.body);
    }
    assert_eq!(
        stage.get("/flamegraph?host=other").await.status,
        StatusCode::NOT_FOUND
    );
    stage.change_status(|status| status.pid = None);
    let unknown = stage.get("/flamegraph").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert!(
        unknown.body.contains("process is not known"),
        "{}",
        unknown.body
    );
}

#[tokio::test]
async fn the_heat_map_leads_to_graphs_and_marks_changes() {
    let stage = Stage::with_change();
    let answer = stage.get("/heatmap?window=60").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.body.contains("/flamegraph?from=95000000000"),
        "{}",
        answer.body
    );
    assert!(
        answer.body.contains("/flamegraph/change/7") && answer.body.contains("&lt;workers&gt;"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_profile_for_go_tool_pprof_is_a_file() {
    let stage = Stage::with_change();
    let answer = stage.get("/debug/pprof/profile?seconds=3").await;
    assert_eq!(
        answer.headers[header::CONTENT_TYPE],
        "application/octet-stream"
    );
    assert_eq!(
        answer.headers[header::CONTENT_DISPOSITION],
        "attachment; filename=\"profile\""
    );
    assert!(
        answer.body.contains("\"format\":\"pprof\"") && answer.body.contains("\"window_ms\":3000"),
        "{}",
        answer.body
    );
    let quality = stage.get("/profile/quality").await;
    assert!(
        quality.body.contains("\"complete_percent\":75.0"),
        "{}",
        quality.body
    );
}
