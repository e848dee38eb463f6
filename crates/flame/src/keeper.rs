//! Starts profilers for a sidecar that may start no program any more.
//!
//! A sidecar that has shut itself in cannot start anything, and whatever it started would be shut in with it, from where no
//! other process can be looked into. So it starts this first, which does nothing but wait: each time one end of a pair of
//! sockets comes, it starts a profiler that talks over it. It ends with its own input.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

/// The option of `trimtab-prof` that makes it a keeper.
pub const OPTION: &str = "--keep";
/// The program that this process runs, whatever became of its file since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Asks a keeper for a profiler, and gives the socket over which it talks.
///
/// # Errors
/// The keeper is gone, or there is no descriptor left.
pub fn hire(keeper: &UnixStream) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let ends = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&ends)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        keeper,
        &[IoSlice::new(b"+")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(ours)
}

/// Starts a profiler for each socket that comes over this process's input, until that ends.
#[must_use]
pub fn main() -> ExitCode {
    let input = io::stdin();
    loop {
        match next(input.as_fd()) {
            Ok(Next::End) => return ExitCode::SUCCESS,
            // Whoever asked sees its socket close when no profiler could be started.
            Ok(Next::Start(end)) => drop(start(end)),
            Ok(Next::Nothing) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

enum Next {
    Start(OwnedFd),
    /// A message without a socket.
    Nothing,
    End,
}

fn next(input: impl AsFd) -> io::Result<Next> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let came = recvmsg(
        input,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if came.bytes == 0 {
        return Ok(Next::End);
    }
    let mut ends = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(ends) => Some(ends),
        _ => None,
    });
    let end = ends.find_map(|mut ends| ends.next());
    Ok(end.map_or(Next::Nothing, Next::Start))
}

fn start(end: OwnedFd) -> io::Result<()> {
    let answers = end.try_clone()?;
    // By its own name where that still leads to it, for people who list processes.
    let named = std::env::current_exe().ok().filter(|path| path.is_file());
    let mut profiler = Command::new(named.unwrap_or_else(|| OWN_PROGRAM.into()))
        .stdin(Stdio::from(end))
        .stdout(Stdio::from(answers))
        .stderr(Stdio::null())
        .spawn()?;
    // Somebody has to wait for its end, or it would stay behind as a zombie.
    thread::Builder::new().spawn(move || profiler.wait())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_socket_goes_to_the_keeper_and_its_other_end_stays_here() {
        let (sidecar, keeper) = UnixStream::pair().expect("a pair");
        let mut ours = hire(&sidecar).expect("it is sent");
        let Ok(Next::Start(end)) = next(&keeper) else {
            panic!("no socket came");
        };
        let mut theirs = UnixStream::from(end);
        theirs.write_all(b"hello").expect("it is open");
        drop(theirs);
        let mut heard = String::new();
        ours.read_to_string(&mut heard).expect("it ends");
        assert_eq!(heard, "hello");
        (&sidecar).write_all(b"?").expect("it is open");
        assert!(matches!(next(&keeper), Ok(Next::Nothing)));
        drop(sidecar);
        assert!(matches!(next(&keeper), Ok(Next::End)));
    }
}
