//! Serve over a view made by hand. The stage and the table of routes are here; who may ask, what is answered and the stream of
//! events have files of their own.

mod answers;
mod attacks;
mod door;
mod flame;
mod stream;

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
    KnobStatus, Overview, PoolSample, PoolStatus, Readiness, Sample, Samples,
};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const HOST: &str = "127.0.0.1:7676";

/// When entries were written.
const WROTE_MS: u64 = 1_790_000_000_000;

/// A view that a test changes as record would.
pub(super) struct Stage {
    sender: watch::Sender<Arc<View>>,
    entries: broadcast::Sender<Arc<Stored>>,
    pub(super) close: watch::Sender<bool>,
    flame: mpsc::Sender<FlameCall>,
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
            flame: flame::profiler(),
        }
    }

    pub(super) fn deps(&self) -> Deps {
        Deps {
            view: self.sender.subscribe(),
            entries: self.entries.clone(),
            metrics: Arc::new(|| Ok("# TYPE a counter\na_total 1\n# EOF\n".to_owned())),
            now: Arc::new(|| Moment::from_boot_ns(101 * SECOND)),
            wall_ms: Arc::new(|| WROTE_MS + 11_000),
            stale_after: Span::from_secs(5),
            flame: self.flame.clone(),
            effective: Arc::new(EffectiveConfiguration::default),
            consider: Arc::new(|draft| {
                (draft.profile == "web").then(|| DraftVerdict {
                    problems: Vec::new(),
                    changes: Vec::new(),
                    needs_approval: draft.text.is_empty(),
                })
            }),
            own_profile: None,
            names: vec!["trimtab.example:8080".to_owned()],
        }
    }

    pub(super) fn router(&self) -> Router {
        self.router_of(HOST.parse().unwrap(), Entrance::default())
    }

    /// The same at another address, or for others.
    pub(super) fn router_of(&self, addr: SocketAddr, entrance: Entrance) -> Router {
        router(self.deps(), addr, entrance, self.close.subscribe())
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
        at_ms: WROTE_MS,
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
        action: Some(action),
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
        pinned_for_ms: None,
    };
    let pool = PoolStatus {
        profile: "web".to_owned(),
        profile_basis: None,
        phase: Phase::Trial,
        generation: Generation(3),
        trial_expires_in_ms: None,
        knobs: BTreeMap::from([(KnobName::from("workers"), knob)]),
        figures: BTreeMap::new(),
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
        lease_expires_in_ms: None,
        epoch: None,
        uptime_ms: None,
        held: BTreeMap::new(),
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
        let path = path.replace("{id}", "demo").replace("{generation}", "7");
        if path == guard::CHECK_PATH {
            continue;
        }
        let answer = Stage::with_change().get(&path).await;
        let absent = path.starts_with("/ui/") && !dashboard::is_bundled();
        let expected = if absent {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        assert_eq!(answer.status, expected, "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn only_a_loopback_address_is_bound() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"] {
        let address = address.parse().unwrap();
        let error = bind(address, Reach::Loopback).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        // What may be bound beyond it is asked and not tried: a test listens to no other machine.
        check(address, Reach::Remote).unwrap();
    }
    let own = "127.0.0.1:0".parse().unwrap();
    let (_listener, addr) = bind(own, Reach::Loopback).await.unwrap();
    assert_ne!(addr.port(), 0);
}
