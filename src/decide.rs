//! Decide: the task around the pure controller.
//!
//! It hands each observation in and passes each decision on: orders to act, the whole of it to record. It waits for neither:
//! when act is still busy with a slow host, new orders are not sent, and the controller is told so with the next observation.

use crate::clock::Clock;
use crate::message::{Adopt, ProfileOrder, Recorded, Tick};
use crate::tape::Tape;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use trimtab_core::controller::Controller;
use trimtab_core::decision::{Orders, Step};
use trimtab_core::moment::{Moment, Span};
use trimtab_core::observation::{Answer, Observation, Receipt};
use trimtab_core::recording::{Line, digest};
use trimtab_protocol::decision::{Action, Mode};

/// How long the last orders, which undo what is open, may wait for act. The host's own timers do the same a little later.
const LAST_ORDERS_WAIT: Duration = Duration::from_millis(800);

/// The stage that decides for one host.
#[derive(Debug)]
pub struct Decide {
    /// The controller.
    pub controller: Controller,
    /// Another controller for later.
    pub later: Option<Later>,
    /// Where orders go.
    pub orders: mpsc::Sender<Orders>,
    /// Where decisions go.
    pub records: mpsc::Sender<Recorded>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The time between two ticks.
    pub interval: Span,
    /// Whether an operator froze this sidecar.
    pub frozen: watch::Receiver<bool>,
    /// Where all that the controller is told is written down, if that is asked for.
    pub tape: Option<Tape>,
    /// Operators' wishes about profiles. They are answered between two ticks and act from the next one on.
    pub wishes: mpsc::Receiver<ProfileOrder>,
}

/// A controller that takes over at some moment. It knows nothing of what was before, and warms up as at a start.
#[derive(Debug)]
pub struct Later {
    /// When.
    pub at: Moment,
    /// The controller.
    pub controller: Controller,
}

impl Decide {
    /// Decides on each observation, and takes new settings over in between; once no more observations come, undoes what is
    /// open.
    pub async fn run(
        mut self,
        mut observations: mpsc::Receiver<Observation>,
        mut settings: mpsc::Receiver<Adopt>,
    ) {
        let mut unsent: Vec<Receipt> = Vec::new();
        let mut frozen = false;
        self.tell_beginning();
        let mut last: Option<Moment> = None;
        while let Some(mut observation) = self.next(&mut observations, &mut settings).await {
            let stop = *self.frozen.borrow();
            if std::mem::replace(&mut frozen, stop) != stop {
                self.tell(|| Line::Frozen { frozen: stop });
            }
            self.controller.set_frozen(stop);
            observation.receipts.append(&mut unsent);
            let (lag, dropped) =
                lateness(last.replace(observation.at), observation.at, self.interval);
            if let Some(later) = self.later.take_if(|later| later.at <= observation.at) {
                info!("the calm is over");
                self.controller = later.controller;
                // It learns of a freeze at the next tick.
                self.tell_beginning();
                frozen = false;
            }
            let told = self.tape.is_some().then(|| observation.clone());
            let decision = self.controller.handle_observation(observation);
            if let Some(observation) = told {
                self.tell(|| Line::Tick {
                    observation,
                    records: decision.records.clone(),
                    digest: digest(&decision),
                });
            }
            unsent = self.order(decision.orders.clone());
            let tick = Recorded::Tick(Box::new(Tick {
                decision,
                lag,
                dropped,
            }));
            if self.records.send(tick).await.is_err() {
                warn!("a decision could not be recorded");
            }
        }
        self.end().await;
    }

    /// Waits for the next observation; meanwhile takes new settings over and answers operators.
    async fn next(
        &mut self,
        observations: &mut mpsc::Receiver<Observation>,
        settings: &mut mpsc::Receiver<Adopt>,
    ) -> Option<Observation> {
        loop {
            tokio::select! {
                // An observation that is there comes first: a tick waits for nothing.
                biased;
                observation = observations.recv() => return observation,
                Some(adopt) = settings.recv() => self.adopt(adopt),
                Some(order) = self.wishes.recv() => {
                    let ProfileOrder { wish, dry_run, answer } = order;
                    let now = self.clock.now();
                    if !dry_run {
                        self.tell(|| Line::Wished { wish: wish.clone(), at: now });
                    }
                    let judged = self.controller.wish_profile(&wish, now, dry_run);
                    if answer.send(judged).is_err() {
                        debug!("an operator's wish was answered after its caller had gone");
                    }
                }
            }
        }
    }

    /// Takes new settings over. While it is calm, they act when the calm is over, and until then only watching goes on.
    fn adopt(&mut self, adopt: Adopt) {
        let mut settings = *adopt.settings;
        if let Some(later) = &mut self.later {
            later.controller.adopt(settings.clone());
            settings.mode = Mode::Observe;
        }
        self.tell(|| Line::Adopts {
            settings: settings.clone(),
        });
        self.controller.adopt(settings);
        if adopt.done.send(()).is_err() {
            debug!("new settings are in force, and who asked for them has gone");
        }
    }

    /// Writes down what a controller that begins is told.
    fn tell_beginning(&mut self) {
        let settings = self.controller.settings().clone();
        self.tell(|| Line::Begins { settings });
    }

    /// Writes a line of the recording, if there is one.
    fn tell(&mut self, line: impl FnOnce() -> Line) {
        if let Some(tape) = &mut self.tape {
            tape.add(line());
        }
    }

    /// Passes orders on; what cannot be passed on comes back as receipts.
    fn order(&self, orders: Orders) -> Vec<Receipt> {
        match self.orders.try_send(orders) {
            Ok(()) => Vec::new(),
            Err(TrySendError::Full(orders) | TrySendError::Closed(orders)) => {
                debug!("act is busy, so these orders are not sent");
                orders.steps.iter().map(not_sent).collect()
            }
        }
    }

    async fn end(mut self) {
        if let Some(tape) = self.tape.take() {
            tape.end().await;
        }
        let decision = self
            .controller
            .shut_down(self.clock.now(), self.clock.wall_ms());
        let orders = decision.orders.clone();
        if tokio::time::timeout(LAST_ORDERS_WAIT, self.orders.send(orders))
            .await
            .is_err()
        {
            warn!("act is busy; the host will undo open trials by itself");
        }
        let tick = Tick {
            decision,
            lag: Span::default(),
            dropped: 0,
        };
        if self
            .records
            .send(Recorded::Tick(Box::new(tick)))
            .await
            .is_err()
        {
            warn!("the last decision could not be recorded");
        }
    }
}

fn not_sent(step: &Step) -> Receipt {
    let generation = match step {
        Step::Try(plan) => plan.generation(),
        Step::Confirm(trial) | Step::RollBack(trial) => trial.generation,
    };
    let action: Action = step.action();
    Receipt::Change {
        action,
        pool: step.pool().clone(),
        generation,
        answer: Answer::NotSent,
    }
}

/// How much later than one interval after the last tick this one came, and how many whole ticks were left out.
fn lateness(last: Option<Moment>, now: Moment, interval: Span) -> (Span, u64) {
    let Some(last) = last else {
        return (Span::default(), 0);
    };
    let late = now.since(last).as_ns().saturating_sub(interval.as_ns());
    let dropped = late / interval.as_ns().max(1);
    (Span::from_ns(late % interval.as_ns().max(1)), dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_comes_late_is_told_from_ticks_that_were_left_out() {
        let interval = Span::from_secs(1);
        let at = |ms: u64| Moment::default().after(Span::from_ms(ms));
        assert_eq!(lateness(None, at(9), interval), (Span::default(), 0));
        assert_eq!(
            lateness(Some(at(0)), at(1_000), interval),
            (Span::default(), 0)
        );
        assert_eq!(
            lateness(Some(at(0)), at(1_050), interval),
            (Span::from_ms(50), 0)
        );
        assert_eq!(
            lateness(Some(at(0)), at(3_050), interval),
            (Span::from_ms(50), 2)
        );
    }
}
