//! Which of a profile's triggers hold, and for how long they have.
//!
//! A trigger is followed once its condition has held without a pause for as long as it asks for. What is unknown counts as a
//! pause: missing is not zero, and it is not "as before" either. A trigger that makes something smaller needs more than its
//! condition: enough completions to see what it costs, a benefit that its author named, and the figure in which that benefit
//! would show. Without them it is told, and nothing is done.

use crate::expression::{Signal, SignalSet, Truth};
use crate::moment::Moment;
use crate::number::fraction;
use crate::profile::{Benefit, Trigger, TriggerAction};
use trimtab_protocol::name::KnobName;

/// Completions that must have been seen before anything is made smaller; with fewer, two windows resolve only a difference of
/// a half.
pub const SHRINK_COMPLETIONS_MIN: u64 = 30;

/// Follows the triggers of one profile for one pool. It belongs to the profile: with another one it must be begun anew.
#[derive(Clone, Debug, Default)]
pub struct TriggerWatch {
    /// Since when each condition has held.
    since: Vec<Option<Moment>>,
}

/// A trigger whose condition has held for long enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fired<'p> {
    /// The trigger.
    pub trigger: &'p Trigger,
    /// Why it is not followed all the same.
    pub lack: Option<Lack>,
}

/// What a trigger lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It makes something smaller and does not say what that is good for.
    Benefit,
    /// Too little work was seen to tell what it would cost.
    Completions {
        /// Completions seen.
        completed: u64,
        /// Completions needed.
        needed: u64,
    },
    /// The figure in which the benefit would show is not there.
    Figure(Signal),
}

impl TriggerWatch {
    /// Takes in a tick.
    pub fn observe(&mut self, now: Moment, triggers: &[Trigger], signals: &SignalSet) {
        self.since.resize(triggers.len(), None);
        for (trigger, since) in triggers.iter().zip(&mut self.since) {
            *since = match trigger.when.value.evaluate(signals) {
                Truth::Holds => Some(since.unwrap_or(now)),
                Truth::Fails | Truth::Unknown => None,
            };
        }
    }

    /// The triggers that have held for long enough, in the order of the profile. `completed` is what the pool's window at its
    /// present size has seen end.
    pub fn fired<'p>(
        &self,
        now: Moment,
        triggers: &'p [Trigger],
        signals: &SignalSet,
        completed: u64,
    ) -> impl Iterator<Item = Fired<'p>> {
        let held = move |(trigger, since): (&'p Trigger, &Option<Moment>)| {
            let lasted = since.is_some_and(|since| now.since(since) >= trigger.lasting);
            lasted.then_some(Fired {
                trigger,
                lack: lack(trigger, signals, completed),
            })
        };
        triggers.iter().zip(&self.since).filter_map(held)
    }

    /// Forgets everything, after a gap or under another profile.
    pub fn clear(&mut self) {
        self.since.clear();
    }
}

fn lack(trigger: &Trigger, signals: &SignalSet, completed: u64) -> Option<Lack> {
    let makes_smaller = match &trigger.action.value {
        TriggerAction::Grow => false,
        TriggerAction::Shrink => true,
        TriggerAction::Set { knob, value } => {
            let now = signals.get(Signal::Workers);
            let to = value.as_integer().map(fraction);
            let fewer = now.zip(to).is_some_and(|(now, to)| to < now);
            knob.as_str() == KnobName::WORKERS && fewer
        }
    };
    if !makes_smaller {
        return None;
    }
    let Some(benefit) = trigger.benefit else {
        return Some(Lack::Benefit);
    };
    let shows_in = match benefit {
        Benefit::Memory => Signal::Memory,
        Benefit::Contention => Signal::Cpu,
    };
    if completed < SHRINK_COMPLETIONS_MIN {
        let needed = SHRINK_COMPLETIONS_MIN;
        return Some(Lack::Completions { completed, needed });
    }
    signals
        .get(shows_in)
        .is_none()
        .then_some(Lack::Figure(shows_in))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Expression;
    use crate::moment::Span;
    use crate::profile::Cited;

    fn trigger(when: &str, action: TriggerAction, benefit: Option<Benefit>) -> Trigger {
        Trigger {
            when: Cited::built_in("triggers.when", Expression::parse(when).unwrap()),
            lasting: Span::from_secs(3),
            action: Cited::built_in("triggers.do", action),
            because: String::new(),
            benefit,
        }
    }

    fn cpu(share: Option<f64>) -> SignalSet {
        let mut signals = SignalSet::default();
        signals.set(Signal::Cpu, share);
        signals
    }

    fn at(second: u64) -> Moment {
        Moment::from_boot_ns(second * 1_000_000_000)
    }

    #[test]
    fn a_trigger_fires_once_its_condition_has_lasted_and_a_gap_begins_anew() {
        let triggers = [trigger("cpu > 80%", TriggerAction::Grow, None)];
        let mut watch = TriggerWatch::default();
        let mut fires = |second, share: Option<f64>| {
            let signals = cpu(share);
            watch.observe(at(second), &triggers, &signals);
            watch.fired(at(second), &triggers, &signals, 0).count() == 1
        };
        assert!(!fires(0, Some(0.9)) && !fires(2, Some(0.9)) && fires(3, Some(0.9)));
        assert!(!fires(4, None) && !fires(5, Some(0.9)) && fires(8, Some(0.9)));
        assert!(!fires(9, Some(0.1)));
    }

    #[test]
    fn a_shrink_needs_a_named_benefit_completions_and_the_benefits_figure() {
        let lack = |benefit, completed, share: Option<f64>| {
            let triggers = [trigger("workers > 1", TriggerAction::Shrink, benefit)];
            let mut signals = cpu(share);
            signals.set(Signal::Workers, Some(9.0));
            let mut watch = TriggerWatch::default();
            watch.observe(at(0), &triggers, &signals);
            let mut fired = watch.fired(at(3), &triggers, &signals, completed);
            fired.next().expect("it has lasted").lack
        };
        let contention = Some(Benefit::Contention);
        assert_eq!(lack(None, 99, Some(0.9)), Some(Lack::Benefit));
        assert_eq!(
            lack(contention, 29, Some(0.9)),
            Some(Lack::Completions {
                completed: 29,
                needed: 30
            })
        );
        assert_eq!(lack(contention, 30, None), Some(Lack::Figure(Signal::Cpu)));
        assert_eq!(lack(contention, 30, Some(0.9)), None);
    }
}
