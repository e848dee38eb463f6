//! The pages as others reach them: over TLS, with a token, and with a certificate that is changed under way. And a host that is
//! reached over TCP. All of it stays on loopback, for a test listens to no other machine.

use crate::support::{BRISK, SLOW, Service, Sidecar, trimtab, until};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trimtab::host_client::{Answer, HostClient};
use trimtab::place::HostPlace;
use trimtab_protocol::problem::ProblemKind;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/tls").join(name)
}

/// Puts a file there that nobody else may read, in one step, as whatever renews certificates does.
fn put(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&draft, path).unwrap();
}

fn put_pair(directory: &Path, name: &str) {
    let text = |end: &str| fs::read_to_string(fixture(&format!("{name}.{end}"))).unwrap();
    put(&directory.join("key.pem"), &text("key.pem"));
    put(&directory.join("certificate.pem"), &text("pem"));
}

/// A sidecar whose pages are encrypted and want a token.
async fn sidecar(service: &Service) -> Sidecar {
    let directory = service.directory.path();
    put_pair(directory, "one");
    put(&directory.join("tokens"), TOKEN);
    let door = "[serve]\nallow_remote = true\ntoken_file = \"tokens\"\n\
                tls = { certificate = \"certificate.pem\", key = \"key.pem\" }\n";
    Sidecar::start_as(service, "sidecar", |text| text.replace("[serve]\n", door)).await
}

/// Whether `trimtab status` gets an answer, and what it says.
fn status(sidecar: &Sidecar, scheme: &str, options: &[&Path]) -> (bool, String) {
    let url = format!("{scheme}://{}", sidecar.address);
    let mut command = trimtab();
    command.args(["status", "--url", &url]);
    for (name, file) in ["--certificate", "--token-file"].iter().zip(options) {
        command.arg(name).arg(file);
    }
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_trusts_the_certificate_and_has_a_token_sees_the_pages_and_nobody_else() {
    let service = Service::start(SLOW);
    let sidecar = sidecar(&service).await;
    let (one, other) = (fixture("one.pem"), fixture("other.pem"));
    let tokens = service.directory.path().join("tokens");
    until("the host to be seen", || async {
        status(&sidecar, "https", &[&one, &tokens]).0.then_some(())
    })
    .await;
    let (_, table) = status(&sidecar, "https", &[&one, &tokens]);
    assert!(table.contains("web"), "{table}");
    let strangers = service.directory.path().join("strangers");
    put(&strangers, &TOKEN.replace('0', "9"));
    for (scheme, options, told) in [
        ("https", vec![&*one], "this needs a token"),
        ("https", vec![&*one, &*strangers], "the token is wrong"),
        ("https", vec![&*other, &*tokens], "UnknownIssuer"),
        ("https", vec![], "--certificate"),
        ("http", vec![], "no sidecar answers"),
    ] {
        let (good, said) = status(&sidecar, scheme, &options);
        assert!(!good && said.contains(told), "{scheme} {options:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_comes_into_force_without_a_restart() {
    let service = Service::start(SLOW);
    let sidecar = sidecar(&service).await;
    let tokens = service.directory.path().join("tokens");
    let (one, other) = (fixture("one.pem"), fixture("other.pem"));
    until("the first certificate", || async {
        status(&sidecar, "https", &[&one, &tokens]).0.then_some(())
    })
    .await;
    put_pair(service.directory.path(), "other");
    until("the next certificate", || async {
        status(&sidecar, "https", &[&other, &tokens])
            .0
            .then_some(())
    })
    .await;
    assert!(!status(&sidecar, "https", &[&one, &tokens]).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_over_tcp_is_tuned_by_whoever_shows_its_token() {
    let mut service = Service::absent();
    let directory = service.directory.path().to_owned();
    let tokens = directory.join("host-tokens");
    put(&tokens, TOKEN);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    service.listen_as(|builder| builder.tcp(address, &tokens));
    service.arrive(BRISK);
    let socket = format!("socket = {:?}", service.control_socket());
    let over_tcp = |tokens: &str| {
        format!(
            "socket = \"http://{address}\"\ntoken_file = {tokens:?}\noperator_socket = \"operator.sock\""
        )
    };
    put(&directory.join("other-tokens"), &TOKEN.replace('0', "9"));
    let stranger = Sidecar::start_as(&service, "stranger", |text| {
        text.replace(&socket, &over_tcp("other-tokens"))
    })
    .await;
    let sidecar = Sidecar::start_as(&service, "sidecar", |text| {
        text.replace(&socket, &over_tcp("host-tokens"))
    })
    .await;
    service.until_trial().await;
    sidecar
        .until_status("a change that is kept", |status| {
            let changes = status.pools.get("web").map(|pool| &pool.changes);
            changes.is_some_and(|changes| changes.kept > 0)
        })
        .await;
    let status = stranger.until_status("its refusal", |status| status.absent.is_some());
    assert!(status.await.pools.is_empty(), "it has read nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosts_token_that_is_changed_on_both_sides_is_shown_without_a_restart() {
    let mut service = Service::absent();
    let tokens = service.directory.path().join("host-tokens");
    put(&tokens, TOKEN);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    service.listen_as(|builder| builder.tcp(address, &tokens));
    let place = HostPlace::Tcp {
        address: format!("http://{address}").parse().unwrap(),
        token_file: tokens.clone(),
    };
    let mut client = HostClient::new(place, Duration::from_secs(20));
    let answer = client.state().await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    put(&tokens, &TOKEN.replace('0', "9"));
    let Answer::Refused(problem) = client.state().await else {
        panic!("the old token is void at once");
    };
    assert_eq!(problem.kind, ProblemKind::Unauthenticated);
    let answer = client.state().await;
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
}
