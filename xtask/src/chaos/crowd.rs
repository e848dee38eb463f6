//! A crowd at the pages: many more than there are seats, most of whom want nothing but to hold one.

use super::world::{Sidecar, World};
use super::{Bench, Outcome, pause, wire};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What the crowd is made of: listeners who never read, people who want graphs, and connections that say a letter a second.
const LISTENERS: usize = 1_000;
const GRAPHS: usize = 1_000;
const SLOW: usize = 2_000;
/// Whoever was turned away comes again, so many a second.
const CHURN: usize = 50;
/// The interval of the sidecars of a campaign.
const INTERVAL_NS: u64 = 250_000_000;
/// The memory that a sidecar may have, in KiB, whoever comes.
const RSS_KIB_MAX: u64 = 96 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Listen,
    Graph,
    Slow,
}

impl Wish {
    fn words(self, host: &str) -> String {
        match self {
            Self::Listen => format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Self::Graph => format!("GET /flamegraph?seconds=2 HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            Self::Slow => "G".to_owned(),
        }
    }
}

struct Crowd {
    address: String,
    people: Vec<(Wish, TcpStream)>,
    attempts: usize,
    told: BTreeMap<(Wish, String), usize>,
}

impl Crowd {
    fn join(&mut self, wish: Wish) {
        self.attempts += 1;
        let Ok(mut stream) = TcpStream::connect(&self.address) else {
            return self.note(wish, "no connection");
        };
        let asked = stream.write_all(wish.words(&self.address).as_bytes());
        if asked.and_then(|()| stream.set_nonblocking(true)).is_ok() {
            self.people.push((wish, stream));
        } else {
            self.note(wish, "closed");
        }
    }

    fn note(&mut self, wish: Wish, what: &str) {
        *self.told.entry((wish, what.to_owned())).or_default() += 1;
    }

    /// A second passes: the slow ones say one more letter, those who were turned away go, and others come in their place.
    fn second(&mut self) {
        let mut left = Vec::new();
        for (wish, mut stream) in std::mem::take(&mut self.people) {
            if wish == Wish::Listen {
                // It never reads, whatever is sent to it.
                left.push((wish, stream));
                continue;
            }
            if wish == Wish::Slow {
                drop(stream.write(b"E"));
            }
            let mut head = [0; 12];
            match stream.read(&mut head) {
                Ok(0) => self.note(wish, "closed"),
                Ok(length) => {
                    let text = String::from_utf8_lossy(head.get(..length).unwrap_or_default());
                    let status = text.split(' ').nth(1).unwrap_or("cut");
                    self.note(wish, status);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    left.push((wish, stream));
                }
                Err(_) => self.note(wish, "reset"),
            }
        }
        self.people = left;
        for number in 0..CHURN {
            self.join([Wish::Graph, Wish::Slow][number % 2]);
        }
    }

    /// Looks at last what the listeners were told.
    fn leave(mut self) -> String {
        for (wish, mut stream) in std::mem::take(&mut self.people) {
            let mut head = [0; 12];
            let status = match stream.read(&mut head) {
                Ok(12) => String::from_utf8_lossy(&head[9..]).into_owned(),
                Ok(_) => "closed".to_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    "waiting".to_owned()
                }
                Err(_) => "reset".to_owned(),
            };
            self.note(wish, &status);
        }
        let told = self.told.iter();
        let told: Vec<String> = told
            .map(|((wish, what), count)| format!("{wish:?} {what} {count}"))
            .collect();
        told.join(", ")
    }
}

pub(super) fn crowd(bench: &Bench) -> Result<Outcome> {
    let seconds = if bench.is_full() { 300 } else { 15 };
    let mut world = World::new(bench, "crowd")?;
    let (mut sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    let epoch = super::until("a lease", || {
        let state = world.state().ok()?;
        state["lease"]
            .is_object()
            .then(|| state["epoch"].as_u64())?
    })?;
    let began_ns = newest(&sidecar)?;
    let mut crowd = Crowd {
        address: sidecar.address.clone(),
        people: Vec::new(),
        attempts: 0,
        told: BTreeMap::new(),
    };
    for number in 0..SLOW {
        crowd.join(Wish::Slow);
        if number < LISTENERS {
            crowd.join(Wish::Listen);
        }
        if number < GRAPHS {
            crowd.join(Wish::Graph);
        }
    }
    ensure!(
        crowd.people.len() > 1_000,
        "only {} came in at all; is the number of open files too small?",
        crowd.people.len()
    );
    let (mut rss_kib, mut files, mut profilers) = (0, 0, 0);
    for _ in 0..seconds {
        crowd.second();
        pause(Duration::from_secs(1));
        ensure!(sidecar.process.is_alive()?, "the sidecar ended");
        rss_kib = rss_kib.max(sidecar.process.rss_kib()?);
        files = files.max(fs::read_dir(format!("/proc/{}/fd", sidecar.process.id()))?.count());
        profilers = profilers.max(grandchildren(sidecar.process.id()));
        let state = world.state()?;
        ensure!(
            state["lease"].is_object() && state["epoch"].as_u64() == Some(epoch),
            "the lease was lost: {state}"
        );
    }
    let attempts = crowd.attempts;
    let told = crowd.leave();
    ensure!(told.contains("503"), "nobody was turned away: {told}");
    ensure!(rss_kib <= RSS_KIB_MAX, "{rss_kib} KiB");
    ensure!(profilers <= 1, "{profilers} profilers at a time");
    sidecar.until_attached()?;
    let late = lateness(&sidecar, began_ns)?;
    let answered = world.unbroken()?;
    Ok(Outcome::Held(format!(
        "{attempts} attempts in {seconds} s ({told}); the lease was kept; at most {} MiB, {files} descriptors and {profilers} profiler; \
         {late}; the service answered {answered} requests and broke off 0",
        rss_kib / 1024
    )))
}

/// How far the ticks of the crowd's time were from where they should have been.
fn lateness(sidecar: &Sidecar, since_ns: u64) -> Result<String> {
    let moments = moments(sidecar)?;
    let mut off_ms: Vec<f64> = moments
        .windows(2)
        .filter(|pair| pair.first().is_some_and(|first| *first >= since_ns))
        .filter_map(|pair| {
            let passed = pair.last()?.checked_sub(*pair.first()?)?;
            Some(passed.abs_diff(INTERVAL_NS) as f64 / 1e6)
        })
        .collect();
    off_ms.sort_by(f64::total_cmp);
    let at = |permille: usize| {
        let place = off_ms.len() * permille / 1_000;
        off_ms
            .get(place.min(off_ms.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    Ok(format!(
        "{} ticks, off by {:.1} ms at the median, {:.1} ms at the 99th percentile, {:.1} ms at the 99.9th",
        off_ms.len(),
        at(500),
        at(990),
        at(999)
    ))
}

fn moments(sidecar: &Sidecar) -> Result<Vec<u64>> {
    let (status, body) = wire::get(&sidecar.address, "/api/v1/hosts/hello/samples?limit=3600")?;
    ensure!(status == 200, "samples: {status} {body}");
    let told: serde_json::Value = serde_json::from_str(&body)?;
    let samples = told["samples"].as_array().context("no samples")?;
    Ok(samples
        .iter()
        .filter_map(|sample| sample["moment_ns"].as_u64())
        .collect())
}

fn newest(sidecar: &Sidecar) -> Result<u64> {
    moments(sidecar)?.last().copied().context("no sample yet")
}

/// The profilers: what the sidecar's keeper has started.
fn grandchildren(pid: u32) -> usize {
    let children = |pid: &str| -> Vec<String> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Vec::new();
        };
        let lists =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
        lists
            .flat_map(|list| {
                list.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    children(&pid.to_string())
        .iter()
        .map(|keeper| children(keeper).len())
        .sum()
}
