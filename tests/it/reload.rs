//! Files that are edited while the sidecar runs.

use crate::hands::{done, tell};
use crate::support::{BRISK, SLOW, Service, Sidecar, until};
use std::path::{Path, PathBuf};
use trimtab_protocol::configuration::{ConfigurationStatus, ReloadResult};
use trimtab_protocol::decision::Reason;
use trimtab_protocol::view::{EntryBody, Readiness};

/// A profile in a file of its own, which the sidecar reads in place of the built-in one.
fn write_web(directory: &Path, workers_max: u64, comment: &str) -> PathBuf {
    let profiles = directory.join("profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    let text = include_str!("../../profiles/web.toml");
    let text = text.replace("start = 10\n", "start = 2\n");
    let text = text.replace("min = 10\n", "min = 1\n");
    let text = text.replace("max = 100\n", &format!("{comment}max = {workers_max}\n"));
    let path = profiles.join("web.toml");
    // As an editor does it.
    std::fs::write(profiles.join("web.toml~"), text).unwrap();
    std::fs::rename(profiles.join("web.toml~"), &path).unwrap();
    path
}

/// Every pool follows the profile of the file.
async fn start(service: &Service, workers_max: u64) -> Sidecar {
    let directory = service.directory.path();
    write_web(directory, workers_max, "");
    let drop_ins = directory.join("sidecar.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(
        drop_ins.join("pools.toml"),
        "profiles = \"profiles\"\n[[hosts]]\npools = { web = \"web\" }\n",
    )
    .unwrap();
    Sidecar::start(service, "sidecar").await
}

fn line_of(path: &Path, text: &str) -> u32 {
    let file = std::fs::read_to_string(path).unwrap();
    let index = file.lines().position(|line| line == text).unwrap();
    u32::try_from(index).unwrap() + 1
}

async fn status(sidecar: &Sidecar) -> ConfigurationStatus {
    sidecar.json("/api/v1/configuration").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_is_edited_is_cited_by_file_and_line_in_the_next_decision() {
    let service = Service::start(SLOW);
    let sidecar = start(&service, 2).await;
    let directory = service.directory.path();
    let path = directory.join("profiles/web.toml");
    let cites = |bound: u64, line: u32| {
        let (sidecar, path) = (&sidecar, &path);
        async move {
            let status = sidecar.status().await?;
            let decision = status.pools["web"].decision.clone()?;
            let by = decision.bound_by.first()?.clone();
            let at_bound =
                matches!(&decision.reason, Reason::AtBound { bound: at, .. } if *at == bound);
            (at_bound && Path::new(&by.file) == path && by.line == line).then_some(by.key)
        }
    };
    let before = line_of(&path, "max = 2");
    let key = until("a decision that cites the old line", || cites(2, before)).await;
    assert_eq!(key, "workers.max");

    // The bound moves by one worker and by two lines.
    write_web(directory, 3, "# Tried\n# and found good.\n");
    let after = line_of(&path, "max = 3");
    assert_eq!(after, before + 2);
    until("a decision that cites the new line", || cites(3, after)).await;

    let entries = sidecar.decisions().await.entries;
    let reload = entries.iter().find_map(|entry| match &entry.body {
        EntryBody::Reload(reload) => Some((reload, &entry.text)),
        _ => None,
    });
    let (reload, text) = reload.unwrap();
    assert_eq!(reload.result, ReloadResult::Applied);
    let change = &reload.changes[0];
    assert_eq!(change.key, "profile.web.workers.max");
    assert_eq!(
        (change.from.as_deref(), change.to.as_deref()),
        (Some("2"), Some("3"))
    );
    assert_eq!(change.set_by.as_ref().map(|by| by.line), Some(after));
    assert!(
        text.contains("profile.web.workers.max from 2 to 3"),
        "{text}"
    );
    // No tick was left out for it.
    let (_, metrics) = sidecar.get("/metrics").await;
    assert!(
        metrics.contains("trimtab_config_reloads_total{result=\"applied\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("trimtab_config_valid 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_mistakes_leave_the_last_good_set_in_force_and_are_told() {
    let service = Service::start(BRISK);
    let sidecar = start(&service, 64).await;
    let path = service.directory.path().join("profiles/web.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("max = 64\n", "max = 6x4\n")).unwrap();
    let refused = until("a refusal", || async {
        let status = status(&sidecar).await;
        (status.refused == 1).then_some(status)
    });
    let refused = refused.await;
    assert_eq!(refused.problems.len(), 1);
    assert!(refused.problems[0].file.ends_with("web.toml"));
    let ready: Readiness = sidecar.json("/readyz?verbose").await;
    let check = &ready.checks["configuration"];
    assert!(
        ready.ready && check.text.contains("the last good set is in force"),
        "{check:?}"
    );
    assert!(sidecar.log().contains("max = 6x4"), "{}", sidecar.log());
    let pool = sidecar.until_status("the old bound", |status| status.pools.contains_key("web"));
    assert_eq!(pool.await.pools["web"].knobs["workers"].max, 64);

    std::fs::write(&path, good.replace("max = 64\n", "max = 32\n")).unwrap();
    let pool = sidecar.until_status("the new bound", |status| {
        status.pools["web"].knobs["workers"].max == 32
    });
    pool.await;
    assert!(status(&sidecar).await.problems.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_moved_far_waits_and_a_key_that_needs_a_restart_is_told() {
    let service = Service::start(BRISK);
    let sidecar = start(&service, 20).await;
    let directory = service.directory.path();
    write_web(directory, 2_000, "");
    let waiting = until("a set that waits", || async {
        let status = status(&sidecar).await;
        (!status.waiting.is_empty()).then_some(status.waiting)
    });
    let waiting = waiting.await;
    assert_eq!(waiting[0].key, "profile.web.workers.max");
    assert!(waiting[0].drastic);
    let (_, metrics) = sidecar.get("/metrics").await;
    assert!(metrics.contains("trimtab_config_waiting 1"), "{metrics}");
    let pool = sidecar.until_status("the pool", |status| status.pools.contains_key("web"));
    assert_eq!(pool.await.pools["web"].knobs["workers"].max, 20);

    write_web(directory, 20, "");
    std::fs::write(
        directory.join("sidecar.d/log.toml"),
        "[log]\nlevel = \"debug\"\n",
    )
    .unwrap();
    let told = until("a key that needs a restart", || async {
        let status = status(&sidecar).await;
        (status.needs_restart == ["log.level"]).then_some(status)
    });
    assert!(told.await.waiting.is_empty());
}

/// The bound of the workers of `web` that is in force.
async fn workers_max(sidecar: &Sidecar) -> Option<u64> {
    let status = sidecar.status().await?;
    Some(status.pools.get("web")?.knobs["workers"].max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_approves_or_rejects_what_waits_and_the_ledger_says_who() {
    let service = Service::start(BRISK);
    let sidecar = start(&service, 8).await;
    let directory = service.directory.path();
    let until_max = async |max: u64| {
        let what = format!("{max} workers at most");
        until(&what, || async {
            workers_max(&sidecar).await.filter(|it| *it == max)
        })
        .await
    };
    let until_waiting = async || {
        until("a set that waits", || async {
            let status = status(&sidecar).await;
            (!status.waiting.is_empty()).then_some(())
        })
        .await;
    };
    until_max(8).await;
    let (code, _, err) = tell(&service, "approve").await;
    assert!(code == 1 && err.contains("no configuration waits"), "{err}");

    write_web(directory, 60, "");
    until_waiting().await;
    let receipt = done(&service, "approve --dry-run").await;
    let key = "profile.web.workers.max";
    assert!(
        receipt.dry_run && receipt.text.contains(key),
        "{}",
        receipt.text
    );
    assert_eq!(workers_max(&sidecar).await, Some(8));
    let receipt = done(&service, "approve").await;
    assert!(
        receipt.recorded && receipt.text.contains(key),
        "{}",
        receipt.text
    );
    until_max(60).await;

    write_web(directory, 3, "");
    until_waiting().await;
    done(&service, "reject").await;
    assert!(status(&sidecar).await.waiting.is_empty());
    assert_eq!(workers_max(&sidecar).await, Some(60));
    // What was rejected can be mended.
    write_web(directory, 50, "");
    until_max(50).await;

    let entries = sidecar.decisions().await.entries;
    let told = entries.iter().filter_map(|entry| match &entry.body {
        EntryBody::Reload(reload) => Some(format!("{:?}", reload.result)),
        EntryBody::Command(command) => Some(command.asked.word().to_owned()),
        EntryBody::Decision(_) | EntryBody::Intent(_) | EntryBody::Outcome(_) => None,
    });
    let told: Vec<String> = told.collect();
    // A command's line comes after what it brought about.
    let order = [
        "approve", "Waiting", "approve", "Approved", "approve", "Waiting", "Rejected", "reject",
        "Applied",
    ];
    assert_eq!(told, order);
    let (_, metrics) = sidecar.get("/metrics").await;
    for result in ["approved", "rejected"] {
        let line = format!("trimtab_config_reloads_total{{result=\"{result}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("trimtab_config_waiting 0"), "{metrics}");
}
