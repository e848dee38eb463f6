//! A sidecar that has shut itself in: what it can still do, and what nobody can do from within it.

use crate::support::{BRISK, PROGRAM, Service, Sidecar, until};
use std::fs::{self, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use trimtab::cage::{self, Needs};

/// Where the process under test may write, and that it is to be shut in.
const DIRECTORY: &str = "TRIMTAB_TEST_CAGE";

/// Shuts itself in and tries what somebody would who has broken in. The test below runs it in a process of its own.
#[test]
fn a_process_tries_to_break_out() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let port = TcpListener::bind("127.0.0.1:0").expect("not shut in yet");
    let address = port.local_addr().expect("it is bound");
    let mut beside = Command::new("sleep")
        .arg("1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("not shut in yet");
    let needs = Needs {
        reads: vec![directory.join("read")],
        writes: vec![directory.join("write")],
        ports: Vec::new(),
    };
    let entered = cage::enter(&needs);
    entered.calls.expect("this kernel has seccomp");
    let shut = std::thread::spawn(move || {
        Command::new("true")
            .spawn()
            .expect_err("no program is started");
        TcpStream::connect(address).expect_err("nothing is connected to");
        TcpListener::bind("127.0.0.1:0").expect_err("no port is opened");
        std::net::UdpSocket::bind("127.0.0.1:0").expect_err("nothing is sent");
    });
    shut.join()
        .expect("threads are started, and each is shut in");
    beside.kill().expect_err("nobody is killed");
    beside.wait().expect("it ends by itself");
    UnixStream::pair().expect("Unix sockets are what it talks over");
    fs::read("/proc/self/stat").expect("processes are what it looks at");
    let files = entered.files.is_ok();
    println!("landlock: {files}");
    for (path, allowed) in [("read/a", true), ("write/a", true), ("secret", !files)] {
        let read = fs::read(directory.join(path));
        assert_eq!(read.is_ok(), allowed, "{path}: {read:?}");
    }
    for (path, allowed) in [("read/b", !files), ("write/b", true), ("b", !files)] {
        let written = fs::write(directory.join(path), "new");
        assert_eq!(written.is_ok(), allowed, "{path}: {written:?}");
    }
    let moved = fs::rename(directory.join("write/b"), directory.join("write/c"));
    moved.expect("a file of the ledger takes its name when it is whole");
    fs::remove_file(directory.join("write/c")).expect("and goes when there are too many");
}

#[test]
fn whoever_breaks_in_reads_and_writes_nothing_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [("read/a", "a"), ("write/a", "a"), ("secret", "key")] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "cage::a_process_tries_to_break_out",
            "--nocapture",
        ])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
    assert_eq!(
        said.contains("landlock: true"),
        cage::offered().is_ok(),
        "{said}"
    );
}

/// A field of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

/// A sidecar that tunes, takes commands and shows where time goes, while nothing else is open to it.
async fn lives_shut_in() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let pid = sidecar.pid();
    assert_eq!(
        (field(pid, "Seccomp"), field(pid, "NoNewPrivs")),
        ("2".to_owned(), "1".to_owned())
    );
    let log = sidecar.log();
    assert_eq!(
        log.contains("\"landlock\":true"),
        cage::offered().is_ok(),
        "{log}"
    );
    sidecar
        .until_status("the host's process", |status| status.pid.is_some())
        .await;
    let graph = until("a graph", || async {
        let (status, svg) = sidecar.get("/flamegraph?seconds=1").await;
        (status == 200).then_some(svg)
    });
    assert!(graph.await.contains("<svg"));
    let (status, body) = sidecar.get("/profile/capabilities").await;
    assert!(status == 200 && body.contains("perf_user"), "{body}");
}

/// Landlock judges a link by where it leads, and who renews a certificate or a token makes a file there and turns the link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_behind_a_link_is_read_and_renewed_from_within() {
    let service = Service::absent();
    let elsewhere = tempfile::tempdir().unwrap();
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let put = |name: &str, token: &str| {
        let place = elsewhere.path().join(name);
        fs::write(&place, token).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
        place
    };
    let link = service.directory.path().join("tokens");
    symlink(put("one", &old), &link).unwrap();
    let named = |text: String| text.replace("[serve]\n", "[serve]\ntoken_file = \"tokens\"\n");
    let sidecar = Sidecar::start_as(&service, "sidecar", named).await;
    let (own, sidecar) = (sidecar.address.clone(), &sidecar);
    let shown = |token: &str| {
        let headers = format!("Host: {own}\r\nAuthorization: Bearer {token}\r\n");
        async move { sidecar.get_with("/livez", &headers).await.0 }
    };
    until("the cage", || async {
        sidecar.log().contains("shut in").then_some(())
    })
    .await;
    assert_eq!((shown(&old).await, shown(&new).await), (200, 401));
    let turned = service.directory.path().join("turned");
    symlink(put("two", &new), &turned).unwrap();
    fs::rename(&turned, &link).unwrap();
    assert_eq!((shown(&old).await, shown(&new).await), (401, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_tunes_and_shows_graphs_while_it_is_shut_in() {
    lives_shut_in().await;
}

const AS_NOBODY: &str = "TRIMTAB_TEST_AS_NOBODY";

/// The same as another user. The test below runs it as one; by itself it has nothing to add.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_lives_shut_in() {
    if std::env::var_os(AS_NOBODY).is_none() {
        return;
    }
    assert_eq!(field(std::process::id(), "CapEff"), "0000000000000000");
    lives_shut_in().await;
}

#[test]
fn a_user_without_any_capability_can_run_all_of_it() {
    use std::os::unix::fs::MetadataExt;
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        println!("skipped: only root can become another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_trimtab")).parent().unwrap();
    for (from, to) in [
        (own.as_path(), "tests"),
        (&programs.join("trimtab"), "trimtab"),
        (&programs.join("trimtab-prof"), "trimtab-prof"),
    ] {
        fs::copy(from, directory.path().join(to)).unwrap();
    }
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let ran = Command::new(directory.path().join("tests"))
        .args(["--exact", "cage::nobody_lives_shut_in", "--nocapture"])
        .env(AS_NOBODY, "1")
        .env(PROGRAM, directory.path().join("trimtab"))
        .env("TMPDIR", &scratch)
        .current_dir(&scratch)
        .uid(65_534)
        .gid(65_534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:?}");
}
