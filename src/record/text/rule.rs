//! What the profile's own rules ask for.

use super::figure;
use crate::view::words::foreign;
use trimtab_protocol::decision::{Reason, TriggerLack};

/// The sentence for such a reason; nothing for another.
pub(super) fn because(reason: &Reason) -> String {
    match reason {
        Reason::TriggerLacks { when, lacks } => trigger_lacks(when, *lacks),
        Reason::BetweenDecisions { seconds } => format!(
            "the profile looks for a new trial only now and then, next in {} s",
            figure(*seconds)
        ),
        Reason::Triggered { when, because } => triggered(when, because),
        _ => String::new(),
    }
}

fn triggered(when: &str, because: &str) -> String {
    let when = foreign(when);
    match because {
        "" => format!("the profile's rule `{when}` holds"),
        because => format!("the profile's rule `{when}` holds: {}", foreign(because)),
    }
}

fn trigger_lacks(when: &str, lacks: TriggerLack) -> String {
    let lacks = match lacks {
        TriggerLack::Benefit => "it does not name what fewer workers are good for",
        TriggerLack::Completions => "too little work was seen to tell what it would cost",
        TriggerLack::Figure => "the figure in which its benefit would show is missing",
    };
    format!("the profile's rule `{}` holds, but {lacks}", foreign(when))
}
