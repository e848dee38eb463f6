//! Named points in the life of a change at which a campaign makes a process die, panic or stand still.
//!
//! Without the feature `fail`, which no release has, [`at`] is nothing. With it, the variable [`VARIABLE`] names one point of
//! [`Point`] and what happens there: `try-noted=kill`, `planned=panic`, `confirm-sent=hold` or, for so many milliseconds,
//! `confirm-sent=hold:3000`. It happens the first time that the point is reached, after a line on the standard error that says so.

/// The variable that names a point and what happens there.
pub const VARIABLE: &str = "TRIMTAB_FAIL";

/// What the line on the standard error begins with; the point's name follows.
pub const FIRED: &str = "trimtab fails at ";

macro_rules! points {
    ($($(#[$text:meta])* $point:ident = $name:literal,)*) => {
        /// A place in the program. Those of the host begin with `host-`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$text])* $point,)*
        }

        impl Point {
            /// All of them, in the order in which a change passes them.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// A lease is wanted, and nothing is sent.
    LeaseWanted = "lease-wanted",
    /// The request for a lease has left, and its answer is not read.
    LeaseSent = "lease-sent",
    /// The answer about the lease is read, and nobody has been told.
    LeaseHeard = "lease-heard",
    /// A plan is made, and act has not been told.
    Planned = "planned",
    /// Act has been told of the plan, and record has not.
    PlanPassedOn = "plan-passed-on",
    /// The plan is about to be carried out, and its intent is nowhere.
    TryBegun = "try-begun",
    /// An intent has its number, and the disk has not been asked.
    IntentEntered = "intent-entered",
    /// An intent is written, and would not survive a power cut.
    IntentWritten = "intent-written",
    /// An intent is durable, and act does not know.
    IntentSynced = "intent-synced",
    /// Act knows that the intent is durable, and the change is not sent.
    TryNoted = "try-noted",
    /// The change has left, and its answer is not read.
    TrySent = "try-sent",
    /// The answer to the change is read, and written nowhere.
    TryHeard = "try-heard",
    /// The outcome of the change has its number, and the disk has not been asked.
    OutcomeEntered = "outcome-entered",
    /// The outcome of the change is written.
    OutcomeWritten = "outcome-written",
    /// Record and the controller have been told of the answer to the change.
    TryTold = "try-told",
    /// The sidecar has read its host during a trial, and nobody has been told.
    Observed = "observed",
    /// A confirmation is about to be carried out.
    ConfirmBegun = "confirm-begun",
    /// Record has been told that a confirmation is about to be sent.
    ConfirmNoted = "confirm-noted",
    /// The confirmation has left, and its answer is not read.
    ConfirmSent = "confirm-sent",
    /// The answer to the confirmation is read, and written nowhere.
    ConfirmHeard = "confirm-heard",
    /// Record and the controller have been told of the answer to the confirmation.
    ConfirmTold = "confirm-told",
    /// A rollback is about to be carried out.
    RollBackBegun = "rollback-begun",
    /// Record has been told that a rollback is about to be sent.
    RollBackNoted = "rollback-noted",
    /// The rollback has left, and its answer is not read.
    RollBackSent = "rollback-sent",
    /// The answer to the rollback is read, and written nowhere.
    RollBackHeard = "rollback-heard",
    /// Record and the controller have been told of the answer to the rollback.
    RollBackTold = "rollback-told",
    /// The host has granted a lease, and has not answered.
    HostLeaseGranted = "host-lease-granted",
    /// A change is found good, and nothing is done.
    HostChangeJudged = "host-change-judged",
    /// One knob of several has its new value.
    HostChangeHalfSet = "host-change-half-set",
    /// All knobs of a change have their new values, and the trial is recorded nowhere.
    HostChangeSet = "host-change-set",
    /// The trial is open, and has not been answered.
    HostChangeRecorded = "host-change-recorded",
    /// A confirmation has come, and is not judged.
    HostConfirmAsked = "host-confirm-asked",
    /// The trial's values are the confirmed ones, and its fuse still burns.
    HostConfirmKept = "host-confirm-kept",
    /// The confirmation is carried out, and has not been answered.
    HostConfirmDone = "host-confirm-done",
    /// A rollback has come, and is not judged.
    HostRollBackAsked = "host-rollback-asked",
    /// The rollback is carried out, and has not been answered.
    HostRollBackDone = "host-rollback-done",
    /// It is decided that values go back, and no knob has been told.
    HostUndoDecided = "host-undo-decided",
    /// One knob of several has its old value again.
    HostUndoHalfSet = "host-undo-half-set",
    /// All knobs have their old values, and the fuse still burns.
    HostUndoSet = "host-undo-set",
    /// A freeze is asked for, and nothing is done.
    HostFreezeAsked = "host-freeze-asked",
    /// The freeze is in force, and not on disk.
    HostFreezeDecided = "host-freeze-decided",
    /// The freeze is on disk, and has not been answered.
    HostFreezeKept = "host-freeze-kept",
}

/// Nothing, without the feature `fail`.
#[cfg(not(feature = "fail"))]
#[inline]
pub const fn at(_point: Point) {}

#[cfg(feature = "fail")]
pub use armed::at;

#[cfg(feature = "fail")]
mod armed {
    use super::{FIRED, Point, VARIABLE};
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// What happens at a point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        /// As by SIGKILL: nothing is flushed, and no destructor runs.
        Kill,
        Panic,
        /// The thread goes on after this time, or never.
        Hold(Option<Duration>),
    }

    static ARMED: OnceLock<Option<(Point, Action)>> = OnceLock::new();
    static FIRST: AtomicBool = AtomicBool::new(true);

    /// Does what the environment says is to happen here, the first time.
    ///
    /// # Panics
    /// When it says so.
    pub fn at(point: Point) {
        let armed = *ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|told| read(&told)));
        let Some((_, action)) = armed.filter(|(chosen, _)| *chosen == point) else {
            return;
        };
        if FIRST.swap(false, Ordering::SeqCst) {
            say(&format!("{FIRED}{}", point.name()));
            act(action);
        }
    }

    fn read(told: &str) -> (Point, Action) {
        parsed(told).unwrap_or_else(|| {
            say(&format!(
                "{VARIABLE}={told} names no point, or nothing that happens"
            ));
            // A campaign whose fault does not happen must not look like one that went well.
            std::process::abort()
        })
    }

    fn parsed(told: &str) -> Option<(Point, Action)> {
        let (name, action) = told.split_once('=')?;
        let point = Point::ALL.iter().find(|point| point.name() == name)?;
        let action = match action.split_once(':') {
            None if action == "kill" => Action::Kill,
            None if action == "panic" => Action::Panic,
            None if action == "hold" => Action::Hold(None),
            Some(("hold", ms)) => Action::Hold(Some(Duration::from_millis(ms.parse().ok()?))),
            _ => return None,
        };
        Some((*point, action))
    }

    fn say(line: &str) {
        // There is nobody to tell that nobody could be told.
        drop(writeln!(std::io::stderr(), "{line}"));
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "to stall a thread is what was asked for"
    )]
    fn act(action: Action) {
        match action {
            Action::Panic => panic!("as {VARIABLE} says"),
            Action::Hold(Some(time)) => std::thread::sleep(time),
            Action::Kill => {
                // Not `kill`, which a sidecar that has shut itself in may not call.
                // SAFETY: these calls read no memory, and the numbers are this process's and this thread's own.
                let _sent = unsafe {
                    libc::syscall(
                        libc::SYS_tgkill,
                        libc::getpid(),
                        libc::gettid(),
                        libc::SIGKILL,
                    )
                };
                forever();
            }
            Action::Hold(None) => forever(),
        }
    }

    fn forever() -> ! {
        loop {
            std::thread::park();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_point_and_what_happens_there_are_read_or_refused() {
            let second = Some(Duration::from_secs(1));
            for (told, action) in [
                ("planned=kill", Action::Kill),
                ("planned=panic", Action::Panic),
                ("planned=hold", Action::Hold(None)),
                ("planned=hold:1000", Action::Hold(second)),
            ] {
                assert_eq!(parsed(told), Some((Point::Planned, action)), "{told}");
            }
            for told in [
                "",
                "planned",
                "plan=kill",
                "planned=",
                "planned=hold:",
                "planned=kill:1",
            ] {
                assert_eq!(parsed(told), None, "{told}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Point;
    use std::collections::BTreeSet;

    #[test]
    fn each_point_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn a_point_that_nobody_chose_is_passed() {
        Point::ALL.iter().for_each(|point| super::at(*point));
    }
}
