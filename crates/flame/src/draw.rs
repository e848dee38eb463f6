//! A tree as a picture.
//!
//! Before anything is drawn the tree is pruned to its widest calls, so that a picture has at most [`SVG_BYTES_MAX`] bytes
//! whatever was collected, and a browser shows it at once.

use crate::kind::Kind;
use crate::names::clean;
use crate::tree::{Side, Tree};
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{Direction, Options, TextTruncateDirection, from_lines};
use serde::{Deserialize, Serialize};
use std::io;

/// The most bytes of a picture.
pub const SVG_BYTES_MAX: usize = 500_000;
/// What the picture takes without a single call: its script, its style, its texts.
const FRAME_BYTES: usize = 40_000;
/// What one call takes besides its name, which stands in it twice.
const CALL_BYTES: usize = 330;
/// Smaller than any browser's window a call is not seen: a thousandth of the picture's width, in percent.
const WIDTH_PERCENT_MIN: f64 = 0.01;
/// A caption's longest text that fits the picture.
const CAPTION_LETTERS_MAX: usize = 190;

/// How a tree is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Threads below, what they called above.
    #[default]
    Flame,
    /// Threads above, what they called below.
    Icicle,
    /// What was called at the root, and who called it above.
    Reverse,
    /// A tokio host's task types at the root.
    Task,
}

/// What stands around the picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caption {
    /// What it shows.
    pub(crate) title: String,
    /// How good it is.
    pub(crate) subtitle: String,
}

/// Draws a plain profile.
///
/// # Errors
/// When the picture cannot be made, which is a bug.
pub(crate) fn svg(tree: &Tree, kind: Kind, view: View, caption: &Caption) -> io::Result<Vec<u8>> {
    let mut options = options(kind, view, caption);
    options.colors = Palette::Multi(MultiPalette::Rust);
    match view {
        View::Flame | View::Icicle => draw(tree, &mut options, false),
        View::Task => draw(&crate::task::by_task(tree), &mut options, false),
        View::Reverse => draw(&tree.reversed(), &mut options, false),
    }
}

/// Draws a comparison: red grew, blue shrank.
///
/// # Errors
/// When the picture cannot be made, which is a bug.
pub(crate) fn svg_of_difference(
    both: &Tree,
    kind: Kind,
    view: View,
    caption: &Caption,
) -> io::Result<Vec<u8>> {
    let mut options = options(kind, view, caption);
    match view {
        View::Flame | View::Icicle => draw(both, &mut options, true),
        View::Task => draw(&crate::task::by_task(both), &mut options, true),
        View::Reverse => draw(&both.reversed(), &mut options, true),
    }
}

fn options(kind: Kind, view: View, caption: &Caption) -> Options<'static> {
    let mut options = Options::default();
    options.title = cut(&caption.title);
    options.subtitle = Some(cut(&caption.subtitle));
    options.count_name = kind.unit().to_owned();
    options.deterministic = true;
    options.no_sort = true;
    options.min_width = WIDTH_PERCENT_MIN;
    options.font_type = "sans-serif".to_owned();
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.direction = if view == View::Icicle {
        Direction::Inverted
    } else {
        Direction::Straight
    };
    options
}

fn cut(text: &str) -> String {
    let text = clean(text);
    match text.char_indices().nth(CAPTION_LETTERS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.into(),
    }
}

fn draw(tree: &Tree, options: &mut Options<'_>, both: bool) -> io::Result<Vec<u8>> {
    let drawn = if both {
        tree.total(Side::Second)
    } else {
        tree.total(Side::First)
    };
    if drawn == 0 {
        return Ok(nothing(
            &options.title,
            options.subtitle.as_deref().unwrap_or_default(),
        ));
    }
    let mut budget = SVG_BYTES_MAX - FRAME_BYTES;
    loop {
        // Escaping makes some letters up to six times as long.
        let escaped = |name: &str| {
            name.bytes()
                .map(|byte| {
                    if matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'') {
                        6
                    } else {
                        1
                    }
                })
                .sum::<usize>()
        };
        let pruned = tree.pruned(budget, |name| CALL_BYTES + 2 * escaped(name));
        let mut lines = pruned.folded(both);
        for line in &mut lines {
            keep_as_it_is(line, both);
        }
        lines.sort_unstable();
        let mut svg = Vec::with_capacity(SVG_BYTES_MAX);
        from_lines(options, lines.iter().map(String::as_str), &mut svg)?;
        if svg.len() <= SVG_BYTES_MAX || budget < CALL_BYTES {
            return Ok(svg);
        }
        budget /= 2;
    }
}

/// A blank that parts no columns, and looks like any other.
const BLANK: &str = "\u{a0}";

/// A name may look like what inferno takes for its own: a line that begins with `# ` is left out as a remark, and a second number
/// at the end, as in `worker 3`, is taken for a comparison.
fn keep_as_it_is(line: &mut String, both: bool) {
    if line.starts_with("# ") {
        line.replace_range(1..2, BLANK);
    }
    if both {
        return;
    }
    let Some((stack, count)) = line.rsplit_once(' ') else {
        return;
    };
    if let Some((name, number)) = stack.rsplit_once(' ')
        && number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        *line = format!("{name}{BLANK}{number} {count}");
    }
}

/// A picture that says why there is none.
fn nothing(title: &str, subtitle: &str) -> Vec<u8> {
    let text = |y: u32, size: u32, text: &str| {
        format!(
            "<text x=\"600\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"middle\">{}</text>",
            escape(text)
        )
    };
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n<svg version=\"1.1\" width=\"1200\" height=\"140\" viewBox=\"0 0 1200 140\" \
         xmlns=\"http://www.w3.org/2000/svg\" font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"#eeeeee\"/>\n{}\n{}\n{}\n</svg>\n",
        text(30, 17, title),
        text(70, 14, "No samples: it used no CPU in this time, or nothing of this kind happened."),
        text(100, 12, subtitle),
    )
    .into_bytes()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption() -> Caption {
        Caption {
            title: "shop <1>".to_owned(),
            subtitle: "9 samples".to_owned(),
        }
    }

    fn drawn(tree: &Tree, view: View) -> String {
        String::from_utf8(svg(tree, Kind::Cpu, view, &caption()).expect("it can be drawn"))
            .expect("it is text")
    }

    #[test]
    fn names_from_the_host_are_escaped() {
        let mut tree = Tree::default();
        tree.add(
            ["main", "</title><script>alert('1')</script>\u{1b}\"&"],
            Side::First,
            5,
        );
        let text = drawn(&tree, View::Flame);
        assert!(
            !text.contains("<script>alert") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(text.contains("&lt;script&gt;"), "{text}");
    }

    #[test]
    fn nothing_is_a_picture_that_says_so() {
        let text = drawn(&Tree::default(), View::Flame);
        assert!(
            text.contains("No samples") && text.contains("shop &lt;1&gt;"),
            "{text}"
        );
    }

    #[test]
    fn a_name_that_looks_like_a_remark_or_a_number_is_drawn_as_it_is() {
        let tree = Tree::of_folded("main;a 6\n  zoo;b 3\nworker 3 4\n# 1;x 1").expect("folded");
        let text = drawn(&tree, View::Flame);
        for told in [
            "(14 samples, 100%)",
            "zoo (3 samples",
            "worker\u{a0}3 (4 samples",
            "#\u{a0}1 (1 samples",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }

    #[test]
    fn each_view_shows_the_same_total() {
        let tree = Tree::of_folded("main;a 6\nmain;b 3").expect("it is folded");
        for view in [View::Flame, View::Icicle, View::Reverse, View::Task] {
            let text = drawn(&tree, view);
            assert!(text.contains("(9 samples, 100%)"), "{view:?}: {text}");
        }
    }

    #[test]
    fn a_comparison_is_drawn_with_what_grew_and_what_shrank() {
        let [before, after] =
            ["m;a 10\nm;b 10", "m;a 30\nm;b 10"].map(|text| Tree::of_folded(text).expect("folded"));
        let both = Tree::compare(&before, &after);
        let svg =
            svg_of_difference(&both, Kind::Cpu, View::Flame, &caption()).expect("it can be drawn");
        let text = String::from_utf8(svg).expect("it is text");
        assert!(
            text.contains("+25.00%") && text.contains("-25.00%"),
            "{text}"
        );
    }

    #[test]
    fn calls_of_one_side_only_are_red_or_told_to_be_gone() {
        let named = |text: &str| crate::format::Named {
            tree: Tree::of_folded(text).expect("folded"),
            ..Default::default()
        };
        // A call that is nowhere after it has no width; the others' shares are not those of what is left.
        let (before, after) = (
            named("m;a 60\nm;old;b 30\nm 10"),
            named("m;a 60\nm;new;b 40"),
        );
        let svg = crate::format::write_difference(
            &before,
            &after,
            View::Flame,
            crate::format::Format::Svg,
        );
        let text = String::from_utf8(svg.expect("it can be drawn")).expect("it is text");
        assert!(text.contains("30.0 % of before is gone"), "{text}");
        assert!(text.contains("a (60 samples, 60.00%; 0.00%)"), "{text}");
        assert!(
            text.contains("m (100 samples, 100.00%; -10.00%)"),
            "of its own time: {text}"
        );
        assert!(
            text.contains("b (40 samples, 40.00%; +40.00%)") && !text.contains("old"),
            "{text}"
        );
    }

    #[test]
    fn a_picture_stays_below_its_limit_whatever_the_names() {
        let mut tree = Tree::default();
        for stack in 0..20_000_u64 {
            let calls: Vec<String> = (0..12)
                .map(|depth| format!("<&\"'>::{}::{depth}", stack % (7 << depth)))
                .collect();
            tree.add(
                std::iter::once("main").chain(calls.iter().map(String::as_str)),
                Side::First,
                1 + stack % 5,
            );
        }
        for view in [View::Flame, View::Reverse] {
            let length = drawn(&tree, view).len();
            assert!(
                (100_000..=SVG_BYTES_MAX).contains(&length),
                "{view:?}: {length}"
            );
        }
    }
}
