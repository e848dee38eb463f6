//! Counters on the threads of some processes, and the rings that they write into.

use crate::keeper;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use trimtab_sys::perf::ring::{RawRecord, Ring};
use trimtab_sys::perf::{Counter, Event, Setup, Whom, cpus, wait};
use trimtab_sys::process::{PidFd, raise_open_files};

/// Pages of a ring at the usual rates: at 16 KiB a sample it holds thirty samples of one CPU.
const RING_PAGES: usize = 128;
/// Where more is asked for, and the user may lock that much.
const RING_PAGES_MAX: usize = 1_024;
/// With fewer a single large sample has no place.
const RING_PAGES_MIN: usize = 32;
/// Descriptors that are left for all else.
const FILES_SPARE: u64 = 128;

/// Counters that run.
#[derive(Debug)]
pub(crate) struct Session {
    setup: Setup,
    cpus: Vec<u32>,
    /// One on each CPU, into whose ring the others of that CPU write.
    leaders: Vec<Counter>,
    others: Vec<Counter>,
    rings: Vec<Ring>,
    /// Threads that are counted already, by a counter of their own or by their parent's.
    counted: HashSet<u32>,
    files_max: u64,
    /// Threads for which no descriptor was left.
    pub(crate) uncounted: u64,
}

impl Session {
    /// Counts all threads of these processes, and what they start from then on.
    ///
    /// # Errors
    /// Why the kernel refuses.
    pub(crate) fn of_processes(pids: &[u32], setup: Setup) -> io::Result<Self> {
        let mut session = Self::empty(setup)?;
        // Threads may begin while their siblings are being found, so it looks until there is no new one.
        loop {
            let before = session.counted.len();
            for thread in pids.iter().flat_map(|pid| threads(*pid)) {
                session.count(thread)?;
            }
            if session.counted.len() == before {
                break;
            }
        }
        if session.leaders.is_empty() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        session.enable()?;
        Ok(session)
    }

    /// Counts all that runs in a control group, which takes a privilege and one descriptor a CPU.
    ///
    /// # Errors
    /// Why the kernel refuses.
    pub(crate) fn of_cgroup(directory: &PathBuf, setup: Setup) -> io::Result<Self> {
        let mut session = Self::empty(setup)?;
        let directory = File::open(directory)?;
        for cpu in session.cpus.clone() {
            let counter = Counter::open(&session.setup, Whom::Cgroup(directory.as_fd()), cpu)?;
            session.rings.push(map(&counter, &session.setup)?);
            session.leaders.push(counter);
        }
        session.enable()?;
        Ok(session)
    }

    /// Tries whether a process may be sampled, with one counter that is closed again.
    ///
    /// # Errors
    /// Why the kernel refuses.
    pub(crate) fn of_one_thread(pid: u32, setup: Setup) -> io::Result<()> {
        let cpu = cpus()?.into_iter().next().unwrap_or(0);
        let not_there = |error: io::Error| match error.raw_os_error() {
            Some(ESRCH | EINVAL) => io::Error::from(io::ErrorKind::NotFound),
            _ => error,
        };
        Counter::open(&setup, Whom::Thread(pid), cpu)
            .map(drop)
            .map_err(not_there)
    }

    fn empty(setup: Setup) -> io::Result<Self> {
        Ok(Self {
            setup,
            cpus: cpus()?,
            leaders: Vec::new(),
            others: Vec::new(),
            rings: Vec::new(),
            counted: HashSet::new(),
            files_max: raise_open_files().unwrap_or(1_024),
            uncounted: 0,
        })
    }

    /// Counts threads that are there now and were not begun by one that is counted. One that may not be counted is left out.
    /// Says whether there were any.
    pub(crate) fn extend(&mut self, threads: &[u32]) -> bool {
        let (before, known) = (self.others.len(), self.counted.len());
        for thread in threads {
            if self.count(*thread).is_err() {
                self.uncounted += 1;
            }
        }
        for counter in self.others.iter().skip(before) {
            if counter.enable().is_err() {
                self.uncounted += 1;
            }
        }
        self.counted.len() > known
    }

    /// Notes a thread that the kernel counts by itself, because one that is counted began it.
    pub(crate) fn inherited(&mut self, thread: u32) {
        self.counted.insert(thread);
    }

    /// Notes that a thread ended; its number may be given to another.
    pub(crate) fn ended(&mut self, thread: u32) {
        self.counted.remove(&thread);
    }

    /// Waits until a ring has filled up to its mark, the process has ended, or the time is over.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn wait(&self, process: Option<&PidFd>, at_most_ms: u32) -> io::Result<()> {
        let rings = self.leaders.iter().map(AsFd::as_fd);
        let watched: Vec<BorrowedFd<'_>> = rings.chain(process.map(AsFd::as_fd)).collect();
        wait(&watched, at_most_ms)
    }

    /// Shows all records that have come, CPU by CPU. Says how many.
    pub(crate) fn drain(&mut self, mut show: impl FnMut(RawRecord<'_>)) -> usize {
        self.rings
            .iter_mut()
            .map(|ring| ring.drain(&mut show))
            .sum()
    }

    /// Stops counting; what was written can still be drained.
    pub(crate) fn stop(&self) {
        for counter in self.leaders.iter().chain(&self.others) {
            // A counter whose thread has ended needs no stopping.
            let _ended = counter.disable();
        }
    }

    /// How many descriptors it holds.
    pub(crate) fn files(&self) -> usize {
        self.leaders.len() + self.others.len()
    }

    fn enable(&self) -> io::Result<()> {
        self.leaders
            .iter()
            .chain(&self.others)
            .try_for_each(Counter::enable)
    }

    fn count(&mut self, thread: u32) -> io::Result<()> {
        if !self.counted.insert(thread) {
            return Ok(());
        }
        let files = u64::try_from(self.files() + self.cpus.len()).unwrap_or(u64::MAX);
        if files.saturating_add(FILES_SPARE) > self.files_max {
            self.uncounted += 1;
            return Ok(());
        }
        for (place, cpu) in self.cpus.iter().enumerate() {
            let counter = match Counter::open(&self.setup, Whom::Thread(thread), *cpu) {
                Ok(counter) => counter,
                // It ended meanwhile, or the CPU was switched off.
                Err(error) if matches!(error.raw_os_error(), Some(ESRCH | ENODEV)) => return Ok(()),
                Err(error) => return Err(error),
            };
            if let Some(leader) = self.leaders.get(place) {
                counter.redirect_to(leader)?;
                self.others.push(counter);
            } else {
                self.rings.push(map(&counter, &self.setup)?);
                self.leaders.push(counter);
            }
        }
        Ok(())
    }
}

/// Maps a ring that holds a third of a second of samples, or as large a one as the user may lock.
fn map(counter: &Counter, setup: &Setup) -> io::Result<Ring> {
    let stack = u64::from(setup.stack_bytes);
    let bytes = match setup.event {
        Event::CpuClock { hz } => u64::from(hz).saturating_mul(stack) / 3,
        Event::Switch => u64::MAX,
    };
    let pages = usize::try_from(bytes / 4_096)
        .unwrap_or(RING_PAGES_MAX)
        .min(RING_PAGES_MAX);
    let mut pages = pages.next_power_of_two().clamp(RING_PAGES, RING_PAGES_MAX);
    loop {
        match Ring::map(counter, pages) {
            Err(error) if error.raw_os_error() == Some(EPERM) && pages > RING_PAGES_MIN => {
                pages /= 2
            }
            answer => return answer,
        }
    }
}

/// When a ring that fills wakes the reader. Each waking costs both sides more than many samples do, so it is at half of the ring
/// where the other half is time enough to come; where samples are many or large, already at a quarter of the smallest ring.
fn wake_bytes(event: Event, stack_bytes: u32) -> u32 {
    const AT_HALF: u32 = 0;
    match event {
        Event::CpuClock { hz } if hz.saturating_mul(stack_bytes) <= BYTES_A_SECOND_FEW => AT_HALF,
        Event::CpuClock { .. } | Event::Switch => 128 * 4_096 / 4,
    }
}

/// So many bytes fill half of the smallest ring in a quarter of a second.
const BYTES_A_SECOND_FEW: u32 = 128 * 4_096 / 2 * 4;

const EPERM: i32 = 1;
const ESRCH: i32 = 3;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;

/// The threads of a process; none when it is gone.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    numbers(&format!("/proc/{pid}/task"))
}

/// This process and the one that began it; where that is a keeper, the sidecar as well, which began the keeper.
fn lookers() -> Vec<u32> {
    let parent = std::os::unix::process::parent_id();
    let mut lookers = vec![std::process::id(), parent];
    let command = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    let keeps = command
        .split(|byte| *byte == 0)
        .any(|word| word == keeper::OPTION.as_bytes());
    if keeps && let Ok(status) = proc_text(&format!("/proc/{parent}/status")) {
        let sidecar: Option<u32> = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        lookers.extend(sidecar);
    }
    lookers
}

/// The processes that a process has begun, and theirs, itself first; but not this one and those that began it, where a
/// sidecar was begun by its host: they look and are not looked at.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let lookers = lookers();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(member) = family.get(at).copied() {
        let children = threads(member).into_iter().filter_map(|thread| {
            let path = format!("/proc/{member}/task/{thread}/children");
            proc_text(&path).ok()
        });
        let children: Vec<u32> = children
            .flat_map(|text| {
                text.split_whitespace()
                    .filter_map(|word| word.parse().ok())
                    .collect::<Vec<_>>()
            })
            .filter(|child| !family.contains(child) && !lookers.contains(child))
            .collect();
        family.extend(children);
        at += 1;
    }
    family
}

/// What a thread is called now; its number when it is gone.
pub(crate) fn comm(tid: u32) -> String {
    let name = proc_text(&format!("/proc/{tid}/comm"));
    name.map_or_else(
        |_| format!("thread {tid}"),
        |name| name.trim_end().to_owned(),
    )
}

/// A text that the kernel makes while it is read. It does not say how long that will be, and a buffer of a page takes nearly all
/// of them at once, where a small one that grows asks again and again.
///
/// # Errors
/// What the kernel answers.
pub(crate) fn proc_text(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(PROC_BYTES);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// A page.
const PROC_BYTES: usize = 4_096;

fn numbers(directory: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// What is asked of the kernel.
pub(crate) fn setup(event: Event, stack_bytes: u32, kernel: bool) -> Setup {
    Setup {
        event,
        stack_bytes,
        kernel,
        wake_bytes: wake_bytes(event, stack_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_small_samples_wake_seldom_and_many_or_large_ones_early() {
        let mark = |hz, stack_bytes| setup(Event::CpuClock { hz }, stack_bytes, false).wake_bytes;
        assert_eq!(
            [mark(49, 16_384), mark(99, 4_096), mark(997, 1_024)],
            [0; 3]
        );
        assert_eq!([mark(99, 16_384), mark(997, 2_048)], [131_072; 2]);
        assert_eq!(setup(Event::Switch, 16_384, true).wake_bytes, 131_072);
    }

    #[test]
    fn texts_of_the_kernel_are_read_whole() {
        let text = proc_text("/proc/self/smaps").expect("/proc is here");
        assert!(text.len() > PROC_BYTES && text.ends_with('\n'), "{text}");
        assert!(proc_text("/proc/0/maps").is_err());
    }
}
