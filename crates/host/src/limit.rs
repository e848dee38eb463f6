//! A limit on how much runs at once, which can be moved while work runs, with a first-come-first-served queue before it.
//!
//! Limit, use and the word that someone waits stand in one atomic, so that taking and putting back a permit is one compare and
//! swap while nobody waits, and so that no permit is ever taken above the limit of that very moment. A shrink only lowers the
//! limit: use above it is owed, and is paid as work ends. Whoever finds no permit takes the queue's lock and says so in the
//! atomic; whoever puts a permit back and sees it takes the lock too and hands permits on. Nobody overtakes: while someone
//! waits, an arrival goes to the end of the queue.
//!
//! While the fuse of a trial is burnt nobody is admitted. Arrivals then are *held*: they queue whatever the queue's limit is,
//! for that may be a trial value too, and are judged by the limits in force when the fuse is whole again.
//!
//! It never interrupts what runs, and knows nothing of timeouts; whoever waits too long leaves by [`Limit::leave`].

pub(crate) mod line;
pub(crate) mod waiter;

use crate::counters::{Counters, Stint};
use crate::fuse::Fuse;
use crate::sharded::Padded;
use line::{Line, LineReading};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use trimtab_sys::clock::boot_ns;
use waiter::Waiter;

/// A movable limit, its queue, and what they count.
#[derive(Debug)]
pub(crate) struct Limit {
    gate: Padded<AtomicU64>,
    queue_limit: AtomicU64,
    /// The most that may be held back during a burnt fuse.
    held_max: u64,
    queue: Mutex<Queue>,
    line: Line,
    pub(crate) counters: Counters,
    pub(crate) fuse: Arc<Fuse>,
}

/// How an arrival was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Admitted(Stint),
    Waits(Arc<Waiter>),
    Full,
}

#[derive(Debug, Default)]
struct Queue {
    waiters: BTreeMap<u64, Arc<Waiter>>,
    next_ticket: u64,
    held: u64,
    /// The sum of all leaving times less the sum of all arrival times, wrapping.
    offset_ns: u64,
}

// The gate: the limit above, the word that someone waits, and the permits in use below.
const WAITERS: u64 = 1 << 31;
const IN_USE: u64 = WAITERS - 1;
const LIMIT_SHIFT: u32 = 32;

impl Limit {
    pub(crate) fn new(workers: u64, queue_limit: u64, held_max: u64) -> Self {
        Self {
            gate: Padded(AtomicU64::new(workers << LIMIT_SHIFT)),
            queue_limit: AtomicU64::new(queue_limit),
            held_max,
            queue: Mutex::default(),
            line: Line::default(),
            counters: Counters::default(),
            fuse: Arc::default(),
        }
    }

    /// Work arrives: it gets a permit, a place in the queue, or neither.
    pub(crate) fn arrive(&self, now_ns: u64) -> Answer {
        if self.take(WAITERS) {
            // Asked after the taking: if the fuse is whole now, it was whole then.
            if !self.fuse.is_burnt() {
                return Answer::Admitted(self.counters.begin_direct(now_ns));
            }
            self.put_back();
        }
        self.join(now_ns)
    }

    /// Work ended; its permit goes to whoever waits longest, if the limit and the fuse let it.
    pub(crate) fn put_back(&self) {
        let before = self.gate.0.fetch_sub(1, Ordering::AcqRel);
        let owed = (before & IN_USE) > before >> LIMIT_SHIFT;
        if before & WAITERS != 0 && !owed {
            self.dispatch();
        }
    }

    /// A waiter goes away. False if it had been settled before.
    pub(crate) fn leave(&self, waiter: &Waiter, now_ns: u64) -> bool {
        let mut queue = self.lock();
        let left = queue.remove(waiter.ticket, now_ns).is_some();
        if left {
            self.publish(&queue);
        }
        left
    }

    /// Moves the limit, at once, and admits whoever now may run.
    pub(crate) fn set_workers(&self, workers: u64) {
        let target = workers << LIMIT_SHIFT;
        let moved = |word| Some(word & (WAITERS | IN_USE) | target);
        let before = self
            .gate
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, moved)
            .unwrap_or_else(|word| word);
        if before & WAITERS != 0 {
            self.dispatch();
        }
    }

    /// Moves the queue's limit for later arrivals; what waits above it stays.
    pub(crate) fn set_queue_limit(&self, queue_limit: u64) {
        self.queue_limit.store(queue_limit, Ordering::Release);
    }

    pub(crate) fn workers(&self) -> u64 {
        self.gate.0.load(Ordering::Acquire) >> LIMIT_SHIFT
    }

    pub(crate) fn busy(&self) -> u64 {
        self.gate.0.load(Ordering::Acquire) & IN_USE
    }

    pub(crate) fn queue_limit(&self) -> u64 {
        self.queue_limit.load(Ordering::Acquire)
    }

    pub(crate) fn queued(&self) -> u64 {
        self.line.queued()
    }

    /// The queue's figures, or nothing while they change too fast.
    pub(crate) fn line(&self) -> Option<LineReading> {
        self.line.read()
    }

    /// Hands permits to waiters as far as the limit and the fuse allow.
    pub(crate) fn dispatch(&self) {
        let mut settled = Vec::new();
        self.settle(&mut self.lock(), &mut settled);
        // Woken without the lock, so that nobody wakes up to wait for it.
        settled.iter().for_each(|waiter| waiter.wake());
    }

    /// The slow way in: there was no permit, someone waits, or the fuse is burnt.
    fn join(&self, now_ns: u64) -> Answer {
        let mut settled = Vec::new();
        let answer = {
            let mut queue = self.lock();
            if queue.held > 0 {
                self.settle(&mut queue, &mut settled);
            }
            self.join_locked(&mut queue, now_ns, &mut settled)
        };
        settled.iter().for_each(|waiter| waiter.wake());
        answer
    }

    fn join_locked(
        &self,
        queue: &mut Queue,
        now_ns: u64,
        settled: &mut Vec<Arc<Waiter>>,
    ) -> Answer {
        let mut burnt = self.fuse.is_burnt();
        while !burnt && self.take(WAITERS) {
            if !self.fuse.is_burnt() {
                return Answer::Admitted(self.counters.begin_direct(now_ns));
            }
            burnt = true;
            self.gate.0.fetch_sub(1, Ordering::AcqRel);
        }
        let room = if burnt {
            self.held_max
        } else {
            self.queue_limit()
        };
        if queue.len() >= room {
            self.counters.refused();
            return Answer::Full;
        }
        let waiter = queue.push(now_ns, burnt);
        self.counters.joined();
        self.gate.0.fetch_or(WAITERS, Ordering::AcqRel);
        // A permit that was put back before the word stood there was handed to nobody.
        self.settle(queue, settled);
        Answer::Waits(waiter)
    }

    /// Admits from the front of the queue, judges what was held, and publishes the queue. The caller wakes the settled.
    fn settle(&self, queue: &mut Queue, settled: &mut Vec<Arc<Waiter>>) {
        while !queue.waiters.is_empty() && self.take(0) {
            if self.fuse.is_burnt() {
                self.gate.0.fetch_sub(1, Ordering::AcqRel);
                break;
            }
            let now_ns = boot_ns();
            if let Some(first) = queue.pop(now_ns) {
                self.counters.begin_queued(first.ticket, now_ns);
                first.admit(now_ns);
                settled.push(first);
            }
        }
        if queue.held > 0 && !self.fuse.is_burnt() {
            self.judge(queue, settled);
        }
        self.publish(queue);
    }

    /// The fuse is whole again: what was held stays if the queue's limit has room for it.
    fn judge(&self, queue: &mut Queue, settled: &mut Vec<Arc<Waiter>>) {
        let room = usize::try_from(self.queue_limit()).unwrap_or(usize::MAX);
        let (mut kept, now_ns) = (0, boot_ns());
        let waiters: Vec<_> = queue.waiters.values().map(Arc::clone).collect();
        for waiter in waiters {
            if !waiter.is_held() {
                kept += 1;
                continue;
            }
            if kept < room {
                kept += 1;
                waiter.keep();
            } else {
                queue.remove(waiter.ticket, now_ns);
                self.counters.refused_late();
                waiter.refuse();
            }
            settled.push(waiter);
        }
        queue.held = 0;
    }

    /// Takes a permit if one is free and none of the `unless` bits is set.
    fn take(&self, unless: u64) -> bool {
        let taken = |word: u64| {
            let free = (word & IN_USE) < word >> LIMIT_SHIFT;
            (free && word & unless == 0).then_some(word + 1)
        };
        self.gate
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, taken)
            .is_ok()
    }

    /// Tells the reading side, and the fast way in once nobody waits.
    fn publish(&self, queue: &Queue) {
        if queue.waiters.is_empty() {
            self.gate.0.fetch_and(!WAITERS, Ordering::AcqRel);
        }
        let oldest = queue.waiters.first_key_value();
        self.line.publish(LineReading {
            queued: queue.len(),
            offset_ns: queue.offset_ns,
            oldest_ns: oldest.map_or(0, |(_, waiter)| waiter.arrived_ns),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn len(&self) -> u64 {
        u64::try_from(self.waiters.len()).unwrap_or(u64::MAX)
    }

    fn push(&mut self, arrived_ns: u64, held: bool) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter::new(self.next_ticket, arrived_ns, held));
        self.next_ticket += 1;
        self.held += u64::from(held);
        self.offset_ns = self.offset_ns.wrapping_sub(arrived_ns);
        self.waiters.insert(waiter.ticket, Arc::clone(&waiter));
        waiter
    }

    fn pop(&mut self, now_ns: u64) -> Option<Arc<Waiter>> {
        let first = *self.waiters.first_key_value()?.0;
        self.remove(first, now_ns)
    }

    fn remove(&mut self, ticket: u64, now_ns: u64) -> Option<Arc<Waiter>> {
        let waiter = self.waiters.remove(&ticket)?;
        self.held = self.held.saturating_sub(u64::from(waiter.is_held()));
        self.offset_ns = self.offset_ns.wrapping_add(now_ns);
        Some(waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::waiter::Standing;
    use super::*;

    #[test]
    fn an_arrival_does_not_overtake_between_a_permit_coming_back_and_its_handing_over() {
        let limit = Limit::new(1, 10, 11);
        assert!(matches!(limit.arrive(1), Answer::Admitted(_)));
        let Answer::Waits(first) = limit.arrive(2) else {
            panic!("the permit is taken");
        };
        // As far as another thread has come within `put_back`.
        limit.gate.0.fetch_sub(1, Ordering::AcqRel);
        let Answer::Waits(second) = limit.arrive(3) else {
            panic!("it overtook");
        };
        assert!(matches!(first.standing(), Standing::Admitted(_)));
        assert_eq!(second.standing(), Standing::Waiting);
    }
}
