//! The table of the faults in `docs/reliability.md`: every one of the fifty has a case, a test, or a word why not.

use crate::tidy::markdown::{cells, prose};
use anyhow::{Context, Result, bail};
use std::path::Path;

const DOCUMENT: &str = "docs/reliability.md";
/// How many faults there are.
const FAULTS: u32 = 50;

/// A row: the numbers of its faults, and where they are dealt with.
type Row = (Vec<u32>, String);

fn rows(text: &str) -> Vec<Row> {
    let lines = prose(text);
    let rows = lines.into_iter().filter_map(|line| {
        let cells = cells(line.text)?;
        let (first, place) = cells.split_first()?;
        let numbers: Vec<u32> = first
            .split([' ', ','])
            .filter_map(|word| word.strip_prefix('F')?.parse().ok())
            .collect();
        (cells.len() == 3 && !numbers.is_empty()).then(|| (numbers, place.join("; ")))
    });
    rows.collect()
}

/// Where a fault without a case is dealt with, or why it is not.
///
/// # Errors
/// There is no such fault.
pub(super) fn place(root: &Path, fault: &str) -> Result<String> {
    let text = std::fs::read_to_string(root.join(DOCUMENT)).context("no table of the faults")?;
    let number: u32 = fault.trim_start_matches('F').parse().unwrap_or(0);
    match rows(&text)
        .into_iter()
        .find(|(numbers, _)| numbers.contains(&number))
    {
        Some((_, place)) => Ok(place),
        None => bail!("there is no fault {fault}; they are F01 to F{FAULTS}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_fault_has_a_case_or_a_test_or_a_word_why_not() {
        let text = std::fs::read_to_string(root().join(DOCUMENT)).expect("it is there");
        let rows = rows(&text);
        let told: BTreeSet<u32> = rows
            .iter()
            .flat_map(|(numbers, _)| numbers.clone())
            .collect();
        assert_eq!(told, (1..=FAULTS).collect());
        for (numbers, place) in &rows {
            let says = ["C `", "T ", "T in", "M", "*no*"]
                .iter()
                .any(|word| place.contains(word));
            assert!(says, "F{numbers:?}: {place}");
        }
    }

    #[test]
    fn the_table_names_cases_that_there_are_and_all_of_them() {
        let text = std::fs::read_to_string(root().join(DOCUMENT)).expect("it is there");
        let mut named = BTreeSet::new();
        for (_, place) in rows(&text) {
            named.extend(
                place
                    .split("C `")
                    .skip(1)
                    .filter_map(|rest| Some(rest.split('`').next()?.to_owned())),
            );
        }
        let there: BTreeSet<String> = super::super::CASES
            .iter()
            .map(|case| case.fault.to_owned())
            .collect();
        assert_eq!(named, there);
    }

    #[test]
    fn the_table_names_tests_that_there_are() {
        let text = std::fs::read_to_string(root().join(DOCUMENT)).expect("it is there");
        let mut sources = String::new();
        for directory in ["src", "tests", "crates"] {
            for file in walkdir::WalkDir::new(root().join(directory))
                .into_iter()
                .filter_map(Result::ok)
            {
                if file.path().extension().is_some_and(|end| end == "rs") {
                    sources.push_str(&std::fs::read_to_string(file.path()).expect("it is text"));
                }
            }
        }
        for (_, place) in rows(&text) {
            let names = place.split('`').skip(1).step_by(2);
            for name in names.filter(|name| name.contains('_') && !name.contains('/')) {
                assert!(
                    sources.contains(&format!("fn {name}(")),
                    "there is no test `{name}`"
                );
            }
        }
    }
}
