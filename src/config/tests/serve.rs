//! What others need to be let in: each part of it without the rest is refused at its place.

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CERTIFICATE: &str = include_str!("../../../tests/tls/one.pem");
const KEY: &str = include_str!("../../../tests/tls/one.key.pem");
const OTHER_KEY: &str = include_str!("../../../tests/tls/other.key.pem");
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The findings of a `[serve]` with these lines: each title and its line in the file, whose `[serve]` is the fourth.
fn findings(lines: &str) -> Vec<(String, u32)> {
    match check_config(&format!("{MINIMAL}[serve]\n{lines}"), &Overrides::default()) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let list = errors.list().into_iter();
            list.map(|error| (error.message, error.line.expect("it has a place")))
                .collect()
        }
    }
}

fn titles(lines: &str) -> Vec<String> {
    findings(lines)
        .into_iter()
        .map(|(title, _)| title)
        .collect()
}

#[test]
fn an_address_beyond_loopback_needs_the_word_a_token_and_encryption() {
    const NO: &str = "`serve.address` is not a loopback address";
    const NO_TOKEN: &str = "`serve.address` is not a loopback address, and no token is asked for";
    const NO_TLS: &str = "`serve.address` is not a loopback address, and nothing encrypts";
    let word = "allow_remote = true\n";
    let token = "token_file = \"tokens\"\n";
    let tls = "tls = { certificate = \"c\", key = \"k\" }\n";
    let proxy = "behind_proxy = true\n";
    for address in [
        "0.0.0.0:7676",
        "[::]:7676",
        "192.0.2.7:443",
        "[2001:db8::7]:1",
    ] {
        let lines = |parts: &[&str]| format!("address = \"{address}\"\n{}", parts.concat());
        for (parts, expected) in [
            (vec![], vec![NO]),
            (vec![token, tls], vec![NO]),
            (vec![token, tls, proxy], vec![NO]),
            (vec![word], vec![NO_TOKEN, NO_TLS]),
            (vec![word, token], vec![NO_TLS]),
            (vec![word, tls], vec![NO_TOKEN]),
            (vec![word, proxy], vec![NO_TOKEN]),
            (vec![word, token, tls], vec![]),
            (vec![word, token, proxy], vec![]),
            (vec![word, token, proxy, tls], vec![]),
        ] {
            let found = titles(&lines(&parts));
            assert_eq!(found, expected, "{address} with {parts:?}");
            assert!(findings(&lines(&parts)).iter().all(|(_, line)| *line == 5));
        }
    }
    for parts in [word, token, tls, proxy] {
        let found = titles(&format!("address = \"127.0.0.1:0\"\n{parts}"));
        assert!(
            found.is_empty(),
            "on loopback each may stand alone: {found:?}"
        );
    }
}

#[test]
fn half_of_a_pair_and_other_words_than_yes_and_no_are_refused_at_their_place() {
    for (lines, title, line) in [
        ("tls = { key = \"k\" }\n", "`serve.tls.key` stands alone", 5),
        (
            "\n[serve.tls]\ncertificate = \"c\"\n",
            "`serve.tls.certificate` stands alone",
            7,
        ),
        (
            "allow_remote = \"yes\"\n",
            "`serve.allow_remote` must be true or false",
            5,
        ),
        (
            "behind_proxy = 1\n",
            "`serve.behind_proxy` must be true or false",
            5,
        ),
        ("tls = \"c\"\n", "`serve.tls` must be a table", 5),
    ] {
        assert_eq!(findings(lines), [(title.to_owned(), line)], "{lines}");
    }
    let mut overrides = Overrides::default();
    overrides.set("serve.address", "--listen", "0.0.0.0:1");
    let text = report(check_config(MINIMAL, &overrides));
    assert!(
        text.contains("--listen") && text.contains("not a loopback address"),
        "{text}"
    );
    overrides.set("serve.allow_remote", "$X", "true");
    overrides.set("serve.behind_proxy", "$Y", "true");
    overrides.set("serve.token_file", "$Z", "tokens");
    let config = check_config(MINIMAL, &overrides).expect("overrides may say all of it");
    assert!(config.serve.is_for_others());
}

#[test]
fn tokens_certificate_and_key_are_tried_when_the_configuration_is_read() {
    let root = tempfile::tempdir().expect("a directory");
    let put = |name: &str, text: &str, mode: u32| {
        let path = root.path().join(name);
        fs::write(&path, text).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        path
    };
    let text = format!(
        "{MINIMAL}[serve]\naddress = \"127.0.0.1:0\"\ntoken_file = \"tokens\"\n\
         tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n"
    );
    let file = put("trimtab.toml", &text, 0o644);
    let read = |tokens: (&str, u32), certificate: &str, key: (&str, u32)| {
        put("tokens", tokens.0, tokens.1);
        put("certificate.pem", certificate, 0o644);
        put("key.pem", key.0, key.1);
        match load(Some(&file), &Overrides::default()) {
            Ok(_) => Vec::new(),
            Err(errors) => {
                let list = errors.list().into_iter();
                list.map(|error| (error.message, error.line, error.column))
                    .collect()
            }
        }
    };
    let (tokens, key) = ((TOKEN, 0o600), (KEY, 0o600));
    if cfg!(feature = "tls") {
        assert_eq!(read(tokens, CERTIFICATE, key), []);
    }
    let at = |title: &str, line, column| vec![(title.to_owned(), Some(line), Some(column))];
    let bad_tokens = at("the file of tokens cannot be used", 6, 14);
    assert_eq!(read((TOKEN, 0o644), CERTIFICATE, key), bad_tokens);
    assert_eq!(read(("short", 0o600), CERTIFICATE, key), bad_tokens);
    assert_eq!(read(("", 0o600), CERTIFICATE, key), bad_tokens);
    if !cfg!(feature = "tls") {
        return;
    }
    let bad_key = at("the private key cannot be used", 7, 48);
    assert_eq!(read(tokens, CERTIFICATE, (KEY, 0o640)), bad_key);
    assert_eq!(read(tokens, CERTIFICATE, (CERTIFICATE, 0o600)), bad_key);
    let bad_pair = at("certificate and key cannot be used together", 7, 48);
    assert_eq!(read(tokens, CERTIFICATE, (OTHER_KEY, 0o600)), bad_pair);
    let bad_certificate = at("the certificate cannot be used", 7, 23);
    assert_eq!(read(tokens, "hello", key), bad_certificate);
}
