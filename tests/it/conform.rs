//! The contract for everyone else: what the corpus says of the reference host, and of a host that is no Rust.

use crate::support::{Service, Sidecar, http, run, trimtab, until};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trimtab::conform::{Case, Report, Target, Verdict, check, corpus, record};

/// Set for once, this writes the recorded parts of the corpus anew.
const UPDATE: &str = "UPDATE_CORPUS";

fn target(service: &Service) -> Target {
    let door = |path: &Path| path.to_str().unwrap().parse().unwrap();
    Target {
        control: door(&service.control_socket()),
        operator: Some(door(&service.operator_socket())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_corpus_is_what_the_reference_host_does() {
    let mut service = Service::absent();
    service.listen();
    let target = target(&service);
    for (name, case) in corpus() {
        let recorded = record(&target, &case).await.unwrap();
        let recorded = recorded.unwrap_or_else(|why| panic!("{name}: {why}"));
        if std::env::var_os(UPDATE).is_some() {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conform");
            let text = serde_json::to_string_pretty(&recorded).unwrap() + "\n";
            std::fs::write(format!("{root}/{name}.json"), text).unwrap();
        } else {
            assert_eq!(recorded, case, "{name}: record it with {UPDATE}=1");
        }
    }
}

/// The host in Python's standard library, as a process of its own.
struct PythonHost {
    child: Child,
    address: String,
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python_host.py");
const BROKEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conform/broken_host.py");

impl PythonHost {
    /// Starts it with a rule taken out, or `none`.
    fn start(place: &Service, rule: &str) -> Self {
        let mut child = Command::new("python3")
            .args([BROKEN, rule, EXAMPLE])
            .arg(place.directory.path())
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").trim_matches('/');
        Self {
            child,
            address: address.to_owned(),
        }
    }

    /// Clients each of which asks again once it is answered: more than two workers take up at once.
    fn load(&self, clients: usize) -> JoinSet<()> {
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let address = self.address.clone();
            all.spawn(async move {
                loop {
                    let stream = TcpStream::connect(&address).await.unwrap();
                    http(stream, "GET", "/", &address, None).await;
                }
            });
        }
        all
    }
}

impl Drop for PythonHost {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether there is a Python to run the host with. Where there is none, the test says so and is no test.
#[expect(
    clippy::print_stderr,
    reason = "who runs the tests should see what was not run"
)]
fn python_for(test: &str) -> bool {
    let version = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 10))"])
        .status();
    let there = version.is_ok_and(|status| status.success());
    if !there {
        eprintln!("{test}: skipped, for there is no python3 of version 3.10 or later");
    }
    there
}

fn conform(place: &Service, operator: bool) -> (i32, serde_json::Value) {
    let mut command = trimtab();
    command.args(["conform", "-o", "json"]);
    command.arg(place.control_socket());
    if operator {
        command.arg("--operator").arg(place.operator_socket());
    }
    let (code, out, err) = run(&mut command);
    let report = serde_json::from_str(&out);
    (code, report.unwrap_or_else(|_| panic!("{out}{err}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_host_has_level_2_and_without_its_operator_1_is_shown() {
    let mut service = Service::absent();
    service.listen();
    for (operator, level) in [(true, 2), (false, 1)] {
        let (code, report) = tokio::task::block_in_place(|| conform(&service, operator));
        assert_eq!((code, &report["level"]), (0, &level.into()), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_python_has_level_2() {
    if !python_for("a_host_in_python_has_level_2") {
        return;
    }
    let place = Service::absent();
    let _host = PythonHost::start(&place, "none");
    let (code, report) = tokio::task::block_in_place(|| conform(&place, true));
    assert_eq!((code, &report["level"]), (0, &2.into()), "{report:#}");
}

/// A rule that is taken out of the host in Python, and the case that has to notice.
const NOTICED: [(&str, &str); 15] = [
    ("instance", "21"),
    ("epoch", "20"),
    ("generation", "22"),
    ("revision", "13"),
    ("bounds", "14"),
    ("step", "15"),
    ("rate", "36"),
    ("retry", "24"),
    ("dead_man", "27"),
    ("release", "29"),
    ("lease", "26"),
    ("freeze", "31"),
    ("pin", "33"),
    ("operator", "30"),
    ("strict", "16"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_taken_out_of_a_host_is_noticed() {
    if !python_for("a_rule_that_is_taken_out_of_a_host_is_noticed") {
        return;
    }
    for (rule, number) in NOTICED {
        let place = Service::absent();
        let _host = tokio::task::block_in_place(|| PythonHost::start(&place, rule));
        let cases: Vec<Case> = corpus()
            .into_iter()
            .filter(|(name, _)| name.starts_with(number))
            .map(|(_, case)| case)
            .collect();
        let report: Report = check(&target(&place), &cases).await.unwrap();
        assert_eq!(report.cases.len(), 1);
        let verdict = &report.cases[0].verdict;
        let Verdict::Deviates { differences, .. } = verdict else {
            panic!("{rule}: {verdict:?}");
        };
        assert!(!differences.is_empty());
        assert_eq!(report.level, cases[0].level.checked_sub(1), "{rule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_tunes_a_host_that_is_no_rust() {
    if !python_for("the_sidecar_tunes_a_host_that_is_no_rust") {
        return;
    }
    let place = Service::absent();
    let host = tokio::task::block_in_place(|| PythonHost::start(&place, "none"));
    let mut load = host.load(12);
    let sidecar = Sidecar::start(&place, "sidecar").await;
    let first = sidecar.until_status("work with two workers", |status| {
        let sample = status.sample.pools.get("web");
        status.lease_ours && sample.is_some_and(|sample| sample.goodput_per_s > Some(1.0))
    });
    let first = first.await;
    assert_eq!((first.app.as_str(), first.conformance), ("python-host", 2));
    assert_eq!(first.pid, Some(host.child.id()));
    let before = first.sample.pools["web"].goodput_per_s.unwrap();
    let better = sidecar.until_status("twice the goodput with workers that were kept", |status| {
        let pool = &status.pools["web"];
        let kept = pool.changes.kept >= 2 && pool.knobs["workers"].value.as_integer() >= Some(6);
        kept && status.sample.pools["web"].goodput_per_s >= Some(2.0 * before)
    });
    better.await;
    let state = until("the state", || place.state()).await;
    assert_eq!(state.pools["web"].counters.failed, Some(0));
    load.shutdown().await;
}
