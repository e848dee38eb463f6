//! CPU, memory and threads of another process by three system calls and without allocation; disk and network by two more, which
//! cost four times as much as the three and are read only by who shows them.
//!
//! The process's CPU clock has nanoseconds where `/proc/PID/stat` has ticks of 10 ms; `statm` holds the resident pages; the
//! link count of `/proc/PID/task` is the number of threads without listing them. It never opens or lists anything while
//! sampling, and never mixes two processes: see [`ProcessReader::read`].

use super::traffic::IoFiles;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use trimtab_core::moment::Moment;
use trimtab_core::observation::{ProcessIo, ProcessSample};
use trimtab_protocol::decision::Absence;
use trimtab_sys::process::{CpuClock, PidFd, link_count, page_bytes};

/// No such process, as the kernel says it when a file of a process that ended is read.
const ESRCH: i32 = 3;

/// Reads one process, which it holds open.
#[derive(Debug)]
pub struct ProcessReader {
    pid: u32,
    start_ticks: u64,
    handle: Option<Arc<PidFd>>,
    clock: CpuClock,
    statm: File,
    tasks: File,
    io: IoFiles,
    page_bytes: u64,
}

impl ProcessReader {
    /// Attaches to the process with this number. With a handle of it, as a socket's peer has one, nothing is read unless the
    /// number still means that very process in the mounted `/proc`.
    ///
    /// # Errors
    /// `Gone` when there is no such process or the number means another one by now; `NotOffered` when `/proc` does not show
    /// it.
    pub fn open(pid: u32, handle: Option<Arc<PidFd>>) -> Result<Self, Absence> {
        let handle = match handle {
            Some(handle) => Some(handle),
            None => open_handle(pid)?,
        };
        let clock = CpuClock::of(pid).ok_or(Absence::NotOffered)?;
        if !Path::new("/proc/self").exists() {
            return Err(Absence::NotOffered);
        }
        // Everything is opened through the one directory, so all of it is of one process.
        let directory = File::open(format!("/proc/{pid}")).map_err(|error| absence(&error))?;
        let open = |name: &str| {
            File::open(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
                .map_err(|error| absence(&error))
        };
        let reader = Self {
            pid,
            start_ticks: read_start(&open("stat")?)?,
            clock,
            statm: open("statm")?,
            tasks: open("task")?,
            io: IoFiles {
                disk: open("io").ok(),
                network: open("net/dev").ok(),
            },
            page_bytes: page_bytes(),
            handle,
        };
        // The handle is asked after the files were opened: if its process has the number now, it had it all along.
        match reader.handle.as_ref().map(|handle| handle.number_in_proc()) {
            None => Ok(reader),
            Some(Ok(Some(number))) if number == pid => Ok(reader),
            Some(Ok(_)) if reader.is_alive() => Err(Absence::NotOffered),
            Some(Ok(_)) => Err(Absence::Gone),
            Some(Err(_)) => Err(Absence::NotOffered),
        }
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When the process began, in clock ticks since boot. With the number it names the process for as long as the machine is
    /// up.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// One sample, which bears the time that the caller gives it, without disk and network.
    ///
    /// The CPU clock goes by number and is read first; `statm` goes by the process itself and fails once that has ended. So
    /// when `statm` still answers, the number meant this process a moment before.
    ///
    /// # Errors
    /// `Gone` once the process has ended, `Impossible` when the kernel's answer cannot be read.
    pub fn read(&self, at: Moment) -> Result<ProcessSample, Absence> {
        let cpu_ns = self.clock.read_ns();
        let mut buffer = [0_u8; 128];
        let length = self
            .statm
            .read_at(&mut buffer, 0)
            .map_err(|error| absence(&error))?;
        let links = link_count(&self.tasks).map_err(|error| absence(&error))?;
        let cpu_ns = cpu_ns.ok_or(Absence::Gone)?;
        let text = buffer.get(..length).ok_or(Absence::Impossible)?;
        let memory = parse_statm(text).ok_or(Absence::Impossible)?;
        // A process that ended and was not waited for has neither memory nor threads. One whose main thread ended has
        // threads, and its memory is shown to nobody.
        let threads = links.checked_sub(2).ok_or(Absence::Impossible)?;
        if memory.size_pages == 0 {
            return Err(if self.is_alive() {
                Absence::NotOffered
            } else {
                Absence::Gone
            });
        }
        if threads == 0 {
            return Err(Absence::Gone);
        }
        Ok(ProcessSample {
            at,
            cpu_ns,
            rss_bytes: memory.resident_pages.saturating_mul(self.page_bytes),
            threads,
            io: ProcessIo::default(),
        })
    }

    /// One sample with disk and network, each where the kernel shows it.
    ///
    /// # Errors
    /// As [`ProcessReader::read`].
    pub fn read_with_traffic(&self, at: Moment) -> Result<ProcessSample, Absence> {
        let sample = self.read(at)?;
        let io = self.io.read();
        Ok(ProcessSample { io, ..sample })
    }

    /// Whether the process still runs. Where the kernel has no process handles, by what `/proc` shows.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match &self.handle {
            Some(handle) => handle.is_alive(),
            None => link_count(&self.tasks).is_ok_and(|links| links > 2),
        }
    }
}

/// A handle by number; none where the kernel or a filter does not offer them.
fn open_handle(pid: u32) -> Result<Option<Arc<PidFd>>, Absence> {
    match PidFd::open(pid) {
        Ok(handle) => Ok(Some(Arc::new(handle))),
        Err(error) if error.raw_os_error() == Some(ESRCH) => Err(Absence::Gone),
        Err(_) => Ok(None),
    }
}

fn absence(error: &std::io::Error) -> Absence {
    let gone = error.raw_os_error() == Some(ESRCH) || error.kind() == std::io::ErrorKind::NotFound;
    if gone {
        Absence::Gone
    } else {
        Absence::NotOffered
    }
}

fn read_start(stat: &File) -> Result<u64, Absence> {
    let mut buffer = [0_u8; 1024];
    let length = stat
        .read_at(&mut buffer, 0)
        .map_err(|error| absence(&error))?;
    buffer
        .get(..length)
        .and_then(parse_start_ticks)
        .ok_or(Absence::Impossible)
}

/// What `statm` says, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statm {
    /// The size of the address space.
    pub size_pages: u64,
    /// What of it is in memory.
    pub resident_pages: u64,
}

/// Reads `/proc/PID/statm`: `size resident shared text lib data dt`.
#[must_use]
pub fn parse_statm(text: &[u8]) -> Option<Statm> {
    let mut fields = text.split(u8::is_ascii_whitespace);
    Some(Statm {
        size_pages: parse_number(fields.next()?)?,
        resident_pages: parse_number(fields.next()?)?,
    })
}

/// Reads the start time out of `/proc/PID/stat`, in clock ticks since boot.
///
/// The second field is the name that the process gave itself, in brackets, and may hold anything, brackets and line ends
/// included. So the fields are counted from the last closing bracket.
#[must_use]
pub fn parse_start_ticks(text: &[u8]) -> Option<u64> {
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = text.get(end + 1..)?;
    let mut fields = rest
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    // Field 22 of the whole line; the first after the name is field 3.
    parse_number(fields.nth(22 - 3)?)
}

/// A whole number of digits alone; nothing when it is none or too large.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::{Child, Command, Stdio};

    const AT: Moment = Moment::from_boot_ns(7);

    fn run(program: &str, argument: &str) -> Child {
        Command::new(program)
            .arg(argument)
            .stdin(Stdio::null())
            .spawn()
            .expect("it can be started")
    }

    fn end(mut child: Child) {
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    #[test]
    fn a_sample_agrees_with_what_proc_says_at_length() {
        let reader = ProcessReader::open(std::process::id(), None).expect("we run");
        let sample = reader.read(AT).expect("we run");
        assert_eq!(sample.at, AT);
        assert!(sample.cpu_ns > 0);
        let status = std::fs::read_to_string("/proc/self/status").expect("we run");
        let figure = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
                .expect("the key is there")
        };
        let (rss, told) = (sample.rss_bytes, figure("VmRSS:") * 1024);
        assert!(rss.abs_diff(told) < 16 << 20, "{rss} and {told}");
        assert!(sample.threads >= 1 && sample.threads.abs_diff(figure("Threads:")) <= 64);
        assert_eq!(reader.pid(), std::process::id());
    }

    #[test]
    fn a_sleeper_has_one_thread_and_some_memory() {
        let child = run("sleep", "60");
        let reader = ProcessReader::open(child.id(), None).expect("it runs");
        let sample = reader.read(AT).expect("it runs");
        assert_eq!(sample.threads, 1);
        assert!(sample.rss_bytes > 0 && sample.rss_bytes.is_multiple_of(page_bytes()));
        end(child);
    }

    #[test]
    fn a_process_that_ends_is_gone_and_stays_gone() {
        let child = run("sleep", "60");
        let reader = ProcessReader::open(child.id(), None).expect("it runs");
        let handle = reader.handle.clone().expect("this kernel has handles");
        let pid = child.id();
        assert!(reader.read(AT).is_ok());
        end(child);
        assert_eq!(reader.read(AT), Err(Absence::Gone));
        assert!(!reader.is_alive());
        assert_eq!(
            ProcessReader::open(pid, None).expect_err("it ended"),
            Absence::Gone
        );
        // Also where the number lives on in another process.
        assert_eq!(
            ProcessReader::open(std::process::id(), Some(handle)).expect_err("it ended"),
            Absence::Gone
        );
    }

    #[test]
    fn a_process_that_nobody_waited_for_is_gone() {
        let mut child = run("sleep", "60");
        let reader = ProcessReader::open(child.id(), None).expect("it runs");
        child.kill().expect("it is ours");
        while reader.is_alive() {
            std::thread::yield_now();
        }
        assert_eq!(reader.read(AT), Err(Absence::Gone));
        child.wait().expect("it ended");
    }

    #[test]
    fn a_handle_of_another_process_is_not_served_by_number() {
        let child = run("sleep", "60");
        let handle = Arc::new(PidFd::open(child.id()).expect("it runs"));
        assert_eq!(
            ProcessReader::open(std::process::id(), Some(handle)).expect_err("another"),
            Absence::NotOffered
        );
        end(child);
    }

    #[test]
    fn nobody_has_the_number_zero() {
        assert_eq!(
            ProcessReader::open(0, None).expect_err("nobody"),
            Absence::NotOffered
        );
    }

    #[test]
    fn two_processes_of_one_program_differ_in_their_start_or_number() {
        let own = ProcessReader::open(std::process::id(), None).expect("we run");
        let child = run("sleep", "60");
        let other = ProcessReader::open(child.id(), None).expect("it runs");
        assert!(own.start_ticks() > 0 && own.start_ticks() <= other.start_ticks());
        end(child);
    }

    const STAT: &[u8] = b"R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21\n";

    fn stat(name: &[u8]) -> Vec<u8> {
        [b"77 (", name, b") ", STAT].concat()
    }

    #[test]
    fn the_name_of_a_process_cannot_move_the_fields() {
        for name in [
            &b"sleep"[..],
            b"",
            b") R 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 9 9 (",
            b"a) R 1 <b>\n",
            b"\xff\xfe)",
        ] {
            assert_eq!(parse_start_ticks(&stat(name)), Some(4242), "{name:?}");
        }
    }

    #[test]
    fn short_or_strange_lines_are_no_figures() {
        for text in [
            &b""[..],
            b"1",
            b"1 ",
            b"x 2 3",
            b"-1 2",
            b"1 99999999999999999999",
        ] {
            assert_eq!(parse_statm(text), None, "{text:?}");
        }
        for text in [&b""[..], b"7 (x", b"7 (x)", b"7 (x) R 1 2 3"] {
            assert_eq!(parse_start_ticks(text), None, "{text:?}");
        }
        assert_eq!(
            parse_statm(b"10 5\n"),
            Some(Statm {
                size_pages: 10,
                resident_pages: 5
            })
        );
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_upset_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            std::hint::black_box(parse_statm(&bytes));
            std::hint::black_box(parse_start_ticks(&bytes));
            std::hint::black_box(parse_number(&bytes));
        }

        #[test]
        fn every_name_leaves_the_start_time_where_it_is(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            prop_assert_eq!(parse_start_ticks(&stat(&name)), Some(4242));
        }

        #[test]
        fn statm_reads_back_what_was_written(size: u64, resident: u64) {
            let text = format!("{size} {resident} 3 4 0 5 0\n");
            prop_assert_eq!(
                parse_statm(text.as_bytes()),
                Some(Statm { size_pages: size, resident_pages: resident })
            );
        }
    }
}
