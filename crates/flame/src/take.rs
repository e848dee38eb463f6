//! One profile of the time that now begins, by the best rung that can be reached.

use crate::ask::Shot;
use crate::collect::{Profile, collect, is_there};
use crate::copied::STACK_BYTES;
use crate::draw::View;
use crate::format::{Foreign, Named};
use crate::kind::Kind;
use crate::ladder::{Ground, Here, Rung, Step, probe};
use crate::module::Modules;
use crate::names::{Namer, Names};
use crate::python;
use crate::quality::Quality;
use crate::scrape::scrape;
use crate::stacks::{CALLERS_NOT_FOUND, CUT_OFF, Frame, StackId, Stacks};
use crate::states;
use crate::tree::{Side, Tree};
use crate::watch::Brief;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::AtomicBool;

/// What was taken: stacks of addresses, or what has names already.
#[derive(Debug)]
pub(crate) enum Taken {
    Stacks(Profile),
    Named(Tree, Kind, Quality),
}

/// Which rungs may be tried, best first.
pub(crate) fn rungs(shot: &Shot) -> Vec<Step> {
    probe(&Here, shot.pid, shot.own_profile.as_deref())
}

/// Takes a profile.
///
/// # Errors
/// `NotFound` without such a process; else why the last rung failed.
pub(crate) fn take(
    shot: &Shot,
    window_ms: u64,
    modules: &Modules,
    stop: &AtomicBool,
) -> io::Result<Taken> {
    if !is_there(shot.pid) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no process {}", shot.pid),
        ));
    }
    let steps = rungs(shot);
    let mut failure = io::Error::from(io::ErrorKind::PermissionDenied);
    for step in steps.iter().filter(|step| step.reached) {
        match try_rung(step.rung, shot, window_ms, modules, stop) {
            Ok(Some(taken)) => return Ok(explained(taken, step.rung, shot.kind, &steps)),
            Ok(None) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Takes a profile by one rung; nothing where the rung cannot show this kind of time.
fn try_rung(
    rung: Rung,
    shot: &Shot,
    window_ms: u64,
    modules: &Modules,
    stop: &AtomicBool,
) -> io::Result<Option<Taken>> {
    let window_ns = window_ms.saturating_mul(1_000_000);
    match rung {
        Rung::PerfCgroup | Rung::PerfKernel | Rung::PerfUser => {
            let kernel = rung != Rung::PerfUser;
            if !kernel && shot.kind != Kind::Cpu {
                return Ok(None);
            }
            let Some(brief) = brief(rung, shot.pid, shot.kind, shot.hz) else {
                return Ok(None);
            };
            collect(&brief, window_ns, modules, stop).map(|profile| Some(Taken::Stacks(profile)))
        }
        Rung::OwnProfile => match (&shot.own_profile, shot.kind) {
            (Some(address), Kind::Cpu) => {
                Ok(Some(told_by_itself(scrape(address, window_ms)?, window_ms)))
            }
            _ => Ok(None),
        },
        Rung::Python => {
            let (tree, quality) = python::watch(shot.pid, shot.kind, window_ns, stop)?;
            Ok(Some(Taken::Named(tree, shot.kind, quality)))
        }
        Rung::ThreadStates => {
            let (tree, quality) = states::watch(shot.pid, shot.kind, window_ns, stop)?;
            Ok(Some(Taken::Named(tree, shot.kind, quality)))
        }
    }
}

/// What a host says of its own CPU time, with as much of its quality as that tells.
fn told_by_itself(foreign: Foreign, window_ms: u64) -> Taken {
    let Foreign { tree, hz, .. } = foreign;
    let quality = Quality {
        samples: tree.total(Side::First),
        hz,
        window_ms,
        unseen: vec!["how complete it is: the host does not say".to_owned()],
        ..Quality::default()
    };
    Taken::Named(tree, Kind::Cpu, quality)
}

/// What a rung of the kernel's samples needs to know.
pub(crate) fn brief(rung: Rung, pid: u32, kind: Kind, hz: u32) -> Option<Brief> {
    let cgroup = match rung {
        Rung::PerfCgroup => Some(Here.try_cgroup(pid).ok()?),
        _ => None,
    };
    Some(Brief {
        pid,
        cgroup,
        kind,
        hz,
        stack_bytes: STACK_BYTES,
        kernel: rung != Rung::PerfUser,
    })
}

/// Adds how it was taken and what therefore cannot be seen.
fn explained(taken: Taken, rung: Rung, kind: Kind, steps: &[Step]) -> Taken {
    let mut missing = Vec::new();
    let step = steps
        .iter()
        .find(|step| step.rung == Rung::PerfKernel && !step.reached);
    if let Some(step) = step.filter(|_| rung != Rung::Python) {
        let what = match (rung, kind) {
            (Rung::PerfUser, _) => "the kernel's frames",
            (_, Kind::Cpu) => "samples by the kernel",
            (_, Kind::Offcpu | Kind::Wall) => "stacks of threads that wait",
        };
        missing.push(format!("{what}: {}; {}", step.reason, step.fix));
    }
    let tell = |quality: &mut Quality| {
        rung.words().clone_into(&mut quality.collector);
        quality.unseen.extend(missing);
    };
    match taken {
        Taken::Stacks(mut profile) => {
            tell(&mut profile.quality);
            Taken::Stacks(profile)
        }
        Taken::Named(tree, kind, mut quality) => {
            tell(&mut quality);
            Taken::Named(tree, kind, quality)
        }
    }
}

/// Gives what was taken its names.
pub(crate) fn name(taken: &Taken, shot: &Shot, namer: &mut Namer) -> Named {
    match taken {
        Taken::Stacks(profile) => {
            // A task's type stands in names that optimised programs have only of inlined calls.
            let inlined = shot.inlined || shot.view == View::Task;
            let names = namer.name(&profile.stacks, inlined);
            let tree = Tree::of_stacks(
                &profile.stacks,
                &profile.counts,
                &names,
                shot.thread.as_deref(),
            );
            let quality = quality_of(profile, shot.thread.as_deref(), &names);
            Named {
                title: shot.title.clone(),
                kind: profile.kind,
                tree,
                quality,
            }
        }
        Taken::Named(tree, kind, quality) => {
            let (tree, quality) = match &shot.thread {
                Some(thread) => {
                    let part = tree.of_thread(thread);
                    let quality = quality_of_part(&part, tree, quality);
                    (part, quality)
                }
                None => (tree.clone(), quality.clone()),
            };
            Named {
                title: shot.title.clone(),
                kind: *kind,
                tree,
                quality,
            }
        }
    }
}

/// How good a profile is, or the part of it that a thread's samples make.
fn quality_of(profile: &Profile, thread: Option<&str>, names: &Names) -> Quality {
    let stacks = &profile.stacks;
    let is_wanted = |stack: StackId| {
        thread.is_none_or(|wanted| {
            let mut calls = stacks.calls(stack);
            calls.any(|frame| stacks.is_thread(frame, wanted) == Some(true))
        })
    };
    let is_nameless = |stack| {
        let innermost = stacks.calls(stack).next();
        let at = innermost.and_then(|frame| stacks.frame_place(frame));
        at.and_then(|at| names.nameless.get(at).copied())
            .unwrap_or(false)
    };
    let mut quality = profile.quality.clone();
    if thread.is_some() {
        clear(&mut quality);
    }
    quality.unknown = 0;
    for (stack, count) in profile.samples() {
        if !is_wanted(*stack) {
            continue;
        }
        if is_nameless(*stack) {
            quality.unknown += count;
        }
        if thread.is_some() {
            quality.samples += count;
            *end_of(&mut quality, stacks, *stack) += count;
        }
    }
    if thread.is_some() {
        let wanted = profile.counts.keys().filter(|stack| is_wanted(**stack));
        let tids = wanted.filter_map(|stack| {
            stacks.calls(*stack).find_map(|frame| match frame {
                Frame::Thread { tid, .. } => Some(tid),
                _ => None,
            })
        });
        let tids: HashSet<u32> = tids.collect();
        quality.threads = u64::try_from(tids.len()).unwrap_or(u64::MAX);
    }
    quality
}

/// The number of a quality that tells how a stack ends above.
fn end_of<'q>(quality: &'q mut Quality, stacks: &Stacks, stack: StackId) -> &'q mut u64 {
    let ends = |with: &str| {
        let is_it = |frame| matches!(frame, Frame::Text(text) if stacks.text(text) == with);
        stacks.calls(stack).any(is_it)
    };
    if ends(CUT_OFF) {
        &mut quality.truncated
    } else if ends(CALLERS_NOT_FOUND) {
        &mut quality.broken
    } else {
        &mut quality.complete
    }
}

/// How good the part of a profile is that a thread's samples make. All its samples weigh the same.
fn quality_of_part(part: &Tree, whole: &Tree, quality: &Quality) -> Quality {
    let all = u128::from(whole.total(Side::First).max(1));
    let found = quality.samples.saturating_sub(quality.lost);
    let share = |count: u64, weight: u64| {
        u64::try_from(u128::from(count) * u128::from(weight) / all).unwrap_or(u64::MAX)
    };
    let mut broken = 0;
    part.each_stack(|calls, [weight, _]| {
        if calls.contains(&CALLERS_NOT_FOUND) {
            broken += weight;
        }
    });
    let weight = part.total(Side::First);
    let mut told = quality.clone();
    clear(&mut told);
    told.samples = share(found, weight);
    told.broken = share(found, broken);
    if quality.complete > 0 {
        told.complete = told.samples - told.broken;
    }
    told.unknown = share(quality.unknown, weight);
    told
}

/// Forgets all that was counted of the whole process, where only a thread of it is to be told of.
fn clear(quality: &mut Quality) {
    (quality.samples, quality.unknown) = (0, 0);
    (quality.complete, quality.truncated, quality.broken) = (0, 0, 0);
    if quality.lost > 0 {
        let sentence = "of which threads the samples were that got lost; they are those of all";
        quality.unseen.push(sentence.to_owned());
    }
}

/// Takes a profile and writes it, for a program that wants one and is done.
///
/// # Errors
/// `NotFound` without such a process; else why nothing could be taken.
pub fn shoot(shot: &Shot, window_ms: u64) -> io::Result<(Named, Vec<u8>)> {
    let modules = Modules::default();
    let taken = take(shot, window_ms, &modules, &AtomicBool::new(false))?;
    let named = name(&taken, shot, &mut Namer::new(modules));
    let bytes = named.write(shot.view, shot.format)?;
    Ok((named, bytes))
}

#[cfg(test)]
mod tests;
