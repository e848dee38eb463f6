//! Plays cases on a host, step by step.

use super::corpus::{Case, Step, Wait};
use super::picture::{self, differences};
use super::symbols::Symbols;
use super::wire::{Ask, Door, Reply, Trouble};
use super::{ConformError, Difference, Target, Verdict};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use trimtab_protocol::change::Phase;
use trimtab_protocol::path;
use trimtab_protocol::state::HostState;

/// Holders of the corpus begin with this, so that a replay knows its own leases.
const HOLDER: &str = "conform-";
/// How often a host is asked whether it has done something by itself, and how many times at most: ten seconds.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 500;
/// One more than the changes that a host may take within a minute.
const TRIES: usize = 13;

/// How a case ended.
pub(super) enum Outcome {
    /// To its end; with what was seen at each step.
    Played(Vec<Seen>),
    /// Before its end.
    Ended(Verdict),
}

/// What was seen at a step, in symbols.
pub(super) struct Seen {
    before: Value,
    answer: Value,
}

impl Seen {
    fn compared_with(&self, step: &Step) -> Vec<Difference> {
        let mut found = Vec::new();
        if let Some(expected) = &step.before {
            found.extend(differences("before", expected, &self.before));
        }
        if let Some(expected) = &step.answer {
            found.extend(differences("answer", expected, &self.answer));
        }
        found
    }
}

/// Why a case does not go on.
enum Stop {
    Deviates(Vec<Difference>),
    NotTried(String),
    DoesNotApply(String),
}

impl From<Difference> for Stop {
    fn from(difference: Difference) -> Self {
        Self::Deviates(vec![difference])
    }
}

/// A host that answered when the replay began has to answer every request.
impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        difference("answer", "an answer".to_owned(), trouble.to_string()).into()
    }
}

/// Plays the case on a host and puts what it does into its steps.
///
/// # Errors
/// When the host does not answer or is in use, and in words when the case cannot be played on it.
pub async fn record(target: &Target, case: &Case) -> Result<Result<Case, String>, ConformError> {
    let replay = Replay::begin(target).await?;
    let mut blank = case.clone();
    for step in &mut blank.steps {
        (step.before, step.answer) = (None, None);
    }
    let seen = match replay.case(&blank).await {
        Outcome::Played(seen) => seen,
        Outcome::Ended(verdict) => return Ok(Err(format!("{verdict:?}"))),
    };
    for (step, seen) in blank.steps.iter_mut().zip(seen) {
        // How many changes are taken before the rate is reached depends on what was done within the last minute.
        step.before = step.until.is_none().then_some(seen.before);
        step.answer = Some(seen.answer);
    }
    Ok(Ok(blank))
}

/// A host on which cases are played.
pub(super) struct Replay<'t> {
    target: &'t Target,
    first: HostState,
}

impl<'t> Replay<'t> {
    /// Looks at the host, and puts it into order as far as an operator may.
    pub(super) async fn begin(target: &'t Target) -> Result<Self, ConformError> {
        let first = match read(&target.control).await? {
            Ok(state) => state,
            // Not even its state can be read, which the first case will say.
            Err(_) => {
                serde_json::from_value(json!({"api": 0, "app": "", "instance": "", "at_ns": 0}))
                    .expect("the smallest state is a state")
            }
        };
        let replay = Self { target, first };
        if let Some(lease) = &replay.first.lease
            && !lease.holder.starts_with(HOLDER)
        {
            let why = format!("`{}` holds the lease", lease.holder);
            return Err(ConformError::Busy(why));
        }
        replay.tidy_up().await?;
        if let Ok(state) = read(&target.control).await? {
            if state.frozen {
                return Err(ConformError::Busy("the host is frozen".to_owned()));
            }
            let moved = state
                .pools
                .iter()
                .find(|(_, pool)| pool.phase != Phase::Baseline);
            if let Some((pool, _)) = moved {
                let why = format!("pool `{pool}` is not at its baseline");
                return Err(ConformError::Busy(why));
            }
        }
        Ok(replay)
    }

    pub(super) fn app(&self) -> &str {
        &self.first.app
    }

    pub(super) fn version(&self) -> &str {
        &self.first.version
    }

    /// Plays one case, and puts the host back into order.
    pub(super) async fn case(&self, case: &Case) -> Outcome {
        if let Some(feature) = case.needs.iter().find(|need| !self.first.offers(need)) {
            let why = format!("the host does not offer `{feature}`");
            return Outcome::Ended(Verdict::NotTried { why });
        }
        if self.target.operator.is_none() && case.steps.iter().any(|step| step.operator) {
            let why = "there is no way to call as an operator".to_owned();
            return Outcome::Ended(Verdict::NotTried { why });
        }
        let outcome = self.play(case).await;
        if let Err(trouble) = self.tidy_up().await {
            tracing::debug!(%trouble, "the host could not be put back into order");
        }
        outcome
    }

    async fn play(&self, case: &Case) -> Outcome {
        let mut seen = Vec::new();
        let mut symbols = None;
        for (at, step) in case.steps.iter().enumerate() {
            let ended = match self.turn(step, &mut symbols).await {
                Ok(one) => {
                    let found = one.compared_with(step);
                    seen.push(one);
                    if found.is_empty() {
                        continue;
                    }
                    Stop::Deviates(found)
                }
                Err(stop) => stop,
            };
            return Outcome::Ended(match ended {
                Stop::Deviates(differences) => Verdict::Deviates {
                    step: at + 1,
                    call: step.call.clone(),
                    differences,
                },
                Stop::NotTried(why) => Verdict::NotTried { why },
                Stop::DoesNotApply(why) => Verdict::DoesNotApply { why },
            });
        }
        Outcome::Played(seen)
    }

    /// One step. The symbols are drawn from the state before the first.
    async fn turn(&self, step: &Step, symbols: &mut Option<Symbols>) -> Result<Seen, Stop> {
        if let (Some(wait), Some(symbols)) = (step.wait, &*symbols)
            && !self.wait(wait, symbols).await?
        {
            let found = "it goes on".to_owned();
            return Err(difference("before", format!("{wait:?}"), found).into());
        }
        let state = read(&self.target.control).await??;
        if symbols.is_none() {
            *symbols = Symbols::draw(&state);
        }
        let Some(symbols) = symbols else {
            let why = "no knob of the host can be moved in small steps";
            return Err(Stop::NotTried(why.to_owned()));
        };
        let asked = self.step(step, symbols).await?;
        let reply = asked
            .map_err(|symbol| Stop::DoesNotApply(format!("no knob has a value for `{symbol}`")))?;
        Ok(Seen {
            before: picture::of_state(&state, symbols),
            answer: picture::of_answer(&reply, symbols),
        })
    }

    async fn step(&self, step: &Step, symbols: &Symbols) -> Result<Result<Reply, String>, Trouble> {
        let ask = match filled(step, symbols) {
            Ok(ask) => ask,
            Err(symbol) => return Ok(Err(symbol)),
        };
        let operator = self.target.operator.as_ref().filter(|_| step.operator);
        let door = operator.unwrap_or(&self.target.control);
        match step.until {
            None => Ok(Ok(door.ask(&ask).await?)),
            Some(status) => Ok(Ok(self.hammer(&ask, status).await?)),
        }
    }

    /// Makes a change again and again, and undoes it each time, until it is answered with a status.
    async fn hammer(&self, ask: &Ask, status: u16) -> Result<Reply, Trouble> {
        let mut tries = 0;
        loop {
            let mut body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
            if let Ok(state) = read(&self.target.control).await? {
                body["generation"] = json!(state.generation.next());
                let pool = body["pool"].as_str().unwrap_or_default();
                let revision = state.pools.get(pool).map(|pool| pool.revision);
                body["base_revision"] = json!(revision);
            }
            let again = Ask {
                body: Bytes::from(body.to_string()),
                ..ask.clone()
            };
            let reply = self.target.control.ask(&again).await?;
            tries += 1;
            if reply.status == status || reply.status != 200 || tries == TRIES {
                return Ok(reply);
            }
            let end =
                json!({"instance": body["instance"], "epoch": body["epoch"], "pool": body["pool"]});
            let path = format!("{}/{}/rollback", path::CHANGES, body["generation"]);
            self.target
                .control
                .ask(&request("POST", path, &end))
                .await?;
        }
    }

    /// Waits until the host has done something by itself; false when it does not.
    async fn wait(&self, wait: Wait, symbols: &Symbols) -> Result<bool, Trouble> {
        for _ in 0..LOOKS {
            if let Ok(state) = read(&self.target.control).await? {
                let pool = state.pools.get(&symbols.pool);
                let knob = pool.and_then(|pool| pool.knobs.get(&symbols.knob));
                let done = match wait {
                    Wait::TrialEnds => pool.is_none_or(|pool| pool.trial.is_none()),
                    Wait::LeaseEnds => state.lease.is_none(),
                    Wait::PinEnds => knob.is_none_or(|knob| knob.pinned_for_ms.is_none()),
                };
                if done {
                    return Ok(true);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }

    /// Takes back what a case left behind; whether that worked shows at the next look.
    async fn tidy_up(&self) -> Result<(), Trouble> {
        let Ok(state) = read(&self.target.control).await? else {
            return Ok(());
        };
        if let Some(lease) = &state.lease
            && lease.holder.starts_with(HOLDER)
        {
            let release = json!({"instance": state.instance, "epoch": state.epoch});
            let ask = request("DELETE", path::LEASE.to_owned(), &release);
            self.target.control.ask(&ask).await?;
        }
        let Some(operator) = &self.target.operator else {
            return Ok(());
        };
        if state.frozen {
            let ask = request("DELETE", path::FREEZE.to_owned(), &Value::Null);
            operator.ask(&ask).await?;
        }
        for (name, pool) in &state.pools {
            for (knob, cell) in &pool.knobs {
                if cell.pinned_for_ms.is_some() {
                    let path = format!("{}/{name}/{knob}", path::PINS);
                    operator.ask(&request("DELETE", path, &Value::Null)).await?;
                }
            }
            if pool.phase == Phase::Confirmed {
                let ask = request("POST", path::RESET.to_owned(), &json!({"pool": name}));
                operator.ask(&ask).await?;
            }
        }
        Ok(())
    }
}

fn filled(step: &Step, symbols: &Symbols) -> Result<Ask, String> {
    let (method, path) = step.call.split_once(' ').unwrap_or(("", &step.call));
    let body = match (&step.body, &step.text, step.spaces) {
        (Some(body), _, _) => Bytes::from(symbols.fill(body)?.to_string()),
        (None, Some(text), _) => Bytes::from(text.clone()),
        (None, None, Some(spaces)) => Bytes::from(vec![b' '; spaces]),
        (None, None, None) => Bytes::new(),
    };
    Ok(Ask {
        method: method.to_owned(),
        path: symbols.path(path)?,
        media: step.media.clone().unwrap_or_else(|| JSON.to_owned()),
        body,
    })
}

const JSON: &str = "application/json";

fn request(method: &str, path: String, body: &Value) -> Ask {
    Ask {
        method: method.to_owned(),
        path,
        media: JSON.to_owned(),
        body: if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        },
    }
}

/// Reads the state as a sidecar does; what is wrong with it, when it is none.
async fn read(door: &Door) -> Result<Result<HostState, Difference>, Trouble> {
    let ask = request("GET", path::STATE.to_owned(), &Value::Null);
    let reply = door.ask(&ask).await?;
    if reply.status != 200 || reply.media != JSON {
        let found = format!("{} {}", reply.status, reply.media);
        return Ok(Err(difference("state", format!("200 {JSON}"), found)));
    }
    Ok(serde_json::from_slice(&reply.body)
        .map_err(|error| difference("state", "a state".to_owned(), error.to_string())))
}

fn difference(at: &str, expected: String, found: String) -> Difference {
    Difference {
        at: at.to_owned(),
        expected,
        found,
    }
}
