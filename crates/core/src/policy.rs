//! What to try next for one pool: one step at a time when work waits, and back when it did not pay.
//!
//! The policy only proposes. Whether a proposal may be carried out is the guard's business, and whether it helped is decided
//! in [`proof`].

pub mod proof;

use crate::moment::{Moment, Span};
use crate::number::{fraction, whole};
use crate::profile::Profile;
use crate::window::PoolDelta;
use trimtab_protocol::decision::{Direction, Expectation, Reason, Regime, WindowFigures};

/// Completions before anything is concluded: with fewer, two windows resolve only a difference of a half.
pub const COMPLETIONS_MIN: u64 = 30;

/// How long a direction rests after it did not pay the first time; it doubles each time.
const REST_MIN: Span = Span::from_secs(20);
/// The longest rest.
const REST_MAX: Span = Span::from_secs(300);

/// Work that takes this many times as long as it did among fewer is in each other's way, and more of it would only add to that.
const CROWDED: f64 = 2.0;
/// A tick shows what work takes by itself when at most this share of the workers is busy ...
const LEAN_SHARE: f64 = 0.7;
/// ... and so many jobs ended in it.
const LEAN_COMPLETIONS: u64 = 10;
/// How long such a tick is remembered: the service behind the pool may have changed since.
const LEAN_FOR: Span = Span::from_secs(150);

/// What one pool's past has taught.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    up: Rest,
    down: Rest,
    lean: Option<Lean>,
}

/// What a job takes in service while the pool is not crowded.
#[derive(Clone, Copy, Debug)]
struct Lean {
    residence_s: f64,
    at: Moment,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    until: Moment,
    failures: u32,
}

impl Memory {
    /// A trial in this direction paid: it may go on at once, and the way back rests, for it was just left.
    pub fn paid(&mut self, direction: Direction, now: Moment) {
        *self.rest(direction) = Rest::default();
        let back = self.rest(opposite(direction));
        back.until = back.until.max(now.after(REST_MIN));
    }

    /// A trial in this direction did not pay: it rests, longer each time.
    pub fn did_not_pay(&mut self, direction: Direction, now: Moment) {
        let rest = self.rest(direction);
        let doubled = REST_MIN.as_ns().saturating_mul(1 << rest.failures.min(8));
        rest.until = now.after(Span::from_ns(doubled.min(REST_MAX.as_ns())));
        rest.failures = rest.failures.saturating_add(1);
    }

    /// Forgets everything: the host is another one, or the load is.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes in a tick: mean time in service is busy workers over throughput, by Little's law. The shortest is remembered.
    pub fn notice(&mut self, delta: &PoolDelta, workers: u64, now: Moment) {
        let busy = delta.busy();
        if delta.completed < LEAN_COMPLETIONS || busy > LEAN_SHARE * fraction(workers) {
            return;
        }
        let residence_s = busy * delta.span.as_secs_f64() / fraction(delta.completed);
        if self.lean(now).is_none_or(|lean| residence_s <= lean) {
            self.lean = Some(Lean {
                residence_s,
                at: now,
            });
        }
    }

    fn lean(&self, now: Moment) -> Option<f64> {
        let lean = self.lean.filter(|lean| now.since(lean.at) <= LEAN_FOR)?;
        Some(lean.residence_s)
    }

    /// Why fewer workers might do more: work in this window took much longer than it does among fewer.
    fn crowded(&self, window: &WindowFigures, now: Moment) -> Option<Reason> {
        let residence_s = window.busy * window.seconds / fraction(window.completed.max(1));
        let lean = self.lean(now).filter(|lean| residence_s > CROWDED * lean)?;
        Some(Reason::Crowded {
            service_us: whole(residence_s * 1e6),
            lean_us: whole(lean * 1e6),
        })
    }

    /// For how long a direction still rests.
    #[must_use]
    pub fn resting(&self, direction: Direction, now: Moment) -> Option<Span> {
        let until = match direction {
            Direction::Up => self.up.until,
            Direction::Down => self.down.until,
        };
        (until > now).then(|| until.since(now))
    }

    fn rest(&mut self, direction: Direction) -> &mut Rest {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

/// The other way.
#[must_use]
pub fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    }
}

/// A size to try, before the guard has seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The worker target.
    pub workers: u64,
    /// Which way.
    pub direction: Direction,
    /// Why.
    pub reason: Reason,
    /// What it should bring.
    pub expectation: Expectation,
}

/// What the policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Now.
    pub now: Moment,
    /// What limits the pool.
    pub regime: Regime,
    /// The window at the present size.
    pub window: &'a WindowFigures,
    /// The present worker target.
    pub workers: u64,
    /// The largest ratio of one change, in basis points.
    pub ratio_bp: u32,
    /// CPU used, as a share of the quota.
    pub cpu_share: Option<f64>,
    /// The profile.
    pub profile: &'a Profile,
}

/// What to try, or why nothing.
///
/// # Errors
/// The reason to hold.
pub fn propose(situation: &Situation<'_>, memory: &Memory) -> Result<Proposal, Reason> {
    match situation.regime {
        Regime::Idle => Err(Reason::Idle),
        Regime::Ample => Err(Reason::Ample),
        // Nothing measured now says anything about the size, so nothing is tried; protection is the controller's.
        Regime::Blind | Regime::Stuck | Regime::MemoryRisk => Err(Reason::NothingToGain),
        Regime::CpuBound => look_below(situation, memory, cpu_full(situation)),
        Regime::Starved | Regime::DownstreamBound => starved(situation, memory),
    }
}

fn starved(situation: &Situation<'_>, memory: &Memory) -> Result<Proposal, Reason> {
    enough(situation.window)?;
    let (queued, lost_per_s) = (situation.window.queued, situation.window.lost_per_s);
    // A crowded pool is first looked at with fewer workers: if they are in each other's way, more would make it worse.
    if memory.resting(Direction::Down, situation.now).is_none()
        && let Some(crowded) = memory.crowded(situation.window, situation.now)
    {
        return look_below(situation, memory, crowded);
    }
    if memory.resting(Direction::Up, situation.now).is_none() {
        let larger = scaled(situation.workers, situation.ratio_bp, Direction::Up);
        return Ok(proposal(
            situation,
            larger,
            Direction::Up,
            Reason::Starved { queued, lost_per_s },
        ));
    }
    look_below(situation, memory, Reason::LookBelow { queued, lost_per_s })
}

fn look_below(
    situation: &Situation<'_>,
    memory: &Memory,
    reason: Reason,
) -> Result<Proposal, Reason> {
    enough(situation.window)?;
    if let Some(rest) = memory.resting(Direction::Down, situation.now) {
        return Err(Reason::Resting {
            direction: Direction::Down,
            seconds: rest.as_secs_f64(),
        });
    }
    let smaller = scaled(situation.workers, situation.ratio_bp, Direction::Down);
    Ok(proposal(situation, smaller, Direction::Down, reason))
}

fn cpu_full(situation: &Situation<'_>) -> Reason {
    Reason::CpuFull {
        cpu_share: situation.cpu_share.unwrap_or(1.0),
    }
}

fn enough(window: &WindowFigures) -> Result<(), Reason> {
    if window.completed < COMPLETIONS_MIN {
        return Err(Reason::TooFew {
            completed: window.completed,
            needed: COMPLETIONS_MIN,
        });
    }
    Ok(())
}

fn proposal(
    situation: &Situation<'_>,
    workers: u64,
    direction: Direction,
    reason: Reason,
) -> Proposal {
    let start = situation.profile.workers.start.value;
    // The profile's start is where its author expects the pool to end up, so a step does not jump over it.
    let workers = match direction {
        Direction::Up if situation.workers < start => workers.min(start.max(situation.workers + 1)),
        Direction::Up | Direction::Down => workers,
    };
    Proposal {
        workers,
        direction,
        reason,
        expectation: expectation(situation, workers),
    }
}

/// Hopes for goodput in proportion to the workers, up to what arrives; the proof asks for less than that.
fn expectation(situation: &Situation<'_>, workers: u64) -> Expectation {
    let window = situation.window;
    let grown = window.goodput_per_s * fraction(workers) / fraction(situation.workers.max(1));
    let ceiling = window.arrivals_per_s.max(window.goodput_per_s);
    Expectation {
        goodput_per_s: if workers > situation.workers {
            grown.min(ceiling)
        } else {
            window.goodput_per_s
        },
        least_gain_per_s: proof::least_gain(window.goodput_per_s, window.seconds),
    }
}

/// A size one ratio away, at least one worker different, and never below one.
fn scaled(workers: u64, ratio_bp: u32, direction: Direction) -> u64 {
    let ratio = f64::from(ratio_bp.max(10_000)) / 1e4;
    match direction {
        Direction::Up => {
            whole(libm::floor(fraction(workers) * ratio)).max(workers.saturating_add(1))
        }
        Direction::Down => whole(libm::ceil(fraction(workers) / ratio))
            .min(workers.saturating_sub(1))
            .max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::profile;

    fn window(completed: u64) -> WindowFigures {
        WindowFigures {
            seconds: 5.0,
            completed,
            good: completed,
            goodput_per_s: 40.0,
            queued: 30.0,
            ..Default::default()
        }
    }

    fn situation<'a>(
        regime: Regime,
        window: &'a WindowFigures,
        profile: &'a Profile,
    ) -> Situation<'a> {
        let now = Moment::from_boot_ns(1_000_000_000);
        Situation {
            now,
            regime,
            window,
            workers: 16,
            ratio_bp: 20_000,
            cpu_share: Some(0.3),
            profile,
        }
    }

    #[test]
    fn a_starved_pool_grows_by_one_step() {
        let (window, profile) = (window(200), profile());
        let proposal = propose(
            &situation(Regime::Starved, &window, &profile),
            &Memory::default(),
        )
        .expect("a proposal");
        assert_eq!((proposal.workers, proposal.direction), (32, Direction::Up));
    }

    #[test]
    fn when_growth_did_not_pay_it_looks_below_and_then_rests() {
        let (window, profile) = (window(200), profile());
        let situation = situation(Regime::DownstreamBound, &window, &profile);
        let mut memory = Memory::default();
        memory.did_not_pay(Direction::Up, situation.now);
        let proposal = propose(&situation, &memory).expect("a look below");
        assert_eq!((proposal.workers, proposal.direction), (8, Direction::Down));
        memory.did_not_pay(Direction::Down, situation.now);
        assert!(matches!(
            propose(&situation, &memory),
            Err(Reason::Resting {
                direction: Direction::Down,
                ..
            })
        ));
    }

    #[test]
    fn too_few_completions_conclude_nothing() {
        let (window, profile) = (window(29), profile());
        let held = propose(
            &situation(Regime::Starved, &window, &profile),
            &Memory::default(),
        );
        assert_eq!(
            held,
            Err(Reason::TooFew {
                completed: 29,
                needed: 30
            })
        );
    }

    #[test]
    fn a_rest_doubles_each_time_and_ends() {
        let mut memory = Memory::default();
        let start = Moment::from_boot_ns(0);
        memory.did_not_pay(Direction::Up, start);
        assert_eq!(memory.resting(Direction::Up, start), Some(REST_MIN));
        memory.did_not_pay(Direction::Up, start);
        assert_eq!(
            memory.resting(Direction::Up, start),
            Some(Span::from_secs(40))
        );
        (0..20).for_each(|_| memory.did_not_pay(Direction::Up, start));
        assert_eq!(memory.resting(Direction::Up, start), Some(REST_MAX));
        assert_eq!(memory.resting(Direction::Up, start.after(REST_MAX)), None);
    }

    #[test]
    fn a_step_changes_at_least_one_worker_and_keeps_one() {
        assert_eq!(scaled(1, 12_500, Direction::Up), 2);
        assert_eq!(scaled(2, 12_500, Direction::Down), 1);
        assert_eq!(scaled(1, 20_000, Direction::Down), 1);
        assert_eq!(scaled(9, 20_000, Direction::Down), 5);
    }
}
