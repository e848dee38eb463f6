//! What survives a restart of the host: the freeze, as a file in the state directory.
//!
//! A freeze that is lost in a restart is the start of an incident, so it is written to disk before it is acknowledged. A file
//! that is there but cannot be read counts as a freeze.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

const FREEZE: &str = "freeze";
const DISABLE: &str = "disable";

#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory and makes it where it is missing. The answer says whether something can be kept there.
    pub(crate) fn open(path: PathBuf) -> (Self, io::Result<()>) {
        let dir = Self { path };
        let usable = dir.prove();
        (dir, usable)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        !matches!(self.path.join(FREEZE).try_exists(), Ok(false))
    }

    /// Whether someone put the file there that switches control off.
    pub(crate) fn is_disabled(&self) -> bool {
        self.path.join(DISABLE).exists()
    }

    /// Keeps the freeze: written, synced, and put in place at once.
    pub(crate) fn freeze(&self, reason: Option<&str>) -> io::Result<()> {
        let text = serde_json::json!({ "reason": reason });
        self.put(FREEZE, text.to_string().as_bytes())
    }

    pub(crate) fn unfreeze(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(FREEZE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    fn prove(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)?;
        self.put("probe", b"")?;
        fs::remove_file(self.path.join("probe"))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let draft = self
            .path
            .join(format!(".{name}.{}.draft", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, self.path.join(name))?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freeze_is_there_until_it_is_lifted() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("state");
        let (dir, usable) = StateDir::open(path.clone());
        usable.expect("writable");
        assert!(!dir.is_frozen());
        dir.freeze(Some("a test")).expect("writable");
        assert!(StateDir::open(path.clone()).0.is_frozen());
        let left: Vec<_> = fs::read_dir(&path).expect("there").collect();
        assert_eq!(left.len(), 1, "no draft and no probe: {left:?}");
        dir.unfreeze().expect("writable");
        dir.unfreeze().expect("a retry");
        assert!(!StateDir::open(path).0.is_frozen());
    }

    #[test]
    fn a_freeze_that_cannot_be_read_is_a_freeze() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join(FREEZE)).expect("a directory");
        assert!(StateDir::open(root.path().to_owned()).0.is_frozen());
        fs::write(root.path().join("plain"), "").expect("a file");
        let (dir, usable) = StateDir::open(root.path().join("plain"));
        assert!(usable.is_err());
        assert!(dir.is_frozen(), "whether there is one cannot be told");
    }

    #[test]
    fn a_file_switches_control_off() {
        let root = tempfile::tempdir().expect("a directory");
        let (dir, _) = StateDir::open(root.path().to_owned());
        assert!(!dir.is_disabled());
        fs::write(root.path().join(DISABLE), "").expect("a file");
        assert!(dir.is_disabled());
    }
}
