//! What the curve through all that was seen promises at a size, with the share of it that would still be in time.

use super::{Policy, Sight};
use crate::ablation::{Part, lacks};
use crate::model::shape::Shape;
use crate::model::work::Work;

impl Policy {
    /// What the curves promise, by size.
    pub(super) fn promise<'a>(&'a self, sight: &Sight<'_>, shape: &'a Shape) -> Promise<'a> {
        let size = sight.size();
        let goal = sight.slo_s.filter(|_| !lacks(Part::InTime)).map(|slo_s| {
            // Longer waits than that are the queue's doing; at any size they would leave nothing to compare.
            let left_s = (slo_s - self.wait_s).max(0.5 * slo_s);
            (left_s, residence_s(size, shape.throughput(size)))
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
