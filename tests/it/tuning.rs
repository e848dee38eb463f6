//! The loop: a real host under real load, resized, with every decision explained.

use crate::support::{BRISK, SLOW, Service, Sidecar, operator};
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::view::{EntryBody, Samples};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starved_pool_is_resized_and_each_decision_is_explained() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let status = sidecar.until_status("eight workers that were kept", |status| {
        let pool = &status.pools["web"];
        pool.changes.kept >= 2 && pool.knobs["workers"].value.as_integer() >= Some(8)
    });
    let status = status.await;
    assert!(status.lease_ours);
    assert_eq!(
        (status.app.as_str(), status.pid),
        ("shop", Some(std::process::id()))
    );
    assert_eq!(status.conformance, 2);

    let entries = sidecar.decisions().await.entries;
    let mut tried = 0;
    for entry in &entries {
        assert!(!entry.text.is_empty(), "{entry:?}");
        if let EntryBody::Decision(decision) = &entry.body
            && decision.action == Action::Try
        {
            tried += 1;
            assert!(decision.change.is_some() && decision.expectation.is_some());
            assert!(
                decision.evidence.now.is_some() && !decision.bound_by.is_empty(),
                "{decision:?}"
            );
        }
    }
    assert!(tried >= 2);
    for kind in ["intent", "outcome"] {
        let found = entries.iter().filter(|entry| match &entry.body {
            EntryBody::Intent(_) => kind == "intent",
            EntryBody::Outcome(_) => kind == "outcome",
            EntryBody::Decision(_) | EntryBody::Command(_) | EntryBody::Reload(_) => false,
        });
        assert!(found.count() >= 4, "{kind}");
    }
    let samples: Samples = sidecar.json("/api/v1/hosts/shop/samples").await;
    let last = samples.samples.last().unwrap();
    assert!(last.rss_bytes > Some(0) && last.threads > Some(0) && last.cpu_cores.is_some());
    assert!(last.pools["web"].goodput_per_s.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_pin_during_a_trial_is_never_overwritten() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let pin = r#"{"value": 3, "for_ms": 600000}"#;
    let (status, body) = operator(&service, "PUT", "/trimtab/v1/pins/web/workers", Some(pin)).await;
    assert_eq!(status, 200, "{body}");
    sidecar
        .until_status("the foreign change to be noticed", |status| {
            let decision = status.pools["web"].decision.as_ref();
            decision.is_some_and(|decision| {
                matches!(
                    decision.reason,
                    Reason::TrialEnded { .. } | Reason::Yielding { .. } | Reason::Pinned { .. }
                )
            })
        })
        .await;
    assert_eq!(service.workers().await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_rolls_back_and_holds() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let (status, body) = operator(&service, "PUT", "/trimtab/v1/freeze", Some("{}")).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(service.workers().await, 2);
    let frozen = sidecar.until_status("the freeze to be seen", |status| {
        let decision = status.pools["web"].decision.as_ref();
        status.frozen && decision.is_some_and(|decision| decision.reason == Reason::Frozen)
    });
    frozen.await;
    assert_eq!(service.workers().await, 2);
}
