//! The way to the disk: a bounded queue and one thread that writes.
//!
//! A write may take seconds on a bad day. So record only queues, and a thread appends and syncs. When the queue is full or the
//! disk refuses, decisions are lost on disk and counted, and intents are refused at once; nobody waits.

use crate::fail::{self, Point};
use crate::message::NotDurable;
use crate::record::ledger::Ledger;
use crate::view::{JournalHealth, Sort, Stored};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How many entries may wait for the disk.
const QUEUE: usize = 256;

/// How long the last entries may take when the sidecar ends.
const FINISH: Duration = Duration::from_secs(2);

/// The sending side of the ledger's queue.
#[derive(Debug)]
pub struct Journal {
    queue: mpsc::Sender<Job>,
    written: watch::Receiver<Written>,
    lost: Arc<AtomicU64>,
    thinned: u64,
    ended: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Job {
    entry: Arc<Stored>,
    done: Option<oneshot::Sender<Result<(), NotDurable>>>,
}

/// How the thread fared so far.
#[derive(Clone, Debug, Default)]
struct Written {
    trouble: Option<String>,
    errors: u64,
    entries: u64,
}

impl Journal {
    /// Starts the thread that writes to this ledger. If there can be no thread, the journal says so and refuses intents.
    #[must_use]
    pub fn start(ledger: Box<dyn Ledger>) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (health, written) = watch::channel(Written::default());
        let lost = Arc::default();
        let counter = Arc::clone(&lost);
        let (end, ended) = oneshot::channel();
        let writer = std::thread::Builder::new().name("ledger".to_owned());
        // A thread of its own: a runtime would wait for it at its end, and a disk may hang for ever.
        let started = writer.spawn(move || {
            write(ledger, jobs, &health, &counter);
            drop(end);
        });
        if let Err(error) = started {
            tracing::warn!(%error, "the ledger's thread could not be started");
        }
        Self {
            queue,
            written,
            lost,
            thinned: 0,
            ended,
        }
    }

    /// Queues an entry. If the queue is full the entry is lost on disk, and counted.
    pub fn append(&self, entry: &Arc<Stored>) {
        let job = Job {
            entry: Arc::clone(entry),
            done: None,
        };
        if self.queue.try_send(job).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues an entry, and answers once it is durable; or refuses it.
    pub fn append_durably(
        &self,
        entry: &Arc<Stored>,
        done: oneshot::Sender<Result<(), NotDurable>>,
    ) {
        let job = Job {
            entry: Arc::clone(entry),
            done: Some(done),
        };
        if let Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) =
            self.queue.try_send(job)
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
            answer(job.done, Err(NotDurable));
        }
    }

    /// Counts a decision that is left out on purpose.
    pub fn thinned(&mut self) {
        self.thinned += 1;
    }

    /// How the ledger is doing.
    #[must_use]
    pub fn health(&self) -> JournalHealth {
        let written = self.written.borrow();
        let behind = self.queue.capacity() == 0;
        let stopped = self.queue.is_closed();
        let text = match &written.trouble {
            _ if stopped => {
                "the thread that writes entries is gone, so no change is begun; restart".to_owned()
            }
            Some(trouble) => {
                format!("entries cannot be written, so no change is begun: {trouble}")
            }
            None if behind => "the disk does not keep up, so no change is begun for now".to_owned(),
            None => format!("{} entries written", written.entries),
        };
        JournalHealth {
            ok: written.trouble.is_none() && !behind && !stopped,
            text,
            errors: written.errors,
            lost: self.lost.load(Ordering::Relaxed),
            thinned: self.thinned,
        }
    }

    /// Closes the queue and lets the thread write what is left, for at most two seconds.
    pub async fn finish(self) {
        drop(self.queue);
        // A disk that hangs must not keep the sidecar from ending; its host undoes what is open.
        drop(tokio::time::timeout(FINISH, self.ended).await);
    }
}

fn write(
    mut ledger: Box<dyn Ledger>,
    mut jobs: mpsc::Receiver<Job>,
    health: &watch::Sender<Written>,
    lost: &AtomicU64,
) {
    while let Some(Job { entry, done }) = jobs.blocking_recv() {
        let result = ledger.append(&entry, done.is_some());
        match entry.sort {
            Sort::Intent => fail::at(Point::IntentSynced),
            Sort::Outcome => fail::at(Point::OutcomeWritten),
            Sort::Decision | Sort::Command | Sort::Reload => {}
        }
        health.send_modify(|written| match &result {
            Ok(()) => {
                written.trouble = None;
                written.entries += 1;
            }
            Err(error) => {
                written.trouble = Some(error.to_string());
                written.errors += 1;
            }
        });
        if result.is_err() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        answer(done, result.map_err(|_| NotDurable));
    }
}

fn answer(done: Option<oneshot::Sender<Result<(), NotDurable>>>, result: Result<(), NotDurable>) {
    // Whoever asked may have given up; then nothing was sent either.
    if let Some(done) = done {
        let _unheard = done.send(result);
    }
}
