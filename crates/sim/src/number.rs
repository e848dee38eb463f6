//! Between whole numbers and fractions.

/// The nearest whole number; nothing below zero, and zero for what is not a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and turns what is not a number into zero"
)]
#[must_use]
pub fn whole(value: f64) -> u64 {
    (value + 0.5) as u64
}

/// The whole seconds of a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and times are never negative"
)]
#[must_use]
pub fn second(time: f64) -> usize {
    time as usize
}

/// A count as an index.
#[must_use]
pub fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A length as a count.
#[must_use]
pub fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A fraction as a percentage, for tables.
#[must_use]
pub fn percent(share: f64) -> f64 {
    share * 100.0
}
