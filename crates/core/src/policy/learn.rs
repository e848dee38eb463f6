//! What each tick teaches: whether it shows the pool at its size at all, and if so, what of it.

use super::{Lid, Policy, Sight, Standing, Tally, Urge};
use crate::ablation::{Part, lacks};
use crate::model::flow::Flow;
use crate::model::surprise::{Alarm, Batch};
use crate::policy::Purpose;
use crate::regime::{is_starved, missed_at_least};
use trimtab_protocol::decision::Reason;

/// The longest time for old work to leave a pool after a change, in seconds.
const SETTLE_MAX_S: f64 = 10.0;
/// A pool larger than this many times its cores is not judged by the tick in which it fills.
const FILLING_CORES: f64 = 2.0;
/// How quickly the usual throughput follows, a tick.
const THROUGHPUT_WEIGHT: f64 = 0.2;
/// How quickly the mean wait follows, a tick.
const WAIT_WEIGHT: f64 = 0.3;
/// A decision's window forgets half of itself beyond so many seconds, so that it is about now.
const WINDOW_S: f64 = 12.0;
/// A climb's stride is judged by the very tick of the change where jobs are this short, in seconds.
const QUICK_S: f64 = 0.25;
/// An excess of arrivals over completions by this many standard errors in one tick is overload and no chance.
const SEVERE_SIGMAS: f64 = 3.0;
/// CPU counts as used up above this share of the quota: the rest is what scheduling itself leaves over.
pub(super) const CPU_FULL: f64 = 0.9;
/// A load beyond everything that the present size was judged under, by this ratio, is a fresh one.
const FRESH_LOAD: f64 = 1.25;
/// ... and by this many standard deviations of a Poisson number.
const FRESH_SIGMAS: f64 = 3.0;
/// Up to this many times the largest number in service that was seen, the curve is known well enough for an alarm.
const SEEN: f64 = 1.1;
/// Throughput that fell by this many standard deviations within one tick did not do so by chance.
const INCIDENT_SIGMAS: f64 = 4.0;
/// The lid comes off so long after the throughput is back, or after it has been on for so long.
const LID_S: (f64, f64) = (20.0, 300.0);

impl Policy {
    /// Takes in a tick.
    pub fn notice(&mut self, sight: &Sight<'_>) {
        self.urge = None;
        self.standing = Standing::New;
        let flow = Flow::of(sight.delta);
        self.flow = flow;
        let size = sight.size();
        let before = self.size.replace(size);
        if let Some(share) = sight.memory_share {
            self.footprint.add(size, share);
        }
        let Some(before) = before else {
            self.began_s = Some(sight.now_s);
            self.changed_s = sight.now_s;
            self.turnover = size;
            self.settled_s = sight.now_s + SETTLE_MAX_S;
            self.calm_since_s = sight.now_s;
            self.arrivals.add(flow.arrived, flow.seconds);
            if size <= FILLING_CORES * sight.cores() {
                self.take_in(sight, &flow, size);
            }
            return;
        };
        self.arrivals.add(flow.arrived, flow.seconds);
        self.take_in(sight, &flow, before);
    }

    fn take_in(&mut self, sight: &Sight<'_>, flow: &Flow, before: f64) {
        self.learn_work(sight, flow);
        self.roomy |= flow.busy < 0.5 * sight.size();
        if let Some(proposal) = self.surge(sight, flow) {
            self.urge = Some(Urge::Go(proposal));
        }
        if self.is_stuck(sight, flow) {
            self.standing = Standing::Stuck;
            return;
        }
        let starved = is_starved(sight.delta, sight.workers.min(crate::number::whole(before)));
        if self.settles(sight, flow, before, starved) {
            self.standing = Standing::Settling;
            return;
        }
        if starved != self.is_starved() && sight.trial.is_none() {
            self.tally = Tally::default();
        }
        self.tally.add(flow);
        self.watch_incident(sight, flow, starved);
        let throughput = flow.throughput();
        self.throughput_slow = if self.throughput_slow > 0.0 {
            self.throughput_slow + THROUGHPUT_WEIGHT * (throughput - self.throughput_slow)
        } else {
            throughput
        };
        self.note_need(sight, flow, starved);
        let window_full =
            self.tally.seconds > WINDOW_S && self.tally.finished > 2.5 * super::ENOUGH;
        if window_full && sight.trial.is_none() {
            self.tally.halve();
        }
        if self.is_hung(sight) {
            // What is done among workers that are held by others says nothing about a size or about the service.
            self.batches.clear();
            self.standing = Standing::Clean;
            return;
        }
        let batch = self.batches.add(flow, self.work.dispersion());
        if let Some(batch) = batch
            && self.hold_against_the_known(sight, &batch, starved)
        {
            return;
        }
        if flow.busy >= 0.5 && flow.finished > 0.0 {
            let weight = if starved { 1.0 } else { 0.5 };
            self.cells.add(sight.now_s, flow, weight);
        }
        self.standing = Standing::Clean;
    }

    fn learn_work(&mut self, sight: &Sight<'_>, flow: &Flow) {
        if let Some(service) = &sight.delta.service {
            self.work.add(service);
            let by_logarithms = self.work.by_logarithms() && !lacks(Part::Logarithms);
            self.cells
                .remix(by_logarithms.then(|| self.work.log_variance()));
        }
        if let Some(wait_s) = flow.wait_s {
            self.wait_s += WAIT_WEIGHT * (wait_s - self.wait_s);
        }
    }

    /// Whether work is in service and nothing comes out for longer than chance explains.
    fn is_stuck(&mut self, sight: &Sight<'_>, flow: &Flow) -> bool {
        let dispersion = self.work.dispersion();
        let dry = flow.ended <= 0.0 && flow.busy >= 1.0;
        self.dry_s = if dry { self.dry_s + flow.seconds } else { 0.0 };
        let expected = self.throughput_slow * flow.seconds;
        let nothing = self.throughput_slow * self.dry_s > missed_at_least(dispersion, flow.busy);
        let hardly =
            flow.ended < 0.02 * expected && expected > 50.0 * dispersion && flow.busy >= 1.0;
        if nothing || hardly {
            self.stuck_ticks = self.stuck_ticks.saturating_add(1);
            return true;
        }
        if self.stuck_ticks >= 2 {
            self.settled_s = sight.now_s + 1.0;
            self.tally = Tally::default();
        }
        self.stuck_ticks = 0;
        false
    }

    /// Whether the pool still shows another size than its own. The memory of a change is one turnover, longer for uneven
    /// work. Comparisons with what lies before that were the largest source of errors.
    fn settles(&mut self, sight: &Sight<'_>, flow: &Flow, before: f64, starved: bool) -> bool {
        let size = sight.size();
        let moved = (size - before).abs() > 0.0;
        if moved {
            let spread = 0.5 * (1.0 + self.work.dispersion());
            self.changed_s = sight.now_s;
            self.usual = None;
            self.mixing_s = flow.residence_s() * spread;
            self.turnover = spread * size.max(before);
            self.settled_s = sight.now_s + SETTLE_MAX_S;
            self.tally = Tally::default();
            self.batches.clear();
            self.surprise.clear();
        }
        self.turnover -= flow.finished;
        if self.turnover <= 0.0 {
            self.settled_s = self.settled_s.min(sight.now_s);
        }
        let climbs = sight.trial.is_some_and(|trial| {
            trial.purpose == Purpose::Climb && sight.now_s - trial.since_s < 1.5
        });
        // The tick of a stride counts if a turnover fits into it: its mean number in service goes with its residence.
        let quick = self.climbing && climbs && !sight.pending && flow.residence_s() < QUICK_S;
        let settling = sight.now_s < self.settled_s;
        if settling && starved {
            self.look_below_at_once(sight, flow);
        }
        settling || ((moved || sight.pending) && !(quick && self.turnover <= 0.0))
    }

    /// Throughput halves at an unchanged size: something else has happened, and growth into it would do harm.
    fn watch_incident(&mut self, sight: &Sight<'_>, flow: &Flow, starved: bool) {
        if lacks(Part::Lid) {
            return;
        }
        let throughput = flow.throughput();
        let usual = self.usual.unwrap_or(throughput);
        self.usual = Some(usual + THROUGHPUT_WEIGHT * (throughput - usual));
        // Jobs that hang hold their workers and slow nobody down, so growth is no harm.
        let hanging = sight.held > super::protect::HANGING * sight.size();
        match &mut self.lid {
            _ if hanging => self.lid = None,
            None => {
                // A few long jobs of uneven work make a poor second by chance alone.
                let (due, chance) = (usual * flow.seconds, self.work.dispersion());
                let sure = due - flow.finished > INCIDENT_SIGMAS * (chance * due).sqrt();
                let fell = throughput < 0.5 * usual && due > super::ENOUGH && sure;
                // While a pool fills, the short jobs end first, and what follows looks like a fall.
                let filled = self
                    .began_s
                    .is_some_and(|began| sight.now_s - began > super::plant::MATURE_S);
                if starved && fell && filled && sight.now_s - self.changed_s > 5.0 {
                    self.lid = Some(Lid {
                        size: sight.size(),
                        throughput: usual,
                        until_s: sight.now_s + LID_S.1,
                    });
                }
            }
            Some(lid) if sight.now_s > lid.until_s => self.lid = None,
            Some(lid) if throughput > 0.7 * lid.throughput => {
                lid.until_s = lid.until_s.min(sight.now_s + LID_S.0);
            }
            Some(_) => {}
        }
    }

    fn note_need(&mut self, sight: &Sight<'_>, flow: &Flow, starved: bool) {
        self.starved = self.starved << 1 | u32::from(starved);
        let calm = !starved && self.tally.finished > 60.0 && flow.busy < 0.8 * sight.size();
        self.was_calm |= calm;
        let (load, done) = (flow.arrivals_per_s(), flow.throughput());
        let error = ((load + self.work.dispersion() * done) / flow.seconds).sqrt();
        self.severe = starved && load - done > SEVERE_SIGMAS * error;
        // A load beyond everything that the present size was judged under: what did not pay then may pay now.
        let judged = self.judged_load;
        let beyond_chance = load - judged > FRESH_SIGMAS * (judged / flow.seconds).sqrt();
        self.fresh = self.severe && judged > 0.0 && load > FRESH_LOAD * judged && beyond_chance;
        if self.fresh {
            self.climbing = true;
            self.judged_load = 0.0;
            self.up.until_s = sight.now_s;
        }
        let full = sight.cpu_share.is_some_and(|share| share >= CPU_FULL);
        self.cpu_ticks = if full {
            self.cpu_ticks.saturating_add(1)
        } else {
            0
        };
    }

    /// Holds a batch against what is known of its size. True when the tick is not to be learnt from.
    fn hold_against_the_known(&mut self, sight: &Sight<'_>, batch: &Batch, starved: bool) -> bool {
        if lacks(Part::Surprise) {
            return false;
        }
        if starved && let Some(dispersion) = self.batches.dispersion(batch) {
            self.work.notice_batches(dispersion);
        }
        if batch.finished < 4.0 {
            return false;
        }
        let dispersion = self.work.dispersion();
        let mix = self.cells.mix();
        let residence = batch.residence_s(mix, self.work.log_variance());
        let busy = batch.busy();
        let near = self
            .cells
            .near(busy)
            .filter(|(_, completed)| *completed > 40.0);
        let by_class = near.map(|(residence, completed)| (residence, dispersion / completed));
        let expected = by_class.or_else(|| {
            // What the curve says of sizes that were not seen is a guess, and no ground for an alarm.
            let seen = busy <= SEEN * self.cells.largest();
            let shape = self
                .known_shape()
                .filter(|_| seen && sight.trial.is_none())?;
            Some((shape.best().residence_s(busy), 0.01))
        });
        let Some(expected) = expected else {
            return false;
        };
        match self
            .surprise
            .add(residence, batch.finished, dispersion, expected)
        {
            Some(Alarm::Changed { slower }) => {
                let seen = (residence, expected.0);
                self.change_of_service(sight, batch, slower, seen);
                true
            }
            Some(Alarm::Suspicious { slower }) if !(self.severe && self.climbing) => {
                self.standing = Standing::Suspicious;
                let faster = starved && !slower && !lacks(Part::Refuge);
                if faster && sight.size() < sight.home() && sight.free {
                    let refuge = self.refuge(sight, self.beats_home(sight));
                    let reason = Reason::Suspicious { slower: false };
                    let back = self.go(sight, refuge, Purpose::Return, reason);
                    self.urge = back.map(Urge::Go);
                }
                true
            }
            Some(Alarm::Suspicious { .. }) | None => false,
        }
    }
}
