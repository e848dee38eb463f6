//! Numbers with a unit, as people write them: `30s`, `512MiB`, `50`.
//!
//! A duration or a size always carries its unit, so that `60` is never taken for a minute by one reader and for 60 ms by
//! another. What is written back is the largest unit that holds the value exactly, so text read and shown again is the same.

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things; written bare.
    Count,
    /// Milliseconds; written as a duration.
    Millis,
    /// Bytes; written as a size.
    Bytes,
    /// Hundredths of a percent; written in percent.
    Share,
}

impl Unit {
    /// What to write, for a message: with its article and an example.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Count => "a whole number such as 50",
            Self::Millis => "a duration with its unit such as \"30s\" or \"500ms\"",
            Self::Bytes => "a size with its unit such as \"64KiB\" or \"1GiB\"",
            Self::Share => "a share in percent such as \"70%\"",
        }
    }

    /// Reads a number with its unit.
    ///
    /// # Errors
    /// A hint of what would be right, when there is one; the caller says what was found.
    pub(super) fn parse(self, text: &str) -> Result<u64, Option<String>> {
        if self == Self::Share {
            return share(text);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let scales = self.scales();
        if number.is_empty() {
            return Err(None);
        }
        let Ok(number) = number.parse::<u64>() else {
            return Err(Some("the number is too large to be meant".to_owned()));
        };
        let scale = scales.iter().find(|(name, _)| *name == suffix);
        match scale {
            Some((_, factor)) => match number.checked_mul(*factor) {
                Some(value) => Ok(value),
                None => Err(Some("the number is too large to be meant".to_owned())),
            },
            None => Err(self.hint(number, suffix)),
        }
    }

    /// Writes a number with its unit, the way that [`Unit::parse`] reads it.
    pub(super) fn show(self, value: u64) -> String {
        if self == Self::Share {
            let (percent, rest) = (value / 100, value % 100);
            let rest = if rest == 0 {
                String::new()
            } else {
                format!(".{rest:02}").trim_end_matches('0').to_owned()
            };
            return format!("{percent}{rest}%");
        }
        let whole = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
        let (suffix, factor) = self
            .scales()
            .iter()
            .rev()
            .find(whole)
            .or_else(|| self.scales().first())
            .copied()
            .unwrap_or(("", 1));
        format!("{}{suffix}", value / factor)
    }

    /// The suffixes with their factors, smallest first.
    fn scales(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[("", 1)],
            Self::Share => &[("%", 100)],
            Self::Millis => &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)],
            Self::Bytes => &[
                ("B", 1),
                ("KiB", 1 << 10),
                ("MiB", 1 << 20),
                ("GiB", 1 << 30),
                ("TiB", 1 << 40),
            ],
        }
    }

    /// What a wrong suffix was probably meant to be.
    fn hint(self, number: u64, suffix: &str) -> Option<String> {
        let lower = suffix.trim().to_ascii_lowercase();
        let meant = match (self, lower.as_str()) {
            (Self::Count | Self::Share, _) => return None,
            (Self::Millis, "") => "s",
            (Self::Millis, "sec" | "secs" | "second" | "seconds") => "s",
            (Self::Millis, "min" | "mins" | "minute" | "minutes") => "m",
            (Self::Millis, "hr" | "hour" | "hours") => "h",
            (Self::Millis, "us" | "ns" | "µs") => {
                return Some("the smallest unit is the millisecond, `ms`".to_owned());
            }
            (Self::Bytes, "" | "b" | "byte" | "bytes") => "B",
            (Self::Bytes, "k" | "kb" | "kib") => "KiB",
            (Self::Bytes, "m" | "mb" | "mib") => "MiB",
            (Self::Bytes, "g" | "gb" | "gib") => "GiB",
            (Self::Bytes, "t" | "tb" | "tib") => "TiB",
            (Self::Millis | Self::Bytes, _) => {
                let known: Vec<&str> = self.scales().iter().map(|(name, _)| *name).collect();
                return Some(format!("the units are {}", known.join(", ")));
            }
        };
        Some(format!("did you mean \"{number}{meant}\"?"))
    }
}

/// Percent with at most two digits behind the point, in hundredths.
fn share(text: &str) -> Result<u64, Option<String>> {
    let percent = || text.trim().trim_end_matches('%').trim();
    let Some(number) = text.strip_suffix('%') else {
        let written = percent().parse::<f64>().ok();
        return Err(written.map(|number| {
            let meant = if number < 1.0 { number * 100.0 } else { number };
            format!("did you mean \"{meant}%\"?")
        }));
    };
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(rest) || rest.len() > 2 {
        return Err(None);
    }
    let hundredths = format!("{rest:0<2}").parse::<u64>().ok();
    let whole = whole.parse::<u64>().ok();
    let value = whole.and_then(|whole| whole.checked_mul(100)?.checked_add(hundredths?));
    value.ok_or_else(|| Some("the number is too large to be meant".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_sizes_are_read_with_their_units() {
        assert_eq!(Unit::Millis.parse("500ms"), Ok(500));
        assert_eq!(Unit::Millis.parse("5m"), Ok(300_000));
        assert_eq!(Unit::Bytes.parse("1KiB"), Ok(1024));
        assert_eq!(Unit::Count.parse("12"), Ok(12));
    }

    #[test]
    fn a_number_without_its_unit_is_refused_with_a_guess() {
        for (unit, text, hint) in [
            (Unit::Millis, "60", "did you mean \"60s\"?"),
            (Unit::Millis, "5 minutes", "did you mean \"5m\"?"),
            (
                Unit::Millis,
                "10us",
                "the smallest unit is the millisecond, `ms`",
            ),
            (Unit::Millis, "1.5s", "the units are ms, s, m, h"),
            (Unit::Bytes, "64kb", "did you mean \"64KiB\"?"),
        ] {
            assert_eq!(unit.parse(text), Err(Some(hint.to_owned())), "{text}");
        }
        assert_eq!(Unit::Millis.parse("-5s"), Err(None));
        assert_eq!(Unit::Millis.parse(""), Err(None));
    }

    #[test]
    fn what_overflows_is_refused_rather_than_wrapped() {
        assert!(Unit::Millis.parse("18446744073709551615h").is_err());
        assert!(Unit::Bytes.parse("99999999999999999999B").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same_number(value: u64) {
            for unit in [Unit::Count, Unit::Millis, Unit::Bytes, Unit::Share] {
                prop_assert_eq!(unit.parse(&unit.show(value)), Ok(value));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            for unit in [Unit::Count, Unit::Millis, Unit::Bytes, Unit::Share] {
                let _either = unit.parse(&text);
            }
        }
    }
}
