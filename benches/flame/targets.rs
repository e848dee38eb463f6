//! What is looked at, and the profiler that looks.

use crate::f;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use trimtab_flame::Quality;
use trimtab_flame::ask::{Answer, Ask, Outcome, Request};
use trimtab_sys::clock::{boot_ns, thread_cpu_ns};
use trimtab_sys::process::CpuClock;

/// The arguments with which this program starts itself again.
pub(crate) const BUSY: &str = "--be-busy";
pub(crate) const TASKS: &str = "--be-a-service";
/// The functions whose futures the service spawns.
pub(crate) const TASK_TYPES: [&str; 3] = ["grind_orders", "write_mail", "index_pages"];

/// A tokio service whose workers compute in tasks of three types.
pub(crate) fn be_a_service() -> ! {
    async fn compute(rounds: u64) {
        std::hint::black_box((0..rounds).fold(1, |sum: u64, number| {
            sum.wrapping_mul(31) ^ std::hint::black_box(number)
        }));
        tokio::task::yield_now().await;
    }
    async fn grind_orders() {
        loop {
            compute(90_000).await;
        }
    }
    async fn write_mail() {
        loop {
            compute(30_000).await;
        }
    }
    async fn index_pages() {
        loop {
            compute(60_000).await;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for _ in 0..4 {
        runtime.spawn(grind_orders());
        runtime.spawn(write_mail());
        runtime.spawn(index_pages());
    }
    loop {
        std::thread::park();
    }
}

/// Two busy threads, each of which says how much it got done in a tenth of a second of its CPU time.
pub(crate) fn be_busy() -> ! {
    let work = || loop {
        let end = thread_cpu_ns().expect("counted") + 100_000_000;
        let (mut done, mut sum) = (0_u64, 1_u64);
        while thread_cpu_ns().expect("counted") < end {
            for _ in 0..2_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).rotate_left(5));
            }
            done += 1;
        }
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{done}").and_then(|()| out.flush()).is_err() {
            return;
        }
    };
    std::thread::spawn(work);
    work();
    loop {
        std::thread::park();
    }
}

pub(crate) struct Target {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// Starts this program as one of the targets.
    pub(crate) fn start(role: &str) -> Self {
        let own = std::env::current_exe().expect("it runs");
        Self::of(Command::new(own).arg(role))
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    /// How much it gets done in the next two seconds of its CPU time.
    pub(crate) fn work(&mut self) -> f64 {
        let mut done = 0.0;
        for _ in 0..20 {
            let mut line = String::new();
            self.output.read_line(&mut line).expect("it runs");
            done += line.trim_end().parse::<f64>().expect("a number");
        }
        done
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The profiler's process and the pipes to it.
pub(crate) struct Profiler {
    pub(crate) child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Profiler {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trimtab-prof"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self {
            child,
            input,
            output,
            next: 0,
        }
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> (Outcome, Vec<u8>) {
        self.next += 1;
        let request =
            serde_json::to_string(&Request { id: self.next, ask }).expect("it can be written");
        writeln!(self.input, "{request}").expect("it listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let answer: Answer = serde_json::from_str(&line).expect("an answer");
        let mut bytes = vec![0; answer.bytes];
        self.output.read_exact(&mut bytes).expect("all of it");
        (answer.outcome, bytes)
    }

    pub(crate) fn sees(&mut self, pid: u32) -> bool {
        let (outcome, _) = self.ask(Ask::Capabilities {
            pid,
            own_profile: None,
        });
        matches!(outcome, Outcome::Capabilities { steps, .. } if steps.iter().any(|step| step.reached && step.rung.words().starts_with("perf")))
    }

    /// A graph: how long it took, the profiler's CPU time, its quality and itself.
    pub(crate) fn graph(&mut self, ask: Ask) -> (u64, u64, Quality, Vec<u8>) {
        let cpu = CpuClock::of(self.child.id()).expect("it runs");
        let (begun, before) = (boot_ns(), cpu.read_ns().expect("it runs"));
        let (outcome, bytes) = self.ask(ask);
        let (took, used) = (boot_ns() - begun, cpu.read_ns().expect("it runs") - before);
        match outcome {
            Outcome::Graph { quality } => (took, used, quality, bytes),
            other => panic!("no graph: {other:?}"),
        }
    }

    pub(crate) fn memory(&self) -> String {
        memory(&self.child.id().to_string())
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn memory(pid: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let figure = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        format!("{:.1} MiB", f(kib) / 1_024.0)
    };
    format!(
        "{} (RssAnon), {} (VmHWM)",
        figure("RssAnon:"),
        figure("VmHWM:")
    )
}

pub(crate) fn wait_ns(ns: u64) {
    let ms = u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX);
    trimtab_sys::perf::wait(&[], ms).expect("it waits");
}
