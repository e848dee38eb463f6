//! Workers without work: who searches, who sleeps, and who is woken.
//!
//! Whoever brings a job wakes one sleeper at the most, and none while a worker searches: that one finds the job, or finds it when it
//! looks a last time before it sleeps. A worker that stops searching because it found something wakes the next if there
//! is more, so a burst wakes as many as it needs, one after the other, and no herd.
//!
//! No wake-up is lost: the bringer puts the job down and then reads the word; the worker writes the word and then looks for
//! jobs. All four are in one order, so one of the two sees the other.

use crate::sharded::Padded;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

#[derive(Debug, Default)]
pub(super) struct Idle {
    /// How many search (below) and how many sleep (above).
    word: Padded<AtomicU64>,
    /// Who sleeps; the last one in is the first one out, for its memory is still near its core.
    sleepers: Mutex<Vec<Arc<Sleeper>>>,
}

/// A worker's bed.
#[derive(Debug)]
pub(super) struct Sleeper {
    pub(super) index: usize,
    thread: Thread,
    /// It was taken from the list, and counted among those who search.
    called: AtomicBool,
}

const SEARCHES: u64 = 1;
const SLEEPS: u64 = 1 << 32;

impl Sleeper {
    /// The calling thread's.
    pub(super) fn mine(index: usize) -> Arc<Self> {
        Arc::new(Self {
            index,
            thread: std::thread::current(),
            called: AtomicBool::new(false),
        })
    }

    /// Whether it was called since the last time it asked.
    pub(super) fn is_called(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }
}

impl Idle {
    /// A worker wants to search. Not more than half of them do at a time: more would only fight over the same queues.
    pub(super) fn search(&self, workers: u64) -> bool {
        let searching = self.word.0.load(Ordering::Relaxed) % SLEEPS;
        if searching * 2 > workers {
            return false;
        }
        self.word.0.fetch_add(SEARCHES, Ordering::SeqCst);
        true
    }

    /// A worker searches no longer. Whether it was the last one.
    pub(super) fn found(&self) -> bool {
        self.word.0.fetch_sub(SEARCHES, Ordering::SeqCst) % SLEEPS == SEARCHES
    }

    /// A worker goes to sleep. It must look for work once more before it closes its eyes.
    pub(super) fn lie_down(&self, sleeper: &Arc<Sleeper>, searching: bool) {
        let mut sleepers = self.lock();
        sleepers.push(Arc::clone(sleeper));
        let less = if searching { SEARCHES } else { 0 };
        self.word.0.fetch_add(SLEEPS - less, Ordering::SeqCst);
        drop(sleepers);
        fence(Ordering::SeqCst);
    }

    /// A worker gets up by itself and searches. False if it has been called already, or is being called now.
    pub(super) fn get_up(&self, sleeper: &Arc<Sleeper>) -> bool {
        let mut sleepers = self.lock();
        let place = sleepers.iter().rposition(|it| Arc::ptr_eq(it, sleeper));
        if let Some(place) = place {
            sleepers.remove(place);
            self.word.0.fetch_sub(SLEEPS - SEARCHES, Ordering::SeqCst);
        }
        place.is_some()
    }

    /// There is a job: wakes a sleeper, unless someone searches already.
    pub(super) fn call(&self) {
        fence(Ordering::SeqCst);
        let word = self.word.0.load(Ordering::SeqCst);
        if !word.is_multiple_of(SLEEPS) || word < SLEEPS {
            return;
        }
        let called = {
            let mut sleepers = self.lock();
            if !self.word.0.load(Ordering::SeqCst).is_multiple_of(SLEEPS) {
                return;
            }
            let called = sleepers.pop();
            if called.is_some() {
                self.word.0.fetch_sub(SLEEPS - SEARCHES, Ordering::SeqCst);
            }
            called
        };
        if let Some(called) = called {
            called.wake();
        }
    }

    /// Wakes all sleepers for which this holds.
    pub(super) fn call_all(&self, which: impl Fn(usize) -> bool) {
        fence(Ordering::SeqCst);
        let called: Vec<_> = {
            let mut sleepers = self.lock();
            let (called, rest) = sleepers.drain(..).partition(|it| which(it.index));
            *sleepers = rest;
            for _ in &called {
                self.word.0.fetch_sub(SLEEPS - SEARCHES, Ordering::SeqCst);
            }
            called
        };
        called.iter().for_each(|sleeper| sleeper.wake());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Sleeper>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sleeper {
    fn wake(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_wakes_one_and_none_while_someone_searches() {
        let idle = Idle::default();
        let beds: Vec<_> = (0..3).map(Sleeper::mine).collect();
        beds.iter().for_each(|bed| idle.lie_down(bed, false));
        idle.call();
        idle.call();
        let called: Vec<_> = beds.iter().map(|bed| bed.is_called()).collect();
        assert_eq!(called, [false, false, true]);
        assert!(idle.found(), "it was the only one that searched");
        idle.call();
        assert!(beds[1].is_called());
        assert!(idle.get_up(&beds[0]));
        assert!(!idle.get_up(&beds[0]));
        assert!(!idle.found());
        assert!(idle.found());
        assert_eq!(idle.word.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn those_whose_place_is_gone_are_all_called() {
        let idle = Idle::default();
        let beds: Vec<_> = (0..4).map(Sleeper::mine).collect();
        beds.iter().for_each(|bed| idle.lie_down(bed, false));
        idle.call_all(|index| index >= 2);
        let called: Vec<_> = beds.iter().map(|bed| bed.is_called()).collect();
        assert_eq!(called, [false, false, true, true]);
    }

    #[test]
    fn half_of_the_workers_search_at_the_most() {
        let idle = Idle::default();
        assert!(idle.search(2) && idle.search(2));
        assert!(!idle.search(2));
        assert!(idle.search(8));
    }
}
