//! Another program at the knobs, spoken to in lines of JSON over its standard input and output.
//!
//! The format is described in the crate's README. A program that ends, answers nothing that can be read, or cannot be started
//! wants nothing from then on, and the run goes on with what stands.

use crate::pool::{Ended, Ending, Setting};
use crate::run::{Rival, Wish};
use crate::scenario::Scenario;
use crate::world::League;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use trimtab_core::observation::{Observation, Reading};

/// A program under way.
#[derive(Debug)]
pub struct Program {
    child: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
    pools: Vec<String>,
    league: League,
}

/// What a program answers: values for one pool, or for several by name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Answer {
    pool: Option<String>,
    workers: Option<u64>,
    queue_limit: Option<u64>,
    timeout_ms: Option<f64>,
    pools: std::collections::BTreeMap<String, Knobs>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Knobs {
    workers: Option<u64>,
    queue_limit: Option<u64>,
    timeout_ms: Option<f64>,
}

impl Program {
    /// Starts a program by a command of the shell, and tells it of the scenario.
    #[must_use]
    pub fn start(command: &str, scenario: &Scenario, league: League) -> Self {
        let pools = scenario
            .pools
            .iter()
            .map(|pool| pool.name.clone())
            .collect();
        let mut program = Self {
            child: spawn(command),
            pools,
            league,
        };
        program.tell(&greeting(scenario, league));
        program
    }

    /// Sends a line; a program that does not take it is not spoken to any more.
    fn tell(&mut self, line: &Value) {
        let sent = match &mut self.child {
            Some((_, input, _)) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => return,
        };
        if sent.is_err() {
            self.dismiss();
        }
    }

    /// Sends a line and reads the answer.
    fn ask(&mut self, line: &Value) -> Vec<Wish> {
        self.tell(line);
        let mut text = String::new();
        let read = match &mut self.child {
            Some((_, _, output)) => output.read_line(&mut text),
            None => return Vec::new(),
        };
        match (read, serde_json::from_str::<Answer>(&text)) {
            (Ok(1..), Ok(answer)) => self.wishes(&answer),
            _ => {
                self.dismiss();
                Vec::new()
            }
        }
    }

    fn wishes(&self, answer: &Answer) -> Vec<Wish> {
        let index = |name: &str| self.pools.iter().position(|pool| pool == name);
        let own = Knobs {
            workers: answer.workers,
            queue_limit: answer.queue_limit,
            timeout_ms: answer.timeout_ms,
        };
        let first = answer.pool.as_deref().map_or(Some(0), index);
        let named = answer
            .pools
            .iter()
            .map(|(name, knobs)| (index(name), *knobs));
        let all = named.chain([(first, own)]);
        all.filter_map(|(pool, knobs)| {
            let wish = Wish {
                pool: pool?,
                workers: knobs.workers,
                queue_limit: knobs.queue_limit,
                timeout: knobs
                    .timeout_ms
                    .map(|ms| ms / 1e3)
                    .filter(|seconds| *seconds > 0.0),
            };
            let empty = Wish {
                pool: wish.pool,
                ..Wish::default()
            };
            (wish != empty).then_some(wish)
        })
        .collect()
    }

    fn dismiss(&mut self) {
        if let Some((mut child, input, output)) = self.child.take() {
            drop((input, output));
            // It may have ended already, and then there is nothing to end.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some((mut child, input, output)) = self.child.take() {
            // Without input a program ends by itself.
            drop((input, output));
            drop(child.wait());
        }
    }
}

impl Rival for Program {
    fn tick(&mut self, observation: &Observation) -> Vec<Wish> {
        if self.league == League::InProcess {
            return Vec::new();
        }
        let line = tick_line(observation);
        self.ask(&line)
    }

    fn ended(&mut self, pool: usize, job: &Ended, setting: &Setting) -> Vec<Wish> {
        let line = json!({
            "type": "job",
            "at": job.at,
            "pool": self.pools.get(pool),
            "ending": match job.ending {
                Ending::Done => "done",
                Ending::TimedOut => "timed_out",
                Ending::Rejected => "rejected",
            },
            "wait_s": job.wait_s,
            "service_s": job.service_s,
            "busy": job.busy,
            "queued": job.queued,
            "workers": setting.workers,
            "queue_limit": setting.queue_limit,
            "timeout_ms": setting.timeout * 1e3,
        });
        self.ask(&line)
    }
}

fn spawn(command: &str) -> Option<(Child, ChildStdin, BufReader<ChildStdout>)> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let (input, output) = (child.stdin.take()?, child.stdout.take()?);
    Some((child, input, BufReader::new(output)))
}

fn greeting(scenario: &Scenario, league: League) -> Value {
    let pools = scenario.pools.iter().map(|pool| {
        json!({
            "name": pool.name,
            "weight": pool.weight,
            "start": pool.start,
            "min": pool.min,
            "max": pool.max,
            "slo_s": pool.slo,
            "queue_limit": pool.queue_limit,
            "queue_deadline_s": pool.queue_deadline,
            "timeout_ms": pool.timeout * 1e3,
            "timeout_min_ms": pool.timeout_min * 1e3,
            "timeout_max_ms": pool.timeout_max * 1e3,
        })
    });
    json!({
        "type": "start",
        "scenario": scenario.name,
        "duration_s": scenario.duration,
        "league": match league {
            League::Sidecar => "sidecar",
            League::InProcess => "in-process",
        },
        "pools": pools.collect::<Vec<_>>(),
    })
}

/// The observation as the sidecar has it, with when it was made and whether its state is new.
fn tick_line(observation: &Observation) -> Value {
    let fresh = matches!(observation.state, Reading::Fresh { .. });
    json!({
        "type": "tick",
        "at_ns": observation.at,
        "fresh": fresh,
        "state": observation.state.fresh(),
        "process": observation.process.fresh(),
        "cgroup": observation.cgroup.fresh(),
        "machine": observation.machine.fresh(),
    })
}
