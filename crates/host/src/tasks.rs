//! How many tasks an async runtime of the service has, read from tokio's own metrics; reading costs the runtime nothing.

use tokio::runtime::Handle;
use trimtab_protocol::state::RuntimeFigures;

/// A runtime whose figures the host shows under a name.
#[derive(Clone, Debug)]
pub struct RuntimeHandle {
    name: String,
    handle: Handle,
}

impl RuntimeHandle {
    /// Names a runtime.
    #[must_use]
    pub fn new(name: impl Into<String>, handle: Handle) -> Self {
        Self {
            name: name.into(),
            handle,
        }
    }

    /// Names the runtime that the caller runs in.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn current(name: impl Into<String>) -> Self {
        Self::new(name, Handle::current())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is true of the runtime right now.
    #[must_use]
    pub fn figures(&self) -> RuntimeFigures {
        let metrics = self.handle.metrics();
        RuntimeFigures {
            workers: u64::try_from(metrics.num_workers()).ok(),
            tasks: u64::try_from(metrics.num_alive_tasks()).ok(),
            global_queue: u64::try_from(metrics.global_queue_depth()).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn live_tasks_are_counted_until_they_end() {
        let runtime = RuntimeHandle::current("main");
        let before = runtime.figures().tasks.expect("known");
        let parked = tokio::spawn(std::future::pending::<()>());
        assert_eq!(runtime.figures().tasks, Some(before + 1));
        parked.abort();
        assert!(parked.await.unwrap_err().is_cancelled());
        assert_eq!(runtime.figures().tasks, Some(before));
        assert_eq!(runtime.figures().workers, Some(1));
    }
}
