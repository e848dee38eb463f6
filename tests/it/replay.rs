//! A run beside a real service is recorded and decided again: the same, bit for bit.

use crate::support::{BRISK, Service, Sidecar, run, trimtab};
use std::path::Path;

/// Runs beside a starved service until something was kept, and leaves the recording.
async fn record(service: &Service) -> std::path::PathBuf {
    let directory = service.directory.path();
    let recording = directory.join("run.jsonl");
    let (config, log) =
        Sidecar::configure(service, "sidecar", &directory.join("sidecar"), |text| text);
    let mut command = trimtab();
    command.args(["run", "--config"]).arg(&config);
    command.arg("--record").arg(&recording);
    let mut sidecar = Sidecar::spawn(&mut command, log).await;
    let kept = sidecar.until_status("a change that was kept", |status| {
        status.pools["web"].changes.kept >= 2
    });
    kept.await;
    sidecar.signal("TERM");
    assert!(sidecar.ended().await.success(), "{}", sidecar.log());
    recording
}

fn replay(recording: &Path, extra: &[&str]) -> (i32, String, String) {
    run(trimtab().arg("replay").arg(recording).args(extra))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_run_comes_out_the_same_and_another_profile_is_asked_about_it() {
    let service = Service::start(BRISK);
    let recording = record(&service).await;
    let (code, out, err) = replay(&recording, &[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("decisions, all the same\n"), "{out}");

    // A profile that allows no more workers than there are would have tried less.
    let narrow = service.directory.path().join("narrow.toml");
    let range = |key: &str, from: &str, to: &str| {
        format!("[{key}]\nmin = {from}\nstart = {from}\nmax = {to}\n")
    };
    let text = [
        "slo = \"1s\"\n".to_owned(),
        range("workers", "1", "2"),
        range("queue_limit", "100", "1000"),
        range("timeout", "\"1s\"", "\"30s\""),
    ];
    std::fs::write(&narrow, text.concat()).unwrap();
    let (code, out, err) = replay(&recording, &["--profile", narrow.to_str().unwrap()]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("would try"), "{out}");
    let (code, _, err) = replay(&recording, &["--profile", "background"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, _, err) = replay(&recording, &["--profile", "no-such-profile"]);
    assert!(code == 1 && err.contains("no such profile"), "{err}");

    // One changed figure in the middle changes what is decided, and is told.
    let text = std::fs::read_to_string(&recording).unwrap();
    let ticks = text.lines().count();
    let lines = text.lines().enumerate().map(|(number, line)| {
        let middle = number == ticks / 2;
        let line = if middle {
            line.replacen("\"completed\":", "\"completed\":9", 1)
        } else {
            line.to_owned()
        };
        line + "\n"
    });
    let changed = service.directory.path().join("changed.jsonl");
    std::fs::write(&changed, lines.collect::<String>()).unwrap();
    let (code, out, _) = replay(&changed, &[]);
    assert!(code == 1 && out.contains("decisions differ"), "{out}");
}

#[test]
fn what_is_no_recording_is_told_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("odd.jsonl");
    std::fs::write(&file, "{\"line\": \"frozen\", \"frozen\": true}\n").unwrap();
    let (code, _, err) = replay(&file, &[]);
    assert!(code == 1 && err.contains("does not begin"), "{err}");
    std::fs::write(&file, "hello\n").unwrap();
    let (code, _, err) = replay(&file, &[]);
    assert!(code == 1 && err.contains("line 1 is no line"), "{err}");
    let (code, _, err) = replay(&directory.path().join("none"), &[]);
    assert!(code == 1 && err.contains("cannot be read"), "{err}");
}
