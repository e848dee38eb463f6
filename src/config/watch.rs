//! Notices that the files of a configuration have changed, and reads them once they stand still.
//!
//! Directories are watched and not files, because editors and orchestrators do not write into a file: they put another one in
//! its place, and who watches the old one learns nothing more. What the system tells is only a hint to look. The truth is what
//! is read: the files are read again and again until two readings in a row are the same, so that no half-written file and no
//! mixture of an old and a new set is believed. Hints can be lost, so the files are also read now and then without one.
//!
//! A thread of its own does it, because a file system may hang and the control loop may not.

use super::layers;
use super::{Config, Loaded, Overrides, load_set};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use trimtab_protocol::configuration::Watching;

/// How long nothing may have happened before the files are read, and how far apart two readings are that must agree. Long
/// enough for an editor's write and rename, and far less than a person's patience.
const QUIET: Duration = Duration::from_millis(200);
/// After this many hints in a row the files are read all the same: a directory in which something always happens.
const HINTS_MAX: u32 = 5;
/// How many times the files are read in search of two readings that agree, before it is left to the next look.
const READINGS_MAX: u32 = 20;
/// How often the files are read without a hint where the system tells of changes.
const RESCAN: Duration = Duration::from_secs(30);
/// The same where it does not.
const RESCAN_BLIND: Duration = Duration::from_secs(1);

/// A set of files that stood still and is another one than before.
#[derive(Debug)]
pub(crate) struct NewSet {
    /// The configuration, or all that is wrong with it.
    pub(crate) loaded: Loaded,
    /// How it was noticed.
    pub(crate) watching: Watching,
}

/// Begins to watch. Each new set comes through the channel; the watch ends when nobody listens any more. `fingerprint` is that
/// of the set in force.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start(
    path: PathBuf,
    overrides: Overrides,
    fingerprint: u64,
    directories: Vec<PathBuf>,
) -> std::io::Result<mpsc::Receiver<NewSet>> {
    let (sets, new_sets) = mpsc::channel(1);
    let thread = std::thread::Builder::new().name("config".to_owned());
    thread.spawn(move || {
        let (hint, hints) = sync_channel(1);
        Watch {
            armed: Armed::new(&path, hint),
            hints,
            path,
            overrides,
            seen: fingerprint,
            directories,
        }
        .run(&sets);
    })?;
    Ok(new_sets)
}

struct Watch {
    path: PathBuf,
    overrides: Overrides,
    /// The fingerprint of the set that was told last.
    seen: u64,
    directories: Vec<PathBuf>,
    armed: Armed,
    hints: Receiver<()>,
}

impl Watch {
    fn run(mut self, sets: &mpsc::Sender<NewSet>) {
        let mut look_again = false;
        while !sets.is_closed() {
            let (watching, anew) = self.armed.arm(&self.directories);
            // What happened before a directory was watched is told by nobody.
            let pause = match (look_again || anew, watching) {
                (true, _) => QUIET,
                (false, Watching::Events) => RESCAN,
                (false, Watching::Rescans | Watching::Nothing) => RESCAN_BLIND,
            };
            self.wait(pause);
            let Some(loaded) = self.read_still() else {
                look_again = true;
                continue;
            };
            look_again = false;
            self.directories.clone_from(&loaded.directories);
            if loaded.fingerprint == self.seen {
                continue;
            }
            self.seen = loaded.fingerprint;
            if sets.blocking_send(NewSet { loaded, watching }).is_err() {
                return;
            }
        }
    }

    /// Waits for a hint and then for quiet, or for the pause to end.
    fn wait(&self, pause: Duration) {
        if !self.hinted(pause) {
            return;
        }
        for _ in 0..HINTS_MAX {
            if !self.hinted(QUIET) {
                return;
            }
        }
    }

    /// Waits for a hint, for so long at the most; whether there was one.
    fn hinted(&self, pause: Duration) -> bool {
        self.hints.recv_timeout(pause).is_ok()
    }

    /// Reads until two readings in a row are the same; nothing when the files never stand still.
    fn read_still(&self) -> Option<Loaded> {
        let mut last = load_set(Some(&self.path), &self.overrides);
        if last.fingerprint == self.seen {
            return Some(last);
        }
        for _ in 0..READINGS_MAX {
            // A hint only shortens the wait.
            let _hinted = self.hinted(QUIET);
            let next = load_set(Some(&self.path), &self.overrides);
            if next.fingerprint == last.fingerprint {
                return Some(next);
            }
            last = next;
        }
        debug!("the configuration's files do not stand still");
        None
    }
}

/// The directories that the system watches for us.
struct Armed {
    /// Nothing when the system cannot watch.
    watcher: Option<RecommendedWatcher>,
    /// Where hints go. A channel without a sender does not wait for one, and where the system watches nothing this is the only one.
    _hint: SyncSender<()>,
    /// What each directory was when it was armed: device and number.
    armed: BTreeMap<PathBuf, (u64, u64)>,
    /// The directory without which nothing works; the others may be missing, and then its watch tells when they come.
    root: PathBuf,
}

impl Armed {
    fn new(path: &Path, hint: SyncSender<()>) -> Self {
        let hints = hint.clone();
        let tell = move |event: notify::Result<notify::Event>| {
            if is_hint(&event) {
                // A full channel holds a hint already.
                let _told = hints.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(tell);
        if let Err(error) = &watcher {
            warn!(%error, "the system watches no files for us, so they are read every second");
        }
        Self {
            watcher: watcher.ok(),
            _hint: hint,
            armed: BTreeMap::new(),
            root: layers::parent(path),
        }
    }

    /// Watches what is there and not yet watched: a directory may have been deleted and made again under its old name.
    /// Says how changes are noticed now, and whether a watch began.
    fn arm(&mut self, directories: &[PathBuf]) -> (Watching, bool) {
        let Some(watcher) = &mut self.watcher else {
            return (Watching::Rescans, false);
        };
        let (mut watching, mut anew) = (Watching::Events, false);
        let rooted = self.root.is_dir();
        for directory in directories {
            let identity = std::fs::metadata(directory).ok();
            let identity = identity.map(|meta| (meta.dev(), meta.ino()));
            let known = self.armed.get(directory).copied();
            if identity == known && identity.is_some() {
                continue;
            }
            if known.is_some() {
                // It is gone, and its watch with it; that there is none to end is no matter.
                drop(watcher.unwatch(directory));
                self.armed.remove(directory);
            }
            match identity.map(|identity| {
                (
                    identity,
                    watcher.watch(directory, RecursiveMode::NonRecursive),
                )
            }) {
                Some((identity, Ok(()))) => {
                    self.armed.insert(directory.clone(), identity);
                    anew = true;
                }
                Some((_, Err(error))) => {
                    debug!(%error, directory = %directory.display(), "a directory cannot be watched");
                    watching = Watching::Rescans;
                }
                None if rooted && is_beside(&self.root, directory) => {}
                None => watching = Watching::Rescans,
            }
        }
        (watching, anew)
    }
}

/// Whether what the system tells is a reason to look. That files are read is none: we do so ourselves. That its queue ran over,
/// or that it could not tell, is one: anything may have happened.
fn is_hint(event: &notify::Result<notify::Event>) -> bool {
    !event.as_ref().is_ok_and(|event| event.kind.is_access())
}

/// Whether the root's watch tells when a missing directory comes.
fn is_beside(root: &Path, directory: &Path) -> bool {
    let bare = root == Path::new(".") && directory.components().count() == 1;
    bare || directory.parent() == Some(root)
}

/// What is watched for a configuration, if it came from a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The file.
    pub(crate) path: PathBuf,
    /// What overrides its keys.
    pub(crate) overrides: Overrides,
    /// That of the set in force.
    pub(crate) fingerprint: u64,
}

impl Config {
    /// Begins to watch the files that this came from; nothing when there are none.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn watch(&self) -> std::io::Result<Option<mpsc::Receiver<NewSet>>> {
        let Some(watched) = &self.watched else {
            return Ok(None);
        };
        let Watched {
            path,
            overrides,
            fingerprint,
        } = watched.clone();
        start(path, overrides, fingerprint, self.directories.clone()).map(Some)
    }
}

#[cfg(test)]
mod tests;
