//! The screen, key by key, on a terminal of 80 by 24 in memory.

use super::draw::draw;
use super::read::Reading;
use super::screen::{Screen, Wish, Word};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

/// Three seconds after 15:04:00 of the day on which time began for this host.
const AT_MS: u64 = 54_243_000;

fn knob(value: u64, max: u64) -> Value {
    json!({"value": value, "effective": value, "baseline": 8, "min": 2, "max": max})
}

fn pool(profile: &str, phase: &str, workers: u64, text: &str) -> Value {
    json!({
        "profile": profile, "phase": phase, "generation": 3, "text": text,
        "knobs": {"workers": knob(workers, 100)},
        "decision": {
            "action": "hold", "reason": {"kind": "ample"}, "regime": "downstream_bound", "level": "moderate",
            "profile": profile,
        },
        "changes": {"made": 3, "kept": 1, "rolled_back": 1, "refused": 0},
    })
}

fn sample(seconds: u64, goodput: f64) -> Value {
    json!({
        "at_ms": AT_MS + seconds * 1_000, "moment_ns": seconds * 1_000_000_000,
        "cpu_cores": goodput / 200.0, "quota_cores": 2.0, "rss_bytes": 64_u64 << 20, "threads": 9,
        "pools": {
            "checkout": {"busy": 7.5, "queued": 12.0, "goodput_per_s": goodput, "p99_us": 81_250},
            "mail": {"busy": 1.0, "queued": 0.0, "goodput_per_s": 3.0},
        },
    })
}

fn status(seconds: u64, frozen: bool) -> Value {
    json!({
        "host": "shop", "mode": "act", "summary": "All is well\u{1b}[2J.", "app": "orders", "version": "1.2",
        "frozen": frozen, "lease_holder": "box-1", "lease_ours": true, "conformance": 2,
        "sample": sample(seconds, 100.0), "held": {"ample": 41},
        "pools": {
            "checkout": pool("web", "trial", 12, "trying 12 workers, for work waits for a worker"),
            "mail": pool("background", "confirmed", 4, "work flows and nothing waits"),
        },
    })
}

fn entry(sequence: u64, seconds: u64, action: &str, text: &str) -> Value {
    json!({
        "id": format!("b-{sequence}"), "at_ms": AT_MS + seconds * 1_000, "moment_ns": seconds, "host": "shop",
        "pool": "checkout", "entry": "decision", "action": action, "reason": {"kind": "ample"},
        "regime": "starved", "level": "moderate", "profile": "web", "text": text,
    })
}

/// What a sidecar answers after this many seconds.
fn reading(seconds: u64, frozen: bool, entries: &Value) -> Box<Reading> {
    let samples = json!([sample(seconds - 1, 50.0), sample(seconds, 100.0)]);
    Box::new(Reading {
        status: serde_json::from_value(status(seconds, frozen)).expect("it is a status"),
        samples: serde_json::from_value(samples).expect("they are samples"),
        entries: serde_json::from_value(entries.clone()).expect("they are entries"),
    })
}

fn entries() -> Value {
    json!([
        entry(1, 0, "try", "8 -> 10 workers on trial"),
        entry(2, 1, "hold", "held"),
        entry(
            3,
            2,
            "confirm",
            "10 workers were right: goodput rose by 12 %"
        ),
        entry(4, 3, "try", "10 -> 12 workers on trial"),
    ])
}

fn screen() -> Screen {
    let mut screen = Screen::new("http://127.0.0.1:7676/".to_owned(), true);
    screen.read(Ok(reading(3, false, &entries())));
    screen
}

fn terminal(width: u16, height: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(width, height)).expect("memory does not fail")
}

/// What stands on a terminal of this size.
fn shown_at(screen: &Screen, width: u16, height: u16) -> String {
    let mut terminal = terminal(width, height);
    terminal
        .draw(|frame| draw(frame, screen))
        .expect("memory does not fail");
    let rows = terminal.backend().buffer().content.chunks(width.into());
    let rows = rows.map(|row| {
        let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", row.trim_end())
    });
    rows.collect()
}

fn shown(screen: &Screen) -> String {
    shown_at(screen, 80, 24)
}

fn press(screen: &mut Screen, keys: &str) -> Wish {
    let mut wish = Wish::Nothing;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            other => KeyCode::Char(other),
        };
        wish = screen.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

#[test]
fn pools_and_deeds_fit_a_terminal_of_80_by_24() {
    insta::assert_snapshot!(shown(&screen()));
}

#[test]
fn a_filter_leaves_what_fits_it_and_escape_drops_it() {
    let mut screen = screen();
    press(&mut screen, "/mail");
    assert!(shown(&screen).contains("/mail"), "what is typed shows");
    press(&mut screen, "\n");
    let text = shown(&screen);
    assert!(
        text.contains("mail") && !text.contains("checkout"),
        "{text}"
    );
    press(&mut screen, "\u{1b}");
    assert!(shown(&screen).contains("checkout"));
}

#[test]
fn the_order_changes_and_the_choice_stays() {
    let mut screen = screen();
    let order = |screen: &Screen| {
        let names = screen.pools().map(|(name, _)| name.to_string());
        names.collect::<Vec<_>>()
    };
    press(&mut screen, "↓");
    assert_eq!(order(&screen), ["checkout", "mail"]);
    let chosen = |screen: &Screen| screen.pool().map(|(name, _)| name.to_string());
    assert_eq!(chosen(&screen).as_deref(), Some("mail"));
    press(&mut screen, "s");
    assert_eq!(
        order(&screen),
        ["checkout", "mail"],
        "100 a second before 3"
    );
    assert_eq!(chosen(&screen).as_deref(), Some("mail"));
    assert!(shown(&screen).contains("good/s↓"));
}

#[test]
fn the_pool_that_is_chosen_stays_in_sight_and_parts_come_last() {
    let mut many = reading(3, false, &entries());
    let mut part = pool("web", "baseline", 1, "nothing to change");
    part["knobs"] = json!({});
    let numbered = (0..9).map(|number| (format!("p{number}"), pool("web", "baseline", 4, "ample")));
    let pools: serde_json::Map<String, Value> =
        numbered.chain([("a-part".to_owned(), part)]).collect();
    let mut status = status(3, false);
    status["pools"] = Value::Object(pools);
    many.status = serde_json::from_value(status).expect("it is a status");
    let mut screen = screen();
    screen.read(Ok(many));
    let text = shown(&screen);
    assert!(text.contains("pool 8/10 "), "{text}");
    assert!(text.contains("\np7 ") && !text.contains("\np8 "), "{text}");
    press(&mut screen, &"j".repeat(9));
    let text = shown(&screen);
    assert!(
        text.contains("\na-part ") && text.contains("\np8 "),
        "{text}"
    );
    assert!(
        text.contains("\na-part: ") && !text.contains("\np0 "),
        "{text}"
    );
}

#[test]
fn a_pause_stands_still_and_forgets_nothing() {
    let mut screen = screen();
    press(&mut screen, "p");
    let still = shown(&screen);
    assert!(
        still.contains("PAUSED") && still.contains("15:04:06"),
        "{still}"
    );
    let later = json!([entry(5, 9, "roll_back", "12 did not pay")]);
    screen.read(Ok(reading(9, false, &later)));
    assert_eq!(shown(&screen), still);
    press(&mut screen, "p");
    screen.read(Ok(reading(10, false, &json!([]))));
    let text = shown(&screen);
    assert!(text.contains("△ checkout 12 did not pay"), "{text}");
}

#[test]
fn advice_that_is_given_again_is_no_news() {
    let mut screen = screen();
    for sequence in 10..20 {
        let again = json!([entry(sequence, sequence, "advise", "16 workers would help")]);
        screen.read(Ok(reading(sequence, false, &again)));
    }
    let text = shown(&screen);
    assert_eq!(text.matches("16 workers would help").count(), 1, "{text}");
}

#[test]
fn nothing_is_sent_before_the_dry_run_has_been_read() {
    let mut screen = screen();
    let asked = press(&mut screen, "f");
    let word = Word::Freeze;
    assert_eq!(
        asked,
        Wish::Ask {
            word,
            dry_run: true
        }
    );
    assert_eq!(press(&mut screen, "\n"), Wish::Nothing, "no answer yet");
    let receipt = json!({
        "host": "shop", "asked": {"command": "freeze", "with": {}}, "dry_run": true, "recorded": true, "frozen": true,
        "text": "The trial of checkout would end.",
    });
    let receipt = serde_json::from_value(receipt).expect("it is a receipt");
    screen.answered(true, Ok(receipt));
    let text = shown(&screen);
    assert!(text.contains("The trial of checkout would end."), "{text}");
    assert!(text.contains("Nothing has been sent yet."), "{text}");
    let given = press(&mut screen, "\n");
    assert_eq!(
        given,
        Wish::Ask {
            word,
            dry_run: false
        }
    );
    screen.answered(false, Err("the door is closed".to_owned()));
    assert!(shown(&screen).contains("the door is closed"));
    screen.read(Ok(reading(4, true, &json!([]))));
    press(&mut screen, "\u{1b}");
    let text = shown(&screen);
    assert!(
        text.contains("▲ Frozen.") && text.contains("f lift the freeze"),
        "{text}"
    );
}

#[test]
fn a_decision_opens_in_full_and_the_help_names_every_sign() {
    let mut screen = screen();
    press(&mut screen, "\t↓\n");
    let text = shown(&screen);
    assert!(
        text.contains("Decision b-3") && text.contains("1970-01-01 15:04:05Z ●"),
        "{text}"
    );
    press(&mut screen, "\u{1b}?");
    let text = shown(&screen);
    for sign in ["● kept", "◐ on trial", "△ rolled back", "◇ advised"] {
        assert!(text.contains(sign), "{text}");
    }
    assert_eq!(
        press(&mut screen, "qq"),
        Wish::Quit,
        "the first closes the help"
    );
}

#[test]
fn a_sidecar_that_went_away_leaves_what_was_seen_with_its_time() {
    let mut screen = screen();
    screen.read(Err("no sidecar answers".to_owned()));
    let text = shown(&screen);
    assert!(
        text.contains("✖ no sidecar answers. What you see is from 15:04:06."),
        "{text}"
    );
    assert!(text.contains("checkout"), "{text}");
}

#[test]
fn every_size_is_drawn_and_a_tiny_one_says_what_it_needs() {
    let mut screen = screen();
    for keys in ["", "?", "\u{1b}\n"] {
        press(&mut screen, keys);
        for (width, height) in [(1, 1), (20, 5), (60, 16), (80, 24), (300, 100)] {
            let text = shown_at(&screen, width, height);
            assert_eq!(
                text.contains("16 rows"),
                (width, height) == (20, 5),
                "{text}"
            );
        }
    }
}

#[test]
fn without_colours_the_same_is_said() {
    let mut screens = [screen(), screen()];
    screens[1].plain = false;
    let texts = screens.each_ref().map(shown);
    assert_eq!(texts[0], texts[1]);
    let colours = screens.map(|screen| {
        let mut terminal = terminal(80, 24);
        terminal
            .draw(|frame| draw(frame, &screen))
            .expect("memory does not fail");
        let cells = terminal.backend().buffer().content.clone();
        cells.iter().filter(|cell| cell.fg != Color::Reset).count()
    });
    assert_eq!(colours[0], 0);
    assert!(colours[1] > 0);
}
