//! The screen as text: the sentence first, then the pools, then what was done. Colour only repeats what a sign or a word says.

mod over;

use super::super::status::word;
use super::super::time::clock;
use super::screen::{List, Over, Screen};
use super::spark::{largest, spark};
use crate::telemetry::escaped;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, Wrap};
use trimtab_protocol::change::Phase;
use trimtab_protocol::decision::{Action, Regime};
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::view::{Entry, EntryBody, HostStatus, PoolSample, PoolStatus, Sample};

/// The fewest columns and rows that the screen is made for.
const SMALLEST: (u16, u16) = (60, 16);
/// How wide the sparkline of a pool is, in columns.
const SPARK: u16 = 8;

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        let text = format!("This needs {width} columns and {height} rows. q leaves.");
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let pools = u16::try_from(screen.pools().count()).unwrap_or(u16::MAX);
    let [
        title,
        sentence,
        figures,
        _,
        table,
        limits,
        _,
        decisions,
        keys,
    ] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(pools.clamp(1, area.height / 3) + 1),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, screen, title);
    draw_sentence(frame, screen, sentence);
    draw_figures(frame, screen, figures);
    draw_pools(frame, screen, table);
    draw_limits(frame, screen, limits);
    draw_decisions(frame, screen, decisions);
    draw_keys(frame, screen, keys);
    over::draw(frame, screen, area);
}

/// A colour, or none where colours are unwelcome.
fn tone(screen: &Screen, color: Color) -> Style {
    if screen.plain {
        Style::new()
    } else {
        Style::new().fg(color)
    }
}

fn strong() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn quiet(screen: &Screen) -> Style {
    tone(screen, Color::DarkGray)
}

fn draw_title(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let Some(status) = &screen.status else {
        let line = Line::from(format!("trimtab top  {}", escaped(&screen.url)));
        frame.render_widget(line, area);
        return;
    };
    let mut words = vec![format!("host {}", status.host)];
    if !status.app.is_empty() {
        words.push(format!("{} {}", status.app, status.version));
    }
    words.push(format!("mode {}", word(&status.mode)));
    words.push(match (&status.lease_holder, status.lease_ours) {
        (_, true) => "lease ours".to_owned(),
        (Some(holder), false) => format!("lease of {holder}"),
        (None, false) => "no lease".to_owned(),
    });
    let time = clock(status.sample.at_ms);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(9)]).areas(area);
    frame.render_widget(Line::from(escaped(&words.join(" · "))), left);
    frame.render_widget(Line::from(time).right_aligned(), right);
}

/// The worst that is so now, with its sign, else what to know in one sentence.
fn draw_sentence(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let (style, text) = sentence(screen);
    let text = Paragraph::new(escaped(&text)).wrap(Wrap { trim: true });
    frame.render_widget(text.style(style.patch(strong())), area);
}

fn sentence(screen: &Screen) -> (Style, String) {
    if let Some(lost) = &screen.lost {
        let since = screen.status.as_ref().map_or_else(String::new, |status| {
            format!(" What you see is from {}.", clock(status.sample.at_ms))
        });
        return (tone(screen, Color::Red), format!("✖ {lost}.{since}"));
    }
    let Some(status) = &screen.status else {
        return (Style::new(), "Asking the sidecar ...".to_owned());
    };
    let (sign, color) = if status.absent.is_some() {
        ("✖ ", Color::Red)
    } else if status.frozen {
        ("▲ Frozen. ", Color::Yellow)
    } else {
        return (Style::new(), status.summary.clone());
    };
    (tone(screen, color), format!("{sign}{}", status.summary))
}

fn draw_figures(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let Some(status) = &screen.status else {
        return;
    };
    let [upper, lower] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let width = usize::from((area.width / 2).saturating_sub(30)).clamp(8, 60);
    let columns = [Constraint::Fill(1), Constraint::Fill(1)];
    let [cpu, memory] = Layout::horizontal(columns).areas(upper);
    let sample = &status.sample;
    let cores = screen.readings(|sample| sample.cpu_cores);
    let full = sample.quota_cores.unwrap_or_else(|| largest(&cores));
    let bars = spark(&cores, full, width);
    frame.render_widget(Line::from(format!("CPU {} {bars}", cpu_words(sample))), cpu);
    let bytes = screen.readings(|sample| sample.rss_bytes.map(as_f64));
    let full = sample
        .memory_limit_bytes
        .map_or_else(|| largest(&bytes), as_f64);
    let bars = spark(&bytes, full, width);
    let words = format!("memory {} {bars}", memory_words(sample));
    frame.render_widget(Line::from(words), memory);
    frame.render_widget(Line::styled(counts(status), quiet(screen)), lower);
}

fn cpu_words(sample: &Sample) -> String {
    match (sample.cpu_cores, sample.quota_cores) {
        (Some(used), Some(quota)) => format!("{used:.2} of {quota:.1} cores"),
        (Some(used), None) => format!("{used:.2} cores"),
        (None, _) => "no reading".to_owned(),
    }
}

fn memory_words(sample: &Sample) -> String {
    match (sample.rss_bytes, sample.memory_limit_bytes) {
        (Some(used), Some(limit)) => format!("{} of {} MiB", used >> 20, limit >> 20),
        (Some(used), None) => format!("{} MiB", used >> 20),
        (None, _) => "no reading".to_owned(),
    }
}

fn counts(status: &HostStatus) -> String {
    let count =
        |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
    let held: u64 = status.held.values().sum();
    format!(
        "tasks {} · threads {} · held {held} times",
        count(status.sample.tasks),
        count(status.sample.threads)
    )
}

fn draw_pools(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let title = |name: &str, mark: bool| {
        let sorted = if mark { "↓" } else { "" };
        format!("{name}{sorted}")
    };
    let sort = screen.sort.word();
    let header = [
        "pool", "profile", "regime", "size", "busy", "queue", "good/s", "", "p99 ms",
    ];
    let mut header = header.map(|name| title(name, name.split(' ').next() == Some(sort)));
    let chosen = screen.pool().map(|(name, _)| name);
    let place = screen.pools().position(|(name, _)| Some(name) == chosen);
    let (seen, all) = (
        usize::from(area.height.saturating_sub(1)),
        screen.pools().count(),
    );
    if seen < all {
        let [pool, ..] = &mut header;
        *pool = format!("pool {seen}/{all}");
    }
    let first = place.map_or(0, |place| (place + 1).saturating_sub(seen));
    let rows = screen.pools().skip(first).map(|(name, pool)| {
        let row = Row::new(pool_cells(screen, name, pool));
        if Some(name) == chosen && screen.list == List::Pools {
            row.style(Style::new().add_modifier(Modifier::REVERSED))
        } else {
            row
        }
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(SPARK),
        Constraint::Length(6),
    ];
    let table = Table::new(rows, widths)
        .header(Row::new(header).style(quiet(screen)))
        .column_spacing(1);
    frame.render_widget(table, area);
}

fn pool_cells(screen: &Screen, name: &PoolName, pool: &PoolStatus) -> [String; 9] {
    let sample = screen.sample(name);
    let figure = |figure: fn(&PoolSample) -> Option<f64>| {
        sample
            .and_then(figure)
            .map_or_else(|| "–".to_owned(), short)
    };
    let decision = pool.decision.as_ref();
    let regime = decision.map_or_else(|| "–".to_owned(), |it| regime(it.regime));
    let good = |pool: &PoolSample| pool.goodput_per_s.or(pool.completions_per_s);
    let readings = screen.readings(|sample| sample.pools.get(name).and_then(good));
    let p99 = |pool: &PoolSample| pool.p99_us.map(|us| as_f64(us) / 1e3);
    [
        escaped(name.as_str()),
        escaped(&pool.profile),
        regime,
        size(pool),
        figure(|pool| pool.busy),
        figure(|pool| pool.queued),
        figure(|pool| pool.goodput_per_s.or(pool.completions_per_s)),
        spark(&readings, largest(&readings), usize::from(SPARK)),
        sample.and_then(p99).map_or_else(|| "–".to_owned(), short),
    ]
}

/// The regime in a word that fits its column.
fn regime(regime: Regime) -> String {
    match regime {
        Regime::DownstreamBound => "downstream".to_owned(),
        other => word(&other).replace('_', "-"),
    }
}

/// The workers now and at most, and whether they are on trial.
fn size(pool: &PoolStatus) -> String {
    let Some(workers) = pool.knobs.get(KnobName::WORKERS) else {
        return "–".to_owned();
    };
    let trial = if pool.phase == Phase::Trial {
        "◐"
    } else {
        " "
    };
    escaped(&format!("{trial}{}/{}", workers.value, workers.max))
}

/// A figure in at most five characters.
fn short(value: f64) -> String {
    match value {
        value if value >= 99_950.0 => format!("{:.0}k", value / 1e3),
        value if value >= 9_995.0 => format!("{:.1}k", value / 1e3),
        value if value >= 99.95 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown has three digits, and no figure here reaches 2^53"
)]
fn as_f64(value: u64) -> f64 {
    value as f64
}

/// What limits the pool that is chosen.
fn draw_limits(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let Some((name, pool)) = screen.pool() else {
        let text = match (&screen.status, screen.filter.is_empty()) {
            (None, _) => "",
            (Some(_), true) => "No pools yet.",
            (Some(_), false) => "No pool fits the filter.",
        };
        frame.render_widget(Line::from(text), area);
        return;
    };
    let changes = &pool.changes;
    let text = format!(
        "{name}: {} ({} made, {} kept, {} rolled back)",
        pool.text, changes.made, changes.kept, changes.rolled_back
    );
    let text = Paragraph::new(escaped(&text)).wrap(Wrap { trim: true });
    frame.render_widget(text, area);
}

fn draw_decisions(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let [head, list] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let shown = if screen.filter.is_empty() {
        String::new()
    } else {
        format!(" with \"{}\"", escaped(&screen.filter))
    };
    let head_line = format!("decisions, newest first{shown}");
    frame.render_widget(Line::styled(head_line, quiet(screen)), head);
    let chosen = screen.deed().map(|deed| &deed.id);
    let rows = usize::from(list.height);
    let place = screen
        .shown_deeds()
        .position(|deed| Some(&deed.id) == chosen);
    // The one that is chosen stays in sight.
    let first = place.map_or(0, |place| (place + 1).saturating_sub(rows));
    let lines: Vec<Line<'_>> = screen
        .shown_deeds()
        .skip(first)
        .take(rows)
        .map(|deed| {
            let line = deed_line(screen, deed);
            if Some(&deed.id) == chosen && screen.list == List::Decisions {
                line.style(Style::new().add_modifier(Modifier::REVERSED))
            } else {
                line
            }
        })
        .collect();
    if lines.is_empty() && screen.status.is_some() {
        let text = "Nothing was changed yet. What was held, and why, is in `trimtab decisions`.";
        frame.render_widget(Line::from(text), list);
    } else {
        frame.render_widget(Paragraph::new(lines), list);
    }
}

fn deed_line<'a>(screen: &Screen, deed: &'a Entry) -> Line<'a> {
    let (sign, color) = sign(deed);
    let pool = deed.pool.as_ref().map_or("–", PoolName::as_str);
    Line::from(vec![
        Span::styled(format!("{} ", clock(deed.at_ms)), quiet(screen)),
        Span::styled(format!("{sign} "), tone(screen, color)),
        Span::raw(format!("{} ", escaped(pool))),
        Span::raw(escaped(&deed.text)),
    ])
}

/// The page's signs: a full disc was kept, a half one is on trial, a hollow triangle was rolled back, a hollow diamond was
/// not done.
fn sign(deed: &Entry) -> (&'static str, Color) {
    match &deed.body {
        EntryBody::Decision(record) => match record.action {
            Action::Try => ("◐", Color::Magenta),
            Action::Confirm => ("●", Color::Green),
            Action::RollBack => ("△", Color::Magenta),
            Action::Advise | Action::Hold => ("◇", Color::Yellow),
        },
        EntryBody::Intent(_) | EntryBody::Outcome(_) => ("◇", Color::Yellow),
        EntryBody::Command(_) => ("■", Color::Magenta),
        EntryBody::Reload(_) => ("□", Color::Blue),
    }
}

fn draw_keys(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    if let Over::Filter = screen.over {
        let line = format!("/{}▏  ⏎ keeps it · Esc drops it", escaped(&screen.filter));
        frame.render_widget(Line::styled(line, strong()), area);
        return;
    }
    if let Some(notice) = &screen.notice {
        frame.render_widget(Line::styled(escaped(notice), strong()), area);
        return;
    }
    let frozen = screen.status.as_ref().is_some_and(|status| status.frozen);
    let freeze = if frozen { "lift the freeze" } else { "freeze" };
    let pause = if screen.paused { "go on" } else { "pause" };
    let sort = screen.sort.word();
    let paused = if screen.paused { "PAUSED · " } else { "" };
    let text = format!(
        "{paused}q quit · ? help · / filter · s sort: {sort} · p {pause} · f {freeze} · ⏎ open"
    );
    frame.render_widget(Line::styled(text, quiet(screen)), area);
}
