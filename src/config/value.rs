//! Reading one key as a number, a word or a text, and saying what is wrong when it is not one.

use super::error::Finding;
use super::raw::{Found, Spot};
use super::section::{Given, Raw, Section, closest, describe, list, shorten, wrong_type};
use super::unit::Unit;
use toml::de::{DeInteger, DeValue};

/// What a key of numbers takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberRule {
    pub(super) key: &'static str,
    pub(super) unit: Unit,
    pub(super) min: u64,
    pub(super) max: u64,
    /// Why not less and not more.
    pub(super) why: &'static str,
}

/// What a key of texts takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextRule {
    pub(super) key: &'static str,
    /// In words, with its article.
    pub(super) what: &'static str,
    /// Whether a text is one.
    pub(super) takes: fn(&str) -> bool,
    /// What is allowed, and why.
    pub(super) why: &'static str,
}

impl NumberRule {
    /// What is allowed, for a message.
    fn allowed(&self) -> String {
        let (min, max) = (self.unit.show(self.min), self.unit.show(self.max));
        format!("allowed: {min} to {max}; {}", self.why)
    }
}

impl Section<'_> {
    /// A number that may be left out.
    pub(super) fn number(&mut self, rule: &NumberRule) -> Option<Found<u64>> {
        let given = self.given(rule.key)?;
        match read_number(&given, rule) {
            Ok(value) => Some(Found {
                value,
                spot: given.spot,
            }),
            Err(finding) => {
                self.desk.report(*finding);
                None
            }
        }
    }

    /// A number that must be there.
    pub(super) fn need_number(&mut self, rule: &NumberRule, why: &str) -> Option<Found<u64>> {
        if !self.gives(rule.key) {
            self.require(rule.key, why);
        }
        self.number(rule)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        why: &str,
    ) -> Option<Found<T>> {
        let given = self.given(key)?;
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let Some(text) = text_of(&given) else {
            let finding = wrong(&given, "a word").note(format!("allowed: {}; {why}", list(&names)));
            self.desk.report(finding);
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(Found {
                value: *value,
                spot: given.spot,
            });
        }
        let title = format!("`{}` does not know this word", given.spot.key);
        let mut finding = Finding::new(title)
            .at(&given.spot, format!("found \"{}\"", shorten(text)))
            .note(format!("allowed: {}; {why}", list(&names)));
        if let Some(meant) = closest(text, names.iter().copied()) {
            finding = finding.help(format!("did you mean `{meant}`?"));
        }
        self.desk.report(finding);
        None
    }

    /// Yes or no; no when it is left out.
    pub(super) fn flag(&mut self, key: &'static str, why: &str) -> bool {
        let Some(given) = self.given(key) else {
            return false;
        };
        let value = match given.raw {
            Raw::Toml(DeValue::Boolean(value)) => Some(*value),
            Raw::Toml(_) => None,
            Raw::Text(text) => text.parse().ok(),
        };
        if value.is_none() {
            self.desk
                .report(wrong(&given, "true or false").note(why.to_owned()));
        }
        value.unwrap_or(false)
    }

    /// A text that may be left out.
    pub(super) fn text(&mut self, rule: &TextRule) -> Option<Found<String>> {
        let given = self.given(rule.key)?;
        let value = self.checked_text(&given, rule)?;
        Some(Found {
            value,
            spot: given.spot,
        })
    }

    /// A text that must be there.
    pub(super) fn need_text(&mut self, rule: &TextRule) -> Option<Found<String>> {
        if !self.gives(rule.key) {
            self.require(rule.key, rule.why);
        }
        self.text(rule)
    }

    /// A list of texts; an override separates them with commas.
    pub(super) fn texts(&mut self, rule: &TextRule) -> Option<Vec<String>> {
        let given = self.given(rule.key)?;
        match &given.raw {
            Raw::Text(text) => {
                let parts = text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty());
                let given = parts.map(|part| Given {
                    raw: Raw::Text(part),
                    spot: given.spot.clone(),
                });
                given.map(|given| self.checked_text(&given, rule)).collect()
            }
            Raw::Toml(DeValue::Array(array)) => {
                let items = array.iter().map(|item| Given {
                    raw: Raw::Toml(item.get_ref()),
                    spot: Spot {
                        span: item.span(),
                        ..given.spot.clone()
                    },
                });
                // Each is looked at before the first bad one ends it, so that all bad ones are reported.
                let checked: Vec<_> = items.map(|item| self.checked_text(&item, rule)).collect();
                checked.into_iter().collect()
            }
            Raw::Toml(_) => {
                self.desk
                    .report(wrong(&given, "a list of texts").note(rule.why));
                None
            }
        }
    }

    /// A text that keeps a rule, wherever it came from.
    pub(super) fn checked_text(&self, given: &Given<'_>, rule: &TextRule) -> Option<String> {
        let Some(text) = text_of(given) else {
            self.desk.report(wrong(given, rule.what).note(rule.why));
            return None;
        };
        if (rule.takes)(text) {
            return Some(text.to_owned());
        }
        let found = if text.is_empty() {
            "found nothing between the quotes".to_owned()
        } else {
            format!("found \"{}\"", shorten(text))
        };
        let title = format!("`{}` must be {}", given.spot.key, rule.what);
        self.desk
            .report(Finding::new(title).at(&given.spot, found).note(rule.why));
        None
    }
}

/// Two bounds that contradict each other, with both places.
pub(super) fn contradiction(
    title: String,
    wrong: &Found<u64>,
    against: &Found<u64>,
    unit: Unit,
    why: &str,
) -> Finding {
    // Of a line and an override that do not fit together, the override is the newer one.
    let swap = against.spot.is_override() && !wrong.spot.is_override();
    let (wrong, against) = if swap {
        (against, wrong)
    } else {
        (wrong, against)
    };
    let label = |found: &Found<u64>| format!("`{}` is {}", found.spot.key, unit.show(found.value));
    Finding::new(title)
        .at(&wrong.spot, label(wrong))
        .at(&against.spot, label(against))
        .note(why)
}

/// The text of a value, where it is one.
pub(super) fn text_of<'a>(given: &Given<'a>) -> Option<&'a str> {
    match given.raw {
        Raw::Text(text) => Some(text),
        Raw::Toml(value) => value.as_str(),
    }
}

/// A finding for a value of the wrong type.
pub(super) fn wrong(given: &Given<'_>, wanted: &str) -> Finding {
    match given.raw {
        Raw::Toml(value) => wrong_type(&given.spot, value, wanted),
        Raw::Text(text) => Finding::new(format!("`{}` must be {wanted}", given.spot.key))
            .at(&given.spot, format!("found \"{}\"", shorten(text))),
    }
}

/// A TOML integer as a number, if it is not negative and not absurd.
pub(super) fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn read_number(given: &Given<'_>, rule: &NumberRule) -> Result<u64, Box<Finding>> {
    let bad_type = |help: Option<String>| {
        let finding = wrong(given, rule.unit.describe()).note(rule.allowed());
        Box::new(match help {
            Some(help) => finding.help(help),
            None => finding,
        })
    };
    let value = match (&given.raw, rule.unit) {
        (Raw::Text(text), unit) => unit.parse(text).map_err(bad_type)?,
        (Raw::Toml(DeValue::String(text)), Unit::Millis | Unit::Bytes | Unit::Share) => {
            rule.unit.parse(text).map_err(bad_type)?
        }
        (Raw::Toml(DeValue::String(text)), Unit::Count) => {
            let bare = text.parse::<u64>().is_ok();
            return Err(bad_type(bare.then(|| "write it without quotes".to_owned())));
        }
        (Raw::Toml(DeValue::Integer(number)), Unit::Count) => whole(number)
            .ok_or_else(|| Box::new(out_of_range(given, rule, &describe_raw(given))))?,
        (Raw::Toml(DeValue::Integer(number)), Unit::Millis) => {
            return Err(bad_type(
                whole(number).map(|n| format!("did you mean \"{n}s\"?")),
            ));
        }
        (Raw::Toml(DeValue::Integer(number)), Unit::Bytes) => {
            return Err(bad_type(
                whole(number).map(|n| format!("did you mean \"{n}B\"?")),
            ));
        }
        (Raw::Toml(DeValue::Integer(number)), Unit::Share) => {
            let whole = whole(number);
            return Err(bad_type(whole.map(|n| format!("did you mean \"{n}%\"?"))));
        }
        (Raw::Toml(DeValue::Float(number)), Unit::Share) => {
            let hint = rule.unit.parse(number.as_str()).err().flatten();
            return Err(bad_type(hint));
        }
        (Raw::Toml(_), _) => return Err(bad_type(None)),
    };
    if (rule.min..=rule.max).contains(&value) {
        Ok(value)
    } else {
        let found = rule.unit.show(value);
        Err(Box::new(out_of_range(
            given,
            rule,
            &format!("found {found}"),
        )))
    }
}

fn out_of_range(given: &Given<'_>, rule: &NumberRule, found: &str) -> Finding {
    Finding::new(format!("`{}` is out of range", given.spot.key))
        .at(&given.spot, found)
        .note(rule.allowed())
}

fn describe_raw(given: &Given<'_>) -> String {
    match given.raw {
        Raw::Toml(value) => format!("found {}", describe(value)),
        Raw::Text(text) => format!("found \"{}\"", shorten(text)),
    }
}
