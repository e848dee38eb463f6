//! Cases in which the campaign itself is the sidecar: many hosts side by side, each asked over its own socket.

use super::groups::Group;
use super::world::{Process, free_address, start_host};
use super::{Bench, Outcome, pause, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The shortest trial that a host takes.
const TRIAL: Duration = Duration::from_secs(1);
/// The shortest lease.
const LEASE: Duration = Duration::from_millis(500);

/// How long something has taken so far.
#[expect(clippy::disallowed_types, reason = "real hosts have real deadlines")]
pub(super) struct Watch(std::time::Instant);

#[expect(clippy::disallowed_types, reason = "real hosts have real deadlines")]
impl Watch {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A host without load, which has confirmed two sets: going from one to the other counts against no rate.
struct Subject {
    _process: Process,
    pid: u32,
    socket: PathBuf,
}

/// The two confirmed sizes; the host starts with the first.
const SIZES: [u64; 2] = [10, 11];

impl Subject {
    fn start(bench: &Bench, name: &str) -> Result<Self> {
        let directory = bench.directory.join(name);
        std::fs::create_dir_all(&directory)?;
        let process = start_host(bench, &directory, &free_address()?)?;
        let subject = Self {
            pid: process.id(),
            _process: process,
            socket: directory.join("control.sock"),
        };
        until("the host", || wire::state(&subject.socket).ok())?;
        let epoch = subject.lease("first", 60_000, None)?;
        let change = subject.plan(epoch, SIZES[1])?;
        subject.must("POST", "/changes", &change)?;
        subject.must(
            "POST",
            &format!("/changes/{}/confirm", change["generation"]),
            &subject.end_of(&change),
        )?;
        subject.must(
            "DELETE",
            "/lease",
            &json!({ "instance": change["instance"], "epoch": epoch }),
        )?;
        Ok(subject)
    }

    fn state(&self) -> Result<Value> {
        wire::state(&self.socket)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        wire::ask(&self.socket, method, &format!("/trimtab/v1{path}"), body)
    }

    fn must(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body)?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path} {body}: {status} {answer}"
        );
        Ok(answer)
    }

    fn lease(&self, holder: &str, ttl_ms: u64, epoch: Option<u64>) -> Result<u64> {
        let mut body =
            json!({ "instance": self.state()?["instance"], "holder": holder, "ttl_ms": ttl_ms });
        if let Some(epoch) = epoch {
            body["epoch"] = json!(epoch);
        }
        self.must("POST", "/lease", &body)?["epoch"]
            .as_u64()
            .context("no epoch")
    }

    /// A change to a size that fits the state as it is.
    fn plan(&self, epoch: u64, workers: u64) -> Result<Value> {
        let state = self.state()?;
        Ok(json!({
            "instance": state["instance"],
            "epoch": epoch,
            "generation": state["generation"].as_u64().unwrap_or(0) + 1,
            "pool": "web",
            "base_revision": state["pools"]["web"]["revision"],
            "trial_ms": 1_000,
            "set": { "workers": workers },
            "reason": "a campaign",
        }))
    }

    fn end_of(&self, change: &Value) -> Value {
        json!({ "instance": change["instance"], "epoch": change["epoch"], "pool": "web" })
    }

    fn workers(state: &Value) -> Option<u64> {
        state["pools"]["web"]["knobs"]["workers"]["value"].as_u64()
    }

    fn other(state: &Value) -> u64 {
        if Self::workers(state) == Some(SIZES[0]) {
            SIZES[1]
        } else {
            SIZES[0]
        }
    }
}

/// Lets so many hosts go through something side by side, and gives what each has counted.
pub(super) fn side_by_side<T: Send>(
    hosts: usize,
    go: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let go = &go;
        let threads: Vec<_> = (0..hosts)
            .map(|number| scope.spawn(move || go(number)))
            .collect();
        let done = threads.into_iter().map(|thread| thread.join());
        done.map(|host| host.map_err(|_| anyhow::anyhow!("a host's thread panicked"))?)
            .collect()
    })
}

/// How a trial is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nobody says anything any more.
    Silence,
    /// The lease ends before the trial would.
    LeaseEnds,
    /// The host itself is stopped across the end.
    HostStopped,
    /// The host is in a freezer across the end, where there is one.
    HostFrozen,
}

impl Left {
    const ALL: [Self; 4] = [
        Self::Silence,
        Self::LeaseEnds,
        Self::HostStopped,
        Self::HostFrozen,
    ];
}

pub(super) fn unconfirmed(bench: &Bench) -> Result<Outcome> {
    let (hosts, each) = if bench.is_full() { (40, 250) } else { (10, 20) };
    let late = side_by_side(hosts, |number| {
        let subject = Subject::start(bench, &format!("trials-{number}"))?;
        let freezer = Group::new("freezer");
        if let Some(group) = &freezer {
            group.set("cgroup.procs", &subject.pid.to_string())?;
        }
        let ways = Left::ALL.split_at(Left::ALL.len() - usize::from(freezer.is_none()));
        let ways = ways.0.iter().cycle().take(each);
        ways.map(|way| leave(&subject, *way, freezer.as_ref()))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut told = Vec::new();
    for way in Left::ALL {
        let all = late.iter().flatten().filter(|(left, _)| *left == way);
        let mut all: Vec<u128> = all.map(|(_, late)| late.as_millis()).collect();
        all.sort_unstable();
        let at = |share: usize| {
            all.get((all.len() * share / 1_000).min(all.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        told.push(format!(
            "{way:?} {} times, seen undone at most {} ms late, {} ms at the median",
            all.len(),
            at(1_000),
            at(500)
        ));
    }
    Ok(Outcome::Held(format!(
        "{} trials on {hosts} hosts: {}",
        hosts * each,
        told.join("; ")
    )))
}

/// Begins a trial, leaves it alone in one way, and looks how late it is seen to be undone at the latest.
fn leave(subject: &Subject, way: Left, freezer: Option<&Group>) -> Result<(Left, Duration)> {
    let epoch = subject.lease("leaver", 10_000, None)?;
    let before = subject.state()?;
    let change = subject.plan(epoch, Subject::other(&before))?;
    let mut began = Watch::start();
    subject.must("POST", "/changes", &change)?;
    let mut ends = TRIAL;
    if way == Left::LeaseEnds {
        began = Watch::start();
        subject.lease("leaver", u64::try_from(LEASE.as_millis())?, Some(epoch))?;
        ends = LEASE;
    }
    let open = subject.state()?;
    ensure!(
        open["pools"]["web"]["trial"].is_object(),
        "no trial is open: {open}"
    );
    pause(
        ends.saturating_sub(Duration::from_millis(100))
            .saturating_sub(began.elapsed()),
    );
    if matches!(way, Left::HostStopped | Left::HostFrozen) {
        let group = freezer.filter(|_| way == Left::HostFrozen);
        hold(subject, group, true)?;
        pause((ends + Duration::from_millis(300)).saturating_sub(began.elapsed()));
        hold(subject, group, false)?;
        // From here on the host can run again.
        began = Watch::start();
        ends = Duration::ZERO;
    }
    let undone = until("the undo", || {
        let state = subject.state().ok()?;
        let still = state["pools"]["web"]["trial"].is_object();
        if still {
            return None;
        }
        Some((began.elapsed(), state))
    });
    let (seen, state) = undone?;
    ensure!(
        Subject::workers(&state) == Subject::workers(&before),
        "it was not undone to what stood before: {state}"
    );
    ensure!(
        seen < ends + Duration::from_secs(5),
        "undone only after {seen:?}"
    );
    if way != Left::LeaseEnds {
        subject.must(
            "DELETE",
            "/lease",
            &json!({ "instance": state["instance"], "epoch": epoch }),
        )?;
    }
    Ok((way, seen.saturating_sub(ends)))
}

/// Stops a host or lets it go on: by the freezer, or else by a signal.
fn hold(subject: &Subject, freezer: Option<&Group>, stop: bool) -> Result<()> {
    match (freezer, stop) {
        (Some(group), true) => {
            group.set("freezer.state", "FROZEN")?;
            until("it to be frozen", || {
                (group.get("freezer.state").ok()?.trim() == "FROZEN").then_some(())
            })
        }
        (Some(group), false) => group.set("freezer.state", "THAWED"),
        (None, true) => signal(subject.pid, "STOP"),
        (None, false) => signal(subject.pid, "CONT"),
    }
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let sent = std::process::Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()?;
    ensure!(sent.success(), "SIG{name} was not sent");
    Ok(())
}

pub(super) fn zombies(bench: &Bench) -> Result<Outcome> {
    let (hosts, each) = if bench.is_full() { (40, 25) } else { (10, 10) };
    let sent = side_by_side(hosts, |number| {
        let subject = Subject::start(bench, &format!("zombies-{number}"))?;
        (0..each)
            .map(|round| rise(&subject, round))
            .sum::<Result<usize>>()
    })?;
    Ok(Outcome::Held(format!(
        "{} zombies on {hosts} hosts sent {} requests of a lease that was over; 0 of them changed anything",
        hosts * each,
        sent.iter().sum::<usize>()
    )))
}

/// One holder falls silent with a plan in hand, half of the time with a trial open; another takes over and changes something; then the first
/// one sends all that it had.
fn rise(subject: &Subject, round: usize) -> Result<usize> {
    let old = subject.lease("zombie", u64::try_from(LEASE.as_millis())?, None)?;
    let state = subject.state()?;
    let plan = subject.plan(old, Subject::other(&state))?;
    if round.is_multiple_of(2) {
        subject.must("POST", "/changes", &plan)?;
    }
    let new = until("the end of its lease", || {
        subject.lease("heir", 10_000, None).ok()
    })?;
    ensure!(new > old, "epoch {new} after {old}");
    let state = subject.state()?;
    let change = subject.plan(new, Subject::other(&state))?;
    subject.must("POST", "/changes", &change)?;
    subject.must(
        "POST",
        &format!("/changes/{}/confirm", change["generation"]),
        &subject.end_of(&change),
    )?;
    let standing = |state: &Value| {
        let pool = &state["pools"]["web"];
        json!([
            state["epoch"],
            state["generation"],
            state["lease"]["holder"],
            pool["revision"],
            pool["trial"],
            Subject::workers(state)
        ])
    };
    let before = standing(&subject.state()?);
    let mut planned = plan.clone();
    planned["generation"] = json!(change["generation"].as_u64().unwrap_or(0) + 1);
    let (number, end) = (&plan["generation"], subject.end_of(&plan));
    let requests = [
        ("POST", "/changes".to_owned(), plan.clone()),
        ("POST", "/changes".to_owned(), planned),
        ("POST", format!("/changes/{number}/confirm"), end.clone()),
        ("POST", format!("/changes/{number}/rollback"), end.clone()),
        (
            "POST",
            "/lease".to_owned(),
            json!({ "instance": plan["instance"], "holder": "zombie", "ttl_ms": 5_000, "epoch": old }),
        ),
        (
            "DELETE",
            "/lease".to_owned(),
            json!({ "instance": plan["instance"], "epoch": old }),
        ),
    ];
    for (method, path, body) in &requests {
        // What it is told is its own business; what stands is ours.
        subject.ask(method, path, body)?;
        let after = standing(&subject.state()?);
        ensure!(
            after == before,
            "{method} {path} of a zombie changed {before} to {after}"
        );
    }
    subject.must(
        "DELETE",
        "/lease",
        &json!({ "instance": plan["instance"], "epoch": new }),
    )?;
    Ok(requests.len())
}

/// A freeze, and everything that could lift it by accident.
pub(super) fn frozen(bench: &Bench) -> Result<Outcome> {
    let mut world = super::world::World::new(bench, "frozen")?;
    let operator = world.directory.join("operator.sock");
    let ask =
        |method: &str, socket: &Path| wire::ask(socket, method, "/trimtab/v1/freeze", &json!({}));
    let (status, answer) = ask("PUT", &operator)?;
    ensure!(
        status == 200 && answer["frozen"] == true,
        "{status} {answer}"
    );
    let lasts = answer["freeze_persistent"] == true;
    let restarts = 6;
    for round in 0..restarts {
        let (mut sidecar, _) = world.sidecar()?;
        sidecar.until_attached()?;
        // Long enough for a trial, were it allowed: the pool is overloaded.
        pause(Duration::from_secs(2));
        let state = world.state()?;
        ensure!(state["frozen"] == true, "the freeze is gone: {state}");
        ensure!(
            state["generation"].as_u64() == Some(0),
            "something was changed in a freeze: {state}"
        );
        sidecar.process.kill()?;
        if lasts && round % 2 == 1 {
            world.kill_host()?;
        }
    }
    let (status, answer) = ask("DELETE", &operator)?;
    ensure!(
        status == 200 && answer["frozen"] == false,
        "{status} {answer}"
    );
    let (_sidecar, _) = world.sidecar()?;
    world.until_trial()?;
    let hosts = if lasts {
        "and of the host in between"
    } else {
        "of a host whose freeze does not outlive it"
    };
    Ok(Outcome::Held(format!(
        "{restarts} restarts of the sidecar {hosts}: still frozen; a trial as soon as an operator had lifted it"
    )))
}
