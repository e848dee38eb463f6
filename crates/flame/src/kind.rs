//! What time a profile counts.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What time a profile counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Time that threads used on a CPU.
    #[default]
    Cpu,
    /// Time that threads were off a CPU: asleep, waiting, or not let on.
    Offcpu,
    /// Both together.
    Wall,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Offcpu, Self::Wall];

    /// Its name in addresses and options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Offcpu => "offcpu",
            Self::Wall => "wall",
        }
    }

    /// What its numbers count.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "samples",
            Self::Offcpu | Self::Wall => "microseconds",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
