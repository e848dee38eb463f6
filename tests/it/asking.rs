//! The commands that only ask, and those that write for people: decisions, why, status, probe, init, completions, man.

use crate::support::{
    BRISK, HANG_GUARD, SLOW, Service, Sidecar, address_in, http, run, trimtab, until,
};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpStream;
use trimtab_protocol::view::{Entry, HostStatus};

async fn asked(mut command: Command) -> (i32, String, String) {
    tokio::task::spawn_blocking(move || run(&mut command))
        .await
        .unwrap()
}

fn with_url(words: &[&str], sidecar: &Sidecar) -> Command {
    let mut command = trimtab();
    command.args(words);
    command.args(["--url", &format!("http://{}", sidecar.address)]);
    command
}

/// The first lines that a command writes which does not end by itself.
async fn first_lines(mut command: Command, count: usize) -> Vec<String> {
    struct Ended(Child);
    impl Drop for Ended {
        fn drop(&mut self) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
    let reading = tokio::task::spawn_blocking(move || {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = Ended(child.unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        lines.take(count).map(Result::unwrap).collect()
    });
    tokio::time::timeout(HANG_GUARD, reading)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_listed_and_followed() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    until("some entries", || async {
        (sidecar.decisions().await.entries.len() >= 5).then_some(())
    })
    .await;
    let (code, out, err) = asked(with_url(
        &["decisions", "-n", "3", "--pool", "web"],
        &sidecar,
    ))
    .await;
    assert_eq!((code, err.as_str(), out.lines().count()), (0, "", 3));
    assert!(out.lines().all(|line| line.contains("Z  web ")), "{out}");
    let (code, out, _) = asked(with_url(
        &["decisions", "-n", "9", "--pool", "none"],
        &sidecar,
    ))
    .await;
    assert_eq!((code, out.as_str()), (0, ""));
    // Two that were there and some that were not.
    let follow = with_url(
        &["decisions", "-n", "2", "--follow", "-o", "json"],
        &sidecar,
    );
    let lines = first_lines(follow, 6).await;
    let sequences: Vec<u64> = lines
        .iter()
        .map(|line| serde_json::from_str::<Entry>(line).unwrap().id.sequence)
        .collect();
    let expected: Vec<u64> = (sequences[0]..sequences[0] + 6).collect();
    assert_eq!(sequences, expected, "none is missing and none comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_advice_is_read_from_the_sidecar_and_from_its_files() {
    let service = Service::start(BRISK);
    let advise = |text: String| text.replace("mode = \"act\"", "mode = \"advise\"");
    let sidecar = Sidecar::start_as(&service, "sidecar", advise).await;
    let words = ["decisions", "-n", "3", "--action", "advise"];
    let out = until("advice", || async {
        let (code, out, err) = asked(with_url(&words, &sidecar)).await;
        assert_eq!((code, err.as_str()), (0, ""));
        (!out.is_empty()).then_some(out)
    })
    .await;
    assert!(out.lines().all(|line| line.contains("Would try")), "{out}");
    let ledger = service.directory.path().join("sidecar");
    let kept = |more: &[&str]| {
        let mut command = trimtab();
        command.args(words).arg("--ledger").arg(&ledger).args(more);
        asked(command)
    };
    let (code, out, err) = kept(&[]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!((1..=3).contains(&out.lines().count()), "{out}");
    assert!(out.lines().all(|line| line.contains("Would try")), "{out}");
    for none in ["--pool", "--host"] {
        assert_eq!(
            kept(&[none, "none"]).await,
            (0, String::new(), String::new())
        );
    }
    // What the page on looking before acting tells: the same without this program.
    let line = format!(
        "grep -h '\"action\":\"advise\"' {}/ledger-*.jsonl",
        ledger.display()
    );
    let mut grep = Command::new("sh");
    grep.args(["-c", &line]);
    let (code, out, _) = asked(grep).await;
    let entry: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(code, 0);
    assert_eq!(entry["pool"], "web");
    assert!(entry["text"].as_str().unwrap().starts_with("Would try"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_tells_the_last_change_and_the_present_limit_with_evidence() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("a change that was kept", |status| {
            status
                .pools
                .get("web")
                .is_some_and(|pool| pool.changes.kept >= 1)
        })
        .await;
    let (code, out, err) = asked(with_url(&["why", "web"], &sidecar)).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for told in [
        "web has ",
        "it started with 2",
        "Its profile is ",
        "The last change",
        " workers over ",
        "good a second",
        "What limits it now",
        "how bold a change may be: ",
    ] {
        assert!(out.contains(told), "`{told}` is missing: {out}");
    }
    let (code, _, err) = asked(with_url(&["why", "nosuch"], &sidecar)).await;
    assert!(code == 1 && err.contains("known are: web"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_is_watched() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let lines = first_lines(
        with_url(&["status", "--watch", "300ms", "-o", "json"], &sidecar),
        3,
    )
    .await;
    let moments: Vec<u64> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<HostStatus>(line)
                .unwrap()
                .sample
                .moment_ns
        })
        .collect();
    assert!(
        moments.is_sorted() && moments[0] < moments[2],
        "{moments:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_ends_by_how_the_sidecar_is_and_health_has_a_listener_of_its_own() {
    let mut service = Service::absent();
    let health = |text: String| text.replace("[serve]", "[serve]\nhealth = \"127.0.0.1:0\"");
    let sidecar = Sidecar::start_as(&service, "sidecar", health).await;
    let probes = address_in(sidecar.log_file(), "showing health").unwrap();
    let probe = |words: &'static [&'static str]| {
        let mut command = trimtab();
        command.arg("probe").args(words);
        command.args(["--url", &format!("http://{probes}")]);
        asked(command)
    };
    assert_eq!(probe(&["--live"]).await.0, 0);
    let (code, _, err) = probe(&[]).await;
    assert!(code == 1 && err.contains("/readyz answered 503"), "{err}");
    service.listen();
    until("readiness", || async {
        (probe(&[]).await.0 == 0).then_some(())
    })
    .await;
    for (method, path, expected) in [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 404),
        ("GET", "/api/v1/hosts", 404),
        ("GET", "/api/v1/events", 404),
        ("POST", "/api/v1/hosts/shop/freeze", 405),
    ] {
        let stream = TcpStream::connect(&probes).await.unwrap();
        let (status, _) = http(stream, method, path, &probes, None).await;
        assert_eq!(status, expected, "{method} {path}");
    }
    let stream = TcpStream::connect(&probes).await.unwrap();
    assert_eq!(
        http(stream, "GET", "/livez", "evil.example", None).await.0,
        421
    );
    let (code, _, err) = run(trimtab().args(["probe", "--url", "http://127.0.0.1:1"]));
    assert!(code == 1 && err.contains("127.0.0.1:1"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_writes_a_configuration_that_runs_and_never_writes_over_one() {
    let service = Service::start(SLOW);
    let file = service.directory.path().join("made.toml");
    let init = |socket: &std::path::Path| {
        let mut command = trimtab();
        command.arg("init").arg("--socket").arg(socket).arg(&file);
        asked(command)
    };
    let (code, out, err) = init(&service.control_socket()).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("`shop`") && out.contains("pool web: "),
        "{out}"
    );
    let (code, out, err) = run(trimtab().args(["check", "--config"]).arg(&file));
    assert_eq!(code, 0, "{out}{err}");
    let written = std::fs::read_to_string(&file).unwrap();
    let (code, _, err) = init(&service.control_socket()).await;
    assert!(code == 1 && err.contains("is not written"), "{err}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    let log = service.directory.path().join("made.log");
    let mut command = trimtab();
    command
        .args(["run", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file);
    command.env("TRIMTAB__LOG__FORMAT", "json");
    let sidecar = Sidecar::spawn(&mut command, log).await;
    sidecar
        .until_status("the host", |status| status.app == "shop")
        .await;

    // This process is a host, and its control socket is found by its number.
    let by_pid = service.directory.path().join("by-pid.toml");
    let mut command = trimtab();
    command
        .args(["init", "--pid", &std::process::id().to_string()])
        .arg(&by_pid);
    let (code, out, err) = asked(command).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("control.sock"), "{out}");
    // What it is: this test, in Rust on tokio, with the host kit's sockets but no port of its own.
    assert!(out.contains(": Rust, tokio with "), "{out}");
    let (code, _, _) = run(trimtab().args(["init", "--pid", "1", "--socket", "x"]));
    assert_eq!(code, 64);
}

#[test]
fn init_says_what_a_process_without_control_api_is_and_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("trimtab.toml");
    let script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(90)";
    let mut service = Command::new("python3")
        .args(["-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    let said = service.stdout.take().unwrap();
    BufRead::read_line(&mut BufReader::new(said), &mut port).unwrap();
    let pid = service.id().to_string();
    let (code, out, err) = run(trimtab().args(["init", "--pid", &pid]).arg(&file));
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for told in [
        ": Python",
        &format!("listens on 127.0.0.1:{}", port.trim()),
        " core",
        "no control API answers",
        "Python's standard library",
        &format!("trimtab flame --pid {pid}"),
    ] {
        assert!(out.contains(told), "{told} in: {out}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# Written by `trimtab init` for process"));
    let (code, out, err) = run(trimtab().args(["check", "--config"]).arg(&file));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn completions_and_manual_pages_are_made_for_every_subcommand() {
    let (_, help, _) = run(trimtab().arg("--help"));
    let section = help.split("Commands:\n").nth(1).unwrap();
    let section = section.split("\n\n").next().unwrap();
    let names: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() >= 17, "{names:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, out, err) = run(trimtab().args(["completions", shell]));
        assert_eq!(code, 0, "{err}");
        for name in &names {
            assert!(out.contains(name), "{shell} lacks {name}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    let (code, _, err) = run(trimtab().arg("man").arg(&pages));
    assert_eq!(code, 0, "{err}");
    for name in names {
        let page = std::fs::read_to_string(pages.join(format!("trimtab-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{name}");
    }
    assert!(pages.join("trimtab.1").exists() && pages.join("trimtab-profile-use.1").exists());
    let (code, _, _) = run(trimtab().args(["completions", "tcsh"]));
    assert_eq!(code, 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_hears_of_the_start_of_each_tick_and_of_the_end() {
    let service = Service::absent();
    let place = service.directory.path().join("notify");
    let notify = UnixDatagram::bind(&place).unwrap();
    notify.set_read_timeout(Some(HANG_GUARD)).unwrap();
    let ledger = service.directory.path().join("sidecar");
    let (config, log) = Sidecar::configure(&service, "sidecar", &ledger, |text| text);
    let mut command = trimtab();
    command.args(["run", "--config"]).arg(&config);
    command
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "2000000");
    let mut sidecar = Sidecar::spawn(&mut command, log).await;
    let (notify, mut told) = tokio::task::spawn_blocking(move || {
        let told: Vec<String> = std::iter::repeat_with(|| heard(&notify)).take(4).collect();
        (notify, told)
    })
    .await
    .unwrap();
    assert!(told.remove(0).starts_with("READY=1\n"), "{told:?}");
    // There is no host, and yet each tick is finished: it found that out.
    assert!(
        told.iter()
            .all(|told| told.starts_with("WATCHDOG=1\nSTATUS=The host cannot be read")),
        "{told:?}"
    );
    sidecar.signal("TERM");
    assert!(sidecar.ended().await.success());
    let last = std::iter::repeat_with(|| heard(&notify)).find(|told| !told.starts_with("WATCHDOG"));
    assert!(last.unwrap().starts_with("STOPPING=1\n"));
}

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1_024];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listening_socket_that_is_handed_over_is_taken() {
    let service = Service::start(SLOW);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ledger = service.directory.path().join("sidecar");
    let (config, log) = Sidecar::configure(&service, "sidecar", &ledger, |text| text);
    // A shell moves it to the number where a supervisor would put it.
    let mut command = Command::new("sh");
    let script =
        "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" run --config \"$1\"";
    command
        .env_clear()
        .args(["-c", script, env!("CARGO_BIN_EXE_trimtab")])
        .arg(&config);
    command.stdin(std::os::fd::OwnedFd::from(listener));
    let sidecar = Sidecar::spawn(&mut command, log).await;
    assert_eq!(sidecar.address, address.to_string());
    assert_eq!(sidecar.get("/livez").await.0, 200);
}
