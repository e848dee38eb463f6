//! Cases that need a control group of version 1 or a time namespace, and so root: frozen, throttled, short of memory, and
//! clocks that are years apart. Where there is neither, they say so.

use super::world::{Process, World, trial};
use super::{Bench, Outcome, pause, until, wire};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";
/// Joins the group whose file is the first word, and becomes the rest.
const JOIN: [&str; 3] = ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\""];
/// Ten years, in seconds.
const YEARS_S: &str = "315360000";

/// A control group of ours, which goes with its owner.
pub(super) struct Group(PathBuf);

impl Group {
    /// None where there is no such controller of version 1, or we may not make a group.
    pub(super) fn new(controller: &str) -> Option<Self> {
        let parent = Path::new(ROOT).join(controller);
        // Several cases may go on at a time.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = parent.join(format!("trimtab-chaos-{}-{number}", std::process::id()));
        let is_there = parent.join("cgroup.procs").exists() && parent.join("tasks").exists();
        (is_there && fs::create_dir(&path).is_ok()).then_some(Self(path))
    }

    fn procs(&self) -> Result<String> {
        let path = self.0.join("cgroup.procs");
        path.to_str().map(str::to_owned).context("no text")
    }

    pub(super) fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.0.join(file), value).with_context(|| format!("{file} = {value}"))
    }

    pub(super) fn get(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.0.join(file)).with_context(|| file.to_owned())
    }

    fn number(&self, file: &str) -> Result<u64> {
        Ok(self.get(file)?.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is still in it goes up, or the group could not be removed.
        let members = self.get("cgroup.procs").unwrap_or_default();
        let above = self.0.parent().map(|parent| parent.join("cgroup.procs"));
        for member in members.lines() {
            drop(above.as_ref().map(|above| fs::write(above, member)));
        }
        drop(fs::remove_dir(&self.0));
    }
}

fn lacks(controller: &str) -> Outcome {
    Outcome::NotRun(format!(
        "no group of version 1 can be made for `{controller}` here"
    ))
}

/// Both sides stand still for longer than a lease, as in a machine that sleeps.
pub(super) fn frozen_machine(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "asleep")?;
    let (sidecar, _) = world.sidecar()?;
    let Some(group) = Group::new("freezer") else {
        return Ok(lacks("freezer"));
    };
    let mut slept = 0;
    for _ in 0..2 {
        world.until_trial()?;
        let epoch = world.state()?["epoch"].as_u64();
        for pid in [world.host.id(), sidecar.process.id()] {
            group.set("cgroup.procs", &pid.to_string())?;
        }
        group.set("freezer.state", "FROZEN")?;
        until("both to be frozen", || {
            (group.get("freezer.state").ok()?.trim() == "FROZEN").then_some(())
        })?;
        pause(Duration::from_millis(2_500));
        group.set("freezer.state", "THAWED")?;
        let state = world.state()?;
        ensure!(
            trial(&state).is_none(),
            "a trial outlived its lease: {state}"
        );
        world.until_leased_after(epoch)?;
        slept += 1;
    }
    let answered = world.unbroken()?;
    Ok(Outcome::Held(format!(
        "{slept} sleeps of both sides during a trial; each trial was over at the first look, each lease was taken anew; {answered} requests"
    )))
}

/// The sidecar gets a hundredth of a core.
pub(super) fn throttled(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "throttled")?;
    let (mut sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    let Some(group) = Group::new("cpu") else {
        return Ok(lacks("cpu"));
    };
    group.set("cpu.cfs_quota_us", "1000")?;
    group.set("cgroup.procs", &sidecar.process.id().to_string())?;
    for _ in 0..20 {
        pause(Duration::from_millis(400));
        world.audit(&world.state()?)?;
    }
    let stat = group.get("cpu.stat")?;
    let throttled = stat
        .lines()
        .find_map(|line| line.strip_prefix("nr_throttled "));
    let throttled: u64 = throttled.context("no count")?.trim().parse()?;
    ensure!(throttled > 0, "it was never throttled: {stat}");
    group.set("cpu.cfs_quota_us", "-1")?;
    sidecar.until_attached()?;
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    let answered = world.unbroken()?;
    Ok(Outcome::Held(format!(
        "throttled {throttled} times in eight seconds; nothing in force that was not proposed and written down; {answered} requests"
    )))
}

/// The host is killed for its memory, and starts anew.
pub(super) fn out_of_memory(bench: &Bench) -> Result<Outcome> {
    let mut world = World::idle(bench, "oom")?;
    let (sidecar, _) = world.sidecar()?;
    let Some(group) = Group::new("memory") else {
        return Ok(lacks("memory"));
    };
    world.host.kill()?;
    let mut command = Command::new(JOIN[0]);
    command
        .args(&JOIN[1..])
        .arg(group.procs()?)
        .arg(&bench.host);
    command.arg(&world.directory).arg(world.address());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    world.host = Process::start(&mut command)?;
    let before = until("the host in its group", || world.state().ok())?["instance"].clone();
    sidecar.until_attached()?;
    let used = group.number("memory.usage_in_bytes")?;
    group.set("memory.limit_in_bytes", &(used + (256 << 10)).to_string())?;
    let mut crowd = Vec::new();
    let killed = until("the host to be killed", || {
        for _ in 0..50 {
            if let Ok(mut stream) = TcpStream::connect(world.address()) {
                drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
                crowd.push(stream);
            }
        }
        (!world.host.is_alive().ok()?).then_some(crowd.len())
    })?;
    let failures = group.number("memory.failcnt")?;
    ensure!(failures > 0, "memory never ran out");
    drop(crowd);
    world.kill_host()?;
    let state = world.state()?;
    ensure!(
        state["instance"] != before,
        "the next run has the same name"
    );
    ensure!(
        state["pools"]["web"]["revision"].as_u64() == Some(1),
        "a plan for the run before was carried out: {state}"
    );
    sidecar.until_attached()?;
    Ok(Outcome::Held(format!(
        "killed for its memory after {killed} connections; the next run stood at its baseline, and was found"
    )))
}

/// The sidecar has 32 MiB, and many come.
pub(super) fn little_memory(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "little")?;
    let Some(group) = Group::new("memory") else {
        return Ok(lacks("memory"));
    };
    group.set("memory.limit_in_bytes", "33554432")?;
    let procs = group.procs()?;
    let (socket, ledger) = (world.socket(), world.ledger());
    let before = [JOIN[0], JOIN[1], JOIN[2], &procs];
    let (mut sidecar, _) = world.sidecar_at(&socket, &ledger, &before)?;
    let epoch = until("a lease", || {
        let state = world.state().ok()?;
        state["lease"]
            .is_object()
            .then(|| state["epoch"].as_u64())?
    })?;
    let mut crowd = Vec::new();
    for _ in 0..10 {
        for _ in 0..60 {
            if let Ok(mut stream) = TcpStream::connect(&sidecar.address) {
                let words = format!(
                    "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
                    sidecar.address
                );
                drop(stream.write_all(words.as_bytes()));
                crowd.push(stream);
            }
        }
        pause(Duration::from_millis(300));
        let state = world.state()?;
        ensure!(
            state["epoch"].as_u64() == Some(epoch) && state["lease"].is_object(),
            "the lease was lost: {state}"
        );
    }
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    let most = group.number("memory.max_usage_in_bytes")?;
    ensure!(most > 1 << 20, "it was not in the group");
    Ok(Outcome::Held(format!(
        "{} listeners who never read, and 32 MiB: at most {} MiB, caches included; the lease was kept",
        crowd.len(),
        most >> 20
    )))
}

/// The sidecar's boot-time and monotonic clocks are ten years ahead of the host's.
pub(super) fn other_clock(bench: &Bench) -> Result<Outcome> {
    let before = [
        "unshare",
        "--time",
        "--boottime",
        YEARS_S,
        "--monotonic",
        YEARS_S,
    ];
    let (first, rest) = before.split_first().context("no command")?;
    let probe = Command::new(first)
        .args(rest)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Ok(Outcome::NotRun(
            "no time namespace can be made here".to_owned(),
        ));
    }
    let mut world = World::new(bench, "years")?;
    let (socket, ledger) = (world.socket(), world.ledger());
    let (sidecar, _) = world.sidecar_at(&socket, &ledger, &before)?;
    let (_, body) = until("samples", || {
        let told = wire::get(&sidecar.address, "/api/v1/hosts/hello/samples?limit=1").ok()?;
        told.1.contains("moment_ns").then_some(told)
    })?;
    let told: serde_json::Value = serde_json::from_str(&body)?;
    let at_s = told["samples"][0]["moment_ns"].as_u64().unwrap_or(0) / 1_000_000_000;
    ensure!(at_s >= YEARS_S.parse()?, "its clock was not moved: {at_s}");
    let state = until("a change that was confirmed", || {
        let state = world.state().ok()?;
        let pool = &state["pools"]["web"];
        (pool["phase"] == "confirmed" && trial(&state).is_none()).then_some(state)
    })?;
    world.audit(&state)?;
    Ok(Outcome::Held(
        "a lease was taken and kept, and a change was tried and confirmed; only spans of time cross the socket".to_owned(),
    ))
}
