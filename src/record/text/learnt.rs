//! What a pool's policy has learnt, as the rest of a sentence after a colon.

use super::{figure, millis, percent};
use trimtab_protocol::decision::Reason;

/// The reasons that come from what was learnt of a pool; every other is empty here.
pub(super) fn because(reason: &Reason) -> String {
    match *reason {
        Reason::HarmBudget {
            predicted_share,
            spent_share,
            allowed_share,
        } => format!(
            "it is predicted to cost {} of a minute's work, after {}, and {} are allowed",
            share(predicted_share),
            share(spent_share),
            share(allowed_share)
        ),
        Reason::Climbing {
            service_us,
            arrivals_per_s,
        } => format!(
            "{} arrivals a second of {} each need that many workers",
            figure(arrivals_per_s),
            millis(service_us)
        ),
        Reason::Predicted { sizes, gain_share } => format!(
            "the curve through {} promises {} there",
            match sizes {
                1 => "the one size that was seen".to_owned(),
                more => format!("{more} sizes that were seen"),
            },
            share(gain_share)
        ),
        Reason::QueueFollows { done_per_s, p99_us } => format!(
            "at {} a second and {} for the slowest of a hundred, no more than that is served in time",
            figure(done_per_s),
            millis(p99_us)
        ),
        Reason::TimeoutFollows { p999_us, successes } => format!(
            "of {successes} successes all but one in a thousand took at most {}",
            millis(p999_us)
        ),
        Reason::Relaxed { needed } => {
            format!("nothing waited for a while, and {needed} workers are enough")
        }
        Reason::NeedsNoProof => {
            "a return to what was proven, or to what people chose, needs no proof".to_owned()
        }
        _ => of_the_service(reason),
    }
}

/// The reasons that tell of the load and of the service behind the pool.
fn of_the_service(reason: &Reason) -> String {
    match *reason {
        Reason::Surge {
            before_per_s,
            now_per_s,
        } => format!(
            "arrivals jumped from {} to {} a second, so back to the size that people chose",
            figure(before_per_s),
            figure(now_per_s)
        ),
        Reason::Suspicious { slower } => format!(
            "jobs take {} than was known of this size, and whether the service changed is not sure yet",
            longer(slower)
        ),
        Reason::ServiceChanged {
            slower,
            expected_us,
            seen_us,
        } => format!(
            "the service behind the pool changed: jobs take {}, {} and not {}",
            longer(slower),
            millis(seen_us),
            millis(expected_us)
        ),
        Reason::KnownAgain { workers } => format!(
            "the service is as it was before it changed, and {workers} workers were right for that"
        ),
        Reason::Collapsed {
            workers,
            before_per_s,
            now_per_s,
        } => format!(
            "{workers} workers did {} a second, and now it is {}",
            figure(before_per_s),
            figure(now_per_s)
        ),
        Reason::TooLate { service_us, slo_us } => format!(
            "a job takes {} or more once it is begun, beyond the goal of {}, so nothing is in time at this size",
            millis(service_us),
            millis(slo_us)
        ),
        _ => String::new(),
    }
}

fn longer(slower: bool) -> &'static str {
    if slower { "longer" } else { "less time" }
}

/// A share with its sign, to a tenth of a percent where it is small.
fn share(value: f64) -> String {
    if value.abs() < 0.1 {
        format!("{:.1} %", value * 100.0)
    } else {
        percent(value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One of each reason that is told here.
    pub(in crate::record::text) fn reasons() -> Vec<Reason> {
        vec![
            Reason::HarmBudget {
                predicted_share: 0.012,
                spent_share: 0.008,
                allowed_share: 0.015,
            },
            Reason::Climbing {
                service_us: 50_000,
                arrivals_per_s: 605.0,
            },
            Reason::Predicted {
                sizes: 4,
                gain_share: 0.12,
            },
            Reason::Surge {
                before_per_s: 10.0,
                now_per_s: 402.0,
            },
            Reason::Suspicious { slower: true },
            Reason::ServiceChanged {
                slower: false,
                expected_us: 90_000,
                seen_us: 40_000,
            },
            Reason::KnownAgain { workers: 24 },
            Reason::Collapsed {
                workers: 8,
                before_per_s: 402.0,
                now_per_s: 120.0,
            },
            Reason::TooLate {
                service_us: 4_100_000,
                slo_us: 2_600_000,
            },
            Reason::QueueFollows {
                done_per_s: 480.0,
                p99_us: 90_000,
            },
            Reason::TimeoutFollows {
                p999_us: 700_000,
                successes: 1_800,
            },
            Reason::Relaxed { needed: 20 },
            Reason::NeedsNoProof,
        ]
    }

    #[test]
    fn every_reason_of_the_policy_has_its_words() {
        for reason in reasons() {
            assert!(!because(&reason).is_empty(), "{reason:?} has no words");
        }
    }
}
