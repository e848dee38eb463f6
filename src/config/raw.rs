//! From bytes to a tree of values that know their place in the file.
//!
//! A file is read with care, because it may be anything; its text is kept, so that whatever is said about a value later can
//! point at its line. Nothing here knows what a key means.

use super::Overrides;
use super::error::Finding;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::de::DeTable;
use trimtab_core::profile::Cited;
use trimtab_protocol::decision::Citation;
use trimtab_sys::plain::{self, PlainError};

/// The largest file that is read, in bytes: a hundred times what a long profile needs, and nothing that hurts to parse.
pub(super) const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The most findings that are kept of one file; beyond this the file is something else than a configuration.
const FINDINGS_MAX: usize = 100;

/// A text that values come from: a file, a profile in the program, or a variable or option that overrides a key.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    overrides: bool,
}

impl Source {
    /// Text that is part of the program.
    pub(super) fn built_in(name: &str, text: &str) -> Arc<Self> {
        Arc::new(Self {
            name: format!("built-in/{name}"),
            text: text.to_owned(),
            overrides: false,
        })
    }

    /// The value of a variable or option.
    pub(super) fn overriding(name: &str, text: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            overrides: true,
        })
    }

    /// Reads a file, of which nothing is believed: not that it is a file, nor its size, nor its encoding. A file of somebody's
    /// directory lies below it, even where its name is a link.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(path: &Path, directory: Option<&Path>) -> Result<Arc<Self>, Finding> {
        let name = path.display().to_string();
        let cannot = |error: std::io::Error| Finding::new(format!("cannot read `{name}`: {error}"));
        let opened = match directory {
            Some(directory) => plain::open_below(directory, path),
            None => plain::open(path),
        };
        let (file, _) = opened.map_err(|error| match error {
            PlainError::Unreadable(error) => cannot(error),
            PlainError::NotPlain => Finding::new(format!("`{name}` is not a regular file"))
                .note("a pipe or device could keep the sidecar waiting for ever"),
            PlainError::Elsewhere => Finding::new(format!(
                "`{name}` is a link to a file outside its directory"
            ))
            .note("whoever may see the pages sees profiles, and not each file that the sidecar may read")
            .help("put the file itself into the directory, or link to one below it"),
        })?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(cannot)?;
        Self::decode(name, bytes)
    }

    /// Turns a file's bytes into text.
    pub(super) fn decode(name: String, bytes: Vec<u8>) -> Result<Arc<Self>, Finding> {
        if u64::try_from(bytes.len()).map_or(true, |length| length > FILE_BYTES_MAX) {
            let title = format!("`{name}` is larger than {} KiB", FILE_BYTES_MAX / 1024);
            return Err(Finding::new(title)
                .note("a configuration is a page of text; is this the right file?"));
        }
        let overrides = false;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Arc::new(Self {
                name,
                text,
                overrides,
            })),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let source = Arc::new(Self {
                    name,
                    text,
                    overrides,
                });
                Err(Finding::new("the file is not UTF-8 text").at_span(
                    &source,
                    good..good + 1,
                    "this byte is not part of a character",
                ))
            }
        }
    }

    /// What it is called in messages and citations.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte, both counted from 1, the column in characters.
    pub(super) fn line_and_column(&self, offset: usize) -> (u32, u32) {
        let offset = self.clamp(offset..offset).start;
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        (number(line), number(column))
    }

    /// Where the characters of a text stand that a TOML string at `span` holds, if they stand there unchanged.
    pub(super) fn within_quotes(&self, span: &Range<usize>, text: &str) -> Option<usize> {
        if self.overrides {
            return Some(0);
        }
        let quoted = self.text.get(span.clone())?;
        let start = quoted.find(|char| char != '"' && char != '\'')?;
        let start = if text.starts_with('\'') { 1 } else { start };
        quoted
            .get(start..)?
            .starts_with(text)
            .then_some(span.start + start)
    }

    /// The range cut to the text and to whole characters, whatever a parser said.
    pub(super) fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let start = self
            .text
            .floor_char_boundary(span.start.min(self.text.len()));
        let end = self
            .text
            .ceil_char_boundary(span.end.clamp(start, self.text.len()));
        start..end
    }
}

/// Where a value stands, and under which key.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
    pub(super) key: String,
}

impl Spot {
    /// The place as decisions cite it.
    pub(super) fn citation(&self) -> Citation {
        let (line, column) = self.source.line_and_column(self.span.start);
        Citation {
            key: self.key.clone(),
            file: self.source.name().to_owned(),
            line,
            column,
        }
    }

    /// Whether a variable or option set it, so that a relative path in it is not relative to the file.
    pub(super) fn is_override(&self) -> bool {
        self.source.overrides
    }
}

/// A value that was read and found good by itself.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

impl<T> Found<T> {
    /// The value with its citation.
    pub(super) fn cited(self) -> Cited<T> {
        Cited {
            citation: self.spot.citation(),
            value: self.value,
        }
    }
}

/// What all files of one load share: what overrides them, what was found wrong so far, and which keys were asked for.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    overrides: &'a Overrides,
    findings: RefCell<Vec<Finding>>,
    /// Where each key of the configuration was set.
    origins: RefCell<BTreeMap<String, Citation>>,
    /// The variables that a key answers to, whether set or not.
    variables: RefCell<BTreeSet<String>>,
    /// All that was read, as one number.
    seen: RefCell<DefaultHasher>,
}

/// A file that was read and parsed.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) source: &'a Arc<Source>,
    pub(super) table: DeTable<'a>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(overrides: &'a Overrides) -> Self {
        Self {
            overrides,
            findings: RefCell::default(),
            origins: RefCell::default(),
            variables: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    /// Who overrides a variable, and with what.
    pub(super) fn overridden(&self, variable: &str) -> Option<(&'a str, &'a str)> {
        self.overrides.get(variable)
    }

    /// Who overrides something, by name.
    pub(super) fn override_origins(&self) -> Vec<String> {
        self.overrides.origins()
    }

    /// The names below a table, in capitals, that something overrides.
    pub(super) fn overridden_below(&self, table: &str) -> Vec<&'a str> {
        let variables = self.overrides.variables();
        let below = variables.filter_map(|variable| variable.strip_prefix(table));
        let names: Vec<&str> = below.filter(|name| !name.contains("__")).collect();
        let mut known = self.variables.borrow_mut();
        known.extend(names.iter().map(|name| format!("{table}{name}")));
        names
    }

    /// Notes where a key is set.
    pub(super) fn note_origin(&self, spot: &Spot) {
        let mut origins = self.origins.borrow_mut();
        origins.insert(spot.key.clone(), spot.citation());
    }

    /// Where each key that was noted since the last call is set.
    pub(super) fn take_origins(&self) -> BTreeMap<String, Citation> {
        self.origins.take()
    }

    /// Notes which variables a table's keys answer to.
    pub(super) fn note_variables(&self, variables: impl Iterator<Item = String>) {
        self.variables.borrow_mut().extend(variables);
    }

    /// Reports the variables that no key answers to. Only those that begin as ours alone do are looked at.
    pub(super) fn report_unknown_variables(&self) {
        let known = self.variables.take();
        for variable in self.overrides.variables() {
            let Some((origin, text)) = self.overrides.get(variable) else {
                continue;
            };
            if known.contains(variable) || !origin.starts_with('$') {
                continue;
            }
            let source = Source::overriding(origin, text);
            let mut finding = Finding::new(format!("no key answers to `{origin}`"))
                .at_span(&source, 0..source.text().len(), "nothing reads this")
                .note(
                    "a key's variable is TRIMTAB__ and the key in capitals, with __ for each dot",
                );
            let lower: BTreeMap<String, &String> = known
                .iter()
                .map(|name| (name.to_ascii_lowercase(), name))
                .collect();
            let meant = super::section::closest(variable, lower.keys().map(String::as_str));
            if let Some(meant) = meant {
                finding = finding.help(format!("did you mean `TRIMTAB__{}`?", lower[meant]));
            }
            self.report(finding);
        }
    }

    /// Notes something that is wrong.
    pub(super) fn report(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Reads a file, of a directory or of nobody's, and remembers what was there, or that nothing was.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(
        &self,
        path: &Path,
        directory: Option<&Path>,
    ) -> Result<Arc<Source>, Finding> {
        let read = Source::read(path, directory);
        let mut seen = self.seen.borrow_mut();
        path.hash(&mut *seen);
        match &read {
            Ok(source) => source.text().hash(&mut *seen),
            Err(finding) => finding.title().hash(&mut *seen),
        }
        read
    }

    /// Remembers something that was seen instead of a file.
    pub(super) fn saw(&self, what: &str) {
        what.hash(&mut *self.seen.borrow_mut());
    }

    /// A number that is another one when any file that was read is another one.
    pub(super) fn fingerprint(&self) -> u64 {
        self.seen.borrow().finish()
    }

    /// What was found since the last call, in the order of the files and lines.
    pub(super) fn take(&self) -> Vec<Finding> {
        let mut findings = self.findings.take();
        findings.sort_by_cached_key(|finding| (finding.file().to_owned(), finding.offset()));
        if findings.len() > FINDINGS_MAX {
            let more = findings.len() - FINDINGS_MAX;
            findings.truncate(FINDINGS_MAX);
            findings.push(Finding::new(format!(
                "and at least {more} more in the same file"
            )));
        }
        findings
    }
}

/// Parses a file. A mistake of syntax is reported as one finding, because all that follows it is guesswork; keys that are
/// set twice are each reported, and the rest of the file is read on.
pub(super) fn parse<'a>(source: &'a Arc<Source>, desk: &Desk<'_>) -> Option<DeTable<'a>> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    let table = table.into_inner();
    let place = |error: &toml::de::Error| error.span().unwrap_or(0..0).start;
    let syntax = errors.iter().filter(|error| error.message() != DUPLICATE);
    let syntax = syntax.min_by_key(|error| place(error));
    if let Some(error) = syntax {
        let span = error.span().unwrap_or(0..0);
        desk.report(
            Finding::new("this is not TOML")
                .at_span(source, span, error.message())
                .note("the rest of this file was not checked"),
        );
        return None;
    }
    for error in errors.iter().take(FINDINGS_MAX + 1) {
        let span = source.clamp(error.span().unwrap_or(0..0));
        let name = source.text()[span.clone()].to_owned();
        let mut finding = Finding::new(format!("`{name}` is set twice")).at_span(
            source,
            span.clone(),
            "again here",
        );
        if let Some(first) = nearest_before(&table, &name, span.start) {
            finding = finding.at_span(source, first, "first here");
        }
        desk.report(finding.help("keep one of the two"));
    }
    Some(table)
}

/// What the parser says of a key that is set twice; a test holds it to that.
const DUPLICATE: &str = "duplicate key";

/// The last key of that name before an offset.
fn nearest_before(table: &DeTable<'_>, name: &str, offset: usize) -> Option<Range<usize>> {
    let mut best: Option<Range<usize>> = None;
    for (key, value) in table {
        let here = (key.get_ref() == name && key.span().start < offset).then(|| key.span());
        let inner = value
            .get_ref()
            .as_table()
            .and_then(|inner| nearest_before(inner, name, offset));
        for span in here.into_iter().chain(inner) {
            if best.as_ref().is_none_or(|best| best.start < span.start) {
                best = Some(span);
            }
        }
    }
    best
}
