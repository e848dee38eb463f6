//! The control side and a real pool together.

use crate::client::Calls;
use crate::part::Fake;
use crate::{Bench, LONG};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;
use trimtab_host::pool::Pool;
use trimtab_protocol::change::{ChangeReceipt, ChangeStatus};
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::state::PoolState;

/// Asks for the state until the pool is as it should be.
fn wait_for(bench: &Bench, is_so: impl Fn(&PoolState) -> bool) -> PoolState {
    let patience = LONG.as_millis() / 10;
    for _ in 0..patience {
        let state = bench.state().pools.remove("jobs").expect("there");
        if is_so(&state) {
            return state;
        }
        crate::trial::pause(10);
    }
    panic!("it never comes: {:?}", bench.state().pools["jobs"]);
}

#[test]
fn a_pool_grows_on_trial_and_shrinks_again_without_breaking_off_work() {
    let service = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pool = Pool::builder("jobs")
        .workers(2, 1..=16)
        .build()
        .expect("sensible bounds");
    let part = Arc::new(pool.clone());
    let bench = Bench::with(|builder| builder.part(part));
    let gate = Arc::new(Semaphore::new(0));
    let work: Vec<_> = (0..4)
        .map(|_| {
            let (pool, gate) = (pool.clone(), Arc::clone(&gate));
            service.spawn(async move {
                let worked = pool.run(async { gate.acquire().await.map(drop) }).await;
                worked.is_ok_and(|passed| passed.is_ok())
            })
        })
        .collect();
    let state = wait_for(&bench, |pool| pool.gauges.queued == Some(2));
    assert_eq!(state.gauges.busy, Some(2));

    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let mut body = bench.planned(1_000, &json!({ "workers": 4 }));
    body["pool"] = json!("jobs");
    body["base_revision"] = json!(state.revision);
    let receipt: ChangeReceipt = bench.sidecar("POST", "/changes", &body).ok();
    assert_eq!(receipt.status, ChangeStatus::Trial);
    wait_for(&bench, |pool| {
        pool.gauges.busy == Some(4) || pool.trial.is_none()
    });

    let state = wait_for(&bench, |pool| pool.trial.is_none());
    assert_eq!(state.knobs["workers"].value.as_integer(), Some(2));
    assert_eq!(
        state.gauges.busy,
        Some(4),
        "nothing in flight is interrupted"
    );
    assert!(state.settling);

    gate.add_permits(4);
    let done = service.block_on(async {
        let mut done = 0;
        for task in work {
            done += u32::from(task.await.expect("it ends"));
        }
        done
    });
    assert_eq!(done, 4);
    let state = wait_for(&bench, |pool| !pool.settling);
    assert_eq!(state.counters.completed, Some(4));
}

#[test]
fn a_pools_bounds_are_the_hosts_bounds() {
    let pool = Pool::builder("jobs")
        .workers(2, 1..=3)
        .build()
        .expect("sensible");
    let bench = Bench::with(|builder| builder.part(Arc::new(pool)).part(Fake::new("other")));
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let mut body = bench.planned(1_000, &json!({ "workers": 4 }));
    body["pool"] = json!("jobs");
    let allowed = bench.sidecar("POST", "/changes", &body).problem().allowed;
    assert_eq!(
        allowed.map(|allowed| (allowed.min, allowed.max)),
        Some((1, 3))
    );
}
