//! What a terminal showed over time: frames of rows, rows of runs of cells that look alike.

use std::time::Duration;
use vt100::{Cell, Color, Screen};

/// Red, green and blue.
pub(super) type Rgb = [u8; 3];

/// The ground, and the ink where a program asks for no colour. Both are of the dashboard's dark theme, as is the rest.
pub(super) const GROUND: Rgb = [0x10, 0x16, 0x1c];
pub(super) const INK: Rgb = [0xe6, 0xea, 0xee];

/// The sixteen colours that programs ask for by number: each can be read on the ground, and the greys are told apart.
const NAMED: [Rgb; 16] = [
    [0x27, 0x30, 0x3a],
    [0xff, 0x94, 0x68],
    [0x58, 0xc5, 0xaa],
    [0xe8, 0xb6, 0x56],
    [0x62, 0xae, 0xea],
    [0xec, 0x93, 0xc5],
    [0x78, 0xbb, 0xf0],
    [0xb3, 0xbc, 0xc5],
    [0x8e, 0x99, 0xa4],
    [0xff, 0xb0, 0x90],
    [0x80, 0xd8, 0xc2],
    [0xf0, 0xcb, 0x86],
    [0x8f, 0xc6, 0xf2],
    [0xf3, 0xb3, 0xd7],
    [0xa3, 0xd1, 0xf6],
    [0xff, 0xff, 0xff],
];
/// The six steps of the colour cube that terminals have from number 16 on.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// From here on come arrows, boxes and shapes, which are often of another font than letters and have a width of their own.
const FIRST_SIGN: char = '\u{2190}';

/// How a cell looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) ink: Rgb,
    /// None is the ground.
    pub(super) back: Option<Rgb>,
    pub(super) weight: Weight,
    pub(super) italic: bool,
    pub(super) underline: bool,
}

impl Look {
    /// Where a program asks for nothing.
    pub(super) const PLAIN: Self = Self {
        ink: INK,
        back: None,
        weight: Weight::Plain,
        italic: false,
        underline: false,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Plain,
    Bold,
    Dim,
}

/// Cells side by side that look alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) column: u16,
    /// How many columns it takes.
    pub(super) columns: u16,
    pub(super) text: String,
    pub(super) look: Look,
}

impl Run {
    /// Whether it is written with letters and what any font for terminals has beside them.
    pub(super) fn is_plain(&self) -> bool {
        is_plain(&self.text)
    }
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|letter| letter < FIRST_SIGN)
}

pub(super) type Row = Vec<Run>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// From when on it was seen.
    pub(super) at: Duration,
    pub(super) rows: Vec<Row>,
}

/// A recording.
#[derive(Clone, Debug)]
pub(super) struct Film {
    pub(super) columns: u16,
    pub(super) rows: u16,
    /// Each differs from the one before it.
    pub(super) frames: Vec<Frame>,
    pub(super) length: Duration,
}

impl Film {
    pub(super) fn new(columns: u16, rows: u16) -> Self {
        Self {
            columns,
            rows,
            frames: Vec::new(),
            length: Duration::ZERO,
        }
    }

    /// Takes the screen in, unless it is what was seen last.
    pub(super) fn take(&mut self, at: Duration, screen: &Screen) {
        let rows = (0..self.rows).map(|row| self.row(screen, row)).collect();
        if self.frames.last().is_none_or(|last| last.rows != rows) {
            self.frames.push(Frame { at, rows });
        }
    }

    fn row(&self, screen: &Screen, row: u16) -> Row {
        let mut runs: Row = Vec::new();
        for column in 0..self.columns {
            let Some(cell) = screen.cell(row, column) else {
                continue;
            };
            if cell.is_wide_continuation() {
                continue;
            }
            let look = look(cell);
            let text = if cell.has_contents() {
                cell.contents()
            } else {
                " "
            };
            let columns = if cell.is_wide() { 2 } else { 1 };
            let fits = |last: &Run| {
                last.look == look
                    && last.column + last.columns == column
                    && last.is_plain() == is_plain(text)
            };
            match runs.last_mut().filter(|last| fits(last)) {
                Some(last) => {
                    last.text += text;
                    last.columns += columns;
                }
                None => runs.push(Run {
                    column,
                    columns,
                    text: text.to_owned(),
                    look,
                }),
            }
        }
        runs.into_iter().filter_map(visible).collect()
    }
}

/// A run without the spaces at its ends, which nobody sees on the ground.
fn visible(mut run: Run) -> Option<Run> {
    if run.look.back.is_some() || run.look.underline {
        return Some(run);
    }
    let kept = run.text.trim_start_matches(' ');
    let before = u16::try_from(run.text.len() - kept.len()).ok()?;
    let kept = kept.trim_end_matches(' ');
    let gone = u16::try_from(run.text.len() - kept.len()).ok()?;
    run.text = kept.to_owned();
    run.column += before;
    run.columns -= gone;
    (!run.text.is_empty()).then_some(run)
}

fn look(cell: &Cell) -> Look {
    let (ink, back) = (color(cell.fgcolor()), color(cell.bgcolor()));
    let (ink, back) = if cell.inverse() {
        (back.unwrap_or(GROUND), Some(ink.unwrap_or(INK)))
    } else {
        (ink.unwrap_or(INK), back)
    };
    let weight = match (cell.bold(), cell.dim()) {
        (true, _) => Weight::Bold,
        (false, true) => Weight::Dim,
        (false, false) => Weight::Plain,
    };
    Look {
        ink,
        back,
        weight,
        italic: cell.italic(),
        underline: cell.underline(),
    }
}

fn color(color: Color) -> Option<Rgb> {
    match color {
        Color::Default => None,
        Color::Rgb(red, green, blue) => Some([red, green, blue]),
        Color::Idx(index) => Some(numbered(index)),
    }
}

/// Sixteen names, a cube of 216 colours, and 24 greys.
fn numbered(index: u8) -> Rgb {
    if let Some(named) = NAMED.get(usize::from(index)) {
        return *named;
    }
    match index.checked_sub(232) {
        Some(grey) => [8 + 10 * grey; 3],
        None => {
            let place = index - 16;
            [place / 36, place / 6 % 6, place % 6].map(|step| {
                let step = CUBE.get(usize::from(step));
                *step.unwrap_or(&u8::MAX)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    const SECOND: Duration = Duration::from_secs(1);

    fn film(frames: &[&str]) -> Film {
        let (rows, columns) = (NonZero::new(3).unwrap(), NonZero::new(20).unwrap());
        let mut parser = vt100::Parser::new(rows, columns, 0);
        let mut film = Film::new(20, 3);
        for (at, bytes) in (0..).zip(frames) {
            parser.process(bytes.as_bytes());
            film.take(SECOND * at, parser.screen());
        }
        film
    }

    fn first_row(bytes: &str) -> Row {
        film(&[bytes]).frames[0].rows[0].clone()
    }

    #[test]
    fn only_frames_that_differ_are_taken_each_with_its_time() {
        let film = film(&["one", "", "\r\ntwo", "", ""]);
        let times: Vec<_> = film.frames.iter().map(|frame| frame.at).collect();
        assert_eq!(times, [Duration::ZERO, 2 * SECOND]);
    }

    #[test]
    fn a_run_ends_where_the_look_changes_and_spaces_at_its_ends_are_left_out() {
        let row = first_row("  a b \u{1b}[1;31mred\u{1b}[0m ok");
        let told: Vec<_> = row
            .iter()
            .map(|run| (run.column, run.columns, &*run.text))
            .collect();
        assert_eq!(told, [(2, 3, "a b"), (6, 3, "red"), (10, 2, "ok")]);
        assert_eq!(row[0].look.ink, INK);
        assert_eq!(
            (row[1].look.ink, row[1].look.weight),
            (NAMED[1], Weight::Bold)
        );
    }

    #[test]
    fn signs_are_runs_of_their_own_for_their_font_may_be_another() {
        let told: Vec<_> = first_row("p· ▁▂ q")
            .into_iter()
            .map(|run| (run.column, run.text))
            .collect();
        let expected = [(0, "p·"), (3, "▁▂"), (6, "q")].map(|(at, text)| (at, text.to_owned()));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_wide_sign_takes_two_columns() {
        let row = first_row("漢b");
        assert_eq!((row[0].columns, row[1].column), (2, 2));
    }

    #[test]
    fn reversed_cells_swap_ink_and_ground_and_keep_their_spaces() {
        let row = first_row("\u{1b}[7m pool \u{1b}[0m");
        assert_eq!(
            (row[0].column, row[0].columns, &*row[0].text),
            (0, 6, " pool ")
        );
        assert_eq!((row[0].look.ink, row[0].look.back), (GROUND, Some(INK)));
    }

    #[test]
    fn each_of_the_256_colours_is_what_terminals_agree_on() {
        assert_eq!(numbered(8), NAMED[8]);
        assert_eq!(numbered(16), [0, 0, 0]);
        assert_eq!(numbered(196), [255, 0, 0]);
        assert_eq!(numbered(231), [255, 255, 255]);
        assert_eq!(numbered(232), [8, 8, 8]);
        assert_eq!(numbered(255), [238, 238, 238]);
        assert_eq!(color(Color::Rgb(1, 2, 3)), Some([1, 2, 3]));
        assert_eq!(color(Color::Default), None);
    }
}
