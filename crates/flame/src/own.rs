//! A profile that this very process takes of itself, where the kernel lets nobody take one from outside.
//!
//! Signals interrupt the process and each looks at its own thread. That costs tens of mebibytes of memory while it lasts and is
//! less safe than looking from outside, so it is the last way to stacks and runs only when somebody asks.

use crate::ask::Shot;
use crate::format::Named;
use crate::kind::Kind;
use crate::names::clean;
use crate::quality::Quality;
use crate::tree::{Side, Tree};
use pprof::{Frames, ProfilerGuardBuilder, Symbol};
use std::io;

/// Code in these must not be looked at from a signal: it may hold locks that looking needs.
const LEFT_OUT: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Takes a profile of this process's CPU time and writes it. It blocks for the window.
///
/// # Errors
/// `WouldBlock` while another is being taken; else why none can be.
pub fn shoot_own(shot: &Shot, window_ms: u64) -> io::Result<Vec<u8>> {
    let hz = i32::try_from(shot.hz).unwrap_or(99);
    let guard = ProfilerGuardBuilder::default()
        .frequency(hz)
        .blocklist(&LEFT_OUT)
        .build()
        .map_err(|error| match error {
            pprof::Error::Running => io::Error::from(io::ErrorKind::WouldBlock),
            other => io::Error::other(other),
        })?;
    trimtab_sys::perf::wait(&[], u32::try_from(window_ms).unwrap_or(u32::MAX))?;
    let report = guard.report().build().map_err(io::Error::other)?;
    drop(guard);
    let mut tree = Tree::default();
    let mut samples = 0;
    for (frames, count) in &report.data {
        let count = u64::try_from(*count).unwrap_or(0);
        if !is_wanted(frames, shot.thread.as_deref()) {
            continue;
        }
        samples += count;
        let stack = stack(frames);
        tree.add(stack.iter().map(|call| &**call), Side::First, count);
    }
    let quality = Quality {
        collector: "the pprof crate inside the process, by signals".to_owned(),
        samples,
        hz: shot.hz,
        window_ms,
        unseen: vec![
            "time in the C library and in the kernel".to_owned(),
            "how complete it is: it does not say".to_owned(),
        ],
        ..Quality::default()
    };
    let named = Named {
        title: shot.title.clone(),
        kind: Kind::Cpu,
        tree,
        quality,
    };
    named.write(shot.view, shot.format)
}

fn is_wanted(frames: &Frames, thread: Option<&str>) -> bool {
    thread
        .is_none_or(|thread| thread == frames.thread_name || thread == frames.thread_id.to_string())
}

/// The thread and its calls, outermost first.
fn stack(frames: &Frames) -> Vec<Box<str>> {
    let calls = frames.frames.iter().rev();
    let names = calls.flat_map(|inlined| inlined.iter().rev().map(Symbol::name));
    std::iter::once(clean(&frames.thread_name))
        .chain(names.map(|name| clean(&name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[inline(never)]
    fn burn_by_itself(stop: &AtomicBool) -> u64 {
        let mut sum = 1_u64;
        while !stop.load(Ordering::Relaxed) {
            sum = std::hint::black_box(sum.wrapping_mul(31));
        }
        sum
    }

    #[test]
    fn a_process_sees_its_own_time() {
        let stop = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("itself".to_owned())
            .spawn(move || burn_by_itself(&of_thread))
            .expect("a thread can begin");
        let shot = Shot {
            hz: 499,
            format: Format::Folded,
            thread: Some("itself".to_owned()),
            ..Shot::of(std::process::id())
        };
        let folded = shoot_own(&shot, 500);
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("it ends");
        let folded = String::from_utf8(folded.expect("it can look")).expect("it is text");
        assert!(folded.starts_with("itself;"), "{folded}");
        assert!(folded.contains("burn_by_itself"), "{folded}");
    }
}
