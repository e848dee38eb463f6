//! One pool in virtual time: a queue, workers, and jobs that all progress at one rate.
//!
//! Because they share one rate, the work that a job has got since a moment is the same for all of them. So the pool keeps one
//! clock of *attained work*: a job that starts at 3.2 and needs 0.5 ends when that clock shows 3.7, however the rate changes
//! meanwhile. A change of the rate costs nothing; a completion is the head of a heap.

use crate::number::{count, second};
use crate::tally::{Achieved, Tally};
use crate::trace::Arrival;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The values of a pool's knobs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// How many jobs are in service at once.
    pub workers: u64,
    /// How many may wait.
    pub queue_limit: u64,
    /// How long one may be in service, in seconds.
    pub timeout: f64,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Done,
    /// Its time ran out, waiting or in service.
    TimedOut,
    /// It found the queue full.
    Rejected,
}

/// A job that ended, as a controller inside the host sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// When, in seconds.
    pub at: f64,
    /// How it ended.
    pub ending: Ending,
    /// From arrival to begin, in seconds.
    pub wait_s: f64,
    /// From begin to end, in seconds.
    pub service_s: f64,
    /// Jobs in service, this one included where it was.
    pub busy: u64,
    /// Jobs that wait.
    pub queued: u64,
}

/// The rules of a pool that no knob changes.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// A job that waited longer is timed out before it starts, in seconds.
    pub queue_deadline: f64,
    /// A job that ends later than this after its arrival is no goodput, in seconds.
    pub slo: f64,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    number: u64,
    arrived: f64,
    started: f64,
    /// When the clock of attained work shows this, the job is done; never for a stalled one.
    done_at: f64,
    running: bool,
}

/// One pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its rules.
    pub rules: Rules,
    /// The values in force.
    pub setting: Setting,
    /// The counters of this run of the host.
    pub tally: Tally,
    /// What it achieved in all runs of the host together.
    pub achieved: Achieved,
    /// CPU time that a second of attained work costs.
    pub cpu_share: f64,
    rate: f64,
    queue: VecDeque<Arrival>,
    jobs: Vec<Job>,
    free: Vec<usize>,
    ends: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Jobs in the order in which they started, for the timeout; those that ended are skipped.
    starts: VecDeque<(u64, usize)>,
    busy: u64,
    number: u64,
    now: f64,
    attained: f64,
    /// Jobs that ended since they were last taken, where somebody listens.
    ended: Vec<Ended>,
    listens: bool,
}

impl Pool {
    /// A pool that has done nothing yet. `listens` keeps what ended until it is taken.
    #[must_use]
    pub fn new(rules: Rules, setting: Setting, seconds: usize, listens: bool) -> Self {
        Self {
            rules,
            setting,
            tally: Tally::default(),
            achieved: Achieved::new(seconds),
            cpu_share: 0.0,
            rate: 1.0,
            queue: VecDeque::new(),
            jobs: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            starts: VecDeque::new(),
            busy: 0,
            number: 0,
            now: 0.0,
            attained: 0.0,
            ended: Vec::new(),
            listens,
        }
    }

    /// Jobs in service.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.busy
    }

    /// Jobs that wait.
    #[must_use]
    pub fn queued(&self) -> u64 {
        count(self.queue.len())
    }

    /// The rate at which jobs in service progress.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How long the oldest waiting job has waited, in seconds.
    #[must_use]
    pub fn oldest_wait(&self) -> f64 {
        self.queue.front().map_or(0.0, |job| self.now - job.at)
    }

    /// Lets time pass: all integrals then stand at `now`.
    pub fn advance(&mut self, now: f64) {
        let span = now - self.now;
        if span <= 0.0 {
            return;
        }
        let busy = self.busy as f64;
        self.attained += self.rate * span;
        self.tally.busy_s += busy * span;
        self.tally.wait_s += self.queue.len() as f64 * span;
        self.tally.cpu_s += busy * self.rate * self.cpu_share * span;
        self.achieved.workers_s += self.setting.workers as f64 * span;
        self.now = now;
    }

    /// Sets the rate from now on.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    /// When the next job is done, if nothing changes before.
    #[must_use]
    pub fn next_end(&self) -> f64 {
        match self.ends.peek() {
            Some(Reverse((bits, _, _))) if self.rate > 0.0 => {
                self.now + (f64::from_bits(*bits) - self.attained).max(0.0) / self.rate
            }
            _ => f64::INFINITY,
        }
    }

    /// When the next job's time in service runs out.
    pub fn next_timeout(&mut self) -> f64 {
        while let Some((number, slot)) = self.starts.front() {
            match self.jobs.get(*slot) {
                Some(job) if job.running && job.number == *number => {
                    return job.started + self.setting.timeout;
                }
                _ => {
                    self.starts.pop_front();
                }
            }
        }
        f64::INFINITY
    }

    /// A job arrives, at the pool's own time.
    pub fn arrive(&mut self, job: Arrival) {
        self.expire_waiting();
        self.tally.arrived += 1;
        if self.queued() >= self.setting.queue_limit && self.busy >= self.setting.workers {
            self.tally.rejected += 1;
            self.note(Ending::Rejected, 0.0, 0.0);
        } else {
            self.queue.push_back(job);
        }
    }

    /// The job that is done first ends.
    pub fn complete(&mut self) {
        let Some(Reverse((bits, number, slot))) = self.ends.pop() else {
            return;
        };
        let Some(job) = self.jobs.get(slot).copied() else {
            return;
        };
        if !job.running || job.number != number {
            return;
        }
        // What rounding left over is nobody's work.
        self.attained = self.attained.max(f64::from_bits(bits));
        let (wait, service) = (job.started - job.arrived, self.now - job.started);
        self.tally.completed += 1;
        self.tally.total.add(wait + service);
        self.tally.wait.add(wait);
        self.tally.service.add(service);
        self.achieved
            .note(second(self.now), wait + service, self.rules.slo);
        self.note(Ending::Done, wait, service);
        self.release(slot);
    }

    /// The job that started first runs out of its time in service.
    pub fn time_out(&mut self) {
        let Some((_, slot)) = self.starts.pop_front() else {
            return;
        };
        let Some(job) = self.jobs.get(slot).copied() else {
            return;
        };
        let (wait, service) = (job.started - job.arrived, self.now - job.started);
        let left = (job.done_at - self.attained).max(0.0);
        if self.rate > 0.0 && wait + service + left / self.rate <= self.rules.slo {
            self.achieved.cut_good += 1;
        }
        self.tally.timed_out += 1;
        self.tally.timeout.add(wait + service);
        self.note(Ending::TimedOut, wait, service);
        self.release(slot);
    }

    /// Starts what may start. Jobs below `stalled` on their luck never end by themselves.
    pub fn fill(&mut self, stalled: f64) {
        self.expire_waiting();
        while self.busy < self.setting.workers {
            let Some(job) = self.queue.pop_front() else {
                return;
            };
            self.start(job, job.luck < stalled);
        }
    }

    fn start(&mut self, arrival: Arrival, stalls: bool) {
        self.number += 1;
        let job = Job {
            number: self.number,
            arrived: arrival.at,
            started: self.now,
            done_at: if stalls {
                f64::INFINITY
            } else {
                self.attained + arrival.work
            },
            running: true,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.jobs[slot] = job;
                slot
            }
            None => {
                self.jobs.push(job);
                self.jobs.len() - 1
            }
        };
        self.busy += 1;
        self.tally.started += 1;
        self.starts.push_back((job.number, slot));
        if !stalls {
            self.ends
                .push(Reverse((job.done_at.to_bits(), job.number, slot)));
        }
    }

    fn release(&mut self, slot: usize) {
        if let Some(job) = self.jobs.get_mut(slot) {
            job.running = false;
            self.free.push(slot);
            self.busy -= 1;
        }
        // A job that timed out is still in the heap; once it is at its head it is dropped, so that the head is one that runs.
        while let Some(Reverse((_, number, slot))) = self.ends.peek() {
            let runs = |job: &Job| job.running && job.number == *number;
            if self.jobs.get(*slot).is_some_and(runs) {
                break;
            }
            self.ends.pop();
        }
    }

    /// Jobs that waited longer than the deadline are gone since the moment at which it passed.
    fn expire_waiting(&mut self) {
        while let Some(oldest) = self.queue.front() {
            let over = self.now - oldest.at - self.rules.queue_deadline;
            if over <= 0.0 {
                return;
            }
            self.queue.pop_front();
            self.tally.wait_s -= over;
            self.tally.timed_out += 1;
            self.tally.timeout.add(self.rules.queue_deadline);
            self.note(Ending::TimedOut, self.rules.queue_deadline, 0.0);
        }
    }

    /// The host ends: everything queued and in service is lost, and the counters begin anew.
    pub fn restart(&mut self, setting: Setting) {
        self.queue.clear();
        self.jobs.clear();
        self.free.clear();
        self.ends.clear();
        self.starts.clear();
        self.busy = 0;
        self.attained = 0.0;
        self.tally = Tally::default();
        self.setting = setting;
    }

    fn note(&mut self, ending: Ending, wait_s: f64, service_s: f64) {
        if self.listens {
            self.ended.push(Ended {
                at: self.now,
                ending,
                wait_s,
                service_s,
                busy: self.busy,
                queued: self.queued(),
            });
        }
    }

    /// Whether jobs ended since they were last taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes the jobs that ended since the last call.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }
}
