//! The sockets: made so that nobody else may connect, and put in place at once.
//!
//! A socket that is left over from a run that ended is replaced; one on which somebody answers is not, and neither is a file
//! that is no socket.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket in the file system, and whose it is.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    pub(crate) listener: UnixListener,
    /// The user who runs the host, as the file system sees it.
    pub(crate) uid: u32,
    place: (u64, u64),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another host answers on it.
    #[error("{} is in use: another host answers on it", .0.display())]
    InUse(PathBuf),
    /// A file of that name that is not a socket.
    #[error("{} is there and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The file system or the kernel refused.
    #[error("{} cannot be made", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Socket {
    /// Makes a socket of mode 0600 in a directory.
    pub(crate) fn bind(dir: &Path, name: &str) -> Result<Self, SocketError> {
        let path = dir.join(name);
        let failed = |source| SocketError::Io {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        // Two hosts that start at once look one after another. A file system that knows no locks still has the look itself.
        let lock = File::open(dir).map_err(failed)?;
        let locked = lock.lock();
        if let Err(error) = locked {
            tracing::debug!(%error, "the socket directory cannot be locked");
        }
        make_room(&path)?;
        let draft = dir.join(format!(".{}", std::process::id()));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&draft).map_err(failed)?;
        let placed = fs::set_permissions(&draft, Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| fs::metadata(&draft))
            .and_then(|metadata| fs::rename(&draft, &path).map(|()| metadata));
        let metadata = placed.map_err(|error| {
            drop(fs::remove_file(&draft));
            failed(error)
        })?;
        Ok(Self {
            uid: metadata.uid(),
            place: (metadata.dev(), metadata.ino()),
            path,
            listener,
        })
    }
}

impl Drop for Socket {
    /// Removes the socket, unless a successor has put its own there.
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.place);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket stays behind");
        }
    }
}

/// Whether the path is free or holds a socket on which nobody answers.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_private_and_goes_with_its_host() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = Socket::bind(dir.path(), "a.sock").expect("free");
        let path = socket.path.clone();
        let mode = fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode, 0o600);
        UnixStream::connect(&path).expect("it listens");
        drop(socket);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(UnixListener::bind(dir.path().join("a.sock")).expect("free"));
        let first = Socket::bind(dir.path(), "a.sock").expect("nobody answers");
        let second = Socket::bind(dir.path(), "a.sock");
        assert!(matches!(second, Err(SocketError::InUse(_))));
        UnixStream::connect(&first.path).expect("the first one still listens");
    }

    #[test]
    fn a_file_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.sock"), "data").expect("a file");
        let socket = Socket::bind(dir.path(), "a.sock");
        assert!(matches!(socket, Err(SocketError::NotASocket(_))));
    }

    #[test]
    fn a_successors_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = Socket::bind(dir.path(), "a.sock").expect("free");
        fs::remove_file(&first.path).expect("there");
        let second = Socket::bind(dir.path(), "a.sock").expect("free");
        drop(first);
        UnixStream::connect(&second.path).expect("it is still there");
    }
}
