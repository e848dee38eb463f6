//! The metrics: every name that `/metrics` knows stands in this file and, where it is a plain gauge, in the table beside it.
//!
//! Counters are raised as entries are made. Gauges are read from the newest view when somebody scrapes, so a figure that is
//! absent has no line (missing is not zero), a pool that is gone has none either, and an unscraped sidecar does no work.
//! Units are base units. Label sets are structs; names of hosts and pools are cleaned, escaped and bounded in number.

mod gauges;

use crate::view::{View, words};
use gauges::{HOST_GAUGES, POOL_GAUGES};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, text::encode,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;
use trimtab_core::moment::Span;
use trimtab_protocol::configuration::ReloadResult;
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::name::{HostId, PoolName};
use trimtab_protocol::view::{DecisionRecord, HostStatus, OutcomeRecord, PoolSample, PoolStatus};

/// The most series of all counters by pool; beyond, a new one is not counted.
const SERIES_MAX: usize = 4_096;

/// The most figures of its own that a pool shows.
const FIGURES_MAX: usize = 32;

/// Upper bounds of the tick's lag, in seconds.
const LAG_BOUNDS: [f64; 6] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.0];

/// All metrics of the sidecar.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: Family<DecisionLabels, Counter>,
    changes: Family<ChangeLabels, Counter>,
    ticks: Family<HostLabels, Counter>,
    ticks_dropped: Family<HostLabels, Counter>,
    tick_lag: Family<HostLabels, Histogram, fn() -> Histogram>,
    reloads: Family<ReloadLabels, Counter>,
    series: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostInfoLabels {
    host: String,
    app: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    host: String,
    pool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuantileLabels {
    host: String,
    pool: String,
    quantile: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FigureLabels {
    host: String,
    pool: String,
    figure: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegimeLabels {
    host: String,
    pool: String,
    regime: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    host: String,
    pool: String,
    action: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    host: String,
    pool: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Metrics {
    /// Metrics whose gauges are read from this view.
    #[must_use]
    pub fn new(view: watch::Receiver<Arc<View>>) -> Self {
        let mut registry = Registry::with_prefix("trimtab");
        let decisions = Family::default();
        let changes = Family::default();
        let ticks = Family::default();
        let ticks_dropped = Family::default();
        let lag: fn() -> Histogram = || Histogram::new(LAG_BOUNDS);
        let tick_lag = Family::new_with_constructor(lag);
        registry.register(
            "build",
            "The version of this sidecar",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "decisions",
            "Decisions, one a tick and pool",
            decisions.clone(),
        );
        registry.register(
            "changes",
            "Changes by what became of them: made, kept, rolled_back, refused, unknown",
            changes.clone(),
        );
        registry.register("ticks", "Ticks of the control loop", ticks.clone());
        registry.register(
            "ticks_dropped",
            "Ticks left out because an earlier one took too long",
            ticks_dropped.clone(),
        );
        registry.register_with_unit(
            "tick_lag",
            "How much later than planned a tick began",
            Unit::Seconds,
            tick_lag.clone(),
        );
        let reloads = Family::default();
        registry.register(
            "config_reloads",
            "Configurations that were read anew, by what became of them",
            reloads.clone(),
        );
        registry.register_collector(Box::new(FromView { view }));
        Self {
            registry,
            decisions,
            changes,
            ticks,
            ticks_dropped,
            tick_lag,
            reloads,
            series: AtomicUsize::new(0),
        }
    }

    /// Everything in the OpenMetrics text format.
    ///
    /// # Errors
    /// A label could not be written; none is known to fail.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(super) fn tick(&self, host: &HostId, lag: Span, dropped: u64) {
        let labels = HostLabels {
            host: words::foreign(host.as_str()),
        };
        self.ticks.get_or_create(&labels).inc();
        self.ticks_dropped.get_or_create(&labels).inc_by(dropped);
        self.tick_lag
            .get_or_create(&labels)
            .observe(lag.as_secs_f64());
    }

    pub(super) fn decision(&self, host: &HostId, pool: Option<&PoolName>, record: &DecisionRecord) {
        let (host, pool) = names(host, pool);
        self.count(
            &self.decisions,
            &DecisionLabels {
                host,
                pool,
                action: words::action(record.action),
                reason: words::kind(&record.reason),
            },
        );
    }

    pub(super) fn outcome(&self, host: &HostId, pool: Option<&PoolName>, outcome: &OutcomeRecord) {
        let result = match (&outcome.reason, outcome.action) {
            (None, Action::Try) => "made",
            (None, Action::Confirm) => "kept",
            (None, Action::RollBack) => "rolled_back",
            (None, Action::Hold | Action::Advise) => return,
            (Some(Reason::Refused { .. }), _) => "refused",
            (Some(_), _) => "unknown",
        };
        self.change(host, pool, result);
    }

    /// A configuration that was read anew.
    pub(super) fn reload(&self, result: ReloadResult) {
        let result = match result {
            ReloadResult::Applied => "applied",
            ReloadResult::Refused => "refused",
            ReloadResult::Waiting => "waiting",
            ReloadResult::Approved => "approved",
            ReloadResult::Rejected => "rejected",
            ReloadResult::Withdrawn => "withdrawn",
        };
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// A trial that was undone without us.
    pub(super) fn undone(&self, host: &HostId, pool: Option<&PoolName>) {
        self.change(host, pool, "rolled_back");
    }

    fn change(&self, host: &HostId, pool: Option<&PoolName>, result: &'static str) {
        let (host, pool) = names(host, pool);
        self.count(&self.changes, &ChangeLabels { host, pool, result });
    }

    /// Raises a counter, unless it would be a new series too many.
    fn count<L>(&self, family: &Family<L, Counter>, labels: &L)
    where
        L: Clone + std::hash::Hash + Eq,
    {
        let known = family.get(labels).map(|counter| counter.inc());
        if known.is_none() && self.series.fetch_add(1, Ordering::Relaxed) < SERIES_MAX {
            family.get_or_create(labels).inc();
        }
    }
}

fn names(host: &HostId, pool: Option<&PoolName>) -> (String, String) {
    let pool = pool.map_or_else(String::new, |pool| words::foreign(pool.as_str()));
    (words::foreign(host.as_str()), pool)
}

/// The gauges.
#[derive(Debug)]
struct FromView {
    view: watch::Receiver<Arc<View>>,
}

impl Collector for FromView {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = Arc::clone(&self.view.borrow());
        for (name, help, unit, read) in &HOST_GAUGES {
            let found = view.hosts.values().filter_map(|host| {
                let labels = HostLabels {
                    host: words::foreign(host.status.host.as_str()),
                };
                Some((labels, read(host)?))
            });
            gauges(&mut encoder, (name, help, unit.as_ref()), found)?;
        }
        for (name, help, unit, read) in &POOL_GAUGES {
            let found = pools(&view).filter_map(|(status, name, pool)| {
                let value = read(pool, status.sample.pools.get(name))?;
                let (host, pool) = names(&status.host, Some(name));
                Some((PoolLabels { host, pool }, value))
            });
            gauges(&mut encoder, (name, help, unit.as_ref()), found)?;
        }
        latencies(&mut encoder, &view)?;
        figures(&mut encoder, &view)?;
        regimes(&mut encoder, &view)?;
        host_info(&mut encoder, &view)?;
        configuration(&mut encoder, &view)?;
        ledger(&mut encoder, &view)
    }
}

fn configuration(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let status = &view.configuration;
    for (name, help, unit, value) in [
        (
            "config_valid",
            "Whether the newest files are in force or wait, and were not refused.",
            None,
            flag(status.problems.is_empty()),
        ),
        (
            "config_waiting",
            "Whether the newest files wait for an operator's approval.",
            None,
            flag(!status.waiting.is_empty()),
        ),
        (
            "config_needs_restart",
            "How many keys were changed that take effect only after a restart.",
            None,
            length(status.needs_restart.len()),
        ),
        (
            "config_in_force_since_timestamp",
            "Since when the configuration is in force, in seconds since 1970.",
            Some(Unit::Seconds),
            float(status.in_force_since_ms) / 1e3,
        ),
    ] {
        let metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)?;
    }
    Ok(())
}

type Described<'a> = (&'a str, &'a str, Option<&'a Unit>);

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): Described<'_>,
    found: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut metric: MetricEncoder<'_> =
        encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in found.filter(|(_, value)| value.is_finite()) {
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn pools(view: &View) -> impl Iterator<Item = (&HostStatus, &PoolName, &PoolStatus)> {
    view.hosts.values().flat_map(|host| {
        let status: &HostStatus = &host.status;
        status
            .pools
            .iter()
            .map(move |(name, pool)| (status, name, pool))
    })
}

fn latencies(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    type Quantile = (&'static str, fn(&PoolSample) -> Option<u64>);
    let total: [Quantile; 3] = [
        ("0.5", |sample| sample.p50_us),
        ("0.95", |sample| sample.p95_us),
        ("0.99", |sample| sample.p99_us),
    ];
    let wait: [Quantile; 1] = [("0.95", |sample| sample.wait_p95_us)];
    let read = |quantiles: &[Quantile]| {
        let mut found = Vec::new();
        for (status, name, _) in pools(view) {
            for (quantile, read) in quantiles {
                if let Some(us) = status.sample.pools.get(name).and_then(read) {
                    let (host, pool) = names(&status.host, Some(name));
                    let labels = QuantileLabels {
                        host,
                        pool,
                        quantile,
                    };
                    found.push((labels, float(us) / 1e6));
                }
            }
        }
        found.into_iter()
    };
    let described = (
        "pool_latency",
        "Response time of successes since the last sample.",
        Some(&Unit::Seconds),
    );
    gauges(encoder, described, read(&total))?;
    let described = (
        "pool_wait",
        "Waiting time of successes since the last sample.",
        Some(&Unit::Seconds),
    );
    gauges(encoder, described, read(&wait))
}

fn figures(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let found = pools(view).flat_map(|(status, name, pool)| {
        let figures = pool.figures.iter().take(FIGURES_MAX);
        figures.map(move |(figure, value)| {
            let (host, pool) = names(&status.host, Some(name));
            let figure = words::foreign(figure);
            (FigureLabels { host, pool, figure }, float(*value))
        })
    });
    let help = "Figures of the part's own by name, as the host tells them.";
    gauges(encoder, ("pool_figure", help, None), found)
}

fn regimes(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let found = pools(view).filter_map(|(status, name, pool)| {
        let regime = words::regime(pool.decision.as_ref()?.regime);
        let (host, pool) = names(&status.host, Some(name));
        Some((RegimeLabels { host, pool, regime }, 1.0))
    });
    let described = ("pool_regime", "1 for the regime that the pool is in.", None);
    gauges(encoder, described, found)
}

fn host_info(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let help = "The service that the host runs.";
    let mut metric = encoder.encode_descriptor("host", help, None, MetricType::Info)?;
    for host in view.hosts.values() {
        metric.encode_info(&HostInfoLabels {
            host: words::foreign(host.status.host.as_str()),
            app: words::foreign(&host.status.app),
            version: words::foreign(&host.status.version),
        })?;
    }
    Ok(())
}

fn ledger(encoder: &mut DescriptorEncoder<'_>, view: &View) -> fmt::Result {
    let journal = &view.journal;
    let help = "Whether the last write of the ledger went well.";
    let metric = encoder.encode_descriptor("ledger_up", help, None, MetricType::Gauge)?;
    ConstGauge::new(flag(journal.ok)).encode(metric)?;
    let counters = [
        ("ledger_entries", "Entries made.", view.last_sequence),
        (
            "ledger_errors",
            "Writes of the ledger that failed.",
            journal.errors,
        ),
        (
            "ledger_lost",
            "Entries that did not reach the disk.",
            journal.lost,
        ),
        (
            "ledger_thinned",
            "Repeated decisions left out on disk.",
            journal.thinned,
        ),
    ];
    for (name, help, value) in counters {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)?;
    }
    Ok(())
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to nine thousand million million"
)]
fn float(value: u64) -> f64 {
    value as f64
}

fn length(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::record::journal::Journal;
    use crate::record::ledger::JsonLines;
    use crate::record::tests::{held, outcome, tick};
    use crate::record::{Recorded, Recorder, Retention};
    use trimtab_protocol::decision::Action;
    use trimtab_protocol::name::HostId;

    fn rendered(host: &str, pools: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let ledger = JsonLines::new(directory.path(), "b", 1 << 20);
        let journal = Journal::start(Box::new(ledger));
        let (mut recorder, outlets) = Recorder::new("b", Retention::default(), journal);
        let records: Vec<_> = pools.iter().map(|pool| (*pool, held())).collect();
        let Recorded::Tick(mut tick) = tick(1, &records) else {
            unreachable!("a tick was made");
        };
        tick.decision.host = HostId::from(host);
        tick.decision.status.host = HostId::from(host);
        recorder.tick(*tick);
        recorder.record(outcome(Action::Try, None));
        outlets.metrics.render().unwrap()
    }

    #[test]
    fn the_names_types_and_helps_are_the_promised_ones() {
        let text = rendered("demo", &["web"]);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!("metrics", lines.join("\n")));
    }

    #[test]
    fn what_is_absent_has_no_line() {
        let text = rendered("demo", &["web"]);
        assert!(text.contains("trimtab_pool_workers{host=\"demo\",pool=\"web\"} 8"));
        assert!(text.contains("trimtab_host_cpu_cores{host=\"demo\"} 0.5\n"));
        assert!(!text.contains("trimtab_pool_goodput_per_second{"));
        assert!(!text.contains("trimtab_host_threads{"));
        assert!(
            text.contains(
                "trimtab_pool_figure{host=\"demo\",pool=\"web\",figure=\"cache_hits\"} 7"
            )
        );
        assert!(!text.contains("NaN"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_hostile_name_stays_within_its_label() {
        let evil = "x\"} 1\ntrimtab_evil 7\n\\";
        let text = rendered(evil, &[evil]);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("trimtab_"), "{line}");
            assert!(!line.starts_with("trimtab_evil"), "{line}");
        }
        assert!(text.contains(r#"host="x\"} 1"#));
    }

    #[test]
    fn a_flood_of_names_is_counted_up_to_a_bound() {
        let names: Vec<String> = (0..5_000).map(|number| format!("p{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = rendered("demo", &names);
        let series = text
            .lines()
            .filter(|line| line.starts_with("trimtab_decisions_total"))
            .count();
        assert_eq!(series, super::SERIES_MAX);
    }
}
