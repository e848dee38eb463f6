//! Knobs beyond a pool's size on a real host: the memory level of its process, and a pool of objects.

use crate::support::{BRISK, Service, Sidecar, until};
use std::sync::Arc;
use trimtab_host::memory::{Memory, MemoryLevel};
use trimtab_host::object_pool::ObjectPool;
use trimtab_host::pool::Pool;
use trimtab_protocol::decision::{Action, Reason};
use trimtab_protocol::state::PoolKind;
use trimtab_protocol::view::EntryBody;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecar_sets_what_the_profiles_name_and_says_by_which_line() {
    let mut service = Service::absent();
    let memory = Memory::detect().unwrap();
    let buffers = ObjectPool::<Vec<u8>>::builder("page-buffers", Vec::new)
        .kind(PoolKind::Web)
        .objects(8, 1..=1_000)
        .build()
        .unwrap();
    let (level, objects) = (memory.clone(), buffers.clone());
    service.listen_as(|builder| builder.part(Arc::new(memory)).part(Arc::new(buffers)));
    service.arrive(BRISK);
    assert_eq!(level.level(), MemoryLevel::Conservative);

    // The process is told to be like a background job; the buffers follow the profile of their kind.
    let tables = "[hosts.pools]\nprocess = \"background\"\n";
    let sidecar = Sidecar::start_with(&service, "sidecar", tables).await;
    let status = sidecar.until_status("the values of the profiles, kept", |status| {
        let kept = |pool: &str, knob: &str, value: &str| {
            let pool = status.pools.get(pool);
            pool.is_some_and(|pool| {
                pool.changes.kept > 0 && pool.knobs[knob].effective.to_string() == value
            })
        };
        kept("process", "memory_level", "aggressive") && kept("page-buffers", "object_pool", "100")
    });
    let status = status.await;
    assert_eq!(status.pools["process"].profile, "background");
    assert_eq!(status.pools["page-buffers"].profile, "web");
    assert_eq!(level.level(), MemoryLevel::Aggressive);
    drop((0..100).map(|_| objects.take()).collect::<Vec<_>>());
    assert_eq!(objects.kept(), 100, "the pool keeps what it was told to");

    let kept =
        r#"trimtab_pool_figure{host="shop",pool="page-buffers",figure="object_pool_kept"} 100"#;
    until("the pool's own figures among the metrics", || async {
        sidecar.get("/metrics").await.1.contains(kept).then_some(())
    })
    .await;

    let entries = sidecar.decisions().await.entries;
    let decided = |pool: &str, action: Action| {
        entries.iter().find_map(|entry| match &entry.body {
            EntryBody::Decision(decision)
                if decision.action == action
                    && entry
                        .pool
                        .as_ref()
                        .is_some_and(|name| name.as_str() == pool) =>
            {
                Some((decision.clone(), entry.text.clone()))
            }
            _ => None,
        })
    };
    for pool in ["process", "page-buffers"] {
        let (tried, text) = decided(pool, Action::Try).unwrap();
        assert_eq!(tried.reason, Reason::ProfileSets);
        assert!(text.contains("profile"), "{text}");
        let line = &tried.bound_by[0];
        assert!(
            line.key.starts_with("other_knobs.") && line.line > 0,
            "{line}"
        );
        assert_eq!(
            decided(pool, Action::Confirm).unwrap().0.reason,
            Reason::TookEffect
        );
    }
}

/// Eight of 24 workers are busy and nothing waits, so that there is nothing to try but what the author of the profile asks for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_the_profile_is_followed_and_cited_by_its_line() {
    let mut service = Service::absent();
    service.pool = Pool::builder("web")
        .kind(PoolKind::Web)
        .workers(24, 1..=64)
        .queue_limit(8, 1..=1_000)
        .timeout_ms(2_000, 100..=60_000)
        .build()
        .unwrap();
    service.listen();
    service.arrive(BRISK);
    let profiles = service.directory.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    let shipped = include_str!("../../profiles/web.toml");
    let own = shipped.split("# Rules:").next().unwrap();
    let when = "busy < 70% * workers";
    let text = format!(
        "{own}[[triggers]]\nwhen = \"{when}\"\ndo = \"shrink\"\nlasting = \"1s\"\nbecause = \"many of them idle\"\nbenefit \
         = \"contention\"\n"
    );
    std::fs::write(profiles.join("web.toml"), &text).unwrap();
    let line = text.lines().position(|line| line.starts_with("when = "));
    let line = u32::try_from(line.unwrap()).unwrap() + 1;
    let own = |text: String| format!("profiles = \"profiles\"\n{text}");
    let sidecar = Sidecar::start_as(&service, "sidecar", own).await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let tried = until("a trial that the rule asked for", || async {
        let entries = sidecar.decisions().await.entries;
        entries.into_iter().find_map(|entry| match entry.body {
            EntryBody::Decision(decision)
                if matches!(decision.reason, Reason::Triggered { .. }) =>
            {
                Some((decision, entry.text))
            }
            _ => None,
        })
    });
    let (tried, text) = tried.await;
    assert_eq!(tried.action, Action::Try);
    assert!(text.contains("many of them idle"), "{text}");
    let by = tried.bound_by.iter().find(|by| by.line == line);
    assert!(
        by.is_some_and(|by| by.file.ends_with("web.toml")),
        "{:?}",
        tried.bound_by
    );
    // What it tried is proved or undone like everything else.
    service.until_no_trial().await;
}
