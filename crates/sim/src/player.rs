//! Who can be at the knobs, by name.

use crate::exec::Program;
use crate::oracle::{Best, Static, with_static};
use crate::rivals;
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
    /// One of the rivals.
    Rival(&'static str),
    /// Another program, spoken to in lines of JSON.
    Program(String),
}

/// A name that is nobody's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no controller; known are {known}", known = names().join(", "))]
pub struct UnknownPlayer(String);

/// The names that are known, with what each is.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let own = [
        "trimtab",
        "operator",
        "best-static",
        "clairvoyant",
        "fixed-N",
        "exec:COMMAND",
    ];
    let rivals = rivals::NAMES.iter().map(|(name, _)| *name);
    own.into_iter().chain(rivals).collect()
}

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
        if let Some(command) = name.strip_prefix("exec:") {
            return Ok(Self::Program(command.to_owned()));
        }
        if let Some((rival, _)) = rivals::NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Rival(rival));
        }
        match name {
            "trimtab" => Ok(Self::Trimtab),
            "operator" => Ok(Self::Operator),
            "best-static" => Ok(Self::Best),
            "clairvoyant" => Ok(Self::Clairvoyant),
            _ => Err(UnknownPlayer(name.to_owned())),
        }
    }

    /// The controllers of lists of names, separated by commas. A command takes the rest of its list, commas and all.
    ///
    /// # Errors
    /// Where nobody has one of the names.
    pub fn parse_all<'l>(
        lists: impl IntoIterator<Item = &'l String>,
    ) -> Result<Vec<Self>, UnknownPlayer> {
        let mut players = Vec::new();
        for list in lists {
            let mut rest = Some(list.as_str());
            while let Some(list) = rest {
                let whole = list.starts_with("exec:");
                let (name, others) = match list.split_once(',').filter(|_| !whole) {
                    Some((name, others)) => (name, Some(others)),
                    None => (list, None),
                };
                players.push(Self::parse(name)?);
                rest = others;
            }
        }
        Ok(players)
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
            Self::Rival(name) => (*name).to_owned(),
            Self::Program(command) => format!("exec:{command}"),
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
            Self::Rival(name) => match rivals::rival(name, scenario, run.league) {
                Some(rival) => played(scenario, Driver::Rival(rival)),
                None => played(scenario, Driver::Nobody),
            },
            Self::Program(command) => {
                let program = Program::start(command, scenario, run.league);
                played(scenario, Driver::Rival(Box::new(program)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_ends_with_a_command_which_may_have_commas_of_its_own() {
        let parsed = |lists: &[&str]| {
            let lists: Vec<String> = lists.iter().map(|list| (*list).to_owned()).collect();
            Player::parse_all(&lists).map_err(|error| error.to_string())
        };
        let command = "awk -F, '{ print $1, $2 }'";
        let list = format!("trimtab,fixed-8,exec:{command}");
        let program = Player::Program(command.to_owned());
        let both = [Player::Trimtab, Player::Fixed(8), program.clone()];
        assert_eq!(parsed(&[&list]), Ok(both.to_vec()));
        let repeated = parsed(&[&format!("exec:{command}"), "operator"]);
        assert_eq!(repeated, Ok(vec![program, Player::Operator]));
        assert!(parsed(&["trimtab,"]).is_err());
    }
}
