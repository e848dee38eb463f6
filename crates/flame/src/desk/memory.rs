//! The thread that remembers the recent past of one process.

use crate::ask::{HeatColumn, Remembered, Stretch};
use crate::collect::Profile;
use crate::kind::Kind;
use crate::ladder::{Here, Rung, probe};
use crate::module::Modules;
use crate::past::Past;
use crate::take::brief;
use crate::watch::{Brief, Watch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use trimtab_sys::clock::boot_ns;

/// How long a sample may wait in the kernel's ring: a graph of the last second has most of it. Twice that is
/// [`SETTLED_MS`](crate::ask::SETTLED_MS).
const STEP_MS: u32 = 200;

/// What is remembered, and the thread that does it.
pub(super) struct Memory {
    modules: Modules,
    past: Arc<Mutex<Option<Past>>>,
    stop: Arc<AtomicBool>,
    asked: Option<(u32, u32, usize)>,
}

impl Memory {
    pub(super) fn new(modules: Modules) -> Self {
        Self {
            modules,
            past: Arc::default(),
            stop: Arc::default(),
            asked: None,
        }
    }

    /// Remembers this process from now on, and forgets the other; the same again changes nothing.
    pub(super) fn remember(&mut self, pid: Option<u32>, hz: u32, bytes_max: usize) {
        let asked = pid.map(|pid| (pid, hz, bytes_max));
        let runs = self.past().as_ref().is_some_and(Past::is_running);
        if self.asked == asked && (runs || asked.is_none()) {
            return;
        }
        self.stop();
        self.asked = asked;
        self.stop = Arc::default();
        let Some((pid, hz, bytes_max)) = asked else {
            *self.past() = None;
            return;
        };
        *self.past() = Some(Past::new(pid, hz, bytes_max));
        let (past, stop, modules) = (
            Arc::clone(&self.past),
            Arc::clone(&self.stop),
            self.modules.clone(),
        );
        thread::spawn(move || {
            let words = run(pid, hz, &past, &stop, &modules);
            if let Some(past) = of(&past).as_mut().filter(|_| !stop.load(Ordering::Relaxed)) {
                past.ended(words);
            }
        });
    }

    /// Ends the thread; what is remembered stays.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn stretch(&self, pid: u32, stretch: Stretch) -> Option<Profile> {
        let past = self.past();
        past.as_ref()
            .filter(|past| past.pid() == pid)?
            .stretch(stretch)
    }

    pub(super) fn heat(&self, stretch: Stretch) -> (Vec<HeatColumn>, u32) {
        let past = self.past();
        let heat = past
            .as_ref()
            .map(|past| past.heat(stretch))
            .unwrap_or_default();
        (heat, self.asked.map_or(0, |(_, hz, _)| hz))
    }

    pub(super) fn brief(&self) -> Option<Remembered> {
        self.past().as_ref().map(Past::brief)
    }

    fn past(&self) -> MutexGuard<'_, Option<Past>> {
        of(&self.past)
    }
}

fn of(past: &Mutex<Option<Past>>) -> MutexGuard<'_, Option<Past>> {
    past.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers until it is told to stop or the process ends. Says why it ended.
fn run(
    pid: u32,
    hz: u32,
    past: &Mutex<Option<Past>>,
    stop: &AtomicBool,
    modules: &Modules,
) -> String {
    let steps = probe(&Here, pid, None);
    let Some(step) = steps
        .iter()
        .find(|step| step.reached && step.rung.has_native_stacks())
    else {
        let user = steps.iter().find(|step| step.rung == Rung::PerfUser);
        return user
            .map(|step| format!("{}; {}", step.reason, step.fix))
            .unwrap_or_default();
    };
    let Some(mut plan) = brief(step.rung, pid, Kind::Cpu, hz) else {
        return "its control group is gone".to_owned();
    };
    plan.stack_bytes = modules.stack_bytes(pid, plan.kind, plan.stack_bytes);
    if let Some(past) = of(past).as_mut() {
        past.began(step.rung.words());
    }
    loop {
        match watch(&plan, past, stop, modules) {
            Ok(Some(better)) => {
                modules.note_stack_bytes(pid, plan.kind, better);
                plan.stack_bytes = better;
            }
            Ok(None) => return format!("process {pid} has ended"),
            Err(error) => return error.to_string(),
        }
    }
}

/// Watches with one size of copied stacks. Gives another one where that is too small or too large; nothing at the end.
fn watch(
    plan: &Brief,
    past: &Mutex<Option<Past>>,
    stop: &AtomicBool,
    modules: &Modules,
) -> std::io::Result<Option<u32>> {
    let begun_ns = boot_ns();
    let mut watch = Watch::begin(plan.clone(), modules.clone())?;
    if let Some(past) = of(past).as_mut() {
        past.forget_told();
        past.watched(begun_ns);
    }
    while !stop.load(Ordering::Relaxed) && watch.is_there() {
        watch.wait(STEP_MS)?;
        let mut past = of(past);
        let Some(past) = past.as_mut().filter(|past| past.pid() == plan.pid) else {
            break;
        };
        let (now_ns, mut hits) = (boot_ns(), Vec::new());
        watch.take(&mut past.stacks, |hit| hits.push(hit));
        hits.into_iter().for_each(|hit| past.add(hit));
        past.watched(now_ns);
        past.tell(watch.quality());
        past.trim();
        if let Some(better) = watch.larger_copy().or_else(|| watch.smaller_copy()) {
            return Ok(Some(better));
        }
    }
    Ok(None)
}
