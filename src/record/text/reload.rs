//! What became of the configuration's files.

use super::push;
use crate::view::words::{counted, foreign};
use trimtab_protocol::configuration::{ReloadRecord, ReloadResult, SettingChange};

/// What became of a configuration that was read anew, in one sentence.
#[must_use]
pub fn reload(record: &ReloadRecord) -> String {
    let keys = settings_changed(&record.changes);
    match record.result {
        ReloadResult::Applied => format!("The configuration was read anew and applied: {keys}."),
        ReloadResult::Approved => format!("An operator approved the configuration: {keys}."),
        ReloadResult::Rejected => {
            "An operator rejected the configuration that waited; nothing changed.".to_owned()
        }
        ReloadResult::Withdrawn => {
            "The files say again what is in force, so nothing waits any more.".to_owned()
        }
        ReloadResult::Waiting => {
            format!(
                "The configuration moves limits far and waits for an operator's approval: {keys}."
            )
        }
        ReloadResult::Refused => {
            let first = record.problems.first().map(|problem| {
                let line = problem
                    .line
                    .map_or_else(String::new, |line| format!(":{line}"));
                format!(
                    ", first in {}{line}: {}",
                    foreign(&problem.file),
                    foreign(&problem.message)
                )
            });
            format!(
                "The configuration has {} and was refused; what was in force stays so{}.",
                counted(record.problems.len(), "mistake"),
                first.unwrap_or_default()
            )
        }
    }
}

/// The most changed keys that a sentence names.
const KEYS_TOLD: usize = 5;

fn settings_changed(changes: &[SettingChange]) -> String {
    let told = changes.iter().take(KEYS_TOLD).map(|change| {
        let value = |value: &Option<String>| {
            value
                .as_deref()
                .map_or_else(|| "nothing".to_owned(), foreign)
        };
        let place = change.set_by.as_ref();
        let place = place.map_or_else(String::new, |by| {
            format!(" ({}:{})", foreign(&by.file), by.line)
        });
        let restart = if change.needs_restart {
            ", after a restart"
        } else {
            ""
        };
        let (key, from, to) = (foreign(&change.key), value(&change.from), value(&change.to));
        format!("{key} from {from} to {to}{restart}{place}")
    });
    let mut text = told.collect::<Vec<_>>().join(", ");
    match changes.len().saturating_sub(KEYS_TOLD) {
        0 if changes.is_empty() => "no value changed".clone_into(&mut text),
        0 => {}
        more => push(&mut text, format_args!(", and {more} more")),
    }
    text
}
