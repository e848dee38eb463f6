//! The hill climbing of .NET's thread pool, re-expressed from its published description and defaults: a small wave on the size,
//! and the size follows where throughput answers the wave.

use super::{Bounds, Limit, Window};
use std::collections::VecDeque;

/// Samples in a period of the wave.
const PERIOD: usize = 4;
/// Samples that are looked at: eight periods.
const HISTORY: usize = 8 * PERIOD;
/// What one more worker is worth at least, in shares of throughput.
const THROUGHPUT_RATIO: f64 = 0.15;
const SIGNAL_TO_NOISE: f64 = 3.0;
const GAIN_EXPONENT: f64 = 2.0;
const GAIN: f64 = 5.0;
const MOVE_MAX: f64 = 4.0;
const WAVE_MAX: f64 = 20.0;
const ERROR_SMOOTHING: f64 = 0.01;

pub(super) struct Hill {
    bounds: Bounds,
    centre: f64,
    samples: VecDeque<(f64, f64)>,
    noise: Option<f64>,
    number: usize,
}

impl Hill {
    pub(super) fn new(bounds: Bounds) -> Self {
        let centre = bounds.clamp(bounds.start);
        Self {
            bounds,
            centre,
            samples: VecDeque::new(),
            noise: None,
            number: 0,
        }
    }

    /// How far the centre moves, from the part of throughput that swings with the wave.
    fn direction(&mut self) -> f64 {
        let length = self.samples.len() / PERIOD * PERIOD;
        if length < 2 * PERIOD {
            return 0.0;
        }
        let skip = self.samples.len() - length;
        let recent = || self.samples.iter().skip(skip);
        let rates: Vec<f64> = recent().map(|(rate, _)| *rate).collect();
        let sizes: Vec<f64> = recent().map(|(_, size)| *size).collect();
        let (rate, size) = (mean(&rates), mean(&sizes));
        if rate <= 0.0 || size <= 0.0 {
            return 0.0;
        }
        let count = length as f64;
        let waves = count / PERIOD as f64;
        let swing = component(&rates, PERIOD as f64).over(rate);
        let push = component(&sizes, PERIOD as f64).over(size);
        // What swings at the neighbouring frequency is noise.
        let beside = component(&rates, count / (waves + 1.0)).over(rate).length();
        let noise = self
            .noise
            .map_or(beside, |noise| noise + ERROR_SMOOTHING * (beside - noise));
        self.noise = Some(noise);
        let strength = push.length();
        if strength <= 0.0 {
            return 0.0;
        }
        let worth = Wave(
            swing.0 - THROUGHPUT_RATIO * push.0,
            swing.1 - THROUGHPUT_RATIO * push.1,
        );
        let ratio = (worth.0 * push.0 + worth.1 * push.1) / (strength * strength);
        let trust = (strength / noise.max(beside).max(1e-9) / SIGNAL_TO_NOISE).clamp(0.0, 1.0);
        let step = ratio.clamp(-1.0, 1.0) * trust;
        libm::copysign(libm::pow(step.abs(), GAIN_EXPONENT) * GAIN, step).clamp(-MOVE_MAX, MOVE_MAX)
    }
}

impl Limit for Hill {
    fn update(&mut self, window: &Window) -> f64 {
        self.samples
            .push_back((window.completed as f64 / window.span, window.workers as f64));
        if self.samples.len() > HISTORY {
            self.samples.pop_front();
        }
        let mut step = self.direction();
        if window.cpu_share.is_some_and(|share| share > 0.95) {
            step = step.min(0.0);
        }
        self.number += 1;
        self.centre += step;
        let noise = self.noise.unwrap_or(0.0);
        let wave =
            libm::floor((0.5 + self.centre * noise * SIGNAL_TO_NOISE * 2.0).clamp(1.0, WAVE_MAX));
        self.centre = self.centre.clamp(
            self.bounds.min,
            (self.bounds.max - wave).max(self.bounds.min),
        );
        let up = (self.number / (PERIOD / 2)) % 2 == 1;
        self.bounds.clamp(self.centre + if up { wave } else { 0.0 })
    }

    fn window_s(&self) -> f64 {
        0.2
    }

    fn needs_small_moves(&self) -> bool {
        true
    }
}

/// One component of a signal, as a complex number.
#[derive(Clone, Copy)]
struct Wave(f64, f64);

impl Wave {
    fn over(self, by: f64) -> Self {
        Self(self.0 / by, self.1 / by)
    }

    fn length(self) -> f64 {
        libm::hypot(self.0, self.1)
    }
}

/// The component of a period.
fn component(signal: &[f64], period: f64) -> Wave {
    let step = std::f64::consts::TAU / period;
    let mut wave = Wave(0.0, 0.0);
    for (index, value) in signal.iter().enumerate() {
        let (sine, cosine) = libm::sincos(step * index as f64);
        wave = Wave(wave.0 + value * cosine, wave.1 - value * sine);
    }
    wave.over(signal.len().max(1) as f64)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
