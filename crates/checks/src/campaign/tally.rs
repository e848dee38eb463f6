//! What a history is made of, in numbers.

use super::Fault;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks at which a controller decided.
    pub ticks: u64,
    /// Faults, by [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Trials that the host began.
    pub tried: u64,
    /// Trials that were confirmed.
    pub confirmed: u64,
    /// Trials that the host ended by itself.
    pub expired: u64,
    /// Changes that the host refused.
    pub refused: u64,
    /// Requests that were answered again.
    pub repeated: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.faults.iter_mut().zip(other.faults) {
            *sum += more;
        }
        for (sum, more) in [
            (&mut self.ticks, other.ticks),
            (&mut self.tried, other.tried),
            (&mut self.confirmed, other.confirmed),
            (&mut self.expired, other.expired),
            (&mut self.refused, other.refused),
            (&mut self.repeated, other.repeated),
        ] {
            *sum += more;
        }
    }

    pub(super) fn note(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }
}
