//! Where profilers come from: a program that is started, or a keeper that starts it for a sidecar that may not.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::net::UnixStream;
use trimtab_flame::keeper;

/// The process that starts profilers for a sidecar which has shut itself in. It ends with the sidecar.
#[derive(Debug)]
pub struct Keeper {
    socket: StdUnixStream,
    _child: Child,
}

impl Keeper {
    /// Starts it; this has to come before the sidecar is shut in.
    ///
    /// # Errors
    /// The profiler's program cannot be started.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let program = super::program();
        let child = Command::new(&program)
            .arg(keeper::OPTION)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", program.display()))
            })?;
        Ok(Self {
            socket: ours,
            _child: child,
        })
    }

    /// A profiler, by the socket over which it talks.
    pub(super) fn hire(&self) -> io::Result<UnixStream> {
        let socket = keeper::hire(&self.socket)?;
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    }
}

/// Where profilers come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The program.
    Program(PathBuf),
    /// Whoever starts it for us.
    Keeper(Keeper),
}
