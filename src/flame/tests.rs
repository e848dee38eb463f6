//! The stage with programs that stand in for the profiler.

use super::*;
use crate::clock::BootClock;
use trimtab_flame::ask::Shot;

/// A stage whose profiler is a shell script, and the way to ask it.
fn stage(
    directory: &tempfile::TempDir,
    script: &str,
) -> (mpsc::Sender<FlameCall>, tokio::task::JoinHandle<()>) {
    use std::os::unix::fs::PermissionsExt;
    let program = directory.path().join("prof");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let view = watch::Sender::new(Arc::new(View::empty("boot")));
    let flame = Flame {
        source: Source::Program(program),
        ..Flame::new(None, None, Arc::new(BootClock), view.subscribe())
    };
    (sender, tokio::spawn(flame.run(receiver)))
}

async fn ask(calls: &mpsc::Sender<FlameCall>) -> FlameAnswer {
    let (answer, answered) = oneshot::channel();
    let ask = Ask::Next {
        shot: Shot::of(1),
        window_ms: 1_000,
    };
    calls.send(FlameCall { ask, answer }).await.unwrap();
    answered.await.unwrap()
}

#[tokio::test]
async fn an_answer_is_brought_back_with_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let script = r#"while read -r line; do id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); printf '{"id":%s,"outcome":{"outcome":"done"},"bytes":4}\nabcd' "$id"; done"#;
    let (calls, stage) = stage(&directory, script);
    for _ in 0..2 {
        let answer = ask(&calls).await;
        assert_eq!(
            (answer.outcome, &answer.bytes[..]),
            (Outcome::Done, &b"abcd"[..])
        );
    }
    drop(calls);
    stage.await.unwrap();
}

#[tokio::test]
async fn a_profiler_that_dies_costs_the_graph_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (calls, stage) = stage(&directory, "read -r line; exit 3");
    for _ in 0..2 {
        let Outcome::Failed { because, problem } = ask(&calls).await.outcome else {
            panic!("it died")
        };
        assert_eq!(because, Because::Internal);
        assert!(problem.contains("ask again"), "{problem}");
    }
    drop(calls);
    stage.await.unwrap();
}

#[tokio::test]
async fn a_profiler_that_talks_nonsense_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let (calls, _stage) = stage(&directory, "read -r line; echo nonsense; sleep 60");
    assert!(matches!(ask(&calls).await.outcome, Outcome::Failed { .. }));
}

#[tokio::test]
async fn a_profiler_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let view = watch::Sender::new(Arc::new(View::empty("boot")));
    let program = directory.path().join("nothing");
    let flame = Flame {
        source: Source::Program(program),
        ..Flame::new(None, None, Arc::new(BootClock), view.subscribe())
    };
    let _stage = tokio::spawn(flame.run(receiver));
    let Outcome::Failed { problem, .. } = ask(&sender).await.outcome else {
        panic!("nothing is there")
    };
    assert!(problem.contains("nothing"), "{problem}");
}
