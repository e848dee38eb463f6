//! Carrying a command out: to the latch, to the host by way of act, to decide, or to whoever holds a configuration that
//! waits; and then its line in the ledger.

use super::ask::ending;
use super::preview::{self, Values};
use super::{Refusal, Shared, refused};
use crate::message::{HostCall, ProfileOrder, Ruling};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::oneshot;
use trimtab_core::controller::ProfileWish;
use trimtab_core::moment::Span;
use trimtab_protocol::command::{
    COMMAND_MS_MAX, Command, CommandReceipt, CommandRecord, CommandResult, Operator, PinCommand,
    ProfileCommand, UnpinCommand,
};
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::operator::{FreezeRequest, PinRequest, ResetRequest};
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

/// Carries a command out in a task of its own, to its end, whether its caller waits for that or goes away: half a command is
/// one that nobody gave, and no line of the ledger tells of it.
pub(super) async fn carry_out(
    shared: &Shared,
    command: Command,
    operator: Operator,
    dry_run: bool,
) -> Result<CommandReceipt, Refusal> {
    let order = Order {
        seen: shared.deps.latch.seen(),
        command,
        operator,
        dry_run,
    };
    // A freeze waits for nobody: not for the command before it, not for a decision, not for the host. Who goes away while
    // others have all seats has begun nothing.
    let seat = if order.freezes() {
        shared.deps.latch.close();
        None
    } else {
        let seat = Arc::clone(&shared.seats).acquire_owned().await;
        Some(seat.map_err(|_| ending())?)
    };
    let running = shared.ending.begin();
    let shared = shared.clone();
    let task = tokio::spawn(async move {
        let result = order.carry_out(&shared).await;
        drop((seat, running));
        result
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an operator's command ended in a bug");
        let detail = "the command ended in a bug; look at the status before anything else";
        Err(refused(ProblemKind::Internal, detail))
    })
}

/// A command as it was accepted.
#[derive(Debug)]
struct Order {
    command: Command,
    operator: Operator,
    dry_run: bool,
    /// The freezes that there were when it was accepted.
    seen: u64,
}

impl Order {
    fn freezes(&self) -> bool {
        matches!(self.command, Command::Freeze(_)) && !self.dry_run
    }

    /// Carries it out, or says what it would do, and enters it in the ledger.
    async fn carry_out(self, shared: &Shared) -> Result<CommandReceipt, Refusal> {
        let _turn = shared.turn.lock().await;
        let Self {
            command,
            operator,
            dry_run,
            seen,
        } = self;
        let asking = Asking {
            operator: &operator,
            dry_run,
        };
        let result = match &command {
            Command::Freeze(request) => Ok(shared.freeze(request, asking).await),
            Command::Unfreeze(_) => shared.unfreeze(seen, asking).await,
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
        // One that was accepted at the same moment may have been carried out first, and lifted this.
        if !latch.is_frozen() {
            latch.close();
        }
        let text = json!({
            "reason": request.reason,
            "by": asking.operator.to_string(),
            "at_ms": self.deps.clock.wall_ms(),
        });
        let (before, kept) = tokio::join!(self.state(), self.on_disk(latch.keep(text.to_string())));
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
    async fn unfreeze(&self, seen: u64, asking: Asking<'_>) -> Result<Done, Refusal> {
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
        if let Err(error) = self.on_disk(latch.forget()).await {
            let detail = format!("the freeze stays, for its file does: {error}");
            return Err(refused(ProblemKind::Internal, detail));
        }
        let heard = self.receipt(HostCall::Unfreeze).await;
        let lifted = latch.lift(seen);
        let missing = heard.err().map(|problem| {
            format!(
                "the host did not hear it and stays frozen if it was: {}",
                problem.detail
            )
        });
        let text = match (lifted, frozen) {
            (false, _) => "another freeze has come since, and stays in force",
            (true, true) => "the freeze is lifted",
            (true, false) => "nothing was frozen",
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
