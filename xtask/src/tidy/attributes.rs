//! Unsafe code outside its one crate, and attributes that switch a lint or a test off.

use super::Finding;
use crate::rust::idents;
use crate::tree::Tree;
use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

/// Where unsafe code may stand.
const UNSAFE_PLACE: &str = "crates/sys/";

pub(super) fn unsafety(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file, _) in tree
        .rust()
        .filter(|(path, _, _)| !path.starts_with(UNSAFE_PLACE))
    {
        let tokens: TokenStream = file.text.parse().unwrap_or_default();
        for (_, line) in idents(tokens)
            .into_iter()
            .filter(|(word, _)| word == "unsafe")
        {
            let right = "a safe function of crates/sys, with its argument beside the block";
            findings.push(Finding::new(path, line, "unsafe code", right));
        }
    }
    findings
}

pub(super) fn switched_off(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, syntax) in tree.rust() {
        let mut attributes = Attributes::default();
        attributes.visit_file(syntax);
        for (word, line) in attributes.found {
            let (what, right) = if word == "ignore" {
                (
                    "a test is switched off",
                    "a test that runs everywhere, or none",
                )
            } else {
                (
                    "a lint is switched off",
                    "`#[expect(lint, reason = \"...\")]` at the narrowest place",
                )
            };
            findings.push(Finding::new(path, line, what, right));
        }
    }
    findings
}

#[derive(Default)]
struct Attributes {
    found: Vec<(String, usize)>,
}

impl Attributes {
    fn add(&mut self, word: &str, line: usize) {
        if matches!(word, "allow" | "ignore") {
            self.found.push((word.to_owned(), line));
        }
    }
}

impl<'ast> Visit<'ast> for Attributes {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let line = attribute.pound_token.span.start().line;
        if let Some(word) = attribute.path().get_ident() {
            self.add(&word.to_string(), line);
        }
        if let syn::Meta::List(list) = &attribute.meta
            && list.path.is_ident("cfg_attr")
        {
            for (word, line) in idents(list.tokens.clone()) {
                self.add(&word, line);
            }
        }
        visit::visit_attribute(self, attribute);
    }

    /// A macro's tokens hold attributes too: `#[ignore]` in `proptest!`, for example.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut hash = false;
        let mut open: Vec<proc_macro2::TokenTree> = call.tokens.clone().into_iter().collect();
        open.reverse();
        while let Some(token) = open.pop() {
            if let proc_macro2::TokenTree::Group(group) = &token {
                let first = group.stream().into_iter().next();
                if hash && let Some(proc_macro2::TokenTree::Ident(word)) = first {
                    self.add(&word.to_string(), word.span().start().line);
                }
                let mut inner: Vec<_> = group.stream().into_iter().collect();
                inner.reverse();
                open.extend(inner);
            }
            hash = matches!(&token, proc_macro2::TokenTree::Punct(punct) if punct.as_char() == '#');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<(&str, usize)> {
        let places = findings.iter();
        places
            .map(|finding| (finding.file.as_str(), finding.line))
            .collect()
    }

    #[test]
    fn unsafe_code_outside_its_crate_is_found() {
        let text = "fn f() {}\nfn g() { unsafe { h() } }\n";
        let tree = Tree::of(&[
            ("crates/sys/src/clock.rs", text),
            ("crates/host/src/pool.rs", text),
            ("examples/demo.rs", "m! { unsafe impl Send for X {} }"),
            (
                "src/lib.rs",
                "//! unsafe code is forbidden\n#![forbid(unsafe_code)]\n",
            ),
        ]);
        assert_eq!(
            lines(&unsafety(&tree)),
            [("crates/host/src/pool.rs", 2), ("examples/demo.rs", 1)]
        );
    }

    #[test]
    fn a_lint_or_a_test_that_is_switched_off_is_found() {
        let tree = Tree::of(&[(
            "src/a.rs",
            "#[allow(dead_code)]\nfn a() {}\n#[cfg_attr(test, allow(unused))]\nfn b() {}\n#[ignore = \"slow\"]\nfn c() {}\n\
             proptest! {\n#[ignore]\nfn d() {}\n}\n#[expect(dead_code, reason = \"allow\")]\nfn e() { f(|ignore| ignore) }",
        )]);
        assert_eq!(
            lines(&switched_off(&tree)),
            [
                ("src/a.rs", 1),
                ("src/a.rs", 3),
                ("src/a.rs", 5),
                ("src/a.rs", 8)
            ]
        );
        let inner = Tree::of(&[("src/b.rs", "#![allow(missing_docs)]\n")]);
        assert_eq!(lines(&switched_off(&inner)), [("src/b.rs", 1)]);
    }
}
