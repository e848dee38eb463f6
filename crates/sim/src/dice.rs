//! Seeded randomness: xoshiro256++, whose output is part of its definition, and exp, ln and cos from `libm`, so a seed gives the
//! same run on any machine.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// One stream of random figures.
#[derive(Clone, Debug)]
pub struct Dice {
    source: Xoshiro256PlusPlus,
    spare: Option<f64>,
}

/// 2^-53: a double's fraction has 53 bits.
const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;

impl Dice {
    /// The stream of a seed with a number of its own: streams of one seed do not depend on each other.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        // The golden ratio's bits, as SplitMix64 uses them to spread what lies close together.
        let spread = stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            source: Xoshiro256PlusPlus::seed_from_u64(seed.rotate_left(32) ^ spread),
            spare: None,
        }
    }

    /// At least 0 and below 1, evenly.
    pub fn share(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 * UNIT
    }

    /// Between two bounds, evenly.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    /// Between two bounds above zero, evenly in the logarithm.
    pub fn log_between(&mut self, low: f64, high: f64) -> f64 {
        libm::exp(self.between(libm::log(low), libm::log(high)))
    }

    /// A whole number below a limit, evenly; 0 when the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.source.next_u64()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Exponential with a mean of 1.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.share())
    }

    /// Standard normal, by Box and Muller's formula; each draw of two is kept for the next call.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = libm::sqrt(2.0 * self.exponential());
        let (sine, cosine) = libm::sincos(std::f64::consts::TAU * self.share());
        self.spare = Some(radius * sine);
        radius * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_and_another_stream_differs() {
        let draw = |seed, stream| {
            let mut dice = Dice::new(seed, stream);
            [dice.share(), dice.normal(), dice.exponential()].map(f64::to_bits)
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First output of xoshiro256++ seeded by SplitMix64 from 0, as its authors' code gives it.
        let mut source = Xoshiro256PlusPlus::seed_from_u64(0);
        assert_eq!(source.next_u64(), 0x5317_5d61_490b_23df);
    }

    #[test]
    fn draws_have_their_mean_and_spread() {
        let mut dice = Dice::new(7, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| dice.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.02, "{variance}");
        let waits = (0..100_000).map(|_| dice.exponential()).sum::<f64>() / 1e5;
        assert!((waits - 1.0).abs() < 0.02, "{waits}");
    }
}
