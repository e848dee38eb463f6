//! What workers finish in any order leaves in the order in which it came.
//!
//! Results wait here for those before them. How many may wait is bounded: a worker takes nothing that is too far ahead. Whoever
//! brings the result that all wait for sends on as many as have come; the others go back to work meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The results of one stage on their way out; `O` is what a piece of work yields, or nothing where it failed.
#[derive(Debug)]
pub(super) struct Order<O> {
    held_max: u64,
    /// The number of the next to leave, for those who ask without the lock.
    next: AtomicU64,
    state: Mutex<State<O>>,
}

#[derive(Debug)]
struct State<O> {
    next: u64,
    held: BTreeMap<u64, O>,
    sending: bool,
}

impl<O> Order<O> {
    pub(super) fn new(held_max: u64) -> Self {
        Self {
            held_max: held_max.max(1),
            next: AtomicU64::new(0),
            state: Mutex::new(State {
                next: 0,
                held: BTreeMap::new(),
                sending: false,
            }),
        }
    }

    /// Whether work with this number may begin: its result would find a place here.
    pub(super) fn has_place_for(&self, number: u64) -> bool {
        number
            < self
                .next
                .load(Ordering::Acquire)
                .saturating_add(self.held_max)
    }

    /// Brings a result. Yields what is to be sent on by the caller, who then asks again with [`Order::next`]; nothing when it is
    /// not its turn, or somebody else is sending.
    pub(super) fn bring(&self, number: u64, result: O) -> Option<O> {
        let mut state = self.lock();
        state.held.insert(number, result);
        if state.sending {
            return None;
        }
        self.pop(&mut state)
    }

    /// What the caller, who sent the last, is to send on next.
    pub(super) fn next(&self) -> Option<O> {
        self.pop(&mut self.lock())
    }

    fn pop(&self, state: &mut State<O>) -> Option<O> {
        let number = state.next;
        let result = state.held.remove(&number);
        state.sending = result.is_some();
        if result.is_some() {
            state.next += 1;
            self.next.store(state.next, Ordering::Release);
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_sends_and_the_others_leave_theirs() {
        let order = Order::new(3);
        assert_eq!(order.bring(1, 'b'), None);
        assert_eq!(order.bring(0, 'a'), Some('a'));
        assert_eq!(order.bring(2, 'c'), None, "somebody is sending");
        assert_eq!(order.next(), Some('b'));
        assert_eq!(order.next(), Some('c'));
        assert_eq!(order.next(), None);
        assert_eq!(order.bring(3, 'd'), Some('d'));
    }

    #[test]
    fn nothing_begins_that_would_wait_too_far_ahead() {
        let order = Order::new(2);
        assert!(order.has_place_for(1));
        assert!(!order.has_place_for(2));
        order.bring(0, ());
        assert!(order.has_place_for(2));
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_finishing_the_order_of_leaving_is_that_of_coming(
            finishing in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let order = Order::new(40);
            let mut left = Vec::new();
            for number in finishing {
                let mut out = order.bring(number, number);
                while let Some(number) = out {
                    left.push(number);
                    out = order.next();
                }
            }
            prop_assert_eq!(left, (0..40).collect::<Vec<_>>());
        }
    }
}
