//! One piece of work as many jobs, and back.

use super::handle::Alarm;
use super::job::{Call, Ended, Priority};
use super::{Inner, JobError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use trimtab_sys::clock::boot_ns;

/// Where the jobs of one fork put what they yield.
struct Fork<T> {
    left: AtomicUsize,
    results: Vec<Mutex<Option<Result<T, JobError>>>>,
    alarm: Arc<Alarm>,
}

/// One job's place in it. Dropped without a result, the job has panicked.
struct Branch<T> {
    fork: Arc<Fork<T>>,
    index: usize,
}

impl<T> Branch<T> {
    fn put(&self, result: Result<T, JobError>) {
        if let Some(place) = self.fork.results.get(self.index) {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = Some(result);
        }
    }
}

impl<T> Drop for Branch<T> {
    fn drop(&mut self) {
        if self.fork.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.fork.alarm.ring();
        }
    }
}

/// Runs all jobs and waits for them, at the longest until the deadline in force or the pool's timeout.
pub(super) fn fork<T, F>(pool: &Arc<Inner>, jobs: Vec<F>) -> Vec<Result<T, JobError>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let fork = Arc::new(Fork {
        left: AtomicUsize::new(jobs.len()),
        results: jobs.iter().map(|_| Mutex::new(None)).collect(),
        alarm: Alarm::here(),
    });
    let deadline_ns = pool.deadline_ns(boot_ns());
    for (index, job) in jobs.into_iter().enumerate() {
        let branch = Branch {
            fork: Arc::clone(&fork),
            index,
        };
        let work = move |call: Call, _: &dyn Fn()| match call {
            Call::Run => {
                branch.put(Ok(job()));
                Ended::Completed
            }
            Call::Refuse(error) => {
                branch.put(Err(error));
                Ended::Skipped
            }
        };
        if let Err((error, work)) = pool.hand_over(Priority::Normal, work) {
            match error {
                // The plain way, where the pool has no room: it takes its time here.
                JobError::Full { .. } => run_here(pool, work),
                refused => {
                    work(Call::Refuse(refused), &|| ());
                }
            }
        }
    }
    while fork.left.load(Ordering::SeqCst) > 0 && boot_ns() < deadline_ns {
        fork.alarm.sleep(pool, deadline_ns);
    }
    let done = fork.left.load(Ordering::SeqCst) == 0;
    let missing = if done {
        JobError::Panicked
    } else {
        JobError::Late { waited: false }
    };
    let take = |place: &Mutex<Option<Result<T, JobError>>>| {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.take().unwrap_or(Err(missing))
    };
    fork.results.iter().map(take).collect()
}

fn run_here(pool: &Inner, work: impl FnOnce(Call, &dyn Fn()) -> Ended) {
    let stint = pool.begin_in_place();
    let ended = catch_unwind(AssertUnwindSafe(|| work(Call::Run, &|| ())));
    pool.end_in_place(stint, ended.ok(), u64::MAX);
}
