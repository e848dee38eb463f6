//! What a process used: CPU time and memory, from `/proc`.

use anyhow::Context as _;
use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process;
use std::time::Duration;
use tokio::time::Instant;

/// A process whose use is measured from the making of this.
#[derive(Debug)]
pub(crate) struct UsageMeter {
    process: Process,
    cpu_before: Duration,
    began: Instant,
}

/// What it used.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Usage {
    /// CPU time as a share of one core, in percent.
    pub(crate) cpu_percent: f64,
    /// Resident memory at the end, in bytes.
    pub(crate) rss_bytes: u64,
}

impl UsageMeter {
    /// Begins to measure.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let process = Process::new(i32::try_from(pid)?)?;
        Ok(Self {
            cpu_before: cpu(&process)?,
            process,
            began: Instant::now(),
        })
    }

    /// What was used since.
    pub(crate) fn read(&self) -> anyhow::Result<Usage> {
        let used = cpu(&self.process)?.saturating_sub(self.cpu_before);
        Ok(Usage {
            cpu_percent: 100.0 * used.as_secs_f64() / self.began.elapsed().as_secs_f64(),
            rss_bytes: self.process.stat()?.rss_bytes().get(),
        })
    }
}

fn cpu(process: &Process) -> anyhow::Result<Duration> {
    let stat = process.stat()?;
    let ticks = stat.utime + stat.stime;
    let milliseconds = ticks
        .saturating_mul(1_000)
        .checked_div(procfs::ticks_per_second())
        .context("the clock has no ticks")?;
    Ok(Duration::from_millis(milliseconds))
}
