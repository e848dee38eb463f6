//! What to try next for one pool: predict, probe, prove, or put it back.
//!
//! [`Policy::notice`] takes in each tick and learns. [`Policy::propose`] says which size to try, and why. While a trial is in
//! force, [`Policy::judge`] says whether it paid. Whether a proposal may be carried out is the guard's business.
//!
//! The rules, in the order in which they are asked: protection (`protect`), what work itself demands (`climb`), and what
//! the curve through all that was seen promises (`search`).

mod climb;
pub mod follow;
mod learn;
mod plant;
mod promise;
pub mod proof;
mod protect;
mod search;
mod terms;
pub mod verdict;

pub use terms::{Claim, Proposal, Purpose, Sight};

use crate::model::arrivals::Arrivals;
use crate::model::cells::Cells;
use crate::model::flow::Flow;
use crate::model::footprint::Footprint;
use crate::model::shape::{self, Shape};
use crate::model::surprise::{Batches, Surprise};
use crate::model::tally::Tally;
use crate::model::work::Work;
use crate::number::{fraction, whole};
use trimtab_protocol::decision::{Direction, Expectation, Reason};
use trimtab_protocol::name::KnobName;

/// Completions before anything is concluded: with fewer, two windows resolve only a difference of a half.
pub const COMPLETIONS_MIN: u64 = 30;
/// The same as a fraction.
const ENOUGH: f64 = 30.0;
/// The smallest size with this share of the highest goodput is the best: less gives goodput away for nothing.
const KNEE_SHARE: f64 = 0.995;
/// A size that is predicted to use more than this share of the memory limit is not proposed.
pub const MEMORY_SHARE_MAX: f64 = 0.94;

/// What a tick could be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Nothing was seen yet, or not at this size.
    #[default]
    New,
    /// Work is in the pool and none of it ends.
    Stuck,
    /// Old work is still leaving.
    Settling,
    /// It may be another service.
    Suspicious,
    /// It shows the pool at its size.
    Clean,
}

/// What must be done whatever else goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Urge {
    /// Go there at once.
    Go(Proposal),
    /// The service is another one: what is in force is kept.
    Keep(Reason),
}

/// Until when a direction rests, and for how long it will the next time.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until_s: f64,
    next_s: f64,
    first_s: f64,
}

/// The longest rest, in seconds.
const REST_MAX_S: f64 = 60.0;

impl Rest {
    const fn new(first_s: f64) -> Self {
        Self {
            until_s: 0.0,
            next_s: first_s,
            first_s,
        }
    }

    fn is_over(&self, now_s: f64) -> bool {
        #[cfg(test)]
        if crate::testing::has(crate::testing::Fault::NeverRests) {
            return true;
        }
        now_s >= self.until_s
    }

    fn did_not_pay(&mut self, now_s: f64) {
        self.until_s = now_s + self.next_s;
        self.next_s = (self.next_s * 2.0).min(REST_MAX_S);
    }

    fn paid(&mut self) {
        self.next_s = self.first_s;
    }

    fn wait(&mut self, until_s: f64) {
        self.until_s = self.until_s.max(until_s);
    }
}

/// Throughput fell to less than half at an unchanged size: nothing grows beyond that size until it is back.
#[derive(Clone, Copy, Debug)]
struct Lid {
    size: f64,
    throughput: f64,
    until_s: f64,
}

/// What one service was like, kept for when it comes back.
#[derive(Clone, Debug)]
struct Shelf {
    cells: Cells,
    size: f64,
}

/// What one pool's past has taught, and what follows from it.
#[derive(Clone, Debug)]
pub struct Policy {
    work: Work,
    cells: Box<Cells>,
    shelf: Option<Box<Shelf>>,
    arrivals: Arrivals,
    batches: Batches,
    surprise: Surprise,
    footprint: Footprint,
    shape: Option<Shape>,
    tally: Tally,
    flow: Flow,
    standing: Standing,
    urge: Option<Urge>,
    size: Option<f64>,
    /// Completions that must still pass until the pool shows its size, and until when at most.
    turnover: f64,
    settled_s: f64,
    /// Residence times half of one and dispersion: how long the mix in service takes to be that of the new size.
    mixing_s: f64,
    throughput_slow: f64,
    /// The usual throughput at the present size.
    usual: Option<f64>,
    dry_s: f64,
    stuck_ticks: u32,
    /// Whether work waited, a bit a clean tick, the newest lowest.
    starved: u32,
    severe: bool,
    up: Rest,
    down: Rest,
    lid: Option<Lid>,
    /// Where a return was going when the host allowed only a step of it, until when it goes on, and why it was begun.
    returning: Option<(u64, f64, Reason)>,
    /// The size before room was made for jobs that hang.
    room_from: Option<f64>,
    climbing: bool,
    owes_look: bool,
    was_calm: bool,
    /// The shortest residence seen, and the size it was seen at.
    lean: Option<(f64, f64)>,
    /// The largest load under which the present size was judged.
    judged_load: f64,
    /// Whether the load has just left behind everything that the present size was judged under.
    fresh: bool,
    looked_above: (f64, f64),
    calm_since_s: f64,
    changed_s: f64,
    began_s: Option<f64>,
    steps: u32,
    /// Whether no size was taken back and no trial undone so far, so that the profile's word on where to go first still holds.
    unproven: bool,
    first_look_done: bool,
    roomy: bool,
    cpu_ticks: u32,
    wait_s: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            work: Work::default(),
            cells: Box::default(),
            shelf: None,
            arrivals: Arrivals::default(),
            batches: Batches::default(),
            surprise: Surprise::default(),
            footprint: Footprint::default(),
            shape: None,
            tally: Tally::default(),
            flow: Flow::default(),
            standing: Standing::New,
            urge: None,
            size: None,
            turnover: 0.0,
            settled_s: 0.0,
            mixing_s: 0.0,
            throughput_slow: 0.0,
            usual: None,
            dry_s: 0.0,
            stuck_ticks: 0,
            starved: 0,
            severe: false,
            up: Rest::new(2.0),
            down: Rest::new(4.0),
            lid: None,
            returning: None,
            room_from: None,
            climbing: true,
            owes_look: false,
            was_calm: false,
            lean: None,
            judged_load: 0.0,
            fresh: false,
            looked_above: (0.0, LOOK_ABOVE_FIRST_S),
            calm_since_s: 0.0,
            changed_s: 0.0,
            began_s: None,
            steps: 0,
            unproven: true,
            first_look_done: false,
            roomy: false,
            cpu_ticks: 0,
            wait_s: 0.0,
        }
    }
}

/// A return that the host allows only by steps goes on for so long, in seconds: the steps of a factor of 64.
const RETURN_S: f64 = 6.0;
/// How long after a look above the next may follow, the first time; it doubles.
const LOOK_ABOVE_FIRST_S: f64 = 30.0;

impl Policy {
    /// What must be done about this tick whatever else goes on.
    #[must_use]
    pub fn urge(&self) -> Option<&Urge> {
        self.urge.as_ref()
    }

    /// Whether more workers were tried a while ago and did not pay.
    #[must_use]
    pub fn growth_rests(&self, now_s: f64) -> bool {
        !self.up.is_over(now_s)
    }

    /// Whether fewer workers were tried a while ago and did not pay.
    #[must_use]
    pub fn shrink_rests(&self, now_s: f64) -> bool {
        !self.down.is_over(now_s)
    }

    /// The dispersion of the work: variance over mean of what one job tells of the throughput.
    #[must_use]
    pub fn dispersion(&self) -> f64 {
        self.work.dispersion()
    }

    /// Memory by size, as seen so far.
    #[must_use]
    pub fn footprint(&self) -> &Footprint {
        &self.footprint
    }

    /// Whether this tick shows the pool at its size.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.standing == Standing::Clean
    }

    /// Notes that a proposal is carried out, as far as to so many workers, and makes what its trial is held against.
    pub fn begin(&mut self, sight: &Sight<'_>, proposal: &Proposal, workers: u64) -> Claim {
        let purpose = proposal.purpose;
        let (from, to) = (sight.size(), fraction(workers));
        let measured = self.tally.seconds > 0.0;
        let throughput = if measured {
            self.tally.throughput(self.cells.mix())
        } else {
            self.throughput_slow
        };
        let known = self.known_shape();
        let watched = self
            .began_s
            .is_some_and(|began| sight.now_s - began >= WATCHED_S);
        let claim = Claim {
            from,
            to,
            purpose,
            before: (throughput, self.tally.seconds.max(1.0)),
            load: self.arrivals.fast(),
            late_s: self.late_s(sight),
            promised: known.map(|shape| shape.throughput(to)),
            fair: self.turnover <= 0.0 && measured && (self.steps > 0 || to > from || watched),
            since_s: sight.now_s,
        };
        let cut_short =
            purpose == Purpose::Return && proposal.value > workers && workers > sight.workers;
        self.returning = cut_short.then(|| {
            let reason = proposal.reason.clone();
            (proposal.value, sight.now_s + RETURN_S, reason)
        });
        self.steps = self.steps.saturating_add(1);
        self.unproven &= to > from;
        self.changed_s = sight.now_s;
        self.tally = Tally::default();
        claim
    }

    /// What a change of another knob is held against: the size stays.
    #[must_use]
    pub fn begin_following(&self, sight: &Sight<'_>, purpose: Purpose) -> Claim {
        Claim {
            from: sight.size(),
            to: sight.size(),
            purpose,
            before: (self.throughput_slow, 1.0),
            load: self.arrivals.fast(),
            late_s: None,
            promised: None,
            fair: false,
            since_s: sight.now_s,
        }
    }

    /// How long the pool has been seen at its size, and what it does a second; nothing while it shows anything else.
    #[must_use]
    pub fn steady(&self) -> Option<(f64, f64)> {
        let throughput = self.tally.finished / self.tally.seconds.max(1e-9);
        self.is_clean().then_some((self.tally.seconds, throughput))
    }

    /// A trial was undone, by whomever: what was being measured is about neither size.
    pub fn undone(&mut self, now_s: f64) {
        self.unproven = false;
        self.changed_s = now_s;
        self.tally = Tally::default();
    }

    /// A trial proved nothing and says nothing about where to go: only its direction waits for a moment.
    pub fn wait(&mut self, direction: Direction, until_s: f64) {
        match direction {
            Direction::Up => self.up.wait(until_s),
            Direction::Down => self.down.wait(until_s),
        }
    }

    /// For how many seconds a direction still rests.
    #[must_use]
    pub fn resting(&self, direction: Direction, now_s: f64) -> Option<f64> {
        let rest = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        (!rest.is_over(now_s)).then_some(rest.until_s - now_s)
    }

    /// Forgets what is being measured, after a gap or when someone else moved something.
    pub fn forget_window(&mut self, now_s: f64) {
        self.tally = Tally::default();
        self.batches.clear();
        self.surprise.clear();
        self.urge = None;
        self.dry_s = 0.0;
        self.stuck_ticks = 0;
        self.standing = Standing::New;
        self.settled_s = self.settled_s.max(now_s);
    }

    fn is_starved(&self) -> bool {
        self.starved & 1 == 1
    }

    /// Fits the curves to what was seen.
    fn refit(&mut self, now_s: f64, at: f64) {
        let dispersion = self.work.dispersion();
        self.shape = shape::fit(&mut self.cells, now_s, dispersion, at);
        self.work.settle();
    }

    /// The curves, where they stand on three sizes.
    fn known_shape(&self) -> Option<&Shape> {
        self.shape.as_ref().filter(|shape| shape.classes() >= 3)
    }

    /// A proposal; nothing when the size, within bounds and under the lid, is the present one.
    fn go(&self, sight: &Sight<'_>, to: f64, purpose: Purpose, reason: Reason) -> Option<Proposal> {
        let (least, most) = sight.bounds;
        let mut workers = whole(to).clamp(least.max(1), most.max(1));
        if let Some(lid) = self
            .lid
            .filter(|_| purpose != Purpose::Return && workers > sight.workers)
        {
            workers = workers.min(whole(lid.size).max(sight.workers));
        }
        let direction = match workers.cmp(&sight.workers) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => Direction::Up,
            std::cmp::Ordering::Less => Direction::Down,
        };
        let young = self
            .began_s
            .is_some_and(|began| sight.now_s - began < YOUNG_S);
        let losing = self.tally.lost_share() > PRESSING_SHARE && direction == Direction::Up;
        let pressing = young || losing || (purpose == Purpose::Climb && self.severe);
        let (expectation, cost_s) = self.expect(sight, fraction(workers), purpose);
        Some(Proposal {
            knob: KnobName::from(KnobName::WORKERS),
            value: workers,
            direction,
            purpose,
            pressing,
            reason,
            expectation,
            cost_s,
        })
    }

    /// What a size should bring, and what it may cost.
    fn expect(&self, sight: &Sight<'_>, to: f64, purpose: Purpose) -> (Expectation, f64) {
        let tally = &self.tally;
        let here = if tally.seconds > 0.0 {
            tally.throughput(self.cells.mix())
        } else {
            self.throughput_slow
        };
        // While work waits, more can be served than arrives; else nothing can.
        let load = if self.is_starved() {
            f64::INFINITY
        } else {
            self.arrivals.fast().max(here)
        };
        let (goodput, loss) = match self.known_shape() {
            Some(shape) => {
                // What comes too late at the present size already is not lost by going elsewhere.
                let promise = self.promise(sight, shape);
                let (good, in_time) =
                    (promise.goodput(sight.size()), promise.in_time(sight.size()));
                let ratio = promise.goodput(to) / good.max(1e-9);
                ((here * ratio).min(load), (1.0 - ratio).max(0.0) * in_time)
            }
            None if to > sight.size() => ((here * to / sight.size()).min(load), 0.0),
            None => (here, 0.0),
        };
        let seconds = tally.seconds.max(1.0);
        let error = crate::model::tally::error_of_difference(
            self.work.dispersion(),
            (here, seconds),
            (here, seconds),
        );
        let expectation = Expectation {
            goodput_per_s: goodput,
            least_gain_per_s: verdict::WORTH_SHARE * here + error,
        };
        let cost_s = match purpose {
            Purpose::Look | Purpose::Predict => {
                loss * verdict::span_s(self.work.dispersion(), here)
            }
            Purpose::Climb | Purpose::Relax | Purpose::Return | Purpose::Follow => 0.0,
        };
        (expectation, cost_s)
    }
}

/// A size that was seen for less than this when it was first left is not one to compare with.
const WATCHED_S: f64 = 10.0;
/// For so long after a service is first seen, or is another one, little is known of it.
const YOUNG_S: f64 = 30.0;
/// Losing a third of what arrives is worth more looks ...
const LOSING_SHARE: f64 = 0.3;
/// ... and losing this share is worth more changes that make room.
const PRESSING_SHARE: f64 = 0.05;
