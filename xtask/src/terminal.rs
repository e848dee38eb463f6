//! The recorded terminal session of the README: `trimtab top` beside the demo while it tunes, as a picture that moves.
//!
//! Nothing is acted: the demo is started as a person starts it, and what a terminal of 80 columns and 24 rows shows is taken once
//! a second. The picture is an SVG of text, with neither a script nor a font of its own.

mod film;
mod pty;
mod svg;

use crate::ci::shell;
use anyhow::{Context, Result, ensure};
use film::Film;
use pty::{Terminal, pause};
use std::env;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the picture goes.
const PICTURE: &str = "docs/images/terminal.svg";
/// A picture in a README that is larger than this, in bytes, is waited for.
const BYTES_MAX: usize = 150 * 1024;
/// As small as terminals are, and what `trimtab top` is made for.
const SIZE: (NonZero<u16>, NonZero<u16>) = (NonZero::new(80).unwrap(), NonZero::new(24).unwrap());
/// Wide enough for the demo's line with the address of the dashboard.
const DEMO_SIZE: (NonZero<u16>, NonZero<u16>) =
    (NonZero::new(160).unwrap(), NonZero::new(24).unwrap());
/// How long the demo runs, in seconds; its second half has the sidecar, and is longer than the recording.
const DEMO_SECONDS: &str = "84";
/// How long is waited for that half.
const PATIENCE_S: u64 = 120;
/// Between two looks at the screen.
const STEP: Duration = Duration::from_secs(1);
/// How many looks are taken.
const STEPS: u32 = 34;
/// What is pressed, after how many looks: the newest decision in full, the busiest pools first, one name alone, the help.
const KEYS: [(u32, &str); 10] = [
    (5, "\r"),
    (9, ESCAPE),
    (10, "\t"),
    (12, "s"),
    (17, "/"),
    (18, "web"),
    (20, "\r"),
    (24, ESCAPE),
    (26, "?"),
    (30, ESCAPE),
];
const ESCAPE: &str = "\u{1b}";

/// Records, and writes the picture.
///
/// # Errors
/// When something cannot be built or started, the demo does not get as far as its second half, or the picture is too large.
pub(crate) fn run(root: &Path) -> Result<()> {
    let programs = programs(root)?;
    // Of cargo's own variables the demo knows none: it would build its sidecar once more.
    let mut demo = Terminal::start(
        DEMO_SIZE,
        &programs.join("examples/demo"),
        &["--seconds", DEMO_SECONDS],
    )?;
    println!("the demo runs without its sidecar first");
    let url = address(&mut demo)?;
    println!("recording {url}");
    let film = record(&programs.join("trimtab"), &url)?;
    let (frames, text) = (film.frames.len(), svg::draw(&film));
    ensure!(
        text.len() <= BYTES_MAX,
        "the picture has {} bytes, more than {BYTES_MAX}",
        text.len()
    );
    let picture = root.join(PICTURE);
    fs::write(&picture, &text)
        .with_context(|| format!("{} cannot be written", picture.display()))?;
    println!(
        "{PICTURE}: {frames} frames, {} KiB",
        text.len().div_ceil(1024)
    );
    demo.end()
}

/// Where `trimtab` and `examples/demo` are: built now, unless TRIMTAB_PROGRAMS names a directory that has them.
fn programs(root: &Path) -> Result<PathBuf> {
    if let Some(given) = env::var_os("TRIMTAB_PROGRAMS") {
        return Ok(PathBuf::from(given));
    }
    let build = "build --release --locked --bin trimtab --example demo";
    shell::cargo(root, &build.split(' ').collect::<Vec<_>>())?;
    Ok(shell::target(root).join("release"))
}

/// Waits until the demo says where the dashboard is, which it does while it tunes.
fn address(demo: &mut Terminal) -> Result<String> {
    for _ in 0..PATIENCE_S {
        let text = demo.text();
        if let Some(url) = url_in(&text) {
            return Ok(url);
        }
        ensure!(demo.is_running()?, "the demo ended:\n{text}");
        pause(STEP);
    }
    anyhow::bail!("the demo never named the dashboard:\n{}", demo.text())
}

/// The address that the demo's line names, once it stands there whole.
fn url_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("see http://")?;
    let (authority, _) = rest.split_once('/')?;
    Some(format!("http://{authority}"))
}

fn record(trimtab: &Path, url: &str) -> Result<Film> {
    let mut top = Terminal::start(SIZE, trimtab, &["top", "--url", url])?;
    let mut film = Film::new(SIZE.0.get(), SIZE.1.get());
    for step in 0..STEPS {
        for (_, keys) in KEYS.iter().filter(|(at, _)| *at == step) {
            top.press(keys)?;
        }
        pause(STEP);
        ensure!(top.is_running()?, "`trimtab top` ended:\n{}", top.text());
        top.look(|screen| film.take(STEP * step, screen));
    }
    film.length = STEP * STEPS;
    top.press("q")?;
    top.end()?;
    Ok(film)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_the_line_of_the_progress_once_it_is_whole() {
        let line = "2 of 2: with the sidecar, see http://127.0.0.1:41/ [==>   ] 3s";
        assert_eq!(url_in(line).as_deref(), Some("http://127.0.0.1:41"));
        assert_eq!(url_in("1 of 2: as deployed"), None);
        assert_eq!(url_in("2 of 2: with the sidecar, see http://127.0."), None);
    }

    #[test]
    fn what_is_pressed_ends_on_the_lists_before_the_recording_does() {
        assert!(KEYS.is_sorted());
        assert!(matches!(KEYS.last(), Some((at, keys)) if at + 2 < STEPS && *keys == ESCAPE));
    }
}
