//! What the screen asks of a sidecar: its status, and what is new among its samples and its deeds.

use super::super::client::{Client, ClientError};
use super::super::status::word;
use trimtab_protocol::decision::Action;
use trimtab_protocol::view::{Decisions, Entry, EntryId, HostStatus, Sample, Samples};

/// How many samples are fetched at first: as many as a wide terminal has columns for.
const SAMPLES_FIRST: usize = 120;
/// How many entries of each kind are fetched at first.
const DEEDS_FIRST: usize = 50;

/// One look at a sidecar.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) status: HostStatus,
    /// The samples since the last look, oldest first.
    pub(super) samples: Vec<Sample>,
    /// The entries since the last look, in no order and perhaps more than once.
    pub(super) entries: Vec<Entry>,
}

/// Looks again and again, and asks only for what is new.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    host: Option<String>,
    last_sample_ns: Option<u64>,
    last_entry: Option<EntryId>,
}

impl Reader {
    pub(super) fn new(client: Client, host: Option<String>) -> Self {
        Self {
            client,
            host,
            last_sample_ns: None,
            last_entry: None,
        }
    }

    pub(super) async fn read(&mut self) -> Result<Reading, ClientError> {
        let host = self.client.host(self.host.as_deref()).await?;
        let base = format!("/api/v1/hosts/{host}");
        let status = self.client.get(&format!("{base}/status")).await?;
        let samples = self.samples(&base).await?;
        let entries = self.entries(&base).await?;
        Ok(Reading {
            status,
            samples,
            entries,
        })
    }

    async fn samples(&mut self, base: &str) -> Result<Vec<Sample>, ClientError> {
        let query = match self.last_sample_ns {
            Some(after) => format!("since={after}"),
            None => format!("limit={SAMPLES_FIRST}"),
        };
        let path = format!("{base}/samples?{query}");
        let Samples { samples, .. } = self.client.get(&path).await?;
        if let Some(last) = samples.last() {
            self.last_sample_ns = Some(last.moment_ns);
        }
        Ok(samples)
    }

    async fn entries(&mut self, base: &str) -> Result<Vec<Entry>, ClientError> {
        let entries = match &self.last_entry {
            Some(last) => {
                let path = format!("{base}/decisions?since={last}&limit=1000");
                self.client.get::<Decisions>(&path).await?.entries
            }
            None => self.deeds(base).await?,
        };
        if let Some(newest) = entries.last() {
            self.last_entry = Some(newest.id.clone());
        }
        Ok(entries)
    }

    /// Asked for by kind, for entries that did something are kept longer than the rest; the newest of all is the last, so that
    /// the next look begins after it.
    async fn deeds(&self, base: &str) -> Result<Vec<Entry>, ClientError> {
        let mut queries = vec!["entry=command".to_owned(), "entry=reload".to_owned()];
        for action in [
            Action::Try,
            Action::Confirm,
            Action::RollBack,
            Action::Advise,
        ] {
            queries.push(format!("action={}", word(&action)));
        }
        let mut entries = Vec::new();
        for query in queries {
            let path = format!("{base}/decisions?{query}&limit={DEEDS_FIRST}");
            entries.extend(self.client.get::<Decisions>(&path).await?.entries);
        }
        let path = format!("{base}/decisions?limit=1");
        entries.extend(self.client.get::<Decisions>(&path).await?.entries);
        Ok(entries)
    }
}
