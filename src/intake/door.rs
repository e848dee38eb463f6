//! The operator's Unix socket: who is at the other end is the kernel's word, so nobody shows a token here.
//!
//! The socket is closed to other users, unless the configuration names some; then anybody may connect, and whoever is not
//! named hears that it may not. It has few connections, but its own: no crowd on the pages keeps an operator out.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use trimtab_protocol::command::Operator;
use trimtab_sys::peer;
use trimtab_sys::process::effective_uid;

/// Connections at once. One more is accepted and closed.
const CONNECTIONS: usize = 16;
/// How long a request's head may take; an idle connection is closed after it.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// How long a connection may last in all: every command is answered long before.
const CONNECTION_TIME: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after a connection could not be accepted, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How long open commands may take, once the end is asked for.
const DRAIN: Duration = Duration::from_secs(1);

/// The operator's socket, open.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    place: (u64, u64),
    uids: Vec<u32>,
}

impl Door {
    /// Opens the socket. This process's user and root may command; `uids` are further users who may.
    ///
    /// # Errors
    /// Another process answers on it, something else than a socket is in its place, or the file system refuses.
    pub fn open(path: &Path, uids: &[u32]) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        make_room(path)?;
        // Made under another name, so that nobody connects before its mode is right.
        let draft = path.with_extension(format!("{}", std::process::id()));
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let listener = UnixListener::bind(&draft)?;
        let mode = if uids.is_empty() { 0o600 } else { 0o666 };
        let placed = fs::set_permissions(&draft, Permissions::from_mode(mode))
            .and_then(|()| fs::metadata(&draft))
            .and_then(|metadata| fs::rename(&draft, path).map(|()| metadata));
        match placed {
            Ok(metadata) => Ok(Self {
                listener,
                path: path.to_owned(),
                place: (metadata.dev(), metadata.ino()),
                uids: [&[effective_uid(), 0], uids].concat(),
            }),
            Err(error) => {
                drop(fs::remove_file(&draft));
                Err(error)
            }
        }
    }

    /// Takes commands until `shutdown` ends, then lets the open ones finish for a moment.
    pub async fn run(self, router: Router, shutdown: impl Future<Output = ()>) {
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_ended) = open.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no operator can be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                tracing::warn!("an operator was turned away: there are too many connections");
                continue;
            };
            let (router, operator) = (router.clone(), self.known(&stream));
            open.spawn(async move {
                if timeout(CONNECTION_TIME, serve(stream, router, operator))
                    .await
                    .is_err()
                {
                    tracing::debug!("an operator's connection lasted too long");
                }
                drop(seat);
            });
        }
        let all = async { while open.join_next().await.is_some() {} };
        if timeout(DRAIN, all).await.is_err() {
            tracing::debug!("an operator's connection was still open and is dropped");
        }
    }

    /// Who is at the other end, if it is one who may command. A peer whose credentials cannot be read is nobody.
    fn known(&self, stream: &UnixStream) -> Option<Operator> {
        let peer = peer::credentials(stream).ok()?;
        if self.uids.contains(&peer.uid) {
            return Some(Operator::Socket {
                uid: peer.uid,
                pid: peer.pid,
            });
        }
        tracing::warn!(uid = peer.uid, pid = ?peer.pid, "a user who may not command came to the operator's socket");
        None
    }
}

impl Drop for Door {
    /// Removes the socket, unless a successor has put its own there.
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.place);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the operator's socket stays behind");
        }
    }
}

async fn serve(stream: UnixStream, router: Router, operator: Option<Operator>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(operator) = &operator {
            request.extensions_mut().insert(operator.clone());
        }
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an operator's connection ended early");
    }
}

/// Whether the path is free or holds a socket on which nobody answers.
fn make_room(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "what is there is no socket",
        ));
    }
    match StdUnixStream::connect(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process answers on it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_private_and_goes_with_its_sidecar() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("state/operator.sock");
        let door = Door::open(&path, &[]).expect("it is free");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        Door::open(&path, &[]).expect_err("somebody answers on it");
        drop(door);
        assert!(!path.exists());
        let wide = Door::open(&path, &[12_345]).expect("it is free again");
        assert_eq!(mode(&path), 0o666, "the users that are named must reach it");
        drop(wide);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_file_is_not() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("operator.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("it is free"));
        drop(Door::open(&path, &[]).expect("nobody answers"));
        fs::write(&path, "data").expect("a file");
        Door::open(&path, &[]).expect_err("a file is in the way");
        assert_eq!(fs::read(&path).expect("it is there"), b"data");
    }
}
