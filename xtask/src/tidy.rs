//! The rules of the repository that no compiler checks, each a function from the tree to its findings.
//!
//! `cargo xtask tidy` prints all findings of all checks. The same run is a test of this package, so a rule cannot be broken
//! by someone who does not know that it exists.

mod attributes;
mod imports;
mod invariants;
mod links;
pub(crate) mod markdown;
mod packages;
mod sizes;
mod words;

use crate::tree::Tree;
use anyhow::{Result, bail};
use std::fmt;
use std::path::Path;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    file: String,
    line: usize,
    what: String,
    right: String,
}

impl Finding {
    fn new(
        file: impl Into<String>,
        line: usize,
        what: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line,
            what: what.into(),
            right: right.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            what,
            right,
        } = self;
        write!(out, "{file}:{line}: {what}: {right}")
    }
}

type Check = fn(&Tree) -> Vec<Finding>;

const CHECKS: [(&str, Check); 13] = [
    ("Rust files can be parsed", parsing),
    (
        "modules of the sidecar import as the table says",
        imports::sidecar,
    ),
    (
        "modules of the core import as the table says",
        imports::core,
    ),
    ("the core's sources are pure", imports::purity),
    ("packages depend as the table says", packages::edges),
    ("protocol and core stay small and pure", packages::purity),
    ("every package takes the workspace's lints", packages::lints),
    (
        "unsafe code stands in crates/sys only",
        attributes::unsafety,
    ),
    (
        "no lint and no test is switched off",
        attributes::switched_off,
    ),
    ("files and functions stay short", sizes::sizes),
    ("links and paths in documents lead somewhere", links::links),
    ("no unfinished work, no paths of one machine", words::words),
    (
        "each invariant names tests that exist",
        invariants::invariants,
    ),
];

/// Prints all findings of all checks.
///
/// # Errors
/// When there is a finding, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let findings = all(&Tree::read(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy has {} findings", findings.len());
    }
    println!("tidy: {} checks, no findings", CHECKS.len());
    Ok(())
}

fn all(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|(_, check)| check(tree)).collect();
    findings.sort();
    findings.dedup();
    findings
}

fn parsing(tree: &Tree) -> Vec<Finding> {
    let broken = tree
        .files
        .iter()
        .filter_map(|(path, file)| Some((path, file.broken.as_ref()?)));
    broken
        .map(|(path, (line, error))| {
            Finding::new(path, *line, error, "a source that rustc can parse")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let tree = Tree::read(&crate::workspace_root()).expect("the repository is readable");
        let findings: Vec<String> = all(&tree).iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }

    #[test]
    fn a_source_that_cannot_be_parsed_is_found() {
        let tree = Tree::of(&[("src/a.rs", "fn a() {}\nfn b( {}\n")]);
        assert_eq!(parsing(&tree).len(), 1);
        assert!(parsing(&Tree::of(&[("src/a.rs", "fn a() {}")])).is_empty());
    }

    #[test]
    fn a_finding_is_one_line_that_editors_can_follow() {
        let finding = Finding::new("src/a.rs", 3, "`x` is wrong", "`y`");
        assert_eq!(finding.to_string(), "src/a.rs:3: `x` is wrong: `y`");
    }
}
