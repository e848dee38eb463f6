//! Who can be at the knobs, by name.

use crate::oracle::{Best, Static, with_static};
use crate::run::{Driver, Onlooker, Outcome, Run};
use crate::scenario::Scenario;
use crate::score::Reference;
use crate::sidecar;
use crate::world::League;

/// A controller that can be named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Player {
    /// The product's controller.
    Trimtab,
    /// A fixed size.
    Fixed(u64),
    /// The operator's setting.
    Operator,
    /// The best static setting.
    Best,
    /// The best schedule of sizes, known beforehand.
    Clairvoyant,
}

/// A name that is nobody's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no controller; known are {names}", names = NAMES.join(", "))]
pub struct UnknownPlayer(String);

/// The names that are known, apart from `fixed-N`.
pub const NAMES: &[&str] = &[
    "trimtab",
    "operator",
    "best-static",
    "clairvoyant",
    "fixed-N",
];

impl Player {
    /// The controller of a name.
    ///
    /// # Errors
    /// Where nobody has that name.
    pub fn parse(name: &str) -> Result<Self, UnknownPlayer> {
        if let Some(size) = name.strip_prefix("fixed-") {
            let size = size.parse().map_err(|_| UnknownPlayer(name.to_owned()))?;
            return Ok(Self::Fixed(size));
        }
        match name {
            "trimtab" => Ok(Self::Trimtab),
            "operator" => Ok(Self::Operator),
            "best-static" => Ok(Self::Best),
            "clairvoyant" => Ok(Self::Clairvoyant),
            _ => Err(UnknownPlayer(name.to_owned())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Trimtab => "trimtab".to_owned(),
            Self::Fixed(size) => format!("fixed-{size}"),
            Self::Operator => "operator".to_owned(),
            Self::Best => "best-static".to_owned(),
            Self::Clairvoyant => "clairvoyant".to_owned(),
        }
    }

    /// Plays a scenario once. The scenario's start is where it starts.
    #[must_use]
    pub fn play(
        &self,
        scenario: &Scenario,
        best: &Best,
        against: &Reference,
        league: League,
    ) -> Outcome {
        let run = Run {
            scenario,
            trace: &against.trace,
            seed: against.seed,
            league,
        };
        self.watch(&run, best, &mut |_, _, _| ())
    }

    /// Plays with an onlooker.
    #[must_use]
    pub fn watch(&self, run: &Run<'_>, best: &Best, onlooker: &mut Onlooker<'_>) -> Outcome {
        let scenario = run.scenario;
        let mut played = |scenario: &Scenario, driver| {
            let run = Run { scenario, ..*run };
            run.watched(driver, onlooker)
        };
        match self {
            Self::Trimtab => {
                let controller = Box::new(sidecar::controller(scenario));
                played(scenario, Driver::Controller(controller))
            }
            Self::Fixed(size) => {
                let pools = scenario.pools.iter();
                let sizes: Vec<u64> = pools
                    .map(|pool| (*size).clamp(pool.min, pool.max))
                    .collect();
                played(&scenario.started_at(&sizes), Driver::Nobody)
            }
            Self::Operator => played(&scenario.started_at(&scenario.operator()), Driver::Nobody),
            Self::Best => played(&with_static(scenario, &best.setting), Driver::Nobody),
            Self::Clairvoyant => {
                let first = best.schedule.first();
                let workers = first.map_or_else(Vec::new, |(_, sizes)| sizes.clone());
                let timeout = best.setting.timeout;
                let scenario = with_static(scenario, &Static { workers, timeout });
                played(&scenario, Driver::Schedule(&best.schedule))
            }
        }
    }
}
