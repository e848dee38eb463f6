//! The command line.

use crate::support::{SLOW, Service, Sidecar, run, trimtab};
use std::process::Command;

#[test]
fn a_profile_with_five_errors_is_refused_with_all_five() {
    let directory = tempfile::tempdir().unwrap();
    let profile = directory.path().join("web.toml");
    let text = "[workers]\nstart = 10\nmin = 100\nmax = 10\n\n[queue_limit]\nstart = \"many\"\nmin = 1\nmax = 10\n\n\
                [timeout]\nstart = \"30\"\nmin = \"1s\"\nmax = \"60s\"\n\n[changes]\nper_windw = 3\n\nslo = -1\n";
    std::fs::write(&profile, text).unwrap();
    let (code, out, err) = run(trimtab().arg("check").arg(&profile));
    assert_eq!(code, 78, "{out}{err}");
    let places = (1..=40)
        .filter(|line| err.contains(&format!("web.toml:{line}:")))
        .count();
    assert!(places >= 5, "{err}");
    assert!(err.contains("per_window"), "{err}");
}

#[test]
fn wrong_usage_and_wrong_configuration_have_codes_of_their_own() {
    let (code, _, err) = run(trimtab().args(["run", "--mode", "dance"]));
    assert_eq!(code, 64, "{err}");
    let (code, _, err) = run(trimtab().arg("run"));
    assert_eq!(code, 78, "{err}");
    // What only `run` does is no option of those that read the same configuration.
    for words in [["doctor", "--no-cage"], ["doctor", "--record=a"]] {
        assert_eq!(run(trimtab().args(words)).0, 64, "{words:?}");
    }
    let (code, _, _) = run(trimtab().args(["config", "show", "--no-cage"]));
    assert_eq!(code, 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_a_running_sidecar() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let url = format!("http://{}", sidecar.address);
    let asked =
        tokio::task::spawn_blocking(move || run(trimtab().args(["status", "--url", &url]))).await;
    let (code, out, err) = asked.unwrap();
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("web") && out.contains("shop"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_which_keys_a_running_host_has_no_knob_for() {
    let service = Service::start(SLOW);
    let socket = service.control_socket();
    let asked = tokio::task::spawn_blocking(move || {
        let mut command = trimtab();
        command.env("TRIMTAB__HOST__SOCKET", &socket);
        run(command.args(["check", "--host"]).arg(&socket))
    });
    let (code, out, err) = asked.await.unwrap();
    assert_eq!(code, 0, "{err}");
    let line = out.lines().find(|line| line.starts_with("pool ")).unwrap();
    assert!(line.contains("web follows default; inert: idle"), "{out}");
    let (code, _, err) = run(trimtab()
        .env("TRIMTAB__HOST__SOCKET", "/no/such.sock")
        .args(["check", "--host", "/no/such.sock"]));
    assert_eq!(code, 1);
    assert!(err.contains("no host answers"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_finds_nothing_wrong_beside_a_living_host() {
    let service = Service::start(SLOW);
    let ledger = service.directory.path().join("ledger");
    let (config, _) = Sidecar::configure(&service, "doctor", &ledger, |text| text);
    let asked = tokio::task::spawn_blocking(move || {
        run(trimtab()
            .args(["doctor", "-o", "json", "--config"])
            .arg(&config))
    });
    let (code, out, err) = asked.await.unwrap();
    assert_eq!(code, 0, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let manual = include_str!("../../docs/doctor.md");
    for name in [
        "host",
        "operators",
        "profiles",
        "process",
        "cgroup",
        "time",
        "perf",
        "cage",
        "ledger",
    ] {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|it| it["name"] == name);
        assert!(
            finding.is_some_and(|it| it["verdict"] != "wrong"),
            "{name}: {out}"
        );
        assert!(manual.contains(&format!("\n## {name}\n")), "{name}");
    }
    assert!(!ledger.exists(), "a doctor makes nothing");
}

#[test]
fn status_without_a_sidecar_says_so() {
    let (code, _, err) = run(trimtab().args(["status", "--url", "http://127.0.0.1:1"]));
    assert_eq!(code, 1);
    assert!(err.contains("127.0.0.1:1"), "{err}");
}

/// The build script by itself, as Cargo runs it, on a machine that has neither Node nor npm.
#[test]
fn where_node_is_absent_the_build_succeeds_with_a_warning_and_without_the_dashboard() {
    let root = tempfile::tempdir().unwrap();
    let script = root.path().join("build-script");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([script.as_os_str(), source.as_ref()])
        .status();
    assert!(compiled.unwrap().success());
    let run = Command::new(script)
        .env_clear()
        .env("PATH", root.path())
        .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_FEATURE_DASHBOARD", "1")
        .env("OUT_DIR", root.path())
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("cargo::warning=the dashboard is left out"),
        "{said}"
    );
    let table = std::fs::read_to_string(root.path().join("dashboard.rs")).unwrap();
    assert!(!table.contains("include_bytes"), "{table}");
}
