//! `trimtab freeze`: undo open trials and change nothing until the freeze is lifted.

use super::operate::OperateArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use trimtab_protocol::operator::FreezeRequest;

/// The options of `trimtab freeze`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct FreezeArgs {
    /// Why, for the next person
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl FreezeArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = FreezeRequest {
            reason: self.reason.clone(),
        };
        self.operate.give("freeze", &request, vars, console).await
    }
}
