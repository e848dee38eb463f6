//! The end of the sidecar: commands that run are let finish, but not for long.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long commands may run on once the end is asked for. Then they wait neither for the host nor for the disk any more.
const DRAIN: Duration = Duration::from_millis(800);
/// How long after that the ledger may take for what came of them. Together it is less than the sidecar takes to end.
const LEDGER: Duration = Duration::from_millis(400);

/// How many commands run, and whether they are to hurry. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    running: watch::Sender<usize>,
    hurry: watch::Sender<bool>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            running: watch::Sender::new(0),
            hurry: watch::Sender::new(false),
        }
    }
}

impl Ending {
    /// A command begins; it ends with what this returns.
    pub(super) fn begin(&self) -> Running {
        self.running.send_modify(|running| *running += 1);
        Running(self.running.clone())
    }

    /// Returns once there is no more time.
    pub(super) async fn hurry(&self) {
        // It is held here, so it is not gone.
        drop(self.hurry.subscribe().wait_for(|hurry| *hurry).await);
    }

    /// Returns once there is no more time for the ledger either.
    pub(super) async fn late(&self) {
        self.hurry().await;
        sleep(LEDGER).await;
    }

    /// Waits until `shutdown` ends and then for the commands that run, for a while; then for them to hurry.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        let mut running = self.running.subscribe();
        if timeout(DRAIN, running.wait_for(|running| *running == 0))
            .await
            .is_err()
        {
            tracing::warn!("an operator's command is broken off, for the sidecar ends");
        }
        self.hurry.send_replace(true);
    }
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Running(watch::Sender<usize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
