//! `trimtab reset`: back to the values that the host started with.

use super::operate::OperateArgs;
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use trimtab_protocol::operator::ResetRequest;

/// The options of `trimtab reset`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetArgs {
    /// The pool; without it, every pool
    pub pool: Option<String>,
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl ResetArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = ResetRequest {
            pool: self.pool.as_deref().map(Into::into),
        };
        self.operate.give("reset", &request, vars, console).await
    }
}
