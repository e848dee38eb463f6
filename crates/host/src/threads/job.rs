//! A job: what waits in the queues, and what its end is called.

use crate::threads::JobError;
use std::fmt;

/// Which jobs go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before all others.
    High,
    /// In the order of arrival, jobs that a job hands over first.
    #[default]
    Normal,
    /// When nothing else waits, and one of some sixty all the same, so that it never waits for ever.
    Low,
}

impl Priority {
    /// The place of its queue.
    pub(super) fn index(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// What is done with a job: it runs, or it is told why not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Run,
    Refuse(JobError),
}

/// How a job ended, as far as it can tell itself; a panic shows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Completed,
    Failed,
    /// It was refused, or nobody waits for it any more.
    Skipped,
}

/// What a job does. Its place is free once it has called the second argument, at the latest when it returns: a job gives its place
/// back before it hands its result over, so that whoever brings the next one upon that finds it.
pub(super) type Work = Box<dyn FnOnce(Call, &dyn Fn()) -> Ended + Send>;

/// A job that waits.
pub(super) struct Job {
    pub(super) arrived_ns: u64,
    /// On the boot-time clock.
    pub(super) deadline_ns: u64,
    pub(super) work: Work,
}

impl fmt::Debug for Job {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Job")
            .field("arrived_ns", &self.arrived_ns)
            .field("deadline_ns", &self.deadline_ns)
            .finish_non_exhaustive()
    }
}
