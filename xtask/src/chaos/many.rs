//! Cases of great numbers: a host of thousands of threads, and many sidecars that read the same files.

use super::cases::ticks_on;
use super::control::{Watch, side_by_side};
use super::world::{Log, Process, World, address_in};
use super::{Bench, Outcome, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the host grows to.
const THREADS: u64 = 4_000;
/// The memory that a sidecar may have, in KiB, however many there are.
const RSS_KIB_MAX: u64 = 96 * 1024;
/// What a sidecar may use of a core meanwhile, in percent; listing four thousand threads four times a second would take more.
const CPU_PERCENT_MAX: u64 = 25;

/// A host that suddenly has thousands of threads.
pub(super) fn threads(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "threads")?;
    let (mut sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    let (status, body) = wire::get(world.address(), &format!("/threads/{THREADS}"))?;
    if status != 200 {
        return Ok(Outcome::NotRun(format!(
            "no more threads to be had: {body}"
        )));
    }
    let seen = until("the threads to be seen", || {
        let seen = sidecar.status().ok()?["sample"]["threads"].as_u64()?;
        (seen >= THREADS).then_some(seen)
    })?;
    let (cpu, began) = (sidecar.process.cpu_ms()?, Watch::start());
    let epoch = ticks_on(&world, &mut sidecar)?;
    let used = sidecar.process.cpu_ms()? - cpu;
    let share = used * 100 / u64::try_from(began.elapsed().as_millis())?.max(1);
    ensure!(share <= CPU_PERCENT_MAX, "{share} % of a core");
    let (graph, _) = wire::get(&sidecar.address, "/flamegraph?seconds=1")?;
    let rss = sidecar.process.rss_kib()?;
    ensure!(rss <= RSS_KIB_MAX, "{rss} KiB");
    let (status, _) = wire::get(world.address(), "/threads/0")?;
    ensure!(status == 200, "the host answers {status}");
    until("the threads to be gone", || {
        let seen = sidecar.status().ok()?["sample"]["threads"].as_u64()?;
        (seen < 100).then_some(())
    })?;
    world.audit(&world.state()?)?;
    let answered = world.unbroken()?;
    Ok(Outcome::Held(format!(
        "{seen} threads were counted; the sidecar used {share} % of a core and {} MiB, kept the lease of epoch {epoch}, and answered \
         {graph} when asked for a graph; {answered} requests",
        rss >> 10
    )))
}

/// How often the profile is changed.
const ROUNDS: u64 = 3;
const FIRST_MAX: u64 = 60;

/// Many sidecars, each with a configuration of its own and all with the same directory of profiles.
pub(super) fn one_directory(bench: &Bench) -> Result<Outcome> {
    let number = if bench.is_full() { 100 } else { 20 };
    let home = bench.directory.join("shared");
    let profiles = home.join("profiles");
    fs::create_dir_all(&profiles)?;
    put(&profiles, FIRST_MAX)?;
    let mut readers = side_by_side(number, |index| Reader::start(bench, &home, index))?;
    let mut slowest = Duration::ZERO;
    let cpu = |readers: &[Reader]| -> Result<u64> {
        readers.iter().map(|reader| reader.process.cpu_ms()).sum()
    };
    let (used, began) = (cpu(&readers)?, Watch::start());
    for round in 1..=ROUNDS {
        let watch = Watch::start();
        put(&profiles, FIRST_MAX + round)?;
        for reader in &readers {
            until("a sidecar to read it anew", || {
                let status = reader.configuration().ok()?;
                (status["applied"].as_u64()? >= round).then_some(())
            })?;
        }
        slowest = slowest.max(watch.elapsed());
    }
    let share = (cpu(&readers)? - used) * 100 / u64::try_from(began.elapsed().as_millis())?.max(1);
    let wanted = json!((FIRST_MAX + ROUNDS).to_string());
    for reader in &mut readers {
        let status = reader.configuration()?;
        let counts = [&status["applied"], &status["refused"]].map(Value::as_u64);
        ensure!(
            counts == [Some(ROUNDS), Some(0)],
            "applied and refused: {counts:?}"
        );
        let (_, shown) = wire::get(&reader.address, "/api/v1/configuration/effective")?;
        let shown: Value = serde_json::from_str(&shown)?;
        let settings = shown["settings"].as_array().context("no settings")?;
        let bound = settings
            .iter()
            .find(|setting| setting["key"] == "profile.web.workers.max");
        let value = bound.map(|bound| &bound["value"]);
        ensure!(
            value == Some(&wanted),
            "it runs with another set: {value:?}"
        );
        ensure!(reader.process.is_alive()?, "a sidecar ended");
    }
    Ok(Outcome::Held(format!(
        "{number} sidecars read {ROUNDS} changes of one directory, each of them each change once and none a half of one; all had it \
         after {} ms at the slowest; together they used {share} % of a core meanwhile",
        slowest.as_millis()
    )))
}

/// Puts a profile in place as an editor does.
fn put(profiles: &Path, workers_max: u64) -> Result<()> {
    let text = include_str!("../../../profiles/web.toml");
    let changed = text.replace("max = 100\n", &format!("max = {workers_max}\n"));
    ensure!(changed != text, "the profile has another bound by now");
    let draft = profiles.join("web.toml~");
    fs::write(&draft, changed)?;
    fs::rename(draft, profiles.join("web.toml")).context("it cannot be put in place")
}

/// A sidecar without a host.
struct Reader {
    process: Process,
    address: String,
    _log: Log,
}

impl Reader {
    fn start(bench: &Bench, home: &Path, index: usize) -> Result<Self> {
        let own: PathBuf = home.join(format!("sidecar-{index}"));
        fs::create_dir_all(&own)?;
        let config = own.join("trimtab.toml");
        let (socket, ledger) = (own.join("none.sock"), own.join("ledger"));
        let text = format!(
            "mode = \"act\"\nprofiles = \"../profiles\"\n\n[[hosts]]\nid = \"hello\"\nsocket = {socket:?}\n\n[serve]\n\
             address = \"127.0.0.1:0\"\n\n[ledger]\ndirectory = {ledger:?}\n\n[log]\nformat = \"json\"\n"
        );
        fs::write(&config, text)?;
        let (file, log) = Log::new(&own.join("log"))?;
        let mut command = Command::new(&bench.sidecar);
        command.args(["run", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::start(command.stderr(file))?;
        let address = until("the sidecar's address", || address_in(&log.text().ok()?))?;
        let reader = Self {
            process,
            address,
            _log: log,
        };
        until("the files to be watched", || {
            let status = reader.configuration().ok()?;
            (status["watching"] != "nothing").then_some(())
        })?;
        Ok(reader)
    }

    fn configuration(&self) -> Result<Value> {
        let (status, body) = wire::get(&self.address, "/api/v1/configuration")?;
        ensure!(status == 200, "it answers {status}");
        Ok(serde_json::from_str(&body)?)
    }
}
