//! Certificates on disk: which are taken, which are refused and why, and what a change of them does.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const ONE: [&str; 2] = [
    include_str!("../../../tests/tls/one.pem"),
    include_str!("../../../tests/tls/one.key.pem"),
];
const OTHER: [&str; 2] = [
    include_str!("../../../tests/tls/other.pem"),
    include_str!("../../../tests/tls/other.key.pem"),
];

fn put(root: &TempDir, certificate: &str, key: &str, mode: u32) -> TlsFiles {
    let files = TlsFiles {
        certificate: root.path().join("certificate.pem"),
        key: root.path().join("key.pem"),
    };
    fs::write(&files.certificate, certificate).expect("writable");
    fs::write(&files.key, key).expect("writable");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).expect("ours");
    files
}

#[test]
fn a_pair_is_taken_and_whatever_is_none_is_refused_with_the_file_and_the_reason() {
    let root = tempfile::tempdir().expect("a directory");
    Certificates::read(put(&root, ONE[0], ONE[1], 0o600)).expect("they fit");
    let chain = format!("{}{}", ONE[0], OTHER[0]);
    Certificates::read(put(&root, &chain, ONE[1], 0o400)).expect("the first is the server's");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (certificate, key, mode, part, why) in [
        ("", ONE[1], 0o600, Part::Certificate, "no `-----BEGIN"),
        ("hello", ONE[1], 0o600, Part::Certificate, "no `-----BEGIN"),
        (ONE[1], ONE[1], 0o600, Part::Certificate, "no `-----BEGIN"),
        (
            "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n",
            ONE[1],
            0o600,
            Part::Certificate,
            "no PEM",
        ),
        (nonsense, ONE[1], 0o600, Part::Pair, ""),
        (ONE[0], "", 0o600, Part::Key, "no private key"),
        (ONE[0], ONE[0], 0o600, Part::Key, "no private key"),
        (ONE[0], ONE[1], 0o644, Part::Key, "644"),
        (ONE[0], ONE[1], 0o640, Part::Key, "640"),
        (ONE[0], OTHER[1], 0o600, Part::Pair, "KeyMismatch"),
        (OTHER[0], ONE[1], 0o600, Part::Pair, "KeyMismatch"),
    ] {
        let error = Certificates::read(put(&root, certificate, key, mode)).expect_err("it is bad");
        assert_eq!(error.part, part, "{error}");
        assert!(error.why.contains(why), "{error}");
        assert!(!error.why.contains("MIG"), "nothing of a key is told");
    }
    let mut files = put(&root, ONE[0], ONE[1], 0o600);
    files.key = root.path().to_owned();
    let error = Certificates::read(files.clone()).expect_err("a directory");
    assert_eq!(
        (error.part, &*error.why),
        (Part::Key, "it is no plain file")
    );
    files.certificate = root.path().join("none");
    let error = Certificates::read(files).expect_err("nothing");
    assert_eq!(error.part, Part::Certificate);
}

/// The certificate in force, by the address of its configuration.
async fn in_force(certificates: &Arc<Certificates>) -> usize {
    let acceptor = certificates.acceptor().await;
    Arc::as_ptr(acceptor.config()).addr()
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_comes_into_force_and_a_half_written_one_does_not() {
    let root = tempfile::tempdir().expect("a directory");
    let files = put(&root, ONE[0], ONE[1], 0o600);
    let certificates = Arc::new(Certificates::read(files).expect("they fit"));
    let first = in_force(&certificates).await;
    tokio::time::advance(LOOK).await;
    assert_eq!(in_force(&certificates).await, first, "nothing has changed");

    fs::write(root.path().join("certificate.pem"), OTHER[0]).expect("writable");
    assert_eq!(in_force(&certificates).await, first, "it is not looked at");
    tokio::time::advance(LOOK).await;
    assert_eq!(in_force(&certificates).await, first, "the key is missing");

    fs::write(root.path().join("key.pem"), OTHER[1]).expect("writable");
    tokio::time::advance(LOOK).await;
    assert_ne!(in_force(&certificates).await, first, "now they fit");
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_that_could_not_be_read_once_is_read_at_the_next_look() {
    let root = tempfile::tempdir().expect("a directory");
    let files = put(&root, ONE[0], ONE[1], 0o600);
    let certificates = Arc::new(Certificates::read(files).expect("they fit"));
    let first = in_force(&certificates).await;
    put(&root, OTHER[0], OTHER[1], 0o600);
    for _ in 0..2 {
        // As where the process has no file descriptor left for a moment.
        certificates.look_with(|_| {
            let why = "too many open files".to_owned();
            Err(TlsFault {
                part: Part::Key,
                why,
            })
        });
        assert_eq!(in_force(&certificates).await, first);
    }
    tokio::time::advance(LOOK).await;
    assert_ne!(
        in_force(&certificates).await,
        first,
        "nothing has changed since"
    );
}
