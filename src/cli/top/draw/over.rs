//! What lies over the lists: the help, one decision in full, a command that is not given yet.

use super::super::super::time::utc;
use super::super::super::why::{evidence, set_words};
use super::super::screen::{Over, Screen, Word};
use super::{sign, strong};
use crate::telemetry::escaped;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use trimtab_protocol::view::{Entry, EntryBody};

const HELP: &str = "\
↑ ↓ or k j   choose a pool, or a decision
Tab          move between pools and decisions
⏎            open the decision that is chosen
/            show only what has these letters: pools, profiles, decisions
s            order the pools by name, good/s, queue, p99
p or space   let the screen stand still, and go on
f            freeze, or lift the freeze: first it says what that would do
Esc          close; on the lists, drop the filter
q            quit

● kept  ◐ on trial  △ rolled back  ◇ advised, or not done
■ an operator  □ the configuration was read again
size is workers now / at most; good/s is what ended within the profile's goal.
A dash is no reading, and not zero.";

/// Draws it, if there is anything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let (title, text) = match &screen.over {
        Over::Nothing | Over::Filter => return,
        Over::Help => ("Help".to_owned(), Text::raw(HELP)),
        Over::Decision(id) => {
            let Some(deed) = screen.deeds.iter().find(|deed| deed.id == *id) else {
                return;
            };
            (format!("Decision {id}"), decision(deed))
        }
        Over::Command { word, would } => command(*word, would.as_ref()),
    };
    let width = area.width.saturating_sub(4).min(100);
    let rows = rows(&text, width.saturating_sub(4));
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: false });
    let height = rows.saturating_add(2).min(area.height.saturating_sub(2));
    let place = area.centered(Constraint::Length(width), Constraint::Length(height));
    let frame_around = Block::bordered()
        .title(format!(" {title} "))
        .title_bottom(" Esc closes ")
        .padding(ratatui::widgets::Padding::horizontal(1));
    frame.render_widget(Clear, place);
    frame.render_widget(paragraph.block(frame_around), place);
}

/// How many rows a text takes at most once its lines are folded between words.
fn rows(text: &Text<'_>, width: u16) -> u16 {
    let folded = text.lines.iter().map(|line| {
        // A word that does not fit leaves a gap, by which no row is less than half full in plain sentences.
        let columns = line.width() + line.width() / 8;
        columns.div_ceil(usize::from(width.max(1))).max(1)
    });
    u16::try_from(folded.sum::<usize>()).unwrap_or(u16::MAX)
}

fn command(word: Word, would: Option<&Result<String, String>>) -> (String, Text<'static>) {
    let (title, verb, general) = match word {
        Word::Freeze => (
            "Freeze",
            "freezes",
            "Open trials are rolled back, and nothing is changed until the freeze is lifted. It survives restarts.",
        ),
        Word::Unfreeze => (
            "Lift the freeze",
            "lifts the freeze",
            "Trimtab may try changes again, within the same bounds as before.",
        ),
    };
    let mut lines = vec![Line::raw(general), Line::raw("")];
    match would {
        None => lines.push(Line::raw("Asking what it would do now ...")),
        Some(Ok(text)) => {
            lines.push(Line::raw(escaped(text)));
            lines.push(Line::raw(""));
            let text = format!("Nothing has been sent yet. ⏎ {verb}, Esc leaves.");
            lines.push(Line::styled(text, strong()));
        }
        Some(Err(error)) => {
            lines.push(Line::raw(escaped(error)));
            lines.push(Line::raw(""));
            lines.push(Line::styled("It cannot be done from here.", strong()));
        }
    }
    (title.to_owned(), Text::from(lines))
}

fn decision(deed: &Entry) -> Text<'static> {
    let (sign, _) = sign(deed);
    let mut told = Vec::new();
    if let EntryBody::Decision(record) = &deed.body {
        // Writing into memory does not fail.
        drop(set_words(record, &mut told));
        drop(evidence(&record.evidence, &mut told));
    }
    let told = String::from_utf8_lossy(&told);
    let mut lines = vec![
        Line::raw(format!("{} {sign}", utc(deed.at_ms))),
        Line::styled(escaped(&deed.text), strong()),
    ];
    // Already escaped where it comes from the host.
    lines.extend(told.lines().map(|line| Line::raw(line.to_owned())));
    Text::from(lines)
}
