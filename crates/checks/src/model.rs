//! Everything that can happen to a host, in every order, within bounds.

use crate::bug::Bug;
use crate::host::{Answer, BASELINE, Call, Host};
use crate::spec::{Broken, Seen, Spec};
use stateright::{Model, Property};

/// How much of each thing may happen. What is 0 does not happen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Requests that sidecars send.
    pub sent: u8,
    /// Requests that arrive a second time.
    pub twice: u8,
    /// Seconds.
    pub seconds: u8,
    /// Crashes of a sidecar, which then starts anew and remembers nothing.
    pub sidecar_crashes: u8,
    /// Crashes of the host.
    pub host_crashes: u8,
    /// Freezes; each may be lifted.
    pub freezes: u8,
    /// Pins; each may be released.
    pub pins: u8,
    /// Values that somebody else sets.
    pub foreign: u8,
    /// Changes to values that are out of bounds or too far away.
    pub wild: u8,
}

/// The model: a host, perhaps with a bug, and what may happen to it.
#[derive(Clone, Debug)]
pub struct World {
    /// The bug.
    pub bug: Option<Bug>,
    /// What may happen.
    pub budget: Budget,
}

/// One state of the world.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    host: Host,
    spec: Spec,
    now_s: u64,
    sidecars: [Sidecar; 2],
    /// What was sent and has not arrived; in order of contents, for it may arrive in any order.
    flying: Vec<Message>,
    left: Budget,
    frozen: bool,
    pinned: bool,
    /// The first promise that was broken.
    pub broken: Option<Broken>,
}

impl State {
    /// What happened on the way here.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.spec.seen
    }
}

/// What a sidecar remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Sidecar {
    /// How often it was started.
    start: u8,
    /// The lease that it was granted; it may not be in force any more.
    epoch: Option<u64>,
    /// The last change that it sent.
    change: Option<(u64, u64)>,
}

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    who: usize,
    start: u8,
    run: u8,
    call: Call,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A sidecar sends something.
    Send(usize, Call),
    /// A message arrives; with true it is still on its way, a second time.
    Arrive(usize, bool),
    /// A second passes.
    Second,
    /// A sidecar is killed and started again.
    SidecarDies(usize),
    /// The host is killed and started again.
    HostDies,
    /// An operator freezes, or lifts it.
    Freeze(bool),
    /// An operator pins the first knob, or releases it.
    Pin(bool),
    /// Somebody else sets the second knob.
    Foreign,
}

/// What an operator pins to, and what somebody else sets.
const PINNED: u64 = 6;
const FOREIGN: u64 = 5;

impl Model for World {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            host: Host::new(self.bug),
            spec: Spec::default(),
            now_s: 1,
            sidecars: [Sidecar::default(); 2],
            flying: Vec::new(),
            left: self.budget,
            frozen: false,
            pinned: false,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, events: &mut Vec<Event>) {
        let left = state.left;
        if left.sent > 0 {
            for who in 0..state.sidecars.len() {
                events.extend(
                    state
                        .calls(who)
                        .into_iter()
                        .map(|call| Event::Send(who, call)),
                );
            }
        }
        for (index, message) in state.flying.iter().enumerate() {
            // Of two that are the same it does not matter which arrives.
            if index > 0 && state.flying.get(index - 1) == Some(message) {
                continue;
            }
            events.push(Event::Arrive(index, false));
            if left.twice > 0 {
                events.push(Event::Arrive(index, true));
            }
        }
        if left.seconds > 0 {
            events.push(Event::Second);
        }
        if left.sidecar_crashes > 0 {
            events.extend([Event::SidecarDies(0), Event::SidecarDies(1)]);
        }
        if left.host_crashes > 0 {
            events.push(Event::HostDies);
        }
        if state.frozen || left.freezes > 0 {
            events.push(Event::Freeze(!state.frozen));
        }
        if state.pinned || left.pins > 0 {
            events.push(Event::Pin(!state.pinned));
        }
        if left.foreign > 0 {
            events.push(Event::Foreign);
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut state = last.clone();
        state.happen(event);
        state.host.prepare(state.now_s);
        state.broken = state.broken.or_else(|| state.spec.look(&state.host));
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every promise is kept", |_, state: &State| {
                state.broken.is_none()
            }),
            Property::sometimes("a change is confirmed", |_, state: &State| {
                state.seen().confirmed
            }),
            Property::sometimes("a trial expires", |_, state: &State| state.seen().expired),
            Property::sometimes("a change is refused", |_, state: &State| {
                state.seen().refused
            }),
            Property::sometimes("a retry is answered", |_, state: &State| {
                state.seen().retried
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.broken.is_none() || self.bug.is_some()
    }
}

impl State {
    /// What a sidecar may send now: it knows what it was granted, and reads the rest.
    fn calls(&self, who: usize) -> Vec<Call> {
        let sidecar = self.sidecars[who];
        let Some(epoch) = sidecar.epoch else {
            return vec![Call::Lease(None)];
        };
        let (generation, revision) = self.host.numbers(self.now_s);
        let change = |value| Call::Change {
            epoch,
            generation: generation + 1,
            revision,
            value,
        };
        let mut calls = vec![
            Call::Lease(Some(epoch)),
            Call::Release(epoch),
            change(BASELINE * 2),
        ];
        if self.left.wild > 0 {
            calls.extend([change(MILD_LEAP), change(WILD_LEAP)]);
        }
        if let Some((epoch, generation)) = sidecar.change {
            let end = |keep| Call::End {
                keep,
                epoch,
                generation,
            };
            calls.extend([end(true), end(false)]);
        }
        calls
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send(who, call) => self.send(who, call),
            Event::Arrive(index, again) => self.arrive(index, again),
            Event::Second => {
                self.left.seconds -= 1;
                if let Some((who, epoch)) = self.spec.holder().filter(|_| self.spec.on_trial()) {
                    self.host.keep_lease_alive(who, epoch, self.now_s);
                }
                self.now_s += 1;
                self.spec.passed(self.now_s);
            }
            Event::SidecarDies(who) => {
                self.left.sidecar_crashes -= 1;
                let start = self.sidecars[who].start + 1;
                self.sidecars[who] = Sidecar {
                    start,
                    ..Sidecar::default()
                };
            }
            Event::HostDies => {
                self.left.host_crashes -= 1;
                self.host.restart(self.now_s);
                self.spec.restarted();
                self.pinned = false;
            }
            Event::Freeze(on) => {
                self.frozen = on;
                if on {
                    self.left.freezes -= 1;
                    self.host.freeze(self.now_s);
                    self.spec.froze();
                } else {
                    self.host.unfreeze(self.now_s);
                    self.spec.thawed();
                }
            }
            Event::Pin(on) => {
                self.pinned = on;
                if !on {
                    self.host.unpin(self.now_s);
                    self.spec.unpinned();
                } else {
                    self.left.pins -= 1;
                    if self.host.pin(PINNED, self.now_s) {
                        self.spec.pinned(PINNED);
                    }
                }
            }
            Event::Foreign => {
                self.left.foreign -= 1;
                self.host.actual[1] = FOREIGN;
                self.spec.set_by_another(FOREIGN);
            }
        }
    }

    fn send(&mut self, who: usize, call: Call) {
        self.left.sent -= 1;
        let sidecar = &mut self.sidecars[who];
        if let Call::Change {
            epoch,
            generation,
            value,
            ..
        } = call
        {
            sidecar.change = Some((epoch, generation));
            self.left.wild -= u8::from(value != BASELINE * 2);
        }
        let message = Message {
            who,
            start: sidecar.start,
            run: self.host.run,
            call,
        };
        self.flying.push(message);
        self.flying.sort_unstable();
    }

    fn arrive(&mut self, index: usize, again: bool) {
        let message = if again {
            self.left.twice -= 1;
            self.flying[index]
        } else {
            self.flying.remove(index)
        };
        let Message {
            who,
            start,
            run,
            call,
        } = message;
        let answer = self.host.call(who, run, call, self.now_s);
        let found = self
            .spec
            .asked((who, run), call, answer, &self.host, self.now_s);
        self.broken = self.broken.or(found);
        let sidecar = &mut self.sidecars[who];
        // One that was started again is not there for the answer.
        if sidecar.start == start {
            match (call, answer) {
                (Call::Lease(_), Some(Answer::Lease(epoch))) => sidecar.epoch = Some(epoch),
                (Call::Lease(_) | Call::Release(_), _) => sidecar.epoch = None,
                _ => {}
            }
        }
    }
}

/// Within the bounds, and more than the double.
const MILD_LEAP: u64 = 15;
/// Out of bounds.
const WILD_LEAP: u64 = 40;
