//! Operators' calls to the host, each over a connection of its own, so that a freeze waits for no other call.
//!
//! They go to the host's operator socket, which only the host's own user and root may use. Nothing is judged here: what is to
//! be asked comes from intake, and the host's answer goes back to it.

use super::heard;
use crate::host_client::HostClient;
use crate::message::{Errand, HostAnswer, HostCall};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;
use trimtab_core::observation::Answer;

/// The stage that makes operators' calls to one host.
#[derive(Debug)]
pub struct Errands {
    /// The host, by its operator socket.
    pub client: HostClient,
}

impl Errands {
    /// Makes each call that comes, until no more come. Intake bounds how many are open at once.
    pub async fn run(self, mut errands: mpsc::Receiver<Errand>) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                errand = errands.recv() => match errand {
                    Some(errand) => {
                        open.spawn(make(self.client.clone(), errand));
                    }
                    None => break,
                },
                Some(_ended) = open.join_next() => {}
            }
        }
        while open.join_next().await.is_some() {}
    }
}

async fn make(mut client: HostClient, errand: Errand) {
    let Errand { call, answer } = errand;
    let heard = match call {
        HostCall::State => in_full(heard(client.state().await), |state| {
            HostAnswer::State(Box::new(state))
        }),
        HostCall::Freeze(request) => {
            in_full(heard(client.freeze(&request).await), HostAnswer::Receipt)
        }
        HostCall::Unfreeze => in_full(heard(client.unfreeze().await), HostAnswer::Receipt),
        HostCall::Pin(pool, knob, request) => in_full(
            heard(client.pin(&pool, &knob, &request).await),
            HostAnswer::Receipt,
        ),
        HostCall::Unpin(pool, knob) => {
            in_full(heard(client.unpin(&pool, &knob).await), HostAnswer::Receipt)
        }
        HostCall::Reset(request) => {
            in_full(heard(client.reset(&request).await), HostAnswer::Receipt)
        }
    };
    if answer.send(heard).is_err() {
        debug!("an operator's call was answered after its caller had gone");
    }
}

fn in_full<T>(answer: Answer<T>, wrap: impl FnOnce(T) -> HostAnswer) -> Answer<HostAnswer> {
    match answer {
        Answer::Done { value } => Answer::Done { value: wrap(value) },
        Answer::Refused { problem } => Answer::Refused { problem },
        Answer::Lost { absence } => Answer::Lost { absence },
        Answer::NotSent => Answer::NotSent,
    }
}
