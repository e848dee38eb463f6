//! The keys about operators and probes: who may command, by which ways, and where health is shown to others.

use super::error::Finding;
use super::raw::{Desk, Found, Spot};
use super::section::Section;
use super::validate::{is_path, located};
use super::value::TextRule;
use crate::place::{HostPlace, LoopbackAddress};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use trimtab_sys::token;

/// Where operators' commands come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// The operator's socket of this sidecar.
    pub socket: PathBuf,
    /// Users who may command over it, besides the sidecar's own and root.
    pub uids: Vec<u32>,
    /// The file of tokens for commands over HTTP; without it there are none over HTTP.
    pub token_file: Option<PathBuf>,
    /// The host's operator socket, over which a freeze, a pin and a reset reach it.
    pub host_socket: PathBuf,
}

/// The same as far as it is known before the ledger's directory is.
#[derive(Debug, Default)]
pub(super) struct Draft {
    socket: Option<PathBuf>,
    uids: Vec<u32>,
    token_file: Option<PathBuf>,
}

/// The name of a socket when nothing else is said.
const SOCKET_NAME: &str = "operator.sock";

const SOCKET: TextRule = TextRule {
    key: "socket",
    what: "the path of a socket",
    takes: |text| is_path(text) && text.len() <= 107,
    why: "the socket that the sidecar opens for operators; a Unix socket's path has at most 107 bytes",
};

const HOST_SOCKET: TextRule = TextRule {
    key: "operator_socket",
    what: "the path of the host's operator socket",
    takes: |text| is_path(text) && text.len() <= 107,
    why: "a freeze, a pin and a reset go there; a Unix socket's path has at most 107 bytes",
};

const HOST_TOKENS: TextRule = TextRule {
    key: "token_file",
    what: "a path",
    takes: is_path,
    why: "the file whose first token is shown to a host over TCP",
};

const UIDS: TextRule = TextRule {
    key: "uids",
    what: "a user's number, such as \"1000\"",
    takes: |text| text.parse::<u32>().is_ok_and(|uid| uid != u32::MAX),
    why: "the kernel tells who is at the other end of a socket by number",
};

const TOKEN_FILE: TextRule = TextRule {
    key: "token_file",
    what: "a path",
    takes: is_path,
    why: "the file of the tokens that may command over HTTP",
};

const HEALTH: TextRule = TextRule {
    key: "health",
    what: "an address with a port, such as \"0.0.0.0:7677\"",
    takes: |text| text.parse::<SocketAddr>().is_ok(),
    why: "the sidecar asks no name server, so that it starts in any network",
};

/// The table `intake`.
pub(super) fn intake(root: &mut Section<'_>, base: &Path) -> Draft {
    let mut table = root.section("intake");
    let draft = Draft {
        socket: table.text(&SOCKET).map(|found| located(base, &found)),
        uids: table
            .texts(&UIDS)
            .unwrap_or_default()
            .iter()
            .filter_map(|uid| uid.parse().ok())
            .collect(),
        token_file: table.text(&TOKEN_FILE).map(|found| located(base, &found)),
    };
    table.finish();
    draft
}

/// The operator's socket alone; nothing where what is given cannot be one.
pub(super) fn operators(root: &mut Section<'_>, base: &Path, ledger: &Path) -> Option<PathBuf> {
    let mut table = root.section("intake");
    if !table.gives(SOCKET.key) {
        return Some(ledger.join(SOCKET_NAME));
    }
    table.text(&SOCKET).map(|found| located(base, &found))
}

/// The host's operator socket: beside its control socket, unless a key says otherwise.
pub(super) fn host_socket(
    host: &mut Section<'_>,
    base: &Path,
    control: Option<&HostPlace>,
) -> Option<PathBuf> {
    if let Some(HostPlace::Tcp { .. }) = control
        && !host.gives(HOST_SOCKET.key)
    {
        let why =
            "over TCP a host takes no operators' calls, and beside an address there is no socket";
        host.require(HOST_SOCKET.key, why);
    }
    let given = host.text(&HOST_SOCKET);
    given.map(|found| located(base, &found)).or(match control? {
        HostPlace::Socket(path) => Some(path.with_file_name(SOCKET_NAME)),
        HostPlace::Tcp { .. } => None,
    })
}

/// Where the host's control API is, and the file of tokens for it with the place that names it.
pub(super) fn control(
    host: &mut Section<'_>,
    base: &Path,
    socket: Option<&Found<String>>,
) -> (Option<HostPlace>, Option<(PathBuf, Spot)>) {
    let tokens = host.text(&HOST_TOKENS);
    let tokens = tokens.map(|found| (located(base, &found), found.spot));
    let Some(socket) = socket else {
        return (None, None);
    };
    let Ok(address) = socket.value.parse::<LoopbackAddress>() else {
        return (Some(HostPlace::Socket(located(base, socket))), None);
    };
    if tokens.is_none() && !host.gives(HOST_TOKENS.key) {
        let title = "the host is reached over TCP, and no token is shown to it";
        let finding = Finding::new(title)
            .at(&socket.spot, "an address")
            .note("over TCP the kernel does not say who calls, so the host asks for a token")
            .help("name a file of tokens with `token_file`");
        host.desk.report(finding);
    }
    let place = tokens.as_ref().map(|(file, _)| HostPlace::Tcp {
        address,
        token_file: file.clone(),
    });
    (place, tokens)
}

/// Reports a file of tokens that cannot be used now.
pub(super) fn check_tokens(file: &Path, spot: &Spot, desk: &Desk<'_>) {
    if let Err(error) = token::check(file) {
        let found = format!("{}: {error}", file.display());
        desk.report(Finding::new("the file of tokens cannot be used").at(spot, found));
    }
}

/// Where health and metrics are shown to others; nowhere without the key.
pub(super) fn health(serve: &mut Section<'_>) -> Option<SocketAddr> {
    serve.text(&HEALTH)?.value.parse().ok()
}

impl Draft {
    /// The whole, with the operator's socket in the ledger's directory unless a key says otherwise.
    pub(super) fn finish(self, ledger: &Path, host_socket: PathBuf) -> IntakeConfig {
        IntakeConfig {
            socket: self.socket.unwrap_or_else(|| ledger.join(SOCKET_NAME)),
            uids: self.uids,
            token_file: self.token_file,
            host_socket,
        }
    }
}
