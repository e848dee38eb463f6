//! What a pool of threads costs: against rayon, which counts nothing and cannot be resized.
//!
//! Goals: at least 90 % of the throughput of rayon's `spawn` on jobs of a microsecond, brought from outside and by a job; and
//! at most 1.1 times rayon's time on a fork of uneven jobs. Both have as many threads as there are cores.

#[path = "support/pairs.rs"]
mod pairs;
#[path = "support/work.rs"]
mod work;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::Thread;
use trimtab_host::threads::{Scaling, ThreadPool};
use trimtab_sys::clock::boot_ns;
use work::{steps_of_a_microsecond, work};

const ROUNDS: usize = 300;
/// Some milliseconds, so that many rounds fit between what else the machine does.
const JOBS: u32 = 3_000;
const FORKS: u32 = 2;

fn main() {
    let cores = std::thread::available_parallelism().expect("known").get();
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(cores)
        .build()
        .expect("a pool");
    let threads = u64::try_from(cores).expect("few");
    let pool = ThreadPool::builder("bench")
        .workers(threads, 1..=1_024)
        .queue_limit(1_000_000, 0..=1_000_000)
        .scaling(Scaling::Never)
        .build()
        .expect("a valid pool");
    let steps = steps_of_a_microsecond();
    spawn_from_outside(&rayon, &pool, steps);
    spawn_from_a_job(&rayon, &pool, steps);
    fork_uneven(&rayon, &pool, steps);
    tell(&format!("{:?}", pool.stats()));
}

fn spawn_from_outside(rayon: &rayon::ThreadPool, pool: &ThreadPool, steps: u32) {
    let theirs = || {
        let count = Countdown::new(JOBS);
        let began = boot_ns();
        for _ in 0..JOBS {
            let count = Arc::clone(&count);
            rayon.spawn(move || count.one_done(work(7, steps)));
        }
        count.thousands_a_second(began)
    };
    let ours = || {
        let count = Countdown::new(JOBS);
        let began = boot_ns();
        for _ in 0..JOBS {
            let count = Arc::clone(&count);
            let job = move || count.one_done(work(7, steps));
            pool.spawn(job).expect("there is room");
        }
        count.thousands_a_second(began)
    };
    let rounds = pairs::rounds(ROUNDS, theirs, ours);
    pairs::report("spawn from outside / rayon", "k jobs/s", &rounds);
}

fn spawn_from_a_job(rayon: &rayon::ThreadPool, pool: &ThreadPool, steps: u32) {
    let theirs = || {
        let count = Countdown::new(JOBS);
        let (began, all) = (boot_ns(), Arc::clone(&count));
        rayon.spawn(move || {
            for _ in 0..JOBS {
                let count = Arc::clone(&all);
                rayon::spawn(move || count.one_done(work(7, steps)));
            }
        });
        count.thousands_a_second(began)
    };
    let ours = || {
        let count = Countdown::new(JOBS);
        let (began, all, inner) = (boot_ns(), Arc::clone(&count), pool.clone());
        let bring = move || {
            for _ in 0..JOBS {
                let count = Arc::clone(&all);
                let job = move || count.one_done(work(7, steps));
                inner.spawn(job).expect("there is room");
            }
        };
        pool.spawn(bring).expect("there is room");
        count.thousands_a_second(began)
    };
    let rounds = pairs::rounds(ROUNDS, theirs, ours);
    pairs::report("spawn from a job / rayon", "k jobs/s", &rounds);
}

/// Forks of jobs that take from 1 us to 256 us each, most of them short.
fn fork_uneven(rayon: &rayon::ThreadPool, pool: &ThreadPool, steps: u32) {
    let sizes: Vec<u32> = (0..256_u32)
        .map(|number| {
            steps
                << (number.wrapping_mul(0x9e37_79b9) >> 16)
                    .trailing_zeros()
                    .min(8)
        })
        .collect();
    let theirs = || {
        let began = boot_ns();
        for _ in 0..FORKS {
            let done: Vec<AtomicU32> = sizes.iter().map(|_| AtomicU32::new(0)).collect();
            rayon.scope(|scope| {
                for (size, done) in sizes.iter().zip(&done) {
                    scope.spawn(move |_| done.store(work(7, *size), Ordering::Relaxed));
                }
            });
            black_box(done);
        }
        micros(began) / f64::from(FORKS)
    };
    let ours = || {
        let began = boot_ns();
        for _ in 0..FORKS {
            let jobs = sizes.iter().map(|size| {
                let size = *size;
                move || work(7, size)
            });
            black_box(pool.fork(jobs));
        }
        micros(began) / f64::from(FORKS)
    };
    let rounds = pairs::rounds(ROUNDS, theirs, ours);
    pairs::report("a fork of 256 uneven jobs / rayon", "us", &rounds);
}

/// Wakes whoever waits once so many jobs are done.
struct Countdown {
    left: AtomicU32,
    waits: Thread,
}

impl Countdown {
    fn new(jobs: u32) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU32::new(jobs),
            waits: std::thread::current(),
        })
    }

    fn one_done(&self, yielded: u32) {
        black_box(yielded);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waits.unpark();
        }
    }

    fn thousands_a_second(&self, began_ns: u64) -> f64 {
        while self.left.load(Ordering::Acquire) > 0 {
            std::thread::park();
        }
        f64::from(JOBS) * 1e3 / micros(began_ns)
    }
}

fn micros(began_ns: u64) -> f64 {
    as_float(boot_ns() - began_ns) / 1e3
}

#[expect(clippy::print_stdout, reason = "a bench speaks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time is known to a few digits"
)]
fn as_float(ns: u64) -> f64 {
    ns as f64
}
