//! Hours of a whole system in seconds: the real controller and the real governor, with everything between and around them
//! modelled, so that it can go wrong: the network, the clock, the disk, the processes, and people.
//!
//! Two sidecars share one host. A small generator decides what happens when; the same seed gives the same history on every machine.
//! After every quarter of a second the host is held against an [`oracle`], which knows what was asked and answered and nothing of
//! how the rules are kept. The service is a fluid, not single jobs, so that an hour costs a fraction of a second.
//!
//! What stands between the controller and the socket in the sidecar, its act stage, is modelled in `sidecar`: one call after
//! another, none before its intent is written down. Sockets, files and processes themselves are the business of `cargo xtask
//! chaos`.

mod host;
pub mod oracle;
mod plant;
mod sidecar;
mod tally;

use crate::bug::Bug;
use host::Host;
use oracle::{Broken, Oracle};
use sidecar::Sidecar;
use std::collections::BTreeSet;
use std::fmt;
pub use tally::Tally;
use trimtab_host::governor::{End, Refusal};
use trimtab_protocol::change::{ChangeReceipt, ChangeRequest, EndTrialRequest};
use trimtab_protocol::decision::Absence;
use trimtab_protocol::lease::{LeaseGrant, LeaseRelease, LeaseRequest};
use trimtab_protocol::name::{Generation, InstanceId};

/// A second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// How often the host's own timers are looked at: they are exact, and this is how finely the model looks.
const STEP: u64 = SECOND / 4;
/// Something new happens once in so many seconds.
const CALM_S: u64 = 20;

/// What can happen, each with the number of times that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A request does not arrive.
    RequestLost,
    /// An answer does not arrive.
    AnswerLost,
    /// A request arrives long after its sender has given up.
    Late,
    /// A request arrives twice.
    Twice,
    /// A sidecar cannot read the state.
    Blind,
    /// A sidecar reads the state of a tick before.
    StaleState,
    /// Figures are missing from the state.
    FiguresMissing,
    /// A sidecar is killed.
    SidecarKilled,
    /// A sidecar is stopped for longer than a lease, with what it had decided still to be sent.
    SidecarStopped,
    /// The host is killed.
    HostKilled,
    /// The host is stopped for longer than a lease.
    HostStopped,
    /// The machine sleeps.
    Suspended,
    /// The wall clock jumps.
    WallClock,
    /// The disk of a ledger takes nothing.
    DiskFull,
    /// An operator freezes the host.
    Frozen,
    /// An operator pins a knob.
    Pinned,
    /// Somebody else sets a knob.
    Foreign,
    /// The load or the work changes.
    Load,
}

impl Fault {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::RequestLost,
        Self::AnswerLost,
        Self::Late,
        Self::Twice,
        Self::Blind,
        Self::StaleState,
        Self::FiguresMissing,
        Self::SidecarKilled,
        Self::SidecarStopped,
        Self::HostKilled,
        Self::HostStopped,
        Self::Suspended,
        Self::WallClock,
        Self::DiskFull,
        Self::Frozen,
        Self::Pinned,
        Self::Foreign,
        Self::Load,
    ];
}

/// A promise that was broken, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed of the history.
    pub seed: u64,
    /// The second in it.
    pub second: u64,
    /// What was broken.
    pub broken: Broken,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            second,
            broken,
        } = self;
        write!(
            out,
            "invariant {} in second {second} of history {seed}: {}",
            broken.invariant, broken.how
        )
    }
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Lease(LeaseRequest),
    Release(LeaseRelease),
    Change(ChangeRequest),
    End(End, Generation, EndTrialRequest),
}

/// What the host answers where it does as asked.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Lease(LeaseGrant),
    Released,
    Receipt(ChangeReceipt),
}

/// What a sidecar hears.
enum Heard {
    Done(Said),
    Refused(Refusal),
    Lost(Absence),
}

/// A small generator: the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    fn share(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1_u32 << 20)
    }
}

/// What lasts for a while.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// Until when the network is bad.
    network_ns: u64,
    /// Until when the host runs no instruction.
    stopped_ns: u64,
    /// Until when there is no host.
    down_ns: u64,
}

/// A request that arrives later.
struct Late {
    at_ns: u64,
    who: usize,
    call: Call,
    /// Whether its sidecar still has it, so that it may reach another run of the host.
    held: bool,
}

struct World {
    dice: Dice,
    bug: Option<Bug>,
    /// Which changes which sidecar has written down, as they stand on its disk.
    written: BTreeSet<(usize, InstanceId, Generation)>,
    now_ns: u64,
    wall_ms: u64,
    host: Host,
    oracle: Oracle,
    /// Requests that arrive later.
    late: Vec<Late>,
    trouble: Trouble,
    /// When the host is killed, soon after a sidecar was stopped; never while it is 0.
    host_dies_ns: u64,
    tally: Tally,
}

/// Runs one history of so many seconds, in which the host or the sidecars may have a bug.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, seconds: u64, bug: Option<Bug>) -> Result<Tally, Failure> {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut sidecars = [0, 1].map(|number| Sidecar::new(number, 0));
    let mut world = World {
        bug,
        written: BTreeSet::new(),
        host: Host::new(bug, &mut dice),
        oracle: Oracle::default(),
        dice,
        now_ns: 1_000 * SECOND,
        wall_ms: 1_700_000_000_000,
        late: Vec::new(),
        trouble: Trouble::default(),
        host_dies_ns: 0,
        tally: Tally::default(),
    };
    for second in 0..seconds {
        let failed = |broken| Failure {
            seed,
            second,
            broken,
        };
        for _ in 0..SECOND / STEP {
            world.pass(STEP).map_err(failed)?;
        }
        world.host.work();
        if world.dice.below(CALM_S) == 0 {
            world.disturb(&mut sidecars).map_err(failed)?;
        }
        for sidecar in &mut sidecars {
            sidecar.tick(&mut world).map_err(failed)?;
            world.look().map_err(failed)?;
        }
    }
    Ok(world.tally)
}

impl World {
    /// Time passes; what is due happens, if the host can run.
    fn pass(&mut self, ns: u64) -> Result<(), Broken> {
        self.now_ns += ns;
        self.wall_ms += ns / 1_000_000;
        if self.trouble.down_ns != 0 && self.trouble.down_ns <= self.now_ns {
            self.trouble.down_ns = 0;
            self.host.restart(self.now_ns);
        }
        if self.host_dies_ns != 0 && self.host_dies_ns <= self.now_ns && self.runs() {
            self.host_dies_ns = 0;
            self.kill_host(SECOND);
        }
        if !self.runs() {
            return Ok(());
        }
        self.host.prepare(self.now_ns);
        self.tally.expired += u64::from(self.oracle.passed(self.now_ns));
        while let Some(due) = self.late.iter().position(|late| late.at_ns <= self.now_ns) {
            let late = self.late.swap_remove(due);
            // Nobody waits for the answer any more.
            drop(self.arrive(late.who, &late.call)?);
        }
        self.look()
    }

    fn runs(&self) -> bool {
        self.trouble.down_ns == 0 && self.trouble.stopped_ns <= self.now_ns
    }

    fn look(&self) -> Result<(), Broken> {
        if self.runs() {
            self.oracle.look(&self.host.actual, self.host.is_frozen())
        } else {
            Ok(())
        }
    }

    /// A request reaches the host.
    fn arrive(&mut self, who: usize, call: &Call) -> Result<Result<Said, Refusal>, Broken> {
        if let Call::Change(change) = call {
            let intent = (who, change.instance.clone(), change.generation);
            if !self.written.contains(&intent) {
                let how = "a change came of which nothing was written down";
                return Err(Broken { invariant: 11, how });
            }
        }
        let answer = self.host.call(call, self.now_ns);
        self.oracle.passed(self.now_ns);
        let run = self.host.instance();
        let asked = self
            .oracle
            .asked(who, call, answer.as_ref().ok(), &run, self.now_ns)?;
        self.tally.repeated += u64::from(asked.repeated);
        match (call, &answer) {
            (Call::Change(_), Ok(_)) if !asked.repeated => self.tally.tried += 1,
            (Call::Change(_), Err(_)) => self.tally.refused += 1,
            (Call::End(End::Confirm, ..), Ok(_)) if !asked.repeated => self.tally.confirmed += 1,
            _ => {}
        }
        Ok(answer)
    }

    /// A sidecar sends a request and waits for the answer, as long as a call may take.
    fn send(&mut self, who: usize, call: Call) -> Result<Heard, Broken> {
        if self.trouble.down_ns != 0 {
            return Ok(Heard::Lost(Absence::Unreachable));
        }
        if !self.runs() {
            // It lies in the socket until the host goes on.
            self.delay(self.trouble.stopped_ns, who, call);
            return Ok(Heard::Lost(Absence::TimedOut));
        }
        let bad = self.trouble.network_ns > self.now_ns && self.dice.below(2) == 0;
        let fate = if bad { self.dice.below(4) } else { 4 };
        let later = self.now_ns + SECOND * (1 + self.dice.below(20));
        match fate {
            0 => {
                self.tally.note(Fault::RequestLost);
                return Ok(Heard::Lost(Absence::TimedOut));
            }
            1 => {
                self.tally.note(Fault::Late);
                self.delay(later, who, call);
                return Ok(Heard::Lost(Absence::TimedOut));
            }
            2 => {
                self.tally.note(Fault::Twice);
                self.delay(later, who, call.clone());
            }
            _ => {}
        }
        let answer = self.arrive(who, &call)?;
        if fate == 3 {
            self.tally.note(Fault::AnswerLost);
            return Ok(Heard::Lost(Absence::TimedOut));
        }
        Ok(match answer {
            Ok(said) => Heard::Done(said),
            Err(refusal) => Heard::Refused(refusal),
        })
    }

    /// A request is on its way for long; it ends with the host's run.
    fn delay(&mut self, at_ns: u64, who: usize, call: Call) {
        self.late.push(Late {
            at_ns,
            who,
            call,
            held: false,
        });
    }

    fn kill_host(&mut self, lasts: u64) {
        self.trouble.down_ns = self.now_ns + lasts + 1;
        self.oracle.restarted();
        self.late.retain(|late| late.held);
        self.tally.note(Fault::HostKilled);
    }

    /// Something new happens.
    fn disturb(&mut self, sidecars: &mut [Sidecar; 2]) -> Result<(), Broken> {
        let which = usize::from(self.dice.below(2) == 1);
        let lasts = SECOND * (1 + self.dice.below(30));
        let until = self.now_ns + lasts;
        let long = until + 6 * SECOND;
        let fault = match self.dice.below(28) {
            0 => return self.freeze(),
            1 => return self.pin(),
            2 => return self.foreign(),
            3 => {
                sidecars[which].kill(self.now_ns + lasts / 6);
                Fault::SidecarKilled
            }
            4 => {
                sidecars[which].stop(long);
                if self.runs() && self.dice.below(2) == 0 {
                    self.host_dies_ns = self.now_ns + 2 * SECOND;
                }
                Fault::SidecarStopped
            }
            5 if self.runs() => {
                self.kill_host(lasts / 3);
                return Ok(());
            }
            6 if self.runs() => {
                self.trouble.stopped_ns = long;
                Fault::HostStopped
            }
            7 => {
                // Nobody runs, and the boot-time clock goes on.
                self.now_ns += self.dice.below(7_200) * SECOND;
                Fault::Suspended
            }
            8 => {
                self.wall_ms = self.dice.below(4_000_000_000_000);
                Fault::WallClock
            }
            9 => {
                sidecars[which].disk_full_ns = until;
                Fault::DiskFull
            }
            10 => {
                sidecars[which].blind_ns = until;
                Fault::Blind
            }
            11 => {
                sidecars[which].stale_ns = until;
                Fault::StaleState
            }
            12 => {
                sidecars[which].poor_ns = until;
                Fault::FiguresMissing
            }
            13..=16 => {
                // What it did is counted with each request.
                self.trouble.network_ns = until;
                return Ok(());
            }
            _ => {
                self.host.change_load(&mut self.dice);
                Fault::Load
            }
        };
        self.tally.note(fault);
        Ok(())
    }

    fn freeze(&mut self) -> Result<(), Broken> {
        if !self.runs() {
            return Ok(());
        }
        if self.host.is_frozen() {
            self.host.unfreeze(self.now_ns);
            self.oracle.thawed();
        } else {
            self.tally.note(Fault::Frozen);
            self.host.freeze(self.now_ns);
            self.oracle.froze();
        }
        self.look()
    }

    /// An operator holds the workers, or lets go of them.
    fn pin(&mut self) -> Result<(), Broken> {
        if !self.runs() {
            return Ok(());
        }
        if self.oracle.is_pinned() {
            self.host.unpin(self.now_ns);
            self.oracle.unpinned();
        } else {
            let value = 2 + self.dice.below(60);
            if self.host.pin(value, self.now_ns) {
                self.tally.note(Fault::Pinned);
                self.oracle.pinned(value);
            }
        }
        self.look()
    }

    /// Somebody else sets the queue's limit.
    fn foreign(&mut self) -> Result<(), Broken> {
        if !self.runs() {
            return Ok(());
        }
        self.tally.note(Fault::Foreign);
        let value = 100 + self.dice.below(900);
        self.host.set_by_another(value, self.now_ns);
        self.oracle.set_by_another(value);
        self.look()
    }
}
