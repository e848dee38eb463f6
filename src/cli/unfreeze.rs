//! `trimtab unfreeze`: lift the freeze.

use super::operate::OperateArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use trimtab_protocol::command::PlainCommand;

/// The options of `trimtab unfreeze`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct UnfreezeArgs {
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl UnfreezeArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = PlainCommand {};
        self.operate.give("unfreeze", &request, vars, console).await
    }
}
