//! Why values are set that nobody searches for: those that a profile names, and the memory ladder's.

use super::{figure, percent};
use trimtab_protocol::decision::Reason;

/// The sentence for such a reason; nothing for another.
pub(super) fn because(reason: &Reason) -> String {
    match reason {
        Reason::InPlace => "every knob stands where the profile has it".to_owned(),
        Reason::QuietAwaited => "it can wait while work waits or a size is on trial".to_owned(),
        Reason::Pausing { seconds } => format!(
            "the last change was refused or undone, so nothing is asked for another {} s",
            figure(*seconds)
        ),
        Reason::ProfileSets => "the profile names these values".to_owned(),
        Reason::MemoryHigh { share, at_share } => memory_step("has come to", *share, *at_share),
        Reason::MemoryEased { share, at_share } => memory_step("has eased to", *share, *at_share),
        Reason::TookEffect => "the values are in effect and as much is done as before".to_owned(),
        Reason::NoEffect { seconds } => {
            let seconds = figure(*seconds);
            format!("the values did not come into effect within {seconds} s")
        }
        _ => String::new(),
    }
}

fn memory_step(how: &str, share: f64, at_share: f64) -> String {
    format!(
        "memory {how} {} of its limit, and the ladder's step is at {}",
        percent(share),
        percent(at_share)
    )
}
