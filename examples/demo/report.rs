//! What the demo found: as a table for people and as JSON for programs.

use super::tally::{Tally, Trouble};
use super::usage::Usage;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use trimtab_protocol::name::KnobName;
use trimtab_protocol::state::PoolState;
use trimtab_protocol::view::ChangeCounts;

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// By pool.
    pub(crate) pools: BTreeMap<&'static str, PoolReport>,
    /// What the sidecar itself used.
    pub(crate) sidecar: Usage,
}

/// One pool in both phases.
#[derive(Debug, Serialize)]
pub(crate) struct PoolReport {
    /// Left as it was deployed.
    #[serde(rename = "static")]
    pub(crate) fixed: PhaseReport,
    /// With the sidecar.
    pub(crate) tuned: PhaseReport,
    /// What the sidecar did.
    pub(crate) changes: Changes,
}

/// Changes of one pool.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    made: u64,
    kept: u64,
    rolled_back: u64,
}

impl From<ChangeCounts> for Changes {
    fn from(counts: ChangeCounts) -> Self {
        Self {
            made: counts.made,
            kept: counts.kept,
            rolled_back: counts.rolled_back,
        }
    }
}

/// One pool in one phase.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseReport {
    /// Requests a second.
    pub(crate) offered: f64,
    /// Successes within the slo, a second.
    pub(crate) goodput: f64,
    /// The same in each third of the phase: base, surge, base again.
    pub(crate) goodput_by_third: [f64; 3],
    /// Percentiles of successes, from when the request was due.
    pub(crate) p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p95_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p99_ms: Option<f64>,
    /// Requests without success.
    pub(crate) errors: u64,
    /// The same by kind.
    pub(crate) errors_by_kind: BTreeMap<Trouble, u64>,
    /// Successes beyond the slo.
    pub(crate) late: u64,
    /// The pool's workers at the end.
    pub(crate) workers: u64,
    /// The pool's timeout at the end.
    pub(crate) timeout_ms: u64,
    /// The pool's queue limit at the end.
    pub(crate) queue_limit: u64,
}

impl PhaseReport {
    /// What a tally of so many seconds says, with the pool's knobs at its end. Jobs of a pool whose timeout is no knob have the
    /// one that the host was started with.
    pub(crate) fn new(tally: &Tally, seconds: f64, pool: &PoolState, timeout_ms: u64) -> Self {
        let known = |name: &str| {
            let knob = pool.knobs.get(&KnobName::from(name));
            knob.and_then(|knob| knob.value.as_integer())
        };
        let knob = |name: &str| known(name).unwrap_or_default();
        Self {
            offered: rate(tally.offered.iter().sum(), seconds),
            goodput: rate(tally.good.iter().sum(), seconds),
            goodput_by_third: tally.good.map(|good| rate(good, seconds / 3.0)),
            p50_ms: tally.percentile_ms(50.0),
            p95_ms: tally.percentile_ms(95.0),
            p99_ms: tally.percentile_ms(99.0),
            errors: tally.errors(),
            errors_by_kind: tally.troubles.clone(),
            late: tally.late,
            workers: knob(KnobName::WORKERS),
            timeout_ms: known(KnobName::TIMEOUT_MS).unwrap_or(timeout_ms),
            queue_limit: knob(KnobName::QUEUE_LIMIT),
        }
    }
}

impl Report {
    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = header();
        for (name, pool) in &self.pools {
            text += &phase_row(name, "static", &pool.fixed);
            text += &phase_row("", "tuned", &pool.tuned);
        }
        text.push('\n');
        for (name, pool) in &self.pools {
            let PoolReport {
                fixed,
                tuned,
                changes,
            } = pool;
            text += &line(format_args!(
                "{name}: goodput {}, workers {} -> {}, queue {} -> {}, timeout {} ms -> {} ms; {} changes made, {} kept, {} rolled back",
                ratio(tuned.goodput, fixed.goodput),
                fixed.workers,
                tuned.workers,
                fixed.queue_limit,
                tuned.queue_limit,
                fixed.timeout_ms,
                tuned.timeout_ms,
                changes.made,
                changes.kept,
                changes.rolled_back,
            ));
        }
        text += &line(format_args!(
            "The sidecar used {:.1} % of one core and {:.1} MiB of memory.",
            self.sidecar.cpu_percent,
            mebibytes(self.sidecar.rss_bytes),
        ));
        text
    }
}

/// The line above [`phase_row`]'s.
pub(crate) fn header() -> String {
    row([
        "pool",
        "",
        "offered/s",
        "goodput/s",
        "by thirds",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "errors",
        "late",
        "workers",
        "timeout",
    ])
}

/// One line about a pool in a phase; a sweep prints the same.
pub(crate) fn phase_row(pool: &str, phase: &str, report: &PhaseReport) -> String {
    let milliseconds = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}"));
    row([
        pool,
        phase,
        &format!("{:.1}", report.offered),
        &format!("{:.1}", report.goodput),
        &report
            .goodput_by_third
            .map(|rate| format!("{rate:.0}"))
            .join("/"),
        &milliseconds(report.p50_ms),
        &milliseconds(report.p95_ms),
        &milliseconds(report.p99_ms),
        &report.errors.to_string(),
        &report.late.to_string(),
        &report.workers.to_string(),
        &report.timeout_ms.to_string(),
    ])
}

fn row(cells: [&str; 12]) -> String {
    let mut text = format!("{:<11}{:<7}", cells[0], cells[1]);
    for cell in &cells[2..] {
        text += &format!("{cell:>12}");
    }
    text.push('\n');
    text
}

fn line(words: std::fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(text, "{words}").expect("a string takes all text");
    text
}

fn ratio(tuned: f64, fixed: f64) -> String {
    if fixed > 0.0 {
        format!("x {:.2}", tuned / fixed)
    } else {
        format!("from none to {tuned:.1}/s")
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^52"
)]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[expect(clippy::cast_precision_loss, reason = "a size in MiB is for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
