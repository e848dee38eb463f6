//! The profiler's own process: it reads questions from a pipe and answers each when its answer is there.
//!
//! Each profile is collected on a thread of its own; names and pictures are made on one further thread, which keeps the
//! symbolizer. One profile of a process and kind is collected at a time: who asks for the same window shares it, who asks for
//! another is told when to come again. It ends with its input.

mod memory;
mod studio;

use self::memory::Memory;
use self::studio::{Difference, Job, Push, Studio};
use crate::ask::{Answer, Ask, Because, HZ_MAX, Outcome, Request, Shot, WINDOW_MS_MAX};
use crate::cage;
use crate::kind::Kind;
use crate::ladder::{Here, probe};
use crate::module::Modules;
use crate::quality::Quality;
use crate::take::{Taken, take};
use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use trimtab_sys::clock::boot_ns;
use trimtab_sys::process::yield_to_others;

/// Steps of niceness: a picture may wait, the host may not.
const NICENESS: i32 = 5;
/// The longest line of a question.
const LINE_BYTES_MAX: u64 = 1 << 16;
/// How many profiles' qualities are remembered.
const RECENT_MAX: usize = 16;

/// Runs the profiler over this process's input and output until the input ends.
#[must_use]
pub fn main() -> ExitCode {
    // Not being nice or not being caged is worse, but no reason to show no graph.
    let _nice = yield_to_others(NICENESS);
    let caged = cage::enter().is_ok();
    let output: Box<dyn Write + Send> = Box::new(io::stdout());
    let desk = Desk::new(output, caged);
    match desk.serve(&mut io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Where questions are taken.
struct Desk {
    shared: Arc<Shared>,
    modules: Modules,
    jobs: Sender<Job>,
    memory: Memory,
}

/// What the threads share.
struct Shared {
    output: Mutex<Box<dyn Write + Send>>,
    flights: Mutex<HashMap<(u32, Kind), Flight>>,
    recent: Mutex<VecDeque<(Kind, Quality)>>,
    caged: bool,
}

/// A profile that is being collected.
struct Flight {
    end_ns: u64,
    window_ms: u64,
    hz: u32,
    /// Who waits for it, and how each wants it shown.
    waiting: Vec<(u64, Shot)>,
}

impl Desk {
    fn new(output: Box<dyn Write + Send>, caged: bool) -> Self {
        let shared = Arc::new(Shared {
            output: Mutex::new(output),
            flights: Mutex::default(),
            recent: Mutex::default(),
            caged,
        });
        let modules = Modules::default();
        let (jobs, work) = channel();
        // The symbolizer cannot leave its thread, so it is made there.
        let (of_studio, of_names) = (Arc::clone(&shared), modules.clone());
        thread::spawn(move || {
            let mut studio = Studio::new(of_studio, of_names);
            work.into_iter().for_each(|job| studio.work(job));
        });
        Self {
            shared,
            memory: Memory::new(modules.clone()),
            modules,
            jobs,
        }
    }

    fn serve(mut self, input: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                self.memory.stop();
                return Ok(());
            }
            let request: Request = serde_json::from_slice(&line)?;
            self.answer(request);
        }
    }

    fn answer(&mut self, Request { id, ask }: Request) {
        match ask {
            Ask::Next { shot, window_ms } => {
                self.begin(id, shot, window_ms.clamp(1, WINDOW_MS_MAX))
            }
            Ask::Past { .. } | Ask::Difference { .. } | Ask::Push { .. } => {
                match self.remembered(id, ask) {
                    Some(job) => self.hand_over(job),
                    None => self.nothing_remembered(id),
                }
            }
            Ask::Heat { stretch } => {
                let (columns, hz) = self.memory.heat(stretch);
                self.shared.say(id, Outcome::Heat { columns, hz });
            }
            Ask::Capabilities { pid, own_profile } => {
                let steps = probe(&Here, pid, own_profile.as_deref());
                self.shared.say(
                    id,
                    Outcome::Capabilities {
                        steps,
                        remembered: self.memory.brief(),
                    },
                );
            }
            Ask::Quality => {
                let recent = self
                    .shared
                    .recent
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let recent = recent.iter().cloned().collect();
                self.shared.say(id, Outcome::Quality { recent });
            }
            Ask::Remember { pid, hz, bytes_max } => {
                self.memory.remember(pid, hz.clamp(1, HZ_MAX), bytes_max);
                self.shared.say(id, Outcome::Done);
            }
        }
    }

    /// The work that a question about the past makes; none when nothing of that time is remembered.
    fn remembered(&self, id: u64, ask: Ask) -> Option<Job> {
        let taken =
            |shot: &Shot, stretch| Some(Taken::Stacks(self.memory.stretch(shot.pid, stretch)?));
        match ask {
            Ask::Past { shot, stretch } => {
                let graph = Arc::new(taken(&shot, stretch)?);
                Some(Job::Graph(graph, vec![(id, shot)]))
            }
            Ask::Difference {
                shot,
                before,
                after,
            } => {
                let (before, after) = (taken(&shot, before)?, taken(&shot, after)?);
                Some(Job::Difference(Box::new(Difference {
                    id,
                    shot,
                    before,
                    after,
                })))
            }
            Ask::Push {
                shot,
                stretch,
                parcel,
            } => {
                let taken = taken(&shot, stretch)?;
                Some(Job::Push(Box::new(Push {
                    id,
                    shot,
                    taken,
                    parcel,
                })))
            }
            _ => None,
        }
    }

    /// Begins to collect, or joins a collection of the same window.
    fn begin(&self, id: u64, shot: Shot, window_ms: u64) {
        let key = (shot.pid, shot.kind);
        let mut flights = self
            .shared
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get_mut(&key) {
            if flight.window_ms == window_ms && flight.hz == shot.hz {
                flight.waiting.push((id, shot));
            } else {
                let left_ns = flight.end_ns.saturating_sub(boot_ns());
                self.shared.say(
                    id,
                    Outcome::Busy {
                        retry_after_s: left_ns.div_ceil(1_000_000_000).max(1),
                    },
                );
            }
            return;
        }
        let shot = Shot {
            hz: shot.hz.clamp(1, HZ_MAX),
            ..shot
        };
        let end_ns = boot_ns().saturating_add(window_ms.saturating_mul(1_000_000));
        let flight = Flight {
            end_ns,
            window_ms,
            hz: shot.hz,
            waiting: vec![(id, shot.clone())],
        };
        flights.insert(key, flight);
        drop(flights);
        let (shared, modules, jobs) = (
            Arc::clone(&self.shared),
            self.modules.clone(),
            self.jobs.clone(),
        );
        thread::spawn(move || {
            let taken = take(&shot, window_ms, &modules, &AtomicBool::new(false));
            let waiting = {
                let mut flights = shared
                    .flights
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                flights
                    .remove(&key)
                    .map(|flight| flight.waiting)
                    .unwrap_or_default()
            };
            match taken {
                Ok(taken) => {
                    // The studio lives as long as the desk, and the desk as long as the process.
                    let _gone = jobs.send(Job::Graph(Arc::new(taken), waiting));
                }
                Err(error) => waiting.iter().for_each(|(id, _)| shared.fail(*id, &error)),
            }
        });
    }

    fn hand_over(&self, job: Job) {
        let _gone = self.jobs.send(job);
    }

    fn nothing_remembered(&self, id: u64) {
        let problem = match self.memory.brief() {
            Some(brief) => format!("nothing is remembered of that time; {}", brief.collector),
            None => {
                "nothing is remembered: the memory of the recent past is switched off".to_owned()
            }
        };
        self.shared.say(
            id,
            Outcome::Failed {
                because: Because::Unknown,
                problem,
            },
        );
    }
}

impl Shared {
    /// Answers without a graph.
    fn say(&self, id: u64, outcome: Outcome) {
        self.write(
            &Answer {
                id,
                outcome,
                bytes: 0,
            },
            &[],
        );
    }

    fn fail(&self, id: u64, error: &io::Error) {
        let because = match error.kind() {
            io::ErrorKind::NotFound => Because::Unknown,
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::Unsupported
            | io::ErrorKind::InvalidInput => Because::Denied,
            _ => Because::Internal,
        };
        self.say(
            id,
            Outcome::Failed {
                because,
                problem: error.to_string(),
            },
        );
    }

    /// Answers with a graph.
    fn show(&self, id: u64, kind: Kind, mut quality: Quality, bytes: &[u8]) {
        if !self.caged {
            quality.collector.push_str(" (uncaged)");
        }
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_back((kind, quality.clone()));
            while recent.len() > RECENT_MAX {
                recent.pop_front();
            }
        }
        self.write(
            &Answer {
                id,
                outcome: Outcome::Graph { quality },
                bytes: bytes.len(),
            },
            bytes,
        );
    }

    /// Whoever asked may be gone, and then nobody minds that an answer is not read: the input ends as well.
    fn write(&self, answer: &Answer, bytes: &[u8]) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *output, answer)
            .map_err(io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .and_then(|()| output.write_all(bytes))
            .and_then(|()| output.flush());
        drop(written);
    }
}

#[cfg(test)]
mod tests;
