//! What the starts before this one left in the ledger: their last entries, and what they had begun and never heard of again.

use super::ledger;
use crate::view::{Sort, Stored};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::{Generation, HostId, InstanceId, PoolName};
use trimtab_protocol::view::{Entry, EntryBody};

/// How much of the ledger's end is read, so that a start takes no time.
const BYTES_MAX: u64 = 2 << 20;
/// How many of the entries are shown again.
const ENTRIES_MAX: usize = 500;

/// What was before.
#[derive(Debug, Default)]
pub struct Past {
    /// The last entries of each host, oldest first.
    pub entries: BTreeMap<HostId, VecDeque<Arc<Stored>>>,
    /// What was about to be sent, and of which nobody wrote down what came of it.
    pub open: Vec<Open>,
    /// How much of the ledger could not be read.
    pub skipped: ledger::Skipped,
}

/// A change that was begun in an earlier start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The host.
    pub host: HostId,
    /// Its run.
    pub instance: Option<InstanceId>,
    /// The pool.
    pub pool: PoolName,
    /// The change.
    pub generation: Generation,
    /// The entry's sentence.
    pub text: String,
}

impl Past {
    /// Reads the end of the ledger in a directory.
    ///
    /// # Errors
    /// The directory is there and cannot be read.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut past = Self::default();
        let read = ledger::scan_end(directory, BYTES_MAX, &mut |entry| past.take(entry));
        past.skipped = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => ledger::Skipped::default(),
            read => read?,
        };
        Ok(past)
    }

    fn take(&mut self, entry: Entry) {
        match (&entry.body, &entry.pool) {
            (EntryBody::Intent(intent), Some(pool)) if intent.action == Action::Try => {
                self.open.push(Open {
                    host: entry.host.clone(),
                    instance: entry.instance.clone(),
                    pool: pool.clone(),
                    generation: intent.generation,
                    text: entry.text.clone(),
                });
            }
            // Whatever became of a later step about the change, the host answers for it.
            (EntryBody::Outcome(outcome), Some(pool)) => self.open.retain(|open| {
                let same = open.host == entry.host && open.instance == entry.instance;
                !(same && open.pool == *pool && open.generation == outcome.generation)
            }),
            _ => {}
        }
        let Ok(json) = serde_json::to_string(&entry) else {
            return;
        };
        let (sort, action) = match &entry.body {
            EntryBody::Decision(record) => (Sort::Decision, Some(record.action)),
            EntryBody::Intent(record) => (Sort::Intent, Some(record.action)),
            EntryBody::Outcome(record) => (Sort::Outcome, Some(record.action)),
            EntryBody::Command(_) => (Sort::Command, None),
            EntryBody::Reload(_) => (Sort::Reload, None),
        };
        let stored = Stored {
            // Numbers are counted anew at each start; what was before stands before the first.
            sequence: 0,
            boot: Arc::from(entry.id.boot.as_str()),
            pool: entry.pool.as_ref().map(|pool| Arc::from(pool.as_str())),
            sort,
            action,
            json: json.into_boxed_str(),
        };
        let entries = self.entries.entry(entry.host).or_default();
        if entries.len() >= ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(Arc::new(stored));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ledger::{JsonLines, Ledger};
    use crate::record::tests::stored;
    use trimtab_protocol::name::Epoch;
    use trimtab_protocol::view::{EntryId, IntentRecord, OutcomeRecord};

    fn entry(sequence: u64, body: EntryBody) -> Stored {
        let mut entry: Entry = stored(sequence).entry().unwrap();
        entry.id = EntryId {
            boot: "b".to_owned(),
            sequence,
        };
        entry.body = body;
        Stored {
            json: serde_json::to_string(&entry).unwrap().into_boxed_str(),
            ..stored(sequence)
        }
    }

    fn intent(generation: u64) -> EntryBody {
        EntryBody::Intent(IntentRecord {
            action: Action::Try,
            epoch: Epoch(1),
            generation: Generation(generation),
            set: BTreeMap::new(),
        })
    }

    fn outcome(generation: u64) -> EntryBody {
        EntryBody::Outcome(OutcomeRecord {
            action: Action::Try,
            generation: Generation(generation),
            reason: None,
            took_us: 1,
        })
    }

    #[test]
    fn a_change_without_an_outcome_is_known_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = JsonLines::new(directory.path(), "b", 1 << 20);
        for (sequence, body) in [(1, intent(6)), (2, outcome(6)), (3, intent(7))] {
            ledger.append(&entry(sequence, body), true).unwrap();
        }
        let past = Past::read(directory.path()).unwrap();
        let open: Vec<u64> = past.open.iter().map(|open| open.generation.0).collect();
        assert_eq!(open, [7]);
        assert_eq!(past.entries.values().map(VecDeque::len).sum::<usize>(), 3);
    }

    #[test]
    fn without_a_ledger_there_is_no_past() {
        let directory = tempfile::tempdir().unwrap();
        let past = Past::read(&directory.path().join("none")).unwrap();
        assert!(past.open.is_empty() && past.entries.is_empty());
    }

    #[test]
    fn only_the_end_of_a_long_ledger_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = JsonLines::new(directory.path(), "b", 64 << 20);
        for sequence in 1..=5_000 {
            ledger.append(&stored(sequence), false).unwrap();
        }
        let past = Past::read(directory.path()).unwrap();
        let entries = past.entries.values().next().unwrap();
        assert_eq!(entries.len(), ENTRIES_MAX);
        let last = entries.back().unwrap().entry().unwrap();
        assert_eq!(last.id.sequence, 5_000);
        assert_eq!(
            past.skipped,
            ledger::Skipped::default(),
            "nothing is damaged"
        );
    }
}
