//! Growth to what the work itself demands: by Little's law, as long as jobs do not crowd each other.
//!
//! Arrivals times residence is the number in service that the load needs. That holds only with a residence that is not
//! inflated by the pool's own crowd: growing on an inflated one feeds on itself and runs away.

use super::verdict::POOLED_DOWN;
use super::{Policy, Proposal, Purpose, Sight};
use crate::ablation::{Part, lacks};
use crate::number::{fraction, whole};
use trimtab_protocol::decision::Reason;

/// A stride multiplies the size by at most this.
const STRIDE: f64 = 4.0;
/// ... and where only full ticks at one size were seen, its residence may be inflated: such a stride is shortened.
const STRIDE_BLIND: f64 = 2.5;
/// A rise of so many standard deviations and this share within one tick is sized for before it has arrived.
const RISE: (f64, f64) = (5.0, 0.5);
/// Jobs do not crowd each other while they take at most so many times what they do among fewer ...
const LEAN: f64 = 2.0;
/// ... which were seen at this part of the size.
const LEAN_AT: f64 = 0.7;
/// A number in service up to so many times the size is that size.
const SAME_SIZE: f64 = 1.1;
/// A climb whose last stride showed less than this elasticity may have jumped over the knee.
const LOOK_BACK_BELOW: f64 = 0.65;

impl Policy {
    /// The load rises beyond chance within one tick: size for where it will be when the change has taken effect.
    pub(super) fn ahead_of_a_rise(&mut self, sight: &Sight<'_>) -> Option<Proposal> {
        if lacks(Part::Rise) {
            return None;
        }
        let (now, size) = (sight.now_s, sight.size());
        let rises = self.climbing && self.up.is_over(now) && self.arrivals.rose(RISE.0, RISE.1);
        if !rises || self.is_roomy_home(sight) {
            return None;
        }
        let residence = self.cells.residence_least()?;
        let lean = self.lean.is_some_and(|(_, at)| at <= LEAN_AT * size);
        if size > 2.0 * sight.cores() && !lean {
            return None;
        }
        let coming = self.arrivals.now() + 2.0 * self.arrivals.rise();
        let to = with_margin(coming * residence)
            .min(2.0 * size)
            .min(self.most(sight));
        if to < size + step_least(size) {
            return None;
        }
        self.owes_look = true;
        let reason = self.climb_reason(residence, coming);
        self.go(sight, to, Purpose::Climb, reason)
    }

    /// Whether the profile names a size to go to first that lies ahead: nothing was undone or taken back so far, and nothing is
    /// known beyond the present size.
    pub(super) fn start_is_ahead(&self, sight: &Sight<'_>) -> bool {
        let size = sight.size();
        self.unproven
            && fraction(sight.start) >= size + step_least(size)
            && self.cells.largest() <= SAME_SIZE * size
    }

    /// Whether a proposal is the way to that size; room for jobs that hang is not.
    #[must_use]
    pub fn goes_to_start(&self, sight: &Sight<'_>, proposal: &Proposal) -> bool {
        let waits = matches!(proposal.reason, Reason::Starved { .. });
        let climbs = proposal.purpose == Purpose::Climb && !self.is_hung(sight);
        climbs && waits && self.start_is_ahead(sight)
    }

    /// The first growth goes to the size that the profile names, by steps that are proven like any other.
    pub(super) fn first_growth(&mut self, sight: &Sight<'_>, most: f64) -> Option<Proposal> {
        let (size, start) = (sight.size(), fraction(sight.start));
        let to = start.min(most);
        if !self.start_is_ahead(sight)
            || !self.up.is_over(sight.now_s)
            || to < size + step_least(size)
        {
            return None;
        }
        self.owes_look = true;
        let (queued, lost_per_s) = self.waiting();
        let reason = Reason::Starved { queued, lost_per_s };
        self.go(sight, to, Purpose::Climb, reason)
    }

    /// A stride up to what the load needs.
    pub(super) fn climb(&mut self, sight: &Sight<'_>, most: f64) -> Option<Proposal> {
        if lacks(Part::Climb) {
            return None;
        }
        let (now, size) = (sight.now_s, sight.size());
        self.note_leanest();
        if !self.climbing || !self.up.is_over(now) || !self.is_lean(sight) {
            return None;
        }
        let needed = self.needed_by_little(size);
        let mut to = needed.min(STRIDE * size).min(most);
        if self.cells.count() < 2 && to > STRIDE_BLIND * size && !self.was_calm {
            to = (size * to).sqrt().max(2.0 * size);
        }
        if to < size + step_least(size) {
            self.climbing = false;
            return None;
        }
        if !lacks(Part::KnownClimb) && self.is_known_to_lose(sight, to) {
            self.climbing = false;
            return None;
        }
        self.owes_look = true;
        let residence = self
            .cells
            .residence_least()
            .unwrap_or_else(|| self.flow.residence_s());
        let reason = self.climb_reason(residence, self.arrivals.now().max(self.arrivals.fast()));
        self.go(sight, to, Purpose::Climb, reason)
    }

    /// Whether what was seen near a size, and at three sizes or more, says that it does less than the present one.
    pub(super) fn is_known_to_lose(&self, sight: &Sight<'_>, to: f64) -> bool {
        let seen = self.cells.weight_within(sight.now_s, 0.75 * to, 1.33 * to);
        let shape = self.known_shape().filter(|_| seen > super::ENOUGH);
        shape.is_some_and(|shape| {
            let promise = self.promise(sight, shape);
            promise.goodput(to) < POOLED_DOWN * promise.goodput(sight.size())
        })
    }

    /// The number in service that the load needs, with the shortest residence known and a margin for chance.
    pub(super) fn needed_by_little(&self, size: f64) -> f64 {
        let here = self
            .cells
            .near(size)
            .map_or(f64::INFINITY, |(residence, _)| residence);
        let residence = self
            .cells
            .residence_least()
            .map_or(here, |least| least.min(here));
        with_margin(self.arrivals.now().max(self.arrivals.fast()) * residence)
    }

    /// Keeps the shortest residence, and the smallest size that it was about seen at.
    fn note_leanest(&mut self) {
        let Some((residence, size)) = self.cells.leanest() else {
            return;
        };
        self.lean = Some(match self.lean {
            Some((known, at)) if residence < known => (
                residence,
                if residence > 0.8 * known {
                    size.min(at)
                } else {
                    size
                },
            ),
            Some((known, at)) if residence < 1.25 * known => (known, at.min(size)),
            Some(lean) => lean,
            None => (residence, size),
        });
    }

    fn is_lean(&self, sight: &Sight<'_>) -> bool {
        let size = sight.size();
        if size <= 2.0 * sight.cores() {
            return true;
        }
        let (Some((least, at)), Some((here, completed))) = (self.lean, self.cells.near(size))
        else {
            return false;
        };
        at <= LEAN_AT * size && here <= LEAN * least && completed >= 2.0 * size
    }

    /// The climb is over: if its last stride paid less than half of its size, the knee may lie inside it. Look once.
    pub(super) fn look_back(&mut self, sight: &Sight<'_>) -> Option<Proposal> {
        if lacks(Part::LookBack) {
            return None;
        }
        self.owes_look = false;
        let size = sight.size();
        let throughput = self.tally.throughput(self.cells.mix());
        let below = self.cells.next_below(0.75 * size);
        let elasticity = below.map_or(1.0, |(smaller, was)| {
            libm::log(throughput / was) / libm::log(size / smaller)
        });
        if elasticity >= LOOK_BACK_BELOW || !self.down.is_over(sight.now_s) {
            return None;
        }
        let (low, high) = self
            .cells
            .edge_below(size, throughput, super::search::EDGE_SHARE);
        let to = (low * high).sqrt().clamp(0.5 * size, 0.8 * size);
        let reason = self.waiting_below();
        self.go(sight, to, Purpose::Look, reason)
    }

    fn climb_reason(&self, residence_s: f64, arrivals_per_s: f64) -> Reason {
        Reason::Climbing {
            service_us: whole(residence_s * 1e6),
            arrivals_per_s,
        }
    }
}

/// A demand and two standard deviations of a Poisson number in service.
fn with_margin(demand: f64) -> f64 {
    demand + 2.0 * demand.max(0.0).sqrt()
}

/// The least change of a size that is worth making: a tenth, and at least one.
pub(super) fn step_least(size: f64) -> f64 {
    (0.1 * size).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cells::tests::second;
    use crate::policy::shape;
    use crate::testing::{busy_second, sight};

    /// Where a pool of 16 goes that was at 32 before, where so many come a second and a job takes so long among so many.
    fn climbs_to(arrivals: f64, residence_s: impl Fn(f64) -> f64) -> Option<u64> {
        let mut policy = Policy::default();
        for size in [8.0, 16.0, 32.0] {
            let flow = second(size, residence_s(size));
            (0..6).for_each(|at| policy.cells.add(f64::from(at), &flow, 1.0));
        }
        (0..9).for_each(|_| policy.arrivals.add(arrivals, 1.0));
        policy.shape = shape::fit(&mut policy.cells, 6.0, 1.0, 16.0);
        assert!(
            policy.needed_by_little(16.0) > 30.0,
            "the load asks for more"
        );
        let delta = busy_second(16, 60);
        let mut sight = sight(6.0, 16, &delta);
        sight.cores = Some(16.0);
        let step = policy.climb(&sight, 100.0)?;
        assert_eq!(step.purpose, Purpose::Climb);
        Some(step.value)
    }

    #[test]
    fn nothing_climbs_to_where_less_was_served() {
        // As much again with each worker: up to what a hundred a second need.
        assert_eq!(climbs_to(100.0, |_| 0.3), Some(41));
        // Twice the workers take three times as long.
        let crowded = |size: f64| 0.05 * (1.0 + size * size / 256.0);
        assert_eq!(climbs_to(400.0, crowded), None);
    }
}
