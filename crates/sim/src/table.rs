//! Tables, for people and for pages.

use crate::compare::Standing;
use crate::number::percent;
use crate::score::Score;
use std::fmt::Write as _;

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// JSON, with every seed.
    Json,
    /// Markdown.
    Markdown,
}

/// A table: the first row names the columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned());
        Self {
            rows: vec![columns.collect()],
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text.
    #[must_use]
    pub fn text(&self, format: Format) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    // The first column is a name, the others are figures.
                    if column == 0 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                })
                .collect();
            if format == Format::Markdown {
                text.push_str(&format!("| {} |\n", cells.join(" | ")));
                if number == 0 {
                    let rule: Vec<&str> = (0..columns)
                        .map(|column| if column == 0 { "---" } else { "---:" })
                        .collect();
                    text.push_str(&format!("|{}|\n", rule.join("|")));
                }
            } else {
                let line = cells.join("  ");
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }
}

/// One line a scenario, for one controller.
#[must_use]
pub fn scores(scores: &[&Score]) -> Table {
    let mut table = Table::new(&[
        "scenario", "best", "good %", "±", "worst", "chg/min", "most", "found s", "slowest",
        "over %", "harm", "worst", "p99 s", "workers", "notes",
    ]);
    for score in scores {
        let best: Vec<String> = score.best_sizes.iter().map(u64::to_string).collect();
        table.row(vec![
            score.scenario.clone(),
            best.join("/"),
            format!("{:.1}", percent(score.goodput)),
            format!("{:.1}", percent(score.goodput_error)),
            format!("{:.1}", percent(score.goodput_worst)),
            format!("{:.1}", score.changes_per_min),
            score.changes_most.to_string(),
            seconds(score.found_median_s),
            seconds(score.found_worst_s),
            format!("{:.1}", percent(score.oversize)),
            ratio(score.harm),
            ratio(score.harm_worst),
            format!("{:.2}", score.p99_s),
            format!("{:.1}", score.workers),
            notes(score),
        ]);
    }
    table
}

/// One line a controller.
#[must_use]
pub fn standings(standings: &[Standing]) -> Table {
    let mut table = Table::new(&[
        "controller",
        "worst %",
        "in",
        "mean %",
        "worst seed %",
        "chg/min",
        "most",
        "over %",
        "harm",
        "worst seed",
        "bounds",
        "kills",
    ]);
    for standing in standings {
        table.row(vec![
            standing.controller.clone(),
            format!("{:.1}", percent(standing.worst)),
            standing.worst_scenario.clone(),
            format!("{:.2}", percent(standing.mean)),
            format!("{:.1}", percent(standing.worst_seed)),
            format!("{:.1}", standing.changes_median),
            standing.changes_most.to_string(),
            format!("{:.1}", percent(standing.oversize)),
            ratio(standing.harm),
            ratio(standing.harm_worst),
            standing.violations.to_string(),
            standing.kills.to_string(),
        ]);
    }
    table
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"))
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// What is not as it should be, and what only some scenarios have.
fn notes(score: &Score) -> String {
    let mut notes = String::new();
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            let _ = write!(notes, " {what} {count}");
        }
    };
    note(score.kills, "kills");
    note(score.fights, "fights");
    note(score.violations, "bounds");
    note(score.unexplained, "unexplained");
    note(score.cut_good, "cut");
    if let Some(drift) = score.drift {
        let _ = write!(notes, " drift {drift:.3}");
    }
    if let Some(timeout) = score.best_timeout_s {
        let _ = write!(notes, " best timeout {timeout:.1}s");
    }
    if score.best_sizes.len() > 1 {
        let _ = write!(notes, " worst pool {:.1}", percent(score.pool_worst));
    }
    if !score.scored {
        notes.push_str(" unscored");
    }
    notes.trim().to_owned()
}
