//! `trimtab unpin`: release one knob.

use super::operate::OperateArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use trimtab_protocol::command::UnpinCommand;

/// The options of `trimtab unpin`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct UnpinArgs {
    /// The pool
    pub pool: String,
    /// The knob, such as workers
    pub knob: String,
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl UnpinArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = UnpinCommand {
            pool: self.pool.as_str().into(),
            knob: self.knob.as_str().into(),
        };
        self.operate.give("unpin", &request, vars, console).await
    }
}
