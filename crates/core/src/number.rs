//! Between whole numbers and fractions.

/// A count as a fraction; exact up to 2^53, far above any count here.
pub(crate) fn fraction(count: u64) -> f64 {
    count as f64
}

/// The nearest whole number; nothing below zero, and zero for what is not a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and `as` saturates"
)]
pub(crate) fn whole(value: f64) -> u64 {
    if value.is_finite() && value > 0.0 {
        libm::round(value) as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_count_becomes_zero() {
        assert_eq!(whole(2.5), 3);
        assert_eq!(whole(f64::NAN), 0);
        assert_eq!(whole(-4.0), 0);
        assert_eq!(whole(f64::INFINITY), 0);
    }
}
