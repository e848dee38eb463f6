//! A phase's stage: a fresh host, perhaps with a sidecar beside it, and the load that is sent there.

use super::Cli;
use super::client::get_json_at;
use super::load::Workload;
use super::reference::child::Process;
use super::reference::host::HostAnnouncement;
use super::report::PhaseReport;
use super::run::{RunPlan, run};
use super::sidecar::Sidecar;
use super::usage::UsageMeter;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;
use tokio::process::Command;
use trimtab_protocol::name::PoolName;
use trimtab_protocol::state::HostState;
use trimtab_protocol::view::ChangeCounts;

/// Everything that runs during a phase.
#[derive(Debug)]
pub(crate) struct Stage {
    // In the order in which they are to end when they are dropped: who asks before who answers.
    sidecar: Option<Sidecar>,
    host: Process,
    announcement: HostAnnouncement,
    /// How long a background job may take, in milliseconds; it is fixed.
    job_timeout_ms: u64,
    /// Sockets, the sidecar's files, and its log.
    directory: TempDir,
}

impl Stage {
    /// Starts a host, and a sidecar if its binary is given.
    pub(crate) async fn set(cli: &Cli, sidecar: Option<&Path>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("trimtab-demo-").tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("host")
            .arg("--end-with-input")
            .arg("--socket-dir")
            .arg(directory.path())
            .arg(format!("--web={}", cli.guesses.web))
            .arg(format!("--api={}", cli.guesses.api))
            .arg(format!("--background={}", cli.guesses.background))
            .args(cli.downstream.to_args());
        let (host, announcement) = Process::start::<HostAnnouncement>(&mut command).await?;
        let sidecar = match sidecar {
            Some(binary) => {
                Some(Sidecar::start(binary, directory.path(), &announcement.socket).await?)
            }
            None => None,
        };
        Ok(Self {
            sidecar,
            host,
            announcement,
            job_timeout_ms: cli.guesses.background.timeout_ms,
            directory,
        })
    }

    /// Sends the load and says what came of it, by pool.
    pub(crate) async fn play(
        &self,
        workloads: &[Workload],
        plan: RunPlan,
        title: &'static str,
    ) -> anyhow::Result<BTreeMap<&'static str, PhaseReport>> {
        // While the sidecar is there its page is, and the bar says where.
        let sidecar = self.sidecar.as_ref();
        let title = sidecar.map_or_else(
            || title.to_owned(),
            |sidecar| format!("{title}, see http://{}/", sidecar.address),
        );
        let tallies = run(self.announcement.http, workloads, plan, title).await?;
        let state: HostState = get_json_at(&self.announcement.socket, "/trimtab/v1/state").await?;
        tallies
            .into_iter()
            .map(|(name, tally)| {
                let pool = state.pools.get(&PoolName::from(name));
                let pool = pool.with_context(|| format!("the host has no pool `{name}`"))?;
                let seconds = plan.length.as_secs_f64();
                Ok((
                    name,
                    PhaseReport::new(&tally, seconds, pool, self.job_timeout_ms),
                ))
            })
            .collect()
    }

    /// Sends the load again and again.
    pub(crate) async fn play_on(
        &self,
        workloads: &[Workload],
        plan: RunPlan,
    ) -> anyhow::Result<()> {
        for seed in plan.seed + 1.. {
            let plan = RunPlan { seed, ..plan };
            self.play(workloads, plan, "until Ctrl-C").await?;
        }
        Ok(())
    }

    /// A meter of what the sidecar uses from now on.
    pub(crate) fn sidecar_meter(&self) -> anyhow::Result<UsageMeter> {
        UsageMeter::of(self.sidecar()?.id()?)
    }

    /// What the sidecar did, by pool.
    pub(crate) async fn changes(&self) -> anyhow::Result<BTreeMap<String, ChangeCounts>> {
        let status = self.sidecar()?.status().await?;
        Ok(status
            .pools
            .into_iter()
            .map(|(name, pool)| (name.as_str().to_owned(), pool.changes))
            .collect())
    }

    /// Where everything is, for people.
    pub(crate) fn places(&self) -> String {
        let mut text = format!(
            "\nhost      http://{}/pages/7\nsocket    {}\nfiles     {}\n",
            self.announcement.http,
            self.announcement.socket.display(),
            self.directory.path().display()
        );
        if let Some(sidecar) = &self.sidecar {
            let address = sidecar.address;
            text += &format!(
                "sidecar   http://{address}/\nstatus    http://{address}/api/v1/hosts/reference/status\n"
            );
        }
        text + "The load goes on; Ctrl-C ends everything.\n"
    }

    /// Ends everything in order.
    pub(crate) async fn clear(self) -> anyhow::Result<()> {
        if let Some(sidecar) = self.sidecar {
            sidecar.end().await?;
        }
        self.host.end().await
    }

    fn sidecar(&self) -> anyhow::Result<&Sidecar> {
        self.sidecar.as_ref().context("there is no sidecar")
    }
}
