//! From text to words, numbers and signs, each with its place.

use super::parser::{Problem, Vocabulary};
use super::signals::Quantity;
use std::ops::Range;

/// A word, number or sign.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind<'t>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenKind<'t> {
    /// A number in the units of [`super::SignalSet::set`], and what its unit says that it measures.
    Number(f64, Quantity),
    /// A signal, or `and`, `or`, `not`.
    Word(&'t str),
    Sign(&'static str),
    End,
}

/// The units with what they measure, and by what a number is multiplied or divided for it. Both are exact, so `50ms` is the
/// same number as 50,000 microseconds of a host.
pub(super) const UNITS: [(&str, Quantity, Scale); 12] = [
    ("", Quantity::Count, Scale::Times(1.0)),
    ("%", Quantity::Share, Scale::Of(100.0)),
    ("us", Quantity::Duration, Scale::Of(1e6)),
    ("ms", Quantity::Duration, Scale::Of(1e3)),
    ("s", Quantity::Duration, Scale::Times(1.0)),
    ("m", Quantity::Duration, Scale::Times(60.0)),
    ("h", Quantity::Duration, Scale::Times(3_600.0)),
    ("/s", Quantity::Rate, Scale::Times(1.0)),
    ("B", Quantity::Bytes, Scale::Times(1.0)),
    ("KiB", Quantity::Bytes, Scale::Times(1_024.0)),
    ("MiB", Quantity::Bytes, Scale::Times(1_048_576.0)),
    ("GiB", Quantity::Bytes, Scale::Times(1_073_741_824.0)),
];

#[derive(Clone, Copy)]
pub(super) enum Scale {
    Times(f64),
    Of(f64),
}

/// Longer signs before those that they begin with.
const SIGNS: [&str; 12] = [
    "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")",
];

/// What people of other languages write, and what it is called here.
const FOREIGN: [(&str, &str); 4] = [("&&", "and"), ("||", "or"), ("!", "not"), ("=", "==")];

/// The next token at or after an offset.
///
/// # Errors
/// What no token can be.
pub(super) fn next(text: &str, from: usize) -> Result<Token<'_>, Problem> {
    let rest = &text[from..];
    let start = from + (rest.len() - rest.trim_start().len());
    let rest = &text[start..];
    let Some(first) = rest.chars().next() else {
        let span = start..start;
        let kind = TokenKind::End;
        return Ok(Token { kind, span });
    };
    if first.is_ascii_digit() {
        return number(text, start);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let end = start + word_length(rest);
        let kind = TokenKind::Word(&text[start..end]);
        let span = start..end;
        return Ok(Token { kind, span });
    }
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        let span = start..start + sign.len();
        let kind = TokenKind::Sign(sign);
        return Ok(Token { kind, span });
    }
    let foreign = FOREIGN.iter().find(|(sign, _)| rest.starts_with(sign));
    let length = foreign.map_or_else(|| first.len_utf8(), |(sign, _)| sign.len());
    let mut problem = Problem::new(
        start..start + length,
        "a condition has no such sign".to_owned(),
        "found here".to_owned(),
    );
    problem.note = Some(
        "allowed: `and`, `or`, `not`, the signs < <= > >= == != + - * / and parentheses".to_owned(),
    );
    problem.help = foreign.map(|(_, ours)| format!("write `{ours}`"));
    Err(problem)
}

fn word_length(text: &str) -> usize {
    let inside = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
    text.chars().take_while(inside).count()
}

/// A number with its unit, which follows without a space.
fn number(text: &str, start: usize) -> Result<Token<'_>, Problem> {
    let rest = &text[start..];
    let digits = |text: &str| {
        let inside = |byte: &u8| byte.is_ascii_digit() || *byte == b'_';
        text.bytes().take_while(inside).count()
    };
    let mut length = digits(rest);
    if let Some(fraction) = rest[length..].strip_prefix('.')
        && fraction.starts_with(|char: char| char.is_ascii_digit())
    {
        length += 1 + digits(fraction);
    }
    let unit = unit_of(&rest[length..]);
    let span = start..start + length + unit.len();
    let (_, quantity, scale) = UNITS
        .iter()
        .find(|(name, _, _)| *name == unit)
        .ok_or_else(|| unknown_unit(unit, start + length..span.end))?;
    let number = rest[..length].replace('_', "").parse::<f64>();
    let number = number.unwrap_or(f64::NAN);
    let value = match scale {
        Scale::Times(factor) => number * factor,
        Scale::Of(divisor) => number / divisor,
    };
    // No number that is meant has more digits than this.
    if value.is_nan() || length > 20 {
        let title = "the number is too large to be meant".to_owned();
        return Err(Problem::new(span, title, "found here".to_owned()));
    }
    let kind = TokenKind::Number(value, *quantity);
    Ok(Token { kind, span })
}

/// What directly follows a number and belongs to it: `%`, a word, or `/s` where that is not the beginning of a word.
fn unit_of(rest: &str) -> &str {
    let length = match rest.as_bytes() {
        [b'%', ..] => 1,
        [b'/', after @ ..] if after.first() == Some(&b's') && word_length(&rest[1..]) == 1 => 2,
        _ => word_length(rest),
    };
    &rest[..length]
}

fn unknown_unit(unit: &str, span: Range<usize>) -> Problem {
    let mut problem = Problem::new(
        span,
        format!("`{unit}` is not a unit"),
        "found here".to_owned(),
    );
    let names: Vec<&str> = UNITS.iter().skip(1).map(|(name, _, _)| *name).collect();
    problem.note = Some(format!("allowed: {}", names.join(", ")));
    let lower = unit.to_ascii_lowercase();
    let meant = match lower.as_str() {
        "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hr" | "hour" | "hours" => "h",
        "k" | "kb" | "kib" => "KiB",
        "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "b" | "byte" | "bytes" => "B",
        "percent" | "pct" => "%",
        "rps" | "qps" | "ps" => "/s",
        _ => "",
    };
    if meant.is_empty() {
        problem.unknown = Some(Vocabulary::Units);
    } else {
        problem.help = Some(format!("did you mean `{meant}`?"));
    }
    problem
}
