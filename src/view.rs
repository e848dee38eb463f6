//! What the sidecar knows, as one snapshot that many may read.
//!
//! Record writes a [`View`] each tick and publishes it through a `watch` channel; serve reads it. A snapshot is a handful of
//! shared pointers: the history within it is never copied, and a slow reader holds up nobody.
//!
//! Nothing here asks for the time, writes a file or answers a request.

pub mod pack;
pub mod ring;
pub mod words;

use crate::view::pack::SampleHistory;
use crate::view::ring::{Ring, Weigh};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use trimtab_core::moment::Moment;
use trimtab_protocol::configuration::ConfigurationStatus;
use trimtab_protocol::decision::Action;
use trimtab_protocol::name::HostId;
use trimtab_protocol::view::{Entry, EntryId, HostStatus};

/// Everything that can be shown, at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// This start of the sidecar: the first half of each entry's id.
    pub boot: Arc<str>,
    /// The hosts.
    pub hosts: BTreeMap<HostId, Arc<HostView>>,
    /// How the ledger on disk is doing.
    pub journal: JournalHealth,
    /// The sidecar's own configuration.
    pub configuration: Arc<ConfigurationStatus>,
    /// What of the ledger of earlier starts could not be read, in words; nothing where all could.
    pub damaged: Option<Arc<str>>,
    /// The number of the newest entry; 0 before the first.
    pub last_sequence: u64,
}

impl View {
    /// A view of nothing yet.
    #[must_use]
    pub fn empty(boot: &str) -> Self {
        Self {
            boot: Arc::from(boot),
            hosts: BTreeMap::new(),
            journal: JournalHealth::default(),
            configuration: Arc::default(),
            damaged: None,
            last_sequence: 0,
        }
    }
}

/// One host with its history.
#[derive(Clone, Debug)]
pub struct HostView {
    /// The host as the controller last saw it, with the sentences filled in.
    pub status: Arc<HostStatus>,
    /// When that was.
    pub at: Moment,
    /// What was read, tick by tick.
    pub samples: SampleHistory,
    /// The ledger's entries, oldest first.
    pub entries: Ring<Arc<Stored>>,
    /// Those of them that did something; they are kept longer.
    pub deeds: Ring<Arc<Stored>>,
}

/// A ledger entry as it is kept and sent: serialised once, with what is needed to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The entry's number.
    pub sequence: u64,
    /// The start of the sidecar that it belongs to.
    pub boot: Arc<str>,
    /// The pool, where it is about one.
    pub pool: Option<Arc<str>>,
    /// What sort of entry it is.
    pub sort: Sort,
    /// What it does, or asked for; none for what an operator told the sidecar.
    pub action: Option<Action>,
    /// The entry as one line of JSON, without the line's end.
    pub json: Box<str>,
}

/// What sort of entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// A decision.
    Decision,
    /// What is about to be sent.
    Intent,
    /// What came of it.
    Outcome,
    /// What an operator told the sidecar.
    Command,
    /// The configuration was read anew.
    Reload,
}

impl Sort {
    /// The word that stands in the entry itself, and names its event.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Command => "command",
            Self::Reload => "reload",
        }
    }
}

impl Stored {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId {
            boot: self.boot.to_string(),
            sequence: self.sequence,
        }
    }

    /// Whether the entry is more than a decision to change nothing.
    #[must_use]
    pub fn is_deed(&self) -> bool {
        match self.sort {
            Sort::Decision => !matches!(self.action, Some(Action::Hold | Action::Advise)),
            Sort::Intent | Sort::Outcome | Sort::Command | Sort::Reload => true,
        }
    }

    /// The entry itself, read back.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        serde_json::from_str(&self.json).ok()
    }
}

impl Weigh for Arc<Stored> {
    fn bytes(&self) -> usize {
        self.json.len() + size_of::<Stored>() + 32
    }
}

/// How the ledger on disk is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalHealth {
    /// Whether the last write went well; if not, no change is begun.
    pub ok: bool,
    /// What was found, in words.
    pub text: String,
    /// Writes that failed since the start.
    pub errors: u64,
    /// Entries that were not written because the disk did not keep up or was broken.
    pub lost: u64,
    /// Decisions left out on disk because they repeated the one before.
    pub thinned: u64,
}

impl Default for JournalHealth {
    fn default() -> Self {
        Self {
            ok: true,
            text: "nothing was written yet".to_owned(),
            errors: 0,
            lost: 0,
            thinned: 0,
        }
    }
}
