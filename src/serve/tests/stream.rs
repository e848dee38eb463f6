//! The stream of events: in order, without gaps, told of what it missed, and bounded.

use super::*;

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
async fn whoever_asks_for_it_hears_each_new_status_too() {
    let stage = Stage::new();
    let router = stage.router();
    let asked = request("/api/v1/events?status=true").body(Body::empty());
    let response = router.oneshot(asked.unwrap()).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    assert_eq!(&*pieces.next().await.unwrap().unwrap(), b"retry: 2000\n\n");
    stage.change_status(|status| status.summary = "web is starved.".to_owned());
    let piece = pieces.next().await.unwrap().unwrap();
    let text = String::from_utf8(piece.to_vec()).unwrap();
    let json = text
        .strip_prefix("event: status\ndata: ")
        .expect("a status");
    let status: HostStatus = serde_json::from_str(json).unwrap();
    assert_eq!(status.summary, "web is starved.");
    assert!(!text.contains("id: "), "a reader resumes by entries alone");
}
