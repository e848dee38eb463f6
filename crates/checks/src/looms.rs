//! The host's movable limit under loom, as it is and with one line wrong.

use crate::limits::{Limit, copies};

include!(concat!(env!("OUT_DIR"), "/looms.rs"));

/// Counters that count nothing: the limit decides nothing by them.
pub(crate) mod counters {
    /// What an admission would be counted by.
    #[derive(Debug)]
    pub(crate) struct Stint;

    /// See the host's own.
    #[derive(Debug, Default)]
    pub(crate) struct Counters;

    impl Counters {
        pub(crate) fn begin_direct(&self, _now_ns: u64) -> Stint {
            Stint
        }

        pub(crate) fn begin_queued(&self, _ticket: u64, _now_ns: u64) {}

        pub(crate) fn joined(&self) {}

        pub(crate) fn refused(&self) {}

        pub(crate) fn refused_late(&self) {}
    }
}

copies! {
    loom:
    real: Real,
    forgets_who_came_meanwhile: ForgetsWhoCameMeanwhile,
    takes_above_the_limit: TakesAboveTheLimit,
    grows_without_a_word: GrowsWithoutAWord
}
