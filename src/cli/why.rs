//! `trimtab why`: the last change of a pool and what limits it now, in sentences, with the evidence they stand on.

use super::client::{Client, ClientError, host_id};
use super::pages::PagesArgs;
use super::status::word;
use super::time::utc;
use super::{Console, Exit, ended};
use crate::telemetry::escaped;
use clap::Args;
use std::io::{self, Write};
use trimtab_protocol::command::CommandResult;
use trimtab_protocol::decision::{Action, Evidence, ProfileBasis, WindowFigures};
use trimtab_protocol::name::KnobName;
use trimtab_protocol::view::{DecisionRecord, Decisions, Entry, EntryBody, HostStatus, PoolStatus};

/// The options of `trimtab why`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct WhyArgs {
    /// The pool
    #[arg(value_parser = host_id)]
    pub pool: String,
    /// How the pages are reached
    #[command(flatten)]
    pub pages: PagesArgs,
    /// The host's id; without it, the sidecar is asked which host it tunes
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host: Option<String>,
}

/// What is known about a pool.
struct Story {
    pool: PoolStatus,
    frozen: bool,
    /// The last decision that changed something, or tried to.
    change: Option<Entry>,
    /// What an operator last told about it.
    command: Option<Entry>,
}

impl WhyArgs {
    /// Asks, and tells: 0, or 1 with the reason.
    pub async fn execute(&self, console: &mut Console<'_>) -> Exit {
        match self.ask().await {
            Err(error) => console.fail(&escaped(&error.to_string())),
            Ok(Err(known)) => {
                let pool = &self.pool;
                let known = match known.as_slice() {
                    [] => "none is known, for no host has answered yet".to_owned(),
                    known => format!("known are: {}", known.join(", ")),
                };
                console.fail(&escaped(&format!("there is no pool `{pool}`; {known}")))
            }
            Ok(Ok(story)) => ended(tell(&self.pool, &story, console.out).map(|()| Exit::Done)),
        }
    }

    /// The story, or the names of the pools where this one is none of them.
    async fn ask(&self) -> Result<Result<Story, Vec<String>>, ClientError> {
        let client = Client::Pages(self.pages.clone());
        let host = client.host(self.host.as_deref()).await?;
        let base = format!("/api/v1/hosts/{host}");
        let mut status: HostStatus = client.get(&format!("{base}/status")).await?;
        let Some(pool) = status.pools.remove(self.pool.as_str()) else {
            let known = status.pools.into_keys();
            return Ok(Err(known.map(|name| name.to_string()).collect()));
        };
        let of_pool = format!("{base}/decisions?pool={}", self.pool);
        let mut deeds = Vec::new();
        // Asked for by action, for entries that did something are kept longer than the rest.
        for action in [Action::Try, Action::Confirm, Action::RollBack] {
            let path = format!("{of_pool}&limit=10&action={}", word(&action));
            deeds.extend(client.get::<Decisions>(&path).await?.entries);
        }
        let is_decision = |entry: &Entry| matches!(entry.body, EntryBody::Decision(_));
        let recent: Decisions = client.get(&format!("{of_pool}&limit=10000")).await?;
        // What was refused or only asked about changed nothing.
        let is_command = |entry: &Entry| match &entry.body {
            EntryBody::Command(record) => {
                !record.dry_run && !matches!(record.outcome, CommandResult::Refused { .. })
            }
            _ => false,
        };
        Ok(Ok(Story {
            pool,
            frozen: status.frozen,
            change: newest(deeds.into_iter().filter(is_decision)),
            // One list is in its order.
            command: recent.entries.into_iter().rfind(is_command),
        }))
    }
}

/// The newest of several lists. Numbers are counted anew at each start of the sidecar, so they order only what is of one start; what
/// is of several is ordered by the clock.
fn newest(entries: impl Iterator<Item = Entry>) -> Option<Entry> {
    entries.reduce(|newest, entry| {
        let is_newer = if entry.id.boot == newest.id.boot {
            entry.id.sequence > newest.id.sequence
        } else {
            entry.at_ms > newest.at_ms
        };
        if is_newer { entry } else { newest }
    })
}

fn tell(name: &str, story: &Story, out: &mut dyn Write) -> io::Result<()> {
    let pool = &story.pool;
    writeln!(out, "{}", escaped(&stands(name, pool)))?;
    let profile = format!("Its profile is {}{}.", pool.profile, basis(pool));
    writeln!(out, "{}", escaped(&profile))?;
    if story.frozen {
        writeln!(out, "An operator froze the host, so nothing changes.")?;
    }
    writeln!(out, "\nThe last change")?;
    match &story.change {
        None => writeln!(out, "  None that the sidecar still remembers.")?,
        Some(entry) => {
            writeln!(out, "  {}: {}", utc(entry.at_ms), escaped(&entry.text))?;
            if let EntryBody::Decision(record) = &entry.body {
                evidence(&record.evidence, out)?;
            }
        }
    }
    if let Some(entry) = &story.command {
        writeln!(out, "  {}: {}", utc(entry.at_ms), escaped(&entry.text))?;
    }
    writeln!(out, "\nWhat limits it now")?;
    writeln!(out, "  {}", escaped(&pool.text))?;
    match &pool.decision {
        Some(record) => limits(record, out),
        None => writeln!(out, "  Nothing was decided about it yet."),
    }
}

/// How many workers there are, and how many there may be.
fn stands(name: &str, pool: &PoolStatus) -> String {
    let Some(workers) = pool.knobs.get(KnobName::WORKERS) else {
        return format!("{name} has no knob for its workers.");
    };
    let settling = if workers.value == workers.effective {
        String::new()
    } else {
        format!(", {} still in effect", workers.effective)
    };
    format!(
        "{name} has {} workers{settling}; it started with {}, and {} to {} are allowed.",
        workers.value, workers.baseline, workers.min, workers.max
    )
}

fn basis(pool: &PoolStatus) -> String {
    match &pool.profile_basis {
        None => String::new(),
        Some(ProfileBasis::Operator { who, seconds }) => match seconds {
            Some(seconds) => format!(", because {who} said so, for {seconds:.0} s more"),
            None => format!(", because {who} said so"),
        },
        Some(ProfileBasis::Configured) => ", because the configuration says so".to_owned(),
        Some(ProfileBasis::Declared) => ", because the host declares this kind".to_owned(),
        Some(ProfileBasis::LongJobs { job_ms, .. }) => {
            format!(", because a job takes {job_ms:.0} ms on average")
        }
        Some(ProfileBasis::Computes { cpu_share, .. }) => format!(
            ", because {:.0} % of its busy time is CPU time",
            cpu_share * 100.0
        ),
        Some(ProfileBasis::Waits { cpu_share, .. }) => format!(
            ", because only {:.0} % of its busy time is CPU time",
            cpu_share * 100.0
        ),
        Some(ProfileBasis::Unknown) => ", because nothing tells its kind yet".to_owned(),
    }
}

/// The knobs that a decision sets, and the lines of the profile that bound it.
pub(super) fn set_words(record: &DecisionRecord, out: &mut dyn Write) -> io::Result<()> {
    for (knob, change) in record.change.iter().flat_map(|change| &change.set) {
        let line = format!("    {knob}: {} -> {}", change.from, change.to);
        writeln!(out, "{}", escaped(&line))?;
    }
    for citation in &record.bound_by {
        writeln!(out, "    bound by {}", escaped(&citation.to_string()))?;
    }
    Ok(())
}

fn limits(record: &DecisionRecord, out: &mut dyn Write) -> io::Result<()> {
    let load = record.load.map_or_else(
        || "an unknown load".to_owned(),
        |load| format!("{:.0} % load", load * 100.0),
    );
    let (regime, level) = (word(&record.regime), word(&record.level));
    writeln!(
        out,
        "  It is {} at {load}; how bold a change may be: {level}.",
        regime.replace('_', "-")
    )?;
    for citation in &record.bound_by {
        writeln!(out, "  Bound by {}", escaped(&citation.to_string()))?;
    }
    evidence(&record.evidence, out)
}

pub(super) fn evidence(evidence: &Evidence, out: &mut dyn Write) -> io::Result<()> {
    for (title, window) in [("before", &evidence.before), ("then", &evidence.now)] {
        // Nothing was measured yet: there is no figure to show.
        if let Some(window) = window.as_ref().filter(|window| window.seconds > 0.0) {
            writeln!(out, "    {title}: {}", figures(window))?;
        }
    }
    let share = |share: Option<f64>| {
        share.map_or_else(
            || "unknown".to_owned(),
            |share| format!("{:.0} %", share * 100.0),
        )
    };
    writeln!(
        out,
        "    CPU {}, memory {}",
        share(evidence.cpu_share),
        share(evidence.memory_share)
    )
}

fn figures(window: &WindowFigures) -> String {
    let millis = |us: Option<u64>| {
        us.and_then(|us| u32::try_from(us).ok()).map_or_else(
            || "unknown".to_owned(),
            |us| format!("{:.1} ms", f64::from(us) / 1e3),
        )
    };
    format!(
        "{} workers over {:.1} s: {:.1} good a second of {:.1} that came, {:.1} busy, {:.1} waiting, {:.1} lost a second, \
         median {}, p99 {}",
        window.workers,
        window.seconds,
        window.goodput_per_s,
        window.arrivals_per_s,
        window.busy,
        window.queued,
        window.lost_per_s,
        millis(window.p50_us),
        millis(window.p99_us)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use trimtab_protocol::decision::{Level, Reason, Regime};
    use trimtab_protocol::name::HostId;
    use trimtab_protocol::view::EntryId;

    fn entry(boot: &str, sequence: u64, at_ms: u64) -> Entry {
        Entry {
            id: EntryId {
                boot: boot.to_owned(),
                sequence,
            },
            at_ms,
            moment_ns: 0,
            host: HostId::from("demo"),
            instance: None,
            pool: None,
            body: EntryBody::Decision(DecisionRecord {
                action: Action::Try,
                reason: Reason::Ample,
                regime: Regime::Ample,
                level: Level::Moderate,
                load: None,
                profile: "web".to_owned(),
                evidence: Evidence::default(),
                expectation: None,
                change: None,
                bound_by: Vec::new(),
            }),
            text: String::new(),
        }
    }

    #[test]
    fn the_last_change_is_of_this_start_however_long_the_one_before_was() {
        // A list for each action, oldest first, one after another.
        let listed = [
            entry("before", 4_000, 1_000),
            entry("now", 3, 3_000),
            entry("before", 4_010, 2_000),
            entry("now", 12, 3_900),
            entry("before", 3_900, 900),
        ];
        let found = newest(listed.into_iter()).expect("there are some");
        assert_eq!((found.id.boot.as_str(), found.id.sequence), ("now", 12));
    }

    #[test]
    fn within_a_start_the_number_counts_and_not_a_clock_that_was_set() {
        let listed = [entry("now", 7, 9_000), entry("now", 8, 1_000)];
        let found = newest(listed.into_iter()).expect("there are some");
        assert_eq!(found.id.sequence, 8);
        assert_eq!(newest(std::iter::empty()), None);
    }
}
