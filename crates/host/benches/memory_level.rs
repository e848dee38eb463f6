//! What the memory levels cost and bring: throughput of a service that allocates all the time, and what is given back of a rush.
//!
//! The allocator is glibc's, or jemalloc with the feature `jemalloc`. The cost is counted in requests for a second of the process's
//! CPU time, giving back included, of threads that allocate and free as requests do: at a level against the allocator's own
//! ways, in turns, with A against A. The gain is the share of a rush's
//! memory that is no longer resident two seconds after the level was set.
//!
//! Goal: `aggressive` gives back at least 90 % within 2 s. The cost has no goal; it is what there is to know before choosing.

#[path = "support/pairs.rs"]
mod pairs;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use trimtab_host::memory::{Memory, MemoryLevel};
use trimtab_host::part::Part as _;
use trimtab_protocol::knob::KnobValue;
use trimtab_sys::clock::{boot_ns, process_cpu_ns};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: trimtab_host::memory::Jemalloc = trimtab_host::memory::Jemalloc;

const ROUNDS: usize = 12;
const THREADS: usize = 2;
/// How long one measurement lasts; the slowest timer, a second, fires in it.
const STRETCH_NS: u64 = 1_200_000_000;
const RUSH_BYTES: usize = 128 << 20;

#[expect(clippy::print_stdout, reason = "a bench speaks to its reader")]
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let memory = Memory::detect().expect("an allocator that can be told");
    println!("allocator: {}", memory.allocator());
    let own = memory.level();
    for level in [
        MemoryLevel::Conservative,
        MemoryLevel::Moderate,
        MemoryLevel::Aggressive,
    ] {
        let share = given_back(&runtime, &memory, own, level);
        println!(
            "{}: {:.1} % of a rush's memory is given back after 2 s",
            level.word(),
            share * 100.0
        );
    }
    for level in [
        MemoryLevel::Conservative,
        MemoryLevel::Moderate,
        MemoryLevel::Aggressive,
    ] {
        if level == own {
            continue;
        }
        let rounds = pairs::rounds(
            ROUNDS,
            || requests_a_cpu_second(&runtime, &memory, own),
            || requests_a_cpu_second(&runtime, &memory, level),
        );
        let what = format!("work for the CPU at {} / {}", level.word(), own.word());
        pairs::report(&what, "k/CPU-s", &rounds);
    }
}

fn set(runtime: &Runtime, memory: &Memory, level: MemoryLevel) {
    let knob = &memory.knobs()[0].knob;
    let value = KnobValue::Choice(level.word().to_owned());
    runtime.block_on(async { knob.apply(&value).await });
    memory.upkeep(boot_ns());
}

/// Tends the part as a host's control side does, until told to end.
fn keep_up(memory: &Memory, end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        memory.upkeep(boot_ns());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Requests for a second of CPU time, in thousands: each allocates some pieces of many sizes, holds a few over the next ones, and frees them.
fn requests_a_cpu_second(runtime: &Runtime, memory: &Memory, level: MemoryLevel) -> f64 {
    set(runtime, memory, level);
    let end = AtomicBool::new(false);
    let before_ns = process_cpu_ns().expect("it has one");
    let done: u64 = std::thread::scope(|scope| {
        let tending = scope.spawn(|| keep_up(memory, &end));
        let ends_ns = boot_ns() + STRETCH_NS;
        let serving: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(move || serve(ends_ns)))
            .collect();
        let done = serving
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .sum();
        end.store(true, Ordering::Release);
        tending.thread().unpark();
        done
    });
    let used_ns = process_cpu_ns().expect("it has one") - before_ns;
    as_float(done) * 1e6 / as_float(used_ns)
}

fn serve(ends_ns: u64) -> u64 {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let (mut done, mut noise) = (0, 0x2545_f491_4f6c_dd1d_u64);
    while boot_ns() < ends_ns {
        for _ in 0..50 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            // From 64 B to 64 KiB, small ones more often.
            let bytes = 64_usize << (noise % 11).min(noise >> 60);
            let mut piece = vec![0_u8; bytes];
            piece[bytes / 2] = 1;
            held.push(black_box(piece));
        }
        if held.len() > 2_000 {
            held.drain(..1_950);
        }
        done += 1;
    }
    done
}

/// The share of a rush's resident memory that is gone two seconds after the level was set.
fn given_back(runtime: &Runtime, memory: &Memory, own: MemoryLevel, level: MemoryLevel) -> f64 {
    set(runtime, memory, MemoryLevel::Aggressive);
    set(runtime, memory, own);
    let before = resident();
    let rush = rush();
    let after = resident();
    set(runtime, memory, level);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tending = scope.spawn(|| keep_up(memory, &end));
        let ends_ns = boot_ns() + 2_000_000_000;
        while boot_ns() < ends_ns {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        end.store(true, Ordering::Release);
        tending.thread().unpark();
    });
    let now = resident();
    for (end, thread) in rush {
        drop(end);
        thread.join().expect("no panic");
    }
    (after - now) / (after - before)
}

/// Threads that have allocated and freed nearly everything, and live on as those of a service do.
fn rush() -> Vec<(Sender<()>, JoinHandle<()>)> {
    let threads = (0..THREADS).map(|_| {
        let (done, freed) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let count = RUSH_BYTES / THREADS / 4_000;
            let mut pieces: Vec<Vec<u8>> = (0..count).map(|_| vec![1; 4_000]).collect();
            pieces.drain(..count - 8);
            done.send(()).expect("somebody waits");
            ended.recv().unwrap_or_default();
            drop(pieces);
        });
        freed.recv().expect("no panic");
        (end, thread)
    });
    threads.collect()
}

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("it is there");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is known to a few digits"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}
