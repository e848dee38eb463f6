//! A host under load and its sidecar, as processes.

use super::{Bench, until, wire};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A process that ends with its owner.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(
            command.spawn().with_context(|| format!("{command:?}"))?,
        ))
    }

    /// SIGKILL, and waits for its end.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        let status = self.0.wait()?;
        ensure!(status.code().is_none(), "it had ended before it was killed");
        Ok(())
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status()?;
        ensure!(sent.success(), "SIG{name} was not sent");
        Ok(())
    }

    pub(super) fn is_alive(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Waits until it has ended by itself.
    pub(super) fn until_ended(&mut self) -> Result<ExitStatus> {
        until("a process to end", || self.0.try_wait().ok()?)
    }

    /// The third field of its status: T while it is stopped.
    pub(super) fn condition(&self) -> Result<char> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let after = text.rsplit_once(") ").context("no state")?.1;
        after.chars().next().context("no state")
    }

    /// CPU time of all its threads so far, in milliseconds; the kernel counts hundredths of a second.
    pub(super) fn cpu_ms(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let after = text.rsplit_once(") ").context("no figures")?.1;
        let ticks = after.split(' ').skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<Result<u64, _>>()? * 10)
    }

    /// Resident memory, in KiB.
    pub(super) fn rss_kib(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.context("no VmRSS")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The clients of a host: more than its ten workers take up at once.
const CLIENTS: usize = 30;

/// A host under load.
pub(super) struct World<'b> {
    bench: &'b Bench,
    pub(super) directory: PathBuf,
    pub(super) host: Process,
    address: String,
    /// Where the control API is over TCP as well, if it is, and the file of tokens for it.
    pub(super) tcp: Option<(SocketAddr, PathBuf)>,
    load: Load,
    starts: usize,
}

impl<'b> World<'b> {
    pub(super) fn new(bench: &'b Bench, name: &str) -> Result<Self> {
        Self::under(bench, name, CLIENTS, false)
    }

    /// The same, whose control API is on loopback TCP as well.
    pub(super) fn over_tcp(bench: &'b Bench, name: &str) -> Result<Self> {
        Self::under(bench, name, CLIENTS, true)
    }

    /// A host that nobody asks anything of yet.
    pub(super) fn idle(bench: &'b Bench, name: &str) -> Result<Self> {
        Self::under(bench, name, 0, false)
    }

    fn under(bench: &'b Bench, name: &str, clients: usize, over_tcp: bool) -> Result<Self> {
        let directory = bench.directory.join(name);
        fs::create_dir_all(&directory)?;
        let address = free_address()?;
        let tcp = over_tcp.then(|| tcp_door(&directory)).transpose()?;
        let mut command = host_command(bench, &directory, &address);
        if let Some((address, tokens)) = &tcp {
            command.arg(address.to_string()).arg(tokens);
        }
        let host = Process::start(command.stderr(Stdio::null()))?;
        until("the service", || wire::get(&address, "/").ok())?;
        let load = Load::start(&address, clients);
        let world = Self {
            bench,
            directory,
            host,
            address,
            tcp,
            load,
            starts: 0,
        };
        until("the host", || world.state().ok())?;
        Ok(world)
    }

    /// Kills the host and starts it again.
    pub(super) fn kill_host(&mut self) -> Result<()> {
        self.host.kill()?;
        self.start_host_anew()
    }

    /// The next run of a host that was killed.
    pub(super) fn start_host_anew(&mut self) -> Result<()> {
        self.host = start_host(self.bench, &self.directory, &self.address)?;
        until("the host's next run", || self.state().ok())?;
        Ok(())
    }

    /// Where it serves.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    pub(super) fn ledger(&self) -> PathBuf {
        self.directory.join("ledger")
    }

    pub(super) fn state(&self) -> Result<Value> {
        wire::state(&self.socket())
    }

    /// What was asked of the service and was answered with a success, and what broke off without an answer.
    pub(super) fn load(&self) -> (u64, u64) {
        let load = &self.load;
        (
            load.good.load(Ordering::SeqCst),
            load.broken.load(Ordering::SeqCst),
        )
    }

    /// How many requests of the service were answered.
    ///
    /// # Errors
    /// When one broke off.
    pub(super) fn unbroken(&self) -> Result<u64> {
        let (answered, broken) = self.load();
        ensure!(broken == 0, "{broken} requests of the service broke off");
        Ok(answered)
    }

    /// Waits until a lease is in force that was granted after this one.
    pub(super) fn until_leased_after(&self, epoch: Option<u64>) -> Result<()> {
        until("a new lease", || {
            let state = self.state().ok()?;
            (state["lease"].is_object() && state["epoch"].as_u64() > epoch).then_some(())
        })
    }

    /// A sidecar in mode `act` with four ticks a second, and how long it took to serve.
    pub(super) fn sidecar(&mut self) -> Result<(Sidecar, Duration)> {
        let (socket, ledger) = (self.socket(), self.ledger());
        self.sidecar_at(&socket, &ledger, &[])
    }

    /// The same with other places, and a command before its own.
    pub(super) fn sidecar_at(
        &mut self,
        socket: &Path,
        ledger: &Path,
        before: &[&str],
    ) -> Result<(Sidecar, Duration)> {
        self.starts += 1;
        let config = self.directory.join("trimtab.toml");
        let further = match &self.tcp {
            Some((_, tokens)) => {
                let operators = self.directory.join("operator.sock");
                format!("token_file = {tokens:?}\noperator_socket = {operators:?}\n")
            }
            None => String::new(),
        };
        let text = format!(
            "mode = \"act\"\ninterval = \"250ms\"\n\n[[hosts]]\nid = \"hello\"\nsocket = {socket:?}\n{further}\n[serve]\n\
             address = \"127.0.0.1:0\"\n\n[ledger]\ndirectory = {ledger:?}\n\n[lease]\nttl = \"2s\"\n\n[log]\nformat = \"json\"\n"
        );
        fs::write(&config, text)?;
        // A campaign starts it more often than a crash loop does.
        drop(fs::remove_file(ledger.join("starts")));
        let place = self.directory.join(format!("sidecar-{}.log", self.starts));
        let words: Vec<&str> = before.to_vec();
        let program = self.bench.sidecar.to_str().context("no text")?;
        let all = [&words[..], &[program, "run", "--config"]].concat();
        let (first, rest) = all.split_first().context("no command")?;
        let mut command = Command::new(first);
        command
            .args(rest)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let (file, log) = Log::new(&place)?;
        command.stderr(file);
        // It is read on through what is open here.
        fs::remove_file(&place)?;
        let (started, took) = crate::ci::shell::timed(|| -> Result<_> {
            let process = Process::start(&mut command)?;
            let address = until("the sidecar's address", || address_in(&log.text().ok()?))?;
            Ok(Sidecar {
                process,
                address,
                log,
            })
        });
        Ok((started?, took))
    }

    /// Waits until a trial is open in the host.
    pub(super) fn until_trial(&self) -> Result<u64> {
        until("a trial", || trial(&self.state().ok()?))
    }

    /// Waits until none is.
    pub(super) fn until_none(&self) -> Result<Value> {
        until("the end of the trial", || {
            let state = self.state().ok()?;
            trial(&state).is_none().then_some(state)
        })
    }

    /// Whether what stands in the host was ever proposed in this run of it, and whether every change that the host has seen was
    /// written down before. Answers how many lines of the ledger are torn.
    pub(super) fn audit(&self, state: &Value) -> Result<u64> {
        let written = Written::read(
            &self.ledger(),
            state["instance"].as_str().unwrap_or_default(),
        )?;
        let seen = state["generation"].as_u64().unwrap_or(0);
        ensure!(
            seen == 0 || written.generations.contains(&seen),
            "the host has seen change {seen}, and the ledger has only {:?}",
            written.generations
        );
        let knob = &state["pools"]["web"]["knobs"]["workers"];
        let value = knob["value"].as_u64().context("no value")?;
        let known = knob["baseline"].as_u64() == Some(value) || written.workers.contains(&value);
        ensure!(known, "{value} workers were never proposed");
        Ok(written.torn)
    }
}

/// The number of the open trial in a state.
pub(super) fn trial(state: &Value) -> Option<u64> {
    state["pools"]["web"]["trial"]["generation"].as_u64()
}

/// What the ledger holds about one run of the host.
#[derive(Default)]
struct Written {
    generations: BTreeSet<u64>,
    workers: BTreeSet<u64>,
    torn: u64,
}

impl Written {
    fn read(ledger: &Path, instance: &str) -> Result<Self> {
        let mut written = Self::default();
        for file in fs::read_dir(ledger)? {
            let path = file?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "jsonl")
            {
                continue;
            }
            for line in String::from_utf8_lossy(&fs::read(&path)?).lines() {
                let Ok(entry) = serde_json::from_str::<Value>(line) else {
                    written.torn += 1;
                    continue;
                };
                if entry["instance"].as_str() == Some(instance) && entry["entry"] == "intent" {
                    written.generations.extend(entry["generation"].as_u64());
                    written.workers.extend(entry["set"]["workers"].as_u64());
                }
            }
        }
        Ok(written)
    }
}

/// A running sidecar.
pub(super) struct Sidecar {
    pub(super) process: Process,
    pub(super) address: String,
    pub(super) log: Log,
}

/// What a process says on its standard error.
pub(super) struct Log(File);

impl Log {
    /// A file for it, and the other end.
    pub(super) fn new(place: &Path) -> Result<(File, Self)> {
        let file = File::create(place)?;
        Ok((file, Self(File::open(place)?)))
    }

    /// All of it so far.
    pub(super) fn text(&self) -> Result<String> {
        let mut bytes = vec![0; usize::try_from(self.0.metadata()?.len())?];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Sidecar {
    /// What it says about its host.
    pub(super) fn status(&self) -> Result<Value> {
        let (status, body) = wire::get(&self.address, "/api/v1/hosts/hello/status")?;
        ensure!(status == 200, "it answers {status}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Waits until it sees its host.
    pub(super) fn until_attached(&self) -> Result<()> {
        until("the sidecar to see its host", || {
            let status = self.status().ok()?;
            (status["absent"].is_null() && status["pools"]["web"].is_object()).then_some(())
        })
    }
}

/// Clients that ask again as soon as they are answered.
struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    broken: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: &str, clients: usize) -> Self {
        let (stop, good, broken) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let threads = (0..clients).map(|_| {
            let (address, stop) = (address.to_owned(), Arc::clone(&stop));
            let (good, broken) = (Arc::clone(&good), Arc::clone(&broken));
            thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match wire::get(&address, "/") {
                        Ok((200, _)) => {
                            good.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(_) => {}
                        Err(_) => {
                            broken.fetch_add(1, Ordering::SeqCst);
                            super::pause(Duration::from_millis(20));
                        }
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            stop,
            good,
            broken,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

pub(super) fn start_host(bench: &Bench, directory: &Path, address: &str) -> Result<Process> {
    let mut command = host_command(bench, directory, address);
    Process::start(command.stderr(Stdio::null()))
}

/// The same, of which something is still to be said.
pub(super) fn host_command(bench: &Bench, directory: &Path, address: &str) -> Command {
    let mut command = Command::new(&bench.host);
    command.arg(directory).arg(address).stdin(Stdio::null());
    command.stdout(Stdio::null());
    command
}

/// A free address for a control API over TCP, and a file of tokens that nobody else may read.
fn tcp_door(directory: &Path) -> Result<(SocketAddr, PathBuf)> {
    let tokens = directory.join("tokens");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&tokens)?;
    // It guards a host that lives for seconds, on a machine that is ours.
    writeln!(file, "campaign {:032x}", std::process::id())?;
    Ok((free_address()?.parse()?, tokens))
}

pub(super) fn free_address() -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

pub(super) fn address_in(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains("\"serving\""))?;
    let after = line.get(line.find("127.0.0.1:")?..)?;
    Some(after.chars().take_while(|letter| *letter != '"').collect())
}
