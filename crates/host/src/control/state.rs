//! The state: one consistent read.

use super::Control;
use crate::process;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trimtab_protocol::API_VERSION;
use trimtab_protocol::state::{HostState, feature};
use trimtab_sys::clock::boot_ns;

/// How long all knobs together may take to be read for a state; after that, what was last known is shown.
const READ_TIME: Duration = Duration::from_millis(20);

const FEATURES: [&str; 5] = [
    feature::CHANGES,
    feature::LEASE,
    feature::FREEZE,
    feature::PINS,
    feature::RESET,
];

impl Control {
    /// Everything that a sidecar needs to know, at one moment.
    pub(crate) async fn state(&self) -> HostState {
        self.look().await;
        let now_ns = boot_ns();
        let process = process::figures(&self.runtimes, self.registry.kit_failures());
        let disabled = self.is_switched_off();
        let identity = &self.identity;
        let governor = self.governor();
        let mut pools = governor.pool_states(now_ns);
        for (name, kind) in self.registry.pools() {
            let Some(pool) = pools.get_mut(name) else {
                continue;
            };
            let figures = self.registry.figures(name, now_ns);
            pool.kind = kind;
            pool.counters = figures.counters;
            pool.gauges = figures.gauges;
            pool.histograms = figures.histograms;
            for (knob, state) in &mut pool.knobs {
                state.persists = self.registry.persists(name, knob);
            }
        }
        HostState {
            api: API_VERSION,
            features: FEATURES.map(str::to_owned).to_vec(),
            app: identity.app.clone(),
            version: identity.version.clone(),
            labels: identity.labels.clone(),
            instance: governor.instance().clone(),
            at_ns: now_ns,
            pid: std::process::id(),
            uptime_ms: now_ns.saturating_sub(identity.started_ns) / 1_000_000,
            epoch: governor.epoch(),
            generation: governor.generation(),
            lease: governor.lease_state(now_ns),
            frozen: governor.is_frozen(),
            freeze_persistent: self.freeze_persistent.load(Ordering::Acquire),
            control_disabled: disabled,
            process,
            pools,
        }
    }

    /// Reads the knobs. While a change is under way they are in between, and only what is in effect is taken from them;
    /// otherwise a target that is not ours is someone else's, and is adopted.
    async fn look(&self) {
        let turn = self.turn.try_lock();
        let deadline = tokio::time::Instant::now() + READ_TIME;
        for (pool, _) in self.registry.pools() {
            let readings = self.registry.read(pool, deadline).await;
            let mut governor = self.governor();
            if turn.is_ok() {
                governor.observe(pool, &readings);
            } else {
                governor.observe_effective(pool, &readings);
            }
        }
        drop(turn);
        // What was adopted may have ended a trial, whose other values are now to be undone.
        let due = self.governor().next_due();
        if due.is_some_and(|due| due.at_ns <= boot_ns()) {
            self.wake.notify_one();
        }
    }
}
