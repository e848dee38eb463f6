//! Cases at the named points of `trimtab_sys::fail`: a process is killed, panics or stands still exactly there.
//!
//! All points of the table are gone through, and a point that was not reached fails its case.

use super::control::{Watch, side_by_side};
use super::world::{Log, Process, Sidecar, World, free_address, host_command, start_host, trial};
use super::{Bench, Outcome, pause, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use trimtab_sys::fail::{FIRED, Point, VARIABLE};

/// Worlds that go on beside one another; each has thirty clients.
const WORLDS: usize = 6;
/// What SIGKILL is to whoever waits for a process.
const SIGKILL: i32 = 9;

fn of_host(point: Point) -> bool {
    point.name().starts_with("host-")
}

/// Goes through a list with so many threads, and gives what each item came to.
fn all<I: Copy + Sync, T: Send>(
    items: &[I],
    threads: usize,
    go: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let parts = side_by_side(threads, |_| {
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) {
            done.push(go(*item)?);
        }
        Ok(done)
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// What became of a sidecar that died at a point.
struct Fell {
    in_trial: bool,
    torn: u64,
    answered: u64,
}

pub(super) fn kill_sidecars(bench: &Bench) -> Result<Outcome> {
    let points: Vec<Point> = Point::ALL
        .iter()
        .copied()
        .filter(|point| !of_host(*point))
        .collect();
    let fell = all(&points, WORLDS, |point| {
        fall(bench, point, "kill").with_context(|| format!("at {}", point.name()))
    })?;
    Ok(Outcome::Held(format!(
        "{} points, killed at each; {} trials were open then; 0 values that nobody proposed, 0 changes without an intent, {} lines \
         torn; each next start took the lease; the service answered {} requests and broke off 0",
        fell.len(),
        fell.iter().filter(|fell| fell.in_trial).count(),
        fell.iter().map(|fell| fell.torn).sum::<u64>(),
        fell.iter().map(|fell| fell.answered).sum::<u64>(),
    )))
}

/// A stage for each of which the process is to end, and the point at which it panics.
const PANICS: [(&str, Point); 6] = [
    ("sense", Point::Observed),
    ("decide", Point::Planned),
    ("act before it sends", Point::TryNoted),
    ("act after it has sent", Point::TryTold),
    ("record before the disk", Point::IntentEntered),
    ("record after the host did as asked", Point::OutcomeEntered),
];

pub(super) fn panics(bench: &Bench) -> Result<Outcome> {
    let mut jobs: Vec<Option<(&str, Point)>> = PANICS.iter().copied().map(Some).collect();
    jobs.push(None);
    let fell = all(&jobs, WORLDS, |job| match job {
        Some((stage, point)) => fall(bench, point, "panic").context(stage),
        None => ledger_panics(bench).context("the ledger's thread"),
    })?;
    let stages: Vec<&str> = PANICS.iter().map(|(stage, _)| *stage).collect();
    Ok(Outcome::Held(format!(
        "{}: each time the process ended with an error, no trial stayed open ({} were left to the host), and the next start took the \
         lease; the ledger's own thread: no change was begun after it, and all else went on; the service answered {} requests and \
         broke off 0",
        stages.join(", "),
        fell.iter().filter(|fell| fell.in_trial).count(),
        fell.iter().map(|fell| fell.answered).sum::<u64>(),
    )))
}

/// A sidecar that fails at a point, in a world of its own.
fn failing(world: &mut World<'_>, point: Point, action: &str) -> Result<Sidecar> {
    let armed = format!("{VARIABLE}={}={action}", point.name());
    let (socket, ledger) = (world.socket(), world.ledger());
    Ok(world.sidecar_at(&socket, &ledger, &["env", &armed])?.0)
}

fn fired(log: &Log, point: Point) -> Result<bool> {
    let line = format!("{FIRED}{}", point.name());
    Ok(log.text()?.lines().any(|told| told == line))
}

/// Whether an intent stands in the ledger at this point, and no outcome.
fn is_open(point: Point) -> bool {
    matches!(
        point,
        Point::IntentWritten
            | Point::IntentSynced
            | Point::TryNoted
            | Point::TrySent
            | Point::TryHeard
            | Point::OutcomeEntered
    )
}

/// A sidecar falls at a point; the host undoes what it left, and the next start takes over.
fn fall(bench: &Bench, point: Point, action: &str) -> Result<Fell> {
    let mut world = World::new(bench, &format!("{action}-{}", point.name()))?;
    let mut sidecar = failing(&mut world, point, action)?;
    if point.name().starts_with("rollback-") {
        world.until_trial()?;
        sidecar.process.signal("TERM")?;
    }
    let status = sidecar.process.until_ended()?;
    ensure!(fired(&sidecar.log, point)?, "it ended elsewhere: {status}");
    if action == "kill" {
        ensure!(
            status.signal() == Some(SIGKILL),
            "it ended by itself: {status}"
        );
    } else {
        ensure!(status.code().is_some_and(|code| code != 0), "{status}");
    }
    let state = world.state()?;
    let in_trial = trial(&state).is_some();
    if point == Point::TrySent {
        until("the host to hear of the change", || {
            world.state().ok()?["generation"]
                .as_u64()
                .filter(|seen| *seen > 0)
        })?;
    }
    world.audit(&state)?;
    let state = world.until_none()?;
    let torn = world.audit(&state)?;
    let (next, _) = world.sidecar()?;
    next.until_attached()?;
    world.until_leased_after(state["epoch"].as_u64())?;
    // Whether an outcome that was only handed over is on disk is a matter of chance.
    if action == "kill" && point != Point::TryTold {
        let told = next.log.text()?;
        ensure!(
            told.contains("never heard what came of this") == is_open(point),
            "what the next start knows of a change is not what was written: {told}"
        );
    }
    let answered = world.unbroken()?;
    Ok(Fell {
        in_trial,
        torn,
        answered,
    })
}

/// The thread that writes the ledger panics: nothing may be begun after that, and everything else goes on.
fn ledger_panics(bench: &Bench) -> Result<Fell> {
    let mut world = World::new(bench, "panic-ledger")?;
    let mut sidecar = failing(&mut world, Point::IntentWritten, "panic")?;
    until("the ledger's thread to panic", || {
        fired(&sidecar.log, Point::IntentWritten)
            .ok()?
            .then_some(())
    })?;
    until("the trouble to be told", || {
        let (_, body) = wire::get(&sidecar.address, "/readyz?verbose").ok()?;
        body.contains("so no change is begun").then_some(())
    })?;
    let seen = world.until_none()?["generation"].clone();
    for _ in 0..20 {
        pause(Duration::from_millis(100));
        let state = world.state()?;
        ensure!(
            state["generation"] == seen,
            "a change was begun that nobody could write down"
        );
        ensure!(state["lease"].is_object(), "the lease was lost: {state}");
    }
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    Ok(Fell {
        in_trial: false,
        torn: 0,
        answered: world.unbroken()?,
    })
}

/// What a host does at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Panic,
    Hold,
}

/// For how long its control thread stands still: three times as long as a trial.
const HOLD: Duration = Duration::from_secs(3);
const TRIAL: Duration = Duration::from_secs(1);

pub(super) fn hosts(bench: &Bench) -> Result<Outcome> {
    let points = Point::ALL.iter().copied().filter(|point| of_host(*point));
    let mut jobs: Vec<(Point, Fault)> = points
        .flat_map(|point| [(point, Fault::Kill), (point, Fault::Panic)])
        .collect();
    let in_trial = [
        Point::HostChangeHalfSet,
        Point::HostChangeSet,
        Point::HostChangeRecorded,
        Point::HostConfirmAsked,
        Point::HostRollBackAsked,
    ];
    jobs.extend(in_trial.map(|point| (point, Fault::Hold)));
    let done = all(&jobs, jobs.len(), |(point, fault)| {
        Subject::start(bench, point, fault)?
            .go_through()
            .with_context(|| format!("{fault:?} at {}", point.name()))
    })?;
    Ok(Outcome::Held(format!(
        "{} points: a killed host came back as a stranger at its baseline, frozen where it had said so; after a panic all or none of \
         a change stood, and the host took changes as before; {} control threads stood still for {} s within a trial, and {} requests \
         that came after its end were admitted only once it was undone",
        jobs.iter()
            .filter(|(_, fault)| *fault == Fault::Kill)
            .count(),
        in_trial.len(),
        HOLD.as_secs(),
        done.iter().sum::<usize>(),
    )))
}

/// A host that fails at a point; the campaign is its sidecar and its operator.
struct Subject<'b> {
    bench: &'b Bench,
    point: Point,
    fault: Fault,
    directory: PathBuf,
    address: String,
    process: Process,
    log: Log,
}

/// The values of the two knobs that a change sets at once.
type Pair = (u64, u64);
const BASELINE: Pair = (10, 100);
const KEPT: Pair = (11, 110);
const UNDONE: Pair = (12, 120);

impl<'b> Subject<'b> {
    fn start(bench: &'b Bench, point: Point, fault: Fault) -> Result<Self> {
        let directory = bench.directory.join(format!("{}-{fault:?}", point.name()));
        std::fs::create_dir_all(&directory)?;
        let address = free_address()?;
        let (file, log) = Log::new(&directory.join("host.log"))?;
        let action = match fault {
            Fault::Kill => "kill".to_owned(),
            Fault::Panic => "panic".to_owned(),
            Fault::Hold => format!("hold:{}", HOLD.as_millis()),
        };
        let mut command = host_command(bench, &directory, &address);
        command.env(VARIABLE, format!("{}={action}", point.name()));
        let process = Process::start(command.stderr(file))?;
        let subject = Self {
            bench,
            point,
            fault,
            directory,
            address,
            process,
            log,
        };
        until("the host", || subject.state().ok())?;
        Ok(subject)
    }

    fn state(&self) -> Result<Value> {
        wire::state(&self.directory.join("control.sock"))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let socket = self.directory.join("control.sock");
        wire::ask(&socket, method, &format!("/trimtab/v1{path}"), body)
    }

    fn operator(&self, method: &str) -> Result<(u16, Value)> {
        let socket = self.directory.join("operator.sock");
        wire::ask(&socket, method, "/trimtab/v1/freeze", &json!({}))
    }

    fn pair(state: &Value) -> Option<Pair> {
        let knobs = &state["pools"]["web"]["knobs"];
        let value = |name: &str| knobs[name]["value"].as_u64();
        Some((value("workers")?, value("queue_limit")?))
    }

    /// Begins a trial of both knobs and ends it in one way.
    fn change(&self, epoch: u64, (workers, queue_limit): Pair, end: Option<&str>) -> Result<()> {
        let state = self.state()?;
        let change = json!({
            "instance": state["instance"],
            "epoch": epoch,
            "generation": state["generation"].as_u64().unwrap_or(0) + 1,
            "pool": "web",
            "base_revision": state["pools"]["web"]["revision"],
            "trial_ms": TRIAL.as_millis(),
            "set": { "workers": workers, "queue_limit": queue_limit },
            "reason": "a campaign",
        });
        let (status, answer) = self.ask("POST", "/changes", &change)?;
        ensure!(status == 200, "{status} {answer}");
        if let Some(end) = end {
            let path = format!("/changes/{}/{end}", change["generation"]);
            let body = json!({ "instance": state["instance"], "epoch": epoch, "pool": "web" });
            let (status, answer) = self.ask("POST", &path, &body)?;
            ensure!(status == 200, "{status} {answer}");
        }
        Ok(())
    }

    fn lease(&self) -> Result<u64> {
        let lease = json!({ "instance": self.state()?["instance"], "holder": "campaign", "ttl_ms": 60_000 });
        let (status, answer) = self.ask("POST", "/lease", &lease)?;
        ensure!(status == 200, "{status} {answer}");
        answer["epoch"].as_u64().context("no epoch")
    }

    /// All that a host is asked in its life, up to the first answer that does not come.
    fn script(&self) -> Result<()> {
        // A panic within the first call costs its answer and nothing else.
        let epoch = self.lease().or_else(|_| self.lease())?;
        self.change(epoch, KEPT, Some("confirm"))?;
        self.change(epoch, UNDONE, Some("rollback"))?;
        self.change(epoch, UNDONE, None)?;
        let (status, answer) = self.operator("PUT")?;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    }

    /// Answers how many requests were seen to wait for an undo.
    fn go_through(mut self) -> Result<usize> {
        // Whatever stands still does so after this.
        let began = Watch::start();
        let (script, waited) = thread::scope(|scope| -> Result<_> {
            let script = scope.spawn(|| self.script());
            until("the point to be reached", || {
                fired(&self.log, self.point).ok()?.then_some(())
            })?;
            let waited = match self.fault {
                Fault::Hold => self.admission(&began)?,
                Fault::Kill | Fault::Panic => 0,
            };
            let script = script.join();
            Ok((
                script.map_err(|_| anyhow::anyhow!("the script panicked"))?,
                waited,
            ))
        })?;
        // What it was told is its own business; what stands is ours.
        drop(script);
        match self.fault {
            Fault::Kill => self.comes_back()?,
            Fault::Panic | Fault::Hold => self.goes_on()?,
        }
        Ok(waited)
    }

    /// A request that comes after the end of a trial whose undoing hangs: it has to wait for that.
    fn admission(&self, began: &Watch) -> Result<usize> {
        pause(TRIAL + Duration::from_millis(500));
        let sent = began.elapsed();
        let (status, _) = wire::get(&self.address, "/")?;
        ensure!(status == 200, "the service answers {status}");
        let took = began.elapsed().saturating_sub(sent);
        let left = HOLD.saturating_sub(sent);
        ensure!(
            took >= left,
            "admitted {took:?} after it came, and the undo was {left:?} away"
        );
        Ok(usize::from(!left.is_zero()))
    }

    fn comes_back(&mut self) -> Result<()> {
        let status = self.process.until_ended()?;
        ensure!(
            status.signal() == Some(SIGKILL),
            "it ended by itself: {status}"
        );
        self.process = start_host(self.bench, &self.directory, &self.address)?;
        let state = until("the host's next run", || self.state().ok())?;
        let pool = &state["pools"]["web"];
        ensure!(
            Self::pair(&state) == Some(BASELINE)
                && pool["revision"] == 1
                && pool["trial"].is_null(),
            "something of the run before stands: {pool}"
        );
        let kept = self.point == Point::HostFreezeKept;
        ensure!(state["frozen"] == kept, "frozen: {}", state["frozen"]);
        Ok(())
    }

    /// All or none of each change stands, and the host takes changes as before.
    fn goes_on(&mut self) -> Result<()> {
        let state = until("the end of the trial", || {
            let state = self.state().ok()?;
            let pool = &state["pools"]["web"];
            (pool["trial"].is_null() && pool["settling"] == false).then_some(state)
        })?;
        let pair = Self::pair(&state);
        ensure!(
            pair == Some(BASELINE) || pair == Some(KEPT),
            "half of a change stands: {pair:?}"
        );
        if self.fault == Fault::Panic {
            ensure!(
                state["process"]["kit_failures"].as_u64() > Some(0),
                "no failure is counted: {}",
                state["process"]
            );
        }
        let (status, answer) = self.operator("DELETE")?;
        ensure!(status == 200, "{status} {answer}");
        let epoch = self.lease()?;
        self.change(epoch, UNDONE, Some("rollback"))?;
        ensure!(
            Self::pair(&self.state()?) == pair,
            "a rollback leads elsewhere"
        );
        ensure!(self.process.is_alive()?, "the host ended");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_the_table_stands_in_the_program_and_on_its_side() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let side = |directory: &str| {
            let mut text = String::new();
            let files = walkdir::WalkDir::new(root.join(directory)).into_iter();
            for file in files
                .filter_map(Result::ok)
                .filter(|file| file.path().extension().is_some_and(|end| end == "rs"))
            {
                text.push_str(&std::fs::read_to_string(file.path()).expect("it is text"));
            }
            text
        };
        let (sidecar, host) = (side("src"), side("crates/host/src"));
        for point in Point::ALL {
            let name = format!("Point::{point:?}");
            let stands = |text: &str| {
                text.match_indices(&name).any(|(at, _)| {
                    !text[at + name.len()..].starts_with(|letter: char| letter.is_alphanumeric())
                })
            };
            assert_eq!(
                (stands(&sidecar), stands(&host)),
                (!of_host(*point), of_host(*point)),
                "{name}"
            );
        }
    }
}
