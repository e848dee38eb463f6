//! Reading the stacks of CPython processes, again and again.

use crate::collect::is_there;
use crate::kind::Kind;
use crate::names::clean;
use crate::quality::Quality;
use crate::session::family;
use crate::stacks::CALLERS_NOT_FOUND;
use crate::tree::{Side, Tree};
use py_spy::config::LockingStrategy;
use py_spy::{Config, PythonSpy, StackTrace};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use trimtab_sys::clock::boot_ns;

/// Looks a second. One takes about 0.4 ms of CPU time, so this many stay below one per cent of a core.
const LOOKS: u32 = 20;
/// How often new processes are looked for.
const SCAN_NS: u64 = 1_000_000_000;

/// Tries to read a process once. Gives the version of its Python.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn try_read(pid: u32) -> io::Result<String> {
    let mut spy = attach(pid)?;
    spy.get_stack_traces()
        .map_err(|error| io::Error::other(format!("{error:#}")))?;
    Ok(spy.version.to_string())
}

fn attach(pid: u32) -> io::Result<PythonSpy> {
    let config = Config {
        blocking: LockingStrategy::NonBlocking,
        ..Config::default()
    };
    let number = i32::try_from(pid).map_err(io::Error::other)?;
    PythonSpy::new(number, &config).map_err(|error| io::Error::other(format!("{error:#}")))
}

/// Reads a process and the Python processes that it began, for so long.
///
/// # Errors
/// When none of them could be read even once.
pub(crate) fn watch(
    pid: u32,
    kind: Kind,
    window_ns: u64,
    stop: &AtomicBool,
) -> io::Result<(Tree, Quality)> {
    let begun_ns = boot_ns();
    let mut look = Look {
        pid,
        kind,
        tree: Tree::default(),
        quality: Quality::default(),
        threads: HashSet::new(),
    };
    let mut spies = BTreeMap::new();
    let (mut scanned_ns, mut nth, mut failure) = (0, 0_u64, None);
    let step_ns = 1_000_000_000 / u64::from(LOOKS);
    loop {
        let now = boot_ns();
        if now.saturating_sub(scanned_ns) >= SCAN_NS {
            scanned_ns = now;
            spies.retain(|member, _| is_there(*member));
            for member in family(pid) {
                if !spies.contains_key(&member) && super::interpreter(member).is_some() {
                    match attach(member) {
                        Ok(spy) => drop(spies.insert(member, spy)),
                        Err(error) => failure = Some(error),
                    }
                }
            }
        }
        for (member, spy) in &mut spies {
            match spy.get_stack_traces() {
                Ok(traces) => look.take(*member, &traces),
                // It changed while it was read.
                Err(_) => {
                    look.quality.samples += 1;
                    look.quality.lost += 1;
                }
            }
        }
        nth += 1;
        let next_ns = begun_ns.saturating_add(nth * step_ns + unevenness(nth, step_ns));
        let end_ns = begun_ns.saturating_add(window_ns);
        let pause_ns = next_ns.min(end_ns).saturating_sub(boot_ns());
        trimtab_sys::perf::wait(&[], u32::try_from(pause_ns / 1_000_000).unwrap_or(0))?;
        if boot_ns() >= end_ns || stop.load(Ordering::Relaxed) || !is_there(pid) {
            break;
        }
    }
    match failure {
        Some(error) if look.quality.samples == 0 => Err(error),
        _ => Ok(look.finish(begun_ns)),
    }
}

/// What was seen so far.
struct Look {
    pid: u32,
    kind: Kind,
    tree: Tree,
    quality: Quality,
    threads: HashSet<(u32, u64)>,
}

impl Look {
    fn take(&mut self, member: u32, traces: &[StackTrace]) {
        for trace in traces {
            self.threads.insert((member, trace.thread_id));
            let weight = match self.kind {
                Kind::Cpu if trace.active => 1,
                Kind::Offcpu if !trace.active => 1_000_000 / u64::from(LOOKS),
                Kind::Wall => 1_000_000 / u64::from(LOOKS),
                Kind::Cpu | Kind::Offcpu => continue,
            };
            self.quality.samples += 1;
            let begins = is_whole(trace);
            if begins {
                self.quality.complete += 1;
            } else {
                self.quality.broken += 1;
            }
            let process = (member != self.pid).then(|| format!("python [{member}]"));
            let thread = match &trace.thread_name {
                Some(name) => clean(name),
                None => format!("thread {:x}", trace.thread_id).into(),
            };
            let calls = trace.frames.iter().rev().map(|frame| {
                let file = frame.short_filename.as_ref().unwrap_or(&frame.filename);
                clean(&format!("{} ({file})", frame.name))
            });
            let torn = (!begins).then(|| CALLERS_NOT_FOUND.into());
            let stack: Vec<Box<str>> = process
                .map(Box::from)
                .into_iter()
                .chain([thread])
                .chain(torn)
                .chain(calls)
                .collect();
            self.tree
                .add(stack.iter().map(|call| &**call), Side::First, weight);
        }
    }

    fn finish(mut self, begun_ns: u64) -> (Tree, Quality) {
        self.quality.hz = LOOKS;
        self.quality.window_ms = boot_ns().saturating_sub(begun_ns) / 1_000_000;
        self.quality.threads = u64::try_from(self.threads.len()).unwrap_or(u64::MAX);
        let unseen = [
            "calls that are not Python's: they are the interpreter's and its modules' own",
            "whether a thread that could run had a CPU: where CPUs are short it counts all the same",
        ];
        self.quality.unseen = unseen.map(str::to_owned).to_vec();
        (self.tree, self.quality)
    }
}

/// Whether a stack begins where Python's do: at a module's own code, or where `threading` begins a thread.
fn is_whole(trace: &StackTrace) -> bool {
    const BEGINNINGS: [&str; 3] = ["<module>", "_bootstrap", "_shutdown"];
    let outermost = trace.frames.last();
    // Since 3.11 names have their class before them, as in `Thread._bootstrap`.
    let own = outermost.and_then(|frame| frame.name.rsplit('.').next());
    own.is_some_and(|own| BEGINNINGS.contains(&own) || own.starts_with("_run_module"))
}

/// Each look comes somewhere within its own step, so that work in step with the looks is not always seen at the same place.
fn unevenness(nth: u64, step_ns: u64) -> u64 {
    let mixed = nth
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33) % step_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_uneven_by_less_than_their_distance() {
        let all: HashSet<u64> = (0..50).map(|nth| unevenness(nth, 1_000_000)).collect();
        assert!(all.len() > 40 && all.iter().all(|shift| *shift < 1_000_000));
        let early = all.iter().filter(|shift| **shift < 500_000).count();
        assert!((15..=35).contains(&early), "{early}");
    }
}
