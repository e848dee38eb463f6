//! What is wrong with a configuration, in a form that lets people mend it in one go.
//!
//! A finding says what was found, what is allowed and why, and points at the place in the file: rustc's manner, and its
//! drawing. All findings of all files are collected before any is shown.

use super::raw::{Source, Spot};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use trimtab_protocol::configuration::SettingProblem;

/// Everything that is wrong with a configuration and its profiles, in the order of the files and of the lines in them.
#[derive(Clone, Debug, Default)]
pub struct ConfigErrors {
    findings: Vec<Finding>,
}

/// One thing that is wrong, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file as it was named, or the variable or option that set the value; empty where there is none.
    pub file: String,
    /// The line, counted from 1; absent where the file as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in characters, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What was found there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// What is allowed, why, and what to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl ConfigErrors {
    /// How many things are wrong.
    #[must_use]
    pub fn count(&self) -> usize {
        self.findings.len()
    }

    /// The same as data.
    #[must_use]
    pub fn list(&self) -> Vec<ConfigError> {
        self.findings.iter().map(Finding::as_data).collect()
    }

    /// The same for the status and the ledger.
    pub(crate) fn problems(&self) -> Vec<SettingProblem> {
        let problems = self.list().into_iter().map(|error| SettingProblem {
            file: error.file,
            line: error.line,
            column: error.column,
            message: error.message,
            notes: error.notes,
        });
        problems.collect()
    }

    /// The report for people, with terminal colours or without.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for finding in &self.findings {
            text.push_str(&renderer.render(&[finding.as_group()]));
            text.push_str("\n\n");
        }
        let count = match self.count() {
            1 => "1 error".to_owned(),
            many => format!("{many} errors"),
        };
        text.push_str(&count);
        text.push_str(" in the configuration; nothing was changed by it\n");
        text
    }

    /// The first mistake with its place, and how many there are besides, in one line.
    #[must_use]
    pub fn in_short(&self) -> String {
        let Some(first) = self.findings.first().map(Finding::as_data) else {
            return String::new();
        };
        let place = match (first.file.as_str(), first.line) {
            ("", _) => String::new(),
            (file, line) => format!("{file}:{}: ", line.unwrap_or(1)),
        };
        let more = match self.count() {
            0 | 1 => String::new(),
            many => format!(", and {} more", many - 1),
        };
        format!("{place}{}{more}", first.message)
    }

    /// Adds the findings of another check behind these.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self
    }

    pub(super) fn from_findings(findings: Vec<Finding>) -> Self {
        Self { findings }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// One thing that is wrong: a title, the places with what is said about each, and notes below.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    title: String,
    /// The first is where it is wrong, the others are what it contradicts.
    marks: Vec<Mark>,
    notes: Vec<String>,
    help: Option<String>,
}

#[derive(Clone, Debug)]
struct Mark {
    source: Arc<Source>,
    span: Range<usize>,
    label: String,
}

impl Finding {
    /// A finding that has no place in a file, such as a file that cannot be read.
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            marks: Vec::new(),
            notes: Vec::new(),
            help: None,
        }
    }

    /// Points at a place. The first place named is the one that is wrong.
    pub(super) fn at(self, spot: &Spot, label: impl Into<String>) -> Self {
        self.at_span(&spot.source, spot.span.clone(), label)
    }

    /// Points at a range of bytes of a source.
    pub(super) fn at_span(
        mut self,
        source: &Arc<Source>,
        span: Range<usize>,
        label: impl Into<String>,
    ) -> Self {
        self.marks.push(Mark {
            source: Arc::clone(source),
            span: source.clamp(span),
            label: label.into(),
        });
        self
    }

    /// Says what is allowed, or why.
    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says what to do.
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// What is wrong, in short.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// The file in which it stands, for sorting.
    pub(super) fn file(&self) -> &str {
        self.marks.first().map_or("", |mark| mark.source.name())
    }

    /// Where it stands within its file, for sorting.
    pub(super) fn offset(&self) -> usize {
        self.marks.first().map_or(0, |mark| mark.span.start)
    }

    fn as_group(&self) -> Group<'_> {
        let mut group = Group::with_title(Level::ERROR.primary_title(clean(&self.title)));
        // Places in one source share a picture; the first place's source comes first.
        let mut drawn: Vec<&Arc<Source>> = Vec::new();
        for mark in &self.marks {
            if drawn.iter().any(|source| Arc::ptr_eq(source, &mark.source)) {
                continue;
            }
            drawn.push(&mark.source);
            let here = self.marks.iter().enumerate();
            let here = here.filter(|(_, other)| Arc::ptr_eq(&other.source, &mark.source));
            let marks = here.map(|(index, other)| {
                let kind = if index == 0 {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                kind.span(other.span.clone()).label(clean(&other.label))
            });
            group = group.element(
                Snippet::source(clean(mark.source.text()))
                    .path(clean(mark.source.name()))
                    .annotations(marks),
            );
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(clean(note)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(clean(help)));
        }
        group
    }

    fn as_data(&self) -> ConfigError {
        let mark = self.marks.first();
        let place = mark.map(|mark| mark.source.line_and_column(mark.span.start));
        ConfigError {
            file: mark.map_or_else(String::new, |mark| mark.source.name().to_owned()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message: self.title.clone(),
            found: mark.map_or_else(String::new, |mark| mark.label.clone()),
            notes: self.notes.iter().chain(&self.help).cloned().collect(),
        }
    }
}

/// Text that may quote a file, without what could steer a terminal. What is put in its place is as long in bytes, so that the
/// places in it stay where they are.
fn clean(text: &str) -> String {
    let replace = |char: char| match char {
        '\n' | '\t' | '\r' => char,
        _ if !steers(char) => char,
        _ => match char.len_utf8() {
            1 => '?',
            2 => '¿',
            _ => '\u{fffd}',
        },
    };
    text.chars().map(replace).collect()
}

/// Whether a character moves the cursor, sets colours, or turns the direction of what follows: text with such a character is
/// not what it looks like in a terminal.
pub(crate) fn steers(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
