//! The queue before a stage: bounded, with a limit that can be moved, and with the figures of a pool.
//!
//! Whoever finds it full waits: that is how a slow stage holds back those before it. What is taken comes in the order in which it
//! was put in. While the fuse of a trial is burnt nothing is taken.

use crate::counters::{Counters, Stint};
use crate::dial::Dial;
use crate::fuse::Fuse;
use crate::limit::line::{Line, LineReading};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use trimtab_sys::clock::boot_ns;

/// A bounded queue between two stages.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Something was put in, or whoever waits for something should look again.
    filled: Notify,
    /// There is room again.
    room: Notify,
    line: Line,
    pub(super) limit: Dial,
    pub(super) counters: Counters,
    pub(super) fuse: Arc<Fuse>,
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<Entry<T>>,
    next_ticket: u64,
    /// The sum of all leaving times less the sum of all arrival times, wrapping.
    offset_ns: u64,
    closed: bool,
    takers_waiting: usize,
    putters_waiting: usize,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    arrived_ns: u64,
    ticket: u64,
}

/// What was taken, with its number in the queue's order and what counting needs to know.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) ticket: u64,
    pub(super) stint: Stint,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The queue is closed and empty.
    Closed,
    /// Whoever asked is to take no more.
    Retired,
}

/// What whoever takes may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Take the next, if there is one.
    Take,
    /// Wait until told to look again.
    Wait,
    /// Take no more.
    Retire,
}

impl<T> Queue<T> {
    pub(super) fn new(limit: Dial) -> Self {
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                next_ticket: 0,
                offset_ns: 0,
                closed: false,
                takers_waiting: 0,
                putters_waiting: 0,
            }),
            filled: Notify::new(),
            room: Notify::new(),
            line: Line::default(),
            limit,
            counters: Counters::default(),
            fuse: Arc::default(),
        }
    }

    /// Puts something in as soon as there is room; gives it back when the queue is closed.
    pub(super) async fn put(&self, mut item: T) -> Result<(), T> {
        loop {
            // Made before the look, so that room which comes right after it is not missed.
            let room = self.room.notified();
            let waiting = match self.try_put_or_wait(item) {
                Put::Done => return Ok(()),
                Put::Closed(item) => return Err(item),
                Put::Full(back, waiting) => {
                    item = back;
                    waiting
                }
            };
            room.await;
            drop(waiting);
        }
    }

    /// Puts something in if there is room now.
    pub(super) fn try_put(&self, item: T) -> Result<(), (T, bool)> {
        match self.try_put_or_wait(item) {
            Put::Done => Ok(()),
            Put::Closed(item) => Err((item, true)),
            Put::Full(item, _) => {
                self.counters.refused();
                Err((item, false))
            }
        }
    }

    fn try_put_or_wait(&self, item: T) -> Put<'_, T> {
        let mut state = self.lock();
        if state.closed {
            return Put::Closed(item);
        }
        if state.entries.len() >= self.room_for() {
            state.putters_waiting += 1;
            return Put::Full(item, Waiting(self, Side::Putter));
        }
        let arrived_ns = boot_ns();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.offset_ns = state.offset_ns.wrapping_sub(arrived_ns);
        state.entries.push_back(Entry {
            item,
            arrived_ns,
            ticket,
        });
        self.counters.joined();
        self.publish(&state);
        let wakes = state.takers_waiting > 0;
        let more_room = state.putters_waiting > 0 && state.entries.len() < self.room_for();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        if more_room {
            self.room.notify_one();
        }
        Put::Done
    }

    /// Takes the oldest as soon as there is one and `may` lets it; none once the queue is closed and empty, or `may` says to
    /// retire. `may` is asked under the queue's lock, with the number of the oldest.
    pub(super) async fn take(&self, may: impl Fn(Option<u64>) -> Leave) -> Result<Taken<T>, Gone> {
        loop {
            let filled = self.filled.notified();
            let waiting = {
                let mut state = self.lock();
                let first = state.entries.front().map(|entry| entry.ticket);
                match may(first) {
                    Leave::Retire => {
                        // Whoever leaves may have been woken for what is in the queue.
                        if first.is_some() && state.takers_waiting > 0 {
                            self.filled.notify_one();
                        }
                        return Err(Gone::Retired);
                    }
                    Leave::Take if !self.fuse.is_burnt() => {
                        if let Some(taken) = self.pop(&mut state) {
                            return Ok(taken);
                        }
                    }
                    Leave::Take | Leave::Wait => {}
                }
                if state.closed && state.entries.is_empty() {
                    return Err(Gone::Closed);
                }
                state.takers_waiting += 1;
                Waiting(self, Side::Taker)
            };
            filled.await;
            drop(waiting);
        }
    }

    fn pop(&self, state: &mut State<T>) -> Option<Taken<T>> {
        let Entry {
            item,
            arrived_ns,
            ticket,
        } = state.entries.pop_front()?;
        let now_ns = boot_ns();
        state.offset_ns = state.offset_ns.wrapping_add(now_ns);
        self.counters.begin_queued(ticket, now_ns);
        self.publish(state);
        // One who was woken may find more than one has put in meanwhile: the next is woken by whoever takes.
        if !state.entries.is_empty() && state.takers_waiting > 0 {
            self.filled.notify_one();
        }
        if state.putters_waiting > 0 && state.entries.len() < self.room_for() {
            self.room.notify_one();
        }
        Some(Taken {
            item,
            ticket,
            stint: Counters::queued_stint(ticket, arrived_ns, now_ns),
        })
    }

    /// Takes in nothing more; what is in it can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_waiters();
        self.room.notify_waiters();
    }

    /// Whoever waits looks again: a limit was moved, the order has advanced, or the fuse is whole.
    pub(super) fn look_again(&self) {
        self.filled.notify_waiters();
        self.room.notify_waiters();
    }

    pub(super) fn queued(&self) -> u64 {
        self.line.queued()
    }

    /// The figures of the line, or nothing while they change too fast.
    pub(super) fn line(&self) -> Option<LineReading> {
        self.line.read()
    }

    fn room_for(&self) -> usize {
        usize::try_from(self.limit.get()).unwrap_or(usize::MAX)
    }

    fn publish(&self, state: &State<T>) {
        self.line.publish(LineReading {
            queued: u64::try_from(state.entries.len()).unwrap_or(u64::MAX),
            offset_ns: state.offset_ns,
            oldest_ns: state.entries.front().map_or(0, |entry| entry.arrived_ns),
        });
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an attempt to put something in went.
enum Put<'a, T> {
    Done,
    Closed(T),
    Full(T, Waiting<'a, T>),
}

enum Side {
    Putter,
    Taker,
}

/// Somebody waits, until this is dropped.
struct Waiting<'a, T>(&'a Queue<T>, Side);

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let waiting = match self.1 {
            Side::Putter => &mut state.putters_waiting,
            Side::Taker => &mut state.takers_waiting,
        };
        *waiting = waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio_test_poll::is_pending;

    mod tokio_test_poll {
        use std::future::{Future, poll_fn};
        use std::pin::Pin;
        use std::task::Poll;

        /// Polls once and says whether it still waits.
        pub(super) async fn is_pending<F: Future>(future: &mut Pin<&mut F>) -> bool {
            poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
        }
    }

    fn queue(limit: u64) -> Queue<u32> {
        Queue::new(Dial::new(limit, &(1..=100)))
    }

    fn any(_: Option<u64>) -> Leave {
        Leave::Take
    }

    #[tokio::test]
    async fn who_finds_it_full_waits_until_something_is_taken() {
        let queue = queue(2);
        queue.put(1).await.unwrap();
        queue.put(2).await.unwrap();
        assert_eq!(queue.try_put(9), Err((9, false)));
        let mut third = pin!(queue.put(3));
        assert!(is_pending(&mut third).await);
        assert_eq!(queue.take(any).await.unwrap().item, 1);
        third.await.unwrap();
        assert_eq!(queue.take(any).await.unwrap().item, 2);
        assert_eq!(queue.take(any).await.unwrap().item, 3);
    }

    #[tokio::test]
    async fn a_closed_queue_takes_in_nothing_and_is_emptied() {
        let queue = queue(5);
        queue.put(1).await.unwrap();
        queue.close();
        assert_eq!(queue.put(2).await, Err(2));
        assert_eq!(queue.take(any).await.unwrap().item, 1);
        assert_eq!(queue.take(any).await.unwrap_err(), Gone::Closed);
    }

    #[tokio::test]
    async fn nothing_is_taken_while_the_fuse_is_burnt() {
        let queue = queue(5);
        queue.put(1).await.unwrap();
        queue.fuse.arm(1);
        let mut taking = pin!(queue.take(any));
        assert!(is_pending(&mut taking).await);
        queue.fuse.clear();
        queue.look_again();
        assert_eq!(taking.await.unwrap().item, 1);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_no_trace() {
        let queue = queue(1);
        {
            let mut taking = pin!(queue.take(any));
            assert!(is_pending(&mut taking).await);
        }
        queue.put(1).await.unwrap();
        {
            let mut putting = pin!(queue.put(2));
            assert!(is_pending(&mut putting).await);
        }
        let state = queue.lock();
        assert_eq!((state.takers_waiting, state.putters_waiting), (0, 0));
    }
}
