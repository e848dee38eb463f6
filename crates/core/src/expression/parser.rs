//! From tokens to steps, with every figure held against the quantity that its place needs.

use super::lexer::{Token, TokenKind, UNITS, next};
use super::program::{Operation, STACK_MAX, Step};
use super::signals::{Quantity, Signal};
use super::{ExpressionError, TEXT_BYTES_MAX};
use std::ops::Range;

/// How deep parentheses, `not` and minus signs may nest.
const DEPTH_MAX: u32 = 32;

/// One thing that is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the condition's text.
    pub span: Range<usize>,
    /// What is wrong.
    pub title: String,
    /// What was found there.
    pub found: String,
    /// What is allowed, and why.
    pub note: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// The list in which whoever reports it may look for what was meant.
    pub unknown: Option<Vocabulary>,
}

/// The words that a condition may use in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// The names of signals.
    Signals,
    /// The units of numbers.
    Units,
}

impl Vocabulary {
    /// The words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let signals = Signal::ALL.iter().map(|signal| signal.name());
        let units = UNITS.iter().map(|(name, _, _)| *name);
        let signals = signals.filter(move |_| self == Self::Signals);
        signals.chain(units.filter(move |name| self == Self::Units && !name.is_empty()))
    }
}

impl Problem {
    pub(super) fn new(span: Range<usize>, title: String, found: String) -> Self {
        Self {
            span,
            title,
            found,
            note: None,
            help: None,
            unknown: None,
        }
    }
}

/// Reads a condition.
pub(super) fn parse(text: &str) -> Result<Vec<Step>, ExpressionError> {
    if text.len() > TEXT_BYTES_MAX {
        let title = format!("the condition is longer than {TEXT_BYTES_MAX} bytes");
        let problem = Problem::new(0..text.len(), title, "all of this".to_owned());
        let problems = vec![problem];
        return Err(ExpressionError { problems });
    }
    let mut parser = Parser {
        text,
        token: Token {
            kind: TokenKind::End,
            span: 0..0,
        },
        steps: Vec::new(),
        height: 0,
        depth: 0,
        problems: Vec::new(),
    };
    let read = parser.whole();
    let mut problems = parser.problems;
    problems.extend(read.err().map(|problem| *problem));
    if problems.is_empty() {
        Ok(parser.steps)
    } else {
        problems.sort_by_key(|problem| problem.span.start);
        Err(ExpressionError { problems })
    }
}

/// What a part of the text yields.
#[derive(Clone, Debug)]
struct Part {
    /// Nothing for a part in which a mistake was found, so that it is told once.
    sort: Option<Sort>,
    span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Truth,
    Figure(Quantity),
}

/// A mistake of grammar, after which nothing is certain. A figure of the wrong quantity is noted, and reading goes on.
type Read<T> = Result<T, Box<Problem>>;

struct Parser<'t> {
    text: &'t str,
    token: Token<'t>,
    steps: Vec<Step>,
    height: usize,
    depth: u32,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn whole(&mut self) -> Read<()> {
        self.advance()?;
        let part = self.or()?;
        if self.token.kind != TokenKind::End {
            return Err(self.unexpected("`and`, `or` or the end"));
        }
        self.want_truth(&part);
        Ok(())
    }

    fn or(&mut self) -> Read<Part> {
        let mut left = self.and()?;
        while self.token.kind == TokenKind::Word("or") {
            self.advance()?;
            let right = self.and()?;
            left = self.join(&left, &right, Operation::Or)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Read<Part> {
        let mut left = self.not()?;
        while self.token.kind == TokenKind::Word("and") {
            self.advance()?;
            let right = self.not()?;
            left = self.join(&left, &right, Operation::And)?;
        }
        Ok(left)
    }

    /// Both halves of an `and` or `or` must be conditions.
    fn join(&mut self, left: &Part, right: &Part, operation: Operation) -> Read<Part> {
        self.want_truth(left);
        self.want_truth(right);
        let span = left.span.start..right.span.end;
        self.emit(Step::Two(operation), &span)?;
        let sort = Some(Sort::Truth);
        Ok(Part { sort, span })
    }

    fn not(&mut self) -> Read<Part> {
        if self.token.kind != TokenKind::Word("not") {
            return self.compare();
        }
        let start = self.token.span.start;
        self.deeper()?;
        self.advance()?;
        let inner = self.not()?;
        self.depth -= 1;
        self.want_truth(&inner);
        let span = start..inner.span.end;
        self.emit(Step::Not, &span)?;
        let sort = Some(Sort::Truth);
        Ok(Part { sort, span })
    }

    fn compare(&mut self) -> Read<Part> {
        let left = self.sum()?;
        let Some(operation) = comparison(self.token.kind) else {
            return Ok(left);
        };
        let sign = self.token.span.clone();
        self.advance()?;
        let right = self.sum()?;
        self.check_comparison(&left, &right, operation, sign);
        let span = left.span.start..right.span.end;
        self.emit(Step::Two(operation), &span)?;
        if comparison(self.token.kind).is_some() {
            let mut problem = self.unexpected("`and`, `or` or the end");
            problem.title = "comparisons do not follow one another".to_owned();
            problem.help = Some("write `a < b and b < c`".to_owned());
            return Err(problem);
        }
        let sort = Some(Sort::Truth);
        Ok(Part { sort, span })
    }

    fn sum(&mut self) -> Read<Part> {
        let mut left = self.product()?;
        loop {
            let operation = match self.token.kind {
                TokenKind::Sign("+") => Operation::Add,
                TokenKind::Sign("-") => Operation::Subtract,
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.product()?;
            left = self.combine(&left, &right, operation)?;
        }
    }

    fn product(&mut self) -> Read<Part> {
        let mut left = self.minus()?;
        loop {
            let operation = match self.token.kind {
                TokenKind::Sign("*") => Operation::Multiply,
                TokenKind::Sign("/") => Operation::Divide,
                _ => return Ok(left),
            };
            self.advance()?;
            let right = self.minus()?;
            left = self.combine(&left, &right, operation)?;
        }
    }

    fn minus(&mut self) -> Read<Part> {
        if self.token.kind != TokenKind::Sign("-") {
            return self.atom();
        }
        let start = self.token.span.start;
        self.deeper()?;
        self.advance()?;
        let inner = self.minus()?;
        self.depth -= 1;
        let sort = self.want_figure(&inner).map(Sort::Figure);
        let span = start..inner.span.end;
        self.emit(Step::Negate, &span)?;
        Ok(Part { sort, span })
    }

    fn atom(&mut self) -> Read<Part> {
        let span = self.token.span.clone();
        match self.token.kind {
            TokenKind::Number(number, quantity) => {
                self.advance()?;
                self.emit(Step::Number(number), &span)?;
                let sort = Some(Sort::Figure(quantity));
                Ok(Part { sort, span })
            }
            TokenKind::Word(word) if !matches!(word, "and" | "or" | "not") => {
                self.advance()?;
                self.signal(word, span)
            }
            TokenKind::Sign("(") => {
                self.deeper()?;
                self.advance()?;
                let inner = self.or()?;
                if self.token.kind != TokenKind::Sign(")") {
                    return Err(self.unexpected("`)`"));
                }
                self.depth -= 1;
                let span = span.start..self.token.span.end;
                self.advance()?;
                Ok(Part {
                    sort: inner.sort,
                    span,
                })
            }
            _ => Err(self.unexpected("a signal or a number")),
        }
    }

    fn signal(&mut self, word: &str, span: Range<usize>) -> Read<Part> {
        let signal = Signal::named(word);
        if signal.is_none() {
            let title = format!("there is no signal `{word}`");
            let mut problem = Problem::new(span.clone(), title, "named here".to_owned());
            let names: Vec<&str> = Vocabulary::Signals.words().collect();
            problem.note = Some(format!("known: {}", names.join(", ")));
            problem.unknown = Some(Vocabulary::Signals);
            self.problems.push(problem);
        }
        let step = signal.map_or(Step::Number(f64::NAN), Step::Signal);
        self.emit(step, &span)?;
        let sort = signal.map(|signal| Sort::Figure(signal.quantity()));
        Ok(Part { sort, span })
    }

    /// Arithmetic on two figures.
    fn combine(&mut self, left: &Part, right: &Part, operation: Operation) -> Read<Part> {
        let span = left.span.start..right.span.end;
        self.emit(Step::Two(operation), &span)?;
        let both = (self.want_figure(left), self.want_figure(right));
        let (Some(one), Some(other)) = both else {
            return Ok(Part { sort: None, span });
        };
        let result = match operation {
            Operation::Multiply => product(one, other),
            Operation::Divide => quotient(one, other),
            _ => common(one, other),
        };
        if result.is_none() {
            let word = match operation {
                Operation::Multiply => "multiplied by",
                Operation::Divide => "divided by",
                Operation::Add => "added to",
                _ => "subtracted from",
            };
            let (first, second) = match operation {
                Operation::Multiply | Operation::Divide => (one, other),
                _ => (other, one),
            };
            let (first, second) = (first.describe(), second.describe());
            let title = format!("{first} cannot be {word} {second}");
            let found = format!("{} and {}", one.describe(), other.describe());
            let mut problem = Problem::new(span.clone(), title, found);
            problem.note = Some(
                "figures of one quantity are added; a count or a share scales anything; a count by a duration is a rate"
                    .to_owned(),
            );
            self.problems.push(problem);
        }
        let sort = result.map(Sort::Figure);
        Ok(Part { sort, span })
    }

    fn check_comparison(
        &mut self,
        left: &Part,
        right: &Part,
        operation: Operation,
        sign: Range<usize>,
    ) {
        let both = (self.want_figure(left), self.want_figure(right));
        let (Some(one), Some(other)) = both else {
            return;
        };
        let Some(quantity) = common(one, other) else {
            let (one, other) = (one.describe(), other);
            let title = format!("{one} is compared with {}", other.describe());
            let found = format!("this is {}", other.describe());
            let mut problem = Problem::new(right.span.clone(), title, found);
            let wanted = self.quantity_of(left);
            problem.note = Some(format!("allowed: {one} such as {}", wanted.example()));
            problem.help = self.meant(right, wanted);
            self.problems.push(problem);
            return;
        };
        let exact = matches!(operation, Operation::Same | Operation::Differs);
        if exact && quantity != Quantity::Count {
            let title = format!("{} is never exactly another", quantity.describe());
            let mut problem = Problem::new(sign, title, "compared exactly".to_owned());
            problem.note = Some("allowed: < <= > >=; only counts are compared exactly".to_owned());
            self.problems.push(problem);
        }
    }

    fn quantity_of(&self, part: &Part) -> Quantity {
        match part.sort {
            Some(Sort::Figure(quantity)) => quantity,
            Some(Sort::Truth) | None => Quantity::Count,
        }
    }

    /// What a bare number was probably meant to be.
    fn meant(&self, part: &Part, wanted: Quantity) -> Option<String> {
        let written = &self.text[part.span.clone()];
        let number = written.parse::<f64>().ok()?;
        let meant = match wanted {
            Quantity::Share if number < 1.0 => format!("{}%", libm::round(number * 1e4) / 1e2),
            Quantity::Share => format!("{written}%"),
            Quantity::Duration => format!("{written}s"),
            Quantity::Rate => format!("{written}/s"),
            Quantity::Bytes => format!("{written}B"),
            Quantity::Count | Quantity::Ratio => return None,
        };
        Some(format!("did you mean `{meant}`?"))
    }

    fn want_truth(&mut self, part: &Part) {
        if let Some(Sort::Figure(quantity)) = part.sort {
            let title = "this is no condition".to_owned();
            let found = quantity.describe().to_owned();
            let mut problem = Problem::new(part.span.clone(), title, found);
            let example = quantity.example();
            let written = &self.text[part.span.clone()];
            problem.help = Some(format!(
                "compare it with something, such as `{written} > {example}`"
            ));
            self.problems.push(problem);
        }
    }

    fn want_figure(&mut self, part: &Part) -> Option<Quantity> {
        match part.sort? {
            Sort::Figure(quantity) => Some(quantity),
            Sort::Truth => {
                let title = "this is a condition and no figure".to_owned();
                let found = "it is true or false".to_owned();
                let mut problem = Problem::new(part.span.clone(), title, found);
                problem.help = Some("join conditions with `and` or `or`".to_owned());
                self.problems.push(problem);
                None
            }
        }
    }

    fn advance(&mut self) -> Read<()> {
        self.token = next(self.text, self.token.span.end)?;
        Ok(())
    }

    fn deeper(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Box::new(too_deep(self.token.span.clone())));
        }
        Ok(())
    }

    fn emit(&mut self, step: Step, span: &Range<usize>) -> Read<()> {
        match step {
            Step::Number(_) | Step::Signal(_) => self.height += 1,
            Step::Negate | Step::Not => {}
            Step::Two(_) => self.height -= 1,
        }
        if self.height > STACK_MAX {
            return Err(Box::new(too_deep(span.clone())));
        }
        self.steps.push(step);
        Ok(())
    }

    fn unexpected(&self, wanted: &str) -> Box<Problem> {
        let (title, found) = match self.token.kind {
            TokenKind::End => ("the condition ends too early", "the end".to_owned()),
            _ => {
                let written = &self.text[self.token.span.clone()];
                ("the condition does not go on like this", written.to_owned())
            }
        };
        let mut problem = Problem::new(self.token.span.clone(), title.to_owned(), found);
        problem.note = Some(format!("expected: {wanted}"));
        Box::new(problem)
    }
}

fn comparison(kind: TokenKind<'_>) -> Option<Operation> {
    match kind {
        TokenKind::Sign(sign) => Operation::comparison(sign),
        _ => None,
    }
}

fn too_deep(span: Range<usize>) -> Problem {
    let title = "the condition nests too deeply".to_owned();
    let mut problem = Problem::new(span, title, "this much is too much".to_owned());
    problem.help = Some("split it into two triggers".to_owned());
    problem
}

/// What two figures are both of, if they can be compared or added.
fn common(one: Quantity, other: Quantity) -> Option<Quantity> {
    match (one, other) {
        _ if one == other => Some(one),
        (Quantity::Ratio, Quantity::Count | Quantity::Share)
        | (Quantity::Count | Quantity::Share, Quantity::Ratio) => Some(Quantity::Ratio),
        _ => None,
    }
}

fn is_plain(quantity: Quantity) -> bool {
    matches!(
        quantity,
        Quantity::Count | Quantity::Share | Quantity::Ratio
    )
}

fn product(one: Quantity, other: Quantity) -> Option<Quantity> {
    match (one, other) {
        (Quantity::Rate, Quantity::Duration) | (Quantity::Duration, Quantity::Rate) => {
            Some(Quantity::Count)
        }
        // A part of a count is a count.
        (Quantity::Count, other) if is_plain(other) => Some(Quantity::Count),
        (one, Quantity::Count) if is_plain(one) => Some(Quantity::Count),
        (one, other) if is_plain(one) => Some(other),
        (one, other) if is_plain(other) => Some(one),
        _ => None,
    }
}

fn quotient(one: Quantity, other: Quantity) -> Option<Quantity> {
    match (one, other) {
        _ if one == other => Some(Quantity::Ratio),
        (Quantity::Count, Quantity::Duration) => Some(Quantity::Rate),
        (Quantity::Count, Quantity::Rate) => Some(Quantity::Duration),
        (one, other) if is_plain(other) => Some(one),
        _ => None,
    }
}
