//! What a start of the sidecar makes of the starts before it.

use crate::support::{SLOW, Service, Sidecar};
use std::collections::BTreeSet;
use trimtab_protocol::decision::Mode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_keeps_dying_only_watches_and_knows_what_was_before() {
    let service = Service::start(SLOW);
    let ledger = service.directory.path().join("ledger");
    for start in 1..5 {
        let name = format!("start-{start}");
        let sidecar = Sidecar::start_with_ledger(&service, &name, &ledger).await;
        let status = sidecar.until_status("the host", |status| status.absent.is_none());
        assert_eq!(status.await.mode, Mode::Act);
        sidecar.signal("KILL");
    }
    let sidecar = Sidecar::start_with_ledger(&service, "last", &ledger).await;
    let status = sidecar.until_status("the host", |status| status.absent.is_none());
    assert_eq!(status.await.mode, Mode::Observe);
    assert!(sidecar.log().contains("too many starts within a minute"));

    // The lease of the one before ends, and nobody takes it again.
    let service = &service;
    crate::support::until("the end of the lease", || async {
        service.state().await.filter(|state| state.lease.is_none())
    })
    .await;
    let entries = sidecar.decisions().await.entries;
    let boots: BTreeSet<String> = entries.into_iter().map(|entry| entry.id.boot).collect();
    assert!(boots.len() >= 3, "{boots:?}");
}
