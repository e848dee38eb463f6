//! A recording as an SVG that plays by itself: the frames hang below one another, and a window shows one after the other.
//!
//! It is text in cells: no script, no font of its own, nothing from elsewhere. Who wants less motion sees the last frame.

use super::film::{Film, Frame, GROUND, Look, Rgb, Row, Run, Weight};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// A cell's width and height in tenths of a pixel: what 14 px of most monospace fonts take.
const CELL: (u32, u32) = (84, 180);
/// From a cell's top to the line its letters stand on, in tenths of a pixel.
const BASE: u32 = 136;
/// Around the cells, and above them for the title, in tenths of a pixel.
const MARGIN: u32 = 140;
const TITLE_HEIGHT: u32 = 300;

const TITLE: &str = "trimtab top, beside the demo";
const FONTS: &str =
    "ui-monospace,'SF Mono',Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace";

/// Draws all of it.
pub(super) fn draw(film: &Film) -> String {
    let (rows, places) = shared(&film.frames);
    let looks = looks(&rows);
    let (width, height) = (
        CELL.0 * u32::from(film.columns),
        CELL.1 * u32::from(film.rows),
    );
    let (outer_width, outer_height) = (width + 2 * MARGIN, height + TITLE_HEIGHT + MARGIN);
    let mut svg = String::new();
    push(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" aria-labelledby=\"t d\">\n\
             <title id=\"t\">{TITLE}</title>\n<desc id=\"d\">{2}</desc>\n<style>\n{3}</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{4}\"/>\n\
             <text class=\"n\" x=\"{5}\" y=\"{6}\">{TITLE}</text>\n<defs>\n",
            px(outer_width),
            px(outer_height),
            escaped(&described(film)),
            style(film, &looks, height),
            hex(GROUND),
            px(MARGIN),
            px(200),
        ),
    );
    for (at, row) in rows.iter().enumerate() {
        push(&mut svg, format_args!("<g id=\"r{at}\">"));
        for run in *row {
            draw_run(&mut svg, run, &looks);
        }
        svg += "</g>\n";
    }
    push(
        &mut svg,
        format_args!(
            "</defs>\n<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"0 0 {2} {3}\">\n<g class=\"film\">\n",
            px(MARGIN),
            px(TITLE_HEIGHT),
            px(width),
            px(height),
        ),
    );
    for (frame, places) in (0..).zip(&places) {
        push(
            &mut svg,
            format_args!("<g transform=\"translate(0 {})\">", px(height * frame)),
        );
        for (line, row) in places {
            let y = px(CELL.1 * line + BASE);
            push(&mut svg, format_args!("<use href=\"#r{row}\" y=\"{y}\"/>"));
        }
        svg += "</g>\n";
    }
    svg += "</g>\n</svg>\n</svg>\n";
    svg
}

/// Which of the rows stand in which lines.
type Places = Vec<(u32, usize)>;

/// Each row that is seen once, and for each frame which of them stands in which line. Rows without anything are left out.
fn shared(frames: &[Frame]) -> (Vec<&Row>, Vec<Places>) {
    let mut known: BTreeMap<&Row, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    let places = frames.iter().map(|frame| {
        let seen = (0..).zip(&frame.rows).filter(|(_, row)| !row.is_empty());
        seen.map(|(line, row)| {
            let at = *known.entry(row).or_insert_with(|| {
                rows.push(row);
                rows.len() - 1
            });
            (line, at)
        })
        .collect()
    });
    let places = places.collect();
    (rows, places)
}

/// Each look with the number of its class.
fn looks(rows: &[&Row]) -> BTreeMap<Look, usize> {
    let mut looks = BTreeMap::new();
    for run in rows.iter().flat_map(|row| row.iter()) {
        let next = looks.len();
        looks.entry(run.look).or_insert(next);
    }
    looks
}

/// Draws a run on the line at 0. It takes the columns that it has, whatever font there is.
fn draw_run(svg: &mut String, run: &Run, looks: &BTreeMap<Look, usize>) {
    let (x, columns) = (px(CELL.0 * u32::from(run.column)), u32::from(run.columns));
    let width = px(CELL.0 * columns);
    if let Some(back) = run.look.back {
        let (top, height, fill) = (px(BASE), px(CELL.1), hex(back));
        push(
            svg,
            format_args!(
                "<rect x=\"{x}\" y=\"-{top}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
            ),
        );
    }
    let class = match looks.get(&run.look) {
        Some(class) if run.look != Look::PLAIN => format!(" class=\"a{class}\""),
        _ => String::new(),
    };
    let fit = match (run.is_plain(), columns) {
        (true, 0..=1) => String::new(),
        (true, _) => format!(" textLength=\"{width}\""),
        (false, _) => format!(" textLength=\"{width}\" lengthAdjust=\"spacingAndGlyphs\""),
    };
    let text = escaped(&run.text);
    push(
        svg,
        format_args!("<text{class} x=\"{x}\"{fit}>{text}</text>"),
    );
}

fn style(film: &Film, looks: &BTreeMap<Look, usize>, height: u32) -> String {
    let mut css = format!(
        "text{{font:14px {FONTS};white-space:pre;fill:{}}}\n.n{{fill:{};font-size:12px}}\n",
        hex(Look::PLAIN.ink),
        hex([0x8e, 0x99, 0xa4])
    );
    for (look, class) in looks.iter().filter(|(look, _)| **look != Look::PLAIN) {
        push(&mut css, format_args!(".a{class}{{fill:{}", hex(look.ink)));
        css += match look.weight {
            Weight::Plain => "",
            Weight::Bold => ";font-weight:700",
            Weight::Dim => ";opacity:.7",
        };
        if look.italic {
            css += ";font-style:italic";
        }
        if look.underline {
            css += ";text-decoration:underline";
        }
        css += "}\n";
    }
    let moved = |frame: usize| {
        let frame = u32::try_from(frame).unwrap_or(u32::MAX);
        format!(
            "transform:translateY(-{}px)",
            px(height.saturating_mul(frame))
        )
    };
    let last = moved(film.frames.len().saturating_sub(1));
    let seconds = film.length.as_secs();
    push(
        &mut css,
        format_args!(
            ".film{{{last};animation:film {seconds}s step-end infinite}}\n@keyframes film{{\n"
        ),
    );
    for (at, frame) in film.frames.iter().enumerate() {
        let share = share(frame.at, film.length);
        push(&mut css, format_args!("{share}%{{{}}}\n", moved(at)));
    }
    css += "}\n@media (prefers-reduced-motion:reduce){.film{animation:none}}\n";
    css
}

/// A time as a share of the whole, in percent with three decimals.
fn share(at: Duration, length: Duration) -> String {
    let thousandths = at.as_millis() * 100_000 / length.as_millis().max(1);
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// What it shows, for those who do not see it: how long, and the words of the last frame.
fn described(film: &Film) -> String {
    let mut text = format!(
        "A terminal of {} columns and {} rows, recorded for {} seconds. At its end it shows:",
        film.columns,
        film.rows,
        film.length.as_secs()
    );
    for row in film.frames.last().iter().flat_map(|frame| &frame.rows) {
        for run in row {
            text += " ";
            text += run.text.trim();
        }
    }
    text
}

/// Text that stands for itself in XML. What XML has no place for is shown as such.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                safe.push('\u{fffd}');
            }
            letter => safe.push(letter),
        }
    }
    safe
}

/// Tenths of a pixel as pixels.
fn px(tenths: u32) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    _ = text.write_fmt(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, look: Look) -> Run {
        let columns = u16::try_from(text.chars().count()).unwrap();
        Run {
            column: 1,
            columns,
            text: text.to_owned(),
            look,
        }
    }

    const PLAIN: Look = Look::PLAIN;

    fn film(frames: &[(u64, &[Run])]) -> Film {
        let mut film = Film::new(10, 2);
        for (seconds, rows) in frames {
            film.frames.push(Frame {
                at: Duration::from_secs(*seconds),
                rows: rows.iter().map(|run| vec![run.clone()]).collect(),
            });
        }
        film.length = Duration::from_secs(8);
        film
    }

    #[test]
    fn text_stays_text_whatever_it_is() {
        assert_eq!(
            escaped("a<b>&\"c\u{1b}\u{ffff}"),
            "a&lt;b&gt;&amp;&quot;c\u{fffd}\u{fffd}"
        );
        let evil = "</text><script>x()</script>";
        let svg = draw(&film(&[(0, &[run(evil, PLAIN)])]));
        assert!(!svg.contains("<script") && svg.contains("&lt;/text&gt;&lt;script&gt;"));
    }

    #[test]
    fn each_frame_begins_at_its_time_and_the_last_one_is_what_stands_still() {
        let (one, two) = ([run("one", PLAIN)], [run("two", PLAIN)]);
        let svg = draw(&film(&[(0, &one), (3, &two), (5, &one)]));
        // Two rows of 18 px a frame.
        assert!(svg.contains("\n0.000%{transform:translateY(-0px)}\n37.500%{transform:translateY(-36px)}\n62.500%{transform:translateY(-72px)}\n}"));
        assert!(
            svg.contains(".film{transform:translateY(-72px);animation:film 8s step-end infinite}")
        );
        assert!(svg.contains("@media (prefers-reduced-motion:reduce){.film{animation:none}}"));
    }

    #[test]
    fn a_row_that_is_seen_often_is_drawn_once() {
        let (same, other) = (run("same", PLAIN), run("other", PLAIN));
        let svg = draw(&film(&[
            (0, &[same.clone(), other.clone()]),
            (1, &[other.clone(), same.clone()]),
            (2, &[same, run("new", PLAIN)]),
        ]));
        assert_eq!(svg.matches(">same</text>").count(), 1);
        assert_eq!(svg.matches("<use href=\"#r0\"").count(), 3);
        assert_eq!(svg.matches("<g id=\"r").count(), 3);
    }

    #[test]
    fn a_run_stands_in_its_columns_in_its_colours() {
        let look = Look {
            ink: [1, 2, 255],
            back: Some([16, 0, 0]),
            weight: Weight::Bold,
            italic: true,
            underline: true,
        };
        let svg = draw(&film(&[(0, &[run("12", look)])]));
        assert!(svg.contains(
            ".a0{fill:#0102ff;font-weight:700;font-style:italic;text-decoration:underline}"
        ));
        assert!(svg.contains(
            "<rect x=\"8.4\" y=\"-13.6\" width=\"16.8\" height=\"18\" fill=\"#100000\"/>"
        ));
        assert!(svg.contains("<text class=\"a0\" x=\"8.4\" textLength=\"16.8\">12</text>"));
    }

    #[test]
    fn it_asks_nobody_for_anything_and_says_what_it_shows() {
        let svg = draw(&film(&[
            (0, &[run("first", PLAIN)]),
            (1, &[run("at & last", PLAIN)]),
        ]));
        let addresses = svg.matches("http").count();
        assert_eq!(addresses, 1, "the name space alone");
        assert!(!svg.contains("url(") && !svg.contains("@import") && !svg.contains("<image"));
        assert!(svg.contains("<title id=\"t\">trimtab top"));
        let (_, desc) = svg.split_once("<desc id=\"d\">").unwrap();
        assert!(desc.starts_with("A terminal of 10 columns and 2 rows, recorded for 8 seconds."));
        assert!(
            desc.split("</desc>")
                .next()
                .unwrap()
                .ends_with("shows: at &amp; last")
        );
    }
}
