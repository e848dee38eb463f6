//! Reading Rust sources: which paths they use, which of their code is for tests only, where their functions begin and end.

use crate::tree::Tree;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use syn::visit::{self, Visit};

/// A path that a source uses, with `self` and `super` resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathUse {
    /// Its parts; the first is `crate` for a path within the crate.
    pub(crate) segments: Vec<String>,
    /// The line it stands on.
    pub(crate) line: usize,
}

/// Whether attributes leave an item to tests alone.
pub(crate) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let words = idents(list.tokens.clone());
        list.path.is_ident("cfg")
            && match words.first().map(|(word, _)| word.as_str()) {
                Some("test") => true,
                Some("all") => words.iter().any(|(word, _)| word == "test"),
                _ => false,
            }
    })
}

/// Whether attributes make a function a test, whoever runs it.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let last = attribute.path().segments.last();
        last.is_some_and(|segment| segment.ident == "test")
    })
}

/// The words of a token stream with their lines, groups included.
pub(crate) fn idents(tokens: TokenStream) -> Vec<(String, usize)> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => words.extend(idents(group.stream())),
            TokenTree::Ident(word) => words.push((word.to_string(), word.span().start().line)),
            TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
    words
}

/// The modules of a file below a source directory: none for the crate's root file.
pub(crate) fn module_of(path: &str, source: &str) -> Option<Vec<String>> {
    let inner = path.strip_prefix(source)?.strip_prefix('/')?;
    let inner = inner.strip_suffix(".rs")?;
    let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod")) {
        parts.pop();
    }
    if parts.len() == 1 && matches!(parts[0].as_str(), "lib" | "main") {
        parts.clear();
    }
    Some(parts)
}

/// The files below a source directory that only tests see, because `#[cfg(test)] mod name;` names them or a module above.
pub(crate) fn files_for_tests(tree: &Tree, source: &str) -> BTreeSet<String> {
    let mut hidden = BTreeSet::new();
    for (path, _, syntax) in tree.rust() {
        let Some(module) = module_of(path, source) else {
            continue;
        };
        for item in &syntax.items {
            if let syn::Item::Mod(inner) = item
                && inner.content.is_none()
                && is_for_tests(&inner.attrs)
            {
                let mut parts = vec![source.to_owned()];
                parts.extend(module.iter().cloned());
                parts.push(inner.ident.to_string());
                let stem = parts.join("/");
                let below = format!("{stem}/");
                let files = tree.files.keys();
                hidden.extend(
                    files
                        .filter(|file| **file == format!("{stem}.rs") || file.starts_with(&below))
                        .cloned(),
                );
            }
        }
    }
    hidden
}

/// The source directories of the tree: everything up to a part `src`.
pub(crate) fn sources(tree: &Tree) -> BTreeSet<&str> {
    let directories = tree
        .files
        .keys()
        .filter_map(|path| match path.strip_prefix("src/") {
            Some(_) => Some("src"),
            None => path.find("/src/").map(|at| &path[..at + "/src".len()]),
        });
    directories.collect()
}

/// All paths that a file's code uses, its test code apart.
pub(crate) fn paths(syntax: &syn::File, module: &[String]) -> Vec<PathUse> {
    let mut collector = Paths {
        scope: module.to_vec(),
        found: Vec::new(),
    };
    collector.visit_file(syntax);
    collector.found
}

struct Paths {
    scope: Vec<String>,
    found: Vec<PathUse>,
}

impl Paths {
    fn add(&mut self, written: &[String], line: usize) {
        let above = written.iter().take_while(|part| *part == "super").count();
        let segments = match written.first().map(String::as_str) {
            Some("self" | "super") => {
                let own = usize::from(above == 0);
                let kept = self.scope.len().saturating_sub(above);
                let mut segments = vec!["crate".to_owned()];
                segments.extend(self.scope[..kept].iter().cloned());
                segments.extend(written[own + above..].iter().cloned());
                segments
            }
            Some(_) => written.to_vec(),
            None => return,
        };
        self.found.push(PathUse { segments, line });
    }

    fn add_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |word: &proc_macro2::Ident| {
            let mut parts = before.to_vec();
            if word != "self" || before.is_empty() {
                parts.push(word.to_string());
            }
            parts
        };
        match tree {
            syn::UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => {
                self.add(&with(&name.ident), name.ident.span().start().line);
            }
            syn::UseTree::Rename(name) => {
                self.add(&with(&name.ident), name.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => {
                let mut parts = before.to_vec();
                parts.push("*".to_owned());
                self.add(&parts, glob.star_token.spans[0].start().line);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, before);
                }
            }
        }
    }

    /// Paths in a macro's tokens: words with `::` between them.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut parts: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.flush(&mut parts, line);
                        line = word.span().start().line;
                    }
                    parts.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.flush(&mut parts, line);
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.flush(&mut parts, line);
                    colons = 0;
                    self.add_tokens(group.stream());
                }
            }
        }
        self.flush(&mut parts, line);
    }

    fn flush(&mut self, parts: &mut Vec<String>, line: usize) {
        if parts.len() > 1 {
            self.add(parts, line);
        }
        parts.clear();
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.scope.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(1, |segment| segment.ident.span().start().line);
        self.add(&parts, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }
}

/// The attributes of an item of any sort.
fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::ExternCrate(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::ForeignMod(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(text: &str, module: &[&str]) -> Vec<String> {
        let syntax = syn::parse_file(text).expect("the test's source is Rust");
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        let mut found: Vec<String> = paths(&syntax, &module)
            .into_iter()
            .map(|path| path.segments.join("::"))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn imports_are_taken_apart_and_made_absolute() {
        let text = "use super::{act::{self, Plan as P}, *};\nuse self::inner::X;\nuse std::fmt;";
        let expected = [
            "crate::sense::*",
            "crate::sense::act",
            "crate::sense::act::Plan",
            "crate::sense::host::inner::X",
            "std::fmt",
        ];
        assert_eq!(used(text, &["sense", "host"]), expected);
    }

    #[test]
    fn paths_in_types_expressions_and_macros_are_found() {
        let text = "fn f(x: &super::act::Plan) { select! { y = crate::serve::go(x) => (), } }";
        let found = used(text, &["sense"]);
        assert!(found.contains(&"crate::act::Plan".to_owned()), "{found:?}");
        assert!(found.contains(&"crate::serve::go".to_owned()), "{found:?}");
    }

    #[test]
    fn an_inline_module_has_a_parent_of_its_own() {
        let found = used("mod inner { use super::super::act::Plan; }", &["sense"]);
        assert_eq!(found, ["crate::act::Plan"]);
    }

    #[test]
    fn what_only_tests_see_does_not_count() {
        let text = "#[cfg(test)] mod tests { use crate::act::X; }
                    #[cfg(all(test, unix))] use crate::serve::Y;
                    #[cfg(unix)] use crate::record::Z;";
        assert_eq!(used(text, &["sense"]), ["crate::record::Z"]);
        let tree = Tree::of(&[
            ("src/lib.rs", "#[cfg(test)] mod testing; mod act;"),
            ("src/testing.rs", ""),
            ("src/testing/deep.rs", ""),
            ("src/act.rs", ""),
        ]);
        let hidden: Vec<String> = files_for_tests(&tree, "src").into_iter().collect();
        assert_eq!(hidden, ["src/testing.rs", "src/testing/deep.rs"]);
    }
}
