//! What a pool of threads counts, and how it is read.
//!
//! Each worker counts in numbers that it alone writes, so counting costs no locked instruction; the reader adds them up. What
//! happens outside of the workers, refusals and jobs that run in place, is counted as an async pool counts.

use super::gate::waits;
use super::{Inner, ThreadStats};
use crate::counters::RUNNING_MAX;
use crate::counters::reading::Reader;
use crate::counters::tally::{Tally, bump};
use crate::limit::line::LineReading;
use crate::part::PartFigures;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::state::Counters;

/// What one worker counts. Only its thread writes here.
#[derive(Debug, Default)]
pub(super) struct WorkerFigures {
    pub(super) started: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) abandoned: AtomicU64,
    pub(super) stolen: AtomicU64,
    /// Jobs taken out of the queue, as [`waits`] words.
    pub(super) left: AtomicU64,
    /// Whether it works (low bits), and the sum of all ends of work less all begins in microseconds, wrapping.
    busy: AtomicU64,
    /// CPU time of all threads that have had this place.
    cpu_ns: AtomicU64,
    total: Tally,
    wait: Tally,
    service: Tally,
}

const BUSY_BITS: u32 = RUNNING_MAX.count_ones();

impl WorkerFigures {
    pub(super) fn begin_work(&self, now_ns: u64) {
        bump(
            &self.busy,
            1_u64.wrapping_sub((now_ns / 1_000) << BUSY_BITS),
        );
    }

    pub(super) fn end_work(&self, now_ns: u64) {
        bump(&self.busy, ((now_ns / 1_000) << BUSY_BITS).wrapping_sub(1));
    }

    pub(super) fn take(&self, now_ns: u64) {
        bump(&self.left, waits::end(now_ns));
    }

    pub(super) fn complete(&self, arrived_ns: u64, started_ns: u64, ended_ns: u64) {
        self.total
            .record_alone(ended_ns.saturating_sub(arrived_ns) / 1_000);
        self.wait
            .record_alone(started_ns.saturating_sub(arrived_ns) / 1_000);
        self.service
            .record_alone(ended_ns.saturating_sub(started_ns) / 1_000);
    }

    pub(super) fn add_cpu(&self, ns: u64) {
        bump(&self.cpu_ns, ns);
    }

    /// The mean time of its jobs so far, in microseconds.
    pub(super) fn mean_service_us(&self) -> u64 {
        let started = self.started.load(Ordering::Relaxed);
        self.service.sum_us() / started.max(1)
    }
}

/// What the reading side remembers between two readings.
#[derive(Debug, Default)]
pub(super) struct ThreadReader {
    in_place: Reader,
    busy_seen: u64,
    busy_us: u64,
    wait_seen: u64,
    wait_us: u64,
}

impl Inner {
    pub(super) fn read(&self, now_ns: u64) -> PartFigures {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends are read before begins, and begins before arrivals, so that what is read adds up.
        let mut read = reader.in_place.read(
            &self.counters,
            self.counters.running(),
            LineReading::default(),
            now_ns,
        );
        let mut sums = Sums::default();
        for worker in self.workers() {
            sums.add(worker);
        }
        for worker in self.workers() {
            sums.started += worker.started.load(Ordering::Acquire);
        }
        let waiting = self.gate.waiting(sums.left);
        let entered = self.gate.entered();
        let busy_us = reader.advance_busy(sums.busy, now_ns);
        let wait_us = reader.advance_wait(waiting, now_ns);
        let queued = waits::count(waiting);
        let in_place = read.gauges.busy.unwrap_or(0);
        let busy = in_place + (sums.busy & RUNNING_MAX);
        read.counters = sums.counters(&read.counters, entered, busy_us, wait_us);
        let gauges = &mut read.gauges;
        gauges.busy = Some(busy);
        gauges.queued = Some(queued);
        gauges.oldest_wait_ms = Some(self.oldest_wait_ns(now_ns) / 1_000_000);
        gauges.tasks = Some(busy + queued);
        for (held, sum) in [
            (&mut read.histograms.total_us, &sums.total),
            (&mut read.histograms.wait_us, &sums.wait),
            (&mut read.histograms.service_us, &sums.service),
        ] {
            held.get_or_insert_default().merge(sum);
        }
        let completed = read.histograms.total_us.as_ref();
        read.counters.completed = completed.map(|total| total.count);
        read
    }

    pub(super) fn stats_at(&self, now_ns: u64) -> ThreadStats {
        let read = self.read(now_ns);
        let stolen = |worker: &WorkerFigures| worker.stolen.load(Ordering::Relaxed);
        let count = |counted: Option<u64>| counted.unwrap_or(0);
        let wait = read.histograms.wait_us.unwrap_or_default();
        ThreadStats {
            workers: self.target(),
            threads: self.threads(),
            busy: count(read.gauges.busy),
            queued: count(read.gauges.queued),
            arrived: count(read.counters.arrived),
            completed: count(read.counters.completed),
            failed: count(read.counters.failed),
            rejected: count(read.counters.rejected),
            abandoned: count(read.counters.abandoned),
            stolen: self.workers().map(stolen).sum(),
            in_place: self.in_place.load(Ordering::Relaxed),
            panicked: self.panicked.load(Ordering::Relaxed),
            unpinned: self.unpinned.load(Ordering::Relaxed),
            mean_wait_us: wait.sum_us / wait.count.max(1),
            handover_ns: self.handover.mean_ns(),
        }
    }
}

#[derive(Debug, Default)]
struct Sums {
    started: u64,
    failed: u64,
    abandoned: u64,
    left: u64,
    busy: u64,
    cpu_ns: u64,
    total: Histogram,
    wait: Histogram,
    service: Histogram,
}

impl Sums {
    fn add(&mut self, worker: &WorkerFigures) {
        worker.total.add_to(&mut self.total);
        worker.wait.add_to(&mut self.wait);
        worker.service.add_to(&mut self.service);
        self.failed += worker.failed.load(Ordering::Acquire);
        self.abandoned += worker.abandoned.load(Ordering::Acquire);
        self.cpu_ns += worker.cpu_ns.load(Ordering::Relaxed);
        self.busy = self.busy.wrapping_add(worker.busy.load(Ordering::Acquire));
        self.left = self.left.wrapping_add(worker.left.load(Ordering::Acquire));
    }

    fn counters(&self, in_place: &Counters, entered: u64, busy_us: u64, wait_us: u64) -> Counters {
        let plus = |counted: Option<u64>, more: u64| counted.map(|counted| counted + more);
        Counters {
            arrived: plus(in_place.arrived, entered),
            started: plus(in_place.started, self.started),
            failed: plus(in_place.failed, self.failed),
            abandoned: plus(in_place.abandoned, self.abandoned),
            busy_us: plus(in_place.busy_us, busy_us),
            wait_us: plus(in_place.wait_us, wait_us),
            cpu_us: plus(in_place.cpu_us, self.cpu_ns / 1_000),
            ..in_place.clone()
        }
    }
}

impl ThreadReader {
    /// A begin after `now_ns` makes the integral a little too small, so only a step forward is taken.
    fn advance_busy(&mut self, word: u64, now_ns: u64) -> u64 {
        const SUM: u64 = u64::MAX >> BUSY_BITS;
        let running = (word & RUNNING_MAX).wrapping_mul(now_ns / 1_000);
        let integral = (word >> BUSY_BITS).wrapping_add(running) & SUM;
        let step = integral.wrapping_sub(self.busy_seen) & SUM;
        if step <= SUM / 2 {
            self.busy_us += step;
            self.busy_seen = integral;
        }
        self.busy_us
    }

    fn advance_wait(&mut self, word: u64, now_ns: u64) -> u64 {
        let integral = waits::integral(word, now_ns);
        if let Some(step_us) = waits::step_us(self.wait_seen, integral) {
            self.wait_us += step_us;
            self.wait_seen = integral;
        }
        self.wait_us
    }
}
