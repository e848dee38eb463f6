//! Where to go when the climb is over: to where the curve promises more, to sizes of which too little is known, and back
//! down when little is needed.

use super::climb::step_least;
use super::verdict::POOLED_DOWN;
use super::{
    ENOUGH, KNEE_SHARE, LOSING_SHARE, MEMORY_SHARE_MAX, Policy, Proposal, Purpose, Sight, Standing,
    Urge,
};
use crate::ablation::{Part, lacks};
use crate::model::shape::Shape;
use crate::number::{fraction, whole};
use trimtab_protocol::decision::{Direction, Reason};

/// A predicted gain below this share is not worth a trial.
const GAIN_LEAST: f64 = 0.015;
/// The curve is believed up to this many times the largest size seen.
const BEYOND_SEEN: f64 = 1.5;
/// One step changes the size by at most these ratios; down to 0.4 where throughput clearly falls with size.
const STEP: (f64, f64, f64) = (0.67, 1.5, 0.4);
/// A size that does less than this share of what the present one does lies below the edge of the wall.
pub(super) const EDGE_SHARE: f64 = 0.95;
/// Work that is lost above this share is worth looking for a better size.
const LOST_FOR_LOOKS: f64 = 0.03;
/// ... and above this share worth looking above again and again.
const LOST_FOR_MORE: f64 = 0.08;
/// A look above is repeated at most this rarely, in seconds; the first where a third is lost.
const LOOK_ABOVE_MOST_S: (f64, f64) = (40.0, 120.0);
/// A direction rests so long after a look there, in seconds.
const LOOK_REST_S: f64 = 15.0;
/// Sizes within these parts of the baseline are about the baseline: looks there cost more than they bring.
const NEAR_HOME: (f64, f64) = (0.75, 1.33);
/// After so many calm seconds a pool may give back what it has not needed; and then every few.
const CALM_S: (f64, f64) = (60.0, 10.0);
/// Room above what the busiest second of the last minute needed.
const RELAX_ROOM: f64 = 1.25;
/// One relaxing step.
const RELAX_STEP: f64 = 0.8;
/// Below this throughput there is nothing to be learnt about need.
const RELAX_THROUGHPUT: f64 = 10.0;

impl Policy {
    /// What to try, or why nothing.
    ///
    /// # Errors
    /// The reason to hold.
    pub fn propose(&mut self, sight: &Sight<'_>) -> Result<Proposal, Reason> {
        if let Some(Urge::Go(proposal)) = self.urge.take() {
            return Ok(proposal);
        }
        #[cfg(test)]
        if let Some(proposal) = self.seeded(sight) {
            return Ok(proposal);
        }
        if let Some(proposal) = self.go_on_returning(sight) {
            return Ok(proposal);
        }
        match self.standing {
            Standing::New | Standing::Settling => return Err(Reason::Settling),
            Standing::Stuck => {
                return Err(Reason::Stuck {
                    seconds: self.dry_s,
                });
            }
            Standing::Suspicious => return Err(Reason::Suspicious { slower: true }),
            Standing::Clean => {}
        }
        if let Some(room) = self.room_for_hanging(sight) {
            return Ok(room);
        }
        if self.is_hung(sight) {
            // Neither curve nor a full CPU is about workers that are held by what does not end.
            return Err(Reason::NothingToGain);
        }
        let urgent = self.cpu_full(sight).or_else(|| self.too_late(sight));
        if let Some(proposal) = urgent.or_else(|| self.ahead_of_a_rise(sight)) {
            return Ok(proposal);
        }
        let completed = self.tally.finished;
        if completed < ENOUGH {
            return Err(if self.is_starved() {
                Reason::TooFew {
                    completed: whole(completed),
                    needed: whole(ENOUGH),
                }
            } else {
                Reason::Ample
            });
        }
        self.refit(sight.now_s, sight.size());
        let Some(shape) = self.shape else {
            return Err(Reason::NothingToGain);
        };
        if let Some(proposal) = self.too_large_for_memory(sight) {
            return Ok(proposal);
        }
        let hungry = self.starved & 0b111;
        // Whoever chose a size with room to spare has thought of bursts, so one tick of them is not answered.
        let severe = self.severe && !self.is_roomy_home(sight);
        if self.is_starved() && (hungry.count_ones() >= 2 || severe) {
            self.calm_since_s = sight.now_s;
            return self.while_starved(sight, &shape);
        }
        if hungry == 0 {
            return self.relax(sight, &shape).ok_or(Reason::Ample);
        }
        Err(Reason::Watching {
            seconds: f64::from(hungry.count_ones()),
            needed_s: 2.0,
        })
    }

    fn while_starved(&mut self, sight: &Sight<'_>, shape: &Shape) -> Result<Proposal, Reason> {
        let (now, size) = (sight.now_s, sight.size());
        let most = self.most(sight);
        if let Some(step) = self.first_growth(sight, most) {
            return Ok(step);
        }
        let far = size > 2.0 * sight.cores();
        let losing = self.tally.lost_share() > 0.05;
        // Only one size was seen, and it is larger than the cores explain: learn downward first, it is the safe side.
        if self.cells.count() < 2
            && far
            && losing
            && self.down.is_over(now)
            && let Some(look) = self.look_below_first(sight)
        {
            return Ok(look);
        }
        if let Some(stride) = self.climb(sight, most) {
            return Ok(stride);
        }
        if self.owes_look {
            if self.tally.seconds < 1.5 {
                return Err(Reason::Settling);
            }
            if let Some(look) = self.look_back(sight) {
                return Ok(look);
            }
        }
        self.judged_load = self.judged_load.max(self.arrivals.fast());
        if let Some(step) = self.follow_curve(sight, shape, most) {
            return Ok(step);
        }
        if let Some(look) = self.bracket(sight, shape, most) {
            return Ok(look);
        }
        if let Some(reason) = self.held_by_memory(sight) {
            return Err(reason);
        }
        for direction in [Direction::Up, Direction::Down] {
            if let Some(seconds) = self.resting(direction, now) {
                return Err(Reason::Resting { direction, seconds });
            }
        }
        Err(Reason::NothingToGain)
    }

    /// The largest size that memory, CPU and bounds allow.
    pub(super) fn most(&self, sight: &Sight<'_>) -> f64 {
        let size = sight.size();
        let by_memory = sight.memory_share.map_or(f64::INFINITY, |share| {
            self.footprint.most((size, share), sight.memory_share_max)
        });
        let by_cpu = sight.cpu_share.map_or(f64::INFINITY, |share| {
            (size / share.max(0.01) * 1.02).max(size)
        });
        fraction(sight.bounds.1).min(by_memory).min(by_cpu)
    }

    /// Whether it is the memory that leaves no room for growth.
    fn held_by_memory(&self, sight: &Sight<'_>) -> Option<Reason> {
        let (size, share) = (sight.size(), sight.memory_share?);
        let next = size + step_least(size);
        let predicted_share = self.footprint.share_at((size, share), next);
        (predicted_share > sight.memory_share_max).then_some(Reason::MemoryForbids {
            predicted_share,
            allowed_share: sight.memory_share_max,
        })
    }

    /// Above the guard's own share; what the profile's ladder asks for below that, it does by itself.
    fn too_large_for_memory(&self, sight: &Sight<'_>) -> Option<Proposal> {
        let (size, share) = (sight.size(), sight.memory_share?);
        let most = self.footprint.most((size, share), MEMORY_SHARE_MAX);
        if most >= size {
            return None;
        }
        let reason = Reason::MemoryForbids {
            predicted_share: share,
            allowed_share: MEMORY_SHARE_MAX,
        };
        self.go(sight, libm::floor(most).max(1.0), Purpose::Return, reason)
    }

    /// A step to the knee of the goodput, as far as the load asks for it.
    fn follow_curve(&self, sight: &Sight<'_>, shape: &Shape, most: f64) -> Option<Proposal> {
        if lacks(Part::Curve) {
            return None;
        }
        let (now, size) = (sight.now_s, sight.size());
        let largest = self.cells.largest().max(size);
        let promise = self.promise(sight, shape);
        let knee = shape.knee((largest * BEYOND_SEEN).min(most), KNEE_SHARE, |to| {
            promise.goodput(to)
        });
        let target = knee
            .min(self.demand(shape, self.arrivals.fast(), most))
            .min(most);
        let (least, largest, least_steep) = STEP;
        let least = if shape.best_elasticity(size) < -0.2 {
            least_steep
        } else {
            least
        };
        let to = target.clamp(least * size, largest * size);
        let gain = promise.goodput(to) / promise.goodput(size).max(1e-9) - 1.0;
        let up = to >= size + step_least(size) && self.up.is_over(now) && gain > GAIN_LEAST;
        let worth = gain > GAIN_LEAST || to < size / 1.25;
        let down = to <= size - step_least(size)
            && self.down.is_over(now)
            && shape.classes() >= 2
            && worth
            // What would be put back for what is known now is not tried: the load asked for less only for a moment.
            && (1.0 + gain > POOLED_DOWN || lacks(Part::KnownLoss));
        if !up && !down {
            return None;
        }
        let reason = Reason::Predicted {
            sizes: u32::try_from(shape.classes()).unwrap_or(u32::MAX),
            gain_share: gain,
        };
        self.go(sight, to, Purpose::Predict, reason)
    }

    /// The size that does the load, with a margin of one standard deviation: the queue is a buffer too.
    fn demand(&self, shape: &Shape, load: f64, most: f64) -> f64 {
        let demand = shape.best().demand(load, most);
        demand + demand.sqrt()
    }

    /// The best size is known only when a size above it and one below it were seen.
    fn bracket(&mut self, sight: &Sight<'_>, shape: &Shape, most: f64) -> Option<Proposal> {
        if lacks(Part::Looks) {
            return None;
        }
        let (now, size, lost) = (sight.now_s, sight.size(), self.tally.lost_share());
        let losing = lost > LOSING_SHARE;
        let spare = sight.changes <= if losing { 8 } else { 4 }
            || self
                .began_s
                .is_some_and(|began| now - began < super::YOUNG_S);
        let home = sight.home();
        let about_home = (NEAR_HOME.0 * home..=NEAR_HOME.1 * home).contains(&size);
        let near = !lacks(Part::NearHome) && about_home && self.cells.count() >= 2 && !losing;
        if lost <= LOST_FOR_LOOKS || self.tally.seconds < 2.5 || !spare || near {
            return None;
        }
        let needed = 4.0 * ENOUGH * self.work.dispersion();
        let unknown = |least: f64, largest: f64| {
            self.cells.weight_within(now, least * size, largest * size) < needed
        };
        let old = lost > LOST_FOR_MORE && now - self.looked_above.0 > self.looked_above.1;
        let demand = self.demand(shape, self.arrivals.fast(), most);
        let wanted = demand.max(self.needed_by_little(size)) > 1.1 * size;
        let above = self.up.is_over(now) && (old || unknown(1.15, 1.9)) && wanted;
        let below = self.down.is_over(now) && size >= 3.0 && unknown(0.5, 0.82);
        if below && (shape.elasticity(size) < 0.2 || !above) {
            return self.look_below(sight);
        }
        above
            .then(|| self.look_above(sight, most, losing))
            .flatten()
    }

    fn look_below(&mut self, sight: &Sight<'_>) -> Option<Proposal> {
        let size = sight.size();
        let throughput = self.tally.throughput(self.cells.mix());
        let (low, high) = self.cells.edge_below(size, throughput, EDGE_SHARE);
        let to = (low * high)
            .sqrt()
            .clamp(0.6 * size, 0.8 * size)
            .min(size - 1.0);
        let reason = self.waiting_below();
        let look = self.go(sight, to, Purpose::Look, reason)?;
        self.down.wait(sight.now_s + LOOK_REST_S);
        Some(look)
    }

    fn look_above(&mut self, sight: &Sight<'_>, most: f64, losing: bool) -> Option<Proposal> {
        let (now, size) = (sight.now_s, sight.size());
        let to = libm::round((1.3 * size).max(size + 2.0).min(most));
        if to < size + step_least(size) {
            return None;
        }
        let longest = if losing {
            LOOK_ABOVE_MOST_S.0
        } else {
            LOOK_ABOVE_MOST_S.1
        };
        let (queued, lost_per_s) = self.waiting();
        let reason = Reason::Starved { queued, lost_per_s };
        let look = self.go(sight, to, Purpose::Look, reason)?;
        self.looked_above = (now, (self.looked_above.1 * 2.0).min(longest));
        self.up.wait(now + LOOK_REST_S);
        Some(look)
    }

    /// Nothing has waited for a minute: down to what the busiest second of that minute needed, but not into a rise.
    fn relax(&mut self, sight: &Sight<'_>, shape: &Shape) -> Option<Proposal> {
        if lacks(Part::Relax) {
            return None;
        }
        let (now, size) = (sight.now_s, sight.size());
        let throughput = self.tally.finished / self.tally.seconds.max(1e-9);
        let quiet = now - self.calm_since_s > CALM_S.0 && throughput >= RELAX_THROUGHPUT;
        if !quiet || self.arrivals.mean() < RELAX_THROUGHPUT || !self.arrivals.is_steady() {
            return None;
        }
        let demand = self.demand(shape, self.arrivals.highest(), self.most(sight));
        let needed = demand.max(fraction(sight.bounds.0)) * RELAX_ROOM;
        if size <= 1.3 * needed + 1.0 {
            return None;
        }
        self.calm_since_s = now - (CALM_S.0 - CALM_S.1);
        let reason = Reason::Relaxed {
            needed: whole(needed),
        };
        self.go(sight, needed.max(RELAX_STEP * size), Purpose::Relax, reason)
    }

    /// What a seeded bug proposes.
    #[cfg(test)]
    fn seeded(&self, sight: &Sight<'_>) -> Option<Proposal> {
        use crate::testing::{Fault, dice, has};
        let odd = has(Fault::RollsDice) && dice().is_multiple_of(7);
        let fidgets = has(Fault::Fidgets) || odd;
        let idle = sight.delta.busy_us == 0 && sight.delta.arrived == 0;
        if has(Fault::ShrinksBlind) && idle {
            return self.go(sight, 0.5 * sight.size(), Purpose::Relax, Reason::Idle);
        }
        fidgets
            .then(|| self.go(sight, sight.size() + 1.0, Purpose::Climb, Reason::Idle))
            .flatten()
    }
}
