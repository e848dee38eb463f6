//! Act carries orders to the host, and holds no policy.
//!
//! It writes each intent to the ledger before it sends it, and hands what it hears on as a receipt, which reaches the
//! controller with the next observation. It retries nothing by itself: what is still wanted at the next tick comes again with
//! that tick's orders, and the host gives a repeated request its first answer.

pub mod operator;

use crate::clock::Clock;
use crate::fail::{self, Point};
use crate::host_client::{Answer as ClientAnswer, HostClient};
use crate::message::{About, NotDurable, Recorded};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, warn};
use trimtab_core::decision::{LeaseWish, Orders, Plan, Step, TrialId};
use trimtab_core::observation::{Answer, Receipt};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{Epoch, Generation, HostId, InstanceId, PoolName};
use trimtab_protocol::view::{IntentRecord, OutcomeRecord};

/// The stage that carries orders to one host.
#[derive(Debug)]
pub struct Act {
    /// What the configuration calls the host.
    pub host: HostId,
    /// The name under which the lease is taken.
    pub holder: String,
    /// For how long a lease is asked, in milliseconds.
    pub lease_ttl_ms: u64,
    /// The host.
    pub client: HostClient,
    /// Where receipts go.
    pub receipts: mpsc::Sender<Receipt>,
    /// Where intents and outcomes go.
    pub records: mpsc::Sender<Recorded>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Whether an operator froze this sidecar. It is looked at right before each request, so a freeze waits for no decision.
    pub frozen: watch::Receiver<bool>,
}

impl Act {
    /// Carries out orders until no more come.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Orders>) {
        while let Some(orders) = orders.recv().await {
            self.carry_out(orders).await;
        }
    }

    async fn carry_out(&mut self, orders: Orders) {
        let Some(instance) = orders.instance else {
            return;
        };
        match orders.lease {
            LeaseWish::Take => self.lease(&instance, None).await,
            LeaseWish::Renew(epoch) => self.lease(&instance, Some(epoch)).await,
            LeaseWish::Leave | LeaseWish::Release(_) => {}
        }
        for step in &orders.steps {
            self.step(&instance, step).await;
        }
        if let LeaseWish::Release(epoch) = orders.lease {
            let released = self.client.release(&LeaseRelease { instance, epoch }).await;
            debug!(?released, "gave the lease back");
        }
    }

    async fn lease(&mut self, instance: &InstanceId, epoch: Option<Epoch>) {
        let request = LeaseRequest {
            instance: instance.clone(),
            holder: self.holder.clone(),
            ttl_ms: self.lease_ttl_ms,
            epoch,
        };
        fail::at(Point::LeaseWanted);
        let answer: Answer<LeaseGrant> = heard(self.client.lease(&request).await);
        fail::at(Point::LeaseHeard);
        if let Answer::Refused { problem } = &answer {
            debug!(%problem, "the lease was not granted");
        }
        self.hand_on(Receipt::Lease { answer });
    }

    async fn step(&mut self, instance: &InstanceId, step: &Step) {
        let (epoch, generation) = match step {
            Step::Try(plan) => (plan.epoch(), plan.generation()),
            Step::Confirm(trial) | Step::RollBack(trial) => (trial.epoch, trial.generation),
        };
        let (action, pool) = (step.action(), step.pool().clone());
        fail::at(points(step).begun);
        let intent = IntentRecord {
            action,
            epoch,
            generation,
            set: if let Step::Try(plan) = step {
                plan.set().clone()
            } else {
                Default::default()
            },
        };
        // A change waits until its intent is durable, and a ledger that cannot take it stops the change. A rollback and a
        // confirmation only end what is begun, so they are written down but wait for no disk.
        let written = self.record_intent(instance, &pool, intent).await;
        if action == Action::Try && !self.is_durable(written).await {
            warn!(%pool, "the ledger did not take the intent, so no change is made");
            self.finish(instance, (action, pool, generation), Answer::NotSent, 0)
                .await;
            return;
        }
        // Under a freeze a trial may only be undone. What was decided before it is not carried out after it.
        if *self.frozen.borrow() && action != Action::RollBack {
            info!(%pool, ?action, "an operator froze the host, so this is not sent");
            self.finish(instance, (action, pool, generation), Answer::NotSent, 0)
                .await;
            return;
        }
        fail::at(points(step).noted);
        let before = self.clock.now();
        let answer = heard(self.send(instance, step).await);
        fail::at(points(step).heard);
        let took_us = self.clock.now().since(before).as_ns() / 1_000;
        self.finish(instance, (action, pool, generation), answer, took_us)
            .await;
        fail::at(points(step).told);
    }

    async fn send(&mut self, instance: &InstanceId, step: &Step) -> ClientAnswer<ChangeReceipt> {
        match step {
            Step::Try(plan) => self.client.change(&change_request(instance, plan)).await,
            Step::Confirm(trial) => {
                let request = end_request(instance, trial);
                self.client.confirm(trial.generation, &request).await
            }
            Step::RollBack(trial) => {
                let request = end_request(instance, trial);
                self.client.rollback(trial.generation, &request).await
            }
        }
    }

    /// Tells record and the controller what came of a step.
    async fn finish(
        &self,
        instance: &InstanceId,
        (action, pool, generation): (Action, PoolName, Generation),
        answer: Answer<ChangeReceipt>,
        took_us: u64,
    ) {
        match &answer {
            Answer::Done { .. } => info!(%pool, %generation, ?action, "the host did as asked"),
            Answer::Refused { problem } => {
                info!(%pool, %generation, ?action, %problem, "the host refused")
            }
            Answer::Lost { absence } => {
                warn!(%pool, %generation, ?action, ?absence, "no answer from the host")
            }
            Answer::NotSent => {}
        }
        let reason = match &answer {
            Answer::Done { .. } => None,
            Answer::Refused { problem } => Some(Reason::Refused {
                problem: problem.kind,
                detail: problem.detail.clone(),
            }),
            Answer::Lost { absence } => Some(Reason::AnswerLost { absence: *absence }),
            Answer::NotSent => Some(Reason::NotSent),
        };
        let about = self.about(instance, &pool);
        let outcome = OutcomeRecord {
            action,
            generation,
            reason,
            took_us,
        };
        // Record ends after act, so a closed channel means that the sidecar is falling apart already.
        if self
            .records
            .send(Recorded::Outcome { about, outcome })
            .await
            .is_err()
        {
            warn!("an outcome could not be recorded");
        }
        self.hand_on(Receipt::Change {
            action,
            pool,
            generation,
            answer,
        });
    }

    /// Hands an intent to record, which answers once it is durable.
    async fn record_intent(
        &self,
        instance: &InstanceId,
        pool: &PoolName,
        intent: IntentRecord,
    ) -> oneshot::Receiver<Result<(), NotDurable>> {
        let (done, written) = oneshot::channel();
        let about = self.about(instance, pool);
        let intent = Recorded::Intent {
            about,
            intent,
            done,
        };
        if self.records.send(intent).await.is_err() {
            warn!("an intent could not be recorded");
        }
        written
    }

    /// Whether an intent is durable, as far as is known within the time that a call to the host may take: a disk that hangs
    /// must not hold up what else is to be sent.
    async fn is_durable(&self, written: oneshot::Receiver<Result<(), NotDurable>>) -> bool {
        let answer = tokio::time::timeout(self.client.deadline(), written).await;
        matches!(answer, Ok(Ok(Ok(()))))
    }

    fn about(&self, instance: &InstanceId, pool: &PoolName) -> About {
        About {
            host: self.host.clone(),
            instance: Some(instance.clone()),
            pool: Some(pool.clone()),
            at: self.clock.now(),
            at_ms: self.clock.wall_ms(),
        }
    }

    /// A receipt that sense does not fetch in time is dropped; the next state shows the same.
    fn hand_on(&self, receipt: Receipt) {
        if self.receipts.try_send(receipt).is_err() {
            debug!("a receipt was dropped");
        }
    }
}

/// The points that a step passes here; on the way out of the process there is one more.
struct Points {
    begun: Point,
    noted: Point,
    heard: Point,
    told: Point,
}

fn points(step: &Step) -> Points {
    match step {
        Step::Try(_) => Points {
            begun: Point::TryBegun,
            noted: Point::TryNoted,
            heard: Point::TryHeard,
            told: Point::TryTold,
        },
        Step::Confirm(_) => Points {
            begun: Point::ConfirmBegun,
            noted: Point::ConfirmNoted,
            heard: Point::ConfirmHeard,
            told: Point::ConfirmTold,
        },
        Step::RollBack(_) => Points {
            begun: Point::RollBackBegun,
            noted: Point::RollBackNoted,
            heard: Point::RollBackHeard,
            told: Point::RollBackTold,
        },
    }
}

fn heard<T>(answer: ClientAnswer<T>) -> Answer<T> {
    match answer {
        ClientAnswer::Done(value) => Answer::Done { value },
        ClientAnswer::Refused(problem) => Answer::Refused { problem },
        ClientAnswer::Lost(absence) => Answer::Lost { absence },
    }
}

fn change_request(instance: &InstanceId, plan: &Plan) -> ChangeRequest {
    ChangeRequest {
        instance: instance.clone(),
        epoch: plan.epoch(),
        generation: plan.generation(),
        pool: plan.pool().clone(),
        base_revision: plan.base_revision(),
        trial_ms: plan.trial_ms(),
        set: plan.set().clone(),
        reason: plan.reason().to_owned(),
    }
}

fn end_request(instance: &InstanceId, trial: &TrialId) -> EndTrialRequest {
    EndTrialRequest {
        instance: instance.clone(),
        epoch: trial.epoch,
        pool: trial.pool.clone(),
    }
}
