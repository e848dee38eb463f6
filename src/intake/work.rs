//! Carrying a command out: to the latch, to the host by way of act, to decide, or to whoever holds a configuration that
//! waits; and then its line in the ledger.

use super::preview::{self, Values};
use super::{Refusal, Shared, refused};
use crate::message::{About, Errand, HostAnswer, HostCall, ProfileOrder, Recorded, Ruling};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use trimtab_core::controller::ProfileWish;
use trimtab_core::moment::Span;
use trimtab_core::observation::Answer;
use trimtab_protocol::command::{
    COMMAND_MS_MAX, Command, CommandReceipt, CommandRecord, CommandResult, Operator, PinCommand,
    ProfileCommand, UnpinCommand,
};
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::operator::{FreezeRequest, OperatorReceipt, PinRequest, ResetRequest};
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::state::HostState;

/// What came of a command that was not refused.
#[derive(Debug, Default)]
struct Done {
    text: String,
    missing: Option<String>,
    values: Values,
    instance: Option<InstanceId>,
}

/// Who asks, and whether only for the consequences.
#[derive(Clone, Copy, Debug)]
struct Asking<'a> {
    operator: &'a Operator,
    dry_run: bool,
}

/// Carries a command out, or says what it would do, and enters it in the ledger.
pub(super) async fn carry_out(
    shared: &Shared,
    command: Command,
    operator: Operator,
    dry_run: bool,
) -> Result<CommandReceipt, Refusal> {
    // A freeze waits for nobody: not for the command before it, not for a decision, not for the host.
    if matches!(command, Command::Freeze(_)) && !dry_run {
        shared.deps.latch.close();
    }
    let _turn = shared.turn.lock().await;
    let asking = Asking {
        operator: &operator,
        dry_run,
    };
    let result = match &command {
        Command::Freeze(request) => Ok(shared.freeze(request, asking).await),
        Command::Unfreeze(_) => shared.unfreeze(asking).await,
        Command::Pin(pin) => shared.pin(pin, asking).await,
        Command::Unpin(unpin) => shared.unpin(unpin, asking).await,
        Command::Reset(reset) => shared.reset(reset, asking).await,
        Command::Profile(profile) => shared.profile(profile, asking).await,
        Command::Approve(_) => shared.rule(true, asking).await,
        Command::Reject(_) => shared.rule(false, asking).await,
    };
    let outcome = match &result {
        Ok(Done {
            text,
            missing: None,
            ..
        }) => CommandResult::Done { text: text.clone() },
        Ok(Done {
            text,
            missing: Some(missing),
            ..
        }) => CommandResult::Partly {
            text: text.clone(),
            missing: missing.clone(),
        },
        Err(problem) => CommandResult::Refused {
            problem: problem.kind,
            detail: problem.detail.clone(),
        },
    };
    tracing::info!(command = command.word(), %operator, dry_run, ?outcome, "an operator's command");
    let record = CommandRecord {
        asked: command.clone(),
        operator,
        dry_run,
        outcome,
    };
    let instance = result.as_ref().ok().and_then(|done| done.instance.clone());
    let recorded = shared.record(record, instance).await;
    let done = result?;
    Ok(CommandReceipt {
        host: shared.deps.host.clone(),
        asked: command,
        dry_run,
        recorded,
        frozen: shared.deps.latch.is_frozen(),
        text: done.text,
        missing: done.missing,
        values: done.values,
    })
}

impl Shared {
    /// A freeze is never refused: what cannot be done of it is said.
    async fn freeze(&self, request: &FreezeRequest, asking: Asking<'_>) -> Done {
        let latch = &self.deps.latch;
        if asking.dry_run {
            return match self.state().await {
                Ok(state) => {
                    let open = preview::on_trial(&state);
                    let open: Vec<&str> = open.iter().map(|name| name.as_str()).collect();
                    let undone = if open.is_empty() {
                        "no trial is open".to_owned()
                    } else {
                        format!("would undo the trial of {}", open.join(", "))
                    };
                    Done {
                        text: format!("{undone}; would change nothing until the freeze is lifted"),
                        missing: None,
                        values: preview::freeze(&state),
                        instance: Some(state.instance),
                    }
                }
                Err(problem) => Done {
                    text: "would change nothing until the freeze is lifted".to_owned(),
                    missing: Some(format!("the host would not hear it: {}", problem.detail)),
                    ..Done::default()
                },
            };
        }
        // Again, for the command before this one may have lifted it.
        latch.close();
        let text = json!({
            "reason": request.reason,
            "by": asking.operator.to_string(),
            "at_ms": self.deps.clock.wall_ms(),
        });
        let (before, kept) = tokio::join!(self.state(), latch.keep(text.to_string()));
        let heard = self.receipt(HostCall::Freeze(request.clone())).await;
        let mut missing = Vec::new();
        if let Err(error) = kept {
            missing.push(format!(
                "the freeze does not survive a restart of the sidecar: {error}"
            ));
        }
        let mut done = Done {
            text: "open trials are undone, and nothing changes until the freeze is lifted"
                .to_owned(),
            ..Done::default()
        };
        match heard {
            Ok(receipt) => {
                if !receipt.freeze_persistent {
                    // The sidecar keeps it, so for what the sidecar does nothing is missing.
                    done.text.push_str("; the host by itself would forget it in a restart");
                }
                if let Ok(before) = before {
                    done.values = preview::freeze(&before);
                    done.instance = Some(before.instance);
                }
            }
            Err(problem) => missing.push(format!(
                "the host did not take the freeze, so the sidecar undoes its own trial and holds by itself: {}",
                problem.detail
            )),
        }
        done.missing = joined(&missing);
        done
    }

    /// First the file, so that the freeze does not come back at the next start; then the host; then the switch.
    async fn unfreeze(&self, asking: Asking<'_>) -> Result<Done, Refusal> {
        let latch = &self.deps.latch;
        let before = self.state().await;
        let frozen = latch.is_frozen() || before.as_ref().is_ok_and(|state| state.frozen);
        let instance = before.ok().map(|state| state.instance);
        if asking.dry_run {
            let text = if frozen {
                "would lift the freeze"
            } else {
                "nothing is frozen"
            };
            return Ok(Done {
                text: text.to_owned(),
                instance,
                ..Done::default()
            });
        }
        if let Err(error) = latch.forget().await {
            let detail = format!("the freeze stays, for its file does: {error}");
            return Err(refused(ProblemKind::Internal, detail));
        }
        let heard = self.receipt(HostCall::Unfreeze).await;
        latch.lift();
        let missing = heard.err().map(|problem| {
            format!(
                "the host did not hear it and stays frozen if it was: {}",
                problem.detail
            )
        });
        let text = if frozen {
            "the freeze is lifted"
        } else {
            "nothing was frozen"
        };
        Ok(Done {
            text: text.to_owned(),
            missing,
            instance,
            ..Done::default()
        })
    }

    async fn pin(&self, command: &PinCommand, asking: Asking<'_>) -> Result<Done, Refusal> {
        let before = self.state().await?;
        let (value, values) = preview::pin(&before, command)?;
        let (pool, knob) = (&command.pool, &command.knob);
        let held = format!(
            "{knob} of {pool} at {value} for {} s ({})",
            command.for_ms.div_ceil(1_000),
            preview::listed(&values)
        );
        if asking.dry_run {
            return Ok(done(format!("would hold {held}"), values, before));
        }
        let request = PinRequest {
            value,
            for_ms: command.for_ms,
        };
        let call = HostCall::Pin(pool.clone(), knob.clone(), request);
        let receipt = self.receipt(call).await?;
        let changed = preview::changed(&before, &receipt);
        Ok(done(format!("holds {held}"), changed, before))
    }

    async fn unpin(&self, command: &UnpinCommand, asking: Asking<'_>) -> Result<Done, Refusal> {
        let before = self.state().await?;
        preview::unpin(&before, command)?;
        let released = format!("{} of {}", command.knob, command.pool);
        if asking.dry_run {
            let text = format!("would release {released}, which goes to its last confirmed value");
            return Ok(done(text, Values::new(), before));
        }
        let call = HostCall::Unpin(command.pool.clone(), command.knob.clone());
        let receipt = self.receipt(call).await?;
        let changed = preview::changed(&before, &receipt);
        let text = format!("released {released} ({})", preview::listed(&changed));
        Ok(done(text, changed, before))
    }

    async fn reset(&self, request: &ResetRequest, asking: Asking<'_>) -> Result<Done, Refusal> {
        let before = self.state().await?;
        let values = preview::reset(&before, request)?;
        if asking.dry_run {
            let text = format!(
                "would go back to the baseline, release pins and end trials ({})",
                preview::listed(&values)
            );
            return Ok(done(text, values, before));
        }
        let receipt = self.receipt(HostCall::Reset(request.clone())).await?;
        let changed = preview::changed(&before, &receipt);
        let text = format!("back to the baseline ({})", preview::listed(&changed));
        Ok(done(text, changed, before))
    }

    async fn profile(&self, command: &ProfileCommand, asking: Asking<'_>) -> Result<Done, Refusal> {
        if command
            .for_ms
            .is_some_and(|for_ms| !(1..=COMMAND_MS_MAX).contains(&for_ms))
        {
            let detail = format!("`for_ms` must be from 1 to {COMMAND_MS_MAX}");
            return Err(refused(ProblemKind::Value, detail));
        }
        let wish = ProfileWish {
            pool: command.pool.clone(),
            profile: command.profile.clone(),
            span: command.for_ms.map(Span::from_ms),
            who: asking.operator.to_string(),
        };
        let (answer, judged) = oneshot::channel();
        let order = ProfileOrder {
            wish,
            dry_run: asking.dry_run,
            answer,
        };
        let switch = self.ask(&self.deps.wishes, order, judged).await??;
        let until = command.for_ms.map_or_else(
            || "until the sidecar is started again".to_owned(),
            |for_ms| format!("for {} s", for_ms.div_ceil(1_000)),
        );
        let would = if asking.dry_run {
            "would follow"
        } else {
            "follows"
        };
        let (pool, before, after) = (&command.pool, &switch.before, &switch.after);
        let text = if command.profile.is_none() {
            format!("{pool} {would} its own profile {after} again (now {before})")
        } else {
            format!("{pool} {would} the profile {after} instead of {before}, {until}")
        };
        Ok(Done {
            text,
            ..Done::default()
        })
    }

    async fn rule(&self, approve: bool, asking: Asking<'_>) -> Result<Done, Refusal> {
        let Some(rulings) = &self.deps.rulings else {
            let detail = "no configuration waits for a word";
            return Err(refused(ProblemKind::Unknown, detail));
        };
        let (answer, ruled) = oneshot::channel();
        let ruling = Ruling {
            approve,
            dry_run: asking.dry_run,
            answer,
        };
        match self.ask(rulings, ruling, ruled).await? {
            Ok(text) => Ok(Done {
                text,
                ..Done::default()
            }),
            Err(detail) => Err(refused(ProblemKind::Unknown, detail)),
        }
    }

    /// The host as it stands.
    async fn state(&self) -> Result<HostState, Refusal> {
        match self.errand(HostCall::State).await? {
            HostAnswer::State(state) => Ok(*state),
            HostAnswer::Receipt(_) => Err(confused()),
        }
    }

    /// What the host answers to an operator's call.
    async fn receipt(&self, call: HostCall) -> Result<OperatorReceipt, Refusal> {
        match self.errand(call).await? {
            HostAnswer::Receipt(receipt) => Ok(receipt),
            HostAnswer::State(_) => Err(confused()),
        }
    }

    async fn errand(&self, call: HostCall) -> Result<HostAnswer, Refusal> {
        let (answer, heard) = oneshot::channel();
        let errand = Errand { call, answer };
        match self.ask(&self.deps.errands, errand, heard).await? {
            Answer::Done { value } => Ok(value),
            Answer::Refused { problem } => Err(Box::new(problem)),
            Answer::Lost { absence } => {
                let detail = format!(
                    "the host's operator socket gave no answer ({})",
                    serde_json::to_value(absence)
                        .ok()
                        .and_then(|word| word.as_str().map(ToOwned::to_owned))
                        .unwrap_or_default()
                );
                Err(refused(ProblemKind::Silent, detail))
            }
            Answer::NotSent => Err(refused(ProblemKind::Silent, "the host was not asked")),
        }
    }

    /// Hands something to another stage and waits for what it says.
    async fn ask<Q, A>(
        &self,
        stage: &mpsc::Sender<Q>,
        question: Q,
        answer: oneshot::Receiver<A>,
    ) -> Result<A, Refusal> {
        let asking = async {
            stage.send(question).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.deps.patience, asking).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(refused(
                ProblemKind::Internal,
                "the sidecar is shutting down",
            )),
            Err(_) => Err(refused(
                ProblemKind::Internal,
                "the sidecar is busy and did not answer itself in time",
            )),
        }
    }

    /// Enters a command in the ledger; whether the entry is on disk.
    async fn record(&self, record: CommandRecord, instance: Option<InstanceId>) -> bool {
        let about = About {
            host: self.deps.host.clone(),
            instance,
            pool: record.asked.pool().cloned(),
            at: self.deps.clock.now(),
            at_ms: self.deps.clock.wall_ms(),
        };
        let (done, written) = oneshot::channel();
        let entry = Recorded::Command {
            about,
            record,
            done,
        };
        let written = self.ask(&self.deps.records, entry, written).await;
        let recorded = matches!(written, Ok(Ok(())));
        if !recorded {
            tracing::warn!("the ledger did not take an operator's command");
        }
        recorded
    }
}

fn done(text: String, values: Values, before: HostState) -> Done {
    Done {
        text,
        missing: None,
        values,
        instance: Some(before.instance),
    }
}

fn joined(missing: &[String]) -> Option<String> {
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn confused() -> Refusal {
    refused(
        ProblemKind::Internal,
        "the sidecar answered itself with something else",
    )
}
