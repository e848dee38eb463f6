//! How large a job is: the time that it takes alone, in seconds.

use crate::dice::Dice;

/// A distribution of work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Every job alike.
    Constant {
        /// Seconds.
        mean: f64,
    },
    /// Exponential.
    Exponential {
        /// Seconds.
        mean: f64,
    },
    /// Log-normal.
    Lognormal {
        /// Seconds.
        mean: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
    /// Pareto; the variance is infinite up to a shape of 2.
    Pareto {
        /// Seconds.
        mean: f64,
        /// The tail's exponent, above 1.
        shape: f64,
    },
    /// Two sizes.
    Bimodal {
        /// Seconds of a small job.
        small: f64,
        /// Seconds of a large job.
        large: f64,
        /// Share of small jobs.
        small_share: f64,
    },
}

impl Work {
    /// The mean, in seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Constant { mean }
            | Self::Exponential { mean }
            | Self::Lognormal { mean, .. }
            | Self::Pareto { mean, .. } => mean,
            Self::Bimodal {
                small,
                large,
                small_share,
            } => small_share * small + (1.0 - small_share) * large,
        }
    }

    /// Draws one job.
    pub fn draw(&self, dice: &mut Dice) -> f64 {
        match *self {
            Self::Constant { mean } => mean,
            Self::Exponential { mean } => mean * dice.exponential(),
            Self::Lognormal { mean, cv } => {
                let variance = libm::log1p(cv * cv);
                mean * libm::exp(libm::sqrt(variance) * dice.normal() - variance / 2.0)
            }
            Self::Pareto { mean, shape } => {
                let smallest = mean * (shape - 1.0) / shape;
                smallest * libm::exp(dice.exponential() / shape)
            }
            Self::Bimodal {
                small,
                large,
                small_share,
            } => {
                if dice.share() < small_share {
                    small
                } else {
                    large
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(work: Work) -> (f64, f64) {
        let mut dice = Dice::new(3, 0);
        let draws: Vec<f64> = (0..200_000).map(|_| work.draw(&mut dice)).collect();
        let mean = draws.iter().sum::<f64>() / 2e5;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 2e5;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn each_distribution_has_its_mean_and_its_spread() {
        let cases = [
            (Work::Constant { mean: 0.05 }, 0.0),
            (Work::Exponential { mean: 0.05 }, 1.0),
            (
                Work::Lognormal {
                    mean: 0.05,
                    cv: 0.5,
                },
                0.5,
            ),
            (
                Work::Pareto {
                    mean: 0.05,
                    shape: 4.0,
                },
                1.0 / 8_f64.sqrt(),
            ),
            (
                Work::Bimodal {
                    small: 0.011,
                    large: 0.4,
                    small_share: 0.9,
                },
                0.1167 / 0.0499,
            ),
        ];
        for (work, spread) in cases {
            let (mean, cv) = moments(work);
            assert!((mean / work.mean() - 1.0).abs() < 0.02, "{work:?}: {mean}");
            assert!(
                (cv - spread).abs() < 0.03 * spread.max(1.0),
                "{work:?}: {cv}"
            );
        }
    }
}
