//! What a flame graph costs: the profiler, the host, and the time until it is there.
//!
//! The target has two busy threads and no frame pointers. The profiler's CPU time is that of its own process, from a question
//! to its answer; `perf` is measured over `perf record` and `perf script`, which leaves out the drawing, so the ratio flatters
//! it. The host's cost is what its threads get done in a second of their own CPU time with and without samples, in turns, at
//! ten times the rate, because at the usual one it drowns in the noise. The last figure is a tree of 100,000 distinct stacks.
//!
//! `cargo bench --bench flame`; without `--bench`, as in a test run, windows are a second and nothing is judged.
#![expect(clippy::print_stdout, reason = "a bench is there to print its table")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use trimtab_flame::ask::{Answer, Ask, Outcome, Request, Shot, Stretch};
use trimtab_flame::{Format, Kind, Named, Quality, SVG_BYTES_MAX, Tree, View};
use trimtab_sys::clock::{boot_ns, thread_cpu_ns};
use trimtab_sys::process::CpuClock;

/// The arguments with which this program starts itself again.
const TARGET: &str = "--be-a-target";
const DRAW: &str = "--draw-a-large-tree";
const STACKS: u64 = 100_000;
const MS: f64 = 1e6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(TARGET) => be_a_target(),
        Some(DRAW) => {
            println!("{}", large_tree());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let whole = arguments.iter().any(|argument| argument == "--bench");
    let (window_ms, pairs) = if whole { (10_000, 12) } else { (1_000, 1) };
    println!("| what | figure |\n|---|---|");
    let target = Target::start();
    let mut profiler = Profiler::start();
    if !profiler.sees(target.child.id()) {
        println!("skipped: perf_event_open is denied here");
        return ExitCode::SUCCESS;
    }
    graphs(&mut profiler, &target, window_ms);
    peers(&target, window_ms);
    remembered(&mut profiler, &target, window_ms);
    drop(target);
    cost_in_host(&mut profiler, pairs);
    drawing();
    ExitCode::SUCCESS
}

/// Graphs of the time that now begins: the first, which reads the files, and warm ones.
fn graphs(profiler: &mut Profiler, target: &Target, window_ms: u64) {
    let shot = Shot::of(target.child.id());
    for round in ["first", "warm", "warm again"] {
        let asked = Ask::Next {
            shot: shot.clone(),
            window_ms,
        };
        let (took_ns, cpu_ns, quality, bytes) = profiler.graph(asked);
        let after_ms = f(took_ns) / MS - f(window_ms * 1_000_000) / MS;
        println!(
            "| {round} graph of {} s at 99 Hz: profiler's CPU; picture after the window; its size | {:.1} ms; {after_ms:.1} ms; {} KB |",
            window_ms / 1_000,
            f(cpu_ns) / MS,
            bytes / 1_000,
        );
        println!("| its quality | {quality} |");
    }
    println!(
        "| profiler's memory of its own, and at its most | {} |",
        profiler.memory()
    );
}

/// The same time through `perf`, twice.
fn peers(target: &Target, window_ms: u64) {
    let seconds = (window_ms / 1_000).to_string();
    let pid = target.child.id().to_string();
    for (name, options) in [
        ("perf record -g", vec!["-g"]),
        (
            "perf record --call-graph dwarf",
            vec!["--call-graph", "dwarf,16384"],
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("perf.data");
        let mut record = Command::new("perf");
        record
            .args(["record", "-q", "-e", "cpu-clock", "-F", "99", "-p", &pid])
            .args(options)
            .arg("-o")
            .arg(&data);
        let recorded = cpu_of(record.args(["--", "sleep", &seconds]));
        let scripted = cpu_of(Command::new("perf").arg("script").arg("-i").arg(&data));
        match (recorded, scripted) {
            (Some(recorded), Some(scripted)) => {
                println!(
                    "| {name} and perf script: CPU | {:.1} ms |",
                    f(recorded + scripted) / MS
                );
            }
            _ => println!("| {name} | there is no perf here |"),
        }
    }
}

/// CPU time of a command and of all that it began, in nanoseconds.
fn cpu_of(command: &mut Command) -> Option<u64> {
    let before = children_ns();
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    status.success().then(|| children_ns() - before)
}

/// CPU time of all children that have ended, from ticks of ten milliseconds.
fn children_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc is here");
    let rest = stat.rsplit_once(") ").expect("a name stands in it").1;
    let ticks = rest
        .split(' ')
        .skip(13)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"));
    ticks.sum::<u64>() * 10_000_000
}

/// Graphs of the recent past.
fn remembered(profiler: &mut Profiler, target: &Target, window_ms: u64) {
    let pid = target.child.id();
    profiler.ask(Ask::Remember {
        pid: Some(pid),
        hz: 49,
        bytes_max: 4 << 20,
    });
    let cpu = CpuClock::of(profiler.child.id()).expect("it runs");
    let before = cpu.read_ns().expect("it runs");
    wait_ns((window_ms + 2_000) * 1_000_000);
    let used = cpu.read_ns().expect("it runs") - before;
    println!(
        "| remembering at 49 Hz: profiler's CPU | {:.3} % of a core |",
        f(used) / f((window_ms + 2_000) * 1_000_000) * 100.0
    );
    let until_ns = boot_ns();
    let stretch = Stretch {
        from_ns: until_ns - window_ms * 1_000_000,
        until_ns,
    };
    for round in ["first", "warm"] {
        let (took_ns, _, quality, _) = profiler.graph(Ask::Past {
            shot: Shot::of(pid),
            stretch,
        });
        println!(
            "| {round} graph of the last {} s, from the ring | {:.1} ms, {} samples |",
            window_ms / 1_000,
            f(took_ns) / MS,
            quality.samples
        );
    }
    println!(
        "| profiler's memory of its own with the ring, and at its most | {} |",
        profiler.memory()
    );
    profiler.ask(Ask::Remember {
        pid: None,
        hz: 49,
        bytes_max: 4 << 20,
    });
}

/// What a sample costs the host, from its work in a second of its own CPU time.
fn cost_in_host(profiler: &mut Profiler, pairs: usize) {
    let mut target = Target::start();
    let pid = target.child.id();
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let without = target.work();
        profiler.ask(Ask::Remember {
            pid: Some(pid),
            hz: RATE,
            bytes_max: 4 << 20,
        });
        // The piece of work in which it was switched on is half and half.
        target.work();
        let with = target.work();
        profiler.ask(Ask::Remember {
            pid: None,
            hz: RATE,
            bytes_max: 4 << 20,
        });
        target.work();
        ratios.push(1.0 - with / without);
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get(ratios.len() / 2).copied().unwrap_or(0.0);
    let (low, high) = (
        ratios.first().copied().unwrap_or(0.0),
        ratios.last().copied().unwrap_or(0.0),
    );
    let at_49 = middle * 49.0 / f64::from(RATE);
    println!(
        "| host's loss at {RATE} Hz, the median of {} pairs (least to most); scaled to 49 Hz | {:.2} % ({:.2} to {:.2}); {:.3} % |",
        ratios.len(),
        middle * 100.0,
        low * 100.0,
        high * 100.0,
        at_49 * 100.0,
    );
}

/// A rate at which the cost can be seen.
const RATE: u32 = 997;

/// Draws a large tree in a process of its own, whose memory can be told.
fn drawing() {
    let own = std::env::current_exe().expect("it runs");
    let output = Command::new(own)
        .arg(DRAW)
        .output()
        .expect("it can be started");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
}

fn large_tree() -> String {
    // Each function calls a few others, as in a program; a stack is a walk from the first.
    let names: Vec<String> = (0..3_000)
        .map(|at| format!("shop::module_{}::function_{at}", at % 97))
        .collect();
    let mut state = 1_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut tree = Tree::default();
    let mut calls: Vec<&str> = Vec::new();
    let begun = boot_ns();
    for stack in 0..STACKS {
        calls.clear();
        let mut at = 0_u64;
        for _ in 0..12 + next(20) {
            calls.push(&names[usize::try_from(at).expect("below 3,000")]);
            // Mostly the first of those that it calls.
            let choice = next(3) * next(3);
            at = (at * 5 + 1 + choice) % 3_000;
        }
        let own = format!("leaf_{stack}");
        tree.count(calls.iter().copied().chain([own.as_str()]), 1 + next(9));
    }
    let built = boot_ns();
    let nodes = tree.len();
    let named = Named {
        title: "large".to_owned(),
        kind: Kind::Cpu,
        tree,
        quality: Quality::default(),
    };
    let svg = named
        .write(View::Flame, Format::Svg)
        .expect("it can be drawn");
    let drawn = boot_ns();
    assert!(svg.len() <= SVG_BYTES_MAX, "{}", svg.len());
    format!(
        "| {STACKS} distinct stacks ({nodes} nodes): into a tree; pruned and drawn; size | {:.0} ms; {:.0} ms; {} KB |\n| its memory at its most | {} |",
        f(built - begun) / MS,
        f(drawn - built) / MS,
        svg.len() / 1_000,
        memory("self"),
    )
}

/// Two busy threads, each of which says how much it got done in a tenth of a second of its CPU time.
fn be_a_target() -> ! {
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

struct Target {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Target {
    fn start() -> Self {
        let own = std::env::current_exe().expect("it runs");
        let mut child = Command::new(own)
            .arg(TARGET)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    /// How much it gets done in the next two seconds of its CPU time.
    fn work(&mut self) -> f64 {
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
struct Profiler {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Profiler {
    fn start() -> Self {
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

    fn ask(&mut self, ask: Ask) -> (Outcome, usize) {
        self.next += 1;
        let request =
            serde_json::to_string(&Request { id: self.next, ask }).expect("it can be written");
        writeln!(self.input, "{request}").expect("it listens");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        let answer: Answer = serde_json::from_str(&line).expect("an answer");
        let mut bytes = vec![0; answer.bytes];
        self.output.read_exact(&mut bytes).expect("all of it");
        (answer.outcome, answer.bytes)
    }

    fn sees(&mut self, pid: u32) -> bool {
        let (outcome, _) = self.ask(Ask::Capabilities {
            pid,
            own_profile: None,
        });
        matches!(outcome, Outcome::Capabilities { steps, .. } if steps.iter().any(|step| step.reached && step.rung.words().starts_with("perf")))
    }

    /// A graph: how long it took, the profiler's CPU time, its quality and its size.
    fn graph(&mut self, ask: Ask) -> (u64, u64, Quality, usize) {
        let cpu = CpuClock::of(self.child.id()).expect("it runs");
        let (begun, before) = (boot_ns(), cpu.read_ns().expect("it runs"));
        let (outcome, bytes) = self.ask(ask);
        let (took, used) = (boot_ns() - begun, cpu.read_ns().expect("it runs") - before);
        match outcome {
            Outcome::Graph { quality } => (took, used, quality, bytes),
            other => panic!("no graph: {other:?}"),
        }
    }

    fn memory(&self) -> String {
        memory(&self.child.id().to_string())
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn memory(pid: &str) -> String {
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

fn wait_ns(ns: u64) {
    let ms = u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX);
    trimtab_sys::perf::wait(&[], ms).expect("it waits");
}

#[expect(clippy::cast_precision_loss, reason = "times and sizes far below 2^53")]
fn f(number: u64) -> f64 {
    number as f64
}
