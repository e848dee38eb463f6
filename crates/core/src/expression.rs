//! Conditions that people write in a profile, such as `cpu > 80% and tasks > 10000`.
//!
//! A condition compares figures of the host and of one pool, each with its unit. It is read once, when the profile is loaded:
//! then every mistake is found, also a percentage that is held against a duration. What remains is a list of steps that is
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
mod signals;

pub use parser::{Problem, Vocabulary};
pub use signals::{Quantity, Signal, SignalSet};

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// The longest condition that is read, in bytes; a longer one is a program, and belongs into one.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// How many figures may wait for the second half of their operation at once.
const STACK_MAX: usize = 16;

/// A condition that was read and found good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    steps: Vec<Step>,
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

/// One step of the work: it takes its operands off the stack and leaves its result there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Number(f64),
    Signal(Signal),
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Less,
    AtMost,
    More,
    AtLeast,
    Same,
    Differs,
    Not,
    And,
    Or,
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
            steps,
        })
    }

    /// The condition as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signals that it names, in the order of the text; one that is named twice comes twice.
    pub fn signals(&self) -> impl Iterator<Item = Signal> {
        self.steps.iter().filter_map(|step| match step {
            Step::Signal(signal) => Some(*signal),
            _ => None,
        })
    }

    /// Whether it holds for these figures.
    #[must_use]
    pub fn evaluate(&self, signals: &SignalSet) -> Truth {
        let mut stack = Stack::default();
        for step in &self.steps {
            match *step {
                Step::Number(number) => stack.push(number),
                Step::Signal(signal) => stack.push(signals.raw(signal)),
                Step::Negate => stack.one(|value| -value),
                Step::Not => stack.one(|truth| 1.0 - truth),
                Step::Add => stack.two(|left, right| known(left + right)),
                Step::Subtract => stack.two(|left, right| known(left - right)),
                Step::Multiply => stack.two(|left, right| known(left * right)),
                Step::Divide => stack.two(|left, right| known(left / right)),
                Step::Less => stack.two(|left, right| truth(left, right, left < right)),
                Step::AtMost => stack.two(|left, right| truth(left, right, left <= right)),
                Step::More => stack.two(|left, right| truth(left, right, left > right)),
                Step::AtLeast => stack.two(|left, right| truth(left, right, left >= right)),
                Step::Same => stack.two(|left, right| truth(left, right, same(left, right))),
                Step::Differs => stack.two(|left, right| truth(left, right, !same(left, right))),
                Step::And => stack.two(both),
                Step::Or => stack.two(either),
            }
        }
        match stack.top() {
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

/// Figures that wait for their operation. What is unknown is held as no number, true as 1 and false as 0; the reader of the
/// text has seen to it that the stack is never too small nor empty.
struct Stack {
    values: [f64; STACK_MAX],
    height: usize,
}

impl Default for Stack {
    fn default() -> Self {
        Self {
            values: [f64::NAN; STACK_MAX],
            height: 0,
        }
    }
}

impl Stack {
    fn push(&mut self, value: f64) {
        self.values[self.height] = value;
        self.height += 1;
    }

    fn one(&mut self, work: impl FnOnce(f64) -> f64) {
        let at = self.height - 1;
        self.values[at] = work(self.values[at]);
    }

    fn two(&mut self, work: impl FnOnce(f64, f64) -> f64) {
        let at = self.height - 2;
        self.values[at] = work(self.values[at], self.values[at + 1]);
        self.height -= 1;
    }

    fn top(&self) -> f64 {
        self.values[self.height - 1]
    }
}

/// What is divided by nothing, or grew beyond all numbers, is not known.
fn known(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

fn truth(left: f64, right: f64, holds: bool) -> f64 {
    if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if holds {
        1.0
    } else {
        0.0
    }
}

fn same(left: f64, right: f64) -> bool {
    left.partial_cmp(&right).is_some_and(Ordering::is_eq)
}

/// False settles it, also where the other half is unknown.
fn both(left: f64, right: f64) -> f64 {
    if left < 0.5 || right < 0.5 {
        0.0
    } else {
        left * right
    }
}

/// True settles it, also where the other half is unknown.
fn either(left: f64, right: f64) -> f64 {
    if left > 0.5 || right > 0.5 {
        1.0
    } else {
        left + right
    }
}

#[cfg(test)]
mod tests;
