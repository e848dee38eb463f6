//! What a pool counts: every arrival and every end, and how long work waited and ran.
//!
//! The request path adds to a few relaxed atomics, most of them sharded, and takes no lock. Work that was admitted at once
//! waited for nothing, so one histogram and one counter hold all that three histograms and two counters say about it; the
//! reader takes them apart again.
//!
//! Busy time is an integral up to the moment of reading, without a clock that ticks: each shard holds, in one word, how much
//! work runs and the sum of all ends less the sum of all begins. Together they give the integral at any later moment, and
//! because they are one word the reader never sees the one without the other.

pub(crate) mod reading;
pub(crate) mod tally;

use crate::sharded::{self, Sharded};
use std::sync::atomic::{AtomicU64, Ordering};
use tally::Tally;

/// Counters of one pool.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    shards: Sharded<Shard>,
    /// Arrivals that were not admitted at once: queued or refused.
    joined: AtomicU64,
    /// Begins out of the queue.
    from_queue: AtomicU64,
    rejected: AtomicU64,
    /// Arrivals that were exempt from the start.
    passed: AtomicU64,
    /// Exempt work that has not ended.
    exempt_live: AtomicU64,
    queued_total: Tally,
    queued_wait: Tally,
    queued_service: Tally,
    timeout: Tally,
}

/// What a few threads count.
#[derive(Debug, Default)]
struct Shard {
    /// Arrivals that were admitted at once.
    direct: AtomicU64,
    /// How much runs (low bits), and the sum of ends less the sum of begins in microseconds (high bits, wrapping).
    busy: AtomicU64,
    cpu_ns: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    abandoned: AtomicU64,
    exempt: AtomicU64,
    /// Successes among the direct arrivals.
    served: Tally,
}

/// The bits of [`Shard::busy`] that count running work; so a pool has at most [`RUNNING_MAX`] workers.
const RUNNING_BITS: u32 = 16;

/// The most work that may run at once.
pub(crate) const RUNNING_MAX: u64 = (1 << RUNNING_BITS) - 1;

/// One piece of work from its begin to its end, as far as counting goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stint {
    pub(crate) arrived_ns: u64,
    pub(crate) started_ns: u64,
    shard: usize,
    direct: bool,
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Failed,
    TimedOut,
    Abandoned,
    /// It turned out to be an upgrade or an event stream.
    Exempt,
}

impl Counters {
    /// Work arrived and began at once.
    pub(crate) fn begin_direct(&self, now_ns: u64) -> Stint {
        let shard = sharded::mine();
        self.shards.at(shard).direct.fetch_add(1, Ordering::Release);
        self.begin(shard, now_ns);
        Stint {
            arrived_ns: now_ns,
            started_ns: now_ns,
            shard,
            direct: true,
        }
    }

    /// Work that waited began; `ticket` spreads such work over the shards.
    pub(crate) fn begin_queued(&self, ticket: u64, now_ns: u64) {
        self.from_queue.fetch_add(1, Ordering::Release);
        self.begin(shard_of(ticket), now_ns);
    }

    /// The stint that [`Counters::begin_queued`] began.
    pub(crate) fn queued_stint(ticket: u64, arrived_ns: u64, started_ns: u64) -> Stint {
        Stint {
            arrived_ns,
            started_ns,
            shard: shard_of(ticket),
            direct: false,
        }
    }

    /// Work that had begun ended.
    pub(crate) fn end(&self, stint: Stint, outcome: Outcome, now_ns: u64) {
        let shard = self.shards.at(stint.shard);
        let total_us = now_ns.saturating_sub(stint.arrived_ns) / 1_000;
        match outcome {
            Outcome::Completed if stint.direct => shard.served.record(total_us),
            Outcome::Completed => {
                let service_us = now_ns.saturating_sub(stint.started_ns) / 1_000;
                let wait_us = stint.started_ns.saturating_sub(stint.arrived_ns) / 1_000;
                self.queued_service.record(service_us);
                self.queued_wait.record(wait_us);
                self.queued_total.record(total_us);
            }
            Outcome::Failed => add_one(&shard.failed),
            Outcome::TimedOut => {
                self.timeout.record(total_us);
                add_one(&shard.timed_out);
            }
            Outcome::Abandoned => add_one(&shard.abandoned),
            Outcome::Exempt => add_one(&shard.exempt),
        }
        let ended = ((now_ns / 1_000) << RUNNING_BITS).wrapping_sub(1);
        shard.busy.fetch_add(ended, Ordering::Release);
    }

    /// Work arrived and went into the queue.
    pub(crate) fn joined(&self) {
        add_one(&self.joined);
    }

    /// Work arrived and was refused at once.
    pub(crate) fn refused(&self) {
        add_one(&self.joined);
        add_one(&self.rejected);
    }

    /// Work that was held back during a burnt fuse found no place in the queue afterwards.
    pub(crate) fn refused_late(&self) {
        add_one(&self.rejected);
    }

    /// Work of a pool of threads was dropped before it began.
    pub(crate) fn left_unbegun(&self) {
        add_one(&self.shards.at(sharded::mine()).abandoned);
    }

    /// Work left the queue without having begun.
    pub(crate) fn left_queue(&self, outcome: Outcome, arrived_ns: u64, now_ns: u64) {
        let shard = self.shards.at(sharded::mine());
        if outcome == Outcome::TimedOut {
            self.timeout
                .record(now_ns.saturating_sub(arrived_ns) / 1_000);
            add_one(&shard.timed_out);
        } else {
            add_one(&shard.abandoned);
        }
    }

    /// Work arrived that is exempt from the limit.
    pub(crate) fn passed(&self) {
        add_one(&self.passed);
        self.exempt_begins();
    }

    /// Work is exempt from now on.
    pub(crate) fn exempt_begins(&self) {
        add_one(&self.exempt_live);
    }

    /// Exempt work ended.
    pub(crate) fn exempt_ends(&self) {
        self.exempt_live.fetch_sub(1, Ordering::Release);
    }

    /// CPU time was used for this pool's work.
    pub(crate) fn add_cpu(&self, ns: u64) {
        let shard = self.shards.at(sharded::mine());
        shard.cpu_ns.fetch_add(ns, Ordering::Relaxed);
    }

    fn begin(&self, shard: usize, now_ns: u64) {
        let begun = 1_u64.wrapping_sub((now_ns / 1_000) << RUNNING_BITS);
        self.shards
            .at(shard)
            .busy
            .fetch_add(begun, Ordering::Release);
    }
}

fn shard_of(ticket: u64) -> usize {
    usize::try_from(ticket % 64).unwrap_or(0)
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Release);
}
