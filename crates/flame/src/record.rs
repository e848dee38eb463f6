//! The kernel's records, taken apart.
//!
//! The bytes come from the kernel, or in tests from a recording, and are believed as little as any others: what is too short
//! or of no known kind is [`Record::Other`], and nothing here can panic.

use trimtab_sys::perf::USER_REGISTERS;
use trimtab_sys::perf::ring::RawRecord;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'r> {
    /// A sample.
    Sample(Sample<'r>),
    /// A process mapped a file, or memory without one, where code may stand.
    Map(Map<'r>),
    /// A thread got a name; `exec` when that is because its process became another program.
    Name {
        pid: u32,
        tid: u32,
        exec: bool,
        name: &'r [u8],
    },
    /// A thread or process began.
    Fork { pid: u32, tid: u32, parent_pid: u32 },
    /// A thread ended.
    Exit { pid: u32, tid: u32 },
    /// The ring was full, and so many records are missing.
    Lost(u64),
    /// A thread left its CPU, or came back to one.
    Switch { tid: u32, time_ns: u64, out: bool },
    /// Anything else.
    Other,
}

/// What a thread was doing when the clock struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample<'r> {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) time_ns: u64,
    /// The kernel's side, innermost first: addresses of 8 bytes.
    chain: &'r [u8],
    /// The user's registers in the order of their bits; empty when the thread has no user's side.
    registers: &'r [u8],
    /// The user's stack from its pointer upwards.
    pub(crate) stack: &'r [u8],
}

/// A mapping in a process's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map<'r> {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) offset: u64,
    pub(crate) executable: bool,
    pub(crate) path: &'r [u8],
}

impl Sample<'_> {
    /// The kernel's addresses, innermost first, without the marks between its contexts.
    pub(crate) fn kernel(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.chain
            .chunks_exact(8)
            .map(word)
            .filter(|address| *address < MARKS)
    }

    /// One of the user's registers, by its place among those that were asked for.
    pub(crate) fn register(&self, place: usize) -> Option<u64> {
        self.registers.chunks_exact(8).nth(place).map(word)
    }
}

impl<'r> Record<'r> {
    /// Takes a record apart.
    pub(crate) fn parse(raw: RawRecord<'r>) -> Self {
        Self::of(raw.kind, raw.misc, raw.body).unwrap_or(Self::Other)
    }

    fn of(kind: u32, misc: u16, body: &'r [u8]) -> Option<Self> {
        let mut body = Cursor(body);
        Some(match kind {
            LOST => {
                body.u64()?;
                Self::Lost(body.u64()?)
            }
            COMM => Self::Name {
                pid: body.u32()?,
                tid: body.u32()?,
                exec: misc & EXEC != 0,
                name: until_zero(body.0),
            },
            EXIT => Self::Exit {
                pid: body.u32()?,
                tid: {
                    body.u32()?;
                    body.u32()?
                },
            },
            FORK => {
                let (pid, parent_pid) = (body.u32()?, body.u32()?);
                Self::Fork {
                    pid,
                    tid: body.u32()?,
                    parent_pid,
                }
            }
            SAMPLE => Self::Sample(sample(&mut body)?),
            MMAP2 => Self::Map(map(&mut body)?),
            SWITCH => {
                let tid = {
                    body.u32()?;
                    body.u32()?
                };
                Self::Switch {
                    tid,
                    time_ns: body.u64()?,
                    out: misc & SWITCH_OUT != 0,
                }
            }
            _ => Self::Other,
        })
    }
}

fn sample<'r>(body: &mut Cursor<'r>) -> Option<Sample<'r>> {
    let _address = body.u64()?;
    let (pid, tid, time_ns) = (body.u32()?, body.u32()?, body.u64()?);
    let frames = usize::try_from(body.u64()?).ok()?;
    let chain = body.take(frames.checked_mul(8)?)?;
    let registers = match body.u64()? {
        0 => &[],
        _ => body.take(8 * REGISTERS)?,
    };
    let size = usize::try_from(body.u64()?).ok()?;
    let stack = if size == 0 {
        &[]
    } else {
        let copy = body.take(size)?;
        let filled = usize::try_from(body.u64()?).ok()?;
        copy.get(..filled.min(size))?
    };
    Some(Sample {
        pid,
        tid,
        time_ns,
        chain,
        registers,
        stack,
    })
}

fn map<'r>(body: &mut Cursor<'r>) -> Option<Map<'r>> {
    let pid = body.u32()?;
    let _tid = body.u32()?;
    let (start, length, offset) = (body.u64()?, body.u64()?, body.u64()?);
    // Device, inode and its generation, or a build id: 24 bytes that the file itself tells better.
    body.take(24)?;
    let protection = body.u32()?;
    let _flags = body.u32()?;
    Some(Map {
        pid,
        start,
        length,
        offset,
        executable: protection & 4 != 0,
        path: until_zero(body.0),
    })
}

/// Bytes that are read from the front.
struct Cursor<'r>(&'r [u8]);

impl<'r> Cursor<'r> {
    fn take(&mut self, count: usize) -> Option<&'r [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_ne_bytes(*taken))
    }

    fn u64(&mut self) -> Option<u64> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*taken))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Addresses from here on are marks between contexts: `PERF_CONTEXT_MAX`.
const MARKS: u64 = 4_095_u64.wrapping_neg();
/// How many registers a sample carries.
const REGISTERS: usize = USER_REGISTERS.count_ones() as usize;

/// `PERF_RECORD_*`.
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const MMAP2: u32 = 10;
const SWITCH: u32 = 14;
/// `PERF_RECORD_MISC_COMM_EXEC` and `PERF_RECORD_MISC_SWITCH_OUT`, which are one bit.
const EXEC: u16 = 1 << 13;
const SWITCH_OUT: u16 = 1 << 13;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn pair(low: u32, high: u32) -> u64 {
        u64::from(low) | u64::from(high) << 32
    }

    #[test]
    fn a_sample_has_its_kernel_side_its_registers_and_its_stack() {
        let kernel_mark = 128_u64.wrapping_neg();
        let mut words = vec![
            7,
            pair(10, 11),
            99,
            3,
            kernel_mark,
            0xffff_8000,
            0xffff_9000,
            2,
        ];
        words.extend(100..100 + REGISTERS as u64);
        words.extend([16, 0xaa, 0xbb, 8]);
        let body = bytes(&words);
        let Record::Sample(sample) = Record::parse(RawRecord {
            kind: SAMPLE,
            misc: 0,
            body: &body,
        }) else {
            panic!("it is a sample");
        };
        assert_eq!((sample.pid, sample.tid, sample.time_ns), (10, 11, 99));
        assert_eq!(
            sample.kernel().collect::<Vec<_>>(),
            [0xffff_8000, 0xffff_9000]
        );
        assert_eq!(sample.register(1), Some(101));
        assert_eq!(sample.register(REGISTERS), None);
        assert_eq!(sample.stack, 0xaa_u64.to_ne_bytes(), "only what was filled");
    }

    #[test]
    fn a_kernel_thread_has_neither_registers_nor_stack() {
        let body = bytes(&[7, pair(10, 11), 99, 0, 0, 0]);
        let Record::Sample(sample) = Record::parse(RawRecord {
            kind: SAMPLE,
            misc: 0,
            body: &body,
        }) else {
            panic!("it is a sample");
        };
        assert_eq!((sample.register(0), sample.stack), (None, &[][..]));
    }

    #[test]
    fn maps_names_switches_and_losses_are_told_apart() {
        let mut body = bytes(&[pair(10, 11), 0x1000, 0x2000, 0x3000, 0, 0, 0, pair(5, 2)]);
        body.extend(b"/bin/x\0\0\0\0\0\0\0\0");
        let map = Record::parse(RawRecord {
            kind: MMAP2,
            misc: 0,
            body: &body,
        });
        let expected = Map {
            pid: 10,
            start: 0x1000,
            length: 0x2000,
            offset: 0x3000,
            executable: true,
            path: b"/bin/x",
        };
        assert_eq!(map, Record::Map(expected));
        let mut body = bytes(&[pair(10, 11)]);
        body.extend(b"worker\0\0");
        let name = Record::parse(RawRecord {
            kind: COMM,
            misc: EXEC,
            body: &body,
        });
        assert_eq!(
            name,
            Record::Name {
                pid: 10,
                tid: 11,
                exec: true,
                name: b"worker"
            }
        );
        let body = bytes(&[pair(10, 11), 5]);
        let switch = Record::parse(RawRecord {
            kind: SWITCH,
            misc: SWITCH_OUT,
            body: &body,
        });
        assert_eq!(
            switch,
            Record::Switch {
                tid: 11,
                time_ns: 5,
                out: true
            }
        );
        let body = bytes(&[1, 42]);
        assert_eq!(
            Record::parse(RawRecord {
                kind: LOST,
                misc: 0,
                body: &body
            }),
            Record::Lost(42)
        );
        let body = bytes(&[pair(20, 10), pair(21, 11), 5]);
        assert_eq!(
            Record::parse(RawRecord {
                kind: FORK,
                misc: 0,
                body: &body
            }),
            Record::Fork {
                pid: 20,
                tid: 21,
                parent_pid: 10
            }
        );
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_can_hurt(kind in 0_u32..20, misc: u16, body in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Record::Sample(sample) = Record::parse(RawRecord { kind, misc, body: &body }) {
                prop_assert!(sample.kernel().count() * 8 <= body.len());
                prop_assert!(sample.stack.len() <= body.len());
            }
        }
    }
}
