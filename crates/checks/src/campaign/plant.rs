//! A service as a fluid: work arrives, waits, is served, and overflows.

use super::Dice;
use trimtab_protocol::histogram::Histogram;
use trimtab_protocol::state::{Counters, Gauges, Histograms, PoolState};

/// How throughput follows from workers, and what was counted.
#[derive(Clone, Debug)]
pub(super) struct Plant {
    service_s: f64,
    /// Jobs at once beyond which each slows the others down.
    knee: f64,
    arrivals_per_s: f64,
    queue: f64,
    carry: f64,
    counters: Counters,
    gauges: Gauges,
    histograms: Histograms,
}

impl Plant {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let zero = Some(0);
        let empty = || Some(Histogram::default());
        let mut plant = Self {
            service_s: 0.1,
            knee: 8.0,
            arrivals_per_s: 10.0,
            queue: 0.0,
            carry: 0.0,
            counters: Counters {
                arrived: zero,
                started: zero,
                completed: zero,
                failed: zero,
                rejected: zero,
                timed_out: zero,
                abandoned: zero,
                exempt: zero,
                busy_us: zero,
                wait_us: zero,
                cpu_us: None,
            },
            gauges: Gauges::default(),
            histograms: Histograms {
                total_us: empty(),
                wait_us: empty(),
                service_us: empty(),
                timeout_us: empty(),
            },
        };
        plant.change(dice);
        plant
    }

    /// Other work, or more of it, or less.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        self.service_s = 0.05 + 0.5 * dice.share();
        self.knee = 4.0 + 60.0 * dice.share();
        self.arrivals_per_s = 1.5 * dice.share() * self.knee / self.service_s;
        // Few enough that a second costs little to write down.
        self.arrivals_per_s = self.arrivals_per_s.min(60.0);
    }

    /// A second's work.
    pub(super) fn work(&mut self, workers: u64, queue_limit: u64) {
        let workers = workers as f64;
        let crowd = (workers / self.knee).max(1.0);
        let capacity = workers / (self.service_s * crowd);
        let offered = self.arrivals_per_s + self.queue;
        let done = offered.min(capacity);
        let rejected = (offered - done - queue_limit as f64).max(0.0);
        self.queue = offered - done - rejected;
        let busy = (done * self.service_s * crowd).min(workers);
        self.carry += done;
        let completed = self.carry.floor();
        self.carry -= completed;
        let counters = &mut self.counters;
        for (counter, by) in [
            (&mut counters.arrived, self.arrivals_per_s),
            (&mut counters.started, completed),
            (&mut counters.completed, completed),
            (&mut counters.rejected, rejected),
            (&mut counters.busy_us, busy * 1e6),
            (&mut counters.wait_us, self.queue * 1e6),
        ] {
            *counter = counter.map(|count| count + whole(by));
        }
        self.gauges = Gauges {
            busy: Some(whole(busy)),
            queued: Some(whole(self.queue)),
            oldest_wait_ms: Some(whole(self.queue / capacity * 1e3)),
            tasks: Some(whole(busy)),
            ..Gauges::default()
        };
        let wait = self.queue / capacity;
        for job in 0..whole(completed) {
            let service = self.service_s * crowd * (0.5 + (job * 37 % 100) as f64 / 100.0);
            for (histogram, seconds) in [
                (&mut self.histograms.service_us, service),
                (&mut self.histograms.wait_us, wait),
                (&mut self.histograms.total_us, service + wait),
            ] {
                if let Some(histogram) = histogram {
                    histogram.record(whole(seconds * 1e6));
                }
            }
        }
    }

    /// Adds what was counted to how the pool stands.
    pub(super) fn tell(&self, pool: &mut PoolState) {
        pool.counters = self.counters.clone();
        pool.gauges = self.gauges.clone();
        pool.histograms = self.histograms.clone();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the figures of a small service, never below 0"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
