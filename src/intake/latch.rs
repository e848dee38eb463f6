//! The sidecar's own freeze: a switch in memory that act and decide look at, and a file that keeps it over restarts.
//!
//! A freeze that is lost in a restart is the start of an incident. So the file is written and synced before the freeze is
//! acknowledged as lasting, and a file that is there but cannot be read counts as a freeze. Only an operator removes it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The file's name in its directory.
const FILE: &str = "freeze";

/// The freeze of one sidecar. Clones are the same freeze.
#[derive(Clone, Debug)]
pub struct Latch {
    directory: PathBuf,
    switch: watch::Sender<bool>,
    /// How often it was closed; held while the switch is turned.
    closed: Arc<Mutex<u64>>,
    patience: Duration,
}

impl Latch {
    /// The freeze whose file is in this directory, as it was left. Nothing is written yet. A disk that takes longer than
    /// `patience` is not waited for.
    #[must_use]
    pub fn open(directory: &Path, patience: Duration) -> Self {
        let frozen = is_there(&directory.join(FILE));
        Self {
            directory: directory.to_owned(),
            switch: watch::Sender::new(frozen),
            closed: Arc::default(),
            patience,
        }
    }

    /// What act and decide look at.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.switch.subscribe()
    }

    /// Whether it is in force.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *self.switch.borrow()
    }

    /// Puts it in force, at once and in memory only.
    pub fn close(&self) {
        let mut closed = self.closed();
        *closed += 1;
        self.switch.send_replace(true);
    }

    /// What [`Latch::lift`] is told, by whoever is asked to lift the freezes that there are by now.
    #[must_use]
    pub fn seen(&self) -> u64 {
        *self.closed()
    }

    /// Lifts it, in memory only; the file goes first. A freeze that came after `seen` stays in force, and nothing is lifted.
    /// Says whether it was lifted.
    pub fn lift(&self, seen: u64) -> bool {
        let closed = self.closed();
        let lifts = *closed == seen;
        if lifts {
            self.switch.send_replace(false);
        }
        lifts
    }

    fn closed(&self) -> MutexGuard<'_, u64> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it over restarts.
    ///
    /// # Errors
    /// Why the file could not be written; the freeze itself is in force all the same.
    pub async fn keep(&self, text: String) -> io::Result<()> {
        let directory = self.directory.clone();
        self.on_disk(move || put(&directory, text.as_bytes())).await
    }

    /// Removes what keeps it over restarts.
    ///
    /// # Errors
    /// Why the file could not be removed; then it would come back at the next start.
    pub async fn forget(&self) -> io::Result<()> {
        let directory = self.directory.clone();
        self.on_disk(move || remove(&directory)).await
    }

    /// On a thread of its own: a disk may hang, and neither the other commands nor the end of the sidecar may wait for it.
    async fn on_disk(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (done, finished) = oneshot::channel();
        let started = std::thread::Builder::new()
            .name("freeze".to_owned())
            .spawn(move || drop(done.send(work())));
        started?;
        match tokio::time::timeout(self.patience, finished).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(io::Error::other("the thread that writes it is gone")),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Whether the file is there, or may be.
fn is_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        // Without its directory there is no file, whatever stands in the directory's place.
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

fn put(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let draft = directory.join(format!(".{FILE}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join(FILE)) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => File::open(directory)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_freeze_is_kept_until_it_is_lifted() {
        let root = tempfile::tempdir().expect("a directory");
        let place = root.path().join("state");
        let latch = Latch::open(&place, PATIENCE);
        let seen = latch.subscribe();
        assert!(!latch.is_frozen() && !*seen.borrow());
        latch.close();
        latch.keep("{}".to_owned()).await.expect("writable");
        assert!(*seen.borrow());
        assert!(Latch::open(&place, PATIENCE).is_frozen(), "after a restart");
        latch.forget().await.expect("writable");
        latch.forget().await.expect("a retry");
        assert!(latch.lift(latch.seen()));
        assert!(!*seen.borrow() && !Latch::open(&place, PATIENCE).is_frozen());
        let left = fs::read_dir(&place).expect("it is there").count();
        assert_eq!(left, 0, "no draft is left behind");
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_said_and_is_in_force_all_the_same() {
        let root = tempfile::tempdir().expect("a directory");
        let plain = root.path().join("plain");
        fs::write(&plain, "").expect("a file");
        let latch = Latch::open(&plain, PATIENCE);
        assert!(
            !latch.is_frozen(),
            "a file in the directory's place is no freeze"
        );
        latch.close();
        latch.keep("{}".to_owned()).await.expect_err("not there");
        assert!(latch.is_frozen());
    }

    #[test]
    fn a_freeze_that_comes_while_one_is_lifted_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let latch = Latch::open(root.path(), PATIENCE);
        latch.close();
        let seen = latch.seen();
        latch.clone().close();
        assert!(!latch.lift(seen) && latch.is_frozen());
        assert!(latch.lift(latch.seen()) && !latch.is_frozen());
    }

    #[test]
    fn a_freeze_that_cannot_be_read_is_a_freeze() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join(FILE)).expect("a directory in its place");
        assert!(Latch::open(root.path(), PATIENCE).is_frozen());
        let link = root.path().join("other");
        fs::create_dir(&link).expect("a directory");
        std::os::unix::fs::symlink("nowhere", link.join(FILE)).expect("a link");
        assert!(Latch::open(&link, PATIENCE).is_frozen());
    }
}
