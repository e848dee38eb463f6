//! What may be asked of the profiler, and what it answers.
//!
//! Both are lines of JSON; an answer with a graph is followed by the graph's bytes, as many as its line says.

use crate::draw::View;
use crate::format::Format;
use crate::kind::Kind;
use crate::ladder::Step;
use crate::push::Parcel;
use crate::quality::Quality;
use serde::{Deserialize, Serialize};

/// The longest window of one profile, in milliseconds.
pub const WINDOW_MS_MAX: u64 = 60_000;
/// The most samples a second of CPU time.
pub const HZ_MAX: u32 = 1_000;

/// After so long, in milliseconds, what happened is remembered, where anything is: the kernel's samples of it have been read.
pub const SETTLED_MS: u64 = 400;

/// Which part of which process's time, and how it is to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    /// The process; what it began is included.
    pub pid: u32,
    /// What the graph calls it.
    pub title: String,
    /// What time counts.
    pub kind: Kind,
    /// Samples a second of CPU time.
    pub hz: u32,
    /// Only the threads of this name or number.
    pub thread: Option<String>,
    /// Whether calls that the compiler put into their callers are shown, where the program's file tells of them.
    pub inlined: bool,
    /// How it is shown.
    pub view: View,
    /// How it is written.
    pub format: Format,
    /// Where the process offers a profile of itself, which is asked for where the kernel gives none.
    pub own_profile: Option<String>,
}

impl Shot {
    /// CPU time of a process, as a flame graph, at the usual rate.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            title: format!("process {pid}"),
            kind: Kind::Cpu,
            hz: 99,
            thread: None,
            inlined: false,
            view: View::Flame,
            format: Format::Svg,
            own_profile: None,
        }
    }
}

/// A stretch of the boot-time clock, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// From here on.
    pub from_ns: u64,
    /// Until here.
    pub until_ns: u64,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// A graph of the time that now begins.
    Next {
        /// Of what.
        shot: Shot,
        /// For how long, in milliseconds.
        window_ms: u64,
    },
    /// A graph of time that is remembered.
    Past {
        /// Of what.
        shot: Shot,
        /// Which time.
        stretch: Stretch,
    },
    /// Two remembered times compared.
    Difference {
        /// Of what.
        shot: Shot,
        /// The earlier.
        before: Stretch,
        /// The later.
        after: Stretch,
    },
    /// Remembered time is to be sent to a server.
    Push {
        /// Of what.
        shot: Shot,
        /// Which time.
        stretch: Stretch,
        /// Where to, and under which name.
        parcel: Parcel,
    },
    /// How busy each fiftieth part of the remembered seconds was.
    Heat {
        /// Which time.
        stretch: Stretch,
    },
    /// What can be seen of a process, and what is in the way of more.
    Capabilities {
        /// The process.
        pid: u32,
        /// Where it offers a profile of itself.
        own_profile: Option<String>,
    },
    /// How good the last profiles were.
    Quality,
    /// Remember the time of a process from now on, or of nobody.
    Remember {
        /// The process.
        pid: Option<u32>,
        /// Samples a second of CPU time.
        hz: u32,
        /// In at most so much memory.
        bytes_max: usize,
    },
}

/// A question with the number by which its answer is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The number.
    pub id: u64,
    /// The question.
    pub ask: Ask,
}

/// An answer's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// How many bytes follow the line.
    pub bytes: usize,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A graph, whose bytes follow.
    Graph {
        /// How good it is.
        quality: Quality,
    },
    /// How busy the remembered seconds were, oldest first.
    Heat {
        /// The seconds for which there is something.
        columns: Vec<HeatColumn>,
        /// Samples a second of one busy CPU.
        hz: u32,
    },
    /// What can be seen, best first.
    Capabilities {
        /// The rungs.
        steps: Vec<Step>,
        /// What is remembered, if anything is.
        remembered: Option<Remembered>,
    },
    /// The last profiles, newest last.
    Quality {
        /// Each with its kind.
        recent: Vec<(Kind, Quality)>,
    },
    /// As asked.
    Done,
    /// Another profile of the same process and kind is being taken.
    Busy {
        /// In how many seconds it will be done.
        retry_after_s: u64,
    },
    /// It could not be done.
    Failed {
        /// What sort of failure it is.
        because: Because,
        /// What is the matter, in a sentence.
        problem: String,
    },
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// There is no such process, or nothing is remembered of that time.
    Unknown,
    /// It may not be seen.
    Denied,
    /// A mistake of the profiler's own.
    Internal,
}

/// One remembered second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeatColumn {
    /// When it began, by the boot-time clock.
    pub from_ns: u64,
    /// Samples in each fiftieth part of it.
    pub cells: Vec<u16>,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Of which process.
    pub pid: u32,
    /// From where on, by the boot-time clock.
    pub from_ns: u64,
    /// Until where.
    pub until_ns: u64,
    /// Memory that it takes, in bytes.
    pub bytes: usize,
    /// The most that it may take.
    pub bytes_max: usize,
    /// How it is taken, or why it is not.
    pub collector: String,
}
