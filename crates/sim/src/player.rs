//! Who can be at the knobs, by name.

use crate::oracle::Best;
use crate::run::{Driver, Outcome, Run};
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
        let still = |scenario: &Scenario| {
            let run = Run {
                scenario,
                trace: &against.trace,
                seed: against.seed,
                league,
            };
            run.drive(Driver::Nobody)
        };
        let run = Run {
            scenario,
            trace: &against.trace,
            seed: against.seed,
            league,
        };
        match self {
            Self::Trimtab => {
                let controller = sidecar::controller(scenario);
                run.drive(Driver::Controller(Box::new(controller)))
            }
            Self::Fixed(size) => {
                let sizes = scenario
                    .pools
                    .iter()
                    .map(|pool| (*size).clamp(pool.min, pool.max));
                still(&scenario.started_at(&sizes.collect::<Vec<_>>()))
            }
            Self::Operator => still(&scenario.started_at(&scenario.operator())),
            Self::Best => still(&crate::oracle::with_static(scenario, &best.setting)),
            Self::Clairvoyant => {
                let first = best
                    .schedule
                    .first()
                    .map_or(&[] as &[u64], |(_, sizes)| sizes);
                let mut scenario = scenario.started_at(first);
                if let Some(timeout) = best.setting.timeout {
                    scenario
                        .pools
                        .iter_mut()
                        .for_each(|pool| pool.timeout = timeout);
                }
                let run = Run {
                    scenario: &scenario,
                    ..run
                };
                run.drive(Driver::Schedule(&best.schedule))
            }
        }
    }
}
