//! The words for regimes, levels, actions and kinds, as they stand in JSON, in metric labels and on the page.
//!
//! Words that come from a host are shown only after [`foreign`] has cleaned them.

use trimtab_protocol::decision::{Absence, Action, Level, Reason, Regime};

/// The longest piece of foreign text that is shown, in characters.
const FOREIGN_MAX: usize = 200;

/// The reason's kind in one word, as it stands in JSON and in metric labels.
#[must_use]
pub fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Blind { .. } => "blind",
        Reason::WarmingUp { .. } => "warming_up",
        Reason::Stuck { .. } => "stuck",
        Reason::ModeObserves => "mode_observes",
        Reason::Standby { .. } => "standby",
        Reason::LeasePending => "lease_pending",
        Reason::Watching { .. } => "watching",
        Reason::Frozen => "frozen",
        Reason::NotOffered => "not_offered",
        Reason::Pinned { .. } => "pinned",
        Reason::Yielding { .. } => "yielding",
        Reason::ProfileChosen { .. } => "profile_chosen",
        Reason::Idle => "idle",
        Reason::Ample => "ample",
        Reason::NothingToGain => "nothing_to_gain",
        Reason::InPlace => "in_place",
        Reason::TooFew { .. } => "too_few",
        Reason::Settling => "settling",
        Reason::Measuring { .. } => "measuring",
        Reason::QuietAwaited => "quiet_awaited",
        Reason::Pausing { .. } => "pausing",
        Reason::OtherTrial { .. } => "other_trial",
        Reason::Resting { .. } => "resting",
        Reason::AtBound { .. } => "at_bound",
        Reason::LevelForbids { .. } => "level_forbids",
        Reason::RateLimited { .. } => "rate_limited",
        Reason::MemoryForbids { .. } => "memory_forbids",
        Reason::TriggerLacks { .. } => "trigger_lacks",
        Reason::BetweenDecisions { .. } => "between_decisions",
        Reason::Triggered { .. } => "triggered",
        Reason::HarmBudget { .. } => "harm_budget",
        Reason::Starved { .. } => "starved",
        Reason::Climbing { .. } => "climbing",
        Reason::Predicted { .. } => "predicted",
        Reason::Surge { .. } => "surge",
        Reason::Suspicious { .. } => "suspicious",
        Reason::ServiceChanged { .. } => "service_changed",
        Reason::KnownAgain { .. } => "known_again",
        Reason::Collapsed { .. } => "collapsed",
        Reason::QueueFollows { .. } => "queue_follows",
        Reason::TimeoutFollows { .. } => "timeout_follows",
        Reason::Relaxed { .. } => "relaxed",
        Reason::NeedsNoProof => "needs_no_proof",
        Reason::LookBelow { .. } => "look_below",
        Reason::TooLate { .. } => "too_late",
        Reason::CpuFull { .. } => "cpu_full",
        Reason::ProfileSets => "profile_sets",
        Reason::MemoryHigh { .. } => "memory_high",
        Reason::MemoryEased { .. } => "memory_eased",
        Reason::TookEffect => "took_effect",
        Reason::NoEffect { .. } => "no_effect",
        Reason::Paid { .. } => "paid",
        Reason::DidNotPay { .. } => "did_not_pay",
        Reason::EvidenceLost { .. } => "evidence_lost",
        Reason::ShuttingDown => "shutting_down",
        Reason::SettingsChanged => "settings_changed",
        Reason::TrialEnded { .. } => "trial_ended",
        Reason::Refused { .. } => "refused",
        Reason::NotSent => "not_sent",
        Reason::AnswerLost { .. } => "answer_lost",
    }
}

/// An action in one word, as it stands in JSON and in metric labels.
#[must_use]
pub fn action(action: Action) -> &'static str {
    match action {
        Action::Hold => "hold",
        Action::Try => "try",
        Action::Confirm => "confirm",
        Action::RollBack => "roll_back",
        Action::Advise => "advise",
    }
}

/// Why a figure is missing, as half a sentence.
#[must_use]
pub fn absence(absence: Absence) -> &'static str {
    match absence {
        Absence::NotYet => "nothing was asked yet",
        Absence::Unreachable => "nothing listens where the host should",
        Absence::TimedOut => "the answer did not come in time",
        Absence::TooLarge => "the answer was longer than is read",
        Absence::Garbage => "the answer was not a host's state",
        Absence::Redirected => "the answer was a redirect, which is never followed",
        Absence::WrongVersion => "the host speaks another version of the control API",
        Absence::Gone => "the process is gone",
        Absence::NotTrusted => "the host runs as a user that is not trusted",
        Absence::NotOffered => "the figure is not offered here",
        Absence::Impossible => "the figure was impossible or went backwards",
    }
}

/// So many of a thing.
#[must_use]
pub fn counted(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// A regime in words.
#[must_use]
pub fn regime(regime: Regime) -> &'static str {
    match regime {
        Regime::Blind => "blind",
        Regime::Stuck => "stuck",
        Regime::MemoryRisk => "memory-risk",
        Regime::CpuBound => "cpu-bound",
        Regime::DownstreamBound => "downstream-bound",
        Regime::Starved => "starved",
        Regime::Idle => "idle",
        Regime::Ample => "ample",
    }
}

/// A level in one word.
#[must_use]
pub fn level(level: Level) -> &'static str {
    match level {
        Level::Conservative => "conservative",
        Level::Moderate => "moderate",
        Level::Aggressive => "aggressive",
        Level::Maximum => "maximum",
    }
}

/// Foreign words made fit to show: no control characters, nothing that turns the writing direction, and not too long.
#[must_use]
pub fn foreign(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(FOREIGN_MAX)
        .map(|letter| {
            if is_harmful(letter) {
                '\u{fffd}'
            } else {
                letter
            }
        })
        .collect();
    if text.chars().nth(FOREIGN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_words_turn_nothing_around_and_end() {
        assert_eq!(
            foreign("a\u{1b}b\u{202e}c\nd"),
            "a\u{fffd}b\u{fffd}c\u{fffd}d"
        );
        assert_eq!(foreign(&"x".repeat(500)).chars().count(), FOREIGN_MAX + 1);
        assert_eq!(foreign("Größe 5 µs"), "Größe 5 µs");
    }
}
