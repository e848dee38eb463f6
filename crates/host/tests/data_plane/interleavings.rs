//! Random interleavings of arrivals, ends, cancellations, resizes and trials, against a model of a few lines.

use crate::support::{apply, assert_drained, busy_and_queued, figures, fuse, outcomes, pool};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use trimtab_host::pool::{Enter, Permit, Pool};

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    End(usize),
    Fail(usize),
    Abandon(usize),
    Cancel(usize),
    Workers(u64),
    QueueLimit(u64),
    Burn,
    Mend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Arrive),
        3 => (0_usize..8).prop_map(Step::End),
        1 => (0_usize..8).prop_map(Step::Fail),
        1 => (0_usize..8).prop_map(Step::Abandon),
        2 => (0_usize..8).prop_map(Step::Cancel),
        2 => (1_u64..6).prop_map(Step::Workers),
        1 => (0_u64..6).prop_map(Step::QueueLimit),
        1 => Just(Step::Burn),
        2 => Just(Step::Mend),
    ]
}

/// What the pool should be doing. Work is known by its number in the order of arrival.
struct Model {
    workers: usize,
    queue_limit: usize,
    burnt: bool,
    running: Vec<usize>,
    /// Number, and whether it came while the fuse was burnt.
    queue: VecDeque<(usize, bool)>,
    arrived: usize,
    /// As the pool counts them.
    outcomes: [u64; 6],
}

const COMPLETED: usize = 0;
const FAILED: usize = 1;
const REJECTED: usize = 2;
const ABANDONED: usize = 4;

impl Model {
    /// Admits as far as the limits allow, and judges what was held.
    fn dispatch(&mut self) {
        if self.burnt {
            return;
        }
        while self.running.len() < self.workers {
            let Some((first, _)) = self.queue.pop_front() else {
                break;
            };
            self.running.push(first);
        }
        let mut kept = VecDeque::new();
        for (number, held) in std::mem::take(&mut self.queue) {
            if held && kept.len() >= self.queue_limit {
                self.outcomes[REJECTED] += 1;
            } else {
                kept.push_back((number, false));
            }
        }
        self.queue = kept;
    }

    fn arrive(&mut self) {
        let number = self.arrived;
        self.arrived += 1;
        if self.burnt {
            self.queue.push_back((number, true));
        } else if self.queue.is_empty() && self.running.len() < self.workers {
            self.running.push(number);
        } else if self.queue.len() < self.queue_limit {
            self.queue.push_back((number, false));
        } else {
            self.outcomes[REJECTED] += 1;
        }
    }

    /// Takes the n-th piece of running work out, if there is any.
    fn stop(&mut self, pick: usize, outcome: usize) -> Option<usize> {
        let count = self.running.len();
        (count > 0).then(|| {
            self.outcomes[outcome] += 1;
            self.running.remove(pick % count)
        })
    }
}

/// The pool under test, with every entry that is not settled and every permit that is held.
struct Real {
    pool: Pool,
    entering: Vec<(usize, Pin<Box<Enter>>)>,
    running: Vec<(usize, Permit)>,
}

impl Real {
    /// Polls all that wait, the latest first, so that the order of polling cannot be what keeps the order.
    fn poll(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for (number, mut enter) in std::mem::take(&mut self.entering).into_iter().rev() {
            match enter.as_mut().poll(&mut context) {
                Poll::Ready(Ok(permit)) => self.running.push((number, permit)),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => still.push((number, enter)),
            }
        }
        still.reverse();
        self.entering = still;
    }

    fn take(&mut self, number: usize) -> Permit {
        let place = self.running.iter().position(|(held, _)| *held == number);
        self.running.remove(place.expect("it runs")).1
    }
}

async fn act(step: &Step, model: &mut Model, real: &mut Real) {
    match *step {
        Step::Arrive => {
            real.entering
                .push((model.arrived, Box::pin(real.pool.enter())));
            model.arrive();
        }
        Step::End(pick) => {
            if let Some(number) = model.stop(pick, COMPLETED) {
                real.take(number).complete();
            }
        }
        Step::Fail(pick) => {
            if let Some(number) = model.stop(pick, FAILED) {
                real.take(number).fail();
            }
        }
        Step::Abandon(pick) => {
            if let Some(number) = model.stop(pick, ABANDONED) {
                drop(real.take(number));
            }
        }
        Step::Cancel(pick) => {
            if !model.queue.is_empty() {
                let place = pick % model.queue.len();
                let (number, _) = model.queue.remove(place).expect("it waits");
                real.entering.retain(|(waiting, _)| *waiting != number);
                model.outcomes[ABANDONED] += 1;
            }
        }
        Step::Workers(workers) => {
            apply(&real.pool, "workers", workers).await;
            model.workers = size(workers);
        }
        Step::QueueLimit(places) => {
            apply(&real.pool, "queue_limit", places).await;
            model.queue_limit = size(places);
        }
        Step::Burn => {
            fuse(&real.pool).arm(1);
            model.burnt = true;
        }
        Step::Mend => {
            fuse(&real.pool).clear();
            model.burnt = false;
        }
    }
    model.dispatch();
    real.poll();
}

fn check(model: &Model, real: &Real) -> Result<(), TestCaseError> {
    let mut expected = model.running.clone();
    let mut running: Vec<_> = real.running.iter().map(|(number, _)| *number).collect();
    expected.sort_unstable();
    running.sort_unstable();
    prop_assert_eq!(running, expected, "who runs");
    let waiting: Vec<_> = real.entering.iter().map(|(number, _)| *number).collect();
    let expected: Vec<_> = model.queue.iter().map(|(number, _)| *number).collect();
    prop_assert_eq!(waiting, expected, "who waits");
    prop_assert_eq!(outcomes(&real.pool), model.outcomes);
    let gauges = (number(model.running.len()), number(model.queue.len()));
    prop_assert_eq!(busy_and_queued(&real.pool), gauges);
    let arrived = figures(&real.pool).counters.arrived;
    prop_assert_eq!(arrived, Some(number(model.arrived)));
    Ok(())
}

fn size(value: u64) -> usize {
    usize::try_from(value).expect("a small number")
}

fn number(value: usize) -> u64 {
    u64::try_from(value).expect("a small number")
}

proptest! {
    #[test]
    fn a_pool_does_what_the_model_does(workers in 1_u64..5, places in 0_u64..5,
                                       steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut model = Model {
                workers: size(workers),
                queue_limit: size(places),
                burnt: false,
                running: Vec::new(),
                queue: VecDeque::new(),
                arrived: 0,
                outcomes: [0; 6],
            };
            let mut real = Real {
                pool: pool(workers, places),
                entering: Vec::new(),
                running: Vec::new(),
            };
            for step in &steps {
                act(step, &mut model, &mut real).await;
                check(&model, &real)?;
            }
            drop((real.entering, real.running));
            assert_drained(&real.pool);
            Ok::<(), TestCaseError>(())
        })?;
    }
}
