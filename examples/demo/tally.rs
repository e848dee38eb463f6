//! What came back: counts by kind, and how long answers took from the moment at which their request was due.
//!
//! Time is counted from when a request was due and not from when it went out, so that a generator that is held up by a slow
//! host does not make the host look faster than its clients would find it.

use super::client::Answer;
use hdrhistogram::Histogram;
use hyper::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Beyond this an answer's time counts as this; the generator gives up long before.
const LONGEST_US: u64 = 60_000_000;

/// What became of a request that brought no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// Turned away: 503.
    Full,
    /// Given up by the host: 504.
    TimedOut,
    /// There was no connection, or it broke off.
    Connection,
    /// Another status.
    Other,
    /// Given up by the generator.
    Unanswered,
}

/// All answers of one pool in one phase.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    slo: Duration,
    /// Requests by the phase's third.
    pub(crate) offered: [u64; 3],
    /// Successes within the slo, by the phase's third.
    pub(crate) good: [u64; 3],
    /// Successes beyond the slo; they are no errors, and not good either.
    pub(crate) late: u64,
    /// What brought no success, by kind.
    pub(crate) troubles: BTreeMap<Trouble, u64>,
    success_us: Histogram<u64>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new(slo: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            slo,
            offered: [0; 3],
            good: [0; 3],
            late: 0,
            troubles: BTreeMap::new(),
            success_us: Histogram::new_with_bounds(1, LONGEST_US, 3)?,
        })
    }

    /// Counts an answer, or the lack of one, to a request that was due in a third of the phase.
    pub(crate) fn count(&mut self, third: usize, answer: Option<Answer>, took: Duration) {
        self.offered[third] += 1;
        let trouble = match answer {
            Some(Answer::Status(status)) if status.is_success() => {
                self.success_us
                    .saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                if took <= self.slo {
                    self.good[third] += 1;
                } else {
                    self.late += 1;
                }
                return;
            }
            Some(Answer::Status(StatusCode::SERVICE_UNAVAILABLE)) => Trouble::Full,
            Some(Answer::Status(StatusCode::GATEWAY_TIMEOUT)) => Trouble::TimedOut,
            Some(Answer::Status(_)) => Trouble::Other,
            Some(Answer::NoConnection | Answer::Broken) => Trouble::Connection,
            None => Trouble::Unanswered,
        };
        *self.troubles.entry(trouble).or_default() += 1;
    }

    /// All that brought no success.
    pub(crate) fn errors(&self) -> u64 {
        self.troubles.values().sum()
    }

    /// A percentile of successes, in milliseconds.
    pub(crate) fn percentile_ms(&self, percentile: f64) -> Option<f64> {
        let micros = self.success_us.value_at_percentile(percentile);
        (!self.success_us.is_empty()).then(|| Duration::from_micros(micros).as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_good_up_to_the_slo_and_late_beyond_it() {
        let mut tally = Tally::new(Duration::from_millis(100)).expect("a tally");
        let ok = Some(Answer::Status(StatusCode::OK));
        tally.count(0, ok, Duration::from_millis(100));
        tally.count(2, ok, Duration::from_millis(101));
        assert_eq!((tally.good, tally.late, tally.errors()), ([1, 0, 0], 1, 0));
        assert_eq!(tally.offered, [1, 0, 1]);
    }

    #[test]
    fn percentiles_are_those_of_successes() {
        let mut tally = Tally::new(Duration::from_millis(100)).expect("a tally");
        for ms in 1..=100 {
            let ok = Some(Answer::Status(StatusCode::OK));
            tally.count(0, ok, Duration::from_millis(ms));
            let full = Some(Answer::Status(StatusCode::SERVICE_UNAVAILABLE));
            tally.count(0, full, Duration::ZERO);
        }
        let p95 = tally.percentile_ms(95.0).expect("there are successes");
        assert!((94.9..95.2).contains(&p95), "{p95}");
    }

    #[test]
    fn every_answer_without_success_is_an_error_of_its_kind() {
        let mut tally = Tally::new(Duration::from_millis(100)).expect("a tally");
        for answer in [
            Some(Answer::Status(StatusCode::SERVICE_UNAVAILABLE)),
            Some(Answer::Status(StatusCode::GATEWAY_TIMEOUT)),
            Some(Answer::Status(StatusCode::BAD_GATEWAY)),
            Some(Answer::NoConnection),
            Some(Answer::Broken),
            None,
        ] {
            tally.count(1, answer, Duration::from_millis(1));
        }
        let counts: Vec<u64> = tally.troubles.values().copied().collect();
        assert_eq!(counts, [1, 1, 2, 1, 1]);
        assert_eq!((tally.good, tally.percentile_ms(50.0)), ([0; 3], None));
    }
}
