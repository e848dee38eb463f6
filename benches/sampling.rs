//! What one sample {CPU time, resident memory, threads} of another process costs.
//!
//! The floor is the three bare system calls that no reader of these figures can do without: the process's CPU clock, a read
//! of `statm`, a stat of `task`. Beside the sidecar's reader stand what a program would otherwise use, `sysinfo` and `procfs`.
//! Goal: at most 1.5 times the floor, and no allocation.
//!
//! Every round measures each way once, in turning order, so that a slow moment of the machine meets all alike. A ratio is of
//! the medians; its interval is the bootstrap's 95 %, over whole rounds. The floor runs twice, and the ratio of the floor to
//! itself says how far to trust the others: when its interval reaches beyond 0.8 to 1.25, the machine was too busy to tell.
//!
//! `cargo bench --bench sampling`; without `--bench`, as in a test run, it makes two short rounds only.
#![expect(clippy::print_stdout, reason = "a bench is there to print its table")]

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitCode, Stdio};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use trimtab::clock::{BootClock, Clock};
use trimtab::sense::cgroup::CgroupReader;
use trimtab::sense::process::ProcessReader;
use trimtab_sys::clock::boot_ns;
use trimtab_sys::count_alloc::{CountingAllocator, allocations};
use trimtab_sys::process::{CpuClock, link_count};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The argument with which this program starts itself as the process that is sampled.
const TARGET: &str = "--be-a-target-of";
const ROUNDS: usize = 41;
/// How long one way runs within one round, in nanoseconds.
const BATCH_NS: u64 = 4_000_000;
const RESAMPLES: usize = 2_000;
const GOAL: f64 = 1.5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, threads] = arguments.as_slice()
        && flag == TARGET
    {
        be_a_target(threads.parse().expect("a number of threads"));
        return ExitCode::SUCCESS;
    }
    let (rounds, batch_ns) = if arguments.iter().any(|argument| argument == "--bench") {
        (ROUNDS, BATCH_NS)
    } else {
        (2, 100_000)
    };
    let mut met = true;
    for threads in [10, 100, 1000] {
        met &= table(threads, rounds, batch_ns);
    }
    // Two rounds measure nothing; only a whole run can miss the goal.
    if met || rounds < ROUNDS {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Has this many threads, all asleep, until the standard input ends.
fn be_a_target(threads: usize) {
    for _ in 1..threads {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    // One byte out says that all threads are there.
    println!("ready");
    drop(std::io::stdin().read(&mut [0; 1]));
}

fn start_target(threads: usize) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("we have a file"))
        .args([TARGET, &threads.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("we can be started again");
    let output = child.stdout.as_mut().expect("it is piped");
    output.read_exact(&mut [0; 1]).expect("it gets ready");
    child
}

/// One way to take a sample, with what it cost in each round.
struct Way<'a> {
    name: &'static str,
    sample: Box<dyn FnMut() + 'a>,
    batch: u64,
    us: Vec<f64>,
    allocations: f64,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, sample: impl FnMut() + 'a) -> Self {
        Self {
            name,
            sample: Box::new(sample),
            batch: 1,
            us: Vec::new(),
            allocations: 0.0,
        }
    }

    /// Finds how many samples fill a batch; the first few only warm up.
    fn calibrate(&mut self, batch_ns: u64) {
        (0..5).for_each(|_| (self.sample)());
        let begin = boot_ns();
        (0..10).for_each(|_| (self.sample)());
        let one = ((boot_ns() - begin) / 10).max(1);
        self.batch = (batch_ns / one).max(1);
    }

    fn round(&mut self) {
        let (allocated, begin) = (allocations(), boot_ns());
        (0..self.batch).for_each(|_| (self.sample)());
        let took = boot_ns() - begin;
        self.allocations = count(allocations() - allocated) / count(self.batch);
        self.us.push(count(took) / 1_000.0 / count(self.batch));
    }
}

fn table(threads: usize, rounds: usize, batch_ns: u64) -> bool {
    let child = start_target(threads);
    let pid = child.id();
    let mut ways = ways(pid);
    for way in &mut ways {
        way.calibrate(batch_ns);
    }
    let order = ways.len();
    for round in 0..rounds {
        for turn in 0..order {
            ways[(round + turn) % order].round();
        }
    }
    println!("\none sample of a process of {threads} threads, {rounds} rounds");
    println!("  us (median)   x floor   95 % interval    allocations  way");
    let floor = ways[0].us.clone();
    let (mut steady, mut met) = (true, false);
    for way in &ways {
        let (low, high) = bootstrap(&way.us, &floor);
        let ratio = median(&way.us) / median(&floor);
        println!(
            "  {:11.2}  {ratio:8.2}   {low:6.2} .. {high:6.2}  {:11.1}  {}",
            median(&way.us),
            way.allocations,
            way.name
        );
        if way.name == AGAIN && (low < 0.8 || high > 1.25) {
            steady = false;
        }
        if way.name == READER {
            met = high <= GOAL && way.allocations < f64::MIN_POSITIVE;
        }
    }
    let verdict = match (steady, met) {
        (false, _) => "not settled, for the floor differs from itself",
        (true, true) => "met",
        (true, false) => "missed",
    };
    println!("  goal, at most {GOAL} x the floor and no allocation: {verdict}");
    drop(ways);
    end(child);
    steady && met
}

const AGAIN: &str = "the same again (A/A)";
const READER: &str = "ProcessReader::read";

fn ways(pid: u32) -> Vec<Way<'static>> {
    let clock = CpuClock::of(pid).expect("it has a number");
    let bare = move || {
        let statm = File::open(format!("/proc/{pid}/statm")).expect("it runs");
        let tasks = File::open(format!("/proc/{pid}/task")).expect("it runs");
        move || {
            let mut buffer = [0_u8; 128];
            black_box(clock.read_ns());
            black_box(statm.read_at(&mut buffer, 0).expect("it runs"));
            black_box(&buffer);
            black_box(link_count(&tasks).expect("it runs"));
        }
    };
    let reader = ProcessReader::open(pid, None).expect("it runs");
    let shown = ProcessReader::open(pid, None).expect("it runs");
    let mut ways = vec![
        Way::new("three bare system calls", bare()),
        Way::new(AGAIN, bare()),
        Way::new(READER, move || {
            black_box(reader.read(BootClock.now()).expect("it runs"));
        }),
        Way::new("the same with disk and network", move || {
            black_box(shown.read_with_traffic(BootClock.now()).expect("it runs"));
        }),
    ];
    if let Ok(mut groups) = CgroupReader::open(pid) {
        ways.push(Way::new("CgroupReader::read, all figures", move || {
            black_box(groups.read().expect("it runs"));
        }));
    }
    let target = i32::try_from(pid).expect("it fits");
    let process = procfs::process::Process::new(target).expect("it runs");
    ways.push(Way::new("procfs: stat and statm", move || {
        let stat = process.stat().expect("it runs");
        let memory = process.statm().expect("it runs");
        black_box((stat.utime + stat.stime, memory.resident, stat.num_threads));
    }));
    let mut system = System::new().expect("linux");
    ways.push(Way::new(
        "sysinfo: CPU and memory, without_tasks",
        move || {
            let what = ProcessRefreshKind::nothing()
                .with_cpu()
                .with_memory()
                .without_tasks();
            let target = Pid::from_u32(pid);
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[target]), true, what);
            let process = system.process(target).expect("it runs");
            black_box((process.accumulated_cpu_time(), process.memory()));
        },
    ));
    ways
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("it ends");
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The middle 95 % of the ratio of medians, over rounds drawn again and again.
fn bootstrap(values: &[f64], floor: &[f64]) -> (f64, f64) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = (0..values.len())
                .map(|_| random.usize(0..values.len()))
                .collect();
            let pick = |from: &[f64]| {
                let picked: Vec<f64> = drawn.iter().map(|round| from[*round]).collect();
                median(&picked)
            };
            pick(values) / pick(floor)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    (
        ratios[RESAMPLES * 25 / 1_000],
        ratios[RESAMPLES * 975 / 1_000],
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and nanoseconds of a short run are far below 2^52"
)]
fn count(number: u64) -> f64 {
    number as f64
}
