//! What fixed sizes would have brought: the same load against fresh hosts, each with other workers in one pool.
//!
//! It shows what there is to find for the sidecar, and that no size is good for long under a load that shifts.

use super::phase::Stage;
use super::reference::settings::PoolSettings;
use super::report::{header, phase_row};
use super::run::RunPlan;
use super::{Cli, load, say, sidecar};
use std::time::Duration;

/// What is tried for web and api; background keeps its guess.
const WEB: [u64; 6] = [4, 8, 16, 32, 64, 128];
const API: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// Tries a size of web and one of api in each run, for the two do not share what limits them.
pub(crate) async fn sweep(cli: &Cli) -> anyhow::Result<()> {
    let runs = u32::try_from(WEB.len())?;
    let plan = RunPlan {
        length: Duration::from_secs(cli.seconds) / runs,
        surge: load::SURGE,
        seed: cli.seed,
    };
    let workloads = load::Workload::all(sidecar::slo)?;
    say(&header())?;
    for (web, api) in WEB.into_iter().zip(API) {
        let mut cli = cli.clone();
        let with = |settings: PoolSettings, workers| PoolSettings {
            workers,
            ..settings
        };
        cli.guesses.web = with(cli.guesses.web, web);
        cli.guesses.api = with(cli.guesses.api, api);
        let stage = Stage::set(&cli, None).await?;
        for (pool, report) in stage.play(&workloads, plan, "fixed sizes").await? {
            say(&phase_row(pool, "fixed", &report))?;
        }
        stage.clear().await?;
    }
    Ok(())
}
