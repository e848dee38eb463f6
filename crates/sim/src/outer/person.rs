//! A person who sets and pins knobs, and what is checked of it: what they hold stays theirs.

use super::Case;
use crate::dice::Dice;
use crate::number::whole;
use crate::pool::Setting;
use crate::world::World;
use std::collections::{BTreeMap, VecDeque};
use trimtab_protocol::knob::KnobValue;
use trimtab_protocol::name::KnobName;

const STREAM: u64 = 80;
/// Between two edits, in seconds, in the mean.
const BETWEEN_S: f64 = 240.0;
/// A value that is set and not pinned is the person's for so long: then the sidecar may go on from it.
const ADOPTED_AFTER_S: f64 = 60.0;

const KNOBS: [&str; 3] = [
    KnobName::WORKERS,
    KnobName::QUEUE_LIMIT,
    KnobName::TIMEOUT_MS,
];

#[derive(Clone, Debug)]
struct Edit {
    at: f64,
    knob: &'static str,
    value: u64,
    pinned_for: Option<f64>,
}

pub(super) struct Person {
    plan: VecDeque<Edit>,
    /// What the person holds: the value, and until when.
    held: BTreeMap<&'static str, (u64, f64)>,
    pub(super) overwritten: u64,
    pub(super) edits: u64,
}

impl Person {
    /// All edits are drawn beforehand, so that both runs meet the same ones; the last is over before `until`.
    pub(super) fn new(case: &Case, until: f64) -> Self {
        let mut dice = Dice::new(case.number, STREAM);
        let mut plan = VecDeque::new();
        let mut at = 120.0;
        loop {
            at += BETWEEN_S * dice.exponential();
            let pinned_for = (dice.share() < 0.5).then(|| dice.between(30.0, 600.0));
            if at + pinned_for.unwrap_or(ADOPTED_AFTER_S) >= until - 300.0 {
                break;
            }
            let knob = *[0, 0, 0, 1, 2].map(|knob: usize| &KNOBS[knob])
                [crate::number::index(dice.below(5))];
            let value = match knob {
                KnobName::WORKERS => whole(case.best as f64 * dice.log_between(0.7, 2.5)).max(1),
                KnobName::QUEUE_LIMIT => whole(dice.log_between(100.0, 4_000.0)),
                _ => whole(dice.log_between(10_000.0, 60_000.0)),
            };
            // A person looks at a whole second, as everything outside does here.
            plan.push_back(Edit {
                at: libm::ceil(at),
                knob,
                value,
                pinned_for,
            });
        }
        Self {
            plan,
            held: BTreeMap::new(),
            overwritten: 0,
            edits: 0,
        }
    }

    pub(super) fn act(&mut self, world: &mut World<'_>) {
        let now = world.now();
        let stands = world.host.setting(0);
        self.held.retain(|_, (_, until)| *until > now);
        let differs =
            |(knob, (value, _)): &(&&'static str, &(u64, f64))| of(&stands, knob) != *value;
        self.overwritten += crate::number::count(self.held.iter().filter(differs).count());
        while let Some(edit) = self.plan.pop_front_if(|edit| edit.at <= now) {
            self.edits += 1;
            let values =
                BTreeMap::from([(KnobName::from(edit.knob), KnobValue::Integer(edit.value))]);
            let until = edit.pinned_for.map(|span| now + span);
            world.set_by_person(0, &values, until);
            self.held.insert(
                edit.knob,
                (edit.value, until.unwrap_or(now + ADOPTED_AFTER_S)),
            );
        }
    }
}

fn of(setting: &Setting, knob: &str) -> u64 {
    match knob {
        KnobName::WORKERS => setting.workers,
        KnobName::QUEUE_LIMIT => setting.queue_limit,
        _ => whole(setting.timeout * 1e3),
    }
}
