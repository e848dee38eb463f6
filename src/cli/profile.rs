//! `trimtab profile use`: let a pool follow another profile.

use super::operate::{OperateArgs, duration, millis};
use super::{Console, Exit};
use crate::config::Overrides;
use clap::{Args, Subcommand};
use std::time::Duration;
use trimtab_protocol::command::ProfileCommand;

/// The options of `trimtab profile`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ProfileArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ProfileAction,
}

/// What may be done about profiles.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ProfileAction {
    /// Let a pool follow a profile until the sidecar is started again, or for a time
    Use(UseArgs),
}

/// The options of `trimtab profile use`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct UseArgs {
    /// The pool
    pub pool: String,
    /// The profile; `auto` for the one that the pool follows by itself
    pub profile: String,
    /// For how long, such as 2h; at most 30d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub span: Option<Duration>,
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl ProfileArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let ProfileAction::Use(args) = &self.action;
        let request = ProfileCommand {
            pool: args.pool.as_str().into(),
            profile: (args.profile != "auto").then(|| args.profile.clone()),
            for_ms: args.span.map(millis),
        };
        args.operate.give("profile", &request, vars, console).await
    }
}
