//! The service behind the pool is another one: forget what was learnt, or take what is known of the new one from the shelf.

use super::{LOOK_ABOVE_FIRST_S, Policy, Purpose, Shelf, Sight, Tally, Urge};
use crate::ablation::{Part, lacks};
use crate::model::flow::Flow;
use crate::model::shape;
use crate::model::surprise::{Batch, Surprise};
use crate::number::whole;
use trimtab_protocol::decision::Reason;

/// A service that was seen for less than this many seconds is not worth a place on the shelf.
pub(super) const MATURE_S: f64 = 15.0;
/// The shelf is believed if it tells the present residence within this logarithm.
const SAME: f64 = 0.22;

impl Policy {
    /// Takes note that the service is another one, and says what to do about that.
    pub(super) fn change_of_service(
        &mut self,
        sight: &Sight<'_>,
        batch: &Batch,
        slower: bool,
        (residence_s, expected_s): (f64, f64),
    ) {
        let beaten = self.beats_home(sight);
        // A smaller size that does better than was held possible says that the model was wrong, not the service faster.
        let surprise = sight.trial.is_some_and(|trial| trial.to < trial.from);
        // Of what was begun in a pool that was empty, the short jobs end first: what seems slower soon after is the same service.
        let began = self.began_s.unwrap_or(sight.now_s);
        let filling = slower && self.shelf.is_none() && sight.now_s - began < MATURE_S;
        let known = self.reshelve(sight, batch, residence_s);
        if filling {
            self.shelf = None;
        }
        self.start_anew(sight, batch, slower && !filling);
        let reason = Reason::ServiceChanged {
            slower,
            expected_us: whole(expected_s * 1e6),
            seen_us: whole(residence_s * 1e6),
        };
        self.urge = if let Some(size) = known {
            self.return_to_known(sight, size)
        } else if !slower && !surprise && sight.size() < sight.home() && sight.free {
            let refuge = self.refuge(sight, beaten);
            self.go(sight, refuge, Purpose::Return, reason.clone())
                .map(Urge::Go)
        } else if slower && !filling && sight.free && batch.busy() > 0.8 * sight.size() {
            // Never up, although the arrivals times this residence say so: the residence is inflated.
            self.go(
                sight,
                (0.67 * sight.size()).max(1.0),
                Purpose::Look,
                reason.clone(),
            )
            .map(Urge::Go)
        } else {
            None
        };
        if self.urge.is_none() && sight.trial.is_some() {
            self.urge = Some(Urge::Keep(reason));
        }
    }

    /// Puts what was learnt on the shelf and looks whether what lies there is what is seen now; answers its size.
    fn reshelve(&mut self, sight: &Sight<'_>, batch: &Batch, residence_s: f64) -> Option<f64> {
        let mut old = std::mem::take(&mut *self.cells);
        // The change has leaked into the class of the present size already.
        old.forget(batch.busy());
        let mature = self
            .began_s
            .is_none_or(|began| sight.now_s - began > MATURE_S);
        let shelved = self.shelf.take();
        let mut known = None;
        if let Some(mut shelf) = shelved {
            let mut aged = shelf.cells.clone();
            aged.age(sight.now_s);
            let told = aged
                .near(batch.busy())
                .filter(|(_, completed)| *completed > super::ENOUGH)
                .map(|(residence, _)| residence)
                .or_else(|| {
                    shape::predict(&aged, sight.now_s, self.work.dispersion(), batch.busy())
                });
            let same = |told: f64| libm::log(residence_s / told).abs() < SAME;
            if told.is_some_and(same) && !lacks(Part::Shelf) {
                known = Some(shelf.size);
                *self.cells = aged;
            } else if !mature {
                shelf.size = shelf.size.max(1.0);
                self.shelf = Some(shelf);
            }
        }
        if mature || self.shelf.is_none() {
            self.shelf = Some(Box::new(Shelf {
                cells: old,
                size: sight.size(),
            }));
        }
        known
    }

    fn start_anew(&mut self, sight: &Sight<'_>, batch: &Batch, slower: bool) {
        let now = sight.now_s;
        let flow = Flow {
            seconds: batch.seconds,
            busy: batch.busy(),
            finished: batch.finished,
            ended: batch.finished,
            arrived: self.arrivals.fast() * batch.seconds,
            log_sum: batch.log_sum,
            log_count: batch.log_count,
            ..Flow::default()
        };
        self.cells.add(now, &flow, 1.0);
        self.surprise = Surprise::default();
        self.shape = None;
        self.lean = None;
        self.began_s = Some(now);
        self.up = super::Rest::new(2.0);
        self.down = super::Rest::new(4.0);
        self.judged_load = 0.0;
        self.climbing = !slower;
        self.looked_above = (now, LOOK_ABOVE_FIRST_S);
        self.tally = Tally::default();
        self.tally.add(&flow);
    }

    /// The size that the known service had, if what was learnt then still recommends it for the load of now.
    fn return_to_known(&mut self, sight: &Sight<'_>, size: f64) -> Option<Urge> {
        self.refit(sight.now_s, size);
        let shape = self.shape.as_ref()?;
        let knee = shape.knee(size, super::KNEE_SHARE, |size| shape.throughput(size));
        let demand = shape.best().demand(self.arrivals.fast(), size);
        let to = knee.min(demand + demand.sqrt()).max(0.67 * size).max(1.0);
        let reason = Reason::KnownAgain {
            workers: whole(size),
        };
        if !sight.free {
            return None;
        }
        self.go(sight, to, Purpose::Return, reason).map(Urge::Go)
    }
}
