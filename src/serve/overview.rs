//! A long time as a chart shows it: the least and the most of each figure in each column of pixels.
//!
//! Eight hours at one sample a second are more than any chart has pixels, and a mean would hide the very peak that one looks
//! for. What a chart needs in detail it asks for as samples.

use crate::serve::Shared;
use crate::serve::error::Refusal;
use crate::serve::routes::find;
use crate::view::pack::{Packed, SampleHistory};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use std::collections::BTreeMap;
use trimtab_protocol::name::{HostId, PoolName};
use trimtab_protocol::view::{Overview, PoolSample, Range, Sample};

/// How many columns are answered when the caller does not say: half a screen.
const COLUMNS_DEFAULT: usize = 600;
/// How many columns are answered at most: with every figure of a pool they are less than 1 MiB.
const COLUMNS_MAX: usize = 1_500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverviewQuery {
    pool: Option<PoolName>,
    from: Option<u64>,
    until: Option<u64>,
    columns: Option<usize>,
}

type OfHost = (&'static str, fn(&Sample) -> Option<f64>);
type OfPool = (&'static str, fn(&PoolSample) -> Option<f64>);

/// A count as a fraction; exact far above any count here.
fn fraction(count: u64) -> f64 {
    count as f64
}

/// The figures of a host, by their names in a sample.
const HOST: [OfHost; 11] = [
    ("cpu_cores", |it| it.cpu_cores),
    ("quota_cores", |it| it.quota_cores),
    ("throttled_share", |it| it.throttled_share),
    ("rss_bytes", |it| it.rss_bytes.map(fraction)),
    ("memory_limit_bytes", |it| {
        it.memory_limit_bytes.map(fraction)
    }),
    ("threads", |it| it.threads.map(fraction)),
    ("tasks", |it| it.tasks.map(fraction)),
    ("read_bytes_per_s", |it| it.read_bytes_per_s),
    ("written_bytes_per_s", |it| it.written_bytes_per_s),
    ("received_bytes_per_s", |it| it.received_bytes_per_s),
    ("sent_bytes_per_s", |it| it.sent_bytes_per_s),
];

/// The figures of a pool.
const POOL: [OfPool; 14] = [
    ("workers", |it| it.workers.map(fraction)),
    ("timeout_ms", |it| it.timeout_ms.map(fraction)),
    ("queue_limit", |it| it.queue_limit.map(fraction)),
    ("busy", |it| it.busy),
    ("queued", |it| it.queued),
    ("arrivals_per_s", |it| it.arrivals_per_s),
    ("completions_per_s", |it| it.completions_per_s),
    ("goodput_per_s", |it| it.goodput_per_s),
    ("lost_per_s", |it| it.lost_per_s),
    ("failed_per_s", |it| it.failed_per_s),
    ("p50_us", |it| it.p50_us.map(fraction)),
    ("p95_us", |it| it.p95_us.map(fraction)),
    ("p99_us", |it| it.p99_us.map(fraction)),
    ("wait_p95_us", |it| it.wait_p95_us.map(fraction)),
];

/// The time that is asked for, in columns; without `from` and `until` all that is kept.
pub(super) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Result<Json<Overview>, Refusal> {
    let Query(query) = query.map_err(|rejection| Refusal::Malformed(rejection.body_text()))?;
    let columns = query.columns.unwrap_or(COLUMNS_DEFAULT);
    if !(1..=COLUMNS_MAX).contains(&columns) {
        let detail = format!("`columns` is 1 to {COLUMNS_MAX}");
        return Err(Refusal::Malformed(detail));
    }
    let view = shared.view();
    let host = find(&view, &id)?;
    let (name, history) = (host.status.host.clone(), host.samples.clone());
    // Tens of thousands of samples are unpacked; that is no work for a thread on which others wait.
    let made = tokio::task::spawn_blocking(move || overview(name, &history, query, columns)).await;
    made.map_err(|_| Refusal::Internal)?.map(Json)
}

fn overview(
    host: HostId,
    history: &SampleHistory,
    query: OverviewQuery,
    columns: usize,
) -> Result<Overview, Refusal> {
    let at_ms = SampleHistory::at_ms;
    let oldest_ms = history.packed().next().map(at_ms);
    let newest_ms = history.packed().next_back().map(at_ms);
    let from_ms = query.from.or(oldest_ms).unwrap_or(0);
    let until_ms = query
        .until
        .or_else(|| newest_ms.map(|newest| newest.saturating_add(1)))
        .unwrap_or(1)
        .max(1);
    if from_ms >= until_ms {
        return Err(Refusal::Malformed(
            "`from` is not before `until`".to_owned(),
        ));
    }
    let mut made = Overview {
        host,
        pool: query.pool,
        from_ms,
        until_ms,
        columns,
        oldest_ms,
        host_figures: ranges(&HOST.map(|(name, _)| name), columns),
        pool_figures: BTreeMap::new(),
    };
    if made.pool.is_some() {
        made.pool_figures = ranges(&POOL.map(|(name, _)| name), columns);
    }
    let inside = |packed: &&Packed| (from_ms..until_ms).contains(&at_ms(packed));
    for packed in history.packed().filter(inside) {
        take(&mut made, &history.unpack(packed));
    }
    Ok(made)
}

/// Adds a sample to its column.
fn take(made: &mut Overview, sample: &Sample) {
    let wide = made.until_ms - made.from_ms;
    let columns = u64::try_from(made.columns).unwrap_or(u64::MAX);
    let column = (sample.at_ms - made.from_ms).saturating_mul(columns) / wide;
    let Ok(column) = usize::try_from(column) else {
        return;
    };
    for (name, read) in HOST {
        widen(made.host_figures.get_mut(name), column, read(sample));
    }
    let pool = made.pool.as_ref().and_then(|pool| sample.pools.get(pool));
    if let Some(pool) = pool {
        for (name, read) in POOL {
            widen(made.pool_figures.get_mut(name), column, read(pool));
        }
    }
}

fn widen(range: Option<&mut Range>, column: usize, value: Option<f64>) {
    let (Some(range), Some(value)) = (range, value.map(short)) else {
        return;
    };
    if let (Some(least), Some(most)) = (range.least.get_mut(column), range.most.get_mut(column)) {
        *least = Some(least.map_or(value, |least| least.min(value)));
        *most = Some(most.map_or(value, |most| most.max(value)));
    }
}

fn ranges(names: &[&str], columns: usize) -> BTreeMap<String, Range> {
    let empty = Range {
        least: vec![None; columns],
        most: vec![None; columns],
    };
    let named = names.iter().map(|name| ((*name).to_owned(), empty.clone()));
    named.collect()
}

/// Four digits: more than a pixel tells.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample a second from second 1,000 on, in which `busy` is the second's number, and `queued` is there in one second.
    fn history(seconds: u64) -> SampleHistory {
        let mut history = SampleHistory::new(40_000, 8 << 20);
        for second in 0..seconds {
            let pool = PoolSample {
                workers: Some(8),
                busy: Some(fraction(second)),
                queued: (second == 7).then_some(3.0),
                p99_us: Some(123_456),
                ..PoolSample::default()
            };
            history.push(&Sample {
                at_ms: (1_000 + second) * 1_000,
                moment_ns: second,
                cpu_cores: Some(0.5),
                pools: [("web".into(), pool)].into(),
                ..Sample::default()
            });
        }
        history
    }

    fn query(from: Option<u64>, until: Option<u64>) -> OverviewQuery {
        OverviewQuery {
            pool: Some("web".into()),
            from,
            until,
            columns: None,
        }
    }

    #[test]
    fn each_column_has_its_least_and_its_most_and_an_empty_one_has_none() {
        let history = history(100);
        let made =
            overview("demo".into(), &history, query(None, None), 10).expect("it is asked well");
        assert_eq!((made.from_ms, made.oldest_ms), (1_000_000, Some(1_000_000)));
        let busy = &made.pool_figures["busy"];
        assert_eq!((busy.least[0], busy.most[0]), (Some(0.0), Some(9.0)));
        assert_eq!(busy.most[9], Some(99.0));
        let queued = &made.pool_figures["queued"];
        assert_eq!((queued.most[0], queued.most[1]), (Some(3.0), None));
        assert_eq!(made.pool_figures["p99_us"].most[4], Some(123_500.0));
        assert_eq!(made.host_figures["tasks"].most, vec![None; 10]);
        // A time before the first sample stays empty: it is a gap and not nought.
        let early = query(Some(900_000), Some(1_100_000));
        let made = overview("demo".into(), &history, early, 2).expect("it is asked well");
        let busy = &made.pool_figures["busy"];
        assert_eq!((busy.most[0], busy.most[1]), (None, Some(99.0)));
        let backwards = query(Some(5), Some(5));
        assert!(overview("demo".into(), &history, backwards, 2).is_err());
    }

    #[test]
    fn eight_hours_of_seconds_are_less_than_a_mebibyte_on_the_wire() {
        let history = history(8 * 3_600);
        assert!(history.len() >= 8 * 3_600 - 32, "they are kept");
        let made = overview("demo".into(), &history, query(None, None), COLUMNS_MAX);
        let text = serde_json::to_string(&made.expect("it is asked well")).expect("it is JSON");
        assert!(text.len() <= 1 << 20, "{} bytes", text.len());
    }
}
