//! From the kernel's records to samples with their stacks, while they come.
//!
//! A [`Watch`] holds what has to be known meanwhile: which process maps what, what threads are called, who left a CPU and when.
//! It keeps no sample; each goes to whoever drains it.

use crate::collect::is_there;
use crate::copied;
use crate::kind::Kind;
use crate::module::Modules;
use crate::quality::Quality;
use crate::record::{Map, Record, Sample};
use crate::session::{Session, comm, family, setup, threads};
use crate::space::{Cache, Call, End, Place, Space, Unwound};
use crate::stacks::{CALLERS_NOT_FOUND, CUT_OFF, Frame, StackId, Stacks};
use hashbrown::HashMap;
use std::io;
use std::path::PathBuf;
use trimtab_sys::clock::boot_ns;
use trimtab_sys::perf::Event;
use trimtab_sys::process::PidFd;

/// A process's mappings are read again at most this often, when an address is in none of them.
const REREAD_NS: u64 = 200_000_000;
/// After how long it looks for processes and threads that nobody counted began. They are few, and most began while it did, so
/// each time that there are none it waits twice as long for the next, up to the longest.
const SCAN_NS: u64 = 500_000_000;
const SCAN_NS_MAX: u64 = 4_000_000_000;
/// How many processes' mappings are kept.
const SPACES_MAX: usize = 512;

/// What to watch, and how.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    /// The process; those that it began are watched as well.
    pub(crate) pid: u32,
    /// Its control group's directory, where that is to be watched instead.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) kind: Kind,
    pub(crate) hz: u32,
    pub(crate) stack_bytes: u32,
    pub(crate) kernel: bool,
}

/// A sample with its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// When, by the boot-time clock.
    pub(crate) time_ns: u64,
    pub(crate) stack: StackId,
    /// Samples for CPU time, microseconds for the other kinds.
    pub(crate) weight: u64,
}

/// Counters that run, and what is known of whom they watch.
pub(crate) struct Watch {
    brief: Brief,
    /// Nothing where the kernel has no such handles.
    process: Option<PidFd>,
    cpu: Option<Session>,
    switches: Option<Session>,
    state: State,
    scanned_ns: u64,
    scan_after_ns: u64,
    /// Nothing came the last time.
    idle: bool,
}

/// All but the counters, so that both can be borrowed at once.
struct State {
    pid: u32,
    everyone: bool,
    modules: Modules,
    spaces: HashMap<u32, (Space, u64)>,
    cache: Cache,
    names: HashMap<u32, String>,
    seen: HashMap<u32, u64>,
    begun: Vec<u32>,
    ended: Vec<u32>,
    /// Threads that left a CPU: since when, and with which stack.
    away: HashMap<u32, (u64, StackId)>,
    /// Departures and returns that wait to be put in order.
    switches: Vec<(u64, u32, Option<StackId>)>,
    calls: Vec<Call>,
    frames: Vec<Frame>,
    quality: Quality,
    /// The most that was read of a copied stack that was complete, in bytes.
    used: u64,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// Why the kernel refuses; `NotFound` when there is no such process.
    pub(crate) fn begin(brief: Brief, modules: Modules) -> io::Result<Self> {
        let process = PidFd::open(brief.pid).ok();
        let pids = family(brief.pid);
        let begin = |event| {
            let setup = setup(event, brief.stack_bytes, brief.kernel);
            match &brief.cgroup {
                Some(directory) => Session::of_cgroup(directory, setup),
                None => Session::of_processes(&pids, setup),
            }
        };
        let cpu = match brief.kind {
            Kind::Cpu | Kind::Wall => Some(begin(Event::CpuClock { hz: brief.hz })?),
            Kind::Offcpu => None,
        };
        let switches = match brief.kind {
            Kind::Offcpu | Kind::Wall => Some(begin(Event::Switch)?),
            Kind::Cpu => None,
        };
        let mut state = State::new(brief.pid, brief.cgroup.is_some(), modules);
        for pid in &pids {
            state.space(*pid);
            state.name_threads(*pid);
        }
        let scanned_ns = boot_ns();
        Ok(Self {
            brief,
            process,
            cpu,
            switches,
            state,
            scanned_ns,
            scan_after_ns: SCAN_NS,
            idle: false,
        })
    }

    /// Whether the process has not ended.
    pub(crate) fn is_there(&self) -> bool {
        match &self.process {
            Some(process) => process.is_alive(),
            None => is_there(self.brief.pid),
        }
    }

    /// Waits for samples or the end of the process, at most so long.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn wait(&mut self, at_most_ms: u32) -> io::Result<()> {
        let begun_ns = boot_ns();
        if let Some(session) = self.cpu.as_ref().or(self.switches.as_ref()) {
            session.wait(self.process.as_ref(), at_most_ms)?;
        }
        // A counter whose thread has ended makes the wait return at once; without this pause that would spin.
        if self.idle && boot_ns().saturating_sub(begun_ns) < PAUSE_NS {
            trimtab_sys::perf::wait(&[], at_most_ms.min(PAUSE_MS))?;
        }
        Ok(())
    }

    /// Shows the samples that have come, with their stacks among `stacks`.
    pub(crate) fn take(&mut self, stacks: &mut Stacks, mut hit: impl FnMut(Hit)) {
        let scan = boot_ns().saturating_sub(self.scanned_ns) >= self.scan_after_ns
            && self.brief.cgroup.is_none();
        // The list is made before the rings are read, so whoever is on it and was begun by a counted thread has been told of.
        let found: Vec<u32> = if scan {
            family(self.brief.pid)
                .into_iter()
                .flat_map(threads)
                .collect()
        } else {
            Vec::new()
        };
        self.idle = self.drain(stacks, &mut hit) == 0;
        if scan {
            self.scanned_ns = boot_ns();
            let mut new = false;
            for session in self.cpu.iter_mut().chain(self.switches.iter_mut()) {
                new |= session.extend(&found);
            }
            self.scan_after_ns = if new {
                SCAN_NS
            } else {
                (self.scan_after_ns * 2).min(SCAN_NS_MAX)
            };
        }
    }

    /// Stops, shows what is left, and says how good it was. For time off a CPU those who are still away count until now.
    pub(crate) fn end(mut self, stacks: &mut Stacks, mut hit: impl FnMut(Hit)) -> Quality {
        let now = boot_ns();
        for session in self.cpu.iter().chain(&self.switches) {
            session.stop();
        }
        self.drain(stacks, &mut hit);
        self.state.settle(u64::MAX, &mut hit);
        for (since, stack) in self.state.away.values() {
            hit(Hit {
                time_ns: now,
                stack: *stack,
                weight: now.saturating_sub(*since) / 1_000,
            });
        }
        if let Some(smaller) = self.smaller_copy() {
            let Brief { pid, kind, .. } = self.brief;
            self.state.modules.note_stack_bytes(pid, kind, smaller);
        }
        self.quality()
    }

    /// Threads of the process that left no CPU and came to none, by their names: they slept all the time.
    pub(crate) fn sleepers(&mut self) -> Vec<(u32, String)> {
        let state = &mut self.state;
        let mut asleep = threads(self.brief.pid);
        asleep.retain(|thread| !state.seen.contains_key(thread));
        let named = |thread| (thread, state.name(thread).to_owned());
        asleep.into_iter().map(named).collect()
    }

    /// How good what came so far was.
    pub(crate) fn quality(&self) -> Quality {
        let mut quality = self.state.quality.clone();
        quality.threads = self.state.seen.len() as u64;
        quality.hz = if self.cpu.is_some() { self.brief.hz } else { 0 };
        quality.stack_bytes = self.brief.stack_bytes;
        let uncounted = self
            .cpu
            .iter()
            .chain(&self.switches)
            .map(|session| session.uncounted)
            .max();
        if let Some(uncounted) = uncounted.filter(|count| *count > 0) {
            quality.unseen.push(format!(
                "{uncounted} threads, because no more files may be open; raise `ulimit -n`"
            ));
        }
        quality
    }

    /// How much should be copied of a stack, where too many were cut off.
    pub(crate) fn larger_copy(&self) -> Option<u32> {
        copied::larger(&self.state.quality, self.brief.stack_bytes)
    }

    /// How little of a stack is enough, where that was not found out before.
    pub(crate) fn smaller_copy(&self) -> Option<u32> {
        let Brief { pid, kind, .. } = self.brief;
        let smaller = copied::smaller(&self.state.quality, self.state.used, self.brief.stack_bytes);
        smaller.filter(|_| !self.state.modules.knows_stack_bytes(pid, kind))
    }

    fn drain(&mut self, stacks: &mut Stacks, hit: &mut impl FnMut(Hit)) -> usize {
        let now = boot_ns();
        let cpu_weight = match self.brief.kind {
            Kind::Cpu => 1,
            Kind::Offcpu | Kind::Wall => 1_000_000 / u64::from(self.brief.hz.max(1)),
        };
        let state = &mut self.state;
        let mut came = 0;
        if let Some(session) = &mut self.cpu {
            came += session.drain(|raw| match Record::parse(raw) {
                Record::Sample(sample) => {
                    if let Some(stack) = state.stack(&sample, stacks) {
                        hit(Hit {
                            time_ns: sample.time_ns,
                            stack,
                            weight: cpu_weight,
                        });
                    }
                }
                other => state.note(other),
            });
            state.tell(session);
        }
        if let Some(session) = &mut self.switches {
            came += session.drain(|raw| match Record::parse(raw) {
                Record::Sample(sample) => {
                    if let Some(stack) = state.stack(&sample, stacks) {
                        state
                            .switches
                            .push((sample.time_ns, sample.tid, Some(stack)));
                    }
                }
                Record::Switch {
                    tid,
                    time_ns,
                    out: false,
                } => state.switches.push((time_ns, tid, None)),
                other => state.note(other),
            });
            state.tell(session);
            state.settle(now, hit);
        }
        came
    }
}

/// A pause when nothing came.
const PAUSE_MS: u32 = 20;
const PAUSE_NS: u64 = 1_000_000;

impl State {
    fn new(pid: u32, everyone: bool, modules: Modules) -> Self {
        Self {
            pid,
            everyone,
            modules,
            spaces: HashMap::new(),
            cache: Cache::new(),
            names: HashMap::new(),
            seen: HashMap::new(),
            begun: Vec::new(),
            ended: Vec::new(),
            away: HashMap::new(),
            switches: Vec::new(),
            calls: Vec::new(),
            frames: Vec::new(),
            quality: Quality::default(),
            used: 0,
        }
    }

    /// The stack of a sample, from its thread to its innermost call.
    fn stack(&mut self, sample: &Sample<'_>, stacks: &mut Stacks) -> Option<StackId> {
        let (pid, tid) = (sample.pid, sample.tid);
        if pid == 0 || pid == u32::MAX {
            return None;
        }
        let mut calls = std::mem::take(&mut self.calls);
        let Unwound { end, used } = self.unwind(sample, &mut calls);
        self.quality.samples += 1;
        match end {
            End::Complete => {
                self.quality.complete += 1;
                self.used = self.used.max(used);
            }
            End::Truncated => self.quality.truncated += 1,
            End::Broken => self.quality.broken += 1,
        }
        *self.seen.entry(tid).or_default() += 1;
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        if pid != self.pid || self.everyone {
            let name = stacks.text_id(self.name(pid));
            frames.push(Frame::Process { pid, name });
        }
        let name = stacks.text_id(self.name(tid));
        frames.push(Frame::Thread { tid, name });
        match end {
            End::Complete => {}
            End::Truncated => frames.push(Frame::Text(stacks.text_id(CUT_OFF))),
            End::Broken => frames.push(Frame::Text(stacks.text_id(CALLERS_NOT_FOUND))),
        }
        let of_user = |(address, place): &Call| match *place {
            Place::File(module, offset) => Frame::Code { module, offset },
            Place::Made => Frame::Made {
                pid,
                address: *address,
            },
            Place::Nowhere => Frame::Nowhere,
        };
        frames.extend(calls.iter().rev().map(of_user));
        frames.extend(sample.kernel().rev().map(Frame::Kernel));
        let stack = stacks.intern(frames.iter().copied());
        (self.calls, self.frames) = (calls, frames);
        stack
    }

    /// Unwinds, and once more after the mappings were read again where an address is in none.
    fn unwind(&mut self, sample: &Sample<'_>, calls: &mut Vec<Call>) -> Unwound {
        self.space(sample.pid);
        let Some((space, read_ns)) = self.spaces.get_mut(&sample.pid) else {
            let end = End::Broken;
            return Unwound { end, used: 0 };
        };
        let unwound = space.unwind(sample, &mut self.cache, calls);
        let is_strange = |(_, place): &Call| *place == Place::Nowhere;
        if unwound.end != End::Broken && !calls.iter().any(is_strange) {
            return unwound;
        }
        let now = boot_ns();
        if now.saturating_sub(*read_ns) < REREAD_NS {
            return unwound;
        }
        *read_ns = now;
        space.reread(&self.modules);
        space.unwind(sample, &mut self.cache, calls)
    }

    fn space(&mut self, pid: u32) {
        if self.spaces.len() >= SPACES_MAX && !self.spaces.contains_key(&pid) {
            self.spaces.retain(|_, (space, _)| space.is_alive());
        }
        self.spaces
            .entry(pid)
            .or_insert_with(|| (Space::read(pid, &self.modules), boot_ns()));
    }

    /// Takes note of all that is not a sample.
    fn note(&mut self, record: Record<'_>) {
        match record {
            Record::Map(Map {
                pid,
                start,
                length,
                offset,
                executable: true,
                path,
            }) => {
                if let Some((space, _)) = self.spaces.get_mut(&pid) {
                    let path = String::from_utf8_lossy(path);
                    space.map(
                        (start, start.saturating_add(length)),
                        offset,
                        &path,
                        &self.modules,
                    );
                }
            }
            Record::Name {
                pid,
                tid,
                exec,
                name,
            } => {
                self.names
                    .insert(tid, String::from_utf8_lossy(name).into_owned());
                if exec && let Some((space, _)) = self.spaces.get_mut(&pid) {
                    space.clear();
                }
            }
            Record::Fork {
                pid,
                tid,
                parent_pid,
            } => {
                self.begun.push(tid);
                // A thread has its process's name until it takes one of its own.
                let name = self.name(parent_pid).to_owned();
                self.names.insert(tid, name);
                if pid != parent_pid {
                    self.spaces.remove(&pid);
                }
            }
            Record::Exit { pid, tid } => {
                self.ended.push(tid);
                self.away.remove(&tid);
                if pid == tid && self.spaces.len() > 1 {
                    self.spaces.remove(&pid);
                }
            }
            Record::Lost(count) => self.quality.lost += count,
            Record::Map(_) | Record::Sample(_) | Record::Switch { .. } | Record::Other => {}
        }
    }

    /// Tells a session which threads it counts without having been asked, and which are gone.
    fn tell(&mut self, session: &mut Session) {
        for thread in self.begun.drain(..) {
            session.inherited(thread);
        }
        for thread in self.ended.drain(..) {
            session.ended(thread);
        }
    }

    /// Puts departures and returns up to a time in order, and shows how long each thread was away.
    ///
    /// A thread may leave one CPU and come back to another, whose ring was read earlier; up to the time at which reading began
    /// all records are there.
    fn settle(&mut self, until_ns: u64, hit: &mut impl FnMut(Hit)) {
        self.switches.sort_unstable_by_key(|(time, ..)| *time);
        let ripe = self
            .switches
            .partition_point(|(time, ..)| *time <= until_ns);
        for (time_ns, tid, stack) in self.switches.drain(..ripe) {
            match stack {
                Some(stack) => {
                    self.away.insert(tid, (time_ns, stack));
                }
                None => {
                    *self.seen.entry(tid).or_default() += 1;
                    if let Some((since, stack)) = self.away.remove(&tid) {
                        hit(Hit {
                            time_ns,
                            stack,
                            weight: time_ns.saturating_sub(since) / 1_000,
                        });
                    }
                }
            }
        }
    }

    fn name(&mut self, tid: u32) -> &str {
        self.names.entry(tid).or_insert_with(|| comm(tid))
    }

    fn name_threads(&mut self, pid: u32) {
        for thread in threads(pid) {
            self.names.insert(thread, comm(thread));
        }
    }
}
