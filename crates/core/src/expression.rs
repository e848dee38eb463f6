//! Conditions that people write in a profile, such as `cpu > 80% and tasks > 10000`.
//!
//! A condition compares figures of the host and of one pool, each with its unit. It is read once, when the profile is loaded:
//! then every mistake is found, also a percentage that is held against a duration. What remains is a short program that is
//! worked through at each tick, without allocating and without failing.
//!
//! A figure that is not there is unknown and never zero, and what follows from it is unknown too, unless the other half of an
//! `and` or `or` settles it by itself. A condition whose truth is unknown does not hold, and its opposite does not either.
//!
//! ```text
//! or     = and { "or" and }
//! and    = not { "and" not }
//! not    = "not" not | compare
//! compare = sum [ ("<" | "<=" | ">" | ">=" | "==" | "!=") sum ]
//! sum    = product { ("+" | "-") product }
//! product = minus { ("*" | "/") minus }
//! minus  = "-" minus | number [ unit ] | signal | "(" or ")"
//! ```

mod lexer;
mod parser;
mod program;
mod signals;

pub use parser::{Problem, Vocabulary};
pub use signals::{Quantity, Signal, SignalSet};

use program::Program;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest condition that is read, in bytes; a longer one is a program, and belongs into one.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// A condition that was read and found good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    program: Program,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// A figure that decides it is missing.
    Unknown,
}

/// All that is wrong with a condition, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// What is wrong, at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(
                out,
                "{comma}{} at byte {}",
                problem.title, problem.span.start
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ExpressionError {}

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    /// All that is wrong with it. After a mistake of grammar the rest is not looked at.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let steps = parser::parse(text)?;
        Ok(Self {
            text: text.to_owned(),
            program: Program::of(&steps),
        })
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it names, in the order of the text; one that is named twice comes twice.
    pub fn signals(&self) -> impl Iterator<Item = Signal> {
        self.program.signals()
    }

    /// Whether it holds for these figures.
    #[must_use]
    pub fn evaluate(&self, signals: &SignalSet) -> Truth {
        match self.program.run(signals) {
            truth if truth > 0.5 => Truth::Holds,
            truth if truth < 0.5 => Truth::Fails,
            _ => Truth::Unknown,
        }
    }
}

impl TryFrom<String> for Expression {
    type Error = ExpressionError;

    fn try_from(text: String) -> Result<Self, ExpressionError> {
        Self::parse(&text)
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
