//! What the sidecar shows: to people, to Prometheus, to listeners, and to nobody who was sent by another site.

use crate::support::{BRISK, HANG_GUARD, SLOW, Service, Sidecar, until};
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use trimtab_protocol::view::Entry;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_shown_to_nobody_who_was_sent_by_another_site() {
    let service = Service::absent();
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let own = &sidecar.address;
    let port = own.rsplit(':').next().unwrap();
    for path in ["/", "/metrics", "/api/v1/hosts", "/api/v1/events"] {
        for (headers, expected) in [
            (format!("Host: evil.example:{port}\r\n"), 421),
            ("Host: evil.example\r\n".to_owned(), 421),
            (format!("Host: {own}.evil.example\r\n"), 421),
            (String::new(), 400),
            (
                format!("Host: {own}\r\nOrigin: http://evil.example\r\n"),
                403,
            ),
            (format!("Host: {own}\r\nOrigin: null\r\n"), 403),
            (
                format!("Host: {own}\r\nSec-Fetch-Site: cross-site\r\n"),
                403,
            ),
        ] {
            let (code, body) = sidecar.get_with(path, &headers).await;
            assert_eq!(code, expected, "{path} {headers}: {body}");
        }
    }
    let same = format!("Host: {own}\r\nOrigin: http://{own}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(sidecar.get_with("/", &same).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_names_the_pool_and_what_was_decided_without_a_script() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let page = until("the page to say what the status says", || async {
        let status = sidecar.status().await?;
        let pool = status.pools.get("web")?;
        let (code, page) = sidecar.get("/plain").await;
        assert_eq!(code, 200);
        let text = escaped(&pool.text);
        // Between the two a tick may have passed.
        (!text.is_empty() && page.contains(&format!("<p>{text}</p>"))).then_some(page)
    })
    .await;
    assert!(page.contains("<h3>web "), "{page}");
    assert!(page.contains("profile default"), "{page}");
    for forbidden in ["<script", "javascript:", " onload=", " onclick="] {
        assert!(!page.to_lowercase().contains(forbidden), "{forbidden}");
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_are_open_metrics_and_name_the_pool() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("a change", |status| {
            let changes = status.pools.get("web").map(|pool| &pool.changes);
            changes.is_some_and(|changes| changes.kept > 0)
        })
        .await;
    let headers = format!(
        "Host: {}\r\nAccept: application/openmetrics-text\r\n",
        sidecar.address
    );
    let (code, text) = sidecar.get_with("/metrics", &headers).await;
    assert_eq!(code, 200);
    let samples = open_metrics(&text).unwrap_or_else(|fault| panic!("{fault} in\n{text}"));
    let workers = samples[r#"trimtab_pool_workers{host="shop",pool="web"}"#];
    assert!((2.0..=64.0).contains(&workers), "{workers}");
    let kept = samples[r#"trimtab_changes_total{host="shop",pool="web",result="kept"}"#];
    assert!(kept >= 1.0, "{kept}");
    assert!(samples[r#"trimtab_ticks_total{host="shop"}"#] >= 5.0);
}

/// The samples by name and labels, or the first line that is not OpenMetrics.
fn open_metrics(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let lines = text
        .strip_suffix("# EOF\n")
        .ok_or("no end in the last line")?;
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in lines.lines() {
        let fault = |what: &str| format!("{what}: {line}");
        if let Some(told) = line.strip_prefix("# ") {
            let mut words = told.splitn(3, ' ');
            let mut word = || words.next().ok_or_else(|| fault("a word is missing"));
            let (what, name, value) = (word()?, word()?, word()?);
            if name != family && !families.insert(name.to_owned()) {
                return Err(fault("a family in two places"));
            }
            if name != family {
                (family, kind) = (name.to_owned(), String::new());
            }
            match what {
                "HELP" => {}
                "TYPE" => value.clone_into(&mut kind),
                "UNIT" if name.ends_with(&format!("_{value}")) => {}
                _ => return Err(fault("not a line about a family")),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(|| fault("no value"))?;
        let name = series.split('{').next().unwrap_or_default();
        let suffix = name
            .strip_prefix(&family)
            .ok_or_else(|| fault("a sample outside its family"))?;
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_count", "_sum"],
            "info" => &["_info"],
            _ => return Err(fault("a sample of no known type")),
        };
        let plain = name
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
        if !suffixes.contains(&suffix) || !plain || !labels_are_good(&series[name.len()..]) {
            return Err(fault("a bad name or label"));
        }
        let value: f64 = value.parse().map_err(|_| fault("a bad value"))?;
        if samples.insert(series.to_owned(), value).is_some() {
            return Err(fault("a series twice"));
        }
    }
    Ok(samples)
}

/// Whether this is nothing, or `{name="value",...}` of values that need no escape.
fn labels_are_good(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let within = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    within.is_some_and(|labels| {
        labels.split(',').all(|label| {
            let value = label.split_once('=').map(|(_, value)| value);
            let bare = value
                .and_then(|value| value.strip_prefix('"'))
                .and_then(|value| value.strip_suffix('"'));
            bare.is_some_and(|value| !value.contains(['"', '\\', '\n']))
        })
    })
}

/// One connection to the stream of events.
struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(sidecar: &Sidecar, last: Option<&Entry>) -> Self {
        let mut stream = TcpStream::connect(&sidecar.address).await.unwrap();
        let resumes = last.map_or(String::new(), |last| {
            format!("Last-Event-ID: {}\r\n", last.id)
        });
        let host = &sidecar.address;
        let request = format!("GET /api/v1/events HTTP/1.0\r\nHost: {host}\r\n{resumes}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self(BufReader::new(stream));
        let head = stream.block().await;
        assert!(head[0].contains(" 200 "), "{head:?}");
        let kind = "content-type: text/event-stream";
        assert!(head.iter().any(|line| line.to_lowercase() == kind));
        stream
    }

    /// The lines up to the next empty one.
    async fn block(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let reading = async {
            loop {
                let mut line = String::new();
                let length = self.0.read_line(&mut line).await.unwrap();
                assert!(length > 0, "the stream ended");
                let line = line.trim_end();
                if line.is_empty() {
                    return;
                }
                lines.push(line.to_owned());
            }
        };
        tokio::time::timeout(HANG_GUARD, reading)
            .await
            .expect("the stream goes on");
        lines
    }

    /// The next entries, each under its own id and as the event that it is.
    async fn entries(&mut self, count: usize) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < count {
            let block = self.block().await;
            let field = |name: &str| block.iter().find_map(|line| line.strip_prefix(name));
            let Some(data) = field("data: ") else {
                continue;
            };
            let entry: Entry = serde_json::from_str(data).unwrap_or_else(|error| {
                panic!("{error}: {block:?}");
            });
            assert_eq!(field("id: "), Some(entry.id.to_string().as_str()));
            assert_eq!(field("event: "), Some("decision"));
            entries.push(entry);
        }
        entries
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_resume_after_the_last_one_without_a_gap() {
    let mut service = Service::absent();
    // Without work there are decisions and nothing else.
    service.listen();
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let mut stream = Stream::open(&sidecar, None).await;
    let first = stream.entries(3).await;
    drop(stream);
    let last = first.last().unwrap();
    until("events that nobody heard", || async {
        let entries = sidecar.decisions().await.entries;
        let newest = entries.last()?.id.sequence;
        (newest >= last.id.sequence + 3).then_some(())
    })
    .await;
    let second = Stream::open(&sidecar, Some(last)).await.entries(6).await;
    let ids = first.iter().chain(&second).map(|entry| &entry.id);
    let ids: Vec<_> = ids.map(|id| (id.boot.as_str(), id.sequence)).collect();
    let start = first[0].id.sequence;
    let expected = (start..).map(|number| (last.id.boot.as_str(), number));
    assert_eq!(ids, expected.take(9).collect::<Vec<_>>());
}
