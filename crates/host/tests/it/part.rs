//! A part with two knobs in memory, which can be told to refuse or to panic, and which tells of each value set.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use trimtab_host::fuse::Fuse;
use trimtab_host::knob::{Applied, Knob, KnobFuture, KnobReading, KnobSpec};
use trimtab_host::part::{Part, PartFigures, PartKnob};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::state::PoolKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Obeys,
    Refuses,
    Panics,
}

struct Cell {
    value: Mutex<(u64, Mood)>,
    told: Mutex<Sender<u64>>,
    baseline: u64,
    fuse: Arc<Fuse>,
}

impl Cell {
    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Mood)> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Knob for Cell {
    fn read(&self) -> KnobFuture<'_, Result<KnobReading, String>> {
        Box::pin(async {
            let value = KnobValue::Integer(self.lock().0);
            Ok(KnobReading {
                effective: value.clone(),
                value,
            })
        })
    }

    fn apply<'a>(&'a self, value: &'a KnobValue) -> KnobFuture<'a, Applied> {
        Box::pin(async move {
            let mood = self.lock().1;
            match (mood, value.as_integer()) {
                (Mood::Panics, _) => panic!("on purpose"),
                (Mood::Obeys, Some(number)) => {
                    // Whatever is above the baseline is on trial here, and must never stand without a fuse.
                    let armed = !format!("{:?}", self.fuse).contains("deadline_ns: 0, ");
                    if number > self.baseline && !armed {
                        return Applied::Refused("the fuse is not armed".to_owned());
                    }
                    self.lock().0 = number;
                    let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.send(number).unwrap_or_default();
                    Applied::Done
                }
                _ => Applied::Refused("not today".to_owned()),
            }
        })
    }
}

/// A pool with `workers` (8, of 1 to 64) and `queue_limit` (100, of 10 to 1000).
pub(crate) struct Fake {
    name: PoolName,
    workers: Arc<Cell>,
    queue_limit: Arc<Cell>,
    pub(crate) fuse: Arc<Fuse>,
    /// The values that `workers` was set to by the host.
    pub(crate) set: Mutex<Receiver<u64>>,
    tells: Mutex<Sender<bool>>,
    /// What it was told about whether someone decides about its knobs.
    steered: Mutex<Receiver<bool>>,
}

impl Fake {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let (told, set) = channel();
        let (tells, steered) = channel();
        let fuse: Arc<Fuse> = Arc::default();
        let cell = |value, told| {
            Arc::new(Cell {
                value: Mutex::new((value, Mood::Obeys)),
                told: Mutex::new(told),
                baseline: value,
                fuse: Arc::clone(&fuse),
            })
        };
        Arc::new(Self {
            name: name.into(),
            workers: cell(8, told),
            queue_limit: cell(100, channel().0),
            fuse: Arc::clone(&fuse),
            set: Mutex::new(set),
            tells: Mutex::new(tells),
            steered: Mutex::new(steered),
        })
    }

    pub(crate) fn workers(&self) -> u64 {
        self.workers.lock().0
    }

    pub(crate) fn queue_limit(&self) -> u64 {
        self.queue_limit.lock().0
    }

    /// Someone other than the host sets `workers`.
    pub(crate) fn meddle(&self, value: u64) {
        self.workers.lock().0 = value;
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.workers.lock().1 = mood;
    }

    /// Waits until the host sets `workers`, and says to what.
    pub(crate) fn next_set(&self) -> u64 {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        set.recv_timeout(crate::LONG).expect("the host sets it")
    }
}

impl Fake {
    /// Waits until it is told whether someone decides about its knobs.
    pub(crate) fn next_steered(&self) -> bool {
        let steered = self.steered.lock().unwrap_or_else(PoisonError::into_inner);
        steered.recv_timeout(crate::LONG).expect("it is told")
    }
}

impl Part for Fake {
    fn name(&self) -> &PoolName {
        &self.name
    }

    fn kind(&self) -> PoolKind {
        PoolKind::Web
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let knob = |spec, cell: &Arc<Cell>| PartKnob {
            spec,
            knob: Arc::clone(cell) as Arc<dyn Knob>,
        };
        vec![
            knob(
                KnobSpec::integer("queue_limit", "jobs", 100, 10, 1_000),
                &self.queue_limit,
            ),
            knob(
                KnobSpec::integer("workers", "workers", 8, 1, 64),
                &self.workers,
            ),
        ]
    }

    fn figures(&self, _now_ns: u64) -> PartFigures {
        let mut figures = PartFigures::default();
        figures.counters.arrived = Some(7);
        figures.gauges.busy = Some(3);
        figures
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        Some(Arc::clone(&self.fuse))
    }

    fn steered(&self, steered: bool) {
        let tells = self.tells.lock().unwrap_or_else(PoisonError::into_inner);
        tells.send(steered).unwrap_or_default();
    }
}
