//! Operators: what they tell the sidecar, over its socket, with a token, and by the command line.

use crate::support::{BRISK, SLOW, Service, Sidecar, exchange, operator, run, trimtab, until};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use tokio::net::TcpStream;
use trimtab_protocol::command::{CommandReceipt, CommandResult, Operator};
use trimtab_protocol::decision::{ProfileBasis, Reason};
use trimtab_protocol::view::{Entry, EntryBody, HostStatus};

fn socket(service: &Service, name: &str) -> PathBuf {
    service.directory.path().join(name).join("operator.sock")
}

/// Gives a command by the command line: the exit code, what it wrote, and what it complained of.
pub(crate) async fn tell(service: &Service, words: &str) -> (i32, String, String) {
    let mut command = trimtab();
    command.args(words.split(' '));
    command.arg("--socket").arg(socket(service, "sidecar"));
    command.args(["--host", "shop", "-o", "json"]);
    asked(command).await
}

async fn asked(mut command: Command) -> (i32, String, String) {
    tokio::task::spawn_blocking(move || run(&mut command))
        .await
        .unwrap()
}

/// A command that is done in full.
pub(crate) async fn done(service: &Service, words: &str) -> CommandReceipt {
    let (code, out, err) = tell(service, words).await;
    assert_eq!((code, err.as_str()), (0, ""), "{words}: {out}");
    serde_json::from_str(&out).unwrap()
}

fn reason(status: &HostStatus) -> Option<&Reason> {
    let decision = status.pools.get("web")?.decision.as_ref()?;
    Some(&decision.reason)
}

/// Waits for some more ticks.
async fn some_ticks(sidecar: &Sidecar) {
    let now = sidecar.status().await.unwrap().sample.moment_ns;
    sidecar
        .until_status("more ticks", |status| {
            status.sample.moment_ns > now + 2_000_000_000
        })
        .await;
}

fn commands(entries: &[Entry]) -> Vec<&str> {
    let of = |entry: &'_ Entry| match &entry.body {
        EntryBody::Command(record) => Some(record.asked.word()),
        EntryBody::Decision(_)
        | EntryBody::Intent(_)
        | EntryBody::Outcome(_)
        | EntryBody::Reload(_) => None,
    };
    entries.iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_by_command_undoes_the_trial_holds_and_survives_restarts_of_both() {
    let mut service = Service::start(SLOW);
    let mut sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let receipt = done(&service, "freeze --reason deploy").await;
    assert!(receipt.frozen && receipt.recorded);
    assert_eq!(service.workers().await, 2, "the trial is undone");
    assert!(service.state().await.unwrap().frozen, "the host froze too");
    sidecar
        .until_status("the freeze", |status| {
            status.frozen && reason(status) == Some(&Reason::Frozen)
        })
        .await;
    let revision = service.state().await.unwrap().pools["web"].revision;
    some_ticks(&sidecar).await;
    let state = service.state().await.unwrap();
    assert_eq!(state.pools["web"].revision, revision, "nothing changes");

    // The host starts anew and, without a state directory, forgets its freeze. The sidecar starts anew and does not.
    sidecar.signal("TERM");
    sidecar.ended().await;
    service.restart(SLOW).await;
    assert!(!service.state().await.unwrap().frozen);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the freeze after the restart", |status| {
            status.frozen && reason(status) == Some(&Reason::Frozen)
        })
        .await;
    some_ticks(&sidecar).await;
    let state = service.state().await.unwrap();
    assert_eq!(state.pools["web"].revision.0, 1, "nothing was ever changed");

    let receipt = done(&service, "unfreeze").await;
    assert!(!receipt.frozen);
    service.until_trial().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_that_the_host_does_not_hear_makes_the_sidecar_undo_its_own_trial() {
    let service = Service::start(SLOW);
    let nowhere = |text: String| {
        text.replace(
            "id = \"shop\"",
            "id = \"shop\"\noperator_socket = \"nowhere.sock\"",
        )
    };
    let sidecar = Sidecar::start_as(&service, "sidecar", nowhere).await;
    service.until_trial().await;
    let (code, out, _) = tell(&service, "freeze").await;
    assert_eq!(code, 1);
    let receipt: CommandReceipt = serde_json::from_str(&out).unwrap();
    assert!(receipt.frozen && receipt.missing.is_some_and(|it| it.contains("by itself")));
    service.until_no_trial().await;
    assert_eq!(service.workers().await, 2);
    assert!(!service.state().await.unwrap().frozen);
    let entries = until("the reason in the ledger", || async {
        let entries = sidecar.decisions().await.entries;
        let undone = entries.iter().any(|entry| {
            matches!(&entry.body, EntryBody::Decision(record)
                if record.action == trimtab_protocol::decision::Action::RollBack && record.reason == Reason::Frozen)
        });
        undone.then_some(entries)
    });
    assert_eq!(commands(&entries.await), ["freeze"]);
    some_ticks(&sidecar).await;
    assert_eq!(service.workers().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_needs_no_name_of_the_host_and_no_whole_configuration() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let mut bare = trimtab();
    bare.arg("freeze").arg("--socket");
    bare.arg(socket(&service, "sidecar"));
    let (code, out, err) = asked(bare).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    sidecar
        .until_status("the freeze", |status| status.frozen)
        .await;
    // A file as somebody leaves it who is called away: the ledger's directory stands in it, and a slip.
    let file = service.directory.path().join("broken.toml");
    let text = "mode = \"fast\"\n[[hosts]]\nid = \"shop\"\nsocket = \"control.sock\"\n[ledger]\ndirectory = \"sidecar\"\n[lease\n";
    std::fs::write(&file, text).unwrap();
    let mut slip = trimtab();
    slip.env("TRIMTAB_CONFIG", &file).arg("unfreeze");
    let (code, out, err) = asked(slip).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        err.starts_with("warning: ") && err.contains("broken.toml:7"),
        "{err}"
    );
    sidecar
        .until_status("the freeze's end", |status| !status.frozen)
        .await;
    // Nobody can tell where the sidecar is of a file that says it wrongly.
    std::fs::write(
        &file,
        format!("{}[intake]\nsocket = 5\n", text.replace("[lease\n", "")),
    )
    .unwrap();
    let mut lost = trimtab();
    lost.arg("freeze").arg("--config").arg(&file);
    let (code, _, err) = asked(lost).await;
    assert_eq!(code, 78, "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_holds_is_not_fought_and_expires() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    service.until_trial().await;
    let receipt = done(&service, "pin web workers 5 --for 6s").await;
    let change = &receipt.values["web"]["workers"];
    assert_eq!(change.to, 5.into());
    let pinned = |state: &trimtab_protocol::state::HostState| {
        state.pools["web"].knobs["workers"].pinned_for_ms.is_some()
    };
    some_ticks(&sidecar).await;
    let state = service.state().await.unwrap();
    assert!(pinned(&state) && service.workers().await == 5);
    until("the pin's end", || async {
        service.state().await.filter(|state| !pinned(state))
    })
    .await;
    assert_eq!(service.workers().await, 2, "the last confirmed value");
    done(&service, "pin web workers --for 10m").await;
    let receipt = done(&service, "unpin web workers").await;
    assert!(receipt.text.contains("released"));
    let (code, _, err) = tell(&service, "pin web workers 65 --for 1m").await;
    assert_eq!(code, 1);
    assert!(err.contains("it takes 1 to 64"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_of_any_command_changes_nothing() {
    let service = Service::start(BRISK);
    let advise = |text: String| text.replace("\"act\"", "\"advise\"");
    let sidecar = Sidecar::start_as(&service, "sidecar", advise).await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let words = [
        "freeze",
        "unfreeze",
        "pin web workers 9 --for 1m",
        "reset",
        "profile use web background",
    ];
    for line in words {
        let receipt = done(&service, &format!("{line} --dry-run")).await;
        assert!(receipt.dry_run && !receipt.frozen && !receipt.text.is_empty());
    }
    for (line, says) in [
        ("unpin web workers --dry-run", "nobody holds"),
        ("approve --dry-run", "waits"),
        ("reject", "waits"),
    ] {
        let (code, _, err) = tell(&service, line).await;
        assert!(code == 1 && err.contains(says), "{line}: {err}");
    }
    let state = service.state().await.unwrap();
    assert!(!state.frozen && state.pools["web"].revision.0 == 1);
    let status = sidecar.status().await.unwrap();
    assert!(!status.frozen);
    assert_ne!(status.pools["web"].profile, "background");
    assert!(!service.directory.path().join("sidecar/freeze").exists());
    let entries = sidecar.decisions().await.entries;
    assert_eq!(commands(&entries).len(), 8, "each is in the ledger");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switched_profile_cites_the_operator_and_goes_back_when_its_time_is_over() {
    let service = Service::start(BRISK);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let before = sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let own = before.pools["web"].profile.clone();
    let receipt = done(&service, "profile use web background --for 4s").await;
    assert!(receipt.text.contains("background"), "{}", receipt.text);
    let status = sidecar
        .until_status("the switch", |status| {
            status.pools["web"].profile == "background"
        })
        .await;
    let basis = status.pools["web"].profile_basis.as_ref();
    assert!(
        matches!(basis, Some(ProfileBasis::Operator { who, seconds: Some(_) }) if who.contains("user")),
        "{basis:?}"
    );
    sidecar
        .until_status("the end of the switch", |status| {
            status.pools["web"].profile == own
        })
        .await;
    let told = until("both switches in the ledger", || async {
        let entries = sidecar.decisions().await.entries;
        let reasons = entries.into_iter().filter_map(|entry| match entry.body {
            EntryBody::Decision(record) => match record.reason {
                Reason::ProfileChosen {
                    profile, because, ..
                } => Some((profile, because, entry.text)),
                _ => None,
            },
            _ => None,
        });
        let reasons: Vec<_> = reasons.collect();
        (reasons.len() >= 2).then_some(reasons)
    })
    .await;
    assert_eq!(told[0].0, "background");
    assert!(matches!(told[0].1, ProfileBasis::Operator { .. }));
    assert!(told[0].2.contains("said so"), "{}", told[0].2);
    assert_eq!(told[1].0, own);
    let (code, _, err) = tell(&service, "profile use web nosuch").await;
    assert!(code == 1 && err.contains("known are"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_is_in_the_ledger_on_disk_with_who_gave_it() {
    let service = Service::start(SLOW);
    let mut sidecar = Sidecar::start(&service, "sidecar").await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    done(&service, "pin web workers 4 --for 10m").await;
    done(&service, "reset web").await;
    tell(&service, "pin web nosuch 4 --for 10m").await;
    sidecar.signal("TERM");
    sidecar.ended().await;
    let directory = service.directory.path().join("sidecar");
    let files = std::fs::read_dir(directory).unwrap().flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(".jsonl"));
    let text: String = files
        .map(|file| std::fs::read_to_string(file.path()).unwrap())
        .collect();
    let entries = text
        .lines()
        .map(|line| serde_json::from_str::<Entry>(line).unwrap());
    let told: Vec<_> = entries
        .filter_map(|entry| match entry.body {
            EntryBody::Command(record) => Some((record, entry.text)),
            _ => None,
        })
        .collect();
    let words: Vec<&str> = told.iter().map(|(record, _)| record.asked.word()).collect();
    assert_eq!(words, ["pin", "reset", "pin"]);
    let own = std::fs::metadata("/proc/self").unwrap().uid();
    for (record, text) in &told {
        let Operator::Socket {
            uid,
            pid: Some(pid),
        } = record.operator
        else {
            panic!("{record:?}");
        };
        assert!(uid == own && pid > 1);
        assert!(text.contains(&format!("user {own}")), "{text}");
    }
    assert!(matches!(told[0].0.outcome, CommandResult::Done { .. }));
    assert!(matches!(told[2].0.outcome, CommandResult::Refused { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_a_command_needs_the_right_token_and_the_token_is_never_told() {
    const TOKEN: &str = "a-token-that-nobody-may-ever-read-1234";
    let service = Service::start(SLOW);
    let file = service.directory.path().join("tokens");
    std::fs::write(&file, format!("night-shift {TOKEN}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let with_tokens = |text: String| format!("{text}\n[intake]\ntoken_file = {file:?}\n");
    let sidecar = Sidecar::start_as(&service, "sidecar", with_tokens).await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let post = |token: String| {
        let address = sidecar.address.clone();
        async move {
            let stream = TcpStream::connect(&address).await.unwrap();
            let headers = format!(
                "Host: {address}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n{token}"
            );
            exchange(stream, "POST /api/v1/hosts/shop/freeze", &headers, "{}").await
        }
    };
    for wrong in [String::new(), "Authorization: Bearer wrong\r\n".to_owned()] {
        let (status, body) = post(wrong).await;
        assert_eq!(status, 401, "{body}");
    }
    assert!(!service.state().await.unwrap().frozen);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, body) = post(right.clone()).await;
    assert_eq!(status, 200, "{body}");
    assert!(service.state().await.unwrap().frozen);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(post(right).await.0, 401, "a file that is open is not used");

    let (_, ledger) = sidecar.get("/api/v1/hosts/shop/decisions").await;
    assert!(ledger.contains("night-shift"), "{ledger}");
    let (_, metrics) = sidecar.get("/metrics").await;
    let (_, page) = sidecar.get("/").await;
    let arguments = std::fs::read(format!("/proc/{}/cmdline", sidecar.pid())).unwrap();
    let variables = std::fs::read(format!("/proc/{}/environ", sidecar.pid())).unwrap();
    for told in [
        ledger,
        metrics,
        page,
        body,
        sidecar.log(),
        String::from_utf8_lossy(&arguments).into_owned(),
        String::from_utf8_lossy(&variables).into_owned(),
    ] {
        assert!(!told.contains(TOKEN), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_file_of_tokens_nothing_is_commanded_over_http() {
    let service = Service::start(SLOW);
    let sidecar = Sidecar::start(&service, "sidecar").await;
    let stream = TcpStream::connect(&sidecar.address).await.unwrap();
    let headers = format!(
        "Host: {}\r\nContent-Type: application/json\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n",
        sidecar.address
    );
    let (status, body) = exchange(stream, "POST /api/v1/hosts/shop/freeze", &headers, "{}").await;
    assert_eq!(status, 405, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_is_not_named_is_refused_if_root_runs_this() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Only root can be somebody else.
        return;
    }
    let service = Service::start(SLOW);
    // The socket must be reachable for others, so that it is the check that refuses them and not the file system.
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(service.directory.path(), open).unwrap();
    let place = service.directory.path().join("operator-of-all.sock");
    let config = format!("\n[intake]\nsocket = {place:?}\nuids = [\"65533\"]\n");
    let sidecar = Sidecar::start_as(&service, "sidecar", |text| text + &config).await;
    sidecar
        .until_status("the pool", |status| status.pools.contains_key("web"))
        .await;
    let ask = |uid: u32| {
        let mut command = Command::new("python3");
        command.env_clear().uid(uid).gid(uid).current_dir("/");
        let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n\
                      s.sendall(b'POST /api/v1/hosts/shop/freeze?dry_run=true HTTP/1.0\\r\\nContent-Type: \
                      application/json\\r\\nContent-Length: 2\\r\\n\\r\\n{}')\nprint(s.makefile().readline())";
        command.arg("-c").arg(script).arg(&place);
        asked(command)
    };
    let (code, out, err) = ask(65_534).await;
    assert!(code == 0 && out.contains(" 403 "), "{out}{err}");
    let (code, out, err) = ask(65_533).await;
    assert!(code == 0 && out.contains(" 200 "), "{out}{err}");
    let entries = sidecar.decisions().await.entries;
    assert_eq!(commands(&entries), ["freeze"], "the stranger left no line");
    // The same through the host's own operator socket still works.
    let (status, _) = operator(&service, "PUT", "/trimtab/v1/freeze", Some("{}")).await;
    assert_eq!(status, 200);
}
