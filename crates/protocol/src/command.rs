//! What an operator may tell the sidecar, who said it, and what came of it.
//!
//! A command is a `POST` to the sidecar, over its operator's socket or with a token. The host's own operator calls are in
//! [`operator`](crate::operator); most commands end in one of those.

use crate::decision::ValueChange;
use crate::knob::KnobValue;
use crate::name::{HostId, KnobName, PoolName};
use crate::operator::{FreezeRequest, ResetRequest};
use crate::problem::ProblemKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The longest time for which a knob is held or a profile is switched, in milliseconds: thirty days. What is meant to last
/// belongs into the configuration.
pub const COMMAND_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// Holds one knob for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PinCommand {
    /// The pool.
    pub pool: PoolName,
    /// The knob.
    pub knob: KnobName,
    /// The value; without it, the target now in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<KnobValue>,
    /// For how long, in milliseconds, from 1 to thirty days; afterwards the knob goes back to its last confirmed value.
    pub for_ms: u64,
}

/// Releases one knob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnpinCommand {
    /// The pool.
    pub pool: PoolName,
    /// The knob.
    pub knob: KnobName,
}

/// Lets a pool follow another profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProfileCommand {
    /// The pool.
    pub pool: PoolName,
    /// The profile; without it, the one that the pool follows by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// For how long, in milliseconds, up to thirty days; without it, until the sidecar is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// A command without a body, or with an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PlainCommand {}

/// What an operator tells the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "command", content = "with", rename_all = "snake_case")]
pub enum Command {
    /// Undo open trials and change nothing until the freeze is lifted.
    Freeze(FreezeRequest),
    /// Lift the freeze.
    Unfreeze(PlainCommand),
    /// Hold one knob for a time.
    Pin(PinCommand),
    /// Release one knob.
    Unpin(UnpinCommand),
    /// Go back to the baseline.
    Reset(ResetRequest),
    /// Let a pool follow another profile.
    Profile(ProfileCommand),
    /// Take the configuration that waits.
    Approve(PlainCommand),
    /// Drop the configuration that waits.
    Reject(PlainCommand),
}

impl Command {
    /// The command in one word, which is also the end of its path.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Freeze(_) => "freeze",
            Self::Unfreeze(_) => "unfreeze",
            Self::Pin(_) => "pin",
            Self::Unpin(_) => "unpin",
            Self::Reset(_) => "reset",
            Self::Profile(_) => "profile",
            Self::Approve(_) => "approve",
            Self::Reject(_) => "reject",
        }
    }

    /// The pool that it is about; none where it is about the host as a whole.
    #[must_use]
    pub fn pool(&self) -> Option<&PoolName> {
        match self {
            Self::Pin(pin) => Some(&pin.pool),
            Self::Unpin(unpin) => Some(&unpin.pool),
            Self::Profile(profile) => Some(&profile.pool),
            Self::Reset(reset) => reset.pool.as_ref(),
            Self::Freeze(_) | Self::Unfreeze(_) | Self::Approve(_) | Self::Reject(_) => None,
        }
    }
}

/// Who gave a command, by the kernel's word or by the token that was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Operator {
    /// A process on this machine, over the operator's socket.
    Socket {
        /// Its user.
        uid: u32,
        /// Its number, where it is visible from here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// Whoever has a token, over HTTP.
    Token {
        /// What the token's file calls it; never the token itself.
        name: String,
        /// The address it came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
}

impl fmt::Display for Operator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket {
                uid,
                pid: Some(pid),
            } => write!(out, "user {uid} (process {pid})"),
            Self::Socket { uid, pid: None } => write!(out, "user {uid}"),
            Self::Token {
                name,
                from: Some(from),
            } => write!(out, "token {name} (from {from})"),
            Self::Token { name, from: None } => write!(out, "token {name}"),
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CommandResult {
    /// Done, or for a dry run: it would be.
    Done {
        /// In words.
        text: String,
    },
    /// Done as far as could be.
    Partly {
        /// In words.
        text: String,
        /// What could not be done, in words.
        missing: String,
    },
    /// Refused; nothing changed.
    Refused {
        /// The kind of refusal.
        problem: ProblemKind,
        /// In words.
        detail: String,
    },
}

/// The ledger's line about a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandRecord {
    /// What was asked.
    pub asked: Command,
    /// Who asked, and by which way.
    pub operator: Operator,
    /// Whether only the consequences were asked for.
    pub dry_run: bool,
    /// What came of it.
    pub outcome: CommandResult,
}

/// The sidecar's answer to a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandReceipt {
    /// The host.
    pub host: HostId,
    /// What was asked.
    pub asked: Command,
    /// Whether only the consequences were asked for; then nothing has changed.
    pub dry_run: bool,
    /// Whether the ledger has the command on disk.
    pub recorded: bool,
    /// Whether changes are frozen afterwards.
    pub frozen: bool,
    /// What was done, or would be, in words.
    pub text: String,
    /// What could not be done, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    /// The targets that changed, or would, by pool and knob.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<PoolName, BTreeMap<KnobName, ValueChange>>,
}
