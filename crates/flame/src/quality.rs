//! How good a profile is, in numbers that stand on every graph.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How good a profile is, and what could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How the samples were taken.
    pub collector: String,
    /// Samples in all.
    pub samples: u64,
    /// Of these, how many have all their calls up to the beginning of their thread.
    pub complete: u64,
    /// How many end where the copy of the stack ended.
    pub truncated: u64,
    /// How many end because the tables for unwinding led nowhere.
    pub broken: u64,
    /// Samples whose innermost call has no name.
    pub unknown: u64,
    /// Samples that the kernel could not hand over.
    pub lost: u64,
    /// Samples a second of CPU time that were asked for; 0 where there is no rate.
    pub hz: u32,
    /// How long it took, in milliseconds.
    pub window_ms: u64,
    /// How much of a stack was copied, in bytes; 0 where none was.
    pub stack_bytes: u32,
    /// How many threads were seen.
    pub threads: u64,
    /// What could not be seen, each in a sentence with what would help.
    pub unseen: Vec<String>,
}

impl Quality {
    /// The share of the samples with all their calls, in percent.
    #[must_use]
    pub fn complete_percent(&self) -> f64 {
        self.share(self.complete)
    }

    /// The share of the samples without a name for their innermost call, in percent.
    #[must_use]
    pub fn unknown_percent(&self) -> f64 {
        self.share(self.unknown)
    }

    /// A count as a share of all samples, in percent; 100 of none.
    fn share(&self, count: u64) -> f64 {
        if self.samples == 0 {
            return 100.0;
        }
        float(count) / float(self.samples) * 100.0
    }

    /// Adds what another part of the same profile says.
    pub(crate) fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.complete += other.complete;
        self.truncated += other.truncated;
        self.broken += other.broken;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.threads = self.threads.max(other.threads);
        for sentence in &other.unseen {
            if !self.unseen.contains(sentence) {
                self.unseen.push(sentence.clone());
            }
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} samples, {:.1} % complete, {} truncated, {} broken, {:.1} % unknown, {} lost; {}",
            self.samples,
            self.complete_percent(),
            self.truncated,
            self.broken,
            self.unknown_percent(),
            self.lost,
            self.collector,
        )?;
        if self.hz > 0 {
            write!(out, " at {} Hz", self.hz)?;
        }
        write!(
            out,
            ", {}.{} s",
            self.window_ms / 1_000,
            self.window_ms % 1_000 / 100
        )?;
        for sentence in &self.unseen {
            write!(out, "; not seen: {sentence}")?;
        }
        Ok(())
    }
}

/// A count as a number to divide by. Beyond 2^53 the last digits are lost, which no share shows.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of samples are far below 2^53, and a share shows three digits"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_all_that_a_reader_must_know() {
        let quality = Quality {
            collector: "perf, user frames".to_owned(),
            samples: 200,
            complete: 199,
            truncated: 1,
            unknown: 3,
            hz: 99,
            window_ms: 10_049,
            unseen: vec!["the kernel's frames".to_owned()],
            ..Quality::default()
        };
        let expected = "200 samples, 99.5 % complete, 1 truncated, 0 broken, 1.5 % unknown, 0 lost; perf, user frames at 99 Hz, \
                        10.0 s; not seen: the kernel's frames";
        assert_eq!(quality.to_string(), expected);
    }

    #[test]
    fn of_no_samples_none_is_incomplete() {
        assert!((Quality::default().complete_percent() - 100.0).abs() < f64::EPSILON);
    }
}
