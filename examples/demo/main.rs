//! The whole product in one command: a service that was deployed with guesses, under load, without and with its sidecar.
//!
//! ```text
//! cargo run --release --example demo                   two phases of 30 s, then a table
//! cargo run --release --example demo -- --stay         goes on until Ctrl-C, and says where to look
//! cargo run --release --example demo -- --sweep        what each fixed size would have brought
//! ```
//!
//! It starts the reference host from its own binary, sends it requests over HTTP that arrive like those of real clients, and
//! counts what comes back in time. Then it does the same again, with the same requests, against a fresh host with the sidecar
//! beside it. Everything is on loopback addresses, and every process it starts ends with it.

mod client;
#[path = "../../xtask/src/inner_cargo.rs"]
mod inner_cargo;
mod load;
mod phase;
#[path = "../reference/reference.rs"]
mod reference;
mod report;
mod run;
mod sidecar;
mod sweep;
mod tally;
mod usage;

use clap::Parser;
use phase::Stage;
use reference::host::HostOptions;
use reference::settings::Guesses;
use reference::{DownstreamOptions, run_downstream};
use report::{PoolReport, Report};
use run::RunPlan;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: trimtab_host::memory::Jemalloc = trimtab_host::memory::Jemalloc;

/// Runs a service with guessed settings under load, first as it is and then with the sidecar, and compares.
#[derive(Clone, Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// How long the load runs in both phases together, in seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(6..=3600))]
    seconds: u64,
    /// Where to write what was found as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the host, the load and the sidecar running until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// Instead of the two phases: try fixed sizes of each pool, without a sidecar.
    #[arg(long, conflicts_with_all = ["stay", "json"])]
    sweep: bool,
    /// What chooses the requests; the same number yields the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the host starts with.
    #[command(flatten)]
    guesses: Guesses,
    /// What the service behind the host is like.
    #[command(flatten)]
    downstream: DownstreamOptions,
}

/// What this binary is in its child processes.
#[derive(Clone, Debug, clap::Subcommand)]
enum Role {
    /// The reference host.
    #[command(hide = true)]
    Host(Box<HostOptions>),
    /// The service behind it.
    #[command(hide = true)]
    Downstream(DownstreamOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut cli = Cli::parse();
    match cli.role.take() {
        Some(Role::Host(options)) => reference::host::run(&options).await,
        Some(Role::Downstream(options)) => run_downstream(&options).await,
        None => {
            let (mut terminate, mut interrupt) = (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            );
            // Whatever ends it, the processes that it started end when they are dropped.
            tokio::select! {
                done = compare_or_sweep(&cli) => done,
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            }
        }
    }
}

async fn compare_or_sweep(cli: &Cli) -> anyhow::Result<()> {
    if cli.sweep {
        return sweep::sweep(cli).await;
    }
    let plan = RunPlan {
        length: Duration::from_secs(cli.seconds) / 2,
        surge: load::SURGE,
        seed: cli.seed,
    };
    let workloads = load::Workload::all(sidecar::slo)?;
    let binary = sidecar::binary().await?;

    let stage = Stage::set(cli, None).await?;
    let mut fixed = stage.play(&workloads, plan, "1 of 2: as deployed").await?;
    stage.clear().await?;

    let stage = Stage::set(cli, Some(&binary)).await?;
    let meter = stage.sidecar_meter()?;
    let mut tuned = stage
        .play(&workloads, plan, "2 of 2: with the sidecar")
        .await?;
    let sidecar = meter.read()?;
    let mut changes = stage.changes().await?;

    let pools = workloads
        .iter()
        .filter_map(|workload| {
            let pool = workload.pool;
            let report = PoolReport {
                fixed: fixed.remove(pool)?,
                tuned: tuned.remove(pool)?,
                changes: changes.remove(pool)?.into(),
            };
            Some((pool, report))
        })
        .collect();
    let report = Report { pools, sidecar };
    say(&report.table())?;
    if let Some(path) = &cli.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if cli.stay {
        say(&stage.places())?;
        return stage.play_on(&workloads, plan).await;
    }
    stage.clear().await
}

/// Writes to the standard output, now.
fn say(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}
