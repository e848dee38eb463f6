//! Carries out what the governor decides: reads and sets the knobs, keeps the fuses, runs the timers.
//!
//! Changes of knobs happen one after another, each in a task of its own, so that a caller that goes away leaves nothing half
//! done. The state never waits for a change: a knob that is being set is shown with the target that is committed.

mod calls;
mod state;

use crate::governor::{Governor, Refusal, Write};
use crate::registry::{Failure, Registry};
use crate::state_dir::StateDir;
use crate::tasks::RuntimeHandle;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::problem::{Problem, ProblemKind};
use trimtab_sys::clock::boot_ns;
use trimtab_sys::fail::{self, Point};

/// How long all knobs together may take to be read before something is decided on them; a knob that needs a command to be
/// read keeps what it last heard.
const READ_TIME: Duration = Duration::from_millis(100);
/// How often the control thread looks at the clock while a trial is open. Its timers stand still while the machine is
/// suspended, the boot-time clock does not.
const URGENT: Duration = Duration::from_millis(50);
/// How often it looks while only leases, pins and the way to the baseline are pending.
const CALM: Duration = Duration::from_millis(500);
/// How often it looks at the clock while a part waits for its upkeep.
const UPKEEP_LOOK: Duration = Duration::from_secs(5);
/// The least time between two rounds of upkeep that nobody asked for.
const UPKEEP_PAUSE_NS: u64 = 50_000_000;

/// What the host says of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) app: String,
    pub(crate) version: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) started_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Control {
    identity: Identity,
    registry: Registry,
    governor: Mutex<Governor>,
    /// One change of knobs at a time.
    turn: tokio::sync::Mutex<()>,
    /// Something may be due earlier than it was.
    wake: Notify,
    state_dir: Option<StateDir>,
    freeze_persistent: AtomicBool,
    disabled_in_code: AtomicBool,
    disabled_from_outside: bool,
    closed: AtomicBool,
    runtimes: Vec<RuntimeHandle>,
}

/// What a [`Control`] is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) identity: Identity,
    pub(crate) registry: Registry,
    pub(crate) governor: Governor,
    pub(crate) state_dir: Option<StateDir>,
    pub(crate) freeze_persistent: bool,
    pub(crate) disabled_from_outside: bool,
    pub(crate) runtimes: Vec<RuntimeHandle>,
}

impl Control {
    pub(crate) fn new(setup: Setup) -> Self {
        let control = Self {
            identity: setup.identity,
            registry: setup.registry,
            governor: Mutex::new(setup.governor),
            turn: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
            state_dir: setup.state_dir,
            freeze_persistent: AtomicBool::new(setup.freeze_persistent),
            disabled_in_code: AtomicBool::new(false),
            disabled_from_outside: setup.disabled_from_outside,
            closed: AtomicBool::new(false),
            runtimes: setup.runtimes,
        };
        if control.state_dir.as_ref().is_some_and(StateDir::is_frozen) {
            control.governor().freeze();
        }
        let disabled = control.is_switched_off();
        control.governor().set_disabled(disabled, boot_ns());
        control.sync_fuses();
        control
    }

    /// Switches control off or on from the service's own code.
    pub(crate) fn set_disabled(&self, disabled: bool) {
        self.disabled_in_code.store(disabled, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs a call in a task of its own: it is carried out to its end even if the caller goes away, and a panic in it becomes
    /// a problem.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match tokio::spawn(call).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "a call failed");
                self.registry.count_failure();
                self.sync_fuses();
                let detail = "the call ended in a bug; read the state before anything else";
                Err(Box::new(Problem::new(ProblemKind::Internal, detail)))
            }
        }
    }

    /// Does what is due, whenever it is due, for as long as the host runs.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let control = Arc::clone(&self);
            if tokio::spawn(control.keep_time_once()).await.is_err() {
                self.registry.count_failure();
                tokio::time::sleep(URGENT).await;
            }
        }
    }

    async fn keep_time_once(self: Arc<Self>) {
        let due = self.governor().next_due();
        let switched = self.is_switched_off() != self.governor().is_disabled();
        let wait = match due {
            _ if switched => Duration::ZERO,
            None => {
                self.wake.notified().await;
                Duration::ZERO
            }
            Some(due) => {
                let pause = if due.urgent { URGENT } else { CALM };
                pause.min(Duration::from_nanos(due.at_ns.saturating_sub(boot_ns())))
            }
        };
        if !wait.is_zero() {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        let due = self.governor().next_due();
        let switched = self.is_switched_off() != self.governor().is_disabled();
        if switched || due.is_some_and(|due| due.at_ns <= boot_ns()) {
            let _turn = self.turn.lock().await;
            self.prepare().await;
        }
    }

    /// Lets the parts do what is due, for as long as the host runs. What they do may take its time, so it is done on a thread
    /// of its own, which ends when there is nothing to do for a while.
    pub(crate) async fn upkeep(self: Arc<Self>) {
        loop {
            let control = Arc::clone(&self);
            let upkeep = tokio::task::spawn_blocking(move || control.registry.upkeep(boot_ns()));
            let next_ns = upkeep.await.unwrap_or(None);
            // Whatever a part says, the others and the processor get their turn.
            let soonest_ns = boot_ns().saturating_add(UPKEEP_PAUSE_NS);
            let next_ns = next_ns.map(|next_ns| next_ns.max(soonest_ns));
            let due = async {
                match next_ns {
                    None => std::future::pending().await,
                    // The boot-time clock goes on while the machine is suspended and the runtime's does not.
                    Some(next_ns) => {
                        while let left @ 1.. = next_ns.saturating_sub(boot_ns()) {
                            tokio::time::sleep(Duration::from_nanos(left).min(UPKEEP_LOOK)).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = self.registry.turned.notified() => {}
                () = due => {}
            }
        }
    }

    /// Undoes what is open and takes no more: the service ends.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let _turn = self.turn.lock().await;
        self.prepare().await;
        self.registry.clear_fuses();
    }

    fn governor(&self) -> MutexGuard<'_, Governor> {
        // A panic while it was held was in kit code that has been counted; the rules are still better than none.
        self.governor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_switched_off(&self) -> bool {
        self.disabled_from_outside
            || self.disabled_in_code.load(Ordering::Acquire)
            || self.closed.load(Ordering::Acquire)
            || self.state_dir.as_ref().is_some_and(StateDir::is_disabled)
    }

    /// Brings everything up to now before something is decided: what others set is adopted, what is due is done. The caller
    /// has the turn.
    async fn prepare(&self) {
        let deadline = tokio::time::Instant::now() + READ_TIME;
        for (pool, _) in self.registry.pools() {
            let readings = self.registry.read(pool, deadline).await;
            self.governor().observe(pool, &readings);
        }
        let disabled = self.is_switched_off();
        {
            let mut governor = self.governor();
            governor.advance(boot_ns());
            governor.set_disabled(disabled, boot_ns());
        }
        self.settle().await;
    }

    /// Sets the knobs that are owed a value, then brings the fuses in line. The caller has the turn.
    async fn settle(&self) {
        let owed = self.governor().owed(boot_ns());
        if !owed.is_empty() {
            fail::at(Point::HostUndoDecided);
        }
        for (index, write) in owed.iter().enumerate() {
            if index > 0 {
                fail::at(Point::HostUndoHalfSet);
            }
            let applied = self.registry.apply(write).await;
            let mut governor = self.governor();
            match applied {
                Ok(()) => governor.paid(write),
                Err(_) => governor.owe(&write.pool, &write.knob, boot_ns()),
            }
        }
        if !owed.is_empty() {
            fail::at(Point::HostUndoSet);
        }
        for pool in owed.iter().map(|write| &write.pool) {
            self.reread(pool).await;
        }
        self.sync_fuses();
    }

    /// Reads what is in effect right after something was set.
    async fn reread(&self, pool: &PoolName) {
        let deadline = tokio::time::Instant::now() + READ_TIME;
        let readings = self.registry.read(pool, deadline).await;
        self.governor().observe_effective(pool, &readings);
    }

    /// Arms the fuse of each pool with an open trial, and clears the others; and tells the parts whose knobs others decide about. An undo that a knob refuses clears the fuse all
    /// the same: it is tried again, and meanwhile the service goes on.
    fn sync_fuses(&self) {
        for (pool, _) in self.registry.pools() {
            let (ends_ns, steered) = {
                let governor = self.governor();
                (governor.trial_end_ns(pool), governor.is_steered(pool))
            };
            self.registry.set_fuse(pool, ends_ns);
            self.registry.set_steered(pool, steered);
        }
        self.wake.notify_one();
    }

    /// Sets all knobs or none. They are settled once the caller has committed what they were set for; should the call end in a
    /// bug before that, they go back.
    async fn set_all<'a>(&'a self, writes: &'a [Write]) -> Result<Unsettled<'a>, Refusal> {
        let unsettled = Unsettled {
            control: self,
            writes,
        };
        match self.registry.apply_all(writes).await {
            Ok(()) => Ok(unsettled),
            Err(failure) => {
                unsettled.settled();
                Err(self.failed(&failure))
            }
        }
    }

    /// Puts the fuses right after a change that came to nothing, and says so.
    fn failed(&self, failure: &Failure) -> Refusal {
        {
            let mut governor = self.governor();
            for (pool, knob) in &failure.unsettled {
                governor.owe(pool, knob, boot_ns());
            }
        }
        self.sync_fuses();
        let (knob, pool, why) = (&failure.knob, &failure.pool, &failure.why);
        let detail = format!("`{knob}` in pool `{pool}` was not set: {why}");
        let mut problem = Problem::new(ProblemKind::KnobFailed, detail);
        problem.pool = Some(failure.pool.clone());
        Box::new(problem)
    }
}

/// Knobs that may have values which are committed nowhere. When it is dropped as such, they are owed the values that are, so
/// that no half of a change is taken for somebody else's.
struct Unsettled<'a> {
    control: &'a Control,
    writes: &'a [Write],
}

impl Unsettled<'_> {
    fn settled(mut self) {
        self.writes = &[];
    }
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        let mut governor = self.control.governor();
        for write in self.writes {
            governor.owe(&write.pool, &write.knob, boot_ns());
        }
    }
}
