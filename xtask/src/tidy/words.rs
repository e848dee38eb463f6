//! Nothing unfinished and nothing of one developer's machine is in the tree.

use super::Finding;
use crate::tree::Tree;

/// This file names what it looks for.
const THIS_FILE: &str = "xtask/src/tidy/words.rs";

/// Marks of unfinished work, each as a word or a call of its own.
const UNFINISHED: [&str; 5] = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];

/// Directories that hold one person's files; a path that begins with one is good on that machine only.
const PERSONAL: [&str; 4] = ["/Users/", "/home/", "/root/", "/workspace/"];

pub(super) fn words(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, file) in tree.files.iter().filter(|(path, _)| *path != THIS_FILE) {
        for (index, line) in file.text.lines().enumerate() {
            let mut report = |what: String, right| {
                findings.push(Finding::new(path, index + 1, what, right));
            };
            for mark in UNFINISHED
                .into_iter()
                .filter(|mark| stands_alone(line, mark))
            {
                report(
                    format!("`{mark}` stands here"),
                    "the work itself, or nothing",
                );
            }
            for place in PERSONAL.into_iter().filter(|place| begins(line, place)) {
                let what = format!("a path of one machine begins with `{place}`");
                report(what, "a path from the repository's root");
            }
        }
    }
    findings
}

/// Whether a mark stands in a line and is not part of a longer word.
fn stands_alone(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + mark.len()..].chars().next();
        let word = |letter: Option<char>| {
            letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        };
        !word(before) && (mark.ends_with('(') || !word(after))
    })
}

/// Whether a path in a line begins with a place.
fn begins(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "._-/{}*$~".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[("src/a.rs", text)]);
        words(&tree).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_in_words() {
        let text = "// TODO: later\nlet x = todo!();\n# FIXME\nunimplemented!(\"x\")\na XXX b\n";
        assert_eq!(places(text), [1, 2, 3, 4, 5]);
        assert_eq!(
            places("mktemp x.XXXXXX\nTODOS\nfn todo() {}\n"),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        assert_eq!(
            places("\"/home/ann/x\"\nin /root/.cargo\n(/Users/bob/x)\n"),
            [1, 2, 3]
        );
        assert_eq!(
            places("https://a.b/home/x\n$DIR/root/x\n/etc/x\n"),
            Vec::<usize>::new()
        );
    }
}
