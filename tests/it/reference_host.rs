//! The reference host as a process of its own, under load, with the profiles that its demo ships.

use crate::support::{Service, Sidecar, example, http, until};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::view::{DecisionRecord, Entry, EntryBody};

/// As many clients as hold more tasks than the rule's threshold, each of which asks again once it is answered.
const CLIENTS: usize = 90;

struct ReferenceHost {
    child: Child,
    address: String,
}

impl ReferenceHost {
    /// With a queue that takes all clients in, so that none is turned away.
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(example("reference_host"))
            .args(["--end-with-input", "--web", "8:400:5000", "--socket-dir"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut said).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let address = said["http"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    fn load(&self) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for customer in 0..CLIENTS {
            let address = self.address.clone();
            clients.spawn(async move {
                loop {
                    let stream = TcpStream::connect(&address).await.unwrap();
                    let path = format!("/pages/{customer}");
                    http(stream, "GET", &path, &address, None).await;
                }
            });
        }
        clients
    }
}

impl Drop for ReferenceHost {
    fn drop(&mut self) {
        // Its input closes, and it ends what is behind it as well.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn decided(entries: Vec<Entry>, action: Action) -> Option<DecisionRecord> {
    entries.into_iter().find_map(|entry| match entry.body {
        EntryBody::Decision(decision)
            if decision.action == action
                && entry
                    .pool
                    .is_some_and(|pool| pool.as_str() == "page-buffers") =>
        {
            Some(decision)
        }
        _ => None,
    })
}

/// The rule of the demo's `web` counts the host's tasks, and it holds for as long as the rush does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_about_tasks_fires_by_itself_in_a_rush_and_its_value_goes_with_it() {
    let place = Service::absent();
    let directory = place.directory.path().to_owned();
    let host = tokio::task::spawn_blocking(move || ReferenceHost::start(&directory));
    let host = host.await.unwrap();
    let profiles = place.directory.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    let shipped = include_str!("../../examples/demo/profiles/web.toml");
    std::fs::write(profiles.join("web.toml"), shipped).unwrap();
    let line = shipped.lines().position(|line| line.starts_with("when = "));
    let line = u32::try_from(line.unwrap()).unwrap() + 1;

    let own = |text: String| format!("profiles = \"profiles\"\n{text}");
    let sidecar = Sidecar::start_as(&place, "sidecar", own).await;
    let mut load = host.load();
    let buffers = |wanted: &'static str| {
        sidecar.until_status(wanted, move |status| {
            let pool = status.pools.get("page-buffers");
            let knob = pool.and_then(|pool| pool.knobs.get("object_pool"));
            knob.is_some_and(|knob| knob.effective.to_string() == wanted)
        })
    };
    buffers("200").await;
    let tried = until("the rule's trial", || async {
        let entries = sidecar.decisions().await.entries.into_iter();
        let ruled = entries.filter(|entry| match &entry.body {
            EntryBody::Decision(decision) => matches!(decision.reason, Reason::Triggered { .. }),
            _ => false,
        });
        decided(ruled.collect(), Action::Try)
    });
    let tried = tried.await;
    let Reason::Triggered { when, .. } = &tried.reason else {
        panic!("{:?}", tried.reason);
    };
    assert!(when.contains("tasks > "), "{when}");
    let by = tried.bound_by.iter().find(|by| by.line == line);
    assert!(by.is_some(), "{:?}", tried.bound_by);

    // The rush is over; the profile's own value is in force again.
    load.shutdown().await;
    buffers("100").await;
}
