//! Numbers with a unit.

/// Seconds, from a text such as `"50ms"`.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let units = [
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("min", 60.0),
        ("m", 60.0),
        ("h", 3_600.0),
    ];
    scaled(text, &units)
        .ok_or_else(|| format!("`{text}` is no duration such as \"50ms\" or \"300s\""))
}

/// Bytes, from a text such as `"8MiB"`.
pub(super) fn bytes(text: &str) -> Result<f64, String> {
    let units = [
        ("KiB", 1_024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("B", 1.0),
    ];
    scaled(text, &units).ok_or_else(|| format!("`{text}` is no size such as \"8MiB\" or \"2GiB\""))
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let value = digits.trim().parse::<f64>().ok()? * scale;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_unit() {
        assert_eq!(seconds("1680ms"), Ok(1.68));
        assert_eq!(seconds("2.5 s"), Ok(2.5));
        assert_eq!(seconds("1h"), Ok(3_600.0));
        assert_eq!(bytes("15MiB"), Ok(15_728_640.0));
        for wrong in ["50", "ms", "-1s", "NaNs", "1 week", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(bytes("15MB").is_err());
    }
}
