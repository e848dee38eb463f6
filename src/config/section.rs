//! One table of a file: its keys are asked for by name, and what nobody asked for is unknown.
//!
//! A derived deserializer stops at the first mistake. This reader walks the parsed tree instead, so a file with five
//! mistakes reports five, each with its line. The list of known keys is the list of keys that were asked for, so it cannot
//! go stale. Nothing here knows what a key means.

use super::error::Finding;
use super::raw::{Desk, Parsed, Source, Spot};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One table of all files that give it, while its keys are asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) desk: &'a Desk<'a>,
    /// The table in each file that has it; a later file outranks an earlier one, key by key.
    layers: Vec<Layer<'a>>,
    /// Where the table is, or else where it would be.
    home: Place<'a>,
    /// The way to it, as people write it: `serve`; empty for the file itself.
    path: String,
    /// The same as the beginning of a variable's name: `SERVE__`.
    variable: String,
    known: Vec<&'static str>,
    missing: Vec<Finding>,
    missing_keys: Vec<&'static str>,
}

/// A table of one file.
#[derive(Clone, Debug)]
struct Layer<'a> {
    table: &'a DeTable<'a>,
    place: Place<'a>,
}

#[derive(Clone, Debug)]
struct Place<'a> {
    source: &'a Arc<Source>,
    span: Range<usize>,
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

/// An entry of a table whose keys are not known beforehand: its name, where that stands, and its value.
pub(super) type Named<'a> = (String, Spot, Given<'a>);

impl<'a> Section<'a> {
    /// The files themselves, the one that outranks the others last. There is at least one.
    pub(super) fn root(desk: &'a Desk<'a>, files: &'a [Parsed<'a>], variable: String) -> Self {
        let layers: Vec<Layer<'a>> = files
            .iter()
            .map(|file| Layer {
                table: &file.table,
                place: Place {
                    source: file.source,
                    span: 0..0,
                },
            })
            .collect();
        let home = layers[0].place.clone();
        Self::new(desk, layers, home, String::new(), variable)
    }

    fn new(
        desk: &'a Desk<'a>,
        layers: Vec<Layer<'a>>,
        home: Place<'a>,
        path: String,
        variable: String,
    ) -> Self {
        Self {
            desk,
            layers,
            home,
            path,
            variable,
            known: Vec::new(),
            missing: Vec::new(),
            missing_keys: Vec::new(),
        }
    }

    /// The value of a key, from an override or from the last file that has it.
    pub(super) fn given(&mut self, key: &'static str) -> Option<Given<'a>> {
        self.known.push(key);
        self.value_of(key)
    }

    fn value_of(&self, key: &str) -> Option<Given<'a>> {
        let path = self.full(key);
        let variable = format!("{}{}", self.variable, as_variable(key));
        let given = self.overridden(&variable, &path).or_else(|| {
            let (layer, value) = self.last(key)?;
            let source = layer.place.source;
            let spot = spot(source, path, value.span());
            Some(Given {
                raw: Raw::Toml(value.get_ref()),
                spot,
            })
        });
        if let Some(given) = &given {
            self.desk.note_origin(&given.spot);
        }
        given
    }

    fn overridden(&self, variable: &str, path: &str) -> Option<Given<'a>> {
        let (origin, text) = self.desk.overridden(variable)?;
        let source = Source::overriding(origin, text);
        let span = 0..source.text().len();
        let spot = spot(&source, path.to_owned(), span);
        Some(Given {
            raw: Raw::Text(text),
            spot,
        })
    }

    /// The value in the last file that has the key.
    fn last(&self, key: &str) -> Option<(&Layer<'a>, &'a Spanned<DeValue<'a>>)> {
        let layers = self.layers.iter().rev();
        let mut found = layers.filter_map(|layer| Some((layer, layer.table.get(key)?)));
        found.next()
    }

    /// Notes that a key must be there and is not. Nothing is noted when the whole table is missing, which says it all.
    pub(super) fn require(&mut self, key: &'static str, what: &str) {
        if self.layers.is_empty() {
            return;
        }
        let title = format!("`{}` is missing", self.full(key));
        let label = if self.path.is_empty() {
            "expected in this file".to_owned()
        } else {
            "expected in this table".to_owned()
        };
        let finding = Finding::new(title)
            .at(&self.heading(), label)
            .note(format!("it has no default: {what}"));
        self.missing.push(finding);
        self.missing_keys.push(key);
    }

    /// A table within this one; an empty one when no file has it. What has something else in its place is reported.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        let values = self.layers.iter().filter_map(|layer| {
            let value = layer.table.get(key)?;
            Some((layer.place.source, value))
        });
        self.inner(key, key, values.collect())
    }

    /// Whether a file has this key, or something overrides it.
    pub(super) fn gives(&self, key: &str) -> bool {
        let variable = format!("{}{}", self.variable, as_variable(key));
        self.desk.overridden(&variable).is_some() || self.last(key).is_some()
    }

    /// The tables of an array of tables, each as a section; `variable` gives the beginning of the variables' names of each.
    /// The first of one file and the first of another are one table, and so on. `None` when something else stands in its
    /// place, which is reported.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        variable: impl Fn(usize) -> String,
    ) -> Option<Vec<Self>> {
        self.known.push(key);
        let mut rows: Vec<Vec<(&'a Arc<Source>, &'a Spanned<DeValue<'a>>)>> = Vec::new();
        for layer in &self.layers {
            let Some(value) = layer.table.get(key) else {
                continue;
            };
            let source = layer.place.source;
            let Some(array) = value.get_ref().as_array() else {
                let spot = spot(source, self.full(key), value.span());
                self.desk.report(
                    wrong_type(&spot, value.get_ref(), "a list of tables")
                        .help(format!("write `[[{key}]]`")),
                );
                return None;
            };
            rows.resize(rows.len().max(array.len()), Vec::new());
            for (row, item) in rows.iter_mut().zip(array.iter()) {
                row.push((source, item));
            }
        }
        let rows = rows.into_iter().enumerate();
        let tables = rows.map(|(index, row)| self.inner(key, &variable(index), row));
        Some(tables.collect())
    }

    /// A table that no file has, for what overrides may say of it.
    pub(super) fn absent(&self, key: &str, variable: &str) -> Self {
        self.inner(key, variable, Vec::new())
    }

    fn inner(
        &self,
        key: &str,
        variable: &str,
        values: Vec<(&'a Arc<Source>, &'a Spanned<DeValue<'a>>)>,
    ) -> Self {
        let path = self.full(key);
        let variable = format!("{}{}{DOT}", self.variable, as_variable(variable));
        let mut home = None;
        let mut layers = Vec::new();
        for (source, value) in values {
            let place = Place {
                source,
                span: value.span(),
            };
            match value.get_ref().as_table() {
                Some(table) => layers.push(Layer {
                    table,
                    place: place.clone(),
                }),
                None => {
                    let spot = spot(source, path.clone(), value.span());
                    let finding = wrong_type(&spot, value.get_ref(), "a table");
                    self.desk.report(finding);
                }
            }
            home.get_or_insert(place);
        }
        let home = home.unwrap_or_else(|| self.home.clone());
        Self::new(self.desk, layers, home, path, variable)
    }

    /// All keys of a table whose keys are not known beforehand, such as the names of pools. A variable can name one that no
    /// file has, in capitals.
    pub(super) fn entries(&mut self) -> Vec<Named<'a>> {
        let mut names: BTreeMap<&'a str, Spot> = BTreeMap::new();
        for layer in std::mem::take(&mut self.layers) {
            for (key, _) in layer.table {
                let spot = spot(layer.place.source, self.full(key.get_ref()), key.span());
                names.insert(key.get_ref(), spot);
            }
            self.layers.push(layer);
        }
        let entry = |(name, spot): (&&str, &Spot)| {
            Some(((*name).to_owned(), spot.clone(), self.value_of(name)?))
        };
        let mut entries: Vec<Named<'a>> = names.iter().filter_map(entry).collect();
        for name in self.desk.overridden_below(&self.variable) {
            let name = name.to_ascii_lowercase();
            let known = names
                .keys()
                .any(|known| as_variable(known) == as_variable(&name));
            if !known && let Some(given) = self.value_of(&name) {
                entries.push((name, given.spot.clone(), given));
            }
        }
        self.layers.clear();
        entries
    }

    /// The heading of this table, for findings about the table as a whole.
    pub(super) fn heading(&self) -> Spot {
        spot(self.home.source, self.path.clone(), self.home.span.clone())
    }

    /// Reports what nobody asked for and what is missing. A misspelt key that is missing under its right name is one
    /// mistake, not two.
    pub(super) fn finish(mut self) {
        let keys = self.layers.iter().flat_map(|layer| {
            let keys = layer.table.iter().map(|(key, _)| key);
            keys.map(|key| (layer.place.source, key))
        });
        let unknown: Vec<_> = keys
            .filter(|(_, key)| !self.known.contains(&key.get_ref().as_ref()))
            .collect();
        for (source, key) in unknown {
            let name = key.get_ref().as_ref();
            let meant = closest(name, self.known.iter().copied());
            let mut finding = Finding::new(format!("unknown key `{}`", self.full(name)))
                .at_span(source, key.span(), "nothing reads this")
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
        let variables = self.known.iter().map(|key| as_variable(key));
        let variables = variables.map(|key| format!("{}{key}", self.variable));
        self.desk.note_variables(variables);
    }

    fn full(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

fn spot(source: &Arc<Source>, key: String, span: Range<usize>) -> Spot {
    let source = Arc::clone(source);
    Spot { source, span, key }
}

/// What stands for a dot in a variable's name; a single one may be part of a key.
pub(super) const DOT: &str = "__";

/// A key as part of a variable's name.
pub(super) fn as_variable(key: &str) -> String {
    key.to_ascii_uppercase().replace('-', "_").replace('.', DOT)
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
