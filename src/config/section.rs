//! One table of a file: its keys are asked for by name, and what nobody asked for is unknown.
//!
//! A derived deserializer stops at the first mistake. This reader walks the parsed tree instead, so a file with five
//! mistakes reports five, each with its line. The list of known keys is the list of keys that were asked for, so it cannot
//! go stale. Nothing here knows what a key means.

use super::error::Finding;
use super::raw::{Desk, Source, Spot};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of a file, while its keys are asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) desk: &'a Desk<'a>,
    pub(super) source: &'a Arc<Source>,
    /// Nothing when the file lacks the table, or has something else in its place.
    table: Option<&'a DeTable<'a>>,
    /// The table's heading.
    span: Range<usize>,
    /// The way to it, as people write it: `serve`; empty for the file itself.
    path: String,
    /// The same as the beginning of a variable's name: `SERVE_`.
    variable: String,
    known: Vec<&'static str>,
    missing: Vec<Finding>,
    missing_keys: Vec<&'static str>,
}

/// A value as it was given.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) spot: Spot,
}

/// Where a given value comes from: text of an override takes any type that it can be read as.
#[derive(Debug)]
pub(super) enum Raw<'a> {
    Toml(&'a DeValue<'a>),
    Text(&'a str),
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn root(
        desk: &'a Desk<'a>,
        source: &'a Arc<Source>,
        table: Option<&'a DeTable<'a>>,
        variable: String,
    ) -> Self {
        Self::new(desk, source, table, 0..0, String::new(), variable)
    }

    fn new(
        desk: &'a Desk<'a>,
        source: &'a Arc<Source>,
        table: Option<&'a DeTable<'a>>,
        span: Range<usize>,
        path: String,
        variable: String,
    ) -> Self {
        Self {
            desk,
            source,
            table,
            span,
            path,
            variable,
            known: Vec::new(),
            missing: Vec::new(),
            missing_keys: Vec::new(),
        }
    }

    /// The value of a key, from an override or from the file.
    pub(super) fn given(&mut self, key: &'static str) -> Option<Given<'a>> {
        self.known.push(key);
        let path = self.full(key);
        let variable = format!("{}{}", self.variable, as_variable(key));
        if let Some((origin, text)) = self.desk.overrides.get(&variable) {
            let source = Source::overriding(origin, text);
            let span = 0..source.text().len();
            let spot = Spot {
                source,
                span,
                key: path,
            };
            return Some(Given {
                raw: Raw::Text(text),
                spot,
            });
        }
        let value = self.table?.get(key)?;
        let spot = self.spot(path, value.span());
        Some(Given {
            raw: Raw::Toml(value.get_ref()),
            spot,
        })
    }

    /// Notes that a key must be there and is not. Nothing is noted when the whole table is missing, which says it all.
    pub(super) fn require(&mut self, key: &'static str, what: &str) {
        if self.table.is_none() {
            return;
        }
        let title = format!("`{}` is missing", self.full(key));
        let label = if self.path.is_empty() {
            "expected in this file".to_owned()
        } else {
            "expected in this table".to_owned()
        };
        let finding = Finding::new(title)
            .at_span(self.source, self.span.clone(), label)
            .note(format!("it has no default: {what}"));
        self.missing.push(finding);
        self.missing_keys.push(key);
    }

    /// A table within this one; an empty one when the file lacks it, or has something else in its place, which is reported.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        let value = self.table.and_then(|table| table.get(key));
        self.inner(key, key, value)
    }

    /// Whether the file has this key, or something overrides it.
    pub(super) fn gives(&self, key: &str) -> bool {
        let variable = format!("{}{}", self.variable, as_variable(key));
        self.desk.overrides.get(&variable).is_some()
            || self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The tables of an array of tables, each as a section; `variable` is the beginning of their variables' names. `None` when
    /// something else stands in its place, which is reported.
    pub(super) fn sections(&mut self, key: &'static str, variable: &str) -> Option<Vec<Self>> {
        self.known.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else {
            return Some(Vec::new());
        };
        let Some(array) = value.get_ref().as_array() else {
            let spot = self.spot(self.full(key), value.span());
            self.desk.report(
                wrong_type(&spot, value.get_ref(), "a list of tables")
                    .help(format!("write `[[{key}]]`")),
            );
            return None;
        };
        Some(
            array
                .iter()
                .map(|item| self.inner(key, variable, Some(item)))
                .collect(),
        )
    }

    /// A table that the file does not have, for what overrides may say of it.
    pub(super) fn absent(&self, key: &str, variable: &str) -> Self {
        self.inner(key, variable, None)
    }

    fn inner(&self, key: &str, variable: &str, value: Option<&'a Spanned<DeValue<'a>>>) -> Self {
        let path = self.full(key);
        let variable = format!("{}{}_", self.variable, as_variable(variable));
        let (table, span) = match value {
            None => (None, self.span.clone()),
            Some(value) => {
                let table = value.get_ref().as_table();
                if table.is_none() {
                    let spot = self.spot(path.clone(), value.span());
                    self.desk
                        .report(wrong_type(&spot, value.get_ref(), "a table"));
                }
                (table, value.span())
            }
        };
        Self::new(self.desk, self.source, table, span, path, variable)
    }

    /// All keys of a table whose keys are not known beforehand, such as the names of pools.
    pub(super) fn entries(&mut self) -> Vec<(String, Spot, Given<'a>)> {
        let Some(table) = self.table.take() else {
            return Vec::new();
        };
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'a>>)| {
            let name: &Cow<'a, str> = key.get_ref();
            let path = self.full(name);
            let variable = format!("{}{}", self.variable, as_variable(name));
            let key_spot = self.spot(path.clone(), key.span());
            let given = match self.desk.overrides.get(&variable) {
                Some((origin, text)) => {
                    let source = Source::overriding(origin, text);
                    let span = 0..source.text().len();
                    let spot = Spot {
                        source,
                        span,
                        key: path,
                    };
                    Given {
                        raw: Raw::Text(text),
                        spot,
                    }
                }
                None => Given {
                    raw: Raw::Toml(value.get_ref()),
                    spot: self.spot(path, value.span()),
                },
            };
            (name.clone().into_owned(), key_spot, given)
        };
        table.iter().map(entry).collect()
    }

    /// The heading of this table, for findings about the table as a whole.
    pub(super) fn heading(&self) -> Spot {
        self.spot(self.path.clone(), self.span.clone())
    }

    /// Reports what nobody asked for and what is missing. A misspelt key that is missing under its right name is one
    /// mistake, not two.
    pub(super) fn finish(mut self) {
        let unknown: Vec<_> = self
            .table
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| !self.known.contains(&key.get_ref().as_ref()))
            .collect();
        for key in unknown {
            let name = key.get_ref().as_ref();
            let meant = closest(name, self.known.iter().copied());
            let mut finding = Finding::new(format!("unknown key `{}`", self.full(name)))
                .at_span(self.source, key.span(), "nothing reads this")
                .note(format!("known here: {}", list(&self.known)));
            if let Some(meant) = meant {
                finding = finding.help(format!("did you mean `{meant}`?"));
                if let Some(index) = self.missing_keys.iter().position(|key| *key == meant) {
                    self.missing_keys.remove(index);
                    self.missing.remove(index);
                }
            }
            self.desk.report(finding);
        }
        for finding in self.missing {
            self.desk.report(finding);
        }
    }

    fn spot(&self, key: String, span: Range<usize>) -> Spot {
        Spot {
            source: Arc::clone(self.source),
            span,
            key,
        }
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// A key as part of a variable's name.
pub(super) fn as_variable(key: &str) -> String {
    key.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// The known word that was probably meant.
pub(super) fn closest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Comparing costs length times length, and nobody misspells a word by hundreds of letters.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&word, known), known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Words as a list in prose.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// A finding for a value of the wrong type.
pub(super) fn wrong_type(spot: &Spot, value: &DeValue<'_>, wanted: &str) -> Finding {
    Finding::new(format!("`{}` must be {wanted}", spot.key))
        .at(spot, format!("found {}", describe(value)))
}

/// A value in words, short enough for a margin.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{}\"", shorten(text)),
        DeValue::Integer(number) => format!("the number {}", shorten(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shorten(number.as_str())),
        DeValue::Boolean(word) => format!("`{word}`"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The first characters of a text.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}
