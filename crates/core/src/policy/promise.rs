//! What the curve through all that was seen promises at a size, with the share of it that would still be in time.

use super::{Policy, Sight};
use crate::ablation::{Part, lacks};
use crate::model::shape::Shape;
use crate::model::work::Work;

/// A goal that less than this share of the work met at its shortest is none.
const MET_SHARE: f64 = 0.02;

impl Policy {
    /// What a size promises against the present one, as a ratio of goodputs; nothing where fewer than three sizes were seen.
    #[must_use]
    pub fn promised(&self, sight: &Sight<'_>, to: f64) -> Option<f64> {
        let promise = self.promise(sight, self.known_shape()?);
        Some(promise.goodput(to) / promise.goodput(sight.size()).max(1e-9))
    }

    /// What the curves promise, by size.
    pub(super) fn promise<'a>(&'a self, sight: &Sight<'_>, shape: &'a Shape) -> Promise<'a> {
        let size = sight.size();
        let here_s = residence_s(size, shape.throughput(size));
        let goal = sight.slo_s.filter(|slo_s| {
            // A goal that next to nothing met even among few says nothing about sizes.
            let least_s = self.cells.residence_least().unwrap_or(here_s).min(here_s);
            let met = self.work.in_time(*slo_s, least_s / here_s) >= MET_SHARE;
            met && !lacks(Part::InTime)
        });
        let goal = goal.map(|slo_s| {
            // Longer waits than that are the queue's doing; at any size they would leave nothing to compare.
            let left_s = (slo_s - self.wait_s).max(0.5 * slo_s);
            (left_s, here_s)
        });
        Promise {
            work: &self.work,
            shape,
            goal,
        }
    }
}

/// What the curves promise, by size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise<'a> {
    work: &'a Work,
    shape: &'a Shape,
    /// What is left of the goal once a job is begun, and how long one takes at the present size, in seconds.
    goal: Option<(f64, f64)>,
}

impl Promise<'_> {
    /// The share of work that would be in time at a size, by the service times seen at the present one.
    pub(super) fn in_time(&self, size: f64) -> f64 {
        self.in_time_at(size, self.shape.throughput(size))
    }

    /// The goodput at a size.
    pub(super) fn goodput(&self, size: f64) -> f64 {
        let throughput = self.shape.throughput(size);
        throughput * self.in_time_at(size, throughput)
    }

    fn in_time_at(&self, size: f64, throughput: f64) -> f64 {
        let Some((left_s, here_s)) = self.goal else {
            return 1.0;
        };
        let stretch = residence_s(size, throughput) / here_s;
        self.work.in_time(left_s, stretch)
    }
}

fn residence_s(size: f64, throughput: f64) -> f64 {
    size / throughput.max(1e-9)
}
