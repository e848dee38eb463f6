//! The commented configuration file: every key with its default, its range, and what small and large do.
//!
//! The values come from the configuration in force when no file says anything, so they cannot go stale. `trimtab config example`
//! writes it, and a test compares `config/trimtab.toml` with it.

use super::show::Setting;
use super::{ConfigErrors, Overrides, load};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One row of the file.
enum Row {
    /// The heading of a table, and what it is about.
    Table(&'static str, &'static str),
    /// A key, what to show where it has no default, and what it means.
    Key(&'static str, Option<&'static str>, &'static str),
}

/// The commented file.
///
/// # Errors
/// The defaults are wrong, which a test rules out.
pub fn example() -> Result<String, ConfigErrors> {
    let mut overrides = Overrides::default();
    overrides.set("host.id", "example", "shop");
    overrides.set("host.socket", "example", "/run/shop/control.sock");
    let config = load(None, &overrides)?;
    let settings = config.settings_in_force();
    let values: BTreeMap<&str, &Setting> =
        settings.iter().map(|it| (it.key.as_str(), it)).collect();
    let mut text = comment(HEAD);
    for row in ROWS {
        match row {
            Row::Table(heading, about) => {
                text.push('\n');
                text.push_str(&comment(about));
                line(&mut text, format_args!("{heading}"));
            }
            Row::Key(key, without, about) => {
                // Keys above all tables stand apart.
                let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
                if table.is_empty() {
                    text.push('\n');
                }
                text.push_str(&comment(about));
                let value = values.get(key).and_then(|setting| setting.value.as_deref());
                match (without, value) {
                    (Some(example), _) => line(&mut text, format_args!("# {name} = {example}")),
                    (None, value) => {
                        line(
                            &mut text,
                            format_args!("{name} = {}", value.unwrap_or_default()),
                        );
                    }
                }
            }
        }
    }
    Ok(text)
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    if writeln!(text, "{what}").is_err() {
        tracing::error!("a line could not be written into memory");
    }
}

fn comment(text: &str) -> String {
    let lines = text.lines().map(|line| match line {
        "" => "#\n".to_owned(),
        line => format!("# {line}\n"),
    });
    lines.collect()
}

const HEAD: &str = "\
The sidecar's configuration: every key, with its default where it has one. `minimal.toml` is the least that works.

A relative path is relative to this file. A duration is written \"500ms\", \"30s\", \"5m\" or \"1h\", a size \"64KiB\", \"256MiB\" or \"1GiB\".
Files that end in .toml in the directory `trimtab.d` beside this file are read after it, in the order of their names; a key of a
later file outranks that of an earlier one. A variable outranks all files: `serve.address` is TRIMTAB__SERVE__ADDRESS, the host's
`socket` TRIMTAB__HOST__SOCKET, and `workers.max` of the profile `web` TRIMTAB__PROFILE__WEB__WORKERS__MAX. An option of the command
line outranks everything. `trimtab config show --origin` says what is in force and where it comes from, and `trimtab check` what is
wrong.

The files are watched: `mode`, `hosts.pools`, `profiles` and all that stands in profiles take effect at once, the other keys after a
restart. A set with a mistake changes nothing. One that moves a limit to more than four times or less than a quarter waits for
`trimtab approve`. A start takes the files as they are.";

const ROWS: &[Row] = &[
    Row::Key(
        "mode",
        None,
        "How far the sidecar may go: observe (look only), advise (say what it would do), act (do it).\n\
     Observe changes nothing and advises nothing. Advise is for reading along before it is trusted. Act takes the host's lease.",
    ),
    Row::Key(
        "interval",
        None,
        "The time between two samples; 100ms to 60s.\n\
     Small: quicker to see trouble, more CPU for the sidecar and the host. Large: cheaper, and slow to see trouble.",
    ),
    Row::Key(
        "profiles",
        Some(r#""profiles""#),
        "The directory of your own profiles. A file there replaces the built-in profile of the same name (web, api, background, default)\n\
     or adds one; without this key the built-in profiles are used. There is no default. A link in it leads to files below it.",
    ),
    Row::Table(
        "[[hosts]]",
        "The host: the service that is tuned. One now; a second one is refused.",
    ),
    Row::Key(
        "hosts.id",
        None,
        "Its name in paths, labels and the ledger: 1 to 64 characters of a-z, 0-9, _ and -. It must be given.\n\
     Short: fits into tables. Long: tells more. A new name begins a new history.",
    ),
    Row::Key(
        "hosts.socket",
        None,
        "The control socket that the host opens; at most 107 bytes. It must be given. The host may start later than the sidecar.\n\
     A host that offers its control API over TCP is named as \"http://127.0.0.1:7070\"; only loopback addresses are taken.",
    ),
    Row::Key(
        "hosts.token_file",
        Some(r#""host-tokens""#),
        "A file whose first token is shown to a host over TCP, and must be given for one; on a socket the kernel says who calls. It is\n\
     closed to group and others, as mode 600 is, and read for each connection.",
    ),
    Row::Key(
        "hosts.operator_socket",
        Some(r#""/run/shop/operator.sock""#),
        "The host's operator socket, over which a freeze, a pin and a reset reach it. Default: `operator.sock` beside\n\
     `socket`; for a host over TCP it must be given.",
    ),
    Row::Key(
        "hosts.call_deadline",
        None,
        "The longest that one call to the host may take; 10ms to 10s, at most the interval. Default: 500ms, or a shorter interval.\n\
     Small: a busy host counts as silent. Large: a host that hangs is noticed late.",
    ),
    Row::Table(
        "[hosts.pools]",
        "Which profile a pool follows. Without a line here, or with \"auto\", a pool follows the profile of the kind that the host declares.\n\
     Where the host declares none, five minutes of evidence tell: jobs of more than 5s on average are background work; of the others,\n\
     those that use the CPU for 30% of the time that workers are busy are api, else web. Until then, and where CPU time is not known,\n\
     it is `default`. What was told is kept for ten minutes.",
    ),
    Row::Key("hosts.pools.checkout", Some(r#""web""#), ""),
    Row::Table("[serve]", "The sidecar's own pages and figures."),
    Row::Key(
        "serve.address",
        None,
        "Where it listens: an address with a port. Beyond loopback it needs `allow_remote`, `token_file`, and `tls` or `behind_proxy`; with\n\
     part of these it is refused. Port 0 takes any free port.",
    ),
    Row::Key(
        "serve.allow_remote",
        None,
        "Whether `address` may be one that other machines reach: false or true.\n\
     False: a slip of the pen opens nothing. True: whoever shows a token sees the service's inside, from wherever the address is reached.",
    ),
    Row::Key(
        "serve.behind_proxy",
        None,
        "Whether a proxy in front encrypts: false or true. It is taken at its word.\n\
     False: pages by http alone, or by https with `tls`. True: requests of pages that the proxy serves by https are taken as well, and an\n\
     address beyond loopback needs no `tls`; between the proxy and this sidecar the tokens can be read.",
    ),
    Row::Key(
        "serve.token_file",
        Some(r#""page-tokens""#),
        "A file of tokens, written as that of `intake` is. With it every page and figure here asks for one, as `Authorization: Bearer` or as\n\
     the password that a browser asks for; the user's name may be any. It is read for each request. There is no default.",
    ),
    Row::Key(
        "serve.health",
        Some(r#""0.0.0.0:7677""#),
        "Where health and metrics alone are shown as well, for Prometheus and for the probes of an orchestrator, which cannot reach\n\
     loopback. Only /livez, /readyz, /healthz and /metrics are there, read-only and without a login, so any address is allowed.\n\
     Without this key nothing listens there; there is no default.",
    ),
    Row::Key(
        "serve.allowed_hosts",
        None,
        "Names by which browsers may call it besides localhost, such as that of a proxy on this machine.\n\
     Few: no web page can reach the sidecar through a browser. Many: each name is one more that could be misused.",
    ),
    Row::Table(
        "[serve.tls]",
        "Encryption of the pages, by TLS 1.3; with neither key there is none. Both files are read anew within seconds of a change, and what\n\
     was in force stays there when the new ones do not fit each other. `health` is not encrypted.",
    ),
    Row::Key(
        "serve.tls.certificate",
        Some(r#""certificate.pem""#),
        "The certificate as PEM, the server's own first and after it those that vouch for it. There is no default.",
    ),
    Row::Key(
        "serve.tls.key",
        Some(r#""key.pem""#),
        "Its private key as PEM; the file must be closed to group and others, as mode 600 is. There is no default.",
    ),
    Row::Table(
        "[flame]",
        "Graphs of where the host's time goes: `/flamegraph` on the pages.",
    ),
    Row::Key(
        "flame.remember",
        None,
        "Whether the recent past is remembered, so that each change has its graph of before and after: off or on.\n\
     Off: a graph is taken only when somebody asks. On: the host is sampled all the time, at `hz`.",
    ),
    Row::Key(
        "flame.hz",
        None,
        "Samples a second of CPU time while it remembers; 1 to 1000.\n\
     Small: coarse. Large: each sample costs the host about 20 microseconds of CPU.",
    ),
    Row::Key(
        "flame.max_bytes",
        None,
        "The most memory for what is remembered; 256KiB to 1GiB. The oldest goes first.\n\
     Small: minutes. Large: hours.",
    ),
    Row::Key(
        "flame.own_profile",
        Some(r#""http://127.0.0.1:6060/debug/pprof/profile""#),
        "Where the host serves a profile of itself, as Go services do, or \"unix:\" and the path of the host kit's control socket where it was\n\
     built with its feature `pprof`; asked only where the kernel gives no samples. There is no default.",
    ),
    Row::Key(
        "flame.push",
        Some(r#""http://127.0.0.1:4040""#),
        "A Pyroscope-compatible server to which what is remembered is sent every 15 seconds, at its path /ingest. There is no default.",
    ),
    Row::Table(
        "[intake]",
        "Where operators' commands come in: freeze, pin, reset, profile, approve.",
    ),
    Row::Key(
        "intake.socket",
        Some(r#""/run/trimtab/operator.sock""#),
        "The operator's socket of this sidecar; at most 107 bytes. Default: `operator.sock` in the ledger's directory.\n\
     The kernel tells who is at the other end: the sidecar's own user, root, and the users below may command.",
    ),
    Row::Key(
        "intake.uids",
        None,
        "Further users who may command, by number. With any user here the socket lets everybody connect and refuses the others itself.\n\
     None: only the sidecar's own user and root. Each one more may freeze, pin and reset the service.",
    ),
    Row::Key(
        "intake.token_file",
        Some(r#""tokens""#),
        "A file of tokens. With it the commands are taken over HTTP as well, from whoever shows a token of it; without it they are not.\n\
     Each line is a token of at least 32 characters, or a name and a token; the file must be closed to others, as mode 600 is. It\n\
     is read for each command, so a line that is taken out is void at once. There is no default.",
    ),
    Row::Table(
        "[ledger]",
        "The ledger: every decision, what was sent, and what came of it.",
    ),
    Row::Key(
        "ledger.directory",
        None,
        "The directory of its files; it is made when it is not there.\n\
     On a memory file system a crash of the machine loses what was about to be sent.",
    ),
    Row::Key(
        "ledger.max_bytes",
        None,
        "The most that all its files may take; 1MiB to 1TiB. The oldest are dropped first.\n\
     Small: history is short. Large: the disk fills further.",
    ),
    Row::Table(
        "[lease]",
        "The lease: the right to change the host, which one sidecar has at a time. Only mode `act` takes it.",
    ),
    Row::Key(
        "lease.ttl",
        None,
        "How long it lasts unless it is renewed, which happens in every interval; 500ms to 60s, in mode `act` at least two intervals.\n\
     Default: 5s or three intervals, whichever is longer, up to 60s.\n\
     Small: when the sidecar dies, the host undoes an open trial soon. Large: a slow moment of the sidecar costs no trial.",
    ),
    Row::Key(
        "lease.holder",
        Some(r#""shop-sidecar""#),
        "The name under which it is taken, 1 to 128 visible ASCII characters. Default: the machine's name and the process id.\n\
     The same name retakes a lease at once after a restart; two sidecars of one name take it from each other again and again.",
    ),
    Row::Table(
        "[log]",
        "The sidecar's own log, on the standard error stream.",
    ),
    Row::Key(
        "log.format",
        None,
        "human (one line of text an event) or json (one object an event).\n\
     Human is for a terminal, json for a log store.",
    ),
    Row::Key(
        "log.level",
        None,
        "The least important that is written: error, warn, info, debug, trace.\n\
     Small: only what somebody must act on. Large: every decision to hold, and every call.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commented_file_is_the_one_that_is_written() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/trimtab.toml");
        let file = std::fs::read_to_string(path).expect("it is there");
        let written = example().expect("the defaults are valid");
        assert_eq!(
            file, written,
            "run `trimtab config example > config/trimtab.toml`"
        );
    }

    #[test]
    fn no_key_in_force_is_left_out() {
        let mut overrides = Overrides::default();
        overrides.set("host.socket", "test", "s");
        let config = load(None, &overrides).expect("the defaults are valid");
        for setting in config.settings_in_force() {
            let told = ROWS
                .iter()
                .any(|row| matches!(row, Row::Key(key, ..) if *key == setting.key));
            assert!(
                told || setting.key.starts_with("profile."),
                "{}",
                setting.key
            );
        }
    }
}
