//! One run: a scenario, a seed, and somebody at the knobs.

use crate::host::generation;
use crate::pool::{Ended, Setting};
use crate::scenario::Scenario;
use crate::tally::Achieved;
use crate::trace::Trace;
use crate::world::{League, World};
use std::collections::VecDeque;
use trimtab_core::controller::Controller;
use trimtab_core::decision::{Decision, LeaseWish, Orders, Step};
use trimtab_core::observation::{Answer, Observation, Receipt};
use trimtab_core::profile::Settings;
use trimtab_protocol::decision::Absence;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_protocol::view::DecisionRecord;

/// Values that somebody wants at one pool; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// The pool.
    pub pool: usize,
    /// Workers.
    pub workers: Option<u64>,
    /// How many may wait.
    pub queue_limit: Option<u64>,
    /// How long a job may be in service, in seconds.
    pub timeout: Option<f64>,
}

/// Somebody who wants values, by rules of their own. The simulator bounds the workers to the scenario's.
pub trait Rival {
    /// Wants values at a tick.
    fn tick(&mut self, observation: &Observation) -> Vec<Wish>;

    /// Wants values when a job of a pool ended, in the in-process league.
    fn ended(&mut self, pool: usize, job: &Ended, setting: &Setting) -> Vec<Wish>;
}

/// Who is at the knobs.
pub enum Driver<'a> {
    /// Nobody: the start values stay.
    Nobody,
    /// Sizes at given times, pool by pool.
    Schedule(&'a [(f64, Vec<u64>)]),
    /// The product's controller.
    Controller(Box<Controller>),
    /// The product's controller, which is told other settings on the way.
    Adopting {
        /// The controller.
        controller: Box<Controller>,
        /// When, in seconds.
        at: f64,
        /// What it is told then.
        settings: Option<Box<Settings>>,
    },
    /// A rival.
    Rival(Box<dyn Rival + 'a>),
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Nobody => "Nobody",
            Self::Schedule(_) => "Schedule",
            Self::Controller(_) => "Controller",
            Self::Adopting { .. } => "Adopting",
            Self::Rival(_) => "Rival",
        })
    }
}

impl Driver<'_> {
    /// Other settings are adopted once it is time.
    fn adopt_by(&mut self, now: f64) {
        if let Self::Adopting {
            controller,
            at,
            settings,
        } = self
            && now >= *at
            && let Some(settings) = settings.take()
        {
            controller.adopt(*settings);
        }
    }
}

/// A second of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Second {
    /// When, in seconds.
    pub at: f64,
    /// What stands in each pool.
    pub settings: Vec<Setting>,
    /// Jobs in service.
    pub busy: Vec<u64>,
    /// Jobs that wait.
    pub queued: Vec<u64>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What each pool achieved.
    pub pools: Vec<Achieved>,
    /// Each second, at its beginning.
    pub seconds: Vec<Second>,
    /// When a value of a pool changed by the controller's doing, rollbacks included: time and pool.
    pub changes: Vec<(f64, usize)>,
    /// How often the host was killed for memory.
    pub kills: u64,
    /// Changes begun while somebody held the workers by hand.
    pub fights: u64,
    /// Values wanted or set outside the scenario's bounds.
    pub violations: u64,
    /// Decisions that changed something without saying why, what is expected, and on what evidence.
    pub unexplained: u64,
    /// Virtual time of the run, in seconds.
    pub duration: f64,
}

impl Outcome {
    /// Goodput of a pool in jobs a second.
    #[must_use]
    pub fn goodput(&self, pool: usize) -> f64 {
        let good = self.pools.get(pool).map_or(0, Achieved::goodput);
        good as f64 / self.duration
    }
}

/// Somebody who looks on: each tick's observation, the decision on it, and the second that begins.
pub type Onlooker<'a> = dyn FnMut(&Observation, Option<&Decision>, &Second) + 'a;

/// What else acts on the host, whoever is at the knobs: a loop around it, or a person.
pub trait Outside {
    /// Acts at the beginning of a second, before anybody looks.
    fn act(&mut self, world: &mut World<'_>);
}

/// Nothing else acts on the host.
struct NobodyElse;

impl Outside for NobodyElse {
    fn act(&mut self, _: &mut World<'_>) {}
}

/// How a run is made.
#[derive(Debug)]
pub struct Run<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// Its jobs.
    pub trace: &'a Trace,
    /// The seed of the senses and delays.
    pub seed: u64,
    /// The rules.
    pub league: League,
}

impl Run<'_> {
    /// Runs it.
    #[must_use]
    pub fn drive(&self, driver: Driver<'_>) -> Outcome {
        self.watched(driver, &mut |_, _, _| ())
    }

    /// Runs it with an onlooker.
    pub fn watched(&self, driver: Driver<'_>, onlooker: &mut Onlooker<'_>) -> Outcome {
        self.among(driver, &mut NobodyElse, onlooker)
    }

    /// Runs it with somebody else who acts on the host too.
    pub fn among(
        &self,
        driver: Driver<'_>,
        outside: &mut dyn Outside,
        onlooker: &mut Onlooker<'_>,
    ) -> Outcome {
        let inside = self.league == League::InProcess && matches!(driver, Driver::Rival(_));
        let mut stage = Stage {
            world: World::new(self.scenario, self.trace, self.seed, inside),
            league: self.league,
            post: VecDeque::new(),
            wishes: VecDeque::new(),
            receipts: Vec::new(),
            outcome: Outcome::default(),
        };
        stage.play(driver, outside, onlooker);
        stage.finish()
    }
}

/// A run under way.
struct Stage<'a> {
    world: World<'a>,
    league: League,
    /// Orders on their way to the host.
    post: VecDeque<(f64, Orders)>,
    /// A rival's wishes on their way.
    wishes: VecDeque<(f64, Vec<Wish>)>,
    receipts: Vec<Receipt>,
    outcome: Outcome,
}

impl Stage<'_> {
    fn play(
        &mut self,
        mut driver: Driver<'_>,
        outside: &mut dyn Outside,
        onlooker: &mut Onlooker<'_>,
    ) {
        let duration = self.world.scenario().duration;
        let mut tick = 0.0;
        while tick < duration {
            self.run_to(tick, &mut driver);
            outside.act(&mut self.world);
            let second = self.second();
            driver.adopt_by(tick);
            match &mut driver {
                Driver::Nobody => {}
                Driver::Schedule(schedule) => {
                    let due = schedule.iter().rev().find(|(at, _)| *at <= tick);
                    if let Some((_, sizes)) = due {
                        self.set_sizes(sizes);
                    }
                }
                Driver::Controller(controller) | Driver::Adopting { controller, .. } => {
                    let receipts = std::mem::take(&mut self.receipts);
                    let observation = self.world.observe(self.league, receipts);
                    let decision = controller.handle_observation(observation.clone());
                    self.note_decision(&decision);
                    self.send(decision.orders.clone());
                    onlooker(&observation, Some(&decision), &second);
                }
                Driver::Rival(rival) => {
                    let observation = self.world.observe(self.league, Vec::new());
                    let wishes = rival.tick(&observation);
                    if self.league == League::Sidecar {
                        let at = tick + self.world.delay();
                        self.wishes.push_back((at, wishes));
                    } else {
                        self.grant(&wishes);
                    }
                    onlooker(&observation, None, &second);
                }
            }
            self.outcome.seconds.push(second);
            tick += 1.0;
        }
        self.run_to(duration, &mut driver);
    }

    /// Runs to a time; what is on its way arrives meanwhile, and a rival inside the host hears each job.
    fn run_to(&mut self, until: f64, driver: &mut Driver<'_>) {
        loop {
            let due = |at: f64| at.min(until);
            let orders = self.post.front().map_or(f64::INFINITY, |(at, _)| *at);
            let wishes = self.wishes.front().map_or(f64::INFINITY, |(at, _)| *at);
            let next = due(orders.min(wishes));
            if !self.world.run_until(next) {
                self.hear(driver);
                continue;
            }
            if orders <= next {
                if let Some((_, orders)) = self.post.pop_front() {
                    self.deliver(&orders);
                }
            } else if wishes <= next {
                if let Some((_, wishes)) = self.wishes.pop_front() {
                    self.grant(&wishes);
                }
            } else {
                return;
            }
        }
    }

    /// A rival inside the host hears of the jobs that just ended.
    fn hear(&mut self, driver: &mut Driver<'_>) {
        for pool in 0..self.world.scenario().pools.len() {
            let Some(site) = self.world.pool(pool) else {
                continue;
            };
            let (ended, setting) = (site.take_ended(), site.setting);
            if let Driver::Rival(rival) = driver {
                for job in ended {
                    let wishes = rival.ended(pool, &job, &setting);
                    if !wishes.is_empty() {
                        self.grant(&wishes);
                    }
                }
            }
        }
    }

    fn second(&self) -> Second {
        Second {
            at: self.world.now(),
            settings: self.world.pools().map(|pool| pool.setting).collect(),
            busy: self.world.pools().map(crate::pool::Pool::busy).collect(),
            queued: self.world.pools().map(crate::pool::Pool::queued).collect(),
        }
    }

    fn send(&mut self, orders: Orders) {
        if self.league == League::InProcess {
            self.deliver(&orders);
        } else {
            let at = self.world.now() + self.world.delay();
            self.post.push_back((at, orders));
        }
    }

    /// Orders reach the host: the lease first, then the steps.
    fn deliver(&mut self, orders: &Orders) {
        let (up, now) = (self.world.is_up(), self.world.now());
        let Some(instance) = &orders.instance else {
            return;
        };
        let known = up && *instance == self.world.host.instance;
        if let Some(receipt) = self.lease(orders.lease, known, now) {
            self.receipts.push(receipt);
        }
        for step in &orders.steps {
            let receipt = self.step(step, known, now);
            self.receipts.push(receipt);
        }
        if let (LeaseWish::Release(epoch), true) = (orders.lease, known) {
            self.world.host.release_lease(epoch);
            self.world.follow();
        }
    }

    fn lease(&mut self, wish: LeaseWish, known: bool, now: f64) -> Option<Receipt> {
        let answer = match wish {
            LeaseWish::Leave | LeaseWish::Release(_) => return None,
            _ if !self.world.is_up() => lost(),
            _ if !known => Answer::Refused {
                problem: restarted(),
            },
            LeaseWish::Take => Answer::Done {
                value: self.world.host.take_lease(now),
            },
            LeaseWish::Renew(epoch) => match self.world.host.renew_lease(epoch, now) {
                Ok(value) => Answer::Done { value },
                Err(problem) => Answer::Refused { problem: *problem },
            },
        };
        self.world.follow();
        Some(Receipt::Lease { answer })
    }

    fn step(&mut self, step: &Step, known: bool, now: f64) -> Receipt {
        let refusal = if !self.world.is_up() {
            Some(lost())
        } else if !known {
            Some(Answer::Refused {
                problem: restarted(),
            })
        } else if self.world.refuses() {
            let problem = Problem::new(ProblemKind::KnobFailed, "the host takes no change now");
            Some(Answer::Refused { problem })
        } else {
            None
        };
        if let Some(answer) = refusal {
            return Receipt::Change {
                action: step.action(),
                pool: step.pool().clone(),
                generation: generation(step),
                answer,
            };
        }
        let before = self.settings();
        let pools = &self.world.scenario().pools;
        let pool = pools
            .iter()
            .position(|pool| pool.name == step.pool().as_str());
        let held = pool.is_some_and(|pool| self.world.is_overridden(pool));
        self.outcome.fights += u64::from(held && matches!(step, Step::Try(_)));
        let receipt = self.world.host.carry_out(step, now);
        self.world.follow();
        self.note_changes(&before);
        receipt
    }

    /// A rival's wishes take effect, within the scenario's bounds.
    fn grant(&mut self, wishes: &[Wish]) {
        if !self.world.is_up() || self.world.refuses() {
            return;
        }
        let before = self.settings();
        for wish in wishes {
            let Some(spec) = self.world.scenario().pools.get(wish.pool) else {
                continue;
            };
            let Some(now) = before.get(wish.pool) else {
                continue;
            };
            let workers = wish.workers.unwrap_or(now.workers);
            let setting = Setting {
                workers: match wish.workers {
                    Some(workers) => workers.clamp(spec.min, spec.max),
                    None => workers,
                },
                queue_limit: wish.queue_limit.unwrap_or(now.queue_limit),
                timeout: wish.timeout.map_or(now.timeout, |timeout| {
                    timeout.clamp(spec.timeout_min, spec.timeout_max)
                }),
            };
            if setting != *now {
                if self.world.is_overridden(wish.pool) {
                    self.outcome.fights += 1;
                }
                self.world.set(wish.pool, setting);
            }
        }
        self.note_changes(&before);
    }

    /// The sizes of a schedule. What someone holds by hand it knows too, and does not fight.
    fn set_sizes(&mut self, sizes: &[u64]) {
        let sizes = sizes.iter().enumerate();
        let free = sizes.filter(|(pool, _)| !self.world.is_overridden(*pool));
        let wishes = free.map(|(pool, workers)| Wish {
            pool,
            workers: Some(*workers),
            ..Wish::default()
        });
        let wishes: Vec<Wish> = wishes.collect();
        self.grant(&wishes);
    }

    fn settings(&self) -> Vec<Setting> {
        self.world.pools().map(|pool| pool.setting).collect()
    }

    fn note_changes(&mut self, before: &[Setting]) {
        let now = self.world.now();
        let after = self.settings();
        for (pool, (was, is)) in before.iter().zip(&after).enumerate() {
            if was == is {
                continue;
            }
            self.outcome.changes.push((now, pool));
            if let Some(spec) = self.world.scenario().pools.get(pool) {
                // What stood outside before anyone came is nobody's violation.
                let outside = !(spec.min..=spec.max).contains(&is.workers);
                let own = [spec.start, spec.operator].contains(&is.workers);
                self.outcome.violations += u64::from(outside && !own);
            }
        }
    }

    fn note_decision(&mut self, decision: &Decision) {
        for step in &decision.orders.steps {
            let about = |(pool, record): &&(Option<PoolName>, DecisionRecord)| {
                pool.as_ref() == Some(step.pool()) && record.action == step.action()
            };
            let explained = decision
                .records
                .iter()
                .find(about)
                .is_some_and(|(_, record)| record.change.is_some() && record.expectation.is_some());
            self.outcome.unexplained += u64::from(!explained);
        }
    }

    fn finish(mut self) -> Outcome {
        self.outcome.duration = self.world.scenario().duration;
        self.outcome.kills = self.world.kills;
        self.outcome.pools = self.world.into_achieved();
        self.outcome
    }
}

fn lost<T>() -> Answer<T> {
    Answer::Lost {
        absence: Absence::Unreachable,
    }
}

fn restarted() -> Problem {
    Problem::new(ProblemKind::Stale, "another instance runs now")
}
