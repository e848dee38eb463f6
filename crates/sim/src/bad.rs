//! Bad profiles under load: how long what they ask for stays in force where it does harm.
//!
//! A host is served well under its profile; then a bad one is put in its place, as if somebody had approved it and nothing had
//! read it before. From then on every second is judged by a truth that the controller does not have: the setting in force is
//! *harmful* when the same host under the same jobs, left alone at that setting, serves less than [`HARMLESS`] of what it
//! serves at the setting that stood before. A stretch of such seconds in which less than that was in fact served, against the
//! very same seconds of the host left alone where it stood, is a *spell*, and each has to end in time.

use crate::dice::Dice;
use crate::number::{count, index, whole};
use crate::plants::draw;
use crate::pool::Setting;
use crate::run::{Driver, Outcome, Run};
use crate::scenario::{Load, Scenario};
use crate::sidecar;
use crate::trace::Trace;
use crate::world::League;
use std::fmt;
use std::ops::Range;
use trimtab_core::expression::{Expression, ExpressionError};
use trimtab_core::moment::Span;
use trimtab_core::profile::{Benefit, Cited, KnobRange, Profile, Settings, Trigger, TriggerAction};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::KnobName;

/// The stream of the dice from which bad profiles are drawn.
const STREAM: u64 = 81;
/// The good profile is followed for so long, in seconds, ...
const BEFORE_S: usize = 120;
/// ... and then the bad one.
const AFTER_S: usize = 300;
/// The seconds of it.
const AFTER: Range<usize> = BEFORE_S..BEFORE_S + AFTER_S;
/// A setting that serves at least this of what the one before served does no harm.
pub const HARMLESS: f64 = 0.95;
/// Where so many jobs a second complete, ...
pub const BUSY_PER_S: f64 = 10.0;
/// ... harm lasts at most so long, in seconds; ...
pub const SPELL_MAX_S: u64 = 15;
/// ... elsewhere at most two of the controller's longest windows.
pub const SPELL_QUIET_MAX_S: u64 = 40;

/// The jobs a second, at its best, of hosts that are drawn: enough to judge by, few enough for a thousand of them.
const PEAK: std::ops::RangeInclusive<f64> = 4.0..=150.0;

/// What is bad about a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The least size is more than the service bears.
    LeastTooLarge,
    /// The largest size is far too small.
    MostTooSmall,
    /// One worker, and no other number.
    PoolOfOne,
    /// A rule that grows for ever.
    GrowsForEver,
    /// A rule that shrinks for ever, and names a benefit.
    ShrinksForEver,
    /// A rule that sets the size to one.
    SetsOne,
    /// A rule that sets the size to ten times what is needed.
    SetsTenfold,
    /// Timeouts below the time that a job takes.
    TimeoutTooShort,
    /// A rule that sets such a timeout.
    SetsTimeout,
    /// Next to nothing may wait.
    QueueTooShort,
    /// A rule that lets next to nothing wait.
    SetsQueue,
    /// A million may wait.
    QueueTooLong,
    /// A goal that no job can meet.
    GoalOutOfReach,
    /// A goal that every job meets, however late.
    GoalWithoutMeaning,
    /// One worker, a timeout of a millisecond, a million in the queue.
    AllOfIt,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::LeastTooLarge,
        Self::MostTooSmall,
        Self::PoolOfOne,
        Self::GrowsForEver,
        Self::ShrinksForEver,
        Self::SetsOne,
        Self::SetsTenfold,
        Self::TimeoutTooShort,
        Self::SetsTimeout,
        Self::QueueTooShort,
        Self::SetsQueue,
        Self::QueueTooLong,
        Self::GoalOutOfReach,
        Self::GoalWithoutMeaning,
        Self::AllOfIt,
    ];

    /// The kind that the host of a number gets, so that a number gives the same case again.
    fn of(number: u64) -> Self {
        let turn = index(number % count(Self::ALL.len()));
        Self::ALL.get(turn).copied().unwrap_or(Self::AllOfIt)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::LeastTooLarge => "least size more than the service bears",
            Self::MostTooSmall => "largest size far too small",
            Self::PoolOfOne => "one worker and no other number",
            Self::GrowsForEver => "rule that grows for ever",
            Self::ShrinksForEver => "rule that shrinks for ever",
            Self::SetsOne => "rule that sets one worker",
            Self::SetsTenfold => "rule that sets ten times the workers",
            Self::TimeoutTooShort => "timeouts below the time of a job",
            Self::SetsTimeout => "rule that sets such a timeout",
            Self::QueueTooShort => "next to nothing may wait",
            Self::SetsQueue => "rule that lets next to nothing wait",
            Self::QueueTooLong => "a million may wait",
            Self::GoalOutOfReach => "goal that no job meets",
            Self::GoalWithoutMeaning => "goal that every job meets",
            Self::AllOfIt => "one worker, 1 ms, a million in the queue",
        })
    }
}

/// A host under load, and the bad profile that it gets.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number of the host.
    pub number: u64,
    /// What is bad.
    pub kind: Kind,
    scenario: Scenario,
    settings: Settings,
}

/// What came of a bad profile.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Jobs a second that the host completes at the setting that stood before.
    pub completes: f64,
    /// How long each spell of harm lasted, in seconds.
    pub spells: Vec<u64>,
    /// Good answers while the profile was in force, as a share of those of a host that was left alone where it stood.
    pub goodput: f64,
    /// Changes of a value while the profile was in force.
    pub changes: u64,
}

/// The first `count` cases from a number on.
///
/// # Errors
/// When a rule of a profile is none.
pub fn cases(from: u64, count: usize) -> Result<Vec<Case>, ExpressionError> {
    let hosts = (from..).map(|number| (number, draw(number).scenario));
    let fitting = hosts.filter(|(_, scenario)| {
        let pool = scenario.pools.first();
        pool.is_some_and(|pool| PEAK.contains(&pool.plant.peak()))
    });
    let drawn = fitting.take(count);
    drawn
        .map(|(number, scenario)| Case::new(number, Kind::of(number), scenario))
        .collect()
}

impl Case {
    fn new(number: u64, kind: Kind, mut scenario: Scenario) -> Result<Self, ExpressionError> {
        let mut dice = Dice::new(number, STREAM);
        scenario.duration = (BEFORE_S + AFTER_S) as f64;
        let mut need = Need::default();
        if let Some(pool) = scenario.pools.first_mut() {
            let rate = pool.plant.peak() * dice.between(0.6, 1.1);
            pool.load = Load {
                points: vec![(0.0, rate)],
                period: None,
            };
            need = Need {
                workers: pool.plant.smallest_near_peak(0.99),
                job_ms: 1e3 * pool.plant.work.mean(),
            };
            (pool.start, pool.operator) = (need.workers, need.workers);
        }
        let mut settings = sidecar::settings(&scenario);
        for profile in settings.profiles.values_mut() {
            spoil(profile, kind, &need, &mut dice)?;
        }
        Ok(Self {
            number,
            kind,
            scenario,
            settings,
        })
    }

    /// Puts the bad profile into force, and judges every second of it.
    #[must_use]
    pub fn play(&self) -> Verdict {
        let controller = Box::new(sidecar::controller(&self.scenario));
        self.judge(Driver::Adopting {
            controller,
            at: BEFORE_S as f64,
            settings: Some(Box::new(self.settings.clone())),
        })
    }

    /// The same with the good profile left in force: what the ordinary search of the controller costs on this host.
    #[must_use]
    pub fn play_good(&self) -> Verdict {
        let controller = Box::new(sidecar::controller(&self.scenario));
        self.judge(Driver::Controller(controller))
    }

    /// The same with somebody else at the knobs.
    #[must_use]
    pub fn judge(&self, driver: Driver<'_>) -> Verdict {
        let outcome = self.run(&self.scenario, driver);
        let stood = outcome.seconds.get(BEFORE_S);
        let Some(before) = stood.and_then(|second| second.settings.first()).copied() else {
            return Verdict::default();
        };
        let mut truth = Truth::new(self, before);
        let served = good_of(&outcome);
        let mut stretches: Vec<Range<usize>> = Vec::new();
        for (at, second) in outcome.seconds.iter().enumerate().skip(BEFORE_S) {
            let setting = second.settings.first();
            if !setting.is_some_and(|setting| truth.is_harmful(setting)) {
                continue;
            }
            match stretches.last_mut().filter(|last| last.end == at) {
                Some(last) => last.end = at + 1,
                None => stretches.push(at..at + 1),
            }
        }
        let lost = |stretch: &&Range<usize>| {
            let usual = sum(&truth.usual, (*stretch).clone());
            sum(&served, (*stretch).clone()) < HARMLESS * usual
        };
        let spells = stretches.iter().filter(lost);
        let from = BEFORE_S as f64;
        let usual = sum(&truth.usual, AFTER).max(1.0);
        Verdict {
            completes: truth.completes,
            spells: spells.map(|spell| count(spell.len())).collect(),
            goodput: sum(&served, AFTER) / usual,
            changes: count(outcome.changes.iter().filter(|(at, _)| *at >= from).count()),
        }
    }

    fn run(&self, scenario: &Scenario, driver: Driver<'_>) -> Outcome {
        let trace = Trace::draw(scenario, self.number);
        let run = Run {
            scenario,
            trace: &trace,
            seed: self.number,
            league: League::Sidecar,
        };
        run.drive(driver)
    }

    /// The host left alone at a setting.
    fn left_alone(&self, setting: &Setting) -> Outcome {
        let mut scenario = self.scenario.clone();
        if let Some(pool) = scenario.pools.first_mut() {
            pool.start = setting.workers;
            pool.queue_limit = setting.queue_limit;
            pool.timeout = setting.timeout;
        }
        self.run(&scenario, Driver::Nobody)
    }
}

/// Good answers of each second.
fn good_of(outcome: &Outcome) -> Vec<u32> {
    outcome
        .pools
        .first()
        .map_or_else(Vec::new, |pool| pool.good.clone())
}

fn sum(seconds: &[u32], range: Range<usize>) -> f64 {
    let seconds = seconds.get(range).unwrap_or(&[]);
    seconds.iter().map(|good| f64::from(*good)).sum()
}

impl Verdict {
    /// How long a spell may last, in seconds.
    #[must_use]
    pub fn allowed_s(&self) -> u64 {
        if self.completes >= BUSY_PER_S {
            SPELL_MAX_S
        } else {
            SPELL_QUIET_MAX_S
        }
    }

    /// Whether all harm ended in time.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.spells.iter().all(|spell| *spell <= self.allowed_s())
    }
}

/// What is known of settings, each looked at once.
struct Truth<'a> {
    case: &'a Case,
    /// Good answers of each second where the host was left alone at what stood before.
    usual: Vec<u32>,
    completes: f64,
    known: Vec<(Setting, bool)>,
}

impl<'a> Truth<'a> {
    fn new(case: &'a Case, stood: Setting) -> Self {
        let outcome = case.left_alone(&stood);
        let done = outcome.pools.first().map_or(&[][..], |pool| &pool.done);
        Self {
            case,
            completes: sum(done, AFTER) / AFTER_S as f64,
            usual: good_of(&outcome),
            known: vec![(stood, false)],
        }
    }

    fn is_harmful(&mut self, setting: &Setting) -> bool {
        if let Some((_, harmful)) = self.known.iter().find(|(known, _)| known == setting) {
            return *harmful;
        }
        let good = sum(&good_of(&self.case.left_alone(setting)), AFTER);
        let harmful = good < HARMLESS * sum(&self.usual, AFTER);
        self.known.push((*setting, harmful));
        harmful
    }
}

/// What a service needs, so that a profile can ask for something else.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    workers: u64,
    job_ms: f64,
}

fn spoil(
    profile: &mut Profile,
    kind: Kind,
    need: &Need,
    dice: &mut Dice,
) -> Result<(), ExpressionError> {
    let short_ms = whole(need.job_ms * dice.between(0.1, 0.5)).max(1);
    let few = whole(need.workers as f64 * dice.between(0.05, 0.3)).max(1);
    let many = whole(need.workers as f64 * dice.between(3.0, 10.0)).max(4);
    let set = |knob: &str, value| TriggerAction::Set {
        knob: KnobName::from(knob),
        value: KnobValue::Integer(value),
    };
    match kind {
        Kind::LeastTooLarge => profile.workers = range(many, many, 2 * many),
        Kind::MostTooSmall => profile.workers = range(few, 1, few),
        Kind::PoolOfOne => profile.workers = range(1, 1, 1),
        Kind::GrowsForEver => always(profile, TriggerAction::Grow)?,
        Kind::ShrinksForEver => always(profile, TriggerAction::Shrink)?,
        Kind::SetsOne => always(profile, set(KnobName::WORKERS, 1))?,
        Kind::SetsTenfold => always(profile, set(KnobName::WORKERS, 10 * need.workers))?,
        Kind::TimeoutTooShort => profile.timeout_ms = range(short_ms, 1, short_ms),
        Kind::SetsTimeout => {
            profile.timeout_ms = range(30_000, 1, 60_000);
            always(profile, set(KnobName::TIMEOUT_MS, short_ms))?;
        }
        Kind::QueueTooShort => profile.queue_limit = range(1, 1, 2),
        Kind::SetsQueue => always(profile, set(KnobName::QUEUE_LIMIT, 1))?,
        Kind::QueueTooLong => profile.queue_limit = range(1_000_000, 1_000_000, 1_000_000),
        Kind::GoalOutOfReach => profile.slo_ms = Some(cited(1)),
        Kind::GoalWithoutMeaning => profile.slo_ms = Some(cited(3_600_000)),
        Kind::AllOfIt => {
            profile.workers = range(1, 1, 1);
            profile.timeout_ms = range(1, 1, 1);
            profile.queue_limit = range(1_000_000, 1_000_000, 1_000_000);
        }
    }
    Ok(())
}

/// A rule whose condition always holds.
fn always(profile: &mut Profile, action: TriggerAction) -> Result<(), ExpressionError> {
    profile.triggers = vec![Trigger {
        when: cited(Expression::parse("workers >= 1")?),
        lasting: Span::from_secs(1),
        action: cited(action),
        because: "somebody thought so".to_owned(),
        benefit: Some(Benefit::Contention),
    }];
    Ok(())
}

fn range(start: u64, min: u64, max: u64) -> KnobRange {
    KnobRange {
        start: cited(start),
        min: cited(min),
        max: cited(max),
    }
}

fn cited<T>(value: T) -> Cited<T> {
    Cited::built_in("bad", value)
}
