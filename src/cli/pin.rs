//! `trimtab pin`: hold one knob for a time.

use super::operate::{OperateArgs, duration, millis};
use super::{Console, Exit};
use crate::config::Overrides;
use clap::Args;
use std::time::Duration;
use trimtab_protocol::command::PinCommand;
use trimtab_protocol::knob::KnobValue;

/// The options of `trimtab pin`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PinArgs {
    /// The pool
    pub pool: String,
    /// The knob, such as workers
    pub knob: String,
    /// The value; without it, the one now in force
    pub value: Option<String>,
    /// For how long, such as 30m; at most 30d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub span: Duration,
    /// What all commands have.
    #[command(flatten)]
    pub operate: OperateArgs,
}

impl PinArgs {
    /// Gives the command and shows the answer.
    pub async fn execute(&self, vars: Overrides, console: &mut Console<'_>) -> Exit {
        let request = PinCommand {
            pool: self.pool.as_str().into(),
            knob: self.knob.as_str().into(),
            value: self.value.as_deref().map(value),
            for_ms: millis(self.span),
        };
        self.operate.give("pin", &request, vars, console).await
    }
}

/// What is written as a number is one; a knob of words takes no numbers.
fn value(text: &str) -> KnobValue {
    match text.parse() {
        Ok(number) => KnobValue::Integer(number),
        Err(_) => KnobValue::Choice(text.to_owned()),
    }
}
