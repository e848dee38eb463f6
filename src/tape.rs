//! The recording of a run: whatever the controller is told goes to a file, so that `trimtab replay` can decide it all again.
//!
//! Decide only queues; a thread writes. A recording with a hole replays to nothing, so when the thread cannot follow or the disk
//! refuses, the recording ends there, says so once in the log, and the sidecar goes on.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};
use trimtab_core::recording::Line;

/// Lines that may wait for the disk: a minute's and more.
const LINES: usize = 256;
/// How long the last lines may take when the sidecar ends.
const FINISH: Duration = Duration::from_millis(300);

/// The highest number that is put behind a name.
const NUMBERS: u32 = 9_999;

/// Makes the file of a recording. A file that is there is never written to, for it may hold the run that crashed just before: then
/// the first free number is put behind the name, and the log says so. A pipe or a device holds no run, and is written to.
///
/// # Errors
/// The file cannot be made, or there is no free number.
pub fn begin(path: &Path) -> io::Result<File> {
    match create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made,
    }
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path);
    }
    let mut names = (1..=NUMBERS).map(|number| {
        let mut name = OsString::from(path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let made = names.find_map(|name| match create(&name) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
        made => Some(made.map(|file| (name, file))),
    });
    let (name, file) = made.unwrap_or_else(|| Err(ErrorKind::AlreadyExists.into()))?;
    info!(file = %name.display(), "the recording goes to a new file, for there is one of that name");
    Ok(file)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The sending side of a recording.
#[derive(Debug)]
pub struct Tape {
    lines: Option<mpsc::Sender<Line>>,
    ended: oneshot::Receiver<()>,
}

impl Tape {
    /// Begins a recording in a file.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(file: File) -> io::Result<Self> {
        let (lines, waiting) = mpsc::channel(LINES);
        let (end, ended) = oneshot::channel();
        let writer = std::thread::Builder::new().name("tape".to_owned());
        writer.spawn(move || {
            if let Err(error) = write(BufWriter::new(file), waiting) {
                warn!(%error, "the recording ends here, for it cannot be written");
            }
            drop(end);
        })?;
        info!("recording all that the controller is told");
        Ok(Self {
            lines: Some(lines),
            ended,
        })
    }

    /// Queues a line. A line that cannot be queued is the end of the recording.
    pub fn add(&mut self, line: Line) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                warn!("the recording ends here, for the disk does not follow");
                self.lines = None;
            }
            // The thread has said why.
            Err(TrySendError::Closed(_)) => self.lines = None,
        }
    }

    /// Ends the recording and gives the disk a moment for the last lines.
    pub async fn end(mut self) {
        self.lines = None;
        if tokio::time::timeout(FINISH, self.ended).await.is_err() {
            warn!("the last lines of the recording are late");
        }
    }
}

fn write(mut out: impl Write, mut lines: mpsc::Receiver<Line>) -> io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")?;
        // A line a second: each is there to be read at once.
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_there_once_the_recording_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run.jsonl");
        let file = File::create(&path).expect("a file");
        let mut tape = Tape::start(file).expect("a thread");
        tape.add(Line::Frozen { frozen: true });
        tape.add(Line::Frozen { frozen: false });
        tape.end().await;
        let text = fs::read_to_string(&path).expect("it is there");
        let lines: Vec<Line> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect();
        let expected = [true, false].map(|frozen| Line::Frozen { frozen });
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_recording_that_is_there_stays_and_the_next_gets_a_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run.jsonl");
        for run in ["first", "second", "third"] {
            let mut file = begin(&path).expect("a file");
            file.write_all(run.as_bytes()).expect("there is room");
        }
        let text = |name: &str| {
            fs::read_to_string(directory.path().join(name)).unwrap_or_else(|_| "none".to_owned())
        };
        let names = ["run.jsonl", "run.jsonl.1", "run.jsonl.2", "run.jsonl.3"];
        assert_eq!(names.map(text), ["first", "second", "third", "none"]);
    }

    #[test]
    fn a_link_is_not_followed_and_what_is_no_file_gets_no_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::os::unix::fs::symlink(at("elsewhere"), at("link")).expect("a link");
        begin(&at("link")).expect("a file beside it");
        assert!(!at("elsewhere").exists() && at("link.1").exists());
        begin(directory.path()).expect_err("a directory is no recording");
        begin(Path::new("/dev/null")).expect("it takes all");
        assert!(!Path::new("/dev/null.1").exists());
    }

    #[tokio::test]
    async fn a_disk_that_is_full_ends_the_recording_and_nothing_else() {
        let Ok(full) = File::create("/dev/full") else {
            return;
        };
        let mut tape = Tape::start(full).expect("a thread");
        while tape.lines.is_some() {
            tape.add(Line::Frozen { frozen: true });
            tokio::task::yield_now().await;
        }
        tape.end().await;
    }
}
