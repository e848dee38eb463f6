//! Another process, told apart by a handle and not by its number.
//!
//! A process id may be given to a new process as soon as the old one was waited for. A [`PidFd`] goes on meaning the process
//! that it was opened for, so whoever holds one can ask whether that very process still lives. The CPU clock of another
//! process needs no privilege and has nanoseconds, where `/proc/PID/stat` has ticks of 10 ms.

use crate::clock;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A handle that means one process for ever, also after its number was given to another.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this number now.
    ///
    /// # Errors
    /// `ESRCH` when there is none, `EINVAL` for 0 or a number no process can have, `ENOSYS` before Linux 5.3.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = positive(pid)?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = i32::try_from(answer).map_err(|_| invalid())?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wraps a descriptor that the kernel gave as a process handle.
    pub(crate) fn from_owned(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Whether the process still runs; one that has ended and was not waited for yet counts as gone.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the pointer is to one pollfd, as the count says, and with a timeout of 0 the call returns at once.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready == 0
    }

    /// The number of the process as the mounted `/proc` knows it: nothing when it is gone or not visible there.
    ///
    /// # Errors
    /// When `/proc` is not mounted or cannot be read.
    pub fn number_in_proc(&self) -> io::Result<Option<u32>> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd()))?;
        let number = text
            .lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .and_then(|number| number.trim().parse().ok())
            .filter(|number| *number > 0);
        Ok(number)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The CPU clock of a process: the time that all its threads have used, those that ended included.
///
/// It goes by the process's number. Who reads it must know from a handle, asked afterwards, that the number still meant the
/// same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// The clock of the process with this number; nothing for 0 and for numbers that no process can have.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let pid = positive(pid).ok()?;
        // The kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED): the inverted number above three bits, of which the lowest
        // two pick scheduler time. The largest number is 2^22, so nothing is lost.
        Some(Self((!pid << 3) | 2))
    }

    /// CPU time used so far, in nanoseconds; nothing when there is no such process.
    #[must_use]
    pub fn read_ns(self) -> Option<u64> {
        clock::read(self.0)
    }
}

/// How many links an open file or directory has. For `/proc/PID/task` that is the number of threads plus 2, and exactly 2
/// once the process is gone.
///
/// # Errors
/// What `fstat` answers.
pub fn link_count(file: &File) -> io::Result<u64> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the descriptor is open while `file` is borrowed, and the pointer is to writable memory of the size of a stat.
    let answer = unsafe { libc::fstat(file.as_raw_fd(), status.as_mut_ptr()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat answered 0, so it has written the whole stat.
    let status = unsafe { status.assume_init() };
    Ok(widen(status.st_nlink))
}

/// Bytes in a page of memory.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let answer = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(answer)
        .ok()
        .filter(|bytes| *bytes > 0)
        .unwrap_or(4096)
}

/// The user as whom this process acts.
#[must_use]
pub fn effective_uid() -> u32 {
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    unsafe { libc::geteuid() }
}

/// How many CPUs a process may run on, by its affinity and cpuset; 0 asks about the calling thread.
///
/// # Errors
/// `ESRCH` when there is no such process, `EINVAL` on a machine of more than 8,192 CPUs.
pub fn usable_cpus(pid: u32) -> io::Result<u32> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| invalid())?;
    let mut mask = [0_u64; 128];
    // SAFETY: the pointer is to writable memory of exactly the given size, and the kernel writes at most that much. A u64
    // array is aligned at least as strictly as a cpu_set_t, which is an array of unsigned long.
    let answer =
        unsafe { libc::sched_getaffinity(pid, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(mask.iter().map(|word| word.count_ones()).sum())
}

/// Lets this process open as many files as the administrator allows, and says how many that is.
///
/// # Errors
/// What the kernel answers.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to writable memory of the size of an rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: getrlimit answered 0, so it has written the whole rlimit.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a whole rlimit, which the kernel only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Lets others go first by so many steps of niceness, for all threads that the caller starts from then on.
///
/// # Errors
/// What the kernel answers.
pub fn yield_to_others(steps: i32) -> io::Result<()> {
    // SAFETY: three numbers, and no memory of ours is touched; 0 is the caller.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, steps) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn positive(pid: u32) -> io::Result<libc::pid_t> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| invalid())?;
    if pid == 0 {
        return Err(invalid());
    }
    Ok(pid)
}

/// The count as 64 bits; how wide the kernel's field is differs between machines.
fn widen(count: impl Into<u64>) -> u64 {
    count.into()
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep can be started")
    }

    #[test]
    fn a_handle_knows_when_its_process_ends() {
        let mut child = sleeper();
        let handle = PidFd::open(child.id()).expect("it runs");
        assert!(handle.is_alive());
        assert_eq!(
            handle.number_in_proc().expect("/proc is here"),
            Some(child.id())
        );
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert!(!handle.is_alive());
        assert_eq!(handle.number_in_proc().expect("/proc is here"), None);
    }

    #[test]
    fn a_process_that_nobody_waited_for_counts_as_gone() {
        let mut child = Command::new("true").spawn().expect("true can be started");
        let handle = PidFd::open(child.id()).expect("it is not waited for, so its number is held");
        let mut poll = libc::pollfd {
            fd: handle.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the pointer is to one pollfd, as the count says.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 30_000) };
        assert_eq!(ready, 1);
        assert!(!handle.is_alive());
        child.wait().expect("it ended");
    }

    #[test]
    fn there_is_no_handle_for_nobody() {
        assert_eq!(
            PidFd::open(0).expect_err("0 is nobody").raw_os_error(),
            Some(libc::EINVAL)
        );
        assert_eq!(
            PidFd::open(u32::MAX)
                .expect_err("no such number")
                .raw_os_error(),
            Some(libc::EINVAL)
        );
        let mut child = sleeper();
        let pid = child.id();
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        // Numbers go round at 32,768 or later, so it was not given away yet.
        assert_eq!(
            PidFd::open(pid).expect_err("it ended").raw_os_error(),
            Some(libc::ESRCH)
        );
        assert_eq!(CpuClock::of(pid).and_then(CpuClock::read_ns), None);
    }

    #[test]
    fn the_cpu_clock_of_a_process_counts_its_work_and_no_sleep() {
        let mut idle = sleeper();
        let own = CpuClock::of(std::process::id()).expect("we have a number");
        let others = CpuClock::of(idle.id()).expect("it has a number");
        let (own_before, others_before) = (own.read_ns(), others.read_ns());
        let mut sum = 0_u64;
        while own.read_ns() < own_before.map(|before| before + 20_000_000) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let others_used = others.read_ns().expect("it runs") - others_before.expect("it runs");
        assert!(others_used < 20_000_000, "{others_used}");
        idle.kill().expect("it is ours");
        idle.wait().expect("it ends");
    }

    #[test]
    fn links_of_the_task_directory_count_threads() {
        let mut child = sleeper();
        let tasks = File::open(format!("/proc/{}/task", child.id())).expect("it runs");
        assert_eq!(link_count(&tasks).expect("it is open"), 3);
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
        assert_eq!(link_count(&tasks).expect("it is open"), 2);
    }

    #[test]
    fn the_limit_of_open_files_rises_to_what_is_allowed() {
        let most = raise_open_files().expect("it may always be raised so far");
        assert_eq!(raise_open_files().expect("again"), most);
        assert!(most >= 64);
    }

    #[test]
    fn this_process_may_run_somewhere() {
        let own = usable_cpus(0).expect("we run");
        assert!(own >= 1);
        assert_eq!(
            usable_cpus(std::process::id()).expect("we run"),
            own,
            "asked by number"
        );
        assert!(page_bytes().is_power_of_two());
    }
}
