//! The load: when each request is due, and what it asks for. Both phases get the same, to the microsecond.
//!
//! Requests are due at random moments (a Poisson process) with the rate of their pool, whether earlier ones were answered or
//! not, as it is with clients who do not know of each other. In the middle third there are half as many again.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// The rate in the middle third of a phase, as a multiple of the base.
pub(crate) const SURGE: f64 = 1.5;
/// Payments and pages choose among this many customers and accounts.
const CUSTOMERS: u64 = 500;

/// What is asked of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    /// The pool.
    pub(crate) pool: &'static str,
    /// Requests a second, outside the surge.
    pub(crate) rate_per_s: f64,
    /// An answer counts as good when it comes within this time.
    pub(crate) slo: Duration,
    /// The receipt that goes with a payment.
    receipt: Bytes,
}

/// One request of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// When it is due, from the phase's begin.
    pub(crate) due: Duration,
    /// The phase's third in which it is due: 0, 1 or 2.
    pub(crate) third: usize,
    /// A random word that chooses what it asks for.
    pub(crate) word: u64,
}

impl Workload {
    /// The three pools' workloads, each with the goal of its profile.
    pub(crate) fn all(slo: impl Fn(&str) -> anyhow::Result<Duration>) -> anyhow::Result<Vec<Self>> {
        let receipt = Bytes::from(receipt());
        [("web", 300.0), ("api", 165.0), ("background", 12.0)]
            .into_iter()
            .map(|(pool, rate_per_s)| {
                Ok(Self {
                    pool,
                    rate_per_s,
                    slo: slo(pool)?,
                    receipt: receipt.clone(),
                })
            })
            .collect()
    }

    /// The schedule of a phase; the same seed yields the same.
    pub(crate) fn schedule(&self, length: Duration, surge: f64, seed: u64) -> Vec<Arrival> {
        let name: u64 = self.pool.bytes().map(u64::from).sum();
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(name));
        let peak_per_s = self.rate_per_s * surge.max(1.0);
        let end_s = length.as_secs_f64();
        let mut arrivals = Vec::new();
        let mut at_s = 0.0;
        loop {
            // Candidates come at the peak's rate all the time, and outside the surge some are passed over.
            at_s -= (1.0 - random.f64()).ln() / peak_per_s;
            let (chance, word) = (random.f64(), random.u64(..));
            if at_s >= end_s {
                return arrivals;
            }
            let third = usize::from(at_s >= end_s / 3.0) + usize::from(at_s >= end_s * 2.0 / 3.0);
            let rate_per_s = self.rate_per_s * if third == 1 { surge } else { 1.0 };
            if chance < rate_per_s / peak_per_s {
                arrivals.push(Arrival {
                    due: Duration::from_secs_f64(at_s),
                    third,
                    word,
                });
            }
        }
    }

    /// The request of an arrival.
    pub(crate) fn request(
        &self,
        host: SocketAddr,
        word: u64,
    ) -> hyper::http::Result<Request<Full<Bytes>>> {
        let (one, other) = (word % CUSTOMERS, (word >> 32) % CUSTOMERS);
        let (method, path, body) = match self.pool {
            "web" => ("GET", format!("/pages/{one}"), Bytes::new()),
            "api" => (
                "POST",
                format!("/payments/{one}/{other}/5"),
                self.receipt.clone(),
            ),
            _ => ("POST", "/jobs?wait=true".to_owned(), Bytes::new()),
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", host.to_string())
            .body(Full::new(body))
    }
}

/// A receipt of some 16 KiB that compresses about as well as such texts do.
fn receipt() -> String {
    let mut random = fastrand::Rng::with_seed(42);
    let mut text = String::new();
    while text.len() < 16 * 1024 {
        let (article, count, cents) = (
            random.u32(..100_000),
            random.u32(1..9),
            random.u32(99..99_999),
        );
        // Writing to a string cannot fail.
        writeln!(
            text,
            "article {article:06} count {count} price {cents} seller {:016x}",
            random.u64(..)
        )
        .expect("a string takes all text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(rate_per_s: f64) -> Workload {
        Workload {
            pool: "web",
            rate_per_s,
            slo: Duration::from_millis(500),
            receipt: Bytes::new(),
        }
    }

    #[test]
    fn the_same_seed_yields_the_same_schedule_and_another_yields_another() {
        let length = Duration::from_secs(3);
        let first = workload(100.0).schedule(length, SURGE, 1);
        assert_eq!(first, workload(100.0).schedule(length, SURGE, 1));
        assert_ne!(first, workload(100.0).schedule(length, SURGE, 2));
    }

    #[test]
    fn arrivals_are_in_order_and_half_as_many_again_come_in_the_middle() {
        let arrivals = workload(1_000.0).schedule(Duration::from_secs(30), SURGE, 3);
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.due));
        let in_third = |third| {
            arrivals
                .iter()
                .filter(|arrival| arrival.third == third)
                .count()
        };
        // Ten thousand expected, with a standard deviation of a hundred.
        assert!((9_500..10_500).contains(&in_third(0)), "{}", in_third(0));
        assert!((14_400..15_600).contains(&in_third(1)), "{}", in_third(1));
        assert!((9_500..10_500).contains(&in_third(2)), "{}", in_third(2));
    }

    #[test]
    fn gaps_between_arrivals_vary_as_much_as_their_mean() {
        let arrivals = workload(1_000.0).schedule(Duration::from_secs(30), 1.0, 4);
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1].due - pair[0].due).as_secs_f64())
            .collect();
        let count = f64::from(u32::try_from(gaps.len()).expect("few"));
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        assert!(
            (0.9..1.1).contains(&(variance.sqrt() / mean)),
            "{mean} {variance}"
        );
    }
}
