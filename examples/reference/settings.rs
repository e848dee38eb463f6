//! What the host starts with: one line a pool, as somebody would guess it on the day before the first release.

use std::fmt;
use std::str::FromStr;
use trimtab_host::object_pool::ObjectPool;
use trimtab_host::pool::{BuildError, Pool};
use trimtab_host::slab::Slab;
use trimtab_host::threads::{ThreadBuildError, ThreadPool};
use trimtab_protocol::state::PoolKind;

/// The start of one pool: `WORKERS:QUEUE:TIMEOUT_MS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolSettings {
    /// How much runs at a time.
    pub(crate) workers: u64,
    /// How much may wait.
    pub(crate) queue_limit: u64,
    /// How long work may take in all, in milliseconds.
    pub(crate) timeout_ms: u64,
}

/// The start of all pools.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Guesses {
    /// Pages: far too few workers, copied from a service that computed instead of waiting.
    #[arg(long, default_value_t = WEB, value_name = "WORKERS:QUEUE:TIMEOUT_MS")]
    pub(crate) web: PoolSettings,
    /// Payments: far too many workers, "to be safe", which floods the accounts behind them.
    #[arg(long, default_value_t = API, value_name = "WORKERS:QUEUE:TIMEOUT_MS")]
    pub(crate) api: PoolSettings,
    /// Exports: about right.
    #[arg(long, default_value_t = BACKGROUND, value_name = "WORKERS:QUEUE:TIMEOUT_MS")]
    pub(crate) background: PoolSettings,
}

const WEB: PoolSettings = PoolSettings::new(8, 40, 5_000);
const API: PoolSettings = PoolSettings::new(48, 24, 10_000);
const BACKGROUND: PoolSettings = PoolSettings::new(6, 500, 60_000);

impl PoolSettings {
    /// A start.
    pub(crate) const fn new(workers: u64, queue_limit: u64, timeout_ms: u64) -> Self {
        Self {
            workers,
            queue_limit,
            timeout_ms,
        }
    }

    /// A pool that starts like this.
    pub(crate) fn pool(self, name: &str, kind: PoolKind) -> Result<Pool, BuildError> {
        Pool::builder(name)
            .kind(kind)
            .workers(self.workers, 1..=512)
            .queue_limit(self.queue_limit, 0..=100_000)
            .timeout_ms(self.timeout_ms, 100..=600_000)
            .build()
    }
}

/// Buffers into which pages are rendered: a few, for a host that does not know yet how many are needed at a time.
pub(crate) fn page_buffers() -> Result<ObjectPool<Vec<u8>>, BuildError> {
    ObjectPool::builder("page-buffers", || Vec::with_capacity(8 * 1024))
        .kind(PoolKind::Web)
        .objects(16, 1..=10_000)
        .bytes_max(256 * 1024)
        .build()
}

/// Chunks into which receipts are compressed.
pub(crate) fn receipt_chunks() -> Result<Slab, BuildError> {
    Slab::builder("receipt-chunks")
        .kind(PoolKind::Api)
        .chunk_bytes(512, 256..=65_536)
        .build()
}

/// Threads for what computes: at most four, for a receipt takes a millisecond or two.
pub(crate) fn computing() -> Result<ThreadPool, ThreadBuildError> {
    ThreadPool::builder("computing")
        .workers(2, 1..=4)
        .queue_limit(64, 0..=1_000)
        .build()
}

impl fmt::Display for PoolSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workers,
            queue_limit,
            timeout_ms,
        } = self;
        write!(out, "{workers}:{queue_limit}:{timeout_ms}")
    }
}

impl FromStr for PoolSettings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[workers, queue_limit, timeout_ms]) => {
                Ok(Self::new(workers, queue_limit, timeout_ms))
            }
            _ => Err("three numbers with colons are needed, such as 8:40:5000".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        assert_eq!(WEB.to_string().parse(), Ok(WEB));
        for wrong in ["", "8", "8:40", "8:40:5000:1", "8:x:5000", "-1:2:3"] {
            assert!(wrong.parse::<PoolSettings>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_guess_is_within_what_the_pools_take() {
        for guess in [WEB, API, BACKGROUND] {
            assert!(guess.pool("web", PoolKind::Web).is_ok(), "{guess}");
        }
    }
}
