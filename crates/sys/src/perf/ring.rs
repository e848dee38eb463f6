//! The memory that the kernel writes records into and that we read them from.

use super::Counter;
use crate::process::page_bytes;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the kernel's first page keeps how far it has written, and we how far we have read.
const HEAD_AT: usize = 1024;
const TAIL_AT: usize = 1032;
/// Kind in 32 bits, further bits in 16, and the record's whole length in 16.
const HEADER_BYTES: usize = 8;

/// One record as the kernel wrote it.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'r> {
    /// The kind: `PERF_RECORD_*`.
    pub kind: u32,
    /// Further bits about it: `PERF_RECORD_MISC_*`.
    pub misc: u16,
    /// All that follows the header.
    pub body: &'r [u8],
}

/// A ring that one counter, and all that are redirected to it, write into.
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    page: usize,
    data: usize,
    /// A record that goes round the end is put together here.
    wrapped: Vec<u8>,
}

// SAFETY: the mapping belongs to this value alone and may be read from any thread; nothing in it knows a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps a ring of this many pages, which must be a power of two, for a counter.
    ///
    /// # Errors
    /// `EPERM` when the user may not lock so much memory, `EINVAL` for a number that is no power of two.
    pub fn map(counter: &Counter, pages: usize) -> io::Result<Self> {
        let page = usize::try_from(page_bytes()).unwrap_or(4096);
        if !pages.is_power_of_two() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let data = pages * page;
        let fd = counter.as_fd().as_raw_fd();
        // SAFETY: the address is for the kernel to choose, so no mapping of ours is touched; the descriptor is open.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                page + data,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self {
            base,
            page,
            data,
            wrapped: Vec::new(),
        })
    }

    /// Shows each record that has come since the last time, oldest first, and gives its place back to the kernel. Says how
    /// many there were.
    pub fn drain(&mut self, mut show: impl FnMut(RawRecord<'_>)) -> usize {
        let mut wrapped = std::mem::take(&mut self.wrapped);
        let head = self.place(HEAD_AT).load(Ordering::Acquire);
        let mut tail = self.place(TAIL_AT).load(Ordering::Relaxed);
        let mut count = 0;
        while tail < head {
            let header = self.bytes(tail, HEADER_BYTES, &mut wrapped);
            let [k0, k1, k2, k3, m0, m1, l0, l1] = *header else {
                break;
            };
            let kind = u32::from_ne_bytes([k0, k1, k2, k3]);
            let misc = u16::from_ne_bytes([m0, m1]);
            let length = u16::from_ne_bytes([l0, l1]);
            if usize::from(length) < HEADER_BYTES || tail + u64::from(length) > head {
                // The kernel never writes this. Whatever it is, all of it is left behind rather than read.
                tail = head;
                break;
            }
            let record = self.bytes(tail, usize::from(length), &mut wrapped);
            let body = record.get(HEADER_BYTES..).unwrap_or_default();
            show(RawRecord { kind, misc, body });
            tail += u64::from(length);
            count += 1;
        }
        self.place(TAIL_AT).store(tail, Ordering::Release);
        self.wrapped = wrapped;
        count
    }

    /// One of the two positions in the first page.
    fn place(&self, at: usize) -> &AtomicU64 {
        // SAFETY: both places are inside the first page, which is mapped as long as `self` lives, and are 8-aligned there. The
        // kernel changes them with whole 64-bit stores, so they may be looked at as atomics.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }

    /// The bytes at a position between tail and head, put together in `wrapped` where they go round the end.
    fn bytes<'b>(&'b self, position: u64, length: usize, wrapped: &'b mut Vec<u8>) -> &'b [u8] {
        let length = length.min(self.data);
        // The size is a power of two far below 2^32, so what is left of the division fits.
        let at = usize::try_from(position % self.data as u64).unwrap_or(0);
        let first = length.min(self.data - at);
        // SAFETY: `at + first` is at most the length of the data, which is mapped behind the first page as long as `self`
        // lives. The kernel writes only where the tail has been, and the tail is moved after the last use of these bytes: they
        // are borrowed from `self`, and only `drain` moves it, after it has shown them.
        let here =
            unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(self.page + at), first) };
        if first == length {
            return here;
        }
        // SAFETY: as above, for what goes on at the beginning; `length - first` is at most `at`.
        let rest = unsafe {
            std::slice::from_raw_parts(self.base.as_ptr().add(self.page), length - first)
        };
        wrapped.clear();
        wrapped.extend_from_slice(here);
        wrapped.extend_from_slice(rest);
        wrapped
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `map` made, of that length, and nothing borrows from it any more. Should the kernel
        // refuse, the mapping stays and nobody uses it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.page + self.data) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::thread_cpu_ns;
    use crate::perf::{Event, Setup, Whom, cpus, paranoia, wait};

    /// `PERF_RECORD_SAMPLE`.
    const SAMPLE: u32 = 9;

    fn burn(ns: u64) {
        let until = thread_cpu_ns().expect("counted") + ns;
        while thread_cpu_ns().expect("counted") < until {}
    }

    #[test]
    fn a_thread_that_computes_is_sampled_and_each_record_comes_once() {
        let setup = Setup {
            event: Event::CpuClock { hz: 997 },
            stack_bytes: 1_024,
            kernel: false,
            wake_bytes: 1_024,
        };
        // 0 is whoever asks, which this interface does not offer; a test's thread has a number of its own.
        let own = std::fs::read_link("/proc/thread-self").expect("/proc is here");
        let own: u32 = own
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
            .expect("a number");
        let mut counters = Vec::new();
        for cpu in cpus().expect("a list") {
            match Counter::open(&setup, Whom::Thread(own), cpu) {
                Ok(counter) => counters.push(counter),
                Err(error) => {
                    println!(
                        "skipped: perf_event_open is denied here ({error}, paranoia {:?})",
                        paranoia()
                    );
                    return;
                }
            }
        }
        // Two pages hold a few records only, so they go round the end often.
        let mut rings: Vec<Ring> = counters
            .iter()
            .map(|counter| Ring::map(counter, 2).expect("two pages"))
            .collect();
        counters
            .iter()
            .for_each(|counter| counter.enable().expect("it is open"));
        let (mut samples, mut lengths) = (0, Vec::new());
        while samples < 40 {
            burn(2_000_000);
            wait(&counters.iter().map(AsFd::as_fd).collect::<Vec<_>>(), 0).expect("they are open");
            for ring in &mut rings {
                ring.drain(|record| {
                    if record.kind == SAMPLE {
                        samples += 1;
                        lengths.push(record.body.len());
                        let thread = record.body.get(12..16).expect("a sample has a thread");
                        assert_eq!(thread, own.to_ne_bytes());
                    }
                });
            }
        }
        // Address, thread, time, no chain, the registers with their kind, and the stack with both its sizes.
        let registers = 8 * u64::from(crate::perf::USER_REGISTERS.count_ones());
        let usual = 8 + 8 + 8 + 8 + (8 + registers) + (8 + 1_024 + 8);
        assert!(
            lengths.iter().all(|length| *length as u64 == usual),
            "{lengths:?}"
        );
        counters
            .iter()
            .for_each(|counter| counter.disable().expect("it is open"));
        rings.iter_mut().for_each(|ring| {
            ring.drain(|_| {});
        });
        burn(5_000_000);
        assert_eq!(
            rings
                .iter_mut()
                .map(|ring| ring.drain(|_| {}))
                .sum::<usize>(),
            0
        );
    }

    #[test]
    fn a_ring_has_a_power_of_two_of_pages() {
        let setup = Setup {
            event: Event::CpuClock { hz: 1 },
            stack_bytes: 1_024,
            kernel: false,
            wake_bytes: 1_024,
        };
        let Ok(counter) = Counter::open(&setup, Whom::Thread(std::process::id()), 0) else {
            println!("skipped: perf_event_open is denied here");
            return;
        };
        for pages in [0, 3] {
            assert!(Ring::map(&counter, pages).is_err(), "{pages}");
        }
    }
}
