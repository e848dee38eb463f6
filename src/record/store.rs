//! The history in memory, bounded in items and bytes, from which each view is made without copying it.

use crate::record::Retention;
use crate::view::pack::SampleHistory;
use crate::view::ring::Ring;
use crate::view::{HostView, Stored, words};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use trimtab_core::moment::Moment;
use trimtab_protocol::decision::Reason;
use trimtab_protocol::name::{HostId, PoolName};
use trimtab_protocol::view::{ChangeCounts, HostStatus};

/// Entries that did something are kept longer than the rest, up to this many.
const DEEDS_MAX: usize = 512;
/// The most bytes of them.
const DEEDS_BYTES_MAX: usize = 512 * 1024;
/// How many names are shared between entries; a name beyond is copied.
const NAMES_MAX: usize = 1_024;
/// How many pools are counted.
const COUNTED_MAX: usize = 1_024;

/// A sentence for each pool, and for the host as a whole under `None`.
pub(super) type Texts = [(Option<PoolName>, String)];

/// The history of all hosts.
#[derive(Debug)]
pub(super) struct Store {
    retention: Retention,
    hosts: BTreeMap<HostId, Arc<HostView>>,
    counts: BTreeMap<(HostId, PoolName), ChangeCounts>,
    /// Decisions to change nothing, by host and kind of reason.
    held: BTreeMap<HostId, BTreeMap<String, u64>>,
    names: BTreeSet<Arc<str>>,
    /// Entries of earlier starts, until their host is seen.
    past: BTreeMap<HostId, VecDeque<Arc<Stored>>>,
}

impl Store {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            hosts: BTreeMap::new(),
            counts: BTreeMap::new(),
            held: BTreeMap::new(),
            names: BTreeSet::new(),
            past: BTreeMap::new(),
        }
    }

    /// Takes in what earlier starts wrote.
    pub(super) fn remember(&mut self, past: BTreeMap<HostId, VecDeque<Arc<Stored>>>) {
        self.past = past;
    }

    /// The hosts as they now stand; a handful of shared pointers.
    pub(super) fn hosts(&self) -> BTreeMap<HostId, Arc<HostView>> {
        self.hosts.clone()
    }

    /// The same name as one shared string, so that ten thousand entries do not hold ten thousand copies.
    pub(super) fn shared_name(&mut self, pool: &PoolName) -> Arc<str> {
        if let Some(shared) = self.names.get(pool.as_str()) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = Arc::from(pool.as_str());
        if self.names.len() < NAMES_MAX {
            self.names.insert(Arc::clone(&shared));
        }
        shared
    }

    /// Counts a change of a pool.
    pub(super) fn count(
        &mut self,
        host: &HostId,
        pool: Option<&PoolName>,
        add: impl FnOnce(&mut ChangeCounts),
    ) {
        let Some(pool) = pool else {
            return;
        };
        let key = (host.clone(), pool.clone());
        if self.counts.len() < COUNTED_MAX || self.counts.contains_key(&key) {
            add(self.counts.entry(key).or_default());
        }
    }

    /// Counts a decision to change nothing. There are few kinds of reason and one host, so nothing bounds them further.
    pub(super) fn count_held(&mut self, host: &HostId, reason: &Reason) {
        let held = self.held.entry(host.clone()).or_default();
        *held.entry(words::kind(reason).to_owned()).or_default() += 1;
    }

    /// Whether the pool's last decision already said that its trial ended.
    pub(super) fn knows_the_end(&self, host: &HostId, pool: Option<&PoolName>) -> bool {
        let last = self
            .hosts
            .get(host)
            .zip(pool)
            .and_then(|(view, pool)| view.status.pools.get(pool))
            .and_then(|pool| pool.decision.as_ref());
        last.is_some_and(|last| matches!(last.reason, Reason::TrialEnded { .. }))
    }

    /// Takes in what the controller made of a tick, with its sentences and counts, and the tick's sample.
    pub(super) fn status(&mut self, mut status: HostStatus, at: Moment, texts: &Texts) {
        for (name, pool) in &mut status.pools {
            if let Some((_, text)) = texts.iter().find(|(about, _)| about.as_ref() == Some(name)) {
                pool.text.clone_from(text);
            }
            let counted = self.counts.get(&(status.host.clone(), name.clone()));
            pool.changes = counted.copied().unwrap_or_default();
        }
        status.held = self.held.get(&status.host).cloned().unwrap_or_default();
        status.summary = summary(&status, texts);
        let past = self.past.remove(&status.host);
        let view = self
            .hosts
            .entry(status.host.clone())
            .or_insert_with(|| Arc::new(nothing_yet(&status, self.retention)));
        let view = Arc::make_mut(view);
        for stored in past.into_iter().flatten() {
            add(view, &stored);
        }
        view.samples.push(&status.sample);
        view.status = Arc::new(status);
        view.at = at;
    }

    /// Adds an entry to its host's history. A host that was never seen has none.
    pub(super) fn push(&mut self, host: &HostId, stored: &Arc<Stored>) {
        if let Some(view) = self.hosts.get_mut(host) {
            add(Arc::make_mut(view), stored);
        }
    }
}

fn add(view: &mut HostView, stored: &Arc<Stored>) {
    view.entries.push(Arc::clone(stored));
    if stored.is_deed() {
        view.deeds.push(Arc::clone(stored));
    }
}

fn nothing_yet(status: &HostStatus, retention: Retention) -> HostView {
    HostView {
        status: Arc::new(status.clone()),
        at: Moment::default(),
        samples: SampleHistory::new(retention.samples_max, retention.samples_bytes_max),
        entries: Ring::new(retention.entries_max, retention.entries_bytes_max),
        deeds: Ring::new(DEEDS_MAX, DEEDS_BYTES_MAX),
    }
}

/// The host in one sentence: that of the pool in the worst regime, or why there is none.
fn summary(status: &HostStatus, texts: &Texts) -> String {
    if let Some(absence) = status.absent {
        return format!("The host cannot be read: {}.", words::absence(absence));
    }
    let worst = status
        .pools
        .iter()
        .filter_map(|(name, pool)| Some((pool.decision.as_ref()?.regime, name, &pool.text)))
        .min_by_key(|(regime, ..)| *regime);
    if let Some((regime, name, text)) = worst {
        let name = words::foreign(name.as_str());
        return format!("{name} is {}. {text}", words::regime(regime));
    }
    let whole = texts.iter().find(|(about, _)| about.is_none());
    whole.map_or_else(
        || "The host has no pools.".to_owned(),
        |(_, text)| text.clone(),
    )
}
