//! Figures that may be missing.
//!
//! A host that cannot offer a figure leaves it out, and a broken host may send a negative or absurd one. Both are *absent*,
//! which is not zero: a pool without a completion count is not a pool without completions. So a figure is an `Option<u64>`,
//! and reading one never fails the whole state.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Reads a figure: a whole number at or above zero, or nothing at all.
///
/// # Errors
/// None of its own; only the underlying reader's, when the text is not JSON at all.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(FigureVisitor)
}

/// Reads figures by name, and leaves out what is none.
///
/// # Errors
/// As [`lenient`], or when it is no map.
pub fn lenient_map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, u64>, D::Error> {
    #[derive(Deserialize)]
    struct Figure(#[serde(deserialize_with = "lenient")] Option<u64>);
    let named = BTreeMap::<String, Figure>::deserialize(deserializer)?;
    Ok(named
        .into_iter()
        .filter_map(|(name, Figure(figure))| Some((name, figure?)))
        .collect())
}

struct FigureVisitor;

/// Above this a double no longer holds every whole number, so a figure read as one is not trusted.
const EXACT_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

impl<'de> Visitor<'de> for FigureVisitor {
    type Value = Option<u64>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a figure")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(value).ok())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked, and a figure's fraction is below its resolution"
    )]
    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        let usable = value.is_finite() && (0.0..=EXACT_DOUBLE_MAX).contains(&value);
        Ok(usable.then_some(value as u64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    fn read(text: &str) -> Option<u64> {
        super::lenient(&mut serde_json::Deserializer::from_str(text)).expect("valid JSON")
    }

    #[test]
    fn whole_numbers_are_figures() {
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        assert_eq!(read("12.0"), Some(12));
    }

    #[test]
    fn what_is_not_a_count_is_absent_and_not_zero() {
        for text in [
            "-1",
            "-0.5",
            "1e300",
            "null",
            "true",
            "\"NaN\"",
            "[1]",
            "{\"a\":1}",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_without_a_figure_is_left_out() {
        let text = r#"{"kept": 3, "odd": "x", "less": -1}"#;
        let named = super::lenient_map(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(
            named.expect("a map"),
            std::collections::BTreeMap::from([("kept".to_owned(), 3)])
        );
    }
}
