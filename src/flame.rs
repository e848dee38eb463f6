//! Flame carries questions to the profiler, which is a process of its own, and brings back its answers.
//!
//! The profiler is started when somebody asks, and left again when nobody has for a while, unless the recent past is to be
//! remembered. When it dies, those who waited are told, and the next question starts another: its death costs nothing but
//! the graph. Nothing here waits for it but those who asked.

mod keeper;
mod link;

pub use keeper::Keeper;

use crate::clock::Clock;
use crate::flame::keeper::Source;
use crate::flame::link::{Heard, Link};
use crate::message::{FlameAnswer, FlameCall};
use crate::view::View;
use bytes::Bytes;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};
use trimtab_flame::ask::{Ask, Because, Outcome, SETTLED_MS, Shot, Stretch};
use trimtab_flame::push::Parcel;

/// After so long without a question the profiler is left.
const IDLE: Duration = Duration::from_secs(60);
/// A profiler that died is not started for the ring's sake more often than this.
const RESTART: Duration = Duration::from_secs(10);
/// How often what is remembered is sent; servers keep profiles of ten to fifteen seconds.
const PUSH: Duration = Duration::from_secs(15);
const SECOND_NS: u64 = 1_000_000_000;
/// How many may wait for graphs. Each is one connection, of which there are not many more.
pub(crate) const WAITING_MAX: usize = 64;

/// What is to be remembered of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remember {
    /// Samples a second of CPU time.
    pub hz: u32,
    /// In at most so many bytes.
    pub bytes_max: usize,
}

/// Where what is remembered is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The server.
    pub server: String,
    /// The service's name there.
    pub name: String,
}

/// The stage.
#[derive(Debug)]
pub struct Flame {
    source: Source,
    remember: Option<Remember>,
    push: Option<Push>,
    /// Until when what is remembered was sent: the beginning of a second.
    pushed_ns: u64,
    push_due: Instant,
    clock: Arc<dyn Clock>,
    view: watch::Receiver<Arc<View>>,
    link: Option<Link>,
    waiting: HashMap<u64, oneshot::Sender<FlameAnswer>>,
    next_id: u64,
    remembered_pid: Option<u32>,
    /// When the profiler is next left, or started again for the ring's sake.
    due: Instant,
}

impl Flame {
    /// A stage that starts `trimtab-prof` from beside this program, or else from where programs are.
    #[must_use]
    pub fn new(
        remember: Option<Remember>,
        push: Option<Push>,
        clock: Arc<dyn Clock>,
        view: watch::Receiver<Arc<View>>,
    ) -> Self {
        Self {
            source: Source::Program(program()),
            remember,
            push,
            pushed_ns: 0,
            push_due: Instant::now() + PUSH,
            clock,
            view,
            link: None,
            waiting: HashMap::new(),
            next_id: 0,
            remembered_pid: None,
            due: Instant::now(),
        }
    }

    /// Lets a keeper start the profilers, for a sidecar that may start no program itself.
    #[must_use]
    pub fn kept_by(mut self, keeper: Keeper) -> Self {
        self.source = Source::Keeper(keeper);
        self
    }

    /// Carries questions until nobody can ask any more.
    pub async fn run(mut self, mut calls: mpsc::Receiver<FlameCall>) {
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some(call) => self.ask(call).await,
                    None => return,
                },
                heard = Link::hear(&mut self.link) => self.answered(heard),
                changed = self.view.changed(), if self.remember.is_some() => {
                    if changed.is_err() {
                        return;
                    }
                    self.follow_host().await;
                }
                () = sleep_until(self.push_due), if self.push.is_some() => self.push().await,
                () = sleep_until(self.due), if self.link.is_some() => self.rest(),
            }
        }
    }

    async fn ask(&mut self, FlameCall { ask, answer }: FlameCall) {
        if self.waiting.len() >= WAITING_MAX {
            let outcome = Outcome::Busy { retry_after_s: 1 };
            return tell(
                answer,
                FlameAnswer {
                    outcome,
                    bytes: Bytes::new(),
                },
            );
        }
        match self.send(ask).await {
            Ok(id) => {
                self.waiting.insert(id, answer);
            }
            Err(problem) => tell(answer, failed(problem)),
        }
    }

    /// Sends a question, to a new profiler if there is none.
    async fn send(&mut self, ask: Ask) -> Result<u64, String> {
        self.due = Instant::now() + IDLE;
        let link = match &mut self.link {
            Some(link) => link,
            None => self.link.insert(Link::start(&self.source)?),
        };
        self.next_id += 1;
        if let Err(error) = link.say(self.next_id, ask).await {
            self.lost(&format!("the profiler does not listen: {error}"));
            return Err("the profiler has ended; ask again".to_owned());
        }
        Ok(self.next_id)
    }

    fn answered(&mut self, heard: Heard) {
        match heard {
            Heard::Answer(answer, bytes) => {
                let outcome = answer.outcome;
                if let Some(waiting) = self.waiting.remove(&answer.id) {
                    tell(waiting, FlameAnswer { outcome, bytes });
                } else if let Outcome::Failed { problem, .. } = outcome {
                    warn!(problem, "what is remembered was not sent");
                }
            }
            Heard::End(why) => self.lost(&why),
        }
    }

    /// The profiler is gone.
    fn lost(&mut self, why: &str) {
        warn!(why, "the profiler has ended");
        self.link = None;
        self.remembered_pid = None;
        self.due = Instant::now() + RESTART;
        for (_, waiting) in self.waiting.drain() {
            tell(
                waiting,
                failed("the profiler ended before the graph was done; ask again".to_owned()),
            );
        }
    }

    /// Lets the profiler remember the host's process, whichever that is now.
    async fn follow_host(&mut self) {
        let Some(Remember { hz, bytes_max }) = self.remember else {
            return;
        };
        let pid = self
            .view
            .borrow_and_update()
            .hosts
            .values()
            .find_map(|host| host.status.pid);
        let too_soon = self.link.is_none() && Instant::now() < self.due;
        if pid == self.remembered_pid || pid.is_none() || too_soon {
            return;
        }
        match self.send(Ask::Remember { pid, hz, bytes_max }).await {
            Ok(_) => {
                self.remembered_pid = pid;
                // Of the time before nothing is known.
                let now_ns = self.clock.now().as_boot_ns();
                self.pushed_ns = self.pushed_ns.max(now_ns - now_ns % SECOND_NS);
            }
            Err(problem) => {
                warn!(problem, "the recent past is not remembered");
                self.due = Instant::now() + RESTART;
            }
        }
    }

    /// Sends what was remembered since the last time; what cannot be sent is not sent again. Seconds are remembered whole, so it
    /// ends with the last one of which all is known, and the next time begins there.
    async fn push(&mut self) {
        self.push_due = Instant::now() + PUSH;
        let (Some(push), Some(Remember { hz, .. }), Some(pid)) =
            (&self.push, self.remember, self.remembered_pid)
        else {
            return;
        };
        let (now_ns, wall_ms) = (self.clock.now().as_boot_ns(), self.clock.wall_ms());
        let settled_ns = now_ns.saturating_sub(SETTLED_MS * 1_000_000);
        let stretch = Stretch {
            from_ns: self.pushed_ns,
            until_ns: settled_ns - settled_ns % SECOND_NS,
        };
        if stretch.until_ns <= stretch.from_ns {
            return;
        }
        self.pushed_ns = stretch.until_ns;
        let seconds = (stretch.until_ns - stretch.from_ns) / SECOND_NS;
        let until_ms = wall_ms.saturating_sub((now_ns - stretch.until_ns) / 1_000_000);
        // To the nearest: the two clocks' seconds do not begin together.
        let until_s = until_ms.saturating_add(500) / 1_000;
        let parcel = Parcel {
            server: push.server.clone(),
            name: push.name.clone(),
            from_s: until_s.saturating_sub(seconds),
            until_s,
            hz,
        };
        let shot = Shot::of(pid);
        if let Err(problem) = self
            .send(Ask::Push {
                shot,
                stretch,
                parcel,
            })
            .await
        {
            warn!(problem, "what is remembered was not sent");
        }
    }

    /// Leaves the profiler when nobody needs it.
    fn rest(&mut self) {
        self.due = Instant::now() + IDLE;
        if self.waiting.is_empty() && self.remembered_pid.is_none() {
            debug!("the profiler is not needed any more");
            self.link = None;
        }
    }
}

fn tell(waiting: oneshot::Sender<FlameAnswer>, answer: FlameAnswer) {
    // Whoever asked may have gone.
    drop(waiting.send(answer));
}

fn failed(problem: String) -> FlameAnswer {
    let outcome = Outcome::Failed {
        because: Because::Internal,
        problem,
    };
    FlameAnswer {
        outcome,
        bytes: Bytes::new(),
    }
}

/// The profiler's program: beside this one, where it was built and is installed together with it.
fn program() -> PathBuf {
    const NAME: &str = "trimtab-prof";
    let beside = std::env::current_exe()
        .ok()
        .map(|own| own.with_file_name(NAME));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(NAME))
}

#[cfg(test)]
mod tests;
