//! Links and paths in documents lead to files that exist.

use super::Finding;
use super::markdown::{anchors, code_spans, link_targets, prose};
use crate::tree::Tree;

/// Documents whose code spans are checked too: a span that looks like a path of the repository has to be one.
const DOCUMENTS_WITH_PATHS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Endings that make a code span with a `/` in it a path, whatever it begins with.
const ENDINGS: [&str; 10] = [
    ".css", ".html", ".js", ".json", ".md", ".rs", ".sh", ".toml", ".ts", ".yml",
];

/// The pages from which mdBook makes a site, which holds nothing else of the repository.
const SITE: &str = "docs/";

/// What a build or a run writes; documents may name it, and a clean tree does not hold it.
const WRITTEN: &str = "target/";

pub(super) fn links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let documents = tree.files.iter().filter(|(path, _)| path.ends_with(".md"));
    for (path, file) in documents {
        for line in prose(&file.text) {
            for target in link_targets(line.text) {
                if let Some(right) = fault_of_link(tree, path, &target) {
                    let what = format!("the link `{target}` leads nowhere");
                    findings.push(Finding::new(path, line.number, what, right));
                }
            }
            if !DOCUMENTS_WITH_PATHS.contains(&path.as_str()) {
                continue;
            }
            for span in code_spans(line.text) {
                if let Some(named) = path_named(tree, span)
                    && !tree.has(named)
                {
                    let what = format!("there is no `{named}`");
                    findings.push(Finding::new(path, line.number, what, "a path that exists"));
                }
            }
        }
    }
    findings
}

/// What would mend a link, or nothing when it leads somewhere or leaves the repository.
fn fault_of_link(tree: &Tree, from: &str, target: &str) -> Option<&'static str> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let scheme = file.split(['/', '?']).next().unwrap_or_default();
    if scheme.contains(':') {
        return None;
    }
    let file = if file.is_empty() {
        from.to_owned()
    } else {
        let Some(file) = resolve(from, file) else {
            return Some("a path within the repository");
        };
        file
    };
    if from.starts_with(SITE) && !file.starts_with(SITE) {
        return Some("a page of the site, or a name in a code span: the site has no other files");
    }
    if !tree.has(&file) {
        return Some("a file that exists, from this document's directory");
    }
    let document = tree.files.get(&file).filter(|_| file.ends_with(".md"));
    let missing = document.is_some_and(|document| {
        !anchor.is_empty() && !anchors(&document.text).iter().any(|known| known == anchor)
    });
    missing.then_some("an anchor that a heading there makes")
}

/// A link's path from the root, or nothing when it leads out of the repository.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        parts.clear();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path of the repository that a code span names, if it looks like one.
fn path_named<'a>(tree: &Tree, span: &'a str) -> Option<&'a str> {
    let path = span.split("::").next().unwrap_or(span);
    let path = path.trim_end_matches(|letter: char| letter == ':' || letter.is_ascii_digit());
    let plain = path
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter));
    let (first, _) = path.split_once('/')?;
    let known = !first.is_empty() && tree.has(first);
    let relative = !path.starts_with(['/', '.']) || path.starts_with(".ci/");
    let ours = known || ENDINGS.iter().any(|ending| path.ends_with(ending));
    (plain && relative && ours && !path.starts_with(WRITTEN)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(tree: &Tree) -> Vec<String> {
        links(tree)
            .iter()
            .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.what))
            .collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let tree = Tree::of(&[
            (
                "README.md",
                "[a](docs/a.md) [b](docs/b.md)\n[c](#here) [d](#there)\n# Here\n[e](https://x.y/z.md)",
            ),
            (
                "docs/a.md",
                "[up](../README.md#here) [out](../../x.md) [dir](../docs/)\n[own](#here)\n```\n[x](y)\n```",
            ),
        ]);
        let expected = [
            "README.md:1 the link `docs/b.md` leads nowhere",
            "README.md:2 the link `#there` leads nowhere",
            "docs/a.md:1 the link `../README.md#here` leads nowhere",
            "docs/a.md:1 the link `../../x.md` leads nowhere",
            "docs/a.md:1 the link `../docs/` leads nowhere",
            "docs/a.md:2 the link `#here` leads nowhere",
        ];
        assert_eq!(whats(&tree), expected);
    }

    #[test]
    fn a_path_in_a_code_span_has_to_exist() {
        let tree = Tree::of(&[
            (
                "README.md",
                "`src/app.rs` `src/app.rs:12` `src/gone.rs` `web/x.toml` `cargo run` `a/b` `GET /x/y.json`\n`target/x.json` `src/*.rs` `src/` `src/app.rs::tests::x` `/etc/trimtab/a.toml`",
            ),
            ("docs/old.md", "`src/gone.rs`"),
            ("src/app.rs", ""),
        ]);
        let expected = [
            "README.md:1 there is no `src/gone.rs`",
            "README.md:1 there is no `web/x.toml`",
        ];
        assert_eq!(whats(&tree), expected);
    }
}
