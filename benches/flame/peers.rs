//! The same questions asked of other tools.

use crate::targets::{Profiler, Target, memory};
use crate::{MS, f};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use std::io::{BufReader, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use trimtab_flame::ask::{Ask, Shot};
use trimtab_sys::clock::thread_cpu_ns;

/// The arguments with which this program starts itself again.
pub(crate) const INFERNO: &str = "--draw-like-inferno";
pub(crate) const INSIDE: &str = "--look-from-inside";

/// A Python program of two threads, of which one at a time works.
const PYTHON: &str = "import threading
print('under way', flush=True)
def work():
    s = 0
    while True:
        for n in range(1000):
            s = (s * 31 + n) % 1000003
threading.Thread(target=work, daemon=True).start()
work()";

/// The time of a target through `perf`, `perf script` and inferno, in two ways.
pub(crate) fn perf(target: &Target, window_ms: u64) {
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
        let (data, text) = (
            directory.path().join("perf.data"),
            directory.path().join("perf.txt"),
        );
        let mut record = Command::new("perf");
        record
            .args(["record", "-q", "-e", "cpu-clock", "-F", "99", "-p", &pid])
            .args(options)
            .arg("-o")
            .arg(&data);
        let recorded = cpu_of(record.args(["--", "sleep", &seconds]), Stdio::null(), false);
        let out = std::fs::File::create(&text).expect("it is ours");
        let script = &mut Command::new("perf");
        let scripted = cpu_of(script.arg("script").arg("-i").arg(&data), out.into(), false);
        let own = std::env::current_exe().expect("it runs");
        let drawn = cpu_of(
            Command::new(own).arg(INFERNO).arg(&text),
            Stdio::null(),
            false,
        );
        match (recorded, scripted, drawn) {
            (Some(recorded), Some(scripted), Some(drawn)) => println!(
                "| {name}, perf script, inferno: CPU | {:.0} ms ({:.0} + {:.0} + {:.0}) |",
                f(recorded + scripted + drawn) / MS,
                f(recorded) / MS,
                f(scripted) / MS,
                f(drawn) / MS,
            ),
            _ => println!("| {name} | there is no perf here |"),
        }
    }
}

/// A counter without stacks that interrupts a process, until it is ended.
pub(crate) struct BareCounter(Child);

/// Begins to count; nothing where there is no `perf`.
pub(crate) fn bare_counter(pid: u32, hz: u32) -> Option<BareCounter> {
    let (pid, hz) = (pid.to_string(), hz.to_string());
    let counting = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", &hz, "-p", &pid])
        .args(["-o", "/dev/null"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    counting.ok().map(BareCounter)
}

impl BareCounter {
    pub(crate) fn end(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it was started here");
    }
}

/// Draws what `perf script` wrote, with inferno's own options.
pub(crate) fn draw_like_inferno() -> ExitCode {
    let path = std::env::args().nth(2).expect("a file");
    let text = BufReader::new(std::fs::File::open(path).expect("it is there"));
    let mut folded = Vec::new();
    Folder::default()
        .collapse(text, &mut folded)
        .expect("perf wrote it");
    let mut options = inferno::flamegraph::Options::default();
    let mut svg = Vec::new();
    inferno::flamegraph::from_reader(&mut options, &*folded, &mut svg).expect("it can be drawn");
    std::io::stdout().write_all(&svg).expect("it is read");
    ExitCode::SUCCESS
}

/// A CPython target through Trimtab's profiler and through py-spy's own command.
pub(crate) fn python(profiler: &mut Profiler, window_ms: u64) {
    let interpreter = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output();
    let Ok(interpreter) = interpreter else {
        println!("| a Python target | there is no Python here |");
        return;
    };
    let interpreter = String::from_utf8_lossy(&interpreter.stdout);
    let target = Target::of(Command::new(interpreter.trim()).args(["-c", PYTHON]));
    let pid = target.child.id();
    let (_, cpu_ns, quality, _) = profiler.graph(Ask::Next {
        shot: Shot::of(pid),
        window_ms,
    });
    println!(
        "| a Python target, 2 threads: profiler's CPU | {:.1} ms ({quality}) |",
        f(cpu_ns) / MS
    );
    let seconds = (window_ms / 1_000).to_string();
    for rate in ["20", "99"] {
        let mut spy = Command::new("py-spy");
        let options = [
            "record",
            "--nonblocking",
            "-f",
            "flamegraph",
            "-o",
            "/dev/null",
        ];
        spy.args(options)
            .args(["-r", rate, "-d", &seconds, "-p", &pid.to_string()]);
        match cpu_of(&mut spy, Stdio::null(), true) {
            Some(cpu_ns) => println!(
                "| the same by py-spy's command at {rate} Hz | {:.0} ms |",
                f(cpu_ns) / MS
            ),
            None => println!("| the same by py-spy's command | there is no py-spy here |"),
        }
    }
}

/// The `pprof` crate inside a target, in a process of its own.
pub(crate) fn inside(whole: bool) {
    let own = std::env::current_exe().expect("it runs");
    let pairs = if whole { "6" } else { "1" };
    let output = Command::new(own)
        .args([INSIDE, pairs])
        .output()
        .expect("it can be started");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
}

/// Works with and without the `pprof` crate's guard, in turns.
pub(crate) fn look_from_inside() -> ExitCode {
    let pairs: usize = std::env::args()
        .nth(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let before = memory("self");
    let mut losses = Vec::new();
    let mut during = String::new();
    let guarded = || {
        pprof::ProfilerGuardBuilder::default()
            .frequency(997)
            .blocklist(&["libc", "libgcc", "pthread", "vdso"])
            .build()
            .expect("it can look")
    };
    for _ in 0..pairs {
        let without = work();
        let guard = guarded();
        let with = work();
        during = memory("self");
        drop(guard.report().build());
        drop(guard);
        losses.push(1.0 - with / without);
    }
    losses.sort_by(f64::total_cmp);
    let middle = losses.get(losses.len() / 2).copied().unwrap_or(0.0);
    println!(
        "| the pprof crate in the host: its memory before, while, after | {before}; {during}; {} |\n\
         | its loss at 997 Hz, median of {} pairs; scaled to 49 Hz | {:.2} %; {:.3} % |",
        memory("self"),
        losses.len(),
        middle * 100.0,
        middle * 100.0 * 49.0 / 997.0,
    );
    ExitCode::SUCCESS
}

/// How much gets done in two seconds of this thread's CPU time.
fn work() -> f64 {
    let end = thread_cpu_ns().expect("counted") + 2_000_000_000;
    let (mut done, mut sum) = (0_u32, 1_u64);
    while thread_cpu_ns().expect("counted") < end {
        for _ in 0..2_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).rotate_left(5));
        }
        done += 1;
    }
    f64::from(done)
}

/// CPU time of a command and of all that it began, in nanoseconds; `fails` where it may end badly and was there all the same.
fn cpu_of(command: &mut Command, out: Stdio, fails: bool) -> Option<u64> {
    let before = children_ns();
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .status()
        .ok()?;
    (status.success() || fails).then(|| children_ns() - before)
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
