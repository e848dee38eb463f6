//! What a condition becomes: a list of instructions, worked through from the first to the last.
//!
//! The reader of the text yields a step for each figure and each sign. From them a shorter list is made: what does not depend
//! on any signal is worked out once, and an operation whose right half is a mere number or signal takes it from the instruction
//! itself. So `queued / throughput > 2s + 5ms` is three instructions and not seven steps.

use super::signals::{Signal, SignalSet};
use std::cmp::Ordering;

/// How many figures may wait for the second half of their operation at once.
pub(super) const STACK_MAX: usize = 16;

/// One step as it stands in the text: it takes its operands off a stack and leaves its result there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    Number(f64),
    Signal(Signal),
    Negate,
    Not,
    Two(Operation),
}

/// What is done with two figures or two truths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
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
    And,
    Or,
}

/// The instructions of a condition. Its maker has seen to it that the stack is never too small nor empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Program {
    instructions: Box<[Instruction]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Instruction {
    Push(Operand),
    Negate,
    Not,
    /// Of the top of the stack, which becomes the result, and this.
    With(Operation, Operand),
    /// Of the two figures on top of the stack.
    Two(Operation),
}

/// A figure that needs no working out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operand {
    Number(f64),
    Signal(Signal),
}

impl Program {
    /// Makes it from the steps of a condition that was found good.
    pub(super) fn of(steps: &[Step]) -> Self {
        let mut made: Vec<Instruction> = Vec::with_capacity(steps.len());
        for step in steps {
            match *step {
                Step::Number(number) => made.push(Instruction::Push(Operand::Number(number))),
                Step::Signal(signal) => made.push(Instruction::Push(Operand::Signal(signal))),
                Step::Negate => match made.last_mut() {
                    Some(Instruction::Push(Operand::Number(number))) => *number = -*number,
                    _ => made.push(Instruction::Negate),
                },
                Step::Not => made.push(Instruction::Not),
                Step::Two(operation) => join(&mut made, operation),
            }
        }
        let instructions = made.into_boxed_slice();
        Self { instructions }
    }

    /// The signals in it, in the order of the text.
    pub(super) fn signals(&self) -> impl Iterator<Item = Signal> {
        self.instructions.iter().filter_map(|made| match made {
            Instruction::Push(Operand::Signal(signal))
            | Instruction::With(_, Operand::Signal(signal)) => Some(*signal),
            _ => None,
        })
    }

    /// What it yields for these figures: true is 1 and false is 0, and what is unknown is no number.
    pub(super) fn run(&self, signals: &SignalSet) -> f64 {
        let mut below = [f64::NAN; STACK_MAX];
        let mut height = 0;
        let mut top = f64::NAN;
        for instruction in &self.instructions {
            match *instruction {
                Instruction::Push(operand) => {
                    below[height % STACK_MAX] = top;
                    height += 1;
                    top = operand.get(signals);
                }
                Instruction::Negate => top = -top,
                Instruction::Not => top = 1.0 - top,
                Instruction::With(operation, operand) => {
                    top = operation.of(top, operand.get(signals));
                }
                Instruction::Two(operation) => {
                    height -= 1;
                    top = operation.of(below[height % STACK_MAX], top);
                }
            }
        }
        top
    }
}

/// Adds an operation, joined with its right half, or with both, where these need no working out.
fn join(made: &mut Vec<Instruction>, operation: Operation) {
    let Some(Instruction::Push(right)) = made.last().copied() else {
        return made.push(Instruction::Two(operation));
    };
    made.pop();
    match (made.last_mut(), right) {
        (Some(Instruction::Push(Operand::Number(left))), Operand::Number(right)) => {
            *left = operation.of(*left, right);
        }
        _ => made.push(Instruction::With(operation, right)),
    }
}

impl Operand {
    fn get(self, signals: &SignalSet) -> f64 {
        match self {
            Self::Number(number) => number,
            Self::Signal(signal) => signals.raw(signal),
        }
    }
}

impl Operation {
    /// The comparison that is written like this.
    pub(super) fn comparison(sign: &str) -> Option<Self> {
        match sign {
            "<" => Some(Self::Less),
            "<=" => Some(Self::AtMost),
            ">" => Some(Self::More),
            ">=" => Some(Self::AtLeast),
            "==" => Some(Self::Same),
            "!=" => Some(Self::Differs),
            _ => None,
        }
    }

    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => known(left + right),
            Self::Subtract => known(left - right),
            Self::Multiply => known(left * right),
            Self::Divide => known(left / right),
            Self::Less => truth(left, right, left < right),
            Self::AtMost => truth(left, right, left <= right),
            Self::More => truth(left, right, left > right),
            Self::AtLeast => truth(left, right, left >= right),
            Self::Same => truth(left, right, same(left, right)),
            Self::Differs => truth(left, right, !same(left, right)),
            Self::And => both(left, right),
            Self::Or => either(left, right),
        }
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
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_no_signal_is_worked_out_once_and_right_halves_are_joined() {
        let steps = [
            Step::Signal(Signal::Queued),
            Step::Signal(Signal::Throughput),
            Step::Two(Operation::Divide),
            Step::Number(2.0),
            Step::Number(0.5),
            Step::Negate,
            Step::Two(Operation::Add),
            Step::Two(Operation::More),
        ];
        let program = Program::of(&steps);
        let wanted = [
            Instruction::Push(Operand::Signal(Signal::Queued)),
            Instruction::With(Operation::Divide, Operand::Signal(Signal::Throughput)),
            Instruction::With(Operation::More, Operand::Number(1.5)),
        ];
        assert_eq!(*program.instructions, wanted);
        let named: Vec<Signal> = program.signals().collect();
        assert_eq!(named, [Signal::Queued, Signal::Throughput]);
    }

    /// Works the steps through as they stand, with nothing joined.
    fn plainly(steps: &[Step], signals: &SignalSet) -> f64 {
        let mut stack: Vec<f64> = Vec::new();
        for step in steps {
            let value = match *step {
                Step::Number(number) => number,
                Step::Signal(signal) => signals.raw(signal),
                Step::Negate => -stack.pop().expect("an operand"),
                Step::Not => 1.0 - stack.pop().expect("an operand"),
                Step::Two(operation) => {
                    let right = stack.pop().expect("the right half");
                    operation.of(stack.pop().expect("the left half"), right)
                }
            };
            stack.push(value);
        }
        stack.pop().expect("a result")
    }

    proptest::proptest! {
        #[test]
        fn the_joined_instructions_yield_what_the_steps_yield(choices in proptest::collection::vec(0_u8..=255, 1..60)) {
            let mut signals = SignalSet::default();
            signals.set(Signal::Cpu, Some(0.5));
            signals.set(Signal::Tasks, Some(2.0));
            let operations = [
                Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Divide, Operation::Less, Operation::AtMost,
                Operation::More, Operation::AtLeast, Operation::Same, Operation::Differs, Operation::And, Operation::Or,
            ];
            let (mut steps, mut height) = (Vec::new(), 0);
            for choice in choices {
                let step = match choice % 5 {
                    0 if height > 0 => Step::Negate,
                    1 if height > 0 => Step::Not,
                    2 | 3 if height > 1 => {
                        height -= 1;
                        Step::Two(operations[usize::from(choice / 5) % operations.len()])
                    }
                    _ if height == STACK_MAX => continue,
                    _ => {
                        height += 1;
                        match choice / 5 % 4 {
                            0 => Step::Signal(Signal::Cpu),
                            1 => Step::Signal(Signal::Tasks),
                            2 => Step::Signal(Signal::Rss),
                            _ => Step::Number(f64::from(choice) / 100.0),
                        }
                    }
                };
                steps.push(step);
            }
            let (joined, plain) = (Program::of(&steps).run(&signals), plainly(&steps, &signals));
            proptest::prop_assert!(joined.to_bits() == plain.to_bits() || (joined.is_nan() && plain.is_nan()), "{joined} and {plain}");
        }
    }
}
