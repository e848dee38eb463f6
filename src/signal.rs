//! The signals that end the sidecar: SIGTERM from whoever runs it, SIGINT from a terminal.
//!
//! They are listened for from the start, so that one that comes while the sidecar is still starting is not lost, and it can
//! give its lease back. Waiting again after the first tells of the second, by which a person asks not to wait any longer.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the sidecar.
#[derive(Debug)]
pub struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
}

impl Shutdown {
    /// Listens from now on; from here on neither signal ends the process by itself.
    ///
    /// # Errors
    /// When the system does not let this process listen.
    ///
    /// # Panics
    /// Outside a tokio runtime whose I/O is enabled.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one and says which it was.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Sends this process a signal, the way that others do.
    fn send(name: &str) {
        let process = std::process::id().to_string();
        let status = std::process::Command::new("kill")
            .args(["-s", name, &process])
            .status();
        assert!(status.expect("kill is part of every system").success());
    }

    async fn next(shutdown: &mut Shutdown) -> &'static str {
        let guard = Duration::from_secs(60);
        tokio::time::timeout(guard, shutdown.wait())
            .await
            .expect("the signal was sent")
    }

    #[tokio::test]
    async fn each_signal_is_told_once_even_when_it_comes_before_the_waiting() {
        let mut shutdown = Shutdown::listen().expect("tests may listen");
        send("TERM");
        assert_eq!(next(&mut shutdown).await, "SIGTERM");
        send("INT");
        assert_eq!(next(&mut shutdown).await, "SIGINT");
    }
}
