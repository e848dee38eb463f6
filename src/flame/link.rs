//! A running profiler and the pipes to it.

use bytes::Bytes;
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use trimtab_flame::ask::{Answer, Ask, Request};

/// The largest answer that is read.
const BYTES_MAX: usize = 64 << 20;
/// Answers that may wait to be told.
const ANSWERS: usize = 16;

/// A running profiler. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    _child: Child,
    input: ChildStdin,
    answers: mpsc::Receiver<Heard>,
    _reader: JoinSet<()>,
}

/// What came from it.
#[derive(Debug)]
pub(super) enum Heard {
    /// An answer with its bytes.
    Answer(Answer, Bytes),
    /// Nothing more, and why.
    End(String),
}

impl Link {
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let (sender, answers) = mpsc::channel(ANSWERS);
        let mut reader = JoinSet::new();
        reader.spawn(read(output, sender));
        Ok(Self {
            _child: child,
            input,
            answers,
            _reader: reader,
        })
    }

    /// Asks it.
    pub(super) async fn say(&mut self, id: u64, ask: Ask) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Request { id, ask })?;
        line.push(b'\n');
        self.input.write_all(&line).await?;
        self.input.flush().await
    }

    /// Waits for what comes next; for ever where there is no profiler.
    pub(super) async fn hear(link: &mut Option<Self>) -> Heard {
        match link {
            Some(link) => link
                .answers
                .recv()
                .await
                .unwrap_or_else(|| Heard::End("its output ended".to_owned())),
            None => std::future::pending().await,
        }
    }
}

async fn read(output: ChildStdout, answers: mpsc::Sender<Heard>) {
    let mut output = BufReader::new(output);
    loop {
        let heard = match next(&mut output).await {
            Ok((answer, bytes)) => Heard::Answer(answer, bytes),
            Err(error) => Heard::End(error.to_string()),
        };
        let ended = matches!(heard, Heard::End(_));
        if answers.send(heard).await.is_err() || ended {
            return;
        }
    }
}

async fn next(output: &mut BufReader<ChildStdout>) -> io::Result<(Answer, Bytes)> {
    let mut line = Vec::new();
    let mut head = output.take(u64::try_from(BYTES_MAX).unwrap_or(u64::MAX));
    if head.read_until(b'\n', &mut line).await? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "its output ended",
        ));
    }
    let answer: Answer = serde_json::from_slice(&line)?;
    if answer.bytes > BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it answered with too much",
        ));
    }
    let mut bytes = vec![0; answer.bytes];
    output.read_exact(&mut bytes).await?;
    Ok((answer, Bytes::from(bytes)))
}
