//! Which threads run and which wait, where the kernel gives no samples: the last resort, without stacks.

use crate::kind::Kind;
use crate::quality::Quality;
use crate::session::{family, threads};
use crate::tree::{Side, Tree};
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use trimtab_sys::clock::boot_ns;

/// Time between two looks, in milliseconds: a look at a thousand threads takes some of them.
const LOOK_MS: u32 = 50;

/// Looks again and again for so long.
///
/// # Errors
/// `NotFound` when no thread was ever seen.
pub(crate) fn watch(
    pid: u32,
    kind: Kind,
    window_ns: u64,
    stop: &AtomicBool,
) -> io::Result<(Tree, Quality)> {
    let begun_ns = boot_ns();
    let (mut tree, mut seen) = (Tree::default(), HashSet::new());
    let mut samples = 0;
    loop {
        for thread in family(pid).into_iter().flat_map(threads) {
            let Some(look) = Look::at(thread) else {
                continue;
            };
            seen.insert(thread);
            let counts = match kind {
                Kind::Cpu => look.runs,
                Kind::Offcpu => !look.runs,
                Kind::Wall => true,
            };
            if counts {
                samples += 1;
                let weight = if kind == Kind::Cpu {
                    1
                } else {
                    u64::from(LOOK_MS) * 1_000
                };
                tree.add(
                    [look.name.as_str(), look.state.as_str()],
                    Side::First,
                    weight,
                );
            }
        }
        if boot_ns().saturating_sub(begun_ns) >= window_ns || stop.load(Ordering::Relaxed) {
            break;
        }
        trimtab_sys::perf::wait(&[], LOOK_MS)?;
    }
    if seen.is_empty() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let quality = Quality {
        samples,
        complete: 0,
        unknown: samples,
        hz: 1_000 / LOOK_MS,
        window_ms: boot_ns().saturating_sub(begun_ns) / 1_000_000,
        threads: u64::try_from(seen.len()).unwrap_or(u64::MAX),
        unseen: vec!["all stacks".to_owned()],
        ..Quality::default()
    };
    Ok((tree, quality))
}

/// A thread as it was found.
struct Look {
    name: String,
    state: String,
    runs: bool,
}

impl Look {
    fn at(thread: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let name = head.split_once('(')?.1.to_owned();
        let state = rest.chars().next()?;
        let waits_in = || {
            let place = std::fs::read_to_string(format!("/proc/{thread}/wchan")).ok()?;
            Some(place.trim().to_owned()).filter(|place| !place.is_empty() && place != "0")
        };
        let state = match state {
            'R' => "[running or ready]".to_owned(),
            'D' => waits_in().map_or_else(
                || "[waiting for a device]".to_owned(),
                |place| format!("[waiting for a device] {place}"),
            ),
            'T' | 't' => "[stopped]".to_owned(),
            'Z' | 'X' => return None,
            _ => waits_in().map_or_else(
                || "[waiting]".to_owned(),
                |place| format!("[waiting] {place}"),
            ),
        };
        Some(Self {
            name,
            runs: rest.starts_with('R'),
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_is_seen_waiting() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep can be started");
        let stop = AtomicBool::new(false);
        let (tree, quality) = watch(child.id(), Kind::Wall, 120_000_000, &stop).expect("it runs");
        let lines = tree.folded(false).join("\n");
        assert!(lines.contains("sleep;[waiting]"), "{lines}");
        assert!(quality.samples > 0 && quality.threads == 1);
        child.kill().expect("it is ours");
        child.wait().expect("it ends");
    }

    #[test]
    fn nobody_is_not_found() {
        let error = watch(u32::MAX, Kind::Cpu, 1, &AtomicBool::new(false)).expect_err("nobody");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
