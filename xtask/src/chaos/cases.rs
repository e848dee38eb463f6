//! The cases: what is done to a world, and what must be true afterwards.

use super::proxy::{End, Proxy, Toxin};
use super::world::{Sidecar, World, trial};
use super::{Bench, Outcome, pause, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;
use trimtab_sys::fail::Point;

/// Worlds that go on beside one another.
const WORLDS: usize = 4;

/// What a world of killed sidecars counted.
#[derive(Default)]
struct Killed {
    kills: usize,
    in_trials: usize,
    torn: u64,
    answered: u64,
    broken: u64,
    starts: Vec<Duration>,
}

pub(super) fn kill_sidecars(bench: &Bench) -> Result<Outcome> {
    // The others are those at named points.
    let each = bench
        .kills()
        .saturating_sub(Point::ALL.len())
        .div_ceil(WORLDS);
    let worlds = thread::scope(|scope| {
        let threads: Vec<_> = (0..WORLDS)
            .map(|number| scope.spawn(move || kill_in_worlds(bench, number, each)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join())
            .collect::<Vec<_>>()
    });
    let mut all = Killed::default();
    for world in worlds {
        let one = world.map_err(|_| anyhow::anyhow!("a world panicked"))??;
        all.kills += one.kills;
        all.in_trials += one.in_trials;
        all.torn += one.torn;
        all.answered += one.answered;
        all.broken += one.broken;
        all.starts.extend(one.starts);
    }
    all.starts.sort_unstable();
    ensure!(all.in_trials > 0, "no kill hit a trial");
    ensure!(
        all.broken == 0,
        "{} requests of the service broke off",
        all.broken
    );
    let at = |share: usize| {
        all.starts
            .get(all.starts.len() * share / 100)
            .map_or(0, Duration::as_millis)
    };
    Ok(Outcome::Held(format!(
        "{} kills, {} of them during a trial; 0 values that nobody proposed, 0 changes without an intent, {} lines torn; the \
         service answered {} requests and broke off 0; a start took {} ms at the median and {} ms at the 99th percentile",
        all.kills,
        all.in_trials,
        all.torn,
        all.answered,
        at(50),
        at(99)
    )))
}

/// Kills in one world before it gives way to a new one: a pool that was tuned well needs no more trials.
const KILLS_A_WORLD: usize = 8;

fn kill_in_worlds(bench: &Bench, number: usize, kills: usize) -> Result<Killed> {
    let mut killed = Killed::default();
    let mut random = Random::of(number, kills)?;
    while killed.kills < kills {
        let mut world = World::new(bench, &format!("kills-{number}-{}", killed.kills))?;
        for _ in 0..KILLS_A_WORLD.min(kills - killed.kills) {
            kill_one(&mut world, &mut random, &mut killed)?;
        }
        let state = world.until_none()?;
        killed.torn += world.audit(&state)?;
        let (answered, broken) = world.load();
        killed.answered += answered;
        killed.broken += broken;
    }
    Ok(killed)
}

fn kill_one(world: &mut World<'_>, random: &mut Random, killed: &mut Killed) -> Result<()> {
    let (mut sidecar, took) = world.sidecar()?;
    killed.starts.push(took);
    // One in four is aimed at a trial, the others come at any time.
    if random.below(4) == 0 && killed.kills % KILLS_A_WORLD < 4 {
        world.until_trial()?;
    }
    pause(Duration::from_millis(random.below(1_024)));
    sidecar.process.kill()?;
    killed.kills += 1;
    let state = world.state()?;
    killed.in_trials += usize::from(trial(&state).is_some());
    world.audit(&state)?;
    // Only some are waited for, so that the next start often finds a trial that is open.
    if random.below(2) == 0 {
        let state = world.until_none()?;
        world.audit(&state)?;
    }
    Ok(())
}

/// Numbers in an order that looks like none.
struct Random(u64);

impl Random {
    /// Every thread has its own order of times, the same in every run of so many kills.
    fn of(thread: usize, kills: usize) -> Result<Self> {
        Ok(Self(u64::try_from(7 + thread + WORLDS * kills)?))
    }

    fn below(&mut self, end: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

pub(super) fn stop_sidecar(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "zombie")?;
    let (mut sidecar, _) = world.sidecar()?;
    let mut undone = 0;
    for _ in 0..4 {
        let number = world.until_trial()?;
        sidecar.process.signal("STOP")?;
        until("it to be stopped", || {
            (sidecar.process.condition().ok()? == 'T').then_some(())
        })?;
        let state = world.until_none()?;
        let lease = until("the end of the lease", || {
            let state = world.state().ok()?;
            state["lease"].is_null().then_some(state["epoch"].as_u64())
        })?;
        ensure!(
            state["generation"].as_u64() >= Some(number),
            "generations go back"
        );
        sidecar.process.signal("CONT")?;
        world.until_leased_after(lease)?;
        ensure!(sidecar.process.is_alive()?, "the sidecar ended");
        undone += 1;
    }
    let answered = world.unbroken()?;
    Ok(Outcome::Held(format!(
        "{undone} sidecars stopped during a trial that the host undid; each came back to a new epoch; the service answered {answered} requests"
    )))
}

pub(super) fn kill_hosts(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "hosts")?;
    let (mut sidecar, _) = world.sidecar()?;
    let kills = bench.few();
    let mut random = Random::of(0, kills)?;
    for _ in 0..kills {
        sidecar.until_attached()?;
        let before = world.state()?["instance"].clone();
        pause(Duration::from_millis(random.below(600)));
        world.kill_host()?;
        let state = world.state()?;
        is_a_stranger(&state, &before)?;
        let seen = until("the sidecar to see the next run", || {
            let status = sidecar.status().ok()?;
            (status["absent"].is_null() && status["instance"] == state["instance"]).then_some(())
        });
        seen?;
        ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    }
    Ok(Outcome::Held(format!(
        "{kills} kills; each next run was a stranger at its baseline, and was found"
    )))
}

/// Whether this is another run than the one before, to which nothing has been done.
fn is_a_stranger(state: &Value, before: &Value) -> Result<()> {
    ensure!(
        state["instance"] != *before,
        "the next run has the same name"
    );
    ensure!(
        state["pools"]["web"]["revision"].as_u64() == Some(1),
        "a plan for the run before was carried out: {}",
        state["pools"]["web"]
    );
    Ok(())
}

/// As when a container with both of them goes: neither can tell the other anything.
pub(super) fn kill_both(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "both")?;
    let kills = bench.few();
    let mut random = Random::of(1, kills)?;
    let (mut in_trials, mut torn) = (0, 0);
    for _ in 0..kills {
        let (mut sidecar, _) = world.sidecar()?;
        world.until_leased_after(None)?;
        if random.below(2) == 0 {
            world.until_trial()?;
        }
        pause(Duration::from_millis(random.below(400)));
        let before = world.state()?;
        in_trials += usize::from(trial(&before).is_some());
        if random.below(2) == 0 {
            sidecar.process.kill()?;
            world.host.kill()?;
        } else {
            world.host.kill()?;
            sidecar.process.kill()?;
        }
        world.start_host_anew()?;
        let state = world.state()?;
        is_a_stranger(&state, &before["instance"])?;
        torn += world.audit(&state)?;
    }
    let (mut sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    world.until_trial()?;
    torn += world.audit(&world.state()?)?;
    ensure!(in_trials > 0, "no kill hit a trial");
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    Ok(Outcome::Held(format!(
        "{kills} times both, {in_trials} of them during a trial; each next host stood at its baseline, {torn} lines of the ledger \
         torn, and the last sidecar began a trial"
    )))
}

pub(super) fn stop_host(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "stopped")?;
    let (mut sidecar, _) = world.sidecar()?;
    for _ in 0..3 {
        world.until_trial()?;
        world.host.signal("STOP")?;
        until("it to be stopped", || {
            (world.host.condition().ok()? == 'T').then_some(())
        })?;
        until("the sidecar to miss it", || {
            let status = sidecar.status().ok()?;
            (!status["absent"].is_null()).then_some(())
        })?;
        // Longer than the lease.
        pause(Duration::from_millis(2_500));
        world.host.signal("CONT")?;
        let state = until("the host", || world.state().ok())?;
        ensure!(
            trial(&state).is_none() || state["lease"].is_object(),
            "a trial stands without its lease: {state}"
        );
        sidecar.until_attached()?;
        ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    }
    Ok(Outcome::Held(
        "3 hosts stopped for longer than a lease; no trial outlived it, and the sidecar ticked on"
            .to_owned(),
    ))
}

pub(super) fn bad_wire(bench: &Bench) -> Result<Outcome> {
    let toxins = [
        Toxin::Late,
        Toxin::Drip,
        Toxin::LoseAnswer,
        Toxin::Reset,
        Toxin::Truncate,
        Toxin::Hold,
        Toxin::Twice,
    ];
    through_wire(bench, "wire", &toxins)
}

pub(super) fn lying_wire(bench: &Bench) -> Result<Outcome> {
    through_wire(
        bench,
        "lies",
        &[
            Toxin::Garbage,
            Toxin::OtherVersion,
            Toxin::Redirect,
            Toxin::Huge,
        ],
    )
}

/// The memory that a sidecar may have, in KiB, whatever the wire brings.
const RSS_KIB_MAX: u64 = 96 * 1024;

fn through_wire(bench: &Bench, name: &str, toxins: &[Toxin]) -> Result<Outcome> {
    // The sidecar waits most of the time, so both transports take as long as one.
    thread::scope(|scope| {
        let tcp = format!("{name}-tcp");
        let over_tcp = scope.spawn(move || poisoned(World::over_tcp(bench, &tcp)?, toxins));
        let over_socket = poisoned(World::new(bench, name)?, toxins);
        let over_tcp = over_tcp
            .join()
            .ok()
            .context("the world over TCP panicked")?;
        let over_tcp = over_tcp.context("over TCP")?;
        Ok(Outcome::Held(format!(
            "{}; over TCP: {over_tcp}",
            over_socket.context("over the socket")?
        )))
    })
}

fn poisoned(mut world: World<'_>, toxins: &[Toxin]) -> Result<String> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let ends = match &world.tcp {
        Some((host, _)) => (End::Tcp(any), End::Tcp(*host)),
        None => {
            let front = world.directory.join("proxy.sock");
            (End::Socket(front), End::Socket(world.socket()))
        }
    };
    let proxy = Proxy::start(ends.0, ends.1)?;
    let place = match &proxy.front {
        End::Socket(path) => path.clone(),
        End::Tcp(address) => format!("http://{address}").into(),
    };
    let ledger = world.ledger();
    let (mut sidecar, _) = world.sidecar_at(&place, &ledger, &[])?;
    let mut counts = Vec::new();
    for toxin in toxins {
        sidecar.until_attached()?;
        proxy.poison(*toxin);
        let wanted = if matches!(toxin, Toxin::Hold | Toxin::Drip | Toxin::Late) {
            2
        } else {
            10
        };
        until("the wire to do harm", || {
            (proxy.fired() >= wanted).then_some(())
        })?;
        if *toxin != Toxin::Twice {
            // Whatever the sidecar hears, the host ends what nobody confirms.
            world.until_none()?;
        }
        counts.push(format!("{toxin:?} {}", proxy.fired()));
        ensure!(
            sidecar.process.is_alive()?,
            "the sidecar ended under {toxin:?}"
        );
        let rss = sidecar.process.rss_kib()?;
        ensure!(rss <= RSS_KIB_MAX, "{rss} KiB under {toxin:?}");
        proxy.poison(Toxin::None);
    }
    sidecar.until_attached()?;
    let state = world.state()?;
    world.audit(&state)?;
    let answered = world.unbroken()?;
    Ok(format!(
        "{}; the service answered {answered} requests and broke off 0",
        counts.join(", ")
    ))
}

pub(super) fn full_disk(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "full")?;
    let ledger = world.ledger();
    std::fs::create_dir_all(&ledger)?;
    let place = ledger.to_str().unwrap_or_default().to_owned();
    let mount = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", &place];
    if !Command::new("mount").args(mount).output()?.status.success() {
        return Ok(Outcome::NotRun(
            "a file system of 64 KiB needs the right to mount".to_owned(),
        ));
    }
    let _mounted = Mounted(place);
    let full = std::fs::write(ledger.join("ballast"), vec![0; 1 << 20]);
    ensure!(full.is_err(), "the disk is not full");
    let (mut sidecar, _) = world.sidecar()?;
    sidecar.until_attached()?;
    let told = until("the trouble to be told", || {
        let (_, body) = wire::get(&sidecar.address, "/readyz?verbose").ok()?;
        body.contains("cannot be written").then_some(body)
    })?;
    pause(Duration::from_secs(6));
    let state = world.state()?;
    ensure!(
        state["generation"].as_u64() == Some(0),
        "a change was made that nobody could write down: {told}"
    );
    std::fs::remove_file(ledger.join("ballast"))?;
    world.until_trial()?;
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    Ok(Outcome::Held(
        "no change while the ledger could not be written, and one as soon as it could".to_owned(),
    ))
}

struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        // What cannot be unmounted now is told when the directory is removed.
        drop(Command::new("umount").args(["-l", &self.0]).output());
    }
}

pub(super) fn few_descriptors(bench: &Bench) -> Result<Outcome> {
    let mut world = World::new(bench, "few")?;
    let (socket, ledger) = (world.socket(), world.ledger());
    let Ok((mut sidecar, _)) = world.sidecar_at(&socket, &ledger, &["prlimit", "--nofile=48"])
    else {
        return Ok(Outcome::NotRun("there is no prlimit here".to_owned()));
    };
    sidecar.until_attached()?;
    let crowd: Vec<TcpStream> = (0..200)
        .filter_map(|_| TcpStream::connect(&sidecar.address).ok())
        .collect();
    ensure!(crowd.len() > 48, "only {} connected", crowd.len());
    // The loop goes on: the lease is renewed all the while.
    let lease = ticks_on(&world, &mut sidecar)?;
    drop(crowd);
    sidecar.until_attached()?;
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    Ok(Outcome::Held(format!(
        "200 connections on 48 descriptors; the lease of epoch {lease} was kept through it, and the pages came back"
    )))
}

/// Whether the lease is held without a gap for longer than it lasts.
pub(super) fn ticks_on(world: &World<'_>, sidecar: &mut Sidecar) -> Result<u64> {
    let epoch = until("a lease", || {
        let state = world.state().ok()?;
        state["lease"]
            .is_object()
            .then(|| state["epoch"].as_u64())?
    })?;
    for _ in 0..40 {
        pause(Duration::from_millis(100));
        let state = world.state()?;
        ensure!(
            state["lease"].is_object() && state["epoch"].as_u64() == Some(epoch),
            "the lease was lost: {state}"
        );
    }
    ensure!(sidecar.process.is_alive()?, "the sidecar ended");
    Ok(epoch)
}
