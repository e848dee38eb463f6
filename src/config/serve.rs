//! The keys about the sidecar's own pages: where they are, who may reach them, and how.
//!
//! Beyond loopback three things have to be there together: the word that this is wanted, tokens, and encryption, by a certificate
//! here or by a proxy that is said to be in front. Part of it is a mistake, and never a server that is half open.

use super::door;
use super::error::Finding;
use super::raw::{Desk, Found, Spot};
use super::section::Section;
use super::validate::{is_path, located};
use super::value::TextRule;
use crate::tls::{self, Part, TlsFiles};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The sidecar's own HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where it listens; beyond loopback only with all of what follows that this needs.
    pub address: SocketAddr,
    /// Whether others than this machine may be let in.
    pub allow_remote: bool,
    /// Whether a proxy in front does the encryption.
    pub behind_proxy: bool,
    /// The file of the tokens of which one has to be shown; without it nobody is asked for one.
    pub token_file: Option<PathBuf>,
    /// The certificate and its key; without them the pages are not encrypted here.
    pub tls: Option<TlsFiles>,
    /// Where health and metrics alone are shown, on any address; nowhere by default.
    pub health: Option<SocketAddr>,
    /// Names by which browsers may call it, besides the loopback ones.
    pub allowed_hosts: Vec<String>,
}

impl ServeConfig {
    /// Whether others may be let in, and all that this needs is there.
    #[must_use]
    pub fn is_for_others(&self) -> bool {
        let is_encrypted = self.tls.is_some() || self.behind_proxy;
        self.allow_remote && self.token_file.is_some() && is_encrypted
    }
}

/// The same, with the places of the files that it names.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: ServeConfig,
    token_file: Option<Spot>,
    tls: Option<(Spot, Spot)>,
}

const ADDRESS: TextRule = TextRule {
    key: "address",
    what: "an address with a port, such as \"127.0.0.1:7676\" or \"[::1]:7676\"",
    takes: |text| text.parse::<SocketAddr>().is_ok(),
    why: "the sidecar asks no name server, so that it starts in any network",
};
const PORT_DEFAULT: u16 = 7676;

const ALLOWED_HOSTS: TextRule = TextRule {
    key: "allowed_hosts",
    what: "a host's name without port, such as \"trimtab.example.net\"",
    takes: is_host_name,
    why: "a request whose Host header names anything else is refused, so that no web page can reach the sidecar through a browser",
};

const TOKEN_FILE: TextRule = TextRule {
    key: "token_file",
    what: "a path",
    takes: is_path,
    why: "the file of the tokens that may look at the pages",
};

const CERTIFICATE: TextRule = TextRule {
    key: "certificate",
    what: "a path",
    takes: is_path,
    why: "the file of the certificate as PEM, the server's own first",
};

const KEY: TextRule = TextRule {
    key: "key",
    what: "a path",
    takes: is_path,
    why: "the file of the certificate's private key as PEM, closed to group and others",
};

/// The table `serve`.
pub(super) fn serve(root: &mut Section<'_>, base: &Path) -> Draft {
    let mut table = root.section("serve");
    let address = table.text(&ADDRESS);
    let allow_remote = table.flag("allow_remote", "`true` lets other machines in");
    let behind_proxy = table.flag("behind_proxy", "`true` says that a proxy encrypts");
    let token_file = table.text(&TOKEN_FILE);
    let files = tls(&mut table);
    let remote = Remote {
        is_allowed: allow_remote,
        has_tokens: token_file.is_some(),
        is_encrypted: files.is_some() || behind_proxy,
    };
    let listens = listening(&table, address, &remote);
    let allowed_hosts = table.texts(&ALLOWED_HOSTS).unwrap_or_default();
    let health = door::health(&mut table);
    table.finish();
    Draft {
        config: ServeConfig {
            address: listens,
            allow_remote,
            behind_proxy,
            token_file: token_file.as_ref().map(|found| located(base, found)),
            tls: files.as_ref().map(|(certificate, key)| TlsFiles {
                certificate: located(base, certificate),
                key: located(base, key),
            }),
            health,
            allowed_hosts,
        },
        token_file: token_file.map(|found| found.spot),
        tls: files.map(|(certificate, key)| (certificate.spot, key.spot)),
    }
}

/// What has to be there for others to be let in.
#[derive(Debug)]
struct Remote {
    is_allowed: bool,
    has_tokens: bool,
    is_encrypted: bool,
}

/// Where it listens. Beyond loopback each thing that is missing is a finding of its own.
fn listening(table: &Section<'_>, given: Option<Found<String>>, remote: &Remote) -> SocketAddr {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT));
    let parsed = given.and_then(|found| Some((found.value.parse().ok()?, found.spot)));
    let Some((address, spot)): Option<(SocketAddr, Spot)> = parsed else {
        return default;
    };
    if address.ip().is_loopback() {
        return address;
    }
    let found = format!("found {}", address.ip());
    if !remote.is_allowed {
        let finding = Finding::new("`serve.address` is not a loopback address")
            .at(&spot, found)
            .note("allowed without `serve.allow_remote`: 127.0.0.0/8 and [::1]; the pages show the service's inside")
            .help("to reach it from elsewhere, forward a port through SSH, or set `serve.allow_remote`, `serve.token_file` and `serve.tls`");
        table.desk.report(finding);
        return default;
    }
    if !remote.has_tokens {
        let finding =
            Finding::new("`serve.address` is not a loopback address, and no token is asked for")
                .at(&spot, found.clone())
                .note("whoever reaches the pages would see the service's inside")
                .help("name a file of tokens with `serve.token_file`");
        table.desk.report(finding);
    }
    if !remote.is_encrypted {
        let finding = Finding::new("`serve.address` is not a loopback address, and nothing encrypts")
            .at(&spot, found)
            .note("tokens and pages would cross the network for all to read")
            .help("name a certificate and its key in `[serve.tls]`, or say `serve.behind_proxy = true` where a proxy in front encrypts");
        table.desk.report(finding);
    }
    address
}

/// The certificate and its key; both or none.
fn tls(table: &mut Section<'_>) -> Option<(Found<String>, Found<String>)> {
    let mut files = table.section("tls");
    let given = (files.gives(CERTIFICATE.key), files.gives(KEY.key));
    let (certificate, key) = (files.text(&CERTIFICATE), files.text(&KEY));
    let alone = match (&certificate, &key, given) {
        (Some(certificate), _, (true, false)) => Some((certificate, KEY.key)),
        (_, Some(key), (false, true)) => Some((key, CERTIFICATE.key)),
        _ => None,
    };
    if let Some((found, missing)) = alone {
        let title = format!("`{}` stands alone", found.spot.key);
        let finding = Finding::new(title)
            .at(&found.spot, format!("without `serve.tls.{missing}`"))
            .note("a certificate is of no use without its key, nor a key without its certificate");
        files.desk.report(finding);
    }
    files.finish();
    Some((certificate?, key?))
}

impl Draft {
    /// Reports what is wrong with the tokens, the certificate and the key, as they are now.
    pub(super) fn check_files(&self, desk: &Desk<'_>) {
        if let (Some(file), Some(spot)) = (&self.config.token_file, &self.token_file) {
            door::check_tokens(file, spot, desk);
        }
        if let (Some(files), Some((certificate, key))) = (&self.config.tls, &self.tls)
            && let Err(fault) = tls::check(files)
        {
            let (title, spot, path) = match fault.part {
                Part::Certificate => (
                    "the certificate cannot be used",
                    certificate,
                    &files.certificate,
                ),
                Part::Key => ("the private key cannot be used", key, &files.key),
                Part::Pair => (
                    "certificate and key cannot be used together",
                    key,
                    &files.key,
                ),
            };
            let mut finding =
                Finding::new(title).at(spot, format!("{}: {}", path.display(), fault.why));
            if fault.part == Part::Pair {
                finding = finding.at(certificate, "the certificate");
            }
            desk.report(finding);
        }
    }
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}
