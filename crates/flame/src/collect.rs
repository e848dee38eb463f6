//! One profile of one window of time.

use crate::kind::Kind;
use crate::module::Modules;
use crate::quality::Quality;
use crate::stacks::{Counts, Frame, Stacks};
use crate::watch::{Brief, Watch};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use trimtab_sys::clock::boot_ns;
use trimtab_sys::perf::STACK_BYTES_MAX;

/// How much of a stack is copied at first: enough for all but programs with large arrays on it.
pub(crate) const STACK_BYTES: u32 = 16_384;
/// So many truncated samples are no accident. A host that works little has few samples, so more would be waited for in vain.
const TRUNCATED_MIN: u64 = 3;
/// Above this share of truncated samples, one in so many, the copy is doubled.
const TRUNCATED_ONE_IN: u64 = 100;
/// In this first part of the window, one in so many, what was collected with too small a copy is thrown away.
const THROWN_AWAY_PART: u64 = 4;
/// How long one wait may last, so that the end of the process is seen. A ring that fills wakes earlier.
const STEP_MS: u32 = 250;

/// What was collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    pub(crate) stacks: Stacks,
    pub(crate) counts: Counts,
    pub(crate) quality: Quality,
    /// The window, by the boot-time clock.
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
}

/// Collects for so long, or until the process ends, or until `stop`.
///
/// # Errors
/// Why nothing could be collected.
pub(crate) fn collect(
    brief: &Brief,
    window_ns: u64,
    modules: &Modules,
    stop: &AtomicBool,
) -> io::Result<Profile> {
    let mut brief = brief.clone();
    brief.stack_bytes = modules.stack_bytes(brief.pid, brief.stack_bytes);
    let mut profile = Profile {
        kind: brief.kind,
        ..Profile::default()
    };
    let begun_ns = boot_ns();
    let end_ns = begun_ns.saturating_add(window_ns);
    profile.from_ns = begun_ns;
    let mut watch = Watch::begin(brief.clone(), modules.clone())?;
    loop {
        let now = boot_ns();
        let left_ms =
            u32::try_from(end_ns.saturating_sub(now).div_ceil(1_000_000)).unwrap_or(u32::MAX);
        if left_ms == 0 || stop.load(Ordering::Relaxed) || !is_there(brief.pid) {
            break;
        }
        let Profile { stacks, counts, .. } = &mut profile;
        watch.wait(left_ms.min(STEP_MS))?;
        watch.take(stacks, |hit| {
            *counts.entry(hit.stack).or_default() += hit.weight
        });
        if let Some(larger) = larger_copy(&watch) {
            brief.stack_bytes = larger;
            modules.note_stack_bytes(brief.pid, larger);
            let early = now.saturating_sub(begun_ns) < window_ns / THROWN_AWAY_PART;
            let Profile {
                stacks,
                counts,
                quality,
                ..
            } = &mut profile;
            let replaced =
                std::mem::replace(&mut watch, Watch::begin(brief.clone(), modules.clone())?);
            if early {
                (*stacks, *counts, *quality) =
                    (Stacks::default(), Counts::default(), Quality::default());
                profile.from_ns = boot_ns();
            } else {
                quality.add(&replaced.end(stacks, |hit| {
                    *counts.entry(hit.stack).or_default() += hit.weight
                }));
            }
        }
    }
    finish(profile, watch)
}

fn finish(mut profile: Profile, watch: Watch) -> io::Result<Profile> {
    profile.until_ns = boot_ns();
    let window_ns = profile.until_ns.saturating_sub(profile.from_ns);
    let sleepers = watch.sleepers();
    let Profile {
        stacks,
        counts,
        kind,
        quality: earlier,
        ..
    } = &mut profile;
    let mut quality = watch.end(stacks, |hit| {
        *counts.entry(hit.stack).or_default() += hit.weight
    });
    quality.add(earlier);
    quality.window_ms = window_ns / 1_000_000;
    if *kind != Kind::Cpu && !sleepers.is_empty() {
        for (tid, name) in &sleepers {
            let calls = [
                Frame::Thread {
                    tid: *tid,
                    name: stacks.text_id(name),
                },
                Frame::Text(stacks.text_id(ASLEEP)),
            ];
            if let Some(stack) = stacks.intern(calls) {
                *counts.entry(stack).or_default() += window_ns / 1_000;
            }
        }
        quality.unseen.push(format!(
            "the stacks of {} threads that slept all the time",
            sleepers.len()
        ));
    }
    profile.quality = quality;
    Ok(profile)
}

/// What a thread without any sample is said to have done.
const ASLEEP: &str = "[asleep all the time]";

/// A larger copy, where too many samples were cut off.
pub(crate) fn larger_copy(watch: &Watch) -> Option<u32> {
    larger(&watch.quality(), watch.stack_bytes())
}

fn larger(quality: &Quality, bytes: u32) -> Option<u32> {
    let too_many = quality.truncated >= TRUNCATED_MIN
        && quality.truncated * TRUNCATED_ONE_IN > quality.samples;
    let larger = (bytes * 2).min(STACK_BYTES_MAX);
    (too_many && larger > bytes).then_some(larger)
}

pub(crate) fn is_there(pid: u32) -> bool {
    // One that has ended and was not waited for has no threads that could be sampled.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_doubled_when_it_is_too_small_and_by_no_accident() {
        let after = |samples, truncated, bytes| {
            let quality = Quality {
                samples,
                truncated,
                ..Quality::default()
            };
            larger(&quality, bytes)
        };
        assert_eq!(after(4, 3, STACK_BYTES), Some(2 * STACK_BYTES));
        assert_eq!(after(4, 2, STACK_BYTES), None);
        assert_eq!(after(1_000, 9, STACK_BYTES), None);
        assert_eq!(after(1_000, 11, 40_000), Some(STACK_BYTES_MAX));
        assert_eq!(after(10, 10, STACK_BYTES_MAX), None);
    }
}
