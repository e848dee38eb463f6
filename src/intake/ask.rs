//! What a command asks of the others: of the host by way of act, of decide, of whoever holds a configuration, of the disk and
//! of the ledger. Each answer is waited for so long and no longer, and hardly at all once the sidecar ends.

use super::{Refusal, Shared, refused};
use crate::message::{About, Errand, HostAnswer, HostCall, Recorded};
use std::io;
use tokio::sync::{mpsc, oneshot};
use trimtab_core::observation::Answer;
use trimtab_protocol::command::CommandRecord;
use trimtab_protocol::name::InstanceId;
use trimtab_protocol::operator::OperatorReceipt;
use trimtab_protocol::problem::ProblemKind;
use trimtab_protocol::state::HostState;

impl Shared {
    /// The host as it stands.
    pub(super) async fn state(&self) -> Result<HostState, Refusal> {
        match self.errand(HostCall::State).await? {
            HostAnswer::State(state) => Ok(*state),
            HostAnswer::Receipt(_) => Err(confused()),
        }
    }

    /// What the host answers to an operator's call.
    pub(super) async fn receipt(&self, call: HostCall) -> Result<OperatorReceipt, Refusal> {
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

    /// Waits for the disk, but not for long at the end of the sidecar.
    pub(super) async fn on_disk(
        &self,
        work: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.ending.hurry() => Err(io::Error::other("the sidecar is shutting down")),
        }
    }

    /// Hands something to another stage and waits for what it says, but not for long at the end of the sidecar.
    pub(super) async fn ask<Q, A>(
        &self,
        stage: &mpsc::Sender<Q>,
        question: Q,
        answer: oneshot::Receiver<A>,
    ) -> Result<A, Refusal> {
        self.ask_until(self.ending.hurry(), stage, question, answer)
            .await
    }

    async fn ask_until<Q, A>(
        &self,
        too_late: impl Future<Output = ()>,
        stage: &mpsc::Sender<Q>,
        question: Q,
        answer: oneshot::Receiver<A>,
    ) -> Result<A, Refusal> {
        let asking = async {
            stage.send(question).await.ok()?;
            answer.await.ok()
        };
        tokio::select! {
            biased;
            answer = asking => answer.ok_or_else(ending),
            () = too_late => Err(ending()),
            () = tokio::time::sleep(self.deps.patience) => Err(refused(
                ProblemKind::Internal,
                "the sidecar is busy and did not answer itself in time",
            )),
        }
    }

    /// Enters a command in the ledger; whether the entry is on disk.
    pub(super) async fn record(&self, record: CommandRecord, instance: Option<InstanceId>) -> bool {
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
        let written = self.ask_until(self.ending.late(), &self.deps.records, entry, written);
        let written = written.await;
        let recorded = matches!(written, Ok(Ok(())));
        if !recorded {
            tracing::warn!("the ledger did not take an operator's command");
        }
        recorded
    }
}

pub(super) fn ending() -> Refusal {
    refused(ProblemKind::Internal, "the sidecar is shutting down")
}

fn confused() -> Refusal {
    refused(
        ProblemKind::Internal,
        "the sidecar answered itself with something else",
    )
}
