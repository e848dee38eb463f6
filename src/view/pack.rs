//! Samples, packed: an hour of them at one a second fits in a few hundred kilobytes.
//!
//! A `Sample` as a struct takes kilobytes, for its map reserves room for eleven pools. Packed, each figure that is there
//! takes a few bytes behind a mask that says which ones are. Fractions keep four decimals, and a figure that is negative or
//! no number counts as absent. Names stand once in a table. Unpacking happens only when somebody asks.

use crate::view::ring::{Ring, Weigh};
use std::sync::Arc;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::view::{PoolSample, Sample};

/// The most pool names that a history knows; pools beyond are left out of it.
const NAMES_MAX: usize = 256;

/// Fractions are kept as multiples of one in this.
const SCALE: f64 = 10_000.0;

/// The samples of one host, oldest first.
#[derive(Clone, Debug)]
pub struct SampleHistory {
    names: Arc<Vec<PoolName>>,
    ring: Ring<Packed>,
}

/// One sample, packed; its names are in the history that holds it.
#[derive(Clone, Debug)]
pub struct Packed(Arc<[u8]>);

impl Weigh for Packed {
    fn bytes(&self) -> usize {
        self.0.len() + 32
    }
}

impl SampleHistory {
    /// An empty history that keeps at most so many samples and bytes.
    #[must_use]
    pub fn new(samples_max: usize, bytes_max: usize) -> Self {
        Self {
            names: Arc::default(),
            ring: Ring::new(samples_max, bytes_max),
        }
    }

    /// Adds the newest sample.
    pub fn push(&mut self, sample: &Sample) {
        let mut writer = Writer::default();
        writer.number(sample.at_ms);
        writer.number(sample.moment_ns);
        writer.masked(&[
            fraction(sample.cpu_cores),
            fraction(sample.quota_cores),
            fraction(sample.throttled_share),
            sample.rss_bytes,
            sample.memory_limit_bytes,
            sample.threads,
            sample.tasks,
            fraction(sample.read_bytes_per_s),
            fraction(sample.written_bytes_per_s),
            fraction(sample.received_bytes_per_s),
            fraction(sample.sent_bytes_per_s),
        ]);
        for (name, pool) in &sample.pools {
            let Some(index) = self.index(name) else {
                continue;
            };
            writer.number(index);
            writer.masked(&pool_figures(pool));
        }
        self.ring.push(Packed(writer.bytes.into()));
    }

    /// How many samples it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// The samples still packed, oldest first; [`SampleHistory::unpack`] reads one.
    pub fn packed(&self) -> impl DoubleEndedIterator<Item = &Packed> {
        self.ring.iter()
    }

    /// When a sample was read, in nanoseconds of the boot-time clock.
    #[must_use]
    pub fn moment_ns(packed: &Packed) -> u64 {
        let mut reader = Reader(&packed.0);
        let _at_ms = reader.number();
        reader.number().unwrap_or(0)
    }

    /// When a sample was read, in milliseconds since 1970.
    #[must_use]
    pub fn at_ms(packed: &Packed) -> u64 {
        Reader(&packed.0).number().unwrap_or(0)
    }

    /// Reads one sample of this history.
    #[must_use]
    pub fn unpack(&self, packed: &Packed) -> Sample {
        let mut reader = Reader(&packed.0);
        let at_ms = reader.number().unwrap_or(0);
        let moment_ns = reader.number().unwrap_or(0);
        let [
            cpu,
            quota,
            throttled,
            rss,
            limit,
            threads,
            tasks,
            read,
            written,
            received,
            sent,
        ] = reader.masked();
        let mut sample = Sample {
            at_ms,
            moment_ns,
            cpu_cores: unscaled(cpu),
            quota_cores: unscaled(quota),
            throttled_share: unscaled(throttled),
            rss_bytes: rss,
            memory_limit_bytes: limit,
            threads,
            tasks,
            read_bytes_per_s: unscaled(read),
            written_bytes_per_s: unscaled(written),
            received_bytes_per_s: unscaled(received),
            sent_bytes_per_s: unscaled(sent),
            pools: std::collections::BTreeMap::new(),
        };
        while let Some(index) = reader.number() {
            let pool = pool_sample(reader.masked());
            let name = usize::try_from(index)
                .ok()
                .and_then(|at| self.names.get(at));
            if let Some(name) = name {
                sample.pools.insert(name.clone(), pool);
            }
        }
        sample
    }

    fn index(&mut self, name: &PoolName) -> Option<u64> {
        let known = self.names.iter().position(|known| known == name);
        let at = match known {
            Some(at) => at,
            None if self.names.len() < NAMES_MAX => {
                Arc::make_mut(&mut self.names).push(name.clone());
                self.names.len() - 1
            }
            None => return None,
        };
        u64::try_from(at).ok()
    }
}

fn pool_figures(pool: &PoolSample) -> [Option<u64>; 14] {
    [
        pool.workers,
        pool.timeout_ms,
        pool.queue_limit,
        fraction(pool.busy),
        fraction(pool.queued),
        fraction(pool.arrivals_per_s),
        fraction(pool.completions_per_s),
        fraction(pool.goodput_per_s),
        fraction(pool.lost_per_s),
        fraction(pool.failed_per_s),
        pool.p50_us,
        pool.p95_us,
        pool.p99_us,
        pool.wait_p95_us,
    ]
}

fn pool_sample(figures: [Option<u64>; 14]) -> PoolSample {
    let [
        workers,
        timeout_ms,
        queue_limit,
        busy,
        queued,
        arrivals,
        completions,
        goodput,
        lost,
        failed,
        p50_us,
        p95_us,
        p99_us,
        wait_p95_us,
    ] = figures;
    PoolSample {
        workers,
        timeout_ms,
        queue_limit,
        busy: unscaled(busy),
        queued: unscaled(queued),
        arrivals_per_s: unscaled(arrivals),
        completions_per_s: unscaled(completions),
        goodput_per_s: unscaled(goodput),
        lost_per_s: unscaled(lost),
        failed_per_s: unscaled(failed),
        p50_us,
        p95_us,
        p99_us,
        wait_p95_us,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is finite and not negative, and a cast from float saturates"
)]
fn fraction(value: Option<f64>) -> Option<u64> {
    value
        .filter(|value| value.is_finite() && *value >= 0.0)
        .map(|value| (value * SCALE).round() as u64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to nine hundred thousand million, far above any rate"
)]
fn unscaled(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64 / SCALE)
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn number(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or(0);
            value >>= 7;
            if value == 0 {
                self.bytes.push(low);
                return;
            }
            self.bytes.push(low | 0x80);
        }
    }

    fn masked(&mut self, figures: &[Option<u64>]) {
        let mask = figures
            .iter()
            .enumerate()
            .filter(|(_, figure)| figure.is_some())
            .fold(0, |mask, (bit, _)| mask | 1_u64 << bit);
        self.number(mask);
        for figure in figures.iter().flatten() {
            self.number(*figure);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        let mut shift = 0_u32;
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn masked<const N: usize>(&mut self) -> [Option<u64>; N] {
        let mask = self.number().unwrap_or(0);
        std::array::from_fn(|bit| {
            let there = mask & (1_u64 << bit) != 0;
            there.then(|| self.number()).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn figure() -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(any::<u64>())
    }

    fn decimal() -> impl Strategy<Value = Option<f64>> {
        proptest::option::of((0_u64..10_000_000_000).prop_map(|units| units as f64 / SCALE))
    }

    prop_compose! {
        fn pool()(
            a in (figure(), figure(), figure()),
            b in (decimal(), decimal(), decimal(), decimal(), decimal(), decimal(), decimal()),
            c in (figure(), figure(), figure(), figure()),
        ) -> PoolSample {
            PoolSample {
                workers: a.0, timeout_ms: a.1, queue_limit: a.2,
                busy: b.0, queued: b.1, arrivals_per_s: b.2, completions_per_s: b.3,
                goodput_per_s: b.4, lost_per_s: b.5, failed_per_s: b.6,
                p50_us: c.0, p95_us: c.1, p99_us: c.2, wait_p95_us: c.3,
            }
        }
    }

    prop_compose! {
        fn sample()(
            at in (any::<u64>(), any::<u64>()),
            f in (decimal(), decimal(), decimal()),
            n in (figure(), figure(), figure(), figure()),
            io in (decimal(), decimal(), decimal(), decimal()),
            pools in proptest::collection::btree_map("[a-z]{1,3}", pool(), 0..4),
        ) -> Sample {
            Sample {
                at_ms: at.0, moment_ns: at.1,
                cpu_cores: f.0, quota_cores: f.1, throttled_share: f.2,
                rss_bytes: n.0, memory_limit_bytes: n.1, threads: n.2, tasks: n.3,
                read_bytes_per_s: io.0, written_bytes_per_s: io.1, received_bytes_per_s: io.2, sent_bytes_per_s: io.3,
                pools: pools.into_iter().map(|(name, pool)| (PoolName::from(name), pool)).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_the_same(samples in proptest::collection::vec(sample(), 1..5)) {
            let mut history = SampleHistory::new(100, 1 << 20);
            for sample in &samples {
                history.push(sample);
            }
            let back: Vec<Sample> = history.packed().map(|packed| history.unpack(packed)).collect();
            prop_assert_eq!(back, samples.clone());
            let moments: Vec<u64> = history.packed().map(SampleHistory::moment_ns).collect();
            prop_assert_eq!(moments, samples.iter().map(|sample| sample.moment_ns).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_number_is_absent_and_not_zero() {
        let mut history = SampleHistory::new(10, 1_000);
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            history.push(&Sample {
                cpu_cores: Some(bad),
                ..Sample::default()
            });
        }
        assert!(
            history
                .packed()
                .all(|packed| history.unpack(packed).cpu_cores.is_none())
        );
    }

    #[test]
    fn an_hour_of_one_pool_fits_in_half_a_megabyte() {
        let pool = PoolSample {
            workers: Some(64),
            timeout_ms: Some(30_000),
            queue_limit: Some(1_000),
            busy: Some(61.1234),
            queued: Some(103.5),
            arrivals_per_s: Some(1_234.5),
            completions_per_s: Some(1_200.25),
            goodput_per_s: Some(1_190.125),
            lost_per_s: Some(3.0),
            failed_per_s: Some(0.5),
            p50_us: Some(41_000),
            p95_us: Some(91_000),
            p99_us: Some(231_000),
            wait_p95_us: Some(55_000),
        };
        let sample = Sample {
            at_ms: 1_790_000_000_000,
            moment_ns: 900_000_000_000_000,
            cpu_cores: Some(1.75),
            quota_cores: Some(2.0),
            throttled_share: Some(0.01),
            rss_bytes: Some(700 << 20),
            memory_limit_bytes: Some(2 << 30),
            threads: Some(80),
            tasks: Some(900),
            read_bytes_per_s: Some(0.0),
            written_bytes_per_s: Some(20_480.5),
            received_bytes_per_s: Some(1_250_000.25),
            sent_bytes_per_s: Some(12_500_000.25),
            pools: BTreeMap::from([(PoolName::from("web"), pool)]),
        };
        let mut history = SampleHistory::new(3_600, 1 << 20);
        for _ in 0..3_600 {
            history.push(&sample);
        }
        assert!(history.len() >= 3_500, "{}", history.len());
        assert!(history.bytes() < 512 * 1024, "{}", history.bytes());
    }
}
