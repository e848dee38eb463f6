//! `trimtab exec`: a service with the sidecar beside it, in one process tree.

use crate::support::{SLOW, Service, Sidecar, run, trimtab, until};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `trimtab exec` with a configuration and a shell script as the service.
fn exec(config: &Path, script: &str) -> Command {
    let mut command = trimtab();
    command.args(["exec", "--config"]).arg(config);
    command.args(["--", "sh", "-c", script]);
    command
}

/// A configuration of a sidecar that serves nowhere that matters, beside a host that is not there.
fn nobody() -> (Service, std::path::PathBuf) {
    let service = Service::absent();
    let ledger = service.directory.path().join("ledger");
    let (config, _) = Sidecar::configure(&service, "exec", &ledger, |text| text);
    (service, config)
}

/// The processes whose parent this is, with their states: `Z` is one that nobody has buried.
fn children(of: u32) -> Vec<(i32, char)> {
    let processes = procfs::process::all_processes().unwrap().flatten();
    let stats = processes.filter_map(|process| process.stat().ok());
    let ours = stats.filter(|stat| u32::try_from(stat.ppid) == Ok(of));
    ours.map(|stat| (stat.pid, stat.state)).collect()
}

/// The sidecar among the children: the one that was told to run.
fn sidecar_of(supervisor: u32) -> Option<i32> {
    let children = children(supervisor).into_iter().map(|(pid, _)| pid);
    let line = |pid| {
        let process = procfs::process::Process::new(pid).ok()?;
        process.cmdline().ok()
    };
    children
        .into_iter()
        .find(|pid| line(*pid).is_some_and(|line| line.get(1).is_some_and(|word| word == "run")))
}

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Waits for its end and gives the code.
async fn code(child: &mut Child) -> Option<i32> {
    until("the end", || {
        let ended = child.try_wait().unwrap();
        async move { ended }
    })
    .await
    .code()
}

#[test]
fn it_ends_as_the_service_did() {
    let (_service, config) = nobody();
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 128 + 9)] {
        let (code, _, err) = run(&mut exec(&config, script));
        assert_eq!(code, expected, "{script}: {err}");
    }
    let mut missing = trimtab();
    missing.args(["exec", "--", "/no/such/service"]);
    let (code, _, err) = run(&mut missing);
    assert_eq!(code, 127, "{err}");
    assert!(
        err.contains("`/no/such/service` cannot be started"),
        "{err}"
    );
    let mut directory = trimtab();
    directory.args(["exec", "--", "/"]);
    assert_eq!(run(&mut directory).0, 126);
}

#[test]
fn a_sidecar_that_cannot_run_does_not_keep_the_service_from_running() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("wrong.toml");
    std::fs::write(&config, "mode = \"dance\"\n").unwrap();
    // Long enough for the sidecar to have said why; the service ends when that has been written.
    let log = directory.path().join("log");
    let script = format!("until grep -q 'runs on without it' {log:?}; do :; done; exit 5");
    let mut child = exec(&config, &script)
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let code = child.wait().unwrap().code();
    let err = std::fs::read_to_string(&log).unwrap();
    assert_eq!(code, Some(5), "{err}");
    assert!(err.contains("wrong.toml:1:8"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_handed_on_and_each_comes_once() {
    let (service, config) = nobody();
    let heard = service.directory.path().join("heard");
    let script = format!(
        "for s in HUP INT QUIT USR1 USR2; do trap \"echo $s >> {heard:?}\" $s; done; trap 'exit 9' TERM; echo ready >> \
         {heard:?}; while :; do sleep 0.05; done"
    );
    let mut child = exec(&config, &script)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&heard).unwrap_or_default();
    let mut expected = "ready\n".to_owned();
    for signal in ["HUP", "INT", "QUIT", "USR1", "USR2"] {
        until("what was heard before", || async {
            (read() == expected).then_some(())
        })
        .await;
        kill(signal, child.id());
        expected.push_str(signal);
        expected.push('\n');
    }
    until("the last signal", || async {
        (read() == expected).then_some(())
    })
    .await;
    kill("TERM", child.id());
    assert_eq!(code(&mut child).await, Some(9));
    assert_eq!(read(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_of_the_service_are_buried() {
    let (service, config) = nobody();
    let orphan = service.directory.path().join("orphan");
    // The shell between them ends at once, so that its child has no parent but the supervisor, and then ends itself.
    let script = format!(
        "sh -c 'sh -c \"echo \\$\\$ > {}\" &' ; read forever",
        orphan.display()
    );
    let mut child = exec(&config, &script)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid: i32 = until("the orphan", || async {
        std::fs::read_to_string(&orphan).ok()?.trim().parse().ok()
    })
    .await;
    until("its burial", || async {
        procfs::process::Process::new(pid).is_err().then_some(())
    })
    .await;
    let dead = children(child.id())
        .into_iter()
        .filter(|(_, state)| *state == 'Z');
    assert_eq!(dead.count(), 0);
    // The end of its input ends the service.
    drop(child.stdin.take());
    assert_eq!(code(&mut child).await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sidecar_is_started_again_while_the_service_runs_on() {
    let service = Service::start(SLOW);
    let ledger = service.directory.path().join("ledger");
    let (config, _) = Sidecar::configure(&service, "exec", &ledger, |text| text);
    let mut child = exec(&config, "read forever; exit 3")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = until("the sidecar", || async { sidecar_of(child.id()) }).await;
    service.until_trial().await;
    let lease = service.state().await.unwrap().epoch;
    kill("KILL", first.unsigned_abs());
    let second = until("another sidecar", || async {
        sidecar_of(child.id()).filter(|pid| *pid != first)
    })
    .await;
    service.until_no_trial().await;
    until("a lease of its own", || async {
        service.state().await.filter(|state| state.epoch > lease)
    })
    .await;
    assert!(child.try_wait().unwrap().is_none(), "the service runs on");
    drop(child.stdin.take());
    assert_eq!(code(&mut child).await, Some(3));
    let gone = procfs::process::Process::new(second).is_err();
    assert!(gone, "the sidecar ends with the service");
}
