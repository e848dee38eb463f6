//! What a flame graph costs: the profiler, the host, and the time until it is there.
//!
//! The target has two busy threads and no frame pointers. The profiler's CPU time is that of its own process, from a question
//! to its answer; `perf` is measured over `perf record`, `perf script` and inferno. Python's target is read by py-spy's own
//! command too, if it is installed, and the `pprof` crate runs inside a target as a library. The host's cost is what its threads get done in a second of their own CPU time with and without samples, in turns, at
//! ten times the rate, because at the usual one it drowns in the noise. The last figure is a tree of 100,000 distinct stacks.
//!
//! `cargo bench --bench flame`; without `--bench`, as in a test run, windows are a second and nothing is judged.
#![expect(clippy::print_stdout, reason = "a bench is there to print its table")]

mod peers;
mod targets;

use self::targets::{Profiler, Target, memory, wait_ns};
use std::process::{Command, ExitCode};
use trimtab_flame::ask::{Ask, Shot, Stretch};
use trimtab_flame::{Format, Kind, Named, Quality, SVG_BYTES_MAX, Tree, View};
use trimtab_sys::clock::boot_ns;
use trimtab_sys::process::CpuClock;

/// The arguments with which this program starts itself again.
const DRAW: &str = "--draw-a-large-tree";
const STACKS: u64 = 100_000;
pub(crate) const MS: f64 = 1e6;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(targets::BUSY) => targets::be_busy(),
        Some(targets::TASKS) => targets::be_a_service(),
        Some(peers::INFERNO) => return peers::draw_like_inferno(),
        Some(peers::INSIDE) => return peers::look_from_inside(),
        Some(DRAW) => {
            println!("{}", large_tree());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let whole = arguments.iter().any(|argument| argument == "--bench");
    let (window_ms, pairs) = if whole { (10_000, 12) } else { (1_000, 1) };
    println!("| what | figure |\n|---|---|");
    let target = Target::start(targets::BUSY);
    let mut profiler = Profiler::start();
    if !profiler.sees(target.child.id()) {
        println!("skipped: perf_event_open is denied here");
        return ExitCode::SUCCESS;
    }
    graphs(&mut profiler, &target, window_ms);
    peers::perf(&target, window_ms);
    remembered(&mut profiler, &target, window_ms);
    drop(target);
    task_types(&mut profiler, window_ms);
    peers::python(&mut profiler, window_ms);
    peers::inside(whole);
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
            bytes.len() / 1_000,
        );
        println!("| its quality | {quality} |");
    }
    println!(
        "| profiler's memory of its own, and at its most | {} |",
        profiler.memory()
    );
}

/// A tokio service's time by the type of its tasks.
fn task_types(profiler: &mut Profiler, window_ms: u64) {
    let target = Target::start(targets::TASKS);
    let shot = Shot {
        view: View::Task,
        format: Format::Folded,
        ..Shot::of(target.child.id())
    };
    let (_, _, quality, bytes) = profiler.graph(Ask::Next { shot, window_ms });
    let text = String::from_utf8(bytes).expect("it is text");
    let (mut all, mut named) = (0_u64, 0_u64);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (stack, count) = line.rsplit_once(' ').expect("a number stands last");
        let count: u64 = count.parse().expect("a number");
        all += count;
        let root = stack.split(';').next().unwrap_or_default();
        if targets::TASK_TYPES.iter().any(|task| root.contains(task)) {
            named += count;
        }
    }
    println!(
        "| a tokio service's samples under the name of a task type | {:.1} % of {all} ({:.1} % complete) |",
        f(named) / f(all.max(1)) * 100.0,
        quality.complete_percent(),
    );
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

/// What a sample costs the host, from its work in a second of its own CPU time; and what the kernel's bare counter costs, which
/// interrupts as often and copies nothing.
fn cost_in_host(profiler: &mut Profiler, pairs: usize) {
    let mut target = Target::start(targets::BUSY);
    let pid = target.child.id();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let without = target.work();
        profiler.ask(Ask::Remember {
            pid: Some(pid),
            hz: RATE,
            bytes_max: 4 << 20,
        });
        // The piece of work in which it was switched on is half and half.
        target.work();
        ours.push(1.0 - target.work() / without);
        profiler.ask(Ask::Remember {
            pid: None,
            hz: RATE,
            bytes_max: 4 << 20,
        });
        target.work();
        let without = target.work();
        if let Some(mut counter) = peers::bare_counter(pid, RATE) {
            target.work();
            bare.push(1.0 - target.work() / without);
            counter.end();
            target.work();
        }
    }
    for (what, losses) in [("", ours), (" to a bare counter of `perf`", bare)] {
        tell_loss(what, losses);
    }
}

fn tell_loss(what: &str, mut losses: Vec<f64>) {
    losses.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (losses.first(), losses.last()) else {
        return println!("| host's loss{what} | there is no perf here |");
    };
    let middle = losses[losses.len() / 2];
    println!(
        "| host's loss{what} at {RATE} Hz, the median of {} pairs (least to most); scaled to 49 Hz | {:.2} % ({:.2} to {:.2}); {:.3} % |",
        losses.len(),
        middle * 100.0,
        low * 100.0,
        high * 100.0,
        middle * 100.0 * 49.0 / f64::from(RATE),
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

#[expect(clippy::cast_precision_loss, reason = "times and sizes far below 2^53")]
pub(crate) fn f(number: u64) -> f64 {
    number as f64
}
