//! Reload: takes new sets of configuration files to the controller while it runs.
//!
//! A set is taken whole or not at all. One with a mistake is refused, one that moves limits far waits for an operator's word,
//! and what was in force before stays so meanwhile. The controller takes new settings over between two ticks, so none is
//! missed. Each set is told of: in the log, in the ledger, in the status.
//!
//! Nothing here reads a file or decides about a pool.

use crate::clock::Clock;
use crate::config::{Config, ConfigErrors, NewSet, changes};
use crate::message::{About, Adopt, Recorded, Ruling};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};
use trimtab_core::profile::Settings;
use trimtab_protocol::configuration::{
    ConfigurationStatus, ReloadRecord, ReloadResult, SettingChange, Watching,
};

/// The most mistakes that the status and the ledger tell; the log and `trimtab check` tell all.
const PROBLEMS_TOLD: usize = 20;
/// The most changed keys that they tell.
const CHANGES_TOLD: usize = 100;

/// The stage that keeps the configuration.
#[derive(Debug)]
pub struct Reload {
    /// What the sidecar was started with: what cannot change while it runs stays so.
    started: Config,
    /// The newest set that was taken.
    taken: Config,
    /// A set that waits for an operator's word.
    waiting: Option<Config>,
    /// The newest set that was taken, for those who show it.
    in_force: watch::Sender<Arc<Config>>,
    status: ConfigurationStatus,
    settings: mpsc::Sender<Adopt>,
    records: mpsc::Sender<Recorded>,
    clock: Arc<dyn Clock>,
}

impl Reload {
    /// Keeps the configuration that the sidecar was started with.
    #[must_use]
    pub fn new(
        started: Config,
        settings: mpsc::Sender<Adopt>,
        records: mpsc::Sender<Recorded>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let status = ConfigurationStatus {
            files: shown(&started),
            in_force_since_ms: clock.wall_ms(),
            ..ConfigurationStatus::default()
        };
        Self {
            taken: started.clone(),
            in_force: watch::Sender::new(Arc::new(started.clone())),
            started,
            waiting: None,
            status,
            settings,
            records,
            clock,
        }
    }

    /// Where the configuration in force is shown.
    #[must_use]
    pub fn in_force(&self) -> watch::Receiver<Arc<Config>> {
        self.in_force.subscribe()
    }

    /// Takes sets and rulings until it is told to stop.
    pub(crate) async fn run(
        mut self,
        sets: Option<mpsc::Receiver<NewSet>>,
        mut rulings: mpsc::Receiver<Ruling>,
        stop: impl Future<Output = ()>,
    ) {
        if sets.is_some() {
            self.status.watching = Watching::Events;
        }
        // Without a watch the channel is closed, and its arm rests.
        let mut sets = sets.unwrap_or_else(|| mpsc::channel(1).1);
        self.tell(None).await;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(ruling) = rulings.recv() => self.rule(ruling).await,
                Some(set) = sets.recv() => self.consider(set).await,
            }
        }
    }

    async fn consider(&mut self, set: NewSet) {
        self.status.watching = set.watching;
        match set.loaded.result {
            Err(errors) => self.refuse(&errors).await,
            Ok(config) => {
                let changes = changes(&self.taken, &config);
                self.status.problems.clear();
                if changes.iter().any(|change| change.drastic) {
                    self.hold_back(config, changes).await;
                } else if changes.is_empty() && self.waiting.take().is_some() {
                    self.status.waiting.clear();
                    info!("the configuration's files say again what is in force");
                    self.adopt(config).await;
                    self.tell(Some((ReloadResult::Withdrawn, changes))).await;
                } else {
                    self.take(config, changes, ReloadResult::Applied).await;
                }
            }
        }
    }

    async fn refuse(&mut self, errors: &ConfigErrors) {
        self.status.problems = errors.problems();
        self.status.problems.truncate(PROBLEMS_TOLD);
        self.status.refused += 1;
        if self.waiting.take().is_some() {
            // An operator would approve what no file says any more.
            self.status.waiting.clear();
            info!(
                "the configuration that waited for approval is dropped: the files have changed since"
            );
        }
        warn!(%errors, "the new configuration was refused, and the last good one stays in force");
        self.tell(Some((ReloadResult::Refused, Vec::new()))).await;
    }

    async fn hold_back(&mut self, config: Config, changes: Vec<SettingChange>) {
        let keys: Vec<String> = drastic(&changes).collect();
        warn!(
            keys = keys.join(", "),
            "the new configuration moves limits far and waits for an operator's approval"
        );
        self.waiting = Some(config);
        self.status.waiting = changes.iter().take(CHANGES_TOLD).cloned().collect();
        self.tell(Some((ReloadResult::Waiting, changes))).await;
    }

    async fn take(&mut self, config: Config, changes: Vec<SettingChange>, result: ReloadResult) {
        self.waiting = None;
        self.status.waiting.clear();
        self.adopt(config).await;
        self.status.applied += 1;
        self.status.in_force_since_ms = self.clock.wall_ms();
        if !self.status.needs_restart.is_empty() {
            let keys = self.status.needs_restart.join(", ");
            warn!(keys, "these keys take effect only after a restart");
        }
        let count = changes.len();
        info!(changes = count, "a new configuration is in force");
        self.tell(Some((result, changes))).await;
    }

    /// Gives the settings to the controller and waits until it has them.
    async fn adopt(&mut self, config: Config) {
        let (done, adopted) = oneshot::channel();
        let settings = Box::new(self.live(&config.settings));
        let sent = self.settings.send(Adopt { settings, done }).await.is_ok();
        if !(sent && adopted.await.is_ok()) {
            warn!("the control loop has ended and takes no new settings");
        }
        let since_start = changes(&self.started, &config);
        let restart = since_start
            .into_iter()
            .filter(|change| change.needs_restart);
        self.status.needs_restart = restart.map(|change| change.key).collect();
        self.status.files = shown(&config);
        self.in_force.send_replace(Arc::new(config.clone()));
        self.taken = config;
    }

    /// New settings, with what cannot change while the sidecar runs as it was.
    fn live(&self, new: &Settings) -> Settings {
        let started = &self.started.settings;
        Settings {
            host: started.host.clone(),
            mode: new.mode,
            holder: started.holder.clone(),
            interval: started.interval,
            profiles: new.profiles.clone(),
            assigned: new.assigned.clone(),
        }
    }

    /// An operator's word on the set that waits.
    async fn rule(&mut self, ruling: Ruling) {
        let answer = self.ruled(&ruling).await;
        // Who asked may have gone.
        drop(ruling.answer.send(answer));
    }

    async fn ruled(&mut self, ruling: &Ruling) -> Result<String, String> {
        let Some(config) = &self.waiting else {
            return Err("no configuration waits for approval".to_owned());
        };
        let changes = changes(&self.taken, config);
        let count = changes.len();
        let keys = drastic(&changes).collect::<Vec<_>>().join(", ");
        let count = match count {
            1 => "1 changed key".to_owned(),
            count => format!("{count} changed keys"),
        };
        let word = if ruling.approve { "approve" } else { "reject" };
        if ruling.dry_run {
            return Ok(format!("would {word} {count}, far: {keys}"));
        }
        let Some(config) = self.waiting.take() else {
            return Err("no configuration waits for approval".to_owned());
        };
        if ruling.approve {
            self.take(config, changes, ReloadResult::Approved).await;
            return Ok(format!("in force: {count}, far: {keys}"));
        }
        self.status.waiting.clear();
        info!("an operator rejected the configuration that waited");
        self.tell(Some((ReloadResult::Rejected, changes))).await;
        Ok(format!(
            "rejected: {count}; mend the files, or the next change of them asks again"
        ))
    }

    /// Publishes how it stands, with an entry where something came of files.
    async fn tell(&mut self, reload: Option<(ReloadResult, Vec<SettingChange>)>) {
        let reload = reload.map(|(result, mut changes)| {
            changes.truncate(CHANGES_TOLD);
            ReloadRecord {
                result,
                changes,
                problems: self.status.problems.clone(),
            }
        });
        let about = About {
            host: self.started.settings.host.clone(),
            instance: None,
            pool: None,
            at: self.clock.now(),
            at_ms: self.clock.wall_ms(),
        };
        let status = Arc::new(self.status.clone());
        let recorded = Recorded::Configuration {
            about,
            status,
            reload,
        };
        if self.records.send(recorded).await.is_err() {
            warn!("a reload of the configuration could not be recorded");
        }
    }
}

/// The changes that move far, each with both its values.
fn drastic(changes: &[SettingChange]) -> impl Iterator<Item = String> {
    let far = changes.iter().filter(|change| change.drastic);
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    far.map(move |SettingChange { key, from, to, .. }| {
        format!("{key} {} -> {}", value(from), value(to))
    })
}

fn shown(config: &Config) -> Vec<String> {
    let files = config.files.iter();
    files.map(|file| file.display().to_string()).collect()
}

#[cfg(test)]
mod tests;
