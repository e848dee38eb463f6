//! Who is at the other end of a Unix socket, by the kernel's word and not by theirs.

use crate::process::PidFd;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `SO_PEERPIDFD` of `asm-generic/socket.h`, since Linux 6.5; the value is the same wherever that header is used.
const SO_PEERPIDFD: libc::c_int = 77;

/// The other end as it was when it began to listen or to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The process id in our numbering; nothing when the process is not visible from here.
    pub pid: Option<u32>,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The credentials of the process at the other end.
///
/// # Errors
/// What the kernel answers, for example `ENOTSOCK`; `ENODATA` for a socket of another family, which has none.
pub fn credentials(socket: &impl AsFd) -> io::Result<PeerCredentials> {
    let (answer, length) = option::<libc::ucred>(socket, libc::SO_PEERCRED)?;
    if length != size_of::<libc::ucred>() {
        return Err(io::Error::from_raw_os_error(libc::ENODATA));
    }
    // SAFETY: the kernel has written as many bytes as a ucred has, and any bytes are a valid ucred of three integers.
    let answer = unsafe { answer.assume_init() };
    if answer.uid == u32::MAX {
        return Err(io::Error::from_raw_os_error(libc::ENODATA));
    }
    Ok(PeerCredentials {
        pid: u32::try_from(answer.pid).ok().filter(|pid| *pid > 0),
        uid: answer.uid,
        gid: answer.gid,
    })
}

/// A handle of the process at the other end: race-free where the kernel offers it; else opened by number, which is only as
/// good as the number, so the caller compares what it knows besides.
///
/// # Errors
/// What the kernel answers: `ESRCH` when the process is gone, `EINVAL` when it has no number here.
pub fn pidfd(socket: &impl AsFd) -> io::Result<PidFd> {
    match option::<libc::c_int>(socket, SO_PEERPIDFD) {
        Ok((answer, length)) if length == size_of::<libc::c_int>() => {
            // SAFETY: the kernel has written as many bytes as an int has, and any bytes are a valid int.
            let fd = unsafe { answer.assume_init() };
            if fd < 0 {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
            Ok(PidFd::from_owned(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => Err(error),
        Ok(_) | Err(_) => PidFd::open(credentials(socket)?.pid.unwrap_or(0)),
    }
}

/// One option of the socket level, with how many of its bytes the kernel wrote.
fn option<T: Copy>(socket: &impl AsFd, name: libc::c_int) -> io::Result<(MaybeUninit<T>, usize)> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<T>()).expect("options are a few bytes");
    let fd = socket.as_fd();
    // SAFETY: the descriptor is open while it is borrowed; the pointer is to writable memory of `length` bytes, and the
    // kernel writes at most that many.
    let answer = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((value, usize::try_from(length).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn both_ends_of_a_pair_are_this_process() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let peer = credentials(&near).expect("a unix socket has a peer");
        assert_eq!(peer.pid, Some(std::process::id()));
        assert_eq!(peer.uid, crate::process::effective_uid());
        let handle = pidfd(&near).expect("it runs");
        assert!(handle.is_alive());
        assert_eq!(
            handle.number_in_proc().expect("/proc is here"),
            Some(std::process::id())
        );
    }

    #[test]
    fn what_is_no_unix_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").expect("it is there");
        assert!(credentials(&file).is_err());
        assert!(pidfd(&file).is_err());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(credentials(&udp).is_err());
    }
}
