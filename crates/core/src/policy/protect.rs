//! Protection: back to what people chose on a surge, down from a full CPU or where nothing is in time, and never into an incident.

use super::learn::CPU_FULL;
use super::verdict::FULL_LOSS;
use super::{Policy, Purpose, Sight, Urge};
use crate::ablation::{Part, lacks};
use crate::model::flow::Flow;
use crate::model::tally::Tally;
use crate::number::whole;
use crate::regime::is_starved;
use trimtab_protocol::decision::Reason;

/// A rise of the load of so many standard deviations, and by this share, is a surge: three in 100,000 ticks by chance.
const SURGE: (f64, f64) = (4.0, 0.25);
/// A size within this part of the baseline counts as the baseline.
const ABOUT_HOME: f64 = 1.2;
/// Jobs that hang hold this part of the workers, and then room is made for others.
pub(super) const HANGING: f64 = 0.2;
/// ... until they hold less than this part.
const HANGING_OVER: f64 = 0.05;
/// Room is made by at least this ratio ...
const ROOM_STEP: f64 = 1.25;
/// ... up to so many workers for each that is held.
const ROOM_MOST: f64 = 2.0;
/// Jobs that take this many times the goal once they are begun are too late; a goal that is missed by more is none ...
const LATE: (f64, f64) = (1.2, 30.0);
/// ... when that was seen for so many seconds.
const LATE_S: f64 = 3.0;
/// Jobs that are late even among few and take more than this part of all worker time would hold most of a small pool, and short
/// ones would wait behind them.
const HOPELESS: f64 = 0.5;

/// The mean time in service, in seconds, if one more job were to end now: what is known even where hardly any does.
pub(super) fn at_least_s(tally: &Tally) -> f64 {
    tally.busy_s / (tally.finished + 1.0)
}

impl Policy {
    /// The load jumps beyond what the present size does, and people chose a larger one: go there at once. A surge voids what
    /// was learnt below, unless what was learnt is that the baseline itself collapses.
    pub(super) fn surge(&mut self, sight: &Sight<'_>, flow: &Flow) -> Option<super::Proposal> {
        if lacks(Part::Surge) {
            return None;
        }
        let size = sight.size();
        if size >= sight.home() || sight.pending || !sight.free || flow.finished <= 0.0 {
            return None;
        }
        let rise = self.arrivals.rise();
        let coming = self.arrivals.now() + 2.0 * rise;
        let needs = coming * flow.residence_s() > 0.7 * size;
        if !self.arrivals.rose(SURGE.0, SURGE.1) || !needs {
            return None;
        }
        let to = self.harbour(sight);
        let reason = Reason::Surge {
            before_per_s: self.arrivals.now() - rise,
            now_per_s: self.arrivals.now(),
        };
        if to <= size {
            return None;
        }
        self.owes_look = false;
        self.go(sight, to, Purpose::Return, reason)
    }

    /// The baseline, or the knee below it where own evidence at three sizes says that the baseline collapses.
    fn harbour(&self, sight: &Sight<'_>) -> f64 {
        let home = sight.home();
        let seen = self
            .cells
            .weight_within(sight.now_s, 0.85 * home, 1.3 * home);
        let Some(shape) = self.known_shape().filter(|_| seen > 60.0) else {
            return home;
        };
        let knee = shape.knee(home, super::KNEE_SHARE, |size| shape.throughput(size));
        if shape.throughput(home) < 0.9 * shape.throughput(knee) {
            knee.max(sight.size())
        } else {
            home
        }
    }

    /// Whether own evidence at three sizes says that the baseline does a tenth less than the present size.
    pub(super) fn beats_home(&self, sight: &Sight<'_>) -> bool {
        let (size, home) = (sight.size(), sight.home());
        self.known_shape()
            .is_some_and(|shape| shape.throughput(size) > 1.1 * shape.throughput(home))
    }

    /// Where to go when the service may have become faster: the baseline, or by a doubling where that was beaten.
    pub(super) fn refuge(&self, sight: &Sight<'_>, beaten: bool) -> f64 {
        if beaten {
            sight.home().min(2.0 * sight.size())
        } else {
            sight.home()
        }
    }

    /// Whether the pool runs at its baseline with room to spare: whoever chose it has thought of surges.
    pub(super) fn is_roomy_home(&self, sight: &Sight<'_>) -> bool {
        let (size, home) = (sight.size(), sight.home());
        self.roomy && size >= home && size <= ABOUT_HOME * home
    }

    /// A return of which the host allowed only a step goes on, while work waits.
    pub(super) fn go_on_returning(&mut self, sight: &Sight<'_>) -> Option<super::Proposal> {
        if lacks(Part::Returning) {
            return None;
        }
        let (to, until_s, reason) = self.returning.take()?;
        let waits = is_starved(sight.delta, sight.workers);
        if sight.now_s >= until_s || to <= sight.workers || !waits {
            return None;
        }
        self.go(sight, crate::number::fraction(to), Purpose::Return, reason)
    }

    /// Whether jobs that hang hold so many workers that the pool does not show what its size does.
    pub(super) fn is_hung(&self, sight: &Sight<'_>) -> bool {
        sight.held > HANGING_OVER * sight.size()
    }

    /// Down by half while a job takes longer than the goal once it is begun: nothing is in time at this size, so nothing is lost
    /// among fewer, and few completions are needed to see whether jobs end sooner there.
    pub(super) fn too_late(&mut self, sight: &Sight<'_>) -> Option<super::Proposal> {
        let (tally, size) = (self.tally, sight.size());
        let slo_s = sight.slo_s?;
        let watched = tally.seconds >= LATE_S && tally.seconds >= slo_s;
        if !self.is_starved() || !watched || !self.down.is_over(sight.now_s) {
            return None;
        }
        let residence_s = at_least_s(&tally);
        // A goal that no job ever met says nothing about the size.
        let never = self.lean.is_some_and(|(least_s, _)| least_s > slo_s);
        let late = (LATE.0 * slo_s..=LATE.1 * slo_s).contains(&residence_s);
        if !late || never || size < 2.0 {
            return None;
        }
        self.climbing = false;
        let reason = Reason::TooLate {
            service_us: whole(residence_s * 1e6),
            slo_us: whole(slo_s * 1e6),
        };
        let proposal = self.go(sight, 0.5 * size, Purpose::Look, reason)?;
        // What is too late already cannot be lost.
        Some(super::Proposal {
            pressing: true,
            cost_s: 0.0,
            ..proposal
        })
    }

    /// How long a job takes once it is begun, in seconds, where that is longer than the goal.
    pub(super) fn late_s(&self, sight: &Sight<'_>) -> Option<f64> {
        let residence_s = at_least_s(&self.tally);
        let slo_s = sight.slo_s.filter(|_| self.tally.seconds >= LATE_S)?;
        (residence_s >= LATE.0 * slo_s).then_some(residence_s)
    }

    /// Jobs that hang hold workers until they are cut: as many more serve the others. When they are gone, so is the room.
    pub(super) fn room_for_hanging(&mut self, sight: &Sight<'_>) -> Option<super::Proposal> {
        if lacks(Part::Hanging) {
            return None;
        }
        let size = sight.size();
        if sight.held < HANGING_OVER * size {
            let from = self.room_from.take().filter(|from| *from < size)?;
            let reason = Reason::KnownAgain {
                workers: whole(from),
            };
            return self.go(sight, from, Purpose::Return, reason);
        }
        if !self.is_starved() || sight.held < HANGING * size || !self.up.is_over(sight.now_s) {
            return None;
        }
        let from = *self.room_from.get_or_insert(size);
        // The others stretch as the pool fills up, by how much no curve tells: on by quarters, as long as that pays.
        let held = sight.held_at_load.max(sight.held);
        let to = (from + held)
            .max(ROOM_STEP * size)
            .min(from + ROOM_MOST * held);
        let to = to.min(2.0 * size).min(self.most(sight));
        if to < size + super::climb::step_least(size) {
            return None;
        }
        let (queued, lost_per_s) = self.waiting();
        let reason = Reason::Starved { queued, lost_per_s };
        self.go(sight, to, Purpose::Climb, reason)
    }

    /// Down while the CPU is full: beyond the cores, workers only wait inside. That it stays full is the proof that nothing
    /// was lost, and needs no counting of completions.
    pub(super) fn cpu_full(&mut self, sight: &Sight<'_>) -> Option<super::Proposal> {
        if lacks(Part::CpuFull) {
            return None;
        }
        let own = sight.trial.is_none_or(|trial| trial.to < trial.from);
        let starved = self.is_starved();
        let cores = sight.cores();
        let least = if starved { 1.5 } else { 4.0 } * cores;
        let ticks = if starved { 3 } else { 6 };
        let (size, tally) = (sight.size(), self.tally);
        if self.cpu_ticks < ticks
            || !own
            || tally.ticks < 2.0
            || size <= least
            || tally.busy() <= least
        {
            return None;
        }
        if !self.down.is_over(sight.now_s) {
            return None;
        }
        let part = if size > 4.0 * cores { 0.5 } else { 0.75 };
        let to = (part * size).max(least);
        // What was seen near there, and at three sizes or more, may tell that throughput still grows there, however full the CPU looks.
        let seen = self.cells.weight_within(sight.now_s, 0.75 * to, 1.33 * to);
        let loses = self
            .known_shape()
            .filter(|_| seen > 2.0 * super::ENOUGH)
            .is_some_and(|shape| shape.throughput(to) < (1.0 - FULL_LOSS) * shape.throughput(size));
        let hopeless = sight.slo_s.is_some_and(|slo_s| {
            self.work.time_beyond(slo_s, to / size) > HOPELESS && !lacks(Part::Hopeless)
        });
        if libm::round(to) >= 0.9 * size || loses || hopeless {
            return None;
        }
        let reason = Reason::CpuFull {
            cpu_share: sight.cpu_share.unwrap_or(CPU_FULL),
        };
        let proposal = self.go(sight, to, Purpose::Predict, reason);
        if proposal.is_some() {
            self.cpu_ticks = 0;
        }
        proposal
    }

    /// A pool far beyond its cores that loses work from the start is looked at below before anything else: the safe side.
    pub(super) fn look_below_at_once(&mut self, sight: &Sight<'_>, flow: &Flow) {
        if lacks(Part::LookAtOnce) {
            return;
        }
        let watched = self.began_s.is_some_and(|began| sight.now_s - began >= 2.0);
        let losing = flow.lost > 0.08 * flow.arrived;
        let large = sight.size() > 2.0 * sight.cores();
        let free = sight.free && !sight.pending && self.urge.is_none();
        let free = free && !self.start_is_ahead(sight);
        if self.steps == 0 && !self.first_look_done && watched && losing && large && free {
            let look = self.look_below_first(sight);
            self.urge = look.map(Urge::Go);
        }
    }

    /// The first look below, a third down.
    pub(super) fn look_below_first(&mut self, sight: &Sight<'_>) -> Option<super::Proposal> {
        self.first_look_done = true;
        self.climbing = false;
        self.go(
            sight,
            0.67 * sight.size(),
            Purpose::Look,
            self.waiting_below(),
        )
    }

    pub(super) fn waiting_below(&self) -> Reason {
        let (queued, lost_per_s) = self.waiting();
        Reason::LookBelow { queued, lost_per_s }
    }

    /// Mean of waiting work, and lost work a second.
    pub(super) fn waiting(&self) -> (f64, f64) {
        let lost = self.flow.lost / self.flow.seconds.max(1e-9);
        (self.arrivals.now() * self.wait_s, lost)
    }
}
