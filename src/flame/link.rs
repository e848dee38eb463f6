//! A running profiler and the pipes to it.

use super::keeper::{Keeper, Source};
use bytes::Bytes;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use trimtab_flame::ask::{Answer, Ask, Request};

/// The largest answer that is read.
const BYTES_MAX: usize = 64 << 20;
/// Answers that may wait to be told.
const ANSWERS: usize = 16;

type Input = Box<dyn AsyncWrite + Send + Sync + Unpin>;
type Output = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// A running profiler. When this is dropped it ends: one that we started is killed, one of a keeper's has no input any more.
pub(super) struct Link {
    _child: Option<Child>,
    input: Input,
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

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Starts a profiler. The error says in words why there is none.
    pub(super) fn start(source: &Source) -> Result<Self, String> {
        match source {
            Source::Program(program) => Self::spawn(program)
                .map_err(|error| format!("cannot start {}: {error}", program.display())),
            Source::Keeper(keeper) => Self::hire(keeper).map_err(|error| {
                format!("what starts profilers for a sidecar that is shut in has ended; start the sidecar anew: {error}")
            }),
        }
    }

    fn spawn(program: &Path) -> io::Result<Self> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        Ok(Self::over(Some(child), Box::new(input), Box::new(output)))
    }

    fn hire(keeper: &Keeper) -> io::Result<Self> {
        let (output, input) = keeper.hire()?.into_split();
        Ok(Self::over(None, Box::new(input), Box::new(output)))
    }

    fn over(child: Option<Child>, input: Input, output: Output) -> Self {
        let (sender, answers) = mpsc::channel(ANSWERS);
        let mut reader = JoinSet::new();
        reader.spawn(read(output, sender));
        Self {
            _child: child,
            input,
            answers,
            _reader: reader,
        }
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

async fn read(output: Output, answers: mpsc::Sender<Heard>) {
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

async fn next(output: &mut BufReader<Output>) -> io::Result<(Answer, Bytes)> {
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
