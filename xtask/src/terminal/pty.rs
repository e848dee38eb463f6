//! A terminal with a program in it.

use anyhow::{Context, Result, bail};
use pty_process::blocking::{Command, Pty, open};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a program that is asked to end has, in tenths of a second.
const PATIENCE: u32 = 100;
const TENTH: Duration = Duration::from_millis(100);

/// Lets time pass.
#[expect(
    clippy::disallowed_methods,
    reason = "a recording is of what a screen shows over time, and a program that ends says nothing at its end"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What a program shows and is told. The program ends with it.
pub(super) struct Terminal {
    pty: Arc<Pty>,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Child,
}

impl Terminal {
    /// Starts a program on so many columns and rows.
    pub(super) fn start(
        (columns, rows): (NonZero<u16>, NonZero<u16>),
        program: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let (pty, pts) = open().context("no terminal")?;
        pty.resize(pty_process::Size::new(rows.get(), columns.get()))?;
        let command = Command::new(program)
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("CARGO")
            .env_remove("NO_COLOR");
        let child = command
            .spawn(pts)
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            // The other end closes with an error when its last process ends.
            while let Ok(count) = (&*from).read(&mut buffer) {
                let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
                    return;
                };
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .process(read);
            }
        });
        Ok(Self { pty, screen, child })
    }

    /// Shows the screen as it is now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        look(parser.screen())
    }

    /// The screen's text.
    pub(super) fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    /// Types.
    pub(super) fn press(&self, keys: &str) -> Result<()> {
        (&*self.pty)
            .write_all(keys.as_bytes())
            .context("nothing can be typed")
    }

    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Asks it to end, so that it ends what it started, and waits for that.
    pub(super) fn end(mut self) -> Result<()> {
        self.ask_to_end();
        for _ in 0..PATIENCE {
            if !self.is_running()? {
                return Ok(());
            }
            pause(TENTH);
        }
        bail!("it did not end when it was asked to:\n{}", self.text())
    }

    fn ask_to_end(&self) {
        let pid = self.child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status();
        // It may have ended already, and whether it ends is looked at.
        drop(kill);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.ask_to_end();
        for _ in 0..PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(TENTH);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
