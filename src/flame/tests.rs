//! The stage with programs that stand in for the profiler.

use super::*;
use crate::clock::{BootClock, ManualClock};
use trimtab_core::moment::{Moment, Span};
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

/// What a stage sends that pushes at these moments, in milliseconds of the boot-time clock.
async fn pushed(at_ms: &[u64]) -> Vec<(Stretch, Parcel)> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (program, heard) = (
        directory.path().join("prof"),
        directory.path().join("heard"),
    );
    let answer = r#"{"id":0,"outcome":{"outcome":"done"},"bytes":0}"#;
    let file = heard.display();
    let script = format!(
        "#!/bin/sh\nwhile read -r line; do echo \"$line\" >> {file}; echo '{answer}'; done\n"
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let clock = Arc::new(ManualClock::at(Moment::from_boot_ns(0), 1_790_000_000_300));
    let view = watch::Sender::new(Arc::new(View::empty("boot")));
    let remember = Remember {
        hz: 49,
        bytes_max: 1 << 20,
    };
    let push = Push {
        server: "http://127.0.0.1:4040".to_owned(),
        name: "shop".to_owned(),
    };
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let mut flame = Flame {
        source: Source::Program(program),
        remembered_pid: Some(7),
        pushed_ns: 10 * SECOND_NS,
        ..Flame::new(Some(remember), Some(push), shared, view.subscribe())
    };
    for at_ms in at_ms {
        let now_ms = clock.now().as_boot_ns() / 1_000_000;
        clock.advance(Span::from_ms(at_ms - now_ms));
        let before = flame.next_id;
        flame.push().await;
        if flame.next_id > before {
            Link::hear(&mut flame.link).await;
        }
    }
    let heard = std::fs::read_to_string(heard).unwrap();
    let ask = |line: &str| match serde_json::from_str(line).unwrap() {
        trimtab_flame::ask::Request {
            ask: Ask::Push {
                stretch, parcel, ..
            },
            ..
        } => (stretch, parcel),
        other => panic!("{other:?}"),
    };
    heard.lines().map(ask).collect()
}

#[tokio::test]
async fn what_is_sent_one_time_begins_where_it_ended_the_last_time() {
    // Late by a little each time, as timers are; and one much too early.
    let all = pushed(&[25_137, 25_900, 40_160, 55_390]).await;
    let seconds: Vec<(u64, u64)> = all
        .iter()
        .map(|(Stretch { from_ns, until_ns }, _)| (*from_ns, *until_ns))
        .collect();
    let second = |seconds: u64| seconds * SECOND_NS;
    assert_eq!(
        seconds,
        [
            (second(10), second(24)),
            (second(24), second(25)),
            (second(25), second(39)),
            (second(39), second(54))
        ],
        "whole seconds, all of them, and none that is not settled"
    );
    let told: Vec<(u64, u64)> = all
        .iter()
        .map(|(_, parcel)| (parcel.from_s, parcel.until_s))
        .collect();
    let wall = |second: u64| 1_790_000_000 + second;
    assert_eq!(
        told,
        seconds
            .iter()
            .map(|(from, until)| (wall(from / SECOND_NS), wall(until / SECOND_NS)))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn nothing_is_sent_before_a_second_is_over() {
    let all = pushed(&[10_900, 11_300, 12_400]).await;
    assert_eq!(all.len(), 1);
    assert_eq!(
        (all[0].1.until_s - all[0].1.from_s, all[0].0.until_ns),
        (2, 12 * SECOND_NS)
    );
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
