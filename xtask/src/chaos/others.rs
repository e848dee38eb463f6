//! Cases in which somebody is not who they were: another process with the host's number, another version of either side.

use super::control::side_by_side;
use super::world::{Process, Sidecar, World, trial};
use super::{Bench, Outcome, pause, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A process namespace of ours; all that is in it ends with it.
struct Namespace {
    _outside: Process,
    first: String,
}

impl Namespace {
    fn new() -> Result<Option<Self>> {
        let mut command = Command::new("unshare");
        command.args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sleep",
            "600",
        ]);
        let Ok(outside) = Process::start(command.stderr(Stdio::null())) else {
            return Ok(None);
        };
        let Ok(first) = until("the first process of a namespace", || {
            child_of(outside.id())
        }) else {
            return Ok(None);
        };
        let space = Self {
            _outside: outside,
            first: first.to_string(),
        };
        let known = space.run("echo 1 > /proc/sys/kernel/ns_last_pid");
        Ok(known.is_ok_and(|status| status).then_some(space))
    }

    /// What stands before a command so that it runs in it.
    fn entry(&self) -> [&str; 5] {
        ["nsenter", "--pid", "--mount", "--target", &self.first]
    }

    fn command(&self) -> Command {
        let [program, rest @ ..] = self.entry();
        let mut command = Command::new(program);
        command
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn run(&self, script: &str) -> Result<bool> {
        let mut command = self.command();
        let status = command
            .args(["sh", "-c", script])
            .stderr(Stdio::null())
            .status();
        Ok(status?.success())
    }
}

fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, after) = stat.rsplit_once(") ")?;
        (after.split(' ').nth(1)?.parse() == Ok(parent)).then_some(pid)
    })
}

/// Writes its number into a file, and becomes the rest.
const NUMBERED: &str = "echo $$ > \"$0\" && exec \"$@\"";
/// What a process that does nothing else uses of a core, at the least, and what an idle host never does.
const BUSY_CORES: f64 = 0.3;

/// The host ends, and a process that keeps a core busy gets its number.
pub(super) fn same_number(bench: &Bench) -> Result<Outcome> {
    let Some(space) = Namespace::new()? else {
        return Ok(Outcome::NotRun(
            "no process namespace with numbers to choose can be made here".to_owned(),
        ));
    };
    let mut world = World::idle(bench, "number")?;
    world.host.kill()?;
    let (socket, ledger) = (world.socket(), world.ledger());
    let (sidecar, _) = world.sidecar_at(&socket, &ledger, &space.entry())?;
    let first = start_inside(bench, &mut world, &space)?;
    let pid = attached(&sidecar, first)?;
    ensure!(
        space.run(&format!("kill -9 {first}"))?,
        "the host was not killed"
    );
    // Until its number is free nobody can have it.
    world.host.until_ended()?;
    let (mut impostor, tries) = take_number(&world, &space, first)?;
    until("the host to be missed", || {
        (!sidecar.status().ok()?["absent"].is_null()).then_some(())
    })?;
    for _ in 0..20 {
        pause(Duration::from_millis(100));
        let status = sidecar.status()?;
        ensure!(
            !status["absent"].is_null(),
            "it takes somebody else for the host: {status}"
        );
        ensure!(
            status["sample"]["cpu_cores"].is_null(),
            "figures of a stranger: {}",
            status["sample"]
        );
    }
    ensure!(
        impostor.is_alive()?,
        "somebody ended a process that is not the host"
    );
    let second = start_inside(bench, &mut world, &space)?;
    attached(&sidecar, second)?;
    let (_, samples) = wire::get(&sidecar.address, "/api/v1/hosts/hello/samples?limit=100")?;
    let samples: Value = serde_json::from_str(&samples)?;
    let list = samples["samples"].as_array().context("no samples")?;
    let most = list
        .iter()
        .filter_map(|sample| sample["cpu_cores"].as_f64())
        .fold(0.0, f64::max);
    ensure!(most < BUSY_CORES, "{most} cores are a stranger's");
    Ok(Outcome::Held(format!(
        "process {pid} ended, and one that kept a core busy got its number at try {tries}: of {} samples none was of it, and no signal \
         came to it; the host's next run, {second}, was found",
        list.len()
    )))
}

/// Starts the host in the namespace, and says its number there.
fn start_inside(bench: &Bench, world: &mut World<'_>, space: &Namespace) -> Result<u64> {
    let place = world.directory.join("host.pid");
    let _gone = fs::remove_file(&place);
    let mut command = space.command();
    command
        .args(["sh", "-c", NUMBERED])
        .arg(&place)
        .arg(&bench.host);
    command
        .arg(&world.directory)
        .arg(world.address())
        .stderr(Stdio::null());
    world.host = Process::start(&mut command)?;
    until("the host in its namespace", || world.state().ok())?;
    number_in(&place).context("it did not say its number")
}

fn number_in(place: &Path) -> Option<u64> {
    fs::read_to_string(place).ok()?.trim().parse().ok()
}

fn attached(sidecar: &Sidecar, pid: u64) -> Result<u64> {
    until("the sidecar to see its host and its process", || {
        let status = sidecar.status().ok()?;
        let seen = status["absent"].is_null() && status["sample"]["rss_bytes"].is_u64();
        (seen && status["pid"].as_u64() == Some(pid)).then_some(pid)
    })
}

/// A process that keeps a core busy and has this number, and how many tries it took: others may start meanwhile.
fn take_number(world: &World<'_>, space: &Namespace, number: u64) -> Result<(Process, usize)> {
    let place = world.directory.join("impostor.pid");
    for tries in 1..=50 {
        let script = format!(
            "echo {} > /proc/sys/kernel/ns_last_pid; sh -c 'echo $$ > \"$0\"; while :; do :; done' \"$0\" & wait",
            number - 1
        );
        let _gone = fs::remove_file(&place);
        let mut command = space.command();
        command
            .args(["sh", "-c", &script])
            .arg(&place)
            .stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        let got = until("the other process", || number_in(&place))?;
        if got == number {
            return Ok((process, tries));
        }
        ensure!(
            space.run(&format!("kill -9 {got}"))?,
            "a process was not killed"
        );
    }
    anyhow::bail!("nobody gets the number {number}")
}

/// How a side differs from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// The host says more than we know, and lists features that we do not know.
    NewerHost,
    /// The host takes changes and leases and knows of nothing else, and leaves out all that may be left out.
    OlderHost,
    /// The host only shows its state.
    OldestHost,
    /// The sidecar asks for something of which the host does not know.
    NewerSidecar,
}

const VERSIONS: [Version; 4] = [
    Version::NewerHost,
    Version::OlderHost,
    Version::OldestHost,
    Version::NewerSidecar,
];

/// Stands between the two and makes one of them another version.
struct Interpreter {
    host: PathBuf,
    version: Version,
    changed: AtomicUsize,
}

impl Interpreter {
    fn start(socket: &Path, host: PathBuf, version: Version) -> Result<Arc<Self>> {
        let listener = UnixListener::bind(socket)?;
        let this = Arc::new(Self {
            host,
            version,
            changed: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&this);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = Arc::clone(&accepting);
                thread::spawn(move || this.carry(stream));
            }
        });
        Ok(this)
    }

    /// Until one of them ends it.
    fn carry(&self, mut sidecar: UnixStream) -> Option<()> {
        let mut host = UnixStream::connect(&self.host).ok()?;
        loop {
            let request = wire::message(&mut sidecar)?;
            let asks = self.version == Version::NewerSidecar;
            let request = if asks {
                self.rewritten(&request)?
            } else {
                request
            };
            host.write_all(&request).ok()?;
            let answer = wire::message(&mut host)?;
            let answer = if asks {
                answer
            } else {
                self.rewritten(&answer)?
            };
            sidecar.write_all(&answer).ok()?;
        }
    }

    /// A message with another body, where it has one.
    fn rewritten(&self, message: &[u8]) -> Option<Vec<u8>> {
        let at = message.windows(4).position(|end| end == b"\r\n\r\n")?;
        let (head, body) = message.split_at(at + 4);
        let Ok(mut body) = serde_json::from_slice::<Value>(body) else {
            return Some(message.to_vec());
        };
        self.translate(&mut body);
        self.changed.fetch_add(1, Ordering::SeqCst);
        let body = body.to_string();
        let head = String::from_utf8_lossy(head);
        let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        lines.retain(|line| !line.to_lowercase().starts_with("content-length:"));
        Some(
            format!(
                "{}\r\nContent-Length: {}\r\n\r\n{body}",
                lines.join("\r\n"),
                body.len()
            )
            .into_bytes(),
        )
    }

    fn translate(&self, body: &mut Value) {
        match self.version {
            Version::NewerSidecar => body["weather"] = json!("fine"),
            Version::NewerHost => {
                more(body);
                if let Some(features) = body["features"].as_array_mut() {
                    features.push(json!("weather"));
                }
            }
            Version::OlderHost => less(body, &["changes", "lease"]),
            Version::OldestHost => less(body, &[]),
        }
    }
}

/// What may be left out of a state.
const OPTIONAL: [&str; 6] = [
    "labels",
    "version",
    "uptime_ms",
    "freeze_persistent",
    "process",
    "pid",
];

/// Leaves out of a state what may be left out, and all features but these.
fn less(body: &mut Value, features: &[&str]) {
    let state = body.as_object_mut();
    if let Some(state) = state.filter(|state| state.contains_key("pools")) {
        OPTIONAL.iter().for_each(|name| drop(state.remove(*name)));
        state.insert("features".to_owned(), json!(features));
    }
}

/// Puts something unknown into every object that has names of its own; maps of pools and knobs have those of the service.
fn more(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        let named = fields.contains_key("web")
            || fields.contains_key("workers")
            || fields.contains_key("process");
        let state = fields.contains_key("api");
        fields.values_mut().for_each(more);
        if state || !named && fields.values().any(|inner| !inner.is_number()) {
            fields.insert("weather".to_owned(), json!({ "wind": [1, 2] }));
        }
    }
}

/// A sidecar dies in a trial, and one of another version, or beside a host of another version, takes over.
pub(super) fn other_version(bench: &Bench) -> Result<Outcome> {
    let told = side_by_side(VERSIONS.len(), |index| {
        let version = VERSIONS[index];
        take_over(bench, version).with_context(|| format!("{version:?}"))
    })?;
    Ok(Outcome::Held(told.join("; ")))
}

fn take_over(bench: &Bench, version: Version) -> Result<String> {
    let mut world = World::new(bench, &format!("{version:?}"))?;
    let (mut first, _) = world.sidecar()?;
    world.until_trial()?;
    first.process.kill()?;
    // What another version wrote into the ledger is not understood, and stands in nobody's way.
    let future = world.ledger().join("ledger-00000009-future.jsonl");
    fs::write(
        future,
        "{\"entry\":\"prophecy\",\"at\":\"noon\"}\n\u{0}\u{1}\n",
    )?;
    let front = world.directory.join("front.sock");
    let between = Interpreter::start(&front, world.socket(), version)?;
    let ledger = world.ledger();
    let state = world.until_none()?;
    let (mut next, _) = world.sidecar_at(&front, &ledger, &[])?;
    next.until_attached()?;
    let told = match version {
        Version::NewerHost => "beside a host that says more than is known a change was confirmed",
        Version::OlderHost => "beside one that says no more than it must, too",
        Version::OldestHost => "one that only shows its state was sent nothing",
        Version::NewerSidecar => {
            "a sidecar that asks for what the host does not know got no lease and changed nothing"
        }
    };
    if matches!(version, Version::NewerHost | Version::OlderHost) {
        world.until_leased_after(state["epoch"].as_u64())?;
        let state = until("a change that was confirmed", || {
            let state = world.state().ok()?;
            let confirmed = state["pools"]["web"]["phase"] == "confirmed";
            (confirmed && trial(&state).is_none()).then_some(state)
        })?;
        world.audit(&state)?;
    } else {
        let seen = (&state["epoch"], &state["generation"]);
        for _ in 0..30 {
            pause(Duration::from_millis(100));
            let state = world.state()?;
            ensure!(
                (&state["epoch"], &state["generation"]) == seen,
                "the host did what neither side can have meant: {state}"
            );
        }
    }
    ensure!(next.process.is_alive()?, "the sidecar ended");
    ensure!(
        between.changed.load(Ordering::SeqCst) > 0,
        "nothing was made different"
    );
    world.unbroken()?;
    Ok(told.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rewritten_with_its_length() {
        let interpreter = Interpreter {
            host: PathBuf::new(),
            version: Version::NewerSidecar,
            changed: AtomicUsize::new(0),
        };
        let message = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
        let rewritten = interpreter.rewritten(message).expect("it is a message");
        let text = String::from_utf8(rewritten.clone()).expect("it is text");
        assert!(text.ends_with("{\"a\":1,\"weather\":\"fine\"}"), "{text}");
        assert_eq!(wire::message(&mut &rewritten[..]), Some(rewritten));
        let bare = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(interpreter.rewritten(bare), Some(bare.to_vec()));
    }
}
