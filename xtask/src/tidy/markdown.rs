//! The little of Markdown that the checks need: headings, links, code spans and tables, with code blocks left out.

use std::collections::BTreeMap;

/// One line of prose, which is any line outside a fenced code block.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// Its text.
    pub(crate) text: &'a str,
}

/// The lines outside code blocks.
pub(crate) fn prose(text: &str) -> Vec<Line<'_>> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let start = text.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => lines.push(Line {
                number: index + 1,
                text,
            }),
        }
    }
    lines
}

/// The code spans of a line.
pub(super) fn code_spans(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

/// A line with its code spans blanked out.
pub(super) fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts
        .map(|(index, part)| if index % 2 == 0 { part } else { " " })
        .collect()
}

/// Where the links of a line lead: `[text](target)` and `[name]: target`.
pub(super) fn link_targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    let mut targets: Vec<String> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .map(str::to_owned)
        .collect();
    let definition = line.trim_start().strip_prefix('[');
    if let Some((name, target)) = definition.and_then(|rest| rest.split_once("]: "))
        && !name.starts_with('^')
    {
        targets.extend(target.split_whitespace().next().map(str::to_owned));
    }
    targets.retain(|target| !target.is_empty());
    targets
}

/// The anchors of a document, as web sites make them of its headings, and those it sets itself.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = Vec::new();
    for line in prose(text) {
        if let Some(title) = heading(line.text) {
            let slug = slug(title);
            let count = seen.entry(slug.clone()).or_default();
            anchors.push(match count {
                0 => slug,
                _ => format!("{slug}-{count}"),
            });
            *count += 1;
        }
        for mark in ["id=\"", "name=\""] {
            let set = line.text.split(mark).skip(1);
            anchors.extend(
                set.filter_map(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
        }
    }
    anchors
}

/// The title of a heading line.
pub(super) fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    ((1..=6).contains(&level) && title.starts_with(' ')).then(|| title.trim())
}

fn slug(title: &str) -> String {
    let kept = title.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}

/// The cells of a table row; nothing for a line that is none, or only rules the table off.
pub(crate) fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let ruled = inner
        .chars()
        .all(|letter| matches!(letter, '-' | ':' | '|' | ' '));
    (!ruled).then(|| inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_blocks_are_no_prose() {
        let text = "a\n```sh\n[x](y)\n~~~\n```\nb\n";
        let numbers: Vec<usize> = prose(text).iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 6]);
    }

    #[test]
    fn links_are_found_and_those_in_code_are_not() {
        let line = "see [a](x.md#y), ![b](pic.png \"title\") and `[c](no.md)`";
        assert_eq!(link_targets(line), ["x.md#y", "pic.png"]);
        assert_eq!(link_targets("[name]: docs/a.md"), ["docs/a.md"]);
        assert_eq!(link_targets("[^1]: a note"), Vec::<String>::new());
        assert_eq!(code_spans("`a` and `b c`"), ["a", "b c"]);
    }

    #[test]
    fn anchors_are_made_of_headings() {
        let text = "# The `tidy` check, again\n## Who?\n## Who?\n```\n# no\n```\n<a id=\"own\"></a>\n#5 is no heading\n";
        assert_eq!(
            anchors(text),
            ["the-tidy-check-again", "who", "who-1", "own"]
        );
    }

    #[test]
    fn a_table_row_has_cells() {
        assert_eq!(cells("| 1 | a `b` |"), Some(vec!["1", "a `b`"]));
        assert_eq!(cells("|---|:-:|"), None);
        assert_eq!(cells("a | b"), None);
    }
}
