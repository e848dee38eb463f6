//! Samples of another process by the kernel's own clock: `perf_event_open` and the ring that it fills.
//!
//! Nothing is put into the process that is watched. With [`Setup::kernel`] off a process of the same user needs no privilege
//! for it. What comes out of a [`ring::Ring`] are the kernel's records as bytes; whoever reads them takes them apart, by the
//! layout that [`Setup`] describes.

pub mod ring;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The general registers of the user's side that each sample carries, as bits of the kernel's `perf_regs.h`: on x86-64 `ax` to
/// `ip` and `r8` to `r15`.
#[cfg(target_arch = "x86_64")]
pub const USER_REGISTERS: u64 = 0x00ff_01ff;
/// On aarch64 `x0` to `x30`, `sp` and `pc`.
#[cfg(target_arch = "aarch64")]
pub const USER_REGISTERS: u64 = 0x1_ffff_ffff;

/// The largest copy of a stack: a record's length is a 16-bit number, and the copy must be a multiple of 8.
pub const STACK_BYTES_MAX: u32 = 65_528;

/// What makes the kernel take a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// CPU time that a thread used, this many times a second of it.
    CpuClock {
        /// Samples a second of CPU time.
        hz: u32,
    },
    /// A thread that leaves its CPU. The kernel reports this only to who may see kernel frames. A record of each switch comes
    /// besides, with its time.
    Switch,
}

/// What is sampled, and what a sample holds.
///
/// A sample's body is, in this order: the instruction's address; process and thread, 32 bits each; nanoseconds of the boot-time
/// clock; the count of addresses in the kernel's call chain and those; then the registers' kind, 0 where there are none, else
/// the registers of [`USER_REGISTERS`]; then the size of the copied stack, and where that is not 0 the copy and how much of it
/// was filled. Every other record ends with process, thread and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What makes the kernel take a sample.
    pub event: Event,
    /// How much of the user's stack is copied, in bytes: a multiple of 8, at most [`STACK_BYTES_MAX`].
    pub stack_bytes: u32,
    /// Whether what happens in the kernel is sampled as well.
    pub kernel: bool,
    /// After how many bytes in the ring a waiting reader is woken; 0 for half of the ring.
    pub wake_bytes: u32,
}

/// Who is sampled.
#[derive(Clone, Copy, Debug)]
pub enum Whom<'f> {
    /// A thread, and all threads and processes that it starts from then on.
    Thread(u32),
    /// All that runs in the control group of this open directory.
    Cgroup(BorrowedFd<'f>),
}

/// One event on one CPU. It counts nothing until it is enabled.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// Opens it, disabled.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` without the right, `ESRCH` when the thread is gone, `EMFILE` without a descriptor left.
    pub fn open(setup: &Setup, whom: Whom<'_>, cpu: u32) -> io::Result<Self> {
        let mut attributes = Attributes::of(setup);
        let cpu = libc::c_int::try_from(cpu).map_err(|_| invalid())?;
        let (pid, scope) = match whom {
            Whom::Thread(thread) => (libc::pid_t::try_from(thread).map_err(|_| invalid())?, 0),
            Whom::Cgroup(directory) => (directory.as_raw_fd(), PID_CGROUP),
        };
        if pid <= 0 && scope == 0 {
            return Err(invalid());
        }
        let no_group: libc::c_int = -1;
        let flags = scope | CLOSE_ON_EXEC;
        // SAFETY: the pointer is to a whole `perf_event_attr` whose `size` says how long it is; the kernel reads it during the
        // call, and writes at most that field. The other arguments are numbers; the descriptor is open while it is borrowed.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw mut attributes,
                pid,
                cpu,
                no_group,
                flags,
            )
        };
        let fd = i32::try_from(answer).map_err(|_| invalid())?;
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Begins to sample.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn enable(&self) -> io::Result<()> {
        self.control(ENABLE, 0)
    }

    /// Stops sampling.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn disable(&self) -> io::Result<()> {
        self.control(DISABLE, 0)
    }

    /// Lets its records go into the ring of another counter of the same CPU.
    ///
    /// # Errors
    /// `EINVAL` when the two are of different CPUs or clocks.
    pub fn redirect_to(&self, leader: &Self) -> io::Result<()> {
        self.control(SET_OUTPUT, leader.0.as_raw_fd())
    }

    fn control(&self, request: libc::Ioctl, argument: libc::c_int) -> io::Result<()> {
        // SAFETY: the descriptor is open, and these three requests take a number and touch no memory of ours.
        let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), request, argument) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the counters' rings has filled up to its mark, a process whose handle is among them has ended, the time
/// is over, or a signal came.
///
/// # Errors
/// What `poll` answers other than that it was interrupted.
pub fn wait(watched: &[BorrowedFd<'_>], at_most_ms: u32) -> io::Result<()> {
    let mut polls: Vec<libc::pollfd> = watched
        .iter()
        .map(|watched| libc::pollfd {
            fd: watched.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let count = libc::nfds_t::try_from(polls.len()).map_err(|_| invalid())?;
    let timeout = libc::c_int::try_from(at_most_ms).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer is to as many pollfd as the count says, and they live until the call returns.
    let answer = unsafe { libc::poll(polls.as_mut_ptr(), count, timeout) };
    if answer < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// What the kernel demands of whom for perf events: `kernel.perf_event_paranoid`; nothing where it has none of them.
#[must_use]
pub fn paranoia() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok()
}

/// The numbers of the CPUs that are on.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn cpus() -> io::Result<Vec<u32>> {
    let text = io::read_to_string(File::open("/sys/devices/system/cpu/online")?)?;
    Ok(ranges(text.trim()))
}

/// The numbers in a list such as `0-3,8`.
fn ranges(text: &str) -> Vec<u32> {
    text.split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?.min(65_535))
        })
        .flatten()
        .collect()
}

/// `PERF_FLAG_PID_CGROUP` and `PERF_FLAG_FD_CLOEXEC` of `linux/perf_event.h`.
const PID_CGROUP: libc::c_ulong = 1 << 2;
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;

/// `PERF_EVENT_IOC_*` of the same header; none of them carries a size.
const ENABLE: libc::Ioctl = 0x2400;
const DISABLE: libc::Ioctl = 0x2401;
const SET_OUTPUT: libc::Ioctl = 0x2405;

const TYPE_SOFTWARE: u32 = 1;
const SOFTWARE_CPU_CLOCK: u64 = 0;
const SOFTWARE_CONTEXT_SWITCHES: u64 = 3;

/// Address, thread, time, call chain, user's registers and user's stack.
const SAMPLE_TYPE: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 12 | 1 << 13;

const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const FREQUENCY: u64 = 1 << 10;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const EXCLUDE_CALLCHAIN_KERNEL: u64 = 1 << 21;
const EXCLUDE_CALLCHAIN_USER: u64 = 1 << 22;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCKID: u64 = 1 << 25;
const CONTEXT_SWITCH: u64 = 1 << 26;

/// The kernel's `perf_event_attr` in its fifth version, which every kernel since Linux 4.1 takes.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    /// A period, or with `FREQUENCY` a rate.
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wake_bytes: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    user_registers: u64,
    stack_bytes: u32,
    clock: i32,
    kernel_registers: u64,
    aux_watermark: u32,
    stack_frames_max: u16,
    reserved: u16,
}

impl Attributes {
    fn of(setup: &Setup) -> Self {
        let (config, period, extra) = match setup.event {
            Event::CpuClock { hz } => (SOFTWARE_CPU_CLOCK, u64::from(hz), FREQUENCY),
            Event::Switch => (SOFTWARE_CONTEXT_SWITCHES, 1, CONTEXT_SWITCH),
        };
        let sides = if setup.kernel {
            EXCLUDE_CALLCHAIN_USER
        } else {
            EXCLUDE_KERNEL | EXCLUDE_CALLCHAIN_KERNEL | EXCLUDE_CALLCHAIN_USER
        };
        let always = DISABLED
            | INHERIT
            | EXCLUDE_HYPERVISOR
            | MMAP
            | MMAP2
            | COMM
            | COMM_EXEC
            | TASK
            | WATERMARK
            | SAMPLE_ID_ALL
            | USE_CLOCKID;
        Self {
            kind: TYPE_SOFTWARE,
            size: u32::try_from(size_of::<Self>()).unwrap_or(0),
            config,
            period,
            sample_type: SAMPLE_TYPE,
            read_format: 0,
            flags: always | extra | sides,
            wake_bytes: setup.wake_bytes,
            breakpoint_type: 0,
            config1: 0,
            config2: 0,
            branch_sample_type: 0,
            user_registers: USER_REGISTERS,
            stack_bytes: setup.stack_bytes,
            clock: libc::CLOCK_BOOTTIME,
            kernel_registers: 0,
            aux_watermark: 0,
            stack_frames_max: 0,
            reserved: 0,
        }
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attributes_have_the_length_that_the_kernel_knows() {
        assert_eq!(size_of::<Attributes>(), 112);
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(ranges("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(ranges(""), [] as [u32; 0]);
        assert!(!cpus().expect("Linux has the list").is_empty());
    }

    #[test]
    fn there_is_no_counter_for_nobody() {
        let setup = Setup {
            event: Event::CpuClock { hz: 99 },
            stack_bytes: 8_192,
            kernel: false,
            wake_bytes: 4_096,
        };
        for nobody in [0, u32::MAX] {
            let error = Counter::open(&setup, Whom::Thread(nobody), 0).expect_err("nobody");
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
    }
}
