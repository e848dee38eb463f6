//! Child processes that say where they listen, and that end with whoever started them.
//!
//! A child gets a pipe as its standard input. When the pipe closes, the child ends: on purpose, or because its parent was
//! killed. So no child outlives its parent, whatever became of it.

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a child may take to say that it listens, and to end when it is asked to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A process of ours; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a child and waits for its announcement: one line of JSON.
    pub(crate) async fn start<T: DeserializeOwned>(
        command: &mut Command,
    ) -> anyhow::Result<(Self, T)> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a child process did not start")?;
        let output = child.stdout.take().context("the child has no output")?;
        let mut line = String::new();
        let mut lines = BufReader::new(output);
        let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut line));
        if read.await.context("the child said nothing in time")?? == 0 {
            bail!(
                "the child ended with {} before it listened",
                child.wait().await?
            );
        }
        let announcement = serde_json::from_str(&line)
            .with_context(|| format!("the child said {line:?}, not where it listens"))?;
        Ok((Self(child), announcement))
    }

    /// Asks the child to end, and kills it if it does not.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        drop(self.0.stdin.take());
        if tokio::time::timeout(PATIENCE, self.0.wait()).await.is_err() {
            self.0.kill().await?;
        }
        Ok(())
    }
}

/// Says where this process listens, in one line of JSON.
pub(crate) fn announce(announcement: &impl Serialize) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, announcement)?;
    writeln!(output)?;
    output.flush()?;
    Ok(())
}

/// Waits until the standard input closes.
pub(crate) async fn parent_gone() {
    let (closed, closing) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own, and not the runtime's: a read of the standard input cannot be given up, and would hold up the end.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut unread = [0; 256];
        while matches!(input.read(&mut unread), Ok(1..)) {}
        drop(closed);
    });
    drop(closing.await);
}
