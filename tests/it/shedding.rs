//! What is given up first when too much is asked for: pages, then profiles, and never the undoing of a change.

use crate::support::{HANG_GUARD, Service, Sidecar, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use trimtab_protocol::decision::Action;
use trimtab_protocol::view::{Decisions, EntryBody, Samples};

/// The seats that anybody may take; those beyond are for health checks.
const SEATS: usize = 240;
/// All seats.
const CONNECTIONS: usize = 256;

/// A connection that stays open between requests, and so keeps its seat.
struct Seat {
    stream: TcpStream,
    host: String,
}

impl Seat {
    /// Takes a seat by asking for what everybody may ask for.
    async fn take(address: &str) -> Self {
        let mut seat = Self::connect(address).await;
        assert_eq!(seat.get("/livez").await.0, 200);
        seat
    }

    async fn connect(address: &str) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            host: address.to_owned(),
        }
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::timeout(HANG_GUARD, self.answer())
            .await
            .expect("an answer")
    }

    async fn answer(&mut self) -> (u16, String) {
        let mut bytes = Vec::new();
        let head = loop {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(
                self.stream.read_buf(&mut bytes).await.unwrap() > 0,
                "closed"
            );
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = bytes.split_off(head);
        if text.contains("transfer-encoding: chunked") {
            while !body.ends_with(b"0\r\n\r\n") {
                assert!(self.stream.read_buf(&mut body).await.unwrap() > 0, "cut");
            }
            return (status, joined(&String::from_utf8(body).unwrap()));
        }
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        while body.len() < length {
            assert!(self.stream.read_buf(&mut body).await.unwrap() > 0, "cut");
        }
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn json<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> T {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn ticks(&mut self) -> usize {
        let samples: Samples = self.json("/api/v1/hosts/shop/samples?limit=3600").await;
        samples.samples.len()
    }

    /// Trials that the sidecar undid.
    async fn undone(&mut self) -> usize {
        let decisions: Decisions = self.json("/api/v1/hosts/shop/decisions?limit=1000").await;
        let undone = |entry: &&trimtab_protocol::view::Entry| matches!(&entry.body, EntryBody::Decision(decision) if decision.action == Action::RollBack);
        decisions.entries.iter().filter(undone).count()
    }
}

/// The pieces of a body as one.
fn joined(mut pieces: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = pieces.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body += &rest[..length];
        pieces = rest[length..].trim_start_matches("\r\n");
    }
    body
}

/// Work that gets in its own way: one more at a time makes all of it slower, so a growth does harm.
fn arrive(service: &Service) -> JoinHandle<()> {
    let (pool, busy) = (service.pool.clone(), Arc::new(AtomicU32::new(0)));
    tokio::spawn(async move {
        let mut arrivals = tokio::time::interval(Duration::from_millis(5));
        loop {
            arrivals.tick().await;
            let (pool, busy) = (pool.clone(), Arc::clone(&busy));
            tokio::spawn(async move {
                pool.run(async move {
                    let others = busy.fetch_add(1, Ordering::SeqCst) + 1;
                    tokio::time::sleep(Duration::from_millis(10) * others * others).await;
                    busy.fetch_sub(1, Ordering::SeqCst);
                })
                .await
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_given_up_first_then_profiles_and_never_the_undoing_of_a_change() {
    let mut service = Service::absent();
    service.listen();
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    let address = &sidecar.address;

    // Everybody's seats are taken, by people who got their answer and stay.
    let mut seats = Vec::new();
    while seats.len() < SEATS {
        seats.push(Seat::take(address).await);
    }
    // Pages are refused first: whoever comes now is told so, and probes are answered.
    for path in ["/", "/plain", "/metrics", "/api/v1/hosts", "/flamegraph"] {
        let (status, body) = Seat::connect(address).await.get(path).await;
        assert_eq!(status, 503, "{path}: {body}");
    }
    let mut probe = Seat::take(address).await;
    assert_eq!(probe.get("/readyz").await.0, 200);

    // Profiles are not: who has a seat gets one. Then theirs is full as well, and the next of another sort is told to wait.
    let mut first = seats.pop().unwrap();
    let (status, told) = first.get("/flamegraph?seconds=1").await;
    let samples = status == 200;
    assert!(samples || status == 404, "{status} {told}");
    let profile = tokio::spawn(async move {
        // Whoever of the two sorts comes first is taken first.
        while first.get("/flamegraph?seconds=60").await.0 == 429 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut regular = seats.pop().unwrap();
    if samples {
        until("the profiler to be taken", || {
            let other = seats.pop();
            async {
                let (status, told) = other?.get("/flamegraph?seconds=1&hz=49").await;
                assert!(status == 200 || status == 429, "{status} {told}");
                (status == 429).then_some(())
            }
        })
        .await;
    }
    // And the last seats, which are kept for probes.
    let mut probes = Vec::new();
    while probes.len() < CONNECTIONS {
        let mut probe = Seat::connect(address).await;
        if probe.get("/livez").await.0 == 503 {
            break;
        }
        probes.push(probe);
    }
    assert!(probes.len() >= CONNECTIONS - SEATS - 1, "{}", probes.len());

    // All that is full, a change is tried, does harm, and is undone; and ticks go on.
    let ticks = regular.ticks().await;
    assert_eq!(regular.undone().await, 0);
    let load = arrive(&service);
    service.until_trial().await;
    while regular.undone().await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    service.until_no_trial().await;
    assert_eq!(service.workers().await, 2);
    assert!(regular.ticks().await > ticks + 4);
    let late = Seat::connect(address).await.get("/").await.0;
    assert_eq!(late, 503, "all seats are still taken");
    if samples {
        assert!(!profile.is_finished(), "the profile is still being taken");
    }
    profile.abort();
    load.abort();
}
