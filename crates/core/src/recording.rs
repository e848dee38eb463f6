//! A run written down: all that a controller was told, in order, so that it can decide it all again.
//!
//! Who runs a controller writes one [`Line`] for whatever it tells it. [`Replay`] tells the same to a new controller and holds
//! each decision against the one that was made. Another profile can be asked beside it, about the same observations.

use crate::controller::{Controller, ProfileWish};
use crate::decision::Decision;
use crate::moment::Moment;
use crate::observation::Observation;
use crate::profile::{Profile, Settings};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use trimtab_protocol::decision::Mode;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::view::DecisionRecord;

/// One thing that a controller was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all lines are ticks, and each is written at once"
)]
pub enum Line {
    /// A controller begins, and knows nothing but this. It is the first line; where it stands again, another controller takes
    /// over from there.
    Begins {
        /// What it is told.
        settings: Settings,
    },
    /// New settings between two ticks.
    Adopts {
        /// What it is told from now on.
        settings: Settings,
    },
    /// An operator froze the sidecar, or lifted that.
    Frozen {
        /// Whether it is frozen from now on.
        frozen: bool,
    },
    /// An operator's wish about a profile.
    Wished {
        /// The wish.
        wish: ProfileWish,
        /// When.
        at: Moment,
    },
    /// One tick, and what was decided.
    Tick {
        /// What was read.
        observation: Observation,
        /// What was decided, a record a pool.
        records: Vec<(Option<PoolName>, DecisionRecord)>,
        /// The whole decision as [`digest`] has it.
        digest: u64,
    },
}

/// A number that differs, all but surely, when anything at all in two decisions differs: FNV-1a over the words of it. Fractions
/// are written so that reading them gives the same bits, so no bit is lost on the way.
#[must_use]
pub fn digest(decision: &Decision) -> u64 {
    let mut digest = Fnv(0xcbf2_9ce4_8422_2325);
    if write!(digest, "{decision:?}").is_err() {
        // It takes all that it is given.
        return 0;
    }
    digest.0
}

struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// A recording whose first line does not say what the controller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBeginning;

/// One tick that was decided again.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// What was decided at the time.
    pub was: Vec<(Option<PoolName>, DecisionRecord)>,
    /// What is decided now.
    pub decision: Decision,
    /// Whether it is the same, bit for bit.
    pub same: bool,
    /// What the other profile advises at this tick, where one is asked.
    pub other: Option<Decision>,
}

/// Decides a recording again, line by line.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    controller: Option<Controller>,
    other: Option<(Profile, Option<Controller>)>,
}

impl Replay {
    /// A replay; with a profile, it is also asked what it would advise.
    ///
    /// What was read is what came of the decisions that were made, not of those that the other profile would have made, so it
    /// is asked for advice at each tick as things stood, and nothing is tried in its name.
    #[must_use]
    pub fn new(other: Option<Profile>) -> Self {
        Self {
            controller: None,
            other: other.map(|profile| (profile, None)),
        }
    }

    /// Plays a line; answers what came of a tick.
    ///
    /// # Errors
    /// When nothing has begun yet.
    pub fn play(&mut self, line: Line) -> Result<Option<Played>, NoBeginning> {
        if let Line::Begins { settings } = &line {
            if let Some((profile, other)) = &mut self.other {
                *other = Some(Controller::new(with_profile(settings, profile)));
            }
            self.controller = Some(Controller::new(settings.clone()));
            return Ok(None);
        }
        let controller = self.controller.as_mut().ok_or(NoBeginning)?;
        let mut other = self.other.as_mut();
        match line {
            Line::Begins { .. } => {}
            Line::Adopts { settings } => {
                if let Some((profile, Some(other))) = &mut other {
                    other.adopt(with_profile(&settings, profile));
                }
                controller.adopt(settings);
            }
            Line::Frozen { frozen } => {
                if let Some((_, Some(other))) = &mut other {
                    other.set_frozen(frozen);
                }
                controller.set_frozen(frozen);
            }
            Line::Wished { wish, at } => {
                // It was answered then; here only what it changes counts.
                drop(controller.wish_profile(&wish, at, false));
            }
            Line::Tick {
                observation,
                records,
                digest: was,
            } => {
                let other = other.and_then(|(_, other)| other.as_mut());
                let other = other.map(|other| other.handle_observation(observation.clone()));
                let decision = controller.handle_observation(observation);
                return Ok(Some(Played {
                    same: digest(&decision) == was,
                    was: records,
                    decision,
                    other,
                }));
            }
        }
        Ok(None)
    }
}

/// The same settings with one profile for every pool, and for advice only.
fn with_profile(settings: &Settings, profile: &Profile) -> Settings {
    let mut settings = settings.clone();
    settings.mode = Mode::Advise;
    settings
        .profiles
        .values_mut()
        .for_each(|it| profile.clone_into(it));
    settings
}
