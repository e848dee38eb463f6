//! Deadlines: until when a piece of work must be done, and how what it calls in turn comes to know.
//!
//! A pool gives each piece of work a deadline: its timeout (the default) counted from the arrival, or what the caller itself
//! asked for, up to the pool's maximum. While the work runs its deadline is *in force*, and whatever it calls through
//! a pool gets the earlier of its own and that one, so a nested call never outlives its parent. [`crate::spawn`] takes the deadline
//! in force along into a new task, jobs on real threads get it by themselves, and [`pass_on`] and [`taken_from`] carry the
//! rest of the time to another process and back out of the request there.
//!
//! A timeout that is changed while work runs holds for what arrives later; a deadline once given never moves.
//!
//! ```
//! use std::time::Duration;
//! use trimtab_host::deadline::Deadline;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let whole = Deadline::after(Duration::from_millis(50));
//! let slow = whole.scope(async {
//!     // Asks for an hour, and is stopped with its parent.
//!     Deadline::after(Duration::from_secs(3_600)).bound(std::future::pending::<()>()).await
//! });
//! assert!(slow.await.is_err());
//! assert!(whole.is_past());
//! # }
//! ```

mod header;

use pin_project_lite::pin_project;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use trimtab_sys::clock::boot_ns;

pub use header::{REQUEST_TIMEOUT_MS, pass_on, taken_from};

/// Until when work must be done.
#[derive(Clone, Copy)]
pub struct Deadline(Moment);

/// A deadline is read off the clock that its maker had at hand, so that making one costs no second look at a clock.
#[derive(Clone, Copy)]
enum Moment {
    /// Nanoseconds of the boot-time clock.
    Boot(u64),
    Tokio(Instant),
}

/// The time was up before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Late;

thread_local! {
    static IN_FORCE: Cell<Option<Deadline>> = const { Cell::new(None) };
}

impl Deadline {
    /// This long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // More than a clock can count is no limit that anyone would notice.
        Self(Moment::Tokio(now.checked_add(time).unwrap_or(now + FAR)))
    }

    /// The deadline in force where this is called, if there is one.
    #[must_use]
    pub fn current() -> Option<Self> {
        IN_FORCE.try_with(Cell::get).unwrap_or(None)
    }

    /// How much time is left; nothing once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        match self.0 {
            Moment::Boot(ns) => Duration::from_nanos(ns.saturating_sub(boot_ns())),
            Moment::Tokio(instant) => instant.saturating_duration_since(Instant::now()),
        }
    }

    /// Whether it has passed.
    #[must_use]
    pub fn is_past(self) -> bool {
        self.remaining().is_zero()
    }

    /// The earlier of two.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        let first = match (self.0, other.0) {
            (Moment::Boot(one), Moment::Boot(two)) => one <= two,
            (Moment::Tokio(one), Moment::Tokio(two)) => one <= two,
            _ => self.remaining() <= other.remaining(),
        };
        if first { self } else { other }
    }

    /// A future in which this deadline is in force, or the one in force here if that is earlier. It is not ended by it;
    /// see [`Deadline::bound`].
    pub fn scope<F: Future>(self, work: F) -> Scope<F> {
        Scope {
            deadline: Some(self.under_current()),
            work,
        }
    }

    /// Runs a closure in which this deadline is in force, or the one in force here if that is earlier.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _back = enter(Some(self.under_current()));
        work()
    }

    /// Like [`Deadline::scope`], and drops the future when the time is up. Needs a tokio runtime with its timer.
    ///
    /// # Errors
    /// [`Late`] if the time was up first.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, Late> {
        let scope = self.scope(work);
        let at = scope.deadline.unwrap_or(self).instant();
        tokio::time::timeout_at(at, scope).await.map_err(|_| Late)
    }

    /// A moment of the boot-time clock.
    pub(crate) fn at_boot_ns(ns: u64) -> Self {
        Self(Moment::Boot(ns))
    }

    /// A moment of tokio's clock.
    pub(crate) fn at(instant: Instant) -> Self {
        Self(Moment::Tokio(instant))
    }

    /// On tokio's clock, unless it has passed.
    pub(crate) fn ahead(self) -> Option<Instant> {
        let now = Instant::now();
        match self.0 {
            Moment::Boot(_) => {
                let left = self.remaining();
                (!left.is_zero()).then(|| now + left)
            }
            Moment::Tokio(instant) => (instant > now).then_some(instant),
        }
    }

    /// On tokio's clock.
    pub(crate) fn instant(self) -> Instant {
        match self.0 {
            Moment::Boot(_) => Instant::now() + self.remaining(),
            Moment::Tokio(instant) => instant,
        }
    }

    /// On the boot-time clock, in nanoseconds.
    pub(crate) fn boot_ns(self) -> u64 {
        match self.0 {
            Moment::Boot(ns) => ns,
            Moment::Tokio(_) => boot_ns().saturating_add(as_ns(self.remaining())),
        }
    }

    /// The earlier of this one and the one in force.
    pub(crate) fn under_current(self) -> Self {
        Self::current().map_or(self, |parent| parent.earlier(self))
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Deadline")
            .field("remaining", &self.remaining())
            .finish()
    }
}

/// Spawns a task on the current tokio runtime in which the deadline in force here goes on being in force. The task is not ended
/// by it, but whatever it calls through a pool is.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scope {
        deadline: Deadline::current(),
        work,
    })
}

pin_project! {
    /// A future that runs with a deadline in force; made by [`Deadline::scope`].
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Scope<F> {
        deadline: Option<Deadline>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _back = enter(*this.deadline);
        this.work.poll(context)
    }
}

/// Puts a deadline in force until what is returned is dropped.
pub(crate) fn enter(deadline: Option<Deadline>) -> Back {
    Back(
        IN_FORCE
            .try_with(|cell| cell.replace(deadline))
            .unwrap_or(None),
    )
}

/// Puts the deadline back that was in force before.
#[must_use]
pub(crate) struct Back(Option<Deadline>);

impl Drop for Back {
    fn drop(&mut self) {
        // On a thread that ends nothing is in force any more.
        IN_FORCE.try_with(|cell| cell.set(self.0)).unwrap_or(());
    }
}

/// A duration in whole nanoseconds, or the most there are.
pub(crate) fn as_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Some thirty years, as tokio's own timers count at the most.
const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_deadline_is_in_force_within_its_scope_only() {
        assert!(Deadline::current().is_none());
        let left = Deadline::after(SECOND).run(|| Deadline::current().map(Deadline::remaining));
        assert!(left.is_some_and(|left| left <= SECOND && !left.is_zero()));
        assert!(Deadline::current().is_none());
    }

    #[test]
    fn a_longer_deadline_within_a_shorter_one_is_the_shorter_one() {
        for outer in [
            Deadline::after(SECOND),
            Deadline::at_boot_ns(boot_ns() + 1_000_000_000),
        ] {
            outer.run(|| {
                Deadline::after(SECOND * 60).run(|| {
                    let inner = Deadline::current().expect("in force");
                    assert!(inner.remaining() <= SECOND);
                });
            });
        }
    }

    #[test]
    fn a_panic_puts_the_old_deadline_back() {
        let panics = || Deadline::after(SECOND).run(|| panic!("the work's own mistake"));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(Deadline::current().is_none());
    }

    #[test]
    fn both_clocks_tell_the_same_time() {
        let tokio = Deadline::after(SECOND * 100);
        let boot = Deadline::at_boot_ns(tokio.boot_ns());
        let apart = boot.remaining().abs_diff(tokio.remaining());
        assert!(apart < SECOND * 50, "{apart:?}");
        assert!(Deadline::after(Duration::MAX).remaining() > SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_takes_the_deadline_along_and_is_not_ended_by_it() {
        let task = Deadline::after(SECOND).run(|| {
            spawn(async {
                tokio::time::sleep(SECOND * 2).await;
                Deadline::current().is_some_and(Deadline::is_past)
            })
        });
        assert!(Deadline::current().is_none());
        assert!(task.await.expect("it ends well"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_call_ends_with_its_parent() {
        let began = Instant::now();
        let parent = Deadline::after(SECOND);
        let child = parent.scope(Deadline::after(SECOND * 9).bound(pending::<()>()));
        assert_eq!(child.await, Err(Late));
        // The child's `bound` looks for its parent where it is first polled.
        assert_eq!(began.elapsed(), SECOND);
    }
}
