//! A stage that collects: pieces come one by one and leave as batches.

use super::queue::{Leave, Queue, Taken};
use super::{Exit, Report, TroubleKind, tell};
use crate::batch::{Batch, Linger};
use crate::counters::reading::Reader;
use crate::counters::{Outcome, Stint};
use crate::dial::{Dial, DialKnob};
use crate::fuse::Fuse;
use crate::limit::line::LineReading;
use crate::part::{Part, PartFigures, PartKnob};
use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;
use trimtab_protocol::knob::KnobKind;
use trimtab_protocol::name::{KnobName, PoolName};
use trimtab_protocol::state::PoolKind;
use trimtab_sys::clock::boot_ns;

/// Which pieces are the same, and what becomes of the later one.
pub(super) struct Merge<F, M> {
    pub(super) key: F,
    pub(super) merge: M,
}

/// A collecting stage at work.
pub(super) struct Collector<T> {
    name: PoolName,
    kind: PoolKind,
    pub(super) queue: Arc<Queue<T>>,
    exit: Exit<Vec<T>>,
    size: Dial,
    linger_ms: Dial,
    report: Report,
    open: AtomicU64,
    batches: AtomicU64,
    full: AtomicU64,
    merged: AtomicU64,
    wait_us: AtomicU64,
    reader: Mutex<(Reader, LineReading)>,
}

/// The batch that is being filled.
struct Open<T, K> {
    items: Vec<T>,
    places: HashMap<K, usize>,
    stints: Vec<Stint>,
    since: Instant,
    due: Instant,
}

impl<T: Send + 'static> Collector<T> {
    pub(super) fn new(batch: Batch, exit: Exit<Vec<T>>, report: Report) -> Arc<Self> {
        let queue = Arc::new(Queue::new(batch.queue_limit));
        let watching = Arc::downgrade(&queue);
        queue.fuse.watch(move || {
            if let Some(queue) = Weak::upgrade(&watching) {
                queue.look_again();
            }
        });
        Arc::new(Self {
            name: PoolName::from(batch.name),
            kind: batch.kind,
            queue,
            exit,
            size: batch.size,
            linger_ms: batch.linger_ms,
            report,
            open: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            full: AtomicU64::new(0),
            merged: AtomicU64::new(0),
            wait_us: AtomicU64::new(0),
            reader: Mutex::default(),
        })
    }

    /// Collects until the queue is closed and empty.
    pub(super) async fn keep_collecting<K, F, M>(&self, merge: &Merge<F, M>)
    where
        K: Hash + Eq + Send,
        F: Fn(&T) -> Option<K> + Sync,
        M: Fn(&mut T, T) + Sync,
    {
        let mut linger = Linger::default();
        let mut open: Option<Open<T, K>> = None;
        loop {
            let taken = match &open {
                None => self.queue.take(None, |_| Leave::Take).await,
                Some(batch) => {
                    let next = self.queue.take(None, |_| Leave::Take);
                    match tokio::time::timeout_at(batch.due, next).await {
                        Ok(taken) => taken,
                        Err(_) => {
                            linger.lingered(self.linger());
                            self.flush(open.take()).await;
                            continue;
                        }
                    }
                }
            };
            let Ok(taken) = taken else { break };
            let batch = open.get_or_insert_with(|| {
                let wait = linger.wait(self.linger());
                let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
                self.wait_us.store(wait_us, Ordering::Relaxed);
                Open::new(wait)
            });
            self.add(batch, taken, merge);
            if self.is_full(batch) {
                linger.filled(batch.since.elapsed());
                self.full.fetch_add(1, Ordering::Relaxed);
                self.flush(open.take()).await;
            }
            tokio::task::coop::consume_budget().await;
        }
        self.flush(open).await;
        self.exit.close();
    }

    fn add<K, F, M>(&self, batch: &mut Open<T, K>, taken: Taken<T>, merge: &Merge<F, M>)
    where
        K: Hash + Eq,
        F: Fn(&T) -> Option<K>,
        M: Fn(&mut T, T),
    {
        let Taken { item, stint, .. } = taken;
        // Key and merge are someone else's code.
        let added = catch_unwind(AssertUnwindSafe(|| {
            let key = (merge.key)(&item);
            let there = key.as_ref().and_then(|key| batch.places.get(key).copied());
            match there.and_then(|place| batch.items.get_mut(place)) {
                Some(kept) => {
                    (merge.merge)(kept, item);
                    self.merged.fetch_add(1, Ordering::Relaxed);
                }
                None => {
                    if let Some(key) = key {
                        batch.places.insert(key, batch.items.len());
                    }
                    batch.items.push(item);
                }
            }
        }));
        if added.is_ok() {
            batch.stints.push(stint);
            self.open.fetch_add(1, Ordering::Relaxed);
        } else {
            self.queue.counters.end(stint, Outcome::Failed, boot_ns());
            tell(&self.report, &self.name, TroubleKind::Panicked);
        }
    }

    async fn flush<K>(&self, batch: Option<Open<T, K>>) {
        let Some(Open { items, stints, .. }) = batch else {
            return;
        };
        let now_ns = boot_ns();
        for stint in stints {
            self.queue.counters.end(stint, Outcome::Completed, now_ns);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        if !items.is_empty() {
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.exit.put(items, now_ns).await;
        }
    }

    fn is_full<K>(&self, batch: &Open<T, K>) -> bool {
        u64::try_from(batch.items.len()).unwrap_or(u64::MAX) >= self.size.get()
    }

    fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms.get())
    }
}

impl<T, K> Open<T, K> {
    fn new(wait: Duration) -> Self {
        let since = Instant::now();
        Self {
            items: Vec::new(),
            places: HashMap::new(),
            stints: Vec::new(),
            since,
            due: since + wait,
        }
    }
}

/// The side of a collecting stage that the host sees.
pub(super) struct CollectorPart<T>(pub(super) Arc<Collector<T>>);

impl<T: Send + 'static> Part for CollectorPart<T> {
    fn name(&self) -> &PoolName {
        &self.0.name
    }

    fn kind(&self) -> PoolKind {
        self.0.kind
    }

    fn knobs(&self) -> Vec<PartKnob> {
        let core = &self.0;
        let knob = |spec, dial: fn(&Collector<T>) -> &Dial, effective| PartKnob {
            spec,
            knob: Arc::new(DialKnob {
                owner: Arc::clone(core),
                dial,
                effective,
                turned: |core: &Arc<Collector<T>>| core.queue.look_again(),
            }),
        };
        let as_set: fn(&Collector<T>, u64) -> u64 = |_, target| target;
        let size = core
            .size
            .spec(KnobName::BATCH_SIZE, "pieces", KnobKind::Integer);
        let linger = core
            .linger_ms
            .spec(KnobName::LINGER_MS, "ms", KnobKind::DurationMs);
        let queue_limit = core
            .queue
            .limit
            .spec(KnobName::QUEUE_LIMIT, "places", KnobKind::Integer);
        vec![
            knob(size, |core| &core.size, as_set),
            knob(linger, |core| &core.linger_ms, as_set),
            knob(
                queue_limit,
                |core| &core.queue.limit,
                |core, target| target.max(core.queue.queued()),
            ),
        ]
    }

    fn figures(&self, now_ns: u64) -> PartFigures {
        let core = &self.0;
        let mut held = core.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let (reader, last_line) = &mut *held;
        *last_line = core.queue.line().unwrap_or(*last_line);
        let open = core.open.load(Ordering::Relaxed);
        let mut figures = reader.read(&core.queue.counters, open, *last_line, now_ns);
        let named = [
            ("batch_full", &core.full),
            ("batch_merged", &core.merged),
            ("batch_wait_us", &core.wait_us),
            ("batches", &core.batches),
        ];
        figures.gauges.named = named
            .into_iter()
            .map(|(name, figure)| (name.to_owned(), figure.load(Ordering::Relaxed)))
            .collect();
        figures
    }

    fn fuse(&self) -> Option<Arc<Fuse>> {
        Some(Arc::clone(&self.0.queue.fuse))
    }
}
