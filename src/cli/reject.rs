//! `trimtab reject`: drop the configuration that waits for a word.

use super::operate::OperateArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use trimtab_protocol::command::PlainCommand;

/// The options of `trimtab reject`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectArgs {
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl RejectArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = PlainCommand {};
        self.operate.give("reject", &request, vars, console).await
    }
}
