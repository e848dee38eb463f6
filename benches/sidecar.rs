//! What the sidecar costs beside a service: CPU time and memory at one sample a second, and the time it takes to start.
//!
//! The real `trimtab` binary in mode `act` watches the example `hello_host`, which is in turns left alone and
//! under light load. CPU time is the scheduler's own count, to the nanosecond, and the verdict is on the median of the windows,
//! for other work on the machine makes the same instructions several times as dear; memory is what only this process has
//! (`RssAnon`), read at the end. A start is the time from just before the process is made to the first 200 on `/livez`, and on
//! `/readyz`, for whoever asks without pause; the floor beside it is `true`, made and waited for, in turns with the sidecar.
//!
//! `cargo bench --bench sidecar`, with `-- --windows 60` for a longer look. It needs port 8080 and `/tmp/hello`, which are
//! the example's. Without `--bench`, as in a test run, everything is short and no goal can be missed.
#![expect(clippy::print_stdout, reason = "a bench is there to print its table")]

use anyhow::{Context as _, bail, ensure};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, yield_now};
use trimtab_sys::clock::boot_ns;
use trimtab_sys::process::CpuClock;

const TRIMTAB: &str = env!("CARGO_BIN_EXE_trimtab");
const HOST: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8080);
/// Each sends one request after the other, and an answer takes the example 50 ms.
const CLIENTS: usize = 4;
/// Long enough for a few samples, short enough that a busy moment of the machine spoils only some.
const WINDOW: Duration = Duration::from_secs(5);
/// When a process that does not answer is given up.
const PATIENCE_NS: u64 = 20_000_000_000;

const CPU_PERCENT_MAX: f64 = 0.2;
const MEMORY_MIB_MAX: f64 = 12.0;
const START_MS_MAX: f64 = 50.0;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plan = Plan::from_arguments(std::env::args().skip(1));
    // Whatever ends the measurement drops it, and with it the processes that it started.
    let measured = tokio::select! {
        measured = async { measure(plan?).await } => measured,
        ended = told_to_end() => ended,
    };
    match measured {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Plan {
    /// Idle and under load each.
    windows: usize,
    starts: usize,
    whole: bool,
}

impl Plan {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let arguments: Vec<String> = arguments.collect();
        let whole = arguments.iter().any(|argument| argument == "--bench");
        let (windows, starts) = if whole { (7, 25) } else { (1, 2) };
        let mut plan = Self {
            windows,
            starts,
            whole,
        };
        if let Some(at) = arguments
            .iter()
            .position(|argument| argument == "--windows")
        {
            let number = arguments.get(at + 1).and_then(|text| text.parse().ok());
            plan.windows = number
                .filter(|number| *number > 0)
                .context("--windows needs a number")?;
        }
        Ok(plan)
    }
}

async fn told_to_end() -> anyhow::Result<bool> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    bail!("told to end")
}

async fn measure(plan: Plan) -> anyhow::Result<bool> {
    let directory = tempfile::tempdir()?;
    let host = start_host(&build_host()?, directory.path())?;
    let mut met = tell_starts(plan.starts, directory.path()).await?;
    met &= tell_running(plan.windows, &host, directory.path()).await?;
    Ok(met || !plan.whole)
}

/// A process that ends with this value, on every path.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?);
        Ok(Self(command.spawn()?))
    }

    /// Asks without pause until the answer is 200, and says at which time that was.
    fn until_200(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<u64> {
        let give_up = boot_ns() + PATIENCE_NS;
        while get(address, path).ok() != Some(200) {
            if let Some(status) = self.0.try_wait()? {
                bail!("it ended before it answered {path}: {status}");
            }
            ensure!(boot_ns() < give_up, "no 200 from {path}");
        }
        Ok(boot_ns())
    }

    fn cpu(&self) -> anyhow::Result<CpuClock> {
        CpuClock::of(self.0.id()).context("it has no CPU clock")
    }
}

/// Builds the example in the profile and the directory of this bench.
fn build_host() -> anyhow::Result<PathBuf> {
    let built = Path::new(TRIMTAB).parent().context("it is nowhere")?;
    let target = built.parent().context("it is in no target directory")?;
    let mut arguments = vec!["build", "--quiet", "--example", "hello_host"];
    if built.ends_with("release") {
        arguments.push("--release");
    }
    println!("cargo {}", arguments.join(" "));
    let status = Command::new(env!("CARGO"))
        .args(&arguments)
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success(), "the example was not built");
    Ok(built.join("examples/hello_host"))
}

fn start_host(program: &Path, directory: &Path) -> anyhow::Result<Running> {
    ensure!(
        TcpStream::connect(HOST).is_err(),
        "something else listens on port {}",
        HOST.1
    );
    let log = directory.join("host.log");
    let mut host = Running::start(Command::new(program).env_clear(), &log)?;
    host.until_200(SocketAddr::from(HOST), "/")
        .with_context(|| std::fs::read_to_string(log).unwrap_or_default())?;
    Ok(host)
}

/// The sidecar's command and where it will serve. A free port of a moment ago, so that it can be asked before it is there.
fn sidecar(directory: &Path) -> anyhow::Result<(Command, SocketAddr)> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let config = directory.join("trimtab.toml");
    // One name for all starts: the next one takes the lease of the one before.
    let text = format!(
        r#"mode = "act"
interval = "1s"

[[hosts]]
id = "hello"
socket = "/tmp/hello/control.sock"

[serve]
address = "{address}"

[ledger]
directory = "ledger"

[lease]
holder = "bench"
"#
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(TRIMTAB);
    command.env_clear().arg("run").arg("--config").arg(config);
    Ok((command, address))
}

/// The sidecar, once it is ready, and how long that took: to live, and to be ready, in nanoseconds.
fn start_sidecar(directory: &Path) -> anyhow::Result<(Running, u64, u64)> {
    let (mut command, address) = sidecar(directory)?;
    let log = directory.join("trimtab.log");
    let began = boot_ns();
    let mut sidecar = Running::start(&mut command, &log)?;
    let mut first = |path| {
        sidecar
            .until_200(address, path)
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
    };
    let (alive, ready) = (first("/livez")?, first("/readyz")?);
    Ok((sidecar, alive - began, ready - began))
}

async fn tell_starts(starts: usize, directory: &Path) -> anyhow::Result<bool> {
    let (mut floor, mut alive, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..starts {
        let began = boot_ns();
        ensure!(Command::new("true").status()?.success(), "`true` failed");
        floor.push(ms(boot_ns() - began));
        let (sidecar, to_live, to_be_ready) = start_sidecar(directory)?;
        drop(sidecar);
        alive.push(ms(to_live));
        ready.push(ms(to_be_ready));
        yield_now().await;
    }
    println!("\na start, median and range of {starts}, in ms");
    let floor = tell_range("`true`, made and waited for", floor);
    let alive = tell_range("trimtab, to 200 on /livez", alive);
    let ready = tell_range("trimtab, to 200 on /readyz", ready);
    println!(
        "  {:8.1} times `true` to /livez, {:.1} times to /readyz",
        alive / floor,
        ready / floor
    );
    let met = verdict("/livez", alive, START_MS_MAX, "ms");
    Ok(met & verdict("/readyz", ready, START_MS_MAX, "ms"))
}

async fn tell_running(windows: usize, host: &Running, directory: &Path) -> anyhow::Result<bool> {
    let (sidecar, _, _) = start_sidecar(directory)?;
    let (own, hosts) = (sidecar.cpu()?, host.cpu()?);
    let mut cases = [Case::new(0), Case::new(CLIENTS)];
    for _ in 0..windows {
        for case in &mut cases {
            case.window(own, hosts).await?;
        }
    }
    let mut met = true;
    for case in cases {
        println!(
            "\n{} clients, {} answers: median and range of {windows} windows of {} s, in % of a core",
            case.clients,
            case.answers,
            WINDOW.as_secs()
        );
        tell_range("the host itself", case.host_percent);
        let percent = tell_range("trimtab at one sample a second, mode act", case.own_percent);
        met &= verdict("CPU", percent, CPU_PERCENT_MAX, "% of a core");
    }
    println!();
    let memory = anonymous_mib(sidecar.0.id())?;
    Ok(met & verdict("RssAnon", memory, MEMORY_MIB_MAX, "MiB"))
}

/// So many clients, and what was used beside them in each window.
struct Case {
    clients: usize,
    answers: u64,
    own_percent: Vec<f64>,
    host_percent: Vec<f64>,
}

impl Case {
    fn new(clients: usize) -> Self {
        Self {
            clients,
            answers: 0,
            own_percent: Vec::new(),
            host_percent: Vec::new(),
        }
    }

    async fn window(&mut self, own: CpuClock, host: CpuClock) -> anyhow::Result<()> {
        let load = load(self.clients);
        let (own_before, host_before, began) = (used(own)?, used(host)?, boot_ns());
        tokio::time::sleep(WINDOW).await;
        let took = ms(boot_ns() - began);
        let percent = |ns| 100.0 * ms(ns) / took;
        self.own_percent.push(percent(used(own)? - own_before));
        self.host_percent.push(percent(used(host)? - host_before));
        self.answers += load.end().await?;
        Ok(())
    }
}

/// Clients that ask the host until they are ended.
struct Load {
    clients: JoinSet<anyhow::Result<()>>,
    answers: Arc<AtomicU64>,
}

fn load(clients: usize) -> Load {
    let answers = Arc::new(AtomicU64::new(0));
    let ask = |_| {
        let answers = Arc::clone(&answers);
        async move {
            let mut stream = tokio::net::TcpStream::connect(HOST).await?;
            let mut answer = [0_u8; 4096];
            loop {
                stream
                    .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .await?;
                let mut filled = 0;
                while !answer[..filled].ends_with(b"hello\n") {
                    let read = stream.read(&mut answer[filled..]).await?;
                    ensure!(read > 0, "the host closed a connection");
                    filled += read;
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let clients = (0..clients).map(ask).collect();
    Load { clients, answers }
}

impl Load {
    /// How many answers there were.
    async fn end(mut self) -> anyhow::Result<u64> {
        // A client only ends by itself when it fails.
        if let Some(ended) = self.clients.try_join_next() {
            ended??;
        }
        self.clients.shutdown().await;
        Ok(self.answers.load(Ordering::Relaxed))
    }
}

/// Asks once over a connection of its own, and says the status.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).inspect_err(|_| std::thread::yield_now())?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status line")?;
    Ok(status.parse()?)
}

fn used(clock: CpuClock) -> anyhow::Result<u64> {
    clock.read_ns().context("the process has ended")
}

/// The memory that only this process has and no file can give back.
fn anonymous_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("the kernel does not tell RssAnon")?;
    Ok(kib.parse::<f64>()? / 1_024.0)
}

/// Prints the median with the range around it, and gives the median.
fn tell_range(what: &str, mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let (low, high) = (values[0], values[values.len() - 1]);
    println!("  {median:8.2}  {low:8.2} .. {high:8.2}  {what}");
    median
}

fn verdict(what: &str, figure: f64, goal: f64, unit: &str) -> bool {
    let met = figure <= goal;
    let word = if met { "met" } else { "MISSED" };
    println!("  {figure:8.3} {unit}: {what}; goal: at most {goal} {unit}: {word}");
    met
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time is known to a few digits"
)]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
