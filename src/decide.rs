//! Decide: the task around the pure controller.
//!
//! It hands each observation in and passes each decision on: orders to act, the whole of it to record. It waits for neither:
//! when act is still busy with a slow host, new orders are not sent, and the controller is told so with the next observation.

use crate::clock::Clock;
use crate::fail::{self, Point};
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
    /// Until when it only watches, whatever its settings say.
    pub calm: Option<Calm>,
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

/// A time in which nothing is changed. The controller watches on in mode `observe`, so that it knows its host when the time is
/// over, and what operators say meanwhile is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calm {
    /// Its end.
    pub until: Moment,
    /// The mode that the settings ask for.
    pub mode: Mode,
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
            if let Some(calm) = self.calm.take_if(|calm| calm.until <= observation.at) {
                info!("the calm is over");
                let mut settings = self.controller.settings().clone();
                settings.mode = calm.mode;
                self.tell(|| Line::Adopts {
                    settings: settings.clone(),
                });
                self.controller.adopt(settings);
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
            let mut steps = decision.orders.steps.iter();
            let tries = steps.any(|step| step.action() == Action::Try);
            if tries {
                fail::at(Point::Planned);
            }
            unsent = self.order(decision.orders.clone());
            if tries {
                fail::at(Point::PlanPassedOn);
            }
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

    /// Takes new settings over. While it is calm, their mode waits until the calm is over, and only watching goes on.
    fn adopt(&mut self, adopt: Adopt) {
        let mut settings = *adopt.settings;
        if let Some(calm) = &mut self.calm {
            calm.mode = std::mem::replace(&mut settings.mode, Mode::Observe);
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
    use crate::clock::ManualClock;
    use std::collections::BTreeMap;
    use tokio::sync::oneshot;
    use trimtab_core::observation::Reading;
    use trimtab_core::profile::Settings;
    use trimtab_protocol::decision::Absence;
    use trimtab_protocol::name::HostId;

    fn settings(mode: Mode, holder: &str) -> Settings {
        Settings {
            host: HostId::from("shop"),
            mode,
            holder: holder.to_owned(),
            interval: Span::from_secs(1),
            profiles: BTreeMap::new(),
            assigned: BTreeMap::new(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default().after(Span::from_secs(seconds))
    }

    fn decide(calm: Option<Calm>, mode: Mode, records: mpsc::Sender<Recorded>) -> Decide {
        Decide {
            controller: Controller::new(settings(mode, "first")),
            calm,
            // Act is not there, so nothing is sent.
            orders: mpsc::channel(1).0,
            records,
            clock: Arc::new(ManualClock::default()),
            interval: Span::from_secs(1),
            frozen: watch::channel(false).1,
            wishes: mpsc::channel(1).1,
            tape: None,
        }
    }

    fn observation(at: Moment) -> Observation {
        let absence = Absence::NotYet;
        Observation {
            host: HostId::from("shop"),
            at,
            at_ms: 0,
            state: Reading::Absent { absence },
            process: Reading::Absent { absence },
            cgroup: Reading::Absent { absence },
            machine: Reading::Absent { absence },
            pid: None,
            receipts: Vec::new(),
        }
    }

    /// The modes of the ticks at these seconds, with new settings in mode `advise` before the first.
    async fn modes(calm: Option<Calm>, mode: Mode, seconds: &[u64]) -> Vec<Mode> {
        let (records, mut recorded) = mpsc::channel(seconds.len() + 1);
        let (observations, observed) = mpsc::channel(1);
        let (new_settings, adopted) = mpsc::channel(1);
        let stage = tokio::spawn(decide(calm, mode, records).run(observed, adopted));
        let (done, taken) = oneshot::channel();
        let adopt = Adopt {
            settings: Box::new(settings(Mode::Advise, "second")),
            done,
        };
        new_settings.send(adopt).await.expect("it listens");
        taken.await.expect("it takes them over");
        let mut modes = Vec::new();
        for second in seconds {
            observations
                .send(observation(at(*second)))
                .await
                .expect("it listens");
            let Some(Recorded::Tick(tick)) = recorded.recv().await else {
                panic!("no tick at {second}");
            };
            modes.push(tick.decision.status.mode);
        }
        drop(observations);
        stage.await.expect("it ends");
        modes
    }

    #[tokio::test]
    async fn new_settings_during_the_calm_only_watch_and_act_once_it_is_over() {
        let calm = Calm {
            until: at(10),
            mode: Mode::Act,
        };
        let modes = modes(Some(calm), Mode::Observe, &[1, 9, 10, 11]).await;
        // The calm began with settings in mode `act`; what counts at its end are those that came meanwhile.
        let (calm, after) = ([Mode::Observe; 2], [Mode::Advise; 2]);
        assert_eq!(modes, [calm, after].concat());
    }

    #[tokio::test]
    async fn without_a_calm_new_settings_hold_at_the_next_tick() {
        let modes = modes(None, Mode::Act, &[1, 2]).await;
        assert_eq!(modes, [Mode::Advise; 2]);
    }

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
