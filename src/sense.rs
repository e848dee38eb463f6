//! The stage that reads the host and the machine: one [`Observation`] a tick.
//!
//! Every reading has a deadline that ends before the next tick, so a host that hangs is seen as one that gives no answer in
//! time, tick after tick. When the next stage is busy, the tick is dropped and counted; nothing is queued, because an old
//! observation is worth nothing. What act heard from the host is kept until an observation takes it along.
//!
//! It never decides, and it never changes anything in the host.

pub mod cgroup;
pub mod host;
pub mod machine;
pub mod process;
mod traffic;

use self::host::{HostReader, HostSample};
use self::machine::MachineReader;
use crate::clock::Clock;
use crate::fail::{self, Point};
use crate::host_client::HostClient;
use crate::place::HostPlace;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::MissedTickBehavior;
use trimtab_core::observation::{Observation, Reading, Receipt};
use trimtab_protocol::name::HostId;

/// The most receipts that wait for an observation to take them along; beyond that they stay in their channel.
const RECEIPTS_MAX: usize = 256;

/// What to read, and how often.
#[derive(Clone, Debug)]
pub struct SenseSettings {
    /// What the configuration calls the host.
    pub host: HostId,
    /// Where its control API is.
    pub place: HostPlace,
    /// The time between two ticks.
    pub interval: Duration,
    /// How long the host may take to give its state; at most four fifths of the interval are used.
    pub deadline: Duration,
}

/// What the stage counts about itself.
#[derive(Debug, Default)]
pub struct SenseCounts {
    ticks: AtomicU64,
    dropped: AtomicU64,
}

impl SenseCounts {
    /// Ticks so far, dropped ones included.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Ticks whose observation was dropped, because the next stage was busy.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The stage.
#[derive(Debug)]
pub struct Sense {
    host: HostId,
    interval: Duration,
    clock: Arc<dyn Clock>,
    reader: HostReader,
    machine: MachineReader,
    receipts: Receiver<Receipt>,
    waiting: Vec<Receipt>,
    counts: Arc<SenseCounts>,
}

impl Sense {
    /// The stage for one host. Nothing is read before it runs.
    #[must_use]
    pub fn new(
        settings: SenseSettings,
        receipts: Receiver<Receipt>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let interval = settings.interval.max(Duration::from_millis(1));
        let deadline = settings.deadline.min(interval * 4 / 5);
        Self {
            host: settings.host,
            interval,
            clock,
            reader: HostReader::new(HostClient::new(settings.place, deadline)),
            machine: MachineReader::new(),
            receipts,
            waiting: Vec::new(),
            counts: Arc::default(),
        }
    }

    /// Its counts, which stay readable while it runs.
    #[must_use]
    pub fn counts(&self) -> Arc<SenseCounts> {
        Arc::clone(&self.counts)
    }

    /// Reads at every tick, the first at once, until it is told to stop or nobody takes the observations any more. Ticks that
    /// were missed, as in a machine that slept, are not made up for.
    pub async fn run(
        mut self,
        observations: Sender<Observation>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let tick = async {
                ticks.tick().await;
                self.observe().await
            };
            let observation = tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = observations.closed() => return,
                observation = tick => observation,
            };
            self.counts.ticks.fetch_add(1, Ordering::Relaxed);
            if shows_trial(&observation) {
                fail::at(Point::Observed);
            }
            match observations.try_send(observation) {
                Ok(()) => {}
                Err(TrySendError::Full(observation)) => {
                    self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                    self.waiting = observation.receipts;
                }
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    async fn observe(&mut self) -> Observation {
        let (at, at_ms) = (self.clock.now(), self.clock.wall_ms());
        // Receipts come first, so that the state is never older than what the host already answered.
        while self.waiting.len() < RECEIPTS_MAX
            && let Ok(receipt) = self.receipts.try_recv()
        {
            self.waiting.push(receipt);
        }
        let HostSample {
            state,
            process,
            cgroup,
            pid,
        } = self.reader.read(&*self.clock).await;
        let machine = match self.machine.read(at, pid) {
            Ok(value) => Reading::Fresh { value },
            Err(absence) => Reading::Absent { absence },
        };
        Observation {
            host: self.host.clone(),
            at,
            at_ms,
            state,
            process,
            cgroup,
            machine,
            pid,
            receipts: std::mem::take(&mut self.waiting),
        }
    }
}

fn shows_trial(observation: &Observation) -> bool {
    match &observation.state {
        Reading::Fresh { value } => value.pools.values().any(|pool| pool.trial.is_some()),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
