//! Whether more work fails by itself under a trial than before it.

use crate::number::fraction;
use trimtab_protocol::decision::{Verdict, WindowFigures};

/// A rise in the share that fails must exceed this many standard errors ...
const Z_FAILURES: f64 = 3.0;
/// ... and this share.
const FAILURES_LEAST: f64 = 0.01;

/// Whether a larger share of the work that ends fails by itself: two shares of counts, with their pooled binomial error.
#[must_use]
pub fn failures_rose(before: &WindowFigures, now: &WindowFigures) -> Option<Verdict> {
    let failed = |figures: &WindowFigures| figures.failed_per_s * figures.seconds;
    let ended = |figures: &WindowFigures| fraction(figures.completed) + failed(figures);
    let (were, are) = (ended(before), ended(now));
    if were < 1.0 || are < 1.0 {
        return None;
    }
    let rise = failed(now) / are - failed(before) / were;
    let pooled = (failed(before) + failed(now)) / (were + are);
    let error = (pooled * (1.0 - pooled) * (1.0 / were + 1.0 / are))
        .max(0.0)
        .sqrt();
    (rise > FAILURES_LEAST && rise > Z_FAILURES * error).then_some(Verdict::ErrorsRose {
        before_per_s: before.failed_per_s,
        now_per_s: now.failed_per_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(completed: u64, failed_per_s: f64) -> WindowFigures {
        WindowFigures {
            seconds: 10.0,
            completed,
            failed_per_s,
            ..WindowFigures::default()
        }
    }

    #[test]
    fn a_rise_in_failures_is_told_from_chance() {
        let few = failures_rose(&figures(1_000, 0.0), &figures(1_000, 0.5));
        assert_eq!(few, None);
        let many = failures_rose(&figures(1_000, 1.0), &figures(900, 11.0));
        assert!(matches!(many, Some(Verdict::ErrorsRose { .. })));
        assert_eq!(failures_rose(&figures(0, 0.0), &figures(900, 11.0)), None);
    }
}
