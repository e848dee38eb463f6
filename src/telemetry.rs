//! The sidecar's own log: one line an event on the standard error stream, as text or as JSON.
//!
//! Names and texts of the host get into the log, and the host is not trusted with the reader's terminal or log store: every
//! control character within an event is written as an escape, so one event stays one line and steers nothing. For the same
//! reason the text has no colours.

use crate::config::{LogConfig, LogFormat, steers};
use std::io;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

/// The log was set up before in this process.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already")]
pub struct AlreadySetUp;

/// Starts the log of this process.
///
/// # Errors
/// When it was started before.
pub fn init(config: LogConfig) -> Result<(), AlreadySetUp> {
    tracing::subscriber::set_global_default(subscriber(config, io::stderr))
        .map_err(|_| AlreadySetUp)
}

/// The log, written to somewhere else than the standard error stream.
pub fn subscriber<W>(config: LogConfig, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_ansi(false).with_writer(Escaped(writer));
    let layer = match config.format {
        LogFormat::Human => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // The libraries' inside is noise here; at `debug` and `trace` only our own events are added.
    let filter = Targets::new()
        .with_default(config.level.min(LevelFilter::INFO))
        .with_target("trimtab", config.level);
    registry().with(layer.with_filter(filter))
}

/// Text that may come from elsewhere, without what could steer a terminal or end a line: control characters, and those that
/// turn the direction of what follows, become escapes as JSON writes them.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            _ if steers(char) => safe.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => safe.push(char),
        }
    }
    safe
}

/// Makes writers that escape.
struct Escaped<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaped<W> {
    type Writer = EscapedWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        EscapedWriter(self.0.make_writer())
    }
}

/// Escapes each event; the log writes an event in one piece, with the line's end as its last character.
struct EscapedWriter<W>(W);

impl<W: io::Write> io::Write for EscapedWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = match text.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (text.as_ref(), ""),
        };
        let mut line = escaped(line);
        line.push_str(end);
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics in here").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LevelFilter, events: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(LogConfig { format, level }, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = page.0.lock().expect("no test panics in here").clone();
        String::from_utf8(bytes).expect("it is text")
    }

    const EVIL: &str = "shop\n2026-01-01 ERROR forged\u{1b}[2J\u{9b}31m\u{202e}\0";

    #[test]
    fn an_event_is_one_line_and_steers_no_terminal() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let text = logged(format, LevelFilter::INFO, || {
                tracing::info!(host = EVIL, error = %EVIL, debug = ?EVIL, "{EVIL}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.trim_end_matches('\n').contains(steers), "{text:?}");
            assert!(text.contains("shop"));
        }
    }

    #[test]
    fn json_says_what_was_said() {
        let text = logged(LogFormat::Json, LevelFilter::INFO, || {
            tracing::info!(host = EVIL, "a change was made");
        });
        let event: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(event["host"], EVIL);
        assert_eq!(event["message"], "a change was made");
        assert_eq!(event["level"], "INFO");
    }

    #[test]
    fn the_level_holds_for_our_events_and_libraries_stay_quiet() {
        let events = || {
            tracing::debug!(target: "trimtab::decide", "ours");
            tracing::debug!(target: "trimtab_core", "ours as well");
            tracing::debug!(target: "hyper", "theirs");
            tracing::warn!(target: "hyper", "their warning");
        };
        let lines = |level| logged(LogFormat::Human, level, events).lines().count();
        assert_eq!(lines(LevelFilter::DEBUG), 3);
        assert_eq!(lines(LevelFilter::WARN), 1);
        assert_eq!(lines(LevelFilter::ERROR), 0);
    }
}
