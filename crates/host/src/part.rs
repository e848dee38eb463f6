//! A tunable part: whatever offers knobs and figures under the name of a pool.

use crate::fuse::Fuse;
use crate::knob::{Knob, KnobSpec};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::state::{Counters, Gauges, Histograms, PoolKind};

/// One knob of a part: what it takes, and how to read and set it.
#[derive(Clone, Debug)]
pub struct PartKnob {
    /// What it takes.
    pub spec: KnobSpec,
    /// How to read and set it.
    pub knob: Arc<dyn Knob>,
}

/// The figures of a part, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartFigures {
    /// Counters since the start; integrals run up to the moment of reading.
    pub counters: Counters,
    /// What is true right now.
    pub gauges: Gauges,
    /// How long work took.
    pub histograms: Histograms,
}

impl PartFigures {
    /// The figures of a part that has no workers: only numbers of its own, by name.
    #[must_use]
    pub fn named<const N: usize>(named: [(&str, u64); N]) -> Self {
        Self {
            gauges: Gauges {
                named: BTreeMap::from(named.map(|(name, figure)| (name.to_owned(), figure))),
                ..Gauges::default()
            },
            ..Self::default()
        }
    }
}

/// A component whose knobs the control side may turn.
pub trait Part: Send + Sync + 'static {
    /// The pool's name.
    fn name(&self) -> &PoolName;

    /// What sort of work it does.
    fn kind(&self) -> PoolKind;

    /// Its knobs; the list never changes.
    fn knobs(&self) -> Vec<PartKnob>;

    /// Its figures up to `now_ns` of the boot-time clock. Must not wait for the request path.
    fn figures(&self, now_ns: u64) -> PartFigures;

    /// The fuse that the request path looks at, if the part admits requests.
    fn fuse(&self) -> Option<Arc<Fuse>>;

    /// Does what is due by `now_ns` of the boot-time clock, such as dropping what nobody used, and says when it wants to be
    /// called again; nothing says never, until one of its knobs is turned. It is called on a thread where it may take its time.
    fn upkeep(&self, _now_ns: u64) -> Option<u64> {
        None
    }

    /// Told when someone begins or ceases to decide about this part's knobs: a sidecar by its lease or by a value that it proved, an
    /// operator by a freeze or a pin. A part that moves its own knobs leaves them alone meanwhile.
    fn steered(&self, _steered: bool) {}
}

impl fmt::Debug for dyn Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Part({})", self.name())
    }
}
