//! Starts, ends and deaths of either side.

use crate::support::{BRISK, SLOW, Service, Sidecar, until};
use trimtab_protocol::decision::{Absence, Reason};
use trimtab_protocol::view::Readiness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_host_is_waited_for() {
    let mut service = Service::absent();
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let status = sidecar
        .until_status("the absence", |status| {
            status.absent == Some(Absence::Unreachable)
        })
        .await;
    assert!(!status.summary.is_empty());
    assert_eq!(sidecar.get("/livez").await.0, 200);
    let (code, body) = sidecar.get("/readyz?verbose").await;
    let readiness: Readiness = serde_json::from_str(&body).unwrap();
    assert!(code == 503 && !readiness.ready, "{body}");
    service.listen();
    sidecar
        .until_status("the host", |status| {
            status.absent.is_none() && status.app == "shop"
        })
        .await;
    until("readiness", || async {
        (sidecar.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_host_is_watched_anew_and_gets_no_old_plan() {
    let mut service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let before = service.state().await.unwrap().instance;
    service.restart(SLOW).await;
    let after = service.state().await.unwrap();
    assert_ne!(before, after.instance);
    sidecar
        .until_status("a new warm-up", |status| {
            let decision = status
                .pools
                .get("web")
                .and_then(|pool| pool.decision.as_ref());
            status.instance.as_ref() == Some(&after.instance)
                && decision
                    .is_some_and(|decision| matches!(decision.reason, Reason::WarmingUp { .. }))
        })
        .await;
    let state = service.state().await.unwrap();
    assert_eq!(
        state.pools["web"].revision.0, 0,
        "nothing was changed in the new run yet"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_sidecars_one_acts_and_the_other_stands_by_until_it_dies() {
    let service = Service::start(BRISK);
    let mut first = Sidecar::start(&service, "first").await;
    first
        .until_status("the lease", |status| status.lease_ours)
        .await;
    let second = Sidecar::start(&service, "second").await;
    second
        .until_status("standing by", |status| {
            let decision = status
                .pools
                .get("web")
                .and_then(|pool| pool.decision.as_ref());
            decision.is_some_and(|decision| matches!(decision.reason, Reason::Standby { .. }))
        })
        .await;
    first.signal("KILL");
    first.ended().await;
    second
        .until_status("the lease taken over", |status| status.lease_ours)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_told_to_end_undoes_its_trial() {
    let service = Service::start(SLOW);
    let mut sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    sidecar.signal("TERM");
    let status = sidecar.ended().await;
    assert!(status.success(), "{status}: {}", sidecar.log());
    let state = service.state().await.unwrap();
    assert!(state.pools["web"].trial.is_none() && state.lease.is_none());
    assert_eq!(service.workers().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_undoes_the_trial_of_a_killed_sidecar_and_serves_on() {
    let service = Service::start(SLOW);
    let mut sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    sidecar.signal("KILL");
    sidecar.ended().await;
    service.until_no_trial().await;
    let state = service.state().await.unwrap();
    assert_eq!(service.workers().await, 2);
    let completed = state.pools["web"].counters.completed;
    until("the service to go on", || async {
        let now = service.state().await?.pools["web"].counters.completed;
        (now > completed).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_ledger_stops_changes_and_nothing_else() {
    let service = Service::start(BRISK);
    // A file where the ledger's directory should be: nothing can be written there.
    let ledger = service.directory.path().join("not-a-directory");
    std::fs::write(&ledger, "in the way").unwrap();
    let sidecar = Sidecar::start_with_ledger(&service, "sidecar", &ledger).await;
    sidecar
        .until_status("a change that was not sent", |status| {
            let decision = status
                .pools
                .get("web")
                .and_then(|pool| pool.decision.as_ref());
            decision.is_some_and(|decision| decision.reason == Reason::NotSent)
        })
        .await;
    assert_eq!(service.state().await.unwrap().pools["web"].revision.0, 0);
    let (_, body) = sidecar.get("/readyz?verbose").await;
    let readiness: Readiness = serde_json::from_str(&body).unwrap();
    assert!(readiness.checks.values().any(|check| !check.ok), "{body}");
}
