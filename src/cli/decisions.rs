//! `trimtab decisions`: what a running sidecar decided, sent and was told, as it stands in its ledger.

use super::client::{Client, ClientError, host_id};
use super::pages::PagesArgs;
use super::time::utc;
use super::{Console, Exit, Format, ended};
use crate::record::ledger;
use crate::telemetry::escaped;
use crate::view::words;
use clap::Args;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use trimtab_protocol::name::{PoolName, is_plain_name};
use trimtab_protocol::view::{Decisions, Entry, EntryBody};

/// The longest event that is kept while its end is awaited, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The options of `trimtab decisions`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DecisionsArgs {
    /// How the pages are reached
    #[command(flatten)]
    pub pages: PagesArgs,
    /// The host's id; without it, the sidecar is asked which host it tunes
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
    /// Only entries about this pool
    #[arg(long, value_name = "POOL", value_parser = pool)]
    pub pool: Option<String>,
    /// Only entries of this action, such as all the advice
    #[arg(long, value_name = "ACTION", value_parser = ["hold", "try", "confirm", "roll_back", "advise"])]
    pub action: Option<String>,
    /// Read the ledger's files in this directory instead of asking a sidecar: they go back for days, its memory for less than an hour
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "follow")]
    pub ledger: Option<PathBuf>,
    /// How many of the last entries
    #[arg(short = 'n', value_name = "N", default_value_t = 20)]
    pub last: usize,
    /// Go on with each new entry until the sidecar ends
    #[arg(short, long)]
    pub follow: bool,
    /// How an entry is written: as a line of text, or as a line of JSON
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

impl DecisionsArgs {
    /// Asks, and writes the entries: 0, or 1 with the reason.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        if let Some(directory) = &self.ledger {
            return self.read(directory, console);
        }
        match self.show(console).await {
            Ok(exit) => exit,
            Err(error) => console.fail(&escaped(&error.to_string())),
        }
    }

    /// The last of the wanted entries that are on the disk.
    fn read(&self, directory: &Path, console: &mut Console<'_>) -> Exit {
        let mut kept = VecDeque::new();
        let scanned = ledger::scan(directory, &mut |entry| {
            let of_host = self.host.as_deref();
            if of_host.is_none_or(|host| entry.host.as_str() == host) && self.wants(&entry) {
                kept.push_back(entry);
                if kept.len() > self.last {
                    kept.pop_front();
                }
            }
        });
        let skipped = match scanned {
            Ok(skipped) => skipped.lines + skipped.files,
            Err(error) => {
                let place = directory.display().to_string();
                return console.fail(&format!("the ledger in {}: {error}", escaped(&place)));
            }
        };
        if kept
            .iter()
            .any(|entry| self.write(entry, console.out).is_err())
        {
            return Exit::Failed;
        }
        if skipped == 0 {
            return Exit::Done;
        }
        let note = format!("note: {skipped} lines or files could not be read");
        ended(writeln!(console.err, "{note}").map(|()| Exit::Done))
    }

    /// Whether an entry is one of the pool and of the action that are asked for.
    fn wants(&self, entry: &Entry) -> bool {
        let action = match &entry.body {
            EntryBody::Decision(record) => Some(record.action),
            EntryBody::Intent(record) => Some(record.action),
            EntryBody::Outcome(record) => Some(record.action),
            EntryBody::Command(_) | EntryBody::Reload(_) => None,
        };
        let pool = self.pool.as_deref();
        let of_pool = pool.is_none() || entry.pool.as_ref().map(PoolName::as_str) == pool;
        let asked = self.action.as_deref();
        of_pool && asked.is_none_or(|asked| action.is_some_and(|it| words::action(it) == asked))
    }

    async fn show(&self, console: &mut Console<'_>) -> Result<Exit, ClientError> {
        let client = Client::Pages(self.pages.clone());
        let host = client.host(self.host.as_deref()).await?;
        let mut path = format!("/api/v1/hosts/{host}/decisions?limit={}", self.last);
        if let Some(pool) = &self.pool {
            path.push_str("&pool=");
            path.push_str(pool);
        }
        if let Some(action) = &self.action {
            path.push_str("&action=");
            path.push_str(action);
        }
        let listed: Decisions = client.get(&path).await?;
        for entry in &listed.entries {
            if self.write(entry, console.out).is_err() {
                // A reader that went away, as `head` does, leaves nobody to tell.
                return Ok(Exit::Failed);
            }
        }
        if !self.follow {
            return Ok(Exit::Done);
        }
        let since = listed.entries.last().map(|entry| entry.id.to_string());
        let path = match since.filter(|id| is_plain_id(id)) {
            Some(id) => format!("/api/v1/events?since={id}"),
            None => "/api/v1/events".to_owned(),
        };
        let mut events = Events::default();
        let mut gone = false;
        client
            .stream(&path, |piece| {
                events.add(piece);
                while let Some(event) = events.next() {
                    gone |= self.tell(&event, &host, console).is_err();
                }
                !gone
            })
            .await?;
        if gone {
            return Ok(Exit::Failed);
        }
        Ok(console.fail(&"the sidecar ended the stream"))
    }

    fn tell(&self, event: &Event, host: &str, console: &mut Console<'_>) -> io::Result<()> {
        if event.name == "resync" {
            return writeln!(
                console.err,
                "note: entries are missing here; `trimtab decisions -n 1000` shows what is kept"
            );
        }
        // An event that is no entry is of a newer sidecar, and not for this command.
        let Ok(entry) = serde_json::from_str::<Entry>(&event.data) else {
            return Ok(());
        };
        if entry.host.as_str() != host || !self.wants(&entry) {
            return Ok(());
        }
        self.write(&entry, console.out)
    }

    fn write(&self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        match self.output {
            Format::Json => {
                serde_json::to_writer(&mut *out, entry)?;
                writeln!(out)?;
            }
            Format::Table => {
                let pool = entry.pool.as_ref().map_or("-", PoolName::as_str);
                let (pool, text) = (escaped(pool), escaped(&entry.text));
                writeln!(out, "{}  {pool:<12}  {text}", utc(entry.at_ms))?;
            }
        }
        out.flush()
    }
}

fn pool(text: &str) -> Result<String, String> {
    if is_plain_name(text) {
        return Ok(text.to_owned());
    }
    Err("a pool's name is 1 to 64 characters of a-z, 0-9, `_` and `-`".to_owned())
}

/// Whether an id needs no escaping in a query.
fn is_plain_id(id: &str) -> bool {
    id.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// Takes a stream of events apart, however its pieces are cut.
#[derive(Debug, Default)]
struct Events {
    buffer: Vec<u8>,
}

impl Events {
    fn add(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        // No event of a sidecar is nearly as long, so this is not one.
        if self.buffer.len() > EVENT_BYTES_MAX {
            self.buffer.clear();
        }
    }

    /// The next whole event; comments are none.
    fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
            let rest = self.buffer.split_off(end + 2);
            let block = std::mem::replace(&mut self.buffer, rest);
            let mut event = Event::default();
            for line in String::from_utf8_lossy(&block).lines() {
                if let Some(name) = line.strip_prefix("event: ") {
                    name.clone_into(&mut event.name);
                } else if let Some(data) = line.strip_prefix("data: ") {
                    event.data.push_str(data);
                }
            }
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_their_pieces_are_cut() {
        let stream = ": still here\n\nid: b-1\nevent: decision\ndata: {\"a\":1}\n\nid: b-2\nevent: resync\ndata: {}\n\n";
        for size in [1, 3, 7, stream.len()] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                events.add(piece);
                found.extend(std::iter::from_fn(|| events.next()));
            }
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|event| (event.name.as_str(), event.data.as_str()))
                .collect();
            assert_eq!(
                found,
                [("decision", "{\"a\":1}"), ("resync", "{}")],
                "{size}"
            );
        }
    }

    #[test]
    fn an_action_is_called_as_the_api_calls_it() {
        use trimtab_protocol::decision::Action::{Advise, Confirm, Hold, RollBack, Try};
        for action in [Hold, Try, Confirm, RollBack, Advise] {
            let wire = serde_json::to_value(action).expect("it is a word");
            assert_eq!(wire, words::action(action));
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept_for_ever() {
        let mut events = Events::default();
        for _ in 0..40 {
            events.add(&[b'x'; 64 * 1024]);
            assert!(events.buffer.len() <= EVENT_BYTES_MAX);
        }
    }
}
