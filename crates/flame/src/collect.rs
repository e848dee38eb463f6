//! One profile of one window of time.

use crate::kind::Kind;
use crate::module::Modules;
use crate::quality::Quality;
use crate::session::proc_text;
use crate::stacks::{Counts, Frame, Stacks};
use crate::watch::{Brief, Hit, Watch};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use trimtab_sys::clock::boot_ns;

/// In this first part of the window, one in so many, what was collected with too small a copy is thrown away.
const THROWN_AWAY_PART: u64 = 4;
/// How long one wait may last; a ring that fills, and the end of the process, wake earlier. At first it is short, so that too
/// small a copy is found out soon; then waking costs more than it brings.
const STEP_MS: (u64, u64) = (50, 1_000);

/// What was collected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) kind: Kind,
    pub(crate) stacks: Stacks,
    pub(crate) counts: Counts,
    /// How many samples each stack has where the counts are times; empty for CPU time, whose counts are samples.
    pub(crate) hits: Counts,
    pub(crate) quality: Quality,
    /// The window, by the boot-time clock.
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
}

impl Profile {
    /// How many samples each stack has.
    pub(crate) fn samples(&self) -> &Counts {
        match self.kind {
            Kind::Cpu => &self.counts,
            Kind::Offcpu | Kind::Wall => &self.hits,
        }
    }
}

/// Counts what comes.
fn counting<'c>(kind: Kind, counts: &'c mut Counts, hits: &'c mut Counts) -> impl FnMut(Hit) + 'c {
    move |hit| {
        *counts.entry(hit.stack).or_default() += hit.weight;
        if kind != Kind::Cpu {
            *hits.entry(hit.stack).or_default() += 1;
        }
    }
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
    brief.stack_bytes = modules.stack_bytes(brief.pid, brief.kind, brief.stack_bytes);
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
        if left_ms == 0 || stop.load(Ordering::Relaxed) || !watch.is_there() {
            break;
        }
        let Profile {
            stacks,
            counts,
            hits,
            ..
        } = &mut profile;
        watch.wait(left_ms.min(step_ms(now.saturating_sub(begun_ns))))?;
        watch.take(stacks, counting(brief.kind, counts, hits));
        if let Some(larger) = watch.larger_copy() {
            brief.stack_bytes = larger;
            modules.note_stack_bytes(brief.pid, brief.kind, larger);
            let early = now.saturating_sub(begun_ns) < window_ns / THROWN_AWAY_PART;
            let Profile {
                stacks,
                counts,
                hits,
                quality,
                ..
            } = &mut profile;
            let replaced =
                std::mem::replace(&mut watch, Watch::begin(brief.clone(), modules.clone())?);
            if early {
                (*stacks, *quality) = (Stacks::default(), Quality::default());
                (*counts, *hits) = (Counts::default(), Counts::default());
                profile.from_ns = boot_ns();
            } else {
                quality.add(&replaced.end(stacks, counting(brief.kind, counts, hits)));
            }
        }
    }
    finish(profile, watch)
}

/// How long to wait in a window that is so old.
fn step_ms(elapsed_ns: u64) -> u32 {
    let half_ms = elapsed_ns / 2_000_000;
    u32::try_from(half_ms.clamp(STEP_MS.0, STEP_MS.1)).unwrap_or(u32::MAX)
}

fn finish(mut profile: Profile, mut watch: Watch) -> io::Result<Profile> {
    profile.until_ns = boot_ns();
    let window_ns = profile.until_ns.saturating_sub(profile.from_ns);
    let sleepers = watch.sleepers();
    let Profile {
        stacks,
        counts,
        hits,
        kind,
        quality: earlier,
        ..
    } = &mut profile;
    let mut quality = watch.end(stacks, counting(*kind, counts, hits));
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

/// Whether there is such a process, and it has not ended.
pub(crate) fn is_there(pid: u32) -> bool {
    // One that has ended and was not waited for has no threads that could be sampled.
    let stat = proc_text(&format!("/proc/{pid}/stat"));
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
    fn the_older_the_window_the_longer_are_the_waits() {
        let ms = |elapsed_ms: u64| step_ms(elapsed_ms * 1_000_000);
        assert_eq!(
            [0, 99, 200, 2_000, 60_000].map(ms),
            [50, 50, 100, 1_000, 1_000]
        );
    }
}
