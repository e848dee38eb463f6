//! Record keeps the ledger: one entry a tick and pool, each intent and outcome, and each command of an operator.
//!
//! One task owns everything here. It makes the sentences, numbers the entries, keeps a bounded history in memory, counts for
//! the metrics, and publishes a [`View`] after each tick. What goes to disk goes through a queue to a thread of its own, so a
//! slow disk delays neither a view nor a decision. An intent is acknowledged once it would survive a power cut; a ledger that
//! cannot take it refuses it, and then nothing is sent to the host, while sampling and views go on.
//!
//! Record decides nothing, asks the host nothing, and reads no clock: each input brings its time.

pub mod journal;
pub mod ledger;
pub mod metrics;
pub mod past;
pub mod starts;
mod store;
pub mod text;
mod thin;

use crate::fail::{self, Point};
use crate::message::{About, Recorded, Tick};
use crate::record::journal::Journal;
use crate::record::metrics::Metrics;
use crate::record::store::Store;
use crate::record::thin::Thin;
use crate::view::{Sort, Stored, View};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, watch};
use trimtab_core::decision::Decision;
use trimtab_protocol::change::ChangeStatus;
use trimtab_protocol::configuration::{ConfigurationStatus, ReloadRecord};
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::name::HostId;
use trimtab_protocol::view::{ChangeCounts, Entry, EntryBody, EntryId, OutcomeRecord};

/// How many entries a slow listener may fall behind before it is told to read the history instead.
const LISTENER_LAG_MAX: usize = 256;

/// How much history is kept in memory, for each host.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Samples.
    pub samples_max: usize,
    /// Bytes of samples.
    pub samples_bytes_max: usize,
    /// Entries.
    pub entries_max: usize,
    /// Bytes of entries.
    pub entries_bytes_max: usize,
}

impl Default for Retention {
    /// Eight hours of samples at one a second of a host with one pool, of more pools what fits in 5 MiB, and up to 10,000
    /// entries.
    fn default() -> Self {
        Self {
            samples_max: 28_832,
            samples_bytes_max: 5 << 20,
            entries_max: 10_000,
            entries_bytes_max: 3 << 20,
        }
    }
}

/// What others read of record.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// The newest view.
    pub view: watch::Receiver<Arc<View>>,
    /// Each new entry, right after the view that holds it; subscribe to listen.
    pub entries: broadcast::Sender<Arc<Stored>>,
    /// The metrics, to render on request.
    pub metrics: Arc<Metrics>,
}

/// The task that keeps the ledger.
#[derive(Debug)]
pub struct Recorder {
    boot: Arc<str>,
    last_sequence: u64,
    store: Store,
    thin: Thin,
    journal: Journal,
    configuration: Arc<ConfigurationStatus>,
    damaged: Option<Arc<str>>,
    metrics: Arc<Metrics>,
    view: watch::Sender<Arc<View>>,
    entries: broadcast::Sender<Arc<Stored>>,
}

impl Recorder {
    /// A recorder for this start of the sidecar, and what others read of it. `boot` is a random word without spaces.
    #[must_use]
    pub fn new(boot: &str, retention: Retention, journal: Journal) -> (Self, Outlets) {
        let (view, view_outlet) = watch::channel(Arc::new(View::empty(boot)));
        let entries = broadcast::Sender::new(LISTENER_LAG_MAX);
        let metrics = Arc::new(Metrics::new(view_outlet.clone()));
        let outlets = Outlets {
            view: view_outlet,
            entries: entries.clone(),
            metrics: Arc::clone(&metrics),
        };
        let recorder = Self {
            boot: Arc::from(boot),
            last_sequence: 0,
            store: Store::new(retention),
            thin: Thin::default(),
            journal,
            configuration: Arc::default(),
            damaged: None,
            metrics,
            view,
            entries,
        };
        (recorder, outlets)
    }

    /// Shows the entries of earlier starts before those of this one.
    #[must_use]
    pub fn after(mut self, past: past::Past) -> Self {
        let skipped = past.skipped;
        if skipped != ledger::Skipped::default() {
            let text = format!(
                "{} lines of the ledger fail their checksum and {} files could not be read to their end; they were passed over",
                skipped.lines, skipped.files
            );
            self.damaged = Some(Arc::from(text));
        }
        self.store.remember(past.entries);
        self
    }

    /// Records until every sender of the inbox is gone, then lets the ledger finish.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Recorded>) {
        while let Some(recorded) = inbox.recv().await {
            self.record(recorded);
        }
        self.journal.finish().await;
    }

    fn record(&mut self, recorded: Recorded) {
        match recorded {
            Recorded::Tick(tick) => self.tick(*tick),
            Recorded::Intent {
                about,
                intent,
                done,
            } => {
                let text = text::intent(&intent);
                let stored = self.enter(&about, EntryBody::Intent(intent), text);
                fail::at(Point::IntentEntered);
                self.journal.append_durably(&stored, done);
                self.publish(&about.host, vec![stored]);
            }
            Recorded::Outcome { about, outcome } => {
                self.metrics
                    .outcome(&about.host, about.pool.as_ref(), &outcome);
                self.store
                    .count(&about.host, about.pool.as_ref(), |counts| {
                        count_outcome(counts, &outcome);
                    });
                let text = text::outcome(&outcome);
                let stored = self.enter(&about, EntryBody::Outcome(outcome), text);
                fail::at(Point::OutcomeEntered);
                self.journal.append(&stored);
                self.publish(&about.host, vec![stored]);
            }
            Recorded::Command {
                about,
                record,
                done,
            } => {
                let text = text::command(&record);
                let stored = self.enter(&about, EntryBody::Command(record), text);
                self.journal.append_durably(&stored, done);
                self.publish(&about.host, vec![stored]);
            }
            Recorded::Configuration {
                about,
                status,
                reload,
            } => self.configuration(&about, status, reload),
        }
    }

    fn configuration(
        &mut self,
        about: &About,
        status: Arc<ConfigurationStatus>,
        reload: Option<ReloadRecord>,
    ) {
        self.configuration = status;
        let stored = reload.map(|reload| {
            self.metrics.reload(reload.result);
            let text = text::reload(&reload);
            let stored = self.enter(about, EntryBody::Reload(reload), text);
            self.journal.append(&stored);
            stored
        });
        self.publish(&about.host, stored.into_iter().collect());
    }

    fn tick(&mut self, tick: Tick) {
        let Tick {
            decision,
            lag,
            dropped,
        } = tick;
        let Decision {
            host,
            at,
            at_ms,
            instance,
            records,
            orders: _,
            status,
        } = decision;
        self.metrics.tick(&host, lag, dropped);
        let mut entered = Vec::with_capacity(records.len());
        let mut texts = Vec::with_capacity(records.len());
        for (pool, record) in records {
            self.metrics.decision(&host, pool.as_ref(), &record);
            if record.action == Action::Hold {
                self.store.count_held(&host, &record.reason);
            }
            if ended_undone(&record.reason) && !self.store.knows_the_end(&host, pool.as_ref()) {
                self.metrics.undone(&host, pool.as_ref());
                self.store
                    .count(&host, pool.as_ref(), |counts| counts.rolled_back += 1);
            }
            let about = About {
                host: host.clone(),
                instance: instance.clone(),
                pool,
                at,
                at_ms,
            };
            let text = text::decision(&record);
            texts.push((about.pool.clone(), text.clone()));
            let repeats = self.thin.repeats(&about, &record);
            let stored = self.enter(&about, EntryBody::Decision(record), text);
            if repeats && self.journal.health().ok {
                self.journal.thinned();
            } else {
                self.journal.append(&stored);
            }
            entered.push(stored);
        }
        self.store.status(status, at, &texts);
        self.publish(&host, entered);
    }

    /// Numbers an entry and serialises it, once for the disk, the history and all listeners.
    fn enter(&mut self, about: &About, body: EntryBody, text: String) -> Arc<Stored> {
        self.last_sequence += 1;
        let (sort, action) = match &body {
            EntryBody::Decision(record) => (Sort::Decision, Some(record.action)),
            EntryBody::Intent(record) => (Sort::Intent, Some(record.action)),
            EntryBody::Outcome(record) => (Sort::Outcome, Some(record.action)),
            EntryBody::Command(_) => (Sort::Command, None),
            EntryBody::Reload(_) => (Sort::Reload, None),
        };
        let entry = Entry {
            id: EntryId {
                boot: self.boot.to_string(),
                sequence: self.last_sequence,
            },
            at_ms: about.at_ms,
            moment_ns: about.at.as_boot_ns(),
            host: about.host.clone(),
            instance: about.instance.clone(),
            pool: about.pool.clone(),
            body,
            text,
        };
        let json = serde_json::to_string(&entry)
            .expect("an entry has text keys and no type whose serialising fails");
        Arc::new(Stored {
            sequence: self.last_sequence,
            boot: Arc::clone(&self.boot),
            pool: about.pool.as_ref().map(|pool| self.store.shared_name(pool)),
            sort,
            action,
            json: json.into_boxed_str(),
        })
    }

    /// First the view, then the listeners: whoever subscribes and then reads the view misses nothing.
    fn publish(&mut self, host: &HostId, entered: Vec<Arc<Stored>>) {
        for stored in &entered {
            self.store.push(host, stored);
        }
        let view = View {
            boot: Arc::clone(&self.boot),
            hosts: self.store.hosts(),
            journal: self.journal.health(),
            configuration: Arc::clone(&self.configuration),
            damaged: self.damaged.clone(),
            last_sequence: self.last_sequence,
        };
        self.view.send_replace(Arc::new(view));
        for stored in entered {
            // Without listeners there is nobody to tell.
            drop(self.entries.send(stored));
        }
    }
}

/// Whether the reason tells of a trial that was undone without us.
fn ended_undone(reason: &Reason) -> bool {
    let Reason::TrialEnded { status } = reason else {
        return false;
    };
    match status {
        ChangeStatus::RolledBack | ChangeStatus::Expired | ChangeStatus::Superseded => true,
        ChangeStatus::Trial | ChangeStatus::Confirmed => false,
    }
}

fn count_outcome(counts: &mut ChangeCounts, outcome: &OutcomeRecord) {
    match (&outcome.reason, outcome.action) {
        (None, Action::Try) => counts.made += 1,
        (None, Action::Confirm) => counts.kept += 1,
        (None, Action::RollBack) => counts.rolled_back += 1,
        (Some(Reason::Refused { .. }), _) => counts.refused += 1,
        (None, Action::Hold | Action::Advise) | (Some(_), _) => {}
    }
}

#[cfg(test)]
mod tests;
