//! How a trial came out.

use serde::{Deserialize, Serialize};

/// How a comparison of two windows came out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// Goodput rose beyond its standard error.
    GoodputRose {
        /// By how much, a second.
        gain_per_s: f64,
        /// Its standard error.
        error_per_s: f64,
    },
    /// Goodput is the same and the 99th percentile fell beyond its standard error.
    TailFell {
        /// The 99th percentile before, in microseconds.
        before_us: u64,
        /// And now.
        now_us: u64,
    },
    /// Goodput is the same with fewer workers.
    SameForLess {
        /// By how much it changed, a second.
        gain_per_s: f64,
        /// The standard error of that.
        error_per_s: f64,
    },
    /// Goodput fell beyond its standard error.
    GoodputFell {
        /// By how much, a second, as a positive number.
        loss_per_s: f64,
        /// Its standard error.
        error_per_s: f64,
    },
    /// More work fails by itself than before.
    ErrorsRose {
        /// Failures a second before.
        before_per_s: f64,
        /// And now.
        now_per_s: f64,
    },
    /// Goodput is the same and the 99th percentile rose beyond its standard error.
    TailRose {
        /// The 99th percentile before, in microseconds.
        before_us: u64,
        /// And now.
        now_us: u64,
    },
    /// No difference was found in the time allowed.
    NoDifference {
        /// What was seen, a second.
        gain_per_s: f64,
        /// Its standard error.
        error_per_s: f64,
    },
    /// The windows alone do not tell; the curve through all that was seen of this pool does.
    Pooled {
        /// Throughput at the new size over that at the old one.
        ratio: f64,
    },
    /// Nothing waits any more at the new size.
    NothingWaits,
    /// The load moved too much between the windows for a comparison.
    LoadMoved {
        /// Arrivals a second before.
        before_per_s: f64,
        /// And now.
        now_per_s: f64,
    },
    /// Too little work came to tell.
    TooFew {
        /// Completions seen.
        completed: u64,
        /// Completions needed.
        needed: u64,
    },
}
