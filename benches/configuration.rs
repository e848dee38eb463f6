//! What conditions cost, what reading a configuration costs, and how soon a running sidecar follows an edit.
//!
//! Run it with `cargo bench -p trimtab --bench configuration`; without `--bench`, as in a test run, it makes a short round only.
#![expect(clippy::print_stdout, reason = "a bench is there to print its table")]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use trimtab::config::{Overrides, load};
use trimtab_core::expression::{Expression, Signal, SignalSet, Truth};
use trimtab_sys::clock::{boot_ns, thread_cpu_ns};
use trimtab_sys::count_alloc::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ROUNDS: usize = 41;
/// Evaluations within one round.
const BATCH: u64 = 20_000;
const CONDITION_GOAL_NS: f64 = 200.0;
const EDITS: u64 = 20;
const RELOAD_GOAL_MS: f64 = 2_000.0;
/// The sidecar's ticks while it is edited.
const INTERVAL_MS: u64 = 100;

fn main() -> ExitCode {
    let whole = std::env::args().any(|argument| argument == "--bench");
    let met = conditions(if whole { ROUNDS } else { 2 });
    reading(if whole { ROUNDS } else { 2 });
    let followed = reload(if whole { EDITS } else { 1 });
    // A short round measures nothing; only a whole run can miss a goal.
    if (met && followed) || !whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Conditions of growing length, each with the figures of a pool at work. CPU time, for other programs take turns on the cores.
fn conditions(rounds: usize) -> bool {
    let long = (0..12).fold(String::from("cpu > 80%"), |mut text, number| {
        let join = if number % 2 == 0 { "and" } else { "or" };
        write!(text, " {join} queued / throughput > 2s + {number}ms")
            .expect("a string takes it all");
        text
    });
    let rows = [
        ("one comparison", "cpu > 80%".to_owned()),
        (
            "the rule of `web`",
            "tasks > 10000 and queue_wait_p95 > 50ms and cpu < 80%".to_owned(),
        ),
        (
            "arithmetic",
            "busy / workers > 90% and not (queued < 2 * workers or lost > 1% * arrivals)"
                .to_owned(),
        ),
        ("thirteen comparisons", long),
    ];
    let mut signals = SignalSet::default();
    for (number, signal) in (1_u32..).zip(Signal::ALL) {
        signals.set(*signal, Some(f64::from(number)));
    }
    println!("\nevaluating a condition, {rounds} rounds of {BATCH}");
    println!("  ns (median)   highest   allocations   condition");
    let mut met = true;
    for (name, text) in rows {
        let condition = Expression::parse(&text).expect("it is a condition");
        assert_ne!(condition.evaluate(&signals), Truth::Unknown, "{text}");
        let before = allocations();
        let mut ns: Vec<f64> = (0..rounds)
            .map(|_| {
                let begin = thread_cpu_ns().expect("it is counted");
                for _ in 0..BATCH {
                    black_box(black_box(&condition).evaluate(black_box(&signals)));
                }
                let used = thread_cpu_ns().expect("it is counted") - begin;
                count(used) / count(BATCH)
            })
            .collect();
        // The vector of the figures is one.
        let allocated = (allocations() - before).saturating_sub(1);
        ns.sort_by(f64::total_cmp);
        let (median, highest) = (ns[rounds / 2], ns[rounds - 1]);
        println!("  {median:11.1}  {highest:8.1}   {allocated:11}   {name}");
        met &= median <= CONDITION_GOAL_NS && allocated == 0;
    }
    let verdict = if met { "met" } else { "missed" };
    println!("  goal, at most {CONDITION_GOAL_NS} ns each and no allocation: {verdict}");
    met
}

/// The shipped configuration with its profiles, from the files to the last check.
fn reading(rounds: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/trimtab.toml");
    let mut us: Vec<f64> = (0..rounds)
        .map(|_| {
            let begin = boot_ns();
            black_box(load(Some(&path), &Overrides::default()).expect("it is valid"));
            count(boot_ns() - begin) / 1e3
        })
        .collect();
    us.sort_by(f64::total_cmp);
    println!("\nreading the shipped configuration and four profiles");
    println!("  {:.0} us (median of {rounds})", us[rounds / 2]);
}

/// Edits a profile again and again, each time as an editor does, and waits until the sidecar has the new bound in force.
fn reload(edits: u64) -> bool {
    let directory = tempfile::tempdir().expect("there is room");
    let sidecar = Sidecar::start(directory.path());
    let ticks_before = sidecar.metric("trimtab_ticks_total");
    let begin = boot_ns();
    let mut ms: Vec<f64> = (1..=edits)
        .map(|edit| {
            let edited = boot_ns();
            write_profile(directory.path(), 100 + edit);
            while sidecar.metric("trimtab_config_reloads_total{result=\"applied\"}") < count(edit) {
                std::thread::yield_now();
            }
            count(boot_ns() - edited) / 1e6
        })
        .collect();
    let lasted_ms = count(boot_ns() - begin) / 1e6;
    let ticks = sidecar.metric("trimtab_ticks_total") - ticks_before;
    let dropped = sidecar.metric("trimtab_ticks_dropped_total");
    ms.sort_by(f64::total_cmp);
    let last = ms.len() - 1;
    let due = lasted_ms / count(INTERVAL_MS);
    println!(
        "\nediting a profile of a running sidecar, {edits} edits at a tick each {INTERVAL_MS} ms"
    );
    println!(
        "  from the edit until it is in force: median {:.0} ms, longest {:.0} ms",
        ms[last / 2],
        ms[last]
    );
    println!("  ticks meanwhile: {ticks:.0} of {due:.0} due, {dropped:.0} left out");
    let met = ms[last] <= RELOAD_GOAL_MS && dropped < 0.5;
    let verdict = if met { "met" } else { "missed" };
    println!("  goal, at most {RELOAD_GOAL_MS} ms each and no tick left out: {verdict}");
    met
}

fn write_profile(directory: &Path, workers_max: u64) {
    let text = include_str!("../profiles/web.toml");
    let text = text.replace("max = 100\n", &format!("max = {workers_max}\n"));
    let path = directory.join("profiles/web.toml");
    fs::write(directory.join("profiles/web.toml~"), text).expect("it is ours");
    fs::rename(directory.join("profiles/web.toml~"), path).expect("it is ours");
}

/// The real binary; no host is needed to take settings over.
struct Sidecar {
    child: Child,
    address: String,
}

impl Sidecar {
    fn start(directory: &Path) -> Self {
        fs::create_dir(directory.join("profiles")).expect("it is ours");
        write_profile(directory, 100);
        let text = format!(
            "interval = \"{INTERVAL_MS}ms\"\nprofiles = \"profiles\"\n[[hosts]]\nid = \"shop\"\nsocket = \"no.sock\"\n\
             [serve]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n"
        );
        fs::write(directory.join("trimtab.toml"), text).expect("it is ours");
        let log = directory.join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(["run", "--config"])
            .arg(directory.join("trimtab.toml"))
            .env_clear()
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).expect("it is ours"))
            .spawn()
            .expect("it starts");
        let address = loop {
            let text = fs::read_to_string(&log).expect("it is ours");
            let serving = text.lines().find(|line| line.contains("\"serving\""));
            let found = serving.and_then(|line| Some(&line[line.find("127.0.0.1:")?..]));
            if let Some(found) = found.and_then(|found| found.split('"').next()) {
                break found.to_owned();
            }
            std::thread::yield_now();
        };
        let sidecar = Self { child, address };
        while sidecar.metric("trimtab_ticks_total") < 3.0 {
            std::thread::yield_now();
        }
        sidecar
    }

    /// The sum of a metric's lines; zero while there is none.
    fn metric(&self, name: &str) -> f64 {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a short run are far below 2^52"
)]
fn count(number: u64) -> f64 {
    number as f64
}
