//! Hosts that die, hang, refuse, or are no hosts at all.

use crate::support::{BRISK, SLOW, Service, Sidecar, example, http, until};
use procfs::net::TcpState;
use procfs::process::{FDTarget, Process};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use trimtab_protocol::decision::{Absence, Action, Reason};
use trimtab_protocol::view::{EntryBody, HostStatus, Readiness, Samples};

/// The example `hello_host` as a process of its own.
struct HelloHost(Child);

impl HelloHost {
    fn start(program: &Path, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(directory).arg("127.0.0.1:0").env_clear();
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Where it serves: the one TCP socket on which it listens.
    async fn address(&self) -> String {
        until("the address of the host", || async {
            listens_at(self.pid().try_into().unwrap())
        })
        .await
    }

    /// Thirty clients, each of which asks again once it is answered: more than ten workers take up at once.
    async fn load(&self) -> JoinSet<()> {
        let address = self.address().await;
        let mut clients = JoinSet::new();
        for _ in 0..30 {
            let address = address.clone();
            clients.spawn(async move {
                loop {
                    let stream = TcpStream::connect(&address).await.unwrap();
                    http(stream, "GET", "/", &address, None).await;
                }
            });
        }
        clients
    }

    /// SIGKILL: it ends nothing and removes nothing.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for HelloHost {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn listens_at(pid: i32) -> Option<String> {
    let process = Process::new(pid).ok()?;
    let files = process.fd().ok()?.flatten();
    let sockets: Vec<u64> = files
        .filter_map(|file| match file.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let mut listeners = process.tcp().ok()?.into_iter();
    let own = listeners
        .find(|entry| entry.state == TcpState::Listen && sockets.contains(&entry.inode))?;
    Some(own.local_address.to_string())
}

fn is_warming_up(status: &HostStatus) -> bool {
    reason(status).is_some_and(|reason| matches!(reason, Reason::WarmingUp { .. }))
}

fn reason(status: &HostStatus) -> Option<&Reason> {
    let decision = status.pools.get("web")?.decision.as_ref()?;
    Some(&decision.reason)
}

async fn readiness(sidecar: &Sidecar) -> (u16, Readiness) {
    let (code, body) = sidecar.get("/readyz?verbose").await;
    (code, serde_json::from_str(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_killed_during_a_trial_comes_back_as_a_stranger() {
    let program = tokio::task::spawn_blocking(|| example("hello_host"))
        .await
        .unwrap();
    // Only its directory is used; the host is another process.
    let place = Service::absent();
    let mut first = HelloHost::start(&program, place.directory.path());
    let mut load = first.load().await;
    let sidecar = Sidecar::start(&place, "sidecar").await;
    let attached = sidecar.until_status("the first host", |status| {
        status.absent.is_none() && status.pid == Some(first.pid())
    });
    let before = attached.await.instance.unwrap();
    until("a trial", || async {
        place.state().await?.pools["web"].trial.clone()
    })
    .await;
    load.shutdown().await;
    first.kill();
    sidecar
        .until_status("the absence", |status| {
            status.absent == Some(Absence::Unreachable)
        })
        .await;
    let (code, readiness) = readiness(&sidecar).await;
    assert!(code == 503 && !readiness.ready);
    assert!(
        place.control_socket().exists(),
        "a killed host leaves its socket behind"
    );

    let second = HelloHost::start(&program, place.directory.path());
    assert_ne!(first.pid(), second.pid());
    let after = sidecar
        .until_status("a warm-up with the second host", |status| {
            status.absent.is_none()
                && status.pid == Some(second.pid())
                && status.sample.rss_bytes > Some(0)
                && is_warming_up(status)
        })
        .await
        .instance
        .unwrap();
    assert_ne!(before, after);
    sidecar
        .until_status("the end of the warm-up", |status| !is_warming_up(status))
        .await;
    let state = place.state().await.unwrap();
    let pool = &state.pools["web"];
    assert_eq!(state.instance, after);
    assert!(pool.revision.0 == 1 && pool.trial.is_none(), "{pool:?}");
    assert_eq!(place.workers().await, 10);
    for entry in sidecar.decisions().await.entries {
        let sends = matches!(entry.body, EntryBody::Intent(_));
        assert!(
            !sends || entry.instance.as_ref() == Some(&before),
            "{entry:?}"
        );
    }
}

/// A program that is no host and listens where the host should.
struct Impostor {
    /// The first line of each request.
    heard: Arc<Mutex<Vec<String>>>,
    accepting: JoinSet<()>,
}

/// What the impostor says: one of these to every request of a connection.
const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"api\":\"none\"}",
    "220 mail.example ready\r\n",
];

impl Impostor {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let notes = Arc::clone(&heard);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            for answer in ANSWERS.iter().cycle() {
                let (stream, _) = listener.accept().await.unwrap();
                // A connection outlives the listener.
                tokio::spawn(answer_all(stream, answer, Arc::clone(&notes)));
            }
        });
        Self { heard, accepting }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// Listens no more, and keeps what it already has.
    async fn stop_listening(&mut self) {
        self.accepting.shutdown().await;
    }
}

/// Answers each request, and never ends the connection.
async fn answer_all(mut stream: UnixStream, answer: &str, notes: Arc<Mutex<Vec<String>>>) {
    let mut request = [0; 4096];
    loop {
        let length = stream.read(&mut request).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request[..length]);
        let line = text.lines().next().unwrap_or_default().to_owned();
        notes.lock().unwrap().push(line);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_on_the_socket_is_no_host_and_gives_way_to_one() {
    let mut service = Service::absent();
    let mut impostor = Impostor::start(&service.control_socket());
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("garbage", |status| status.absent == Some(Absence::Garbage))
        .await;
    until("each answer", || async {
        (impostor.heard().len() > ANSWERS.len()).then_some(())
    })
    .await;
    let status = sidecar.status().await.unwrap();
    assert_eq!(status.absent, Some(Absence::Garbage));
    assert!(!status.lease_ours && status.instance.is_none() && status.pools.is_empty());
    let (code, readiness) = readiness(&sidecar).await;
    assert!(code == 503 && !readiness.ready);
    assert!(!readiness.checks["host shop"].ok && readiness.checks["ledger"].ok);

    impostor.stop_listening().await;
    service.listen();
    sidecar
        .until_status("the host", |status| {
            status.absent.is_none() && status.app == "shop"
        })
        .await;
    for line in impostor.heard() {
        assert_eq!(line, "GET /trimtab/v1/state HTTP/1.1");
    }
}

/// A runtime of the service's own, whose workers a test can block.
struct OtherRuntime(Option<Runtime>);

/// The threads that run the service's work.
const WORKERS: usize = 2;

impl OtherRuntime {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(WORKERS).enable_all();
        Self(Some(builder.build().unwrap()))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().unwrap()
    }

    /// Blocks every worker until what this returns is dropped.
    async fn block(&self) -> Vec<mpsc::Sender<()>> {
        let blocked = Arc::new(AtomicUsize::new(0));
        let mut releases = Vec::new();
        for _ in 0..WORKERS {
            let (release, gate) = mpsc::channel::<()>();
            let blocked = Arc::clone(&blocked);
            self.runtime().spawn(async move {
                blocked.fetch_add(1, Ordering::SeqCst);
                // An error is what it waits for: the sender is gone.
                assert!(gate.recv().is_err());
            });
            releases.push(release);
        }
        until("blocked workers", || async {
            (blocked.load(Ordering::SeqCst) == WORKERS).then_some(())
        })
        .await;
        releases
    }
}

impl Drop for OtherRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_workers_are_all_blocked_is_still_observed() {
    let other = OtherRuntime::new();
    let service = {
        let _inside = other.runtime().enter();
        Service::start(BRISK)
    };
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("a busy host", |status| {
            let sample = status.sample.pools.get("web");
            let works = sample.is_some_and(|sample| sample.goodput_per_s > Some(10.0));
            status.lease_ours && works
        })
        .await;

    let releases = other.block().await;
    let probe = other.runtime().spawn(async {});
    let blocked = service.state().await.unwrap();
    let told = sidecar.until_status("the hang to be told", |status| {
        assert_eq!(status.absent, None);
        reason(status).is_some_and(|reason| matches!(reason, Reason::Stuck { .. }))
    });
    let told = told.await;
    assert!(told.lease_ours && told.age_ms.is_some());
    let still = service.state().await.unwrap();
    let (before, now) = (&blocked.pools["web"], &still.pools["web"]);
    assert_eq!(before.counters.completed, now.counters.completed);
    assert!(
        now.counters.busy_us > before.counters.busy_us,
        "time goes on in a hang"
    );
    assert!(
        !probe.is_finished(),
        "every worker was blocked all the time"
    );
    let samples: Samples = sidecar.json("/api/v1/hosts/shop/samples").await;
    let hung = samples.samples.iter().rev().take(4);
    for sample in hung {
        assert!(sample.pools["web"].workers.is_some(), "{sample:?}");
    }

    drop(releases);
    sidecar
        .until_status("work that is done again", |status| {
            let goodput = status.sample.pools["web"].goodput_per_s;
            goodput > Some(0.0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_switched_control_off_is_watched_and_left_alone() {
    let mut service = Service::absent();
    service.listen_as(|builder| builder.control_disabled(true));
    service.arrive(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the refusal to be seen", |status| {
            reason(status) == Some(&Reason::NotOffered)
        })
        .await;
    // A trial would begin about now, and a lease would have been taken at the first look.
    until("work that waits", || async {
        let status = sidecar.status().await?;
        (status.sample.pools["web"].queued > Some(4.0)).then_some(())
    })
    .await;
    let decisions = until("ten more decisions", || async {
        let found = sidecar.decisions().await.entries;
        let refused = found.iter().filter(|entry| match &entry.body {
            EntryBody::Decision(decision) => decision.reason == Reason::NotOffered,
            EntryBody::Intent(_)
            | EntryBody::Outcome(_)
            | EntryBody::Command(_)
            | EntryBody::Reload(_) => false,
        });
        (refused.count() >= 10).then_some(found)
    })
    .await;
    for entry in decisions {
        let EntryBody::Decision(decision) = &entry.body else {
            panic!("nothing may be sent: {entry:?}");
        };
        assert_eq!(decision.action, Action::Hold, "{entry:?}");
    }
    let state = service.state().await.unwrap();
    assert!(state.control_disabled);
    assert!(
        state.lease.is_none() && state.epoch.0 == 0,
        "no lease was ever taken"
    );
    assert_eq!(state.pools["web"].revision.0, 1);
    assert_eq!(service.workers().await, 2);
    assert!(!sidecar.status().await.unwrap().lease_ours);
}
