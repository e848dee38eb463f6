//! What is made of some bytes for people and programs to look at: pictures, metrics, and the answers to whatever is asked.

use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, watch};
use tower::ServiceExt;
use trimtab::record::metrics::Metrics;
use trimtab::serve::{Deps, Entrance, router};
use trimtab::view::pack::SampleHistory;
use trimtab::view::ring::Ring;
use trimtab::view::{HostView, View as Seen};
use trimtab_core::moment::{Moment, Span};
use trimtab_flame::{
    Format, Kind, Named, Quality, SVG_BYTES_MAX, Tree, View, read_pprof, write_difference,
};
use trimtab_protocol::view::HostStatus;

const VIEWS: [View; 4] = [View::Flame, View::Icicle, View::Reverse, View::Task];
const FORMATS: [Format; 5] = [
    Format::Svg,
    Format::Folded,
    Format::Pprof,
    Format::Speedscope,
    Format::Firefox,
];

/// Names and figures of a foreign process, as a profile in one of the ways, which the length decides.
pub(crate) fn picture(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let foreign = read_pprof(bytes).ok().map(|foreign| foreign.tree);
    let Some(tree) = foreign.or_else(|| Tree::of_folded(&text).ok()) else {
        return;
    };
    let (view, format) = (VIEWS[bytes.len() % 4], FORMATS[bytes.len() / 4 % 5]);
    let named = Named {
        title: text.chars().take(300).collect(),
        kind: Kind::Cpu,
        tree,
        quality: Quality::default(),
    };
    check(format, &named.write(view, format).unwrap());
    let earlier = Named::default();
    for (before, after) in [(&earlier, &named), (&named, &named)] {
        match write_difference(before, after, view, format) {
            Ok(written) => check(format, &written),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
        }
    }
}

/// What was written is what its format says.
fn check(format: Format, written: &[u8]) {
    match format {
        Format::Svg => check_svg(std::str::from_utf8(written).unwrap()),
        Format::Folded => {
            let text = std::str::from_utf8(written).unwrap();
            assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
        }
        Format::Pprof => drop(read_pprof(written).unwrap()),
        Format::Speedscope | Format::Firefox => {
            serde_json::from_slice::<serde_json::Value>(written).unwrap();
        }
    }
}

/// A picture is XML of a bounded size whose only script is its own.
fn check_svg(svg: &str) {
    assert!(svg.len() <= SVG_BYTES_MAX, "{} bytes", svg.len());
    assert!(
        !svg.contains(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
    );
    let mut reader = Reader::from_str(svg);
    let (mut depth, mut scripts) = (0_usize, 0);
    loop {
        let event = reader.read_event().unwrap();
        if let Event::Start(tag) | Event::Empty(tag) = &event {
            scripts += usize::from(tag.local_name().as_ref() == b"script");
            for attribute in tag.attributes() {
                let attribute = attribute.unwrap();
                let name = attribute.key.as_ref();
                let ours: &[&[u8]] = &[b"onload"];
                assert!(!name.starts_with(b"on") || ours.contains(&name), "{tag:?}");
            }
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    assert!(scripts <= 1, "{scripts} scripts");
}

/// A host as the sidecar sees it, as metrics.
pub(crate) fn metrics(bytes: &[u8]) {
    let Ok(status) = serde_json::from_slice::<HostStatus>(bytes) else {
        return;
    };
    let (_sender, view) = watch::channel(Arc::new(view_of(status)));
    check_metrics(&Metrics::new(view).render().unwrap());
}

fn view_of(status: HostStatus) -> Seen {
    let mut view = Seen::empty("boot");
    let name = status.host.clone();
    let mut samples = SampleHistory::new(16, 1 << 16);
    samples.push(&status.sample);
    let host = HostView {
        status: Arc::new(status),
        at: Moment::from_boot_ns(NOW_NS),
        samples,
        entries: Ring::new(16, 1 << 16),
        deeds: Ring::new(16, 1 << 16),
    };
    view.hosts.insert(name, Arc::new(host));
    view
}

/// The grammar of OpenMetrics' lines, as far as a name of a host could break it.
fn check_metrics(text: &str) {
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1, "{text}");
    for line in text.lines() {
        let told = ["# HELP ", "# TYPE ", "# UNIT "];
        if line == "# EOF" || told.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        let rest = line.trim_start_matches(|letter: char| {
            letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')
        });
        let rest = match rest.strip_prefix('{') {
            Some(labels) => behind_labels(labels).unwrap_or_else(|| panic!("{line:?}")),
            None => rest,
        };
        let figure = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(figure.parse::<f64>().is_ok(), "{line:?}");
    }
}

/// What stands behind labels that are written as they have to be.
fn behind_labels(mut text: &str) -> Option<&str> {
    loop {
        let (name, rest) = text.split_once("=\"")?;
        let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || !name.chars().all(letters) {
            return None;
        }
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next()? {
                (_, '\\') => drop(letters.next().filter(|(_, next)| "\\\"n".contains(*next))?),
                (at, '"') => break at,
                (_, letter) if letter.is_control() => return None,
                _ => {}
            }
        };
        match rest.get(end + 1..)?.split_at_checked(1)? {
            (",", more) => text = more,
            ("}", rest) => return Some(rest),
            _ => return None,
        }
    }
}

const NOW_NS: u64 = 100_000_000_000;
const ASKED: &str = "127.0.0.1:7676";
/// What takes a query, and what does not.
const PATHS: [&str; 12] = [
    "/flamegraph",
    "/flamegraph/diff",
    "/flamegraph/change/7",
    "/heatmap",
    "/debug/pprof/profile",
    "/api/v1/hosts/demo/samples",
    "/api/v1/hosts/demo/decisions",
    "/api/v1/hosts/demo/history",
    "/api/v1/events",
    "/readyz",
    "/plain",
    "/",
];

/// The pages of a sidecar that sees one host and whose profiler is away, and all that they need to be asked.
pub(crate) struct Pages {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
    _open: (watch::Sender<Arc<Seen>>, watch::Sender<bool>),
}

impl Pages {
    pub(crate) fn new() -> Self {
        let status = include_bytes!("../../../crates/protocol/tests/golden/host_status.json");
        let mut status: HostStatus = serde_json::from_slice(status).unwrap();
        status.host = "demo".into();
        let (view_sender, view) = watch::channel(Arc::new(view_of(status)));
        let (close, closing) = watch::channel(false);
        let deps = Deps {
            view,
            entries: broadcast::Sender::new(1),
            metrics: Arc::new(|| Ok("# EOF\n".to_owned())),
            now: Arc::new(|| Moment::from_boot_ns(NOW_NS)),
            wall_ms: Arc::new(|| 0),
            stale_after: Span::from_secs(5),
            // Nobody takes what is asked of the profiler, as when it is busy.
            flame: mpsc::channel(1).0,
            own_profile: None,
            effective: Arc::new(Default::default),
            consider: Arc::new(|_| None),
            names: Vec::new(),
        };
        let addr: SocketAddr = ASKED.parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            router: router(deps, addr, Entrance::default(), closing),
            runtime,
            _open: (view_sender, close),
        }
    }

    /// Asks for a path, which the first letter decides, with the rest as its query. A page says what it has or what is wrong
    /// with the question; it never breaks.
    pub(crate) fn ask(&self, bytes: &[u8]) {
        let Some((first, query)) = bytes.split_first() else {
            return;
        };
        let path = PATHS[usize::from(*first) % PATHS.len()];
        let query: Cow<'_, str> = String::from_utf8_lossy(query);
        let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else {
            return;
        };
        let request = Request::get(uri)
            .header(header::HOST, ASKED)
            .body(Body::empty())
            .unwrap();
        let answer = self
            .runtime
            .block_on(self.router.clone().oneshot(request))
            .unwrap();
        assert_ne!(
            answer.status(),
            StatusCode::INTERNAL_SERVER_ERROR,
            "{path}?{query}"
        );
    }
}
