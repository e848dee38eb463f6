//! Each invariant in `ARCHITECTURE.md` names the test that would fail if it were broken, and that test exists. So does the bug that
//! is seeded to see that it would: an enum's variant or a struct.
//!
//! The invariants are the rows of the table below a heading with the word "invariants", in which a column whose title has the
//! word "test" names them in code spans: `a_test`, `module::a_test` or `path/to/file.rs::a_test`; where there is one with the word
//! "bug", it names the bugs.

use super::Finding;
use super::markdown::{cells, code_spans, heading, prose};
use crate::rust::{idents, is_test};
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use syn::visit::{self, Visit};

const DOCUMENT: &str = "ARCHITECTURE.md";

pub(super) fn invariants(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.files.get(DOCUMENT) else {
        return Vec::new();
    };
    let known = tests(tree);
    let seeded = bugs(tree);
    let mut findings = Vec::new();
    let mut within = false;
    let mut column = None;
    let mut bug_column = None;
    let mut rows = 0;
    for line in prose(&document.text) {
        if let Some(title) = heading(line.text) {
            within = title.to_lowercase().contains("invariants");
            column = None;
        }
        let Some(cells) = cells(line.text).filter(|_| within) else {
            continue;
        };
        let Some(column) = column else {
            let titled = |word: &str| {
                cells
                    .iter()
                    .position(|title| title.to_lowercase().contains(word))
            };
            (column, bug_column) = (titled("test"), titled("bug"));
            continue;
        };
        rows += 1;
        let named = code_spans(cells.get(column).copied().unwrap_or_default());
        if named.is_empty() {
            let what = "the invariant names no test";
            let right = "the test that fails when it is broken, as a code span";
            findings.push(Finding::new(DOCUMENT, line.number, what, right));
        }
        for name in named.into_iter().filter(|name| !exists(name, &known)) {
            let what = format!("there is no test `{name}`");
            let right = "the name of a test function in the tree";
            findings.push(Finding::new(DOCUMENT, line.number, what, right));
        }
        if let Some(column) = bug_column {
            let named = code_spans(cells.get(column).copied().unwrap_or_default());
            findings.extend(wrong_bugs(&named, &seeded, line.number));
        }
    }
    if rows == 0 {
        let right =
            "a heading with the word \"invariants\" and a table below it with a column \"test\"";
        findings.push(Finding::new(
            DOCUMENT,
            1,
            "there is no table of invariants",
            right,
        ));
    }
    findings
}

fn wrong_bugs(named: &[&str], seeded: &BTreeSet<String>, line: usize) -> Vec<Finding> {
    let right = "a variant or a struct that a test seeds, as a code span";
    if named.is_empty() {
        let what = "the invariant names no seeded bug";
        return vec![Finding::new(DOCUMENT, line, what, right)];
    }
    let gone = named.iter().filter(|name| !seeded.contains(**name));
    gone.map(|name| Finding::new(DOCUMENT, line, format!("there is no bug `{name}`"), right))
        .collect()
}

/// The names of all variants and structs.
fn bugs(tree: &Tree) -> BTreeSet<String> {
    let mut named = Bugs::default();
    for (_, _, syntax) in tree.rust() {
        named.visit_file(syntax);
    }
    named.0
}

#[derive(Default)]
struct Bugs(BTreeSet<String>);

impl<'ast> Visit<'ast> for Bugs {
    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.0.insert(variant.ident.to_string());
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.0.insert(item.ident.to_string());
    }
}

/// Whether a name, with or without the file or module before it, is that of a test.
fn exists(name: &str, known: &BTreeMap<String, Vec<&str>>) -> bool {
    let (place, function) = name.rsplit_once("::").unwrap_or(("", name));
    let Some(files) = known.get(function) else {
        return false;
    };
    let file = place.split("::").next().unwrap_or_default();
    !file.contains('/') || files.contains(&file)
}

/// The files that hold a test, by the test's name.
fn tests(tree: &Tree) -> BTreeMap<String, Vec<&str>> {
    let mut known = BTreeMap::<String, Vec<&str>>::new();
    for (path, _, syntax) in tree.rust() {
        let mut names = Tests::default();
        names.visit_file(syntax);
        for name in names.found {
            known.entry(name).or_default().push(path);
        }
    }
    known
}

#[derive(Default)]
struct Tests {
    found: Vec<String>,
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if is_test(&function.attrs) {
            self.found.push(function.sig.ident.to_string());
        }
        visit::visit_item_fn(self, function);
    }

    /// Macros such as `proptest!` hold whole test functions.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let words = idents(call.tokens.clone());
        let holds_tests = words
            .windows(2)
            .any(|pair| pair[0].0 == "test" && pair[1].0 == "fn");
        let functions = words.windows(2).filter(|pair| pair[0].0 == "fn");
        if holds_tests {
            self.found.extend(functions.map(|pair| pair[1].0.clone()));
        }
        visit::visit_macro(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "#[test]\nfn bounds_hold() {}\n#[tokio::test(start_paused = true)]\nasync fn freezes() {}\n\
                        fn no_test() {}\nproptest! { #[test] fn laws_hold(x in 0..9) { } }";

    fn whats(document: &str) -> Vec<String> {
        let tree = Tree::of(&[("ARCHITECTURE.md", document), ("src/guard.rs", CODE)]);
        invariants(&tree)
            .iter()
            .map(|finding| format!("{} {}", finding.line, finding.what))
            .collect()
    }

    #[test]
    fn every_named_test_has_to_exist() {
        let document = "# Invariants\n| | invariant | its test |\n|---|---|---|\n\
            | 1 | bounds `x` | `bounds_hold`, `src/guard.rs::freezes` |\n\
            | 2 | laws | `guard::laws_hold` and `gone` |\n\
            | 3 | none | later |\n\
            | 4 | elsewhere | `src/other.rs::freezes` and `no_test` |\n\
            # Other\n| a | test |\n| b | `gone` |\n";
        assert_eq!(
            whats(document),
            [
                "5 there is no test `gone`",
                "6 the invariant names no test",
                "7 there is no test `src/other.rs::freezes`",
                "7 there is no test `no_test`",
            ]
        );
    }

    #[test]
    fn every_invariant_names_a_bug_that_can_be_seeded() {
        let document = "# Invariants\n| invariant | test | bugs |\n|---|---|---|\n\
            | a | `bounds_hold` | `Leaps`, `Sleeps` |\n| b | `freezes` | `Gone` |\n| c | `freezes` | |\n";
        let code = format!("{CODE}\nenum Bug {{ Leaps }}\nfn held() {{ struct Sleeps; }}");
        let tree = Tree::of(&[("ARCHITECTURE.md", document), ("src/guard.rs", &code)]);
        let found = invariants(&tree);
        let found = found.iter().map(|it| format!("{} {}", it.line, it.what));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                "5 there is no bug `Gone`",
                "6 the invariant names no seeded bug"
            ]
        );
    }

    #[test]
    fn a_document_without_the_table_is_found() {
        assert_eq!(whats("# Words\n"), ["1 there is no table of invariants"]);
        assert!(invariants(&Tree::of(&[("src/a.rs", "")])).is_empty());
    }
}
