//! Files tell one story and functions fit on a screen.

use super::Finding;
use crate::rust::{files_for_tests, is_for_tests, sources};
use crate::tree::{File, Tree};
use std::collections::BTreeSet;
use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;
/// A test may be one long table of cases.
const TEST_FUNCTION_LINES_MAX: usize = 100;

/// Files that may be longer: the path, the limit that holds for it, and why. A row that is no longer needed is a finding.
const LONGER_FILES: &[(&str, usize, &str)] = &[];

/// Directories whose files are tests, benches or examples.
const TEST_DIRECTORIES: [&str; 4] = ["benches", "examples", "fuzz", "tests"];

pub(super) fn sizes(tree: &Tree) -> Vec<Finding> {
    sizes_with(tree, LONGER_FILES)
}

fn sizes_with(tree: &Tree, longer: &[(&str, usize, &str)]) -> Vec<Finding> {
    let sources = sources(tree).into_iter();
    let hidden: BTreeSet<String> = sources
        .flat_map(|source| files_for_tests(tree, source))
        .collect();
    let mut findings = Vec::new();
    for (path, file, syntax) in tree.rust() {
        let lines = story_lines(file, syntax);
        let of_tests = hidden.contains(path) || is_of_tests(path);
        let usual = if of_tests {
            TEST_FILE_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        let exception = longer.iter().find(|(longer, _, _)| *longer == path);
        let limit = exception.map_or(usual, |(_, limit, _)| *limit);
        if lines > limit {
            let what = format!("the file has {lines} lines without its tests");
            let right = format!("at most {limit}; split it where its story splits");
            findings.push(Finding::new(path, 1, what, right));
        }
        if exception.is_some() && lines <= usual {
            let what = format!("the file has {lines} lines and needs no exception any more");
            let right = "take it out of LONGER_FILES in xtask/src/tidy/sizes.rs";
            findings.push(Finding::new(path, 1, what, right));
        }
        findings.extend(long_functions(path, syntax, of_tests));
    }
    let gone = longer.iter().filter(|(path, _, _)| !tree.has(path));
    findings.extend(gone.map(|(path, _, _)| {
        let right = "take it out of LONGER_FILES in xtask/src/tidy/sizes.rs";
        Finding::new(*path, 1, "an exception for a file that is not there", right)
    }));
    findings
}

fn is_of_tests(path: &str) -> bool {
    path.split('/').any(|part| TEST_DIRECTORIES.contains(&part))
}

fn long_functions(path: &str, syntax: &syn::File, of_tests: bool) -> Vec<Finding> {
    let mut functions = Functions {
        in_tests: of_tests,
        found: Vec::new(),
    };
    functions.visit_file(syntax);
    let long = functions.found.into_iter().filter_map(|function| {
        let limit = if function.in_tests {
            TEST_FUNCTION_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        let Function {
            name, line, lines, ..
        } = function;
        let what = format!("function `{name}` has {lines} lines");
        let right = format!("at most {limit}; give its parts names");
        (lines > limit).then(|| Finding::new(path, line, what, right))
    });
    long.collect()
}

/// The lines of a file without its test modules.
fn story_lines(file: &File, syntax: &syn::File) -> usize {
    let tests = syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if is_for_tests(&module.attrs) => {
            let (brace, _) = module.content.as_ref()?;
            let first = module.attrs.first()?.pound_token.span.start().line;
            Some(brace.span.close().end().line + 1 - first)
        }
        _ => None,
    });
    file.text.lines().count() - tests.sum::<usize>()
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
    in_tests: bool,
}

struct Functions {
    in_tests: bool,
    found: Vec<Function>,
}

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.found.push(Function {
            name: signature.ident.to_string(),
            line,
            lines: last + 1 - line,
            in_tests: self.in_tests,
        });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let outside = self.in_tests;
        self.in_tests |= is_for_tests(&module.attrs);
        visit::visit_item_mod(self, module);
        self.in_tests = outside;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(lines: usize) -> String {
        "//\n".repeat(lines)
    }

    fn whats(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let tests = format!(
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more {{\n{}}}\n",
            long(300)
        );
        let tree = Tree::of(&[
            ("src/good.rs", &(long(498) + &tests)),
            ("src/long.rs", &(long(499) + &tests)),
            ("src/good/tests.rs", &long(700)),
            ("tests/it/good.rs", &long(700)),
            ("crates/x/tests/long.rs", &long(701)),
        ]);
        assert_eq!(
            whats(&sizes_with(&tree, &[])),
            [
                "crates/x/tests/long.rs:1 the file has 701 lines without its tests",
                "src/long.rs:1 the file has 501 lines without its tests",
            ]
        );
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        let body = long(69);
        let text = format!(
            "fn short() {{\n{}}}\nfn long() {{\n{body}}}\nimpl X {{\nfn method() {{\n{body}}}\n}}\ntrait T {{\nfn given() {{\n{body}}}\n}}\n",
            long(68)
        );
        assert_eq!(
            whats(&sizes_with(&Tree::of(&[("src/a.rs", &text)]), &[])),
            [
                "src/a.rs:71 function `long` has 71 lines",
                "src/a.rs:143 function `method` has 71 lines",
                "src/a.rs:216 function `given` has 71 lines",
            ]
        );
    }

    #[test]
    fn a_test_may_be_a_longer_table() {
        let (good, bad) = (long(98), long(99));
        let text = format!(
            "#[cfg(test)]\nmod tests {{\nfn good() {{\n{good}}}\nfn bad() {{\n{bad}}}\n}}\n"
        );
        assert_eq!(
            whats(&sizes_with(&Tree::of(&[("src/a.rs", &text)]), &[])),
            ["src/a.rs:103 function `bad` has 101 lines"]
        );
        let table = format!("fn table() {{\n{}}}\n", long(90));
        assert!(sizes_with(&Tree::of(&[("tests/it/a.rs", &table)]), &[]).is_empty());
    }

    #[test]
    fn an_exception_lifts_the_limit_and_has_to_be_needed() {
        let tree = Tree::of(&[("src/long.rs", &long(600)), ("src/short.rs", &long(10))]);
        let longer = [
            ("src/gone.rs", 900, "a table"),
            ("src/long.rs", 600, "a table"),
            ("src/short.rs", 600, "it was a table once"),
        ];
        assert_eq!(
            whats(&sizes_with(&tree, &longer)),
            [
                "src/short.rs:1 the file has 10 lines and needs no exception any more",
                "src/gone.rs:1 an exception for a file that is not there",
            ]
        );
        assert_eq!(
            sizes_with(&tree, &[("src/long.rs", 599, "a table")]).len(),
            1
        );
    }
}
