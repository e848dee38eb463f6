//! What a trial found, in words.

use super::{figure, millis, too_few, with_error};
use trimtab_protocol::decision::Verdict;

/// A verdict as the end of a sentence.
pub(super) fn found(verdict: &Verdict) -> String {
    match *verdict {
        Verdict::GoodputRose {
            gain_per_s,
            error_per_s,
        } => {
            format!("goodput rose by {}", with_error(gain_per_s, error_per_s))
        }
        Verdict::TailFell { before_us, now_us } => format!(
            "goodput is the same and the 99th percentile fell from {} to {}",
            millis(before_us),
            millis(now_us)
        ),
        Verdict::SameForLess {
            gain_per_s,
            error_per_s,
        } => format!(
            "goodput is the same with fewer workers, a difference of {}",
            with_error(gain_per_s, error_per_s)
        ),
        Verdict::GoodputFell {
            loss_per_s,
            error_per_s,
        } => {
            format!("goodput fell by {}", with_error(loss_per_s, error_per_s))
        }
        Verdict::ErrorsRose {
            before_per_s,
            now_per_s,
        } => format!(
            "failures rose from {} to {} a second",
            figure(before_per_s),
            figure(now_per_s)
        ),
        Verdict::TailRose { before_us, now_us } => format!(
            "goodput is the same and the 99th percentile rose from {} to {}",
            millis(before_us),
            millis(now_us)
        ),
        Verdict::NoDifference {
            gain_per_s,
            error_per_s,
        } => format!(
            "no difference was found beyond chance, {}",
            with_error(gain_per_s, error_per_s)
        ),
        Verdict::Pooled { ratio } => format!(
            "the two windows alone do not tell, and all that was seen of this pool says {} times the throughput",
            figure(ratio)
        ),
        Verdict::NothingWaits => "nothing waits any more".to_owned(),
        Verdict::LoadMoved {
            before_per_s,
            now_per_s,
        } => format!(
            "the load moved from {} to {} arrivals a second, too much to compare",
            figure(before_per_s),
            figure(now_per_s)
        ),
        Verdict::TooFew { completed, needed } => too_few(completed, needed),
    }
}
