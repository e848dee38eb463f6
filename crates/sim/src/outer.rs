//! Others who steer the same host: a loop around it that adds and takes hosts like it, and a person who edits its knobs.
//!
//! Each run is made twice on the same jobs, with the sidecar and without, and the two are held against laws. For an hour the
//! load comes and goes, and a person sets and pins knobs; in the second hour nothing moves but the two loops, and so what
//! moves then is theirs.

mod person;
mod scaler;

use crate::dice::Dice;
use crate::number::{count, index, whole};
use crate::run::{Driver, Outcome, Outside, Run};
use crate::scenario::{Scenario, ScenarioError};
use crate::sidecar;
use crate::trace::Trace;
use crate::world::{League, World};
use person::Person;
use scaler::Scaler;
pub use scaler::Signal;

/// The stream of the dice from which hosts are drawn.
const STREAM: u64 = 78;
/// Load and people come and go for so long, in seconds.
const RESTLESS_S: usize = 3_600;
/// And then there is an hour in which nothing happens from outside.
const STEADY_S: usize = 3_600;

/// A confirmed size may turn back so often in a steady hour: once in ten minutes.
pub const REVERSALS_MAX: u64 = 6;
/// A loop has settled that changes the number of hosts at most so often in the steady hour, ...
pub const SETTLED_MAX: u64 = 2;
/// ... and by no more than one host. Others hunt by themselves: jobs in flight hardly rise until a host is near its peak.
pub const SETTLED_SWING_MAX: u64 = 1;
/// At least this share of the loops that settle without the sidecar, in number, settles with it.
pub const SETTLES_SHARE_MIN: f64 = 0.95;
/// All loops together may change the number of hosts so much oftener with the sidecar, as a share: one that hunts changes it
/// at other times, and now oftener and now less often, in any two runs.
pub const RESIZES_SHARE_MAX: f64 = 1.1;
/// What is served with the sidecar, as a share of what is served without, is at least this: the share of the jobs that comes to
/// a host is drawn, so that two runs differ by a part of a percent by themselves.
pub const GOODPUT_MIN: f64 = 0.98;

/// A host, the loop around it and the person, drawn from a number.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number.
    pub number: u64,
    /// By what the loop scales.
    pub signal: Signal,
    /// The host, with the load of all hosts together.
    pub scenario: Scenario,
    /// The smallest size that is near the plant's peak.
    pub best: u64,
}

/// What one of the two runs came to.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// How often a value that a person held was another one, in seconds.
    pub overwritten: u64,
    /// Edits by the person.
    pub edits: u64,
    /// Confirmed changes of the size in the steady hour.
    pub moves: u64,
    /// Confirmed changes of the size in the steady hour that turned back.
    pub reversals: u64,
    /// Changes of the number of hosts in the steady hour.
    pub resizes: u64,
    /// The smallest and the largest number of hosts in the steady hour's second half.
    pub band: (u64, u64),
    /// Good answers of all hosts in both hours.
    pub good: f64,
    /// Hosts times seconds.
    pub host_seconds: f64,
}

/// Both runs of a case.
#[derive(Clone, Debug)]
pub struct Pair {
    /// With nobody at the knobs but the person.
    pub without: Half,
    /// With the sidecar.
    pub with: Half,
}

/// A law that a pair breaks, in words.
pub type Broken = String;

impl Case {
    /// Draws the case of a number; even numbers scale by CPU, odd ones by jobs in flight.
    ///
    /// # Errors
    /// When what is drawn is no scenario.
    pub fn draw(number: u64) -> Result<Self, ScenarioError> {
        let mut dice = Dice::new(number, STREAM);
        let signal = if number.is_multiple_of(2) {
            Signal::Cpu
        } else {
            Signal::InFlight
        };
        let best = libm::round(dice.log_between(6.0, 48.0));
        // Jobs a second at the plant's best; so few that two hours are a matter of seconds.
        let peak = dice.log_between(15.0, 50.0);
        let mean_ms = 1e3 * best / peak;
        let limits = match dice.below(3) {
            0 => format!("capacity = {best}\ncpu_share = 0.05\n"),
            1 => {
                let alpha = (0.3 / best).min(0.05);
                let beta = (1.0 - alpha) / (best * best);
                format!("alpha = {alpha:.6}\nbeta = {beta:.8}\ncpu_share = 0.05\n")
            }
            _ => format!("cores = {:.2}\ncpu_share = 0.5\n", 0.5 * best),
        };
        let plant = format!(
            "[plant]\nwork = {{ dist = \"lognormal\", mean = \"{mean_ms:.1}ms\", cv = {:.2} }}\n{limits}",
            dice.between(0.3, 1.5)
        );
        let bare = Scenario::parse(&text(number, 8, 1.0, &plant, "rate = 1.0\n"), "drawn")?;
        let Some(model) = bare.pools.first().map(|pool| pool.plant.clone()) else {
            return Ok(Self {
                number,
                signal,
                scenario: bare,
                best: 1,
            });
        };
        let near = model.smallest_near_peak(0.99);
        let slo = 6.0 * near as f64 / model.peak();
        let start = whole(near as f64 * dice.log_between(0.5, 3.0)).clamp(2, 512);
        let load = load(&mut dice);
        let scenario = Scenario::parse(&text(number, start, slo, &plant, &load), "drawn")?;
        Ok(Self {
            number,
            signal,
            scenario,
            best: near,
        })
    }

    /// Runs it with the sidecar and without, on the same jobs.
    #[must_use]
    pub fn play(&self) -> Pair {
        let controller = Box::new(sidecar::controller(&self.scenario));
        Pair {
            without: self.half(Driver::Nobody),
            with: self.half(Driver::Controller(controller)),
        }
    }

    /// Runs it with somebody at the knobs beside the person.
    #[must_use]
    pub fn half(&self, driver: Driver<'_>) -> Half {
        let trace = Trace::draw(&self.scenario, self.number);
        let run = Run {
            scenario: &self.scenario,
            trace: &trace,
            seed: self.number,
            league: League::Sidecar,
        };
        let mut around = Around::new(self);
        let outcome = run.among(driver, &mut around, &mut |_, _, _| ());
        around.told(&outcome)
    }
}

impl Half {
    /// Whether the loop around the hosts has settled in the steady hour.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.resizes <= SETTLED_MAX && self.swing() <= SETTLED_SWING_MAX
    }

    /// Between the smallest and the largest number of hosts in the last half hour.
    #[must_use]
    pub fn swing(&self) -> u64 {
        self.band.1 - self.band.0
    }
}

impl Pair {
    /// Good answers with the sidecar as a share of those without.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.with.good / self.without.good.max(1.0)
    }

    /// The laws that it breaks.
    #[must_use]
    pub fn broken(&self) -> Vec<Broken> {
        let (with, without) = (&self.with, &self.without);
        let mut broken = Vec::new();
        for half in [with, without] {
            if half.overwritten > 0 {
                broken.push(format!(
                    "a person's value was another one for {} s",
                    half.overwritten
                ));
            }
        }
        // Where hosts come and go all the time, so does each one's load, and its size may follow.
        if with.reversals > REVERSALS_MAX.max(with.resizes) {
            broken.push(format!(
                "the size turned back {} times in a steady hour, in which hosts came or went {} times",
                with.reversals, with.resizes
            ));
        }
        if self.goodput() < GOODPUT_MIN {
            broken.push(format!(
                "{:.3} of what is served without the sidecar",
                self.goodput()
            ));
        }
        broken
    }
}

/// The laws about all pairs together that they break: the loops settle as they do without the sidecar. Of one pair it cannot be
/// asked, for a figure at the edge of the loop's tolerance is now within and now beyond it in any two runs.
#[must_use]
pub fn broken_together(pairs: &[Pair]) -> Vec<Broken> {
    let sum = |of: fn(&Pair) -> u64| pairs.iter().map(of).sum::<u64>();
    let mut broken = Vec::new();
    let (with, without) = (sum(|it| it.with.resizes), sum(|it| it.without.resizes));
    if with as f64 > RESIZES_SHARE_MAX * without as f64 {
        broken.push(format!(
            "hosts came or went {with} times in the steady hours, without the sidecar {without}"
        ));
    }
    let with = sum(|it| u64::from(it.with.is_settled()));
    let without = sum(|it| u64::from(it.without.is_settled()));
    if (with as f64) < SETTLES_SHARE_MIN * without as f64 {
        broken.push(format!(
            "{with} loops settled, without the sidecar {without}"
        ));
    }
    broken
}

/// All that acts on the host beside whoever is at its knobs, and what is noted of it.
struct Around {
    scaler: Scaler,
    person: Person,
    /// The number of hosts in each second.
    hosts: Vec<u64>,
    /// The confirmed size in each second.
    sizes: Vec<u64>,
}

impl Around {
    fn new(case: &Case) -> Self {
        Self {
            scaler: Scaler::new(case),
            person: Person::new(case, RESTLESS_S as f64),
            hosts: Vec::new(),
            sizes: Vec::new(),
        }
    }

    fn told(self, outcome: &Outcome) -> Half {
        let steady = |values: &[u64]| values.get(RESTLESS_S..).unwrap_or(&[]).to_vec();
        let (hosts, sizes) = (steady(&self.hosts), steady(&self.sizes));
        let last = hosts.get(STEADY_S / 2..).unwrap_or(&[]);
        let seconds = outcome.pools.first().map_or(&[][..], |pool| &pool.good);
        let good = seconds.iter().zip(&self.hosts);
        Half {
            overwritten: self.person.overwritten,
            edits: self.person.edits,
            moves: resizes(&sizes),
            reversals: reversals(&sizes),
            resizes: resizes(&hosts),
            band: (
                last.iter().copied().min().unwrap_or(0),
                last.iter().copied().max().unwrap_or(0),
            ),
            good: good
                .map(|(good, hosts)| f64::from(*good) * *hosts as f64)
                .sum(),
            host_seconds: self.hosts.iter().map(|hosts| *hosts as f64).sum(),
        }
    }
}

impl Outside for Around {
    fn act(&mut self, world: &mut World<'_>) {
        self.person.act(world);
        self.scaler.act(world);
        self.hosts.push(self.scaler.hosts());
        let confirmed = if world.host.has_trial(0) {
            self.sizes.last().copied()
        } else {
            None
        };
        let size = confirmed.unwrap_or_else(|| world.host.setting(0).workers);
        self.sizes.push(size);
    }
}

/// How often a value changes.
fn resizes(values: &[u64]) -> u64 {
    count(values.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// How often a value goes the other way than it went before.
fn reversals(values: &[u64]) -> u64 {
    let moves: Vec<bool> = values
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .map(|pair| pair[1] > pair[0])
        .collect();
    count(moves.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// The load of all hosts together, in multiples of one host's peak: steps for most of an hour, then one level.
fn load(dice: &mut Dice) -> String {
    let level = dice.between(1.5, 4.5);
    let mut points = Vec::new();
    let (mut at, mut now) = (0, level);
    while at < RESTLESS_S - 900 {
        let until = at + 120 + index(dice.below(300));
        points.push(format!("[\"{at}s\", {now:.2}], [\"{until}s\", {now:.2}]"));
        (at, now) = (until, level * dice.between(0.5, 1.3));
    }
    points.push(format!("[\"{at}s\", {level:.2}]"));
    format!("points = [{}]\n", points.join(", "))
}

fn text(number: u64, start: u64, slo: f64, plant: &str, load: &str) -> String {
    format!(
        "name = \"outer-{number}\"\nduration = \"{}s\"\nstart = {start}\nmin = 1\nmax = 512\noperator = {start}\n\
         slo = \"{:.1}ms\"\nqueue_limit = 2000\nqueue_deadline = \"{:.1}ms\"\n{plant}[load]\n{load}",
        RESTLESS_S + STEADY_S,
        slo * 1e3,
        slo * 250.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_goes_back_and_forth_is_counted_and_one_that_climbs_is_not() {
        assert_eq!(reversals(&[4, 4, 6, 8, 8, 9]), 0);
        assert_eq!(reversals(&[4, 6, 4, 4, 6, 7, 6]), 3);
        assert_eq!(resizes(&[4, 6, 4, 4, 6]), 3);
    }

    #[test]
    fn each_law_can_be_broken() {
        let fine = Half {
            good: 1_000.0,
            band: (4, 4),
            ..Half::default()
        };
        let pair = |with| Pair {
            without: fine.clone(),
            with,
        };
        assert_eq!(pair(fine.clone()).broken(), Vec::<String>::new());
        let worse = [
            Half {
                overwritten: 1,
                ..fine.clone()
            },
            Half {
                reversals: REVERSALS_MAX + 1,
                ..fine.clone()
            },
            Half {
                good: 970.0,
                ..fine.clone()
            },
        ];
        let hunting = Half {
            resizes: 3,
            ..fine.clone()
        };
        assert_eq!(broken_together(&[pair(fine.clone())]), Vec::<String>::new());
        assert_eq!(broken_together(&[pair(hunting)]).len(), 2);
        for half in worse {
            assert_eq!(pair(half.clone()).broken().len(), 1, "{half:?}");
        }
    }
}
