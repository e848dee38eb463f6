//! What the calls answer.

use crate::client::{Calls, raw, send};
use crate::part::Mood;
use crate::{Bench, LONG, block_on};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus, Phase};
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::name::{Epoch, Generation, Revision};
use trimtab_protocol::operator::OperatorReceipt;
use trimtab_protocol::problem::{Fence, ProblemKind};
use trimtab_protocol::state::{PoolKind, feature};

#[test]
fn the_state_tells_everything() {
    let bench = Bench::new();
    let state = bench.state();
    assert_eq!(
        (state.api, state.app.as_str(), state.version.as_str()),
        (1, "shop", "1.2.3")
    );
    assert_eq!(state.labels["zone"], "a");
    assert_eq!(&state.instance, bench.host.instance());
    assert_eq!(state.pid, std::process::id());
    assert!(state.offers(feature::CHANGES) && state.offers(feature::PINS));
    assert!(!state.frozen && !state.freeze_persistent && !state.control_disabled);
    assert!(state.process.cpu_us.is_some() && state.process.rss_bytes > Some(0));
    assert_eq!(state.process.kit_failures, Some(0));
    let pool = &state.pools["web"];
    assert_eq!((pool.kind, pool.phase), (PoolKind::Web, Phase::Baseline));
    assert_eq!(
        (pool.counters.arrived, pool.gauges.busy),
        (Some(7), Some(3))
    );
    assert_eq!(pool.knobs["workers"].max, 64);
    assert!(!pool.settling);
}

#[test]
fn a_change_goes_from_trial_to_confirmed() {
    let bench = Bench::new();
    let grant: LeaseGrant = bench.lease("a", 30_000).ok();
    assert_eq!((grant.epoch, grant.expires_in_ms), (Epoch(1), 30_000));
    let body = bench.planned(600_000, &json!({ "workers": 12, "queue_limit": 150 }));
    let first: ChangeReceipt = bench.sidecar("POST", "/changes", &body).ok();
    assert_eq!(
        (first.status, first.generation),
        (ChangeStatus::Trial, Generation(1))
    );
    assert_eq!((bench.part.workers(), bench.part.queue_limit()), (12, 150));
    let again: ChangeReceipt = bench.sidecar("POST", "/changes", &body).ok();
    assert_eq!(again, first, "a retry gets the first answer");
    let state = bench.state();
    assert_eq!(
        state.lease.as_ref().map(|lease| lease.holder.as_str()),
        Some("a")
    );
    let trial = state.pools["web"].trial.as_ref().expect("open");
    assert!(trial.expires_in_ms <= 30_000, "the lease ends first");
    let kept: ChangeReceipt = bench.end(1, "confirm").ok();
    assert_eq!(
        (kept.status, kept.revision),
        (ChangeStatus::Confirmed, Revision(2))
    );
    let again: ChangeReceipt = bench.end(1, "confirm").ok();
    assert_eq!(again, kept);
    let late = bench.end(1, "rollback").problem();
    assert_eq!(
        late.receipt.map(|receipt| receipt.status),
        Some(ChangeStatus::Confirmed)
    );
    let release = json!({ "instance": bench.host.instance(), "epoch": 1 });
    assert_eq!(bench.sidecar("DELETE", "/lease", &release).status, 204);
    assert_eq!(bench.part.workers(), 12, "a confirmed set is held");
}

/// Blocks both workers of a service until the answer is dropped.
fn block(service: &Runtime) -> Vec<Sender<()>> {
    let (blocked, wait) = channel();
    let locks = [(); 2].map(|()| {
        let (unlock, lock) = channel::<()>();
        let blocked = blocked.clone();
        service.spawn(async move {
            blocked.send(()).expect("the test waits");
            // It fails when the test is over, which is what it waits for.
            lock.recv().unwrap_or_default();
        });
        unlock
    });
    for _ in &locks {
        wait.recv_timeout(LONG).expect("a worker blocks");
    }
    locks.into()
}

/// Whether a control API says anything within a time.
fn answers(socket: &Path, within: Duration) -> bool {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(within)).expect("it is ours");
    let request = b"GET /trimtab/v1/state HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).expect("it is taken");
    stream.read(&mut [0]).is_ok_and(|read| read == 1)
}

/// A seeded bug: a control API that the service's own workers answer.
struct AnswersOnTheServicesWorkers;

impl AnswersOnTheServicesWorkers {
    fn start(service: &Runtime, socket: &Path) {
        let within = service.enter();
        let listener = UnixListener::bind(socket).expect("it is ours");
        drop(within);
        service.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A socket that is closed with something unread in it takes the answer along.
                drop(stream.read(&mut [0; 256]).await);
                // Whoever asked may have given up.
                drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{}").await);
            }
        });
    }
}

#[test]
fn a_state_that_waits_for_the_services_workers_is_found() {
    let service = two_workers();
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("control.sock");
    AnswersOnTheServicesWorkers::start(&service, &socket);
    let locks = block(&service);
    assert!(!answers(&socket, Duration::from_millis(300)));
    drop(locks);
    assert!(answers(&socket, LONG), "nothing else is wrong with it");
}

fn two_workers() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn the_state_answers_while_every_worker_of_the_service_is_blocked() {
    let service = two_workers();
    let handle = service.handle().clone();
    let bench = Bench::with(|builder| builder.runtime("main", handle));
    let locks = block(&service);
    assert!(answers(bench.host.control_socket(), LONG));
    let state = bench.state();
    assert_eq!(state.process.runtimes["main"].workers, Some(2));
    assert_eq!(state.process.tasks, Some(2));
    // A whole change works too, undo included.
    assert_eq!(bench.lease("a", 30_000).status, 200);
    bench
        .change(1_000, &json!({ "workers": 12 }))
        .ok::<ChangeReceipt>();
    assert_eq!((bench.part.next_set(), bench.part.next_set()), (12, 8));
    drop(locks);
}

#[test]
fn a_refusal_says_what_would_have_been_right() {
    let bench = Bench::new();
    let stale = bench.change(2_000, &json!({ "workers": 9 })).problem();
    assert_eq!(
        (stale.kind, stale.fence),
        (ProblemKind::Stale, Some(Fence::Epoch))
    );
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let value = bench.change(2_000, &json!({ "workers": 40 })).problem();
    assert_eq!(
        value.allowed.map(|allowed| (allowed.min, allowed.max)),
        Some((4, 16))
    );
    let leased = bench.lease("b", 5_000);
    assert_eq!(leased.problem().holder.as_deref(), Some("a"));
    assert!(leased.head.contains("retry-after: "), "{leased:?}");
    let mut body = bench.planned(2_000, &json!({ "workers": 9 }));
    body["instance"] = json!("another");
    assert_eq!(
        bench.sidecar("POST", "/changes", &body).problem().fence,
        Some(Fence::Instance)
    );
    assert_eq!(bench.end(9, "confirm").kind(), ProblemKind::Unknown);
    assert_eq!(
        (bench.part.workers(), bench.state().generation),
        (8, Generation(0))
    );
}

#[test]
fn a_body_must_be_json_and_nothing_else() {
    let bench = Bench::new();
    let mut body = bench.planned(2_000, &json!({ "workers": 9 }));
    body["workres"] = json!(9);
    let unknown = bench.sidecar("POST", "/changes", &body).problem();
    assert_eq!(unknown.kind, ProblemKind::Malformed);
    assert!(unknown.detail.contains("workres") && unknown.detail.contains("line 1 column"));
    assert_eq!(
        bench.sidecar("POST", "/changes", &json!([])).kind(),
        ProblemKind::Malformed
    );
    let socket = bench.host.control_socket();
    let form = b"POST /trimtab/v1/lease HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(raw(socket, form).kind(), ProblemKind::MediaType);
    assert_eq!(
        send(socket, "GET", "/trimtab/v1/nothing", None).kind(),
        ProblemKind::Unknown
    );
    let wrong = send(socket, "PUT", "/trimtab/v1/lease", None);
    assert_eq!(wrong.kind(), ProblemKind::Method);
    assert!(wrong.head.contains("allow: post, delete"), "{wrong:?}");
}

#[test]
fn a_knob_that_fails_takes_the_whole_change_with_it() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let set = json!({ "queue_limit": 150, "workers": 12 });
    for mood in [Mood::Refuses, Mood::Panics] {
        bench.part.mood(mood);
        let problem = bench.change(2_000, &set).problem();
        assert_eq!(problem.kind, ProblemKind::KnobFailed, "{mood:?}");
        assert_eq!((bench.part.workers(), bench.part.queue_limit()), (8, 100));
        assert!(!bench.part.fuse.is_burnt());
    }
    let state = bench.state();
    assert_eq!(
        (state.generation, state.pools["web"].revision),
        (Generation(0), Revision(1))
    );
    assert!(state.process.kit_failures >= Some(1));
    bench.part.mood(Mood::Obeys);
    // The knob of which nothing is known after its panic is first told to stand where it stood.
    assert_eq!(bench.part.next_set(), 8);
    bench.change(2_000, &set).ok::<ChangeReceipt>();
}

#[test]
fn an_operator_pins_and_resets() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(60_000, &json!({ "queue_limit": 150 }))
        .ok::<ChangeReceipt>();
    let pin = json!({ "value": 40, "for_ms": 60_000 });
    let receipt: OperatorReceipt = bench.operator("PUT", "/pins/web/workers", Some(&pin)).ok();
    assert_eq!(
        receipt.pools["web"].values["workers"].as_integer(),
        Some(40)
    );
    let ended = bench.end(1, "confirm").problem();
    assert_eq!(
        ended.receipt.map(|receipt| receipt.status),
        Some(ChangeStatus::Superseded)
    );
    assert_eq!((bench.part.workers(), bench.part.queue_limit()), (40, 100));
    assert!(
        bench.state().pools["web"].knobs["workers"]
            .pinned_for_ms
            .is_some()
    );
    assert_eq!(
        bench.change(2_000, &json!({ "workers": 50 })).kind(),
        ProblemKind::Pinned
    );
    bench
        .operator("DELETE", "/pins/web/workers", None)
        .ok::<OperatorReceipt>();
    assert_eq!(bench.part.workers(), 8);
    bench
        .change(60_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    bench.end(2, "confirm").ok::<ChangeReceipt>();
    bench
        .operator("POST", "/reset", None)
        .ok::<OperatorReceipt>();
    assert_eq!(bench.part.workers(), 8);
    let body = json!({ "pool": "none" });
    assert_eq!(
        bench.operator("POST", "/reset", Some(&body)).kind(),
        ProblemKind::Unknown
    );
}

#[test]
fn a_host_that_ends_undoes_and_cleans_up() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(60_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    let Bench { host, part, dir } = bench;
    block_on(host.shutdown());
    assert_eq!(part.workers(), 8);
    let left = std::fs::read_dir(dir.path().join("sockets"))
        .expect("there")
        .count();
    assert_eq!(left, 0);
}

#[test]
fn a_handle_that_is_dropped_ends_the_host() {
    let bench = Bench::new();
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    bench
        .change(60_000, &json!({ "workers": 16 }))
        .ok::<ChangeReceipt>();
    let Bench {
        host,
        part,
        dir: _dir,
    } = bench;
    drop(host);
    assert_eq!((part.next_set(), part.next_set()), (16, 8));
}
