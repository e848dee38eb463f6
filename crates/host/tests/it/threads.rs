//! The control side and a pool of real threads together.

use crate::client::Calls;
use crate::{Bench, LONG};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::channel;
use trimtab_host::threads::{Scaling, ThreadPool};
use trimtab_protocol::change::{ChangeReceipt, Phase};
use trimtab_protocol::lease::LeaseGrant;
use trimtab_protocol::state::PoolKind;

fn pool() -> ThreadPool {
    ThreadPool::builder("hash")
        .kind(PoolKind::Api)
        .workers(2, 1..=8)
        .scaling(Scaling::Never)
        .build()
        .expect("a valid pool")
}

fn change(bench: &Bench, trial_ms: u64, set: &Value) -> ChangeReceipt {
    let mut body = bench.planned(trial_ms, set);
    body["pool"] = json!("hash");
    body["base_revision"] = json!(bench.state().pools["hash"].revision);
    bench.sidecar("POST", "/changes", &body).ok()
}

#[test]
fn a_pool_of_threads_is_tuned_like_any_other() {
    let pool = pool();
    let bench = Bench::with(|builder| builder.part(Arc::new(pool.clone())));
    let hash = bench.state().pools.remove("hash").expect("there");
    assert_eq!(hash.kind, PoolKind::Api);
    let knobs: Vec<_> = hash.knobs.keys().map(|name| name.as_str()).collect();
    assert_eq!(knobs, ["queue_limit", "timeout_ms", "workers"]);
    bench.lease("a", 30_000).ok::<LeaseGrant>();
    let receipt = change(
        &bench,
        60_000,
        &json!({ "workers": 4, "timeout_ms": 20_000 }),
    );
    assert_eq!(receipt.knobs["workers"].effective.as_integer(), Some(4));
    assert_eq!(pool.stats().threads, 4);

    let ((go, gone), (met, meets)) = (channel::<()>(), channel());
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let jobs: Vec<_> = (0..4)
        .map(|_| {
            let (gone, met) = (Arc::clone(&gone), met.clone());
            let job = move || {
                met.send(()).expect("it listens");
                drop(gone.lock().map(|gone| gone.recv()));
            };
            pool.submit(job).expect("room")
        })
        .collect();
    (0..4).for_each(|_| meets.recv_timeout(LONG).expect("all four run at once"));
    assert_eq!(bench.state().pools["hash"].gauges.busy, Some(4));

    let body = json!({
        "instance": bench.state().instance, "epoch": receipt_epoch(&bench), "pool": "hash",
    });
    let path = format!("/changes/{}/rollback", bench.state().generation);
    bench.sidecar("POST", &path, &body).ok::<ChangeReceipt>();
    let hash = bench.state().pools.remove("hash").expect("there");
    assert_eq!(hash.knobs["workers"].value.as_integer(), Some(2));
    assert_eq!((hash.phase, hash.settling), (Phase::Baseline, true));
    assert_eq!(
        hash.gauges.busy,
        Some(4),
        "nothing in flight is interrupted"
    );
    drop(go);
    jobs.into_iter().for_each(|job| job.wait().expect("done"));
    let mut tries = 0;
    while bench.state().pools["hash"].settling {
        crate::trial::pause(10);
        tries += 1;
        assert!(tries < 3_000, "{:?}", bench.state().pools["hash"]);
    }
    let counters = bench.state().pools.remove("hash").expect("there").counters;
    assert_eq!((counters.arrived, counters.completed), (Some(4), Some(4)));
}

fn receipt_epoch(bench: &Bench) -> Value {
    json!(bench.state().epoch)
}

#[test]
fn a_part_is_told_when_someone_begins_and_ceases_to_decide_about_its_knobs() {
    let bench = Bench::new();
    let told = || bench.part.next_steered();
    let grant: LeaseGrant = bench.lease("a", 30_000).ok();
    assert!(told());
    let body = json!({ "instance": bench.host.instance(), "epoch": grant.epoch });
    bench.sidecar("DELETE", "/lease", &body);
    assert!(!told());
    bench.operator("PUT", "/freeze", Some(&json!({ "reason": "a test" })));
    assert!(told());
    bench.operator("DELETE", "/freeze", None);
    assert!(!told());
    let pin = json!({ "value": 8, "for_ms": 60_000 });
    let pinned = bench.operator("PUT", "/pins/web/workers", Some(&pin));
    assert_eq!(pinned.status, 200, "{pinned:?}");
    assert!(told());
}
