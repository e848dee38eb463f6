//! What becomes of a new set, with the control loop and the ledger played by the test.

use super::*;
use crate::clock::ManualClock;
use crate::config::{Overrides, load_set};
use std::fs;

const TEXT: &str = "[[hosts]]\nid = \"shop\"\nsocket = \"s\"\n";

/// A configuration whose profile `web` allows this many workers.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("there is room");
        fs::create_dir(directory.path().join("p")).expect("it is ours");
        Self { directory }
    }

    fn set(&self, keys: &str, workers_max: &str) -> NewSet {
        let path = self.directory.path().join("trimtab.toml");
        let text = format!("profiles = \"p\"\n{keys}{TEXT}");
        fs::write(&path, text).expect("it is ours");
        let web = include_str!("../../profiles/web.toml");
        let web = web.replace("max = 100\n", &format!("max = {workers_max}\n"));
        fs::write(self.directory.path().join("p/web.toml"), web).expect("it is ours");
        NewSet {
            loaded: load_set(Some(&path), &Overrides::default()),
            watching: Watching::Events,
        }
    }
}

/// What came of some sets and rulings.
#[derive(Default)]
struct Came {
    /// `workers.max` of `web`, and the mode's interval, as often as settings were adopted.
    adopted: Vec<(u64, u64)>,
    results: Vec<(ReloadResult, usize)>,
    status: ConfigurationStatus,
    answers: Vec<Result<String, String>>,
}

#[expect(clippy::large_enum_variant, reason = "a test has a handful of them")]
enum Act {
    Set(NewSet),
    Rule { approve: bool, dry_run: bool },
}

fn run(site: &Site, acts: Vec<Act>) -> Came {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let mut runtime = runtime;
    let runtime = runtime.enable_all().build().expect("there is a runtime");
    runtime.block_on(async {
        let started = site.set("", "100").loaded.result.expect("it is valid");
        let (settings, mut adopts) = mpsc::channel::<Adopt>(1);
        let (records, mut recorded) = mpsc::channel(64);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let mut reload = Reload::new(started, settings, records, clock);
        let controller = tokio::task::spawn(async move {
            let mut adopted = Vec::new();
            while let Some(adopt) = adopts.recv().await {
                let web = &adopt.settings.profiles["web"];
                adopted.push((web.workers.max.value, adopt.settings.interval.as_ms()));
                let _heard = adopt.done.send(());
            }
            adopted
        });
        let mut came = Came::default();
        for act in acts {
            match act {
                Act::Set(set) => reload.consider(set).await,
                Act::Rule { approve, dry_run } => {
                    let (answer, answered) = oneshot::channel();
                    let ruling = Ruling {
                        approve,
                        dry_run,
                        answer,
                    };
                    reload.rule(ruling).await;
                    came.answers.push(answered.await.expect("an answer"));
                }
            }
        }
        drop(reload);
        came.adopted = controller.await.expect("it ends");
        while let Some(Recorded::Configuration { status, reload, .. }) = recorded.recv().await {
            came.status = (*status).clone();
            came.results
                .extend(reload.map(|it| (it.result, it.changes.len())));
        }
        came
    })
}

const APPROVE: Act = Act::Rule {
    approve: true,
    dry_run: false,
};

#[test]
fn a_good_set_is_adopted_whole_with_the_line_of_what_changed() {
    let site = Site::new();
    let came = run(&site, vec![Act::Set(site.set("", "80"))]);
    assert_eq!(came.adopted, [(80, 1_000)]);
    assert_eq!(came.results, [(ReloadResult::Applied, 1)]);
    assert_eq!(came.status.applied, 1);
}

#[test]
fn a_set_with_mistakes_is_refused_whole_and_the_last_good_one_stays() {
    let site = Site::new();
    let acts = vec![
        Act::Set(site.set("mode = \"act\"\n", "80x")),
        Act::Set(site.set("mood = 1\n", "80")),
    ];
    let came = run(&site, acts);
    assert!(came.adopted.is_empty());
    assert_eq!(came.status.refused, 2);
    let problem = &came.status.problems[0];
    assert!(problem.file.ends_with("trimtab.toml") && problem.line == Some(2));
    let came = run(
        &site,
        vec![
            Act::Set(site.set("mood = 1\n", "80")),
            Act::Set(site.set("", "80")),
        ],
    );
    assert_eq!(came.adopted, [(80, 1_000)]);
    assert!(came.status.problems.is_empty());
}

/// How the lines of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// As they stand.
    Strict,
    /// A seeded bug: those that mean nothing are left out, and the rest is taken.
    PassesOverMistakes,
}

/// Whether a set with one mistake is refused as a whole.
fn is_refused_whole(reader: Reader) -> bool {
    let site = Site::new();
    let lines = ["mood = 1\n", "mode = \"act\"\n"];
    let read = lines
        .into_iter()
        .filter(|line| reader == Reader::Strict || !line.starts_with("mood"));
    let set = site.set(&read.collect::<String>(), "80");
    let came = run(&site, vec![Act::Set(set)]);
    came.adopted.is_empty() && came.status.refused == 1
}

#[test]
fn a_reader_that_takes_the_half_of_a_set_is_found() {
    assert!(is_refused_whole(Reader::Strict));
    assert!(!is_refused_whole(Reader::PassesOverMistakes));
}

#[test]
fn a_set_that_moves_a_limit_far_waits_until_it_is_approved() {
    let site = Site::new();
    let dry = Act::Rule {
        approve: true,
        dry_run: true,
    };
    let acts = vec![Act::Set(site.set("", "1000")), dry, APPROVE, APPROVE];
    let came = run(&site, acts);
    assert_eq!(came.adopted, [(1_000, 1_000)]);
    let waited = (ReloadResult::Waiting, 1);
    assert_eq!(came.results, [waited, (ReloadResult::Approved, 1)]);
    assert!(
        came.answers[0]
            .as_ref()
            .is_ok_and(|text| text.contains("profile.web.workers.max"))
    );
    assert!(came.answers[1].is_ok() && came.answers[2].is_err());
    assert!(came.status.waiting.is_empty());
}

#[test]
fn what_waits_is_forgotten_when_it_is_rejected_or_its_files_go_back() {
    let site = Site::new();
    let reject = Act::Rule {
        approve: false,
        dry_run: false,
    };
    let came = run(&site, vec![Act::Set(site.set("", "1000")), reject, APPROVE]);
    assert!(came.adopted.is_empty() && came.answers[1].is_err());
    assert_eq!(came.results[1].0, ReloadResult::Rejected);
    let acts = vec![
        Act::Set(site.set("", "1000")),
        Act::Set(site.set("", "100")),
        APPROVE,
    ];
    let came = run(&site, acts);
    assert_eq!(came.results[1].0, ReloadResult::Withdrawn);
    assert!(came.answers[0].is_err() && came.status.waiting.is_empty());
    assert_eq!(came.adopted, [(100, 1_000)]);
}

#[test]
fn what_waits_is_dropped_once_the_files_say_something_else_even_if_that_is_wrong() {
    let site = Site::new();
    let acts = vec![
        Act::Set(site.set("", "1000")),
        Act::Set(site.set("mood = 1\n", "1000")),
        APPROVE,
    ];
    let came = run(&site, acts);
    assert!(came.adopted.is_empty() && came.answers[0].is_err());
    assert!(came.status.waiting.is_empty() && came.status.refused == 1);
    // The mistake is mended, and the limit is as far away as before.
    let acts = vec![
        Act::Set(site.set("mood = 1\n", "1000")),
        Act::Set(site.set("", "1000")),
        APPROVE,
    ];
    assert_eq!(run(&site, acts).adopted, [(1_000, 1_000)]);
    // Another far set takes the place of the one that waits.
    let acts = vec![
        Act::Set(site.set("", "1000")),
        Act::Set(site.set("", "900")),
        APPROVE,
    ];
    assert_eq!(run(&site, acts).adopted, [(900, 1_000)]);
}

#[test]
fn what_needs_a_restart_is_told_and_left_as_it_is() {
    let site = Site::new();
    let came = run(
        &site,
        vec![Act::Set(site.set("interval = \"1500ms\"\n", "80"))],
    );
    assert_eq!(came.adopted, [(80, 1_000)]);
    assert_eq!(came.status.needs_restart, ["interval"]);
    let acts = vec![
        Act::Set(site.set("interval = \"1500ms\"\n", "80")),
        Act::Set(site.set("", "80")),
    ];
    assert!(run(&site, acts).status.needs_restart.is_empty());
}
