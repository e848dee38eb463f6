//! What each key of the sidecar's configuration means, what it may be, and what it is when it is left out.

use super::door;
use super::error::Finding;
use super::raw::{Desk, Found, Parsed, Spot};
use super::section::{Section, closest, list, shorten};
use super::unit::Unit;
use super::value::{NumberRule, TextRule, contradiction};
use super::{Config, FlameConfig, LedgerConfig, LogConfig, LogFormat, serve};
use crate::place::{HostPlace, LoopbackAddress};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use trimtab_core::moment::Span;
use trimtab_core::profile::{Profile, Settings};
use trimtab_protocol::decision::Mode;
use trimtab_protocol::lease::{TTL_MS_DEFAULT, TTL_MS_MAX, TTL_MS_MIN};
use trimtab_protocol::name::{HostId, PoolName, is_plain_name};

/// A configuration whose values are good by themselves; the profiles that it names are not looked up yet.
#[derive(Debug)]
pub(super) struct Draft {
    /// The directory of profiles, and where it is named.
    pub(super) profiles: Option<(PathBuf, Spot)>,
    mode: Mode,
    interval_ms: u64,
    host: Option<Host>,
    lease_ttl_ms: u64,
    holder: String,
    serve: serve::Draft,
    flame: FlameConfig,
    intake: door::Draft,
    ledger: LedgerConfig,
    log: LogConfig,
}

#[derive(Debug)]
struct Host {
    id: HostId,
    control: HostPlace,
    /// The file of the tokens for it, and where that is named.
    tokens: Option<(PathBuf, Spot)>,
    operator_socket: PathBuf,
    call_deadline_ms: u64,
    pools: Vec<(PoolName, Found<String>)>,
}

const INTERVAL: NumberRule = NumberRule {
    key: "interval",
    unit: Unit::Millis,
    min: 100,
    max: 60_000,
    why: "more often costs more than it shows, and more rarely misses what it should act on",
};
const INTERVAL_DEFAULT_MS: u64 = 1_000;

const CALL_DEADLINE: NumberRule = NumberRule {
    key: "call_deadline",
    unit: Unit::Millis,
    min: 10,
    max: 10_000,
    why: "a host answers within 50ms, and a call that is waited for longer holds up the next tick",
};
const CALL_DEADLINE_DEFAULT_MS: u64 = 500;

const LEASE_TTL: NumberRule = NumberRule {
    key: "ttl",
    unit: Unit::Millis,
    min: TTL_MS_MIN,
    max: TTL_MS_MAX,
    why: "hosts grant no other lease",
};
/// A lease outlives two ticks that got lost.
const LEASE_INTERVALS: u64 = 3;

const LEDGER_BYTES: NumberRule = NumberRule {
    key: "max_bytes",
    unit: Unit::Bytes,
    min: 1 << 20,
    max: 1 << 40,
    why: "less does not hold an hour of entries, and more is a slip of the pen",
};
const LEDGER_BYTES_DEFAULT: u64 = 256 << 20;

const ID: TextRule = TextRule {
    key: "id",
    what: "a plain name",
    takes: is_plain_name,
    why: "allowed: 1 to 64 characters of a-z, 0-9, `_` and `-`, beginning with a letter; it stands in paths, labels and ledger lines",
};
/// What a host is called that only an override names.
const ID_DEFAULT: &str = "host";

const SOCKET: TextRule = TextRule {
    key: "socket",
    what: "the path of the host's control socket, or an address such as \"http://127.0.0.1:7070\"",
    takes: |text| {
        if LoopbackAddress::is_meant(text) {
            text.parse::<LoopbackAddress>().is_ok()
        } else {
            is_path(text) && text.len() <= 107
        }
    },
    why: "a Unix socket's path has at most 107 bytes, and an address is one of loopback with its port, for nothing encrypts there",
};

const DIRECTORY: TextRule = TextRule {
    key: "directory",
    what: "a path",
    takes: is_path,
    why: "the directory that holds the ledger's files",
};
const DIRECTORY_DEFAULT: &str = "trimtab-ledger";

const PROFILES: TextRule = TextRule {
    key: "profiles",
    what: "a path",
    takes: is_path,
    why: "the directory of the profiles",
};

const HOLDER: TextRule = TextRule {
    key: "holder",
    what: "a name of 1 to 128 visible ASCII characters",
    takes: |text| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
    why: "the host shows it to whoever asks who holds the lease",
};

const MODES: [(&str, Mode); 3] = [
    ("observe", Mode::Observe),
    ("advise", Mode::Advise),
    ("act", Mode::Act),
];
const FORMATS: [(&str, LogFormat); 2] = [("human", LogFormat::Human), ("json", LogFormat::Json)];
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Reads the configuration and reports all that is wrong with it. `base` is what relative paths in the files are relative to.
pub(super) fn read(files: &[Parsed<'_>], is_file: bool, base: &Path, desk: &Desk<'_>) -> Draft {
    let mut root = Section::root(desk, files, String::new());
    let mode = root.word("mode", &MODES, "how far the sidecar may go");
    let interval = root.number(&INTERVAL);
    let interval_ms = interval
        .as_ref()
        .map_or(INTERVAL_DEFAULT_MS, |found| found.value);
    let profiles = root
        .text(&PROFILES)
        .map(|found| (located(base, &found), found.spot));
    let host = host(&mut root, is_file, base, interval.as_ref());
    let serve = serve::serve(&mut root, base);
    let flame = super::flame::flame(&mut root);
    let intake = door::intake(&mut root, base);
    let ledger = ledger(&mut root, base);
    let log = log(&mut root);
    let mut lease = root.section("lease");
    let ttl = lease.number(&LEASE_TTL);
    let holder = lease.text(&HOLDER);
    lease.finish();
    let mode_value = mode
        .as_ref()
        .map_or_else(Mode::default, |found| found.value);
    check_lease(desk, mode_value, interval.as_ref(), ttl.as_ref());
    root.finish();
    let longest = TTL_MS_DEFAULT
        .max(LEASE_INTERVALS * interval_ms)
        .min(TTL_MS_MAX);
    Draft {
        profiles,
        mode: mode_value,
        interval_ms,
        host,
        lease_ttl_ms: ttl.map_or(longest, |found| found.value),
        holder: holder.map_or_else(default_holder, |found| found.value),
        serve,
        flame,
        intake,
        ledger,
        log,
    }
}

impl Draft {
    /// Reports what is wrong with the files that keys name and that are read before anything begins.
    pub(super) fn check_files(&self, desk: &Desk<'_>) {
        self.serve.check_files(desk);
        let host = self.host.as_ref().and_then(|host| host.tokens.as_ref());
        if let Some((file, spot)) = host {
            door::check_tokens(file, spot, desk);
        }
    }

    /// The whole configuration, once the profiles are read. `None` when something was reported, here or before.
    pub(super) fn into_config(
        self,
        profiles: BTreeMap<String, Option<Profile>>,
        files: Vec<PathBuf>,
        desk: &Desk<'_>,
    ) -> Option<Config> {
        let host = self.host?;
        let mut assigned = BTreeMap::new();
        for (pool, name) in host.pools {
            if name.value != "auto" && !profiles.contains_key(&name.value) {
                let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
                let mut finding =
                    Finding::new(format!("there is no profile `{}`", shorten(&name.value)))
                        .at(&name.spot, "named here")
                        .note(format!("known: {}", list(&names)));
                if let Some(meant) = closest(&name.value, names.iter().copied()) {
                    finding = finding.help(format!("did you mean `{meant}`?"));
                }
                desk.report(finding);
                continue;
            }
            assigned.insert(pool, name.value);
        }
        let profiles: Option<BTreeMap<String, Profile>> = profiles
            .into_iter()
            .map(|(name, profile)| Some((name, profile?)))
            .collect();
        Some(Config {
            settings: Settings {
                host: host.id,
                mode: self.mode,
                holder: self.holder,
                interval: Span::from_ms(self.interval_ms),
                profiles: profiles?,
                assigned,
            },
            control: host.control,
            call_deadline: Duration::from_millis(host.call_deadline_ms),
            lease_ttl: Duration::from_millis(self.lease_ttl_ms),
            serve: self.serve.config,
            flame: self.flame,
            intake: self
                .intake
                .finish(&self.ledger.directory, host.operator_socket),
            ledger: self.ledger,
            log: self.log,
            recording: None,
            files,
            overrides: desk.override_origins(),
            origins: BTreeMap::new(),
            profiles_directory: self.profiles.map(|(directory, _)| directory),
            watched: None,
            directories: Vec::new(),
        })
    }
}

/// The one host. `None` when something was reported.
fn host(
    root: &mut Section<'_>,
    is_file: bool,
    base: &Path,
    interval: Option<&Found<u64>>,
) -> Option<Host> {
    let mut tables = root.sections("hosts", |_| "host".to_owned())?;
    if let [first, second, ..] = tables.as_slice() {
        let finding = Finding::new("more than one host is configured")
            .at(&second.heading(), "the second")
            .at(&first.heading(), "the first")
            .note("a sidecar tunes one host now; it is a list so that files stay valid when it tunes several")
            .help("start one sidecar for each host");
        root.desk.report(finding);
        return None;
    }
    let named = !tables.is_empty();
    let mut table = tables.pop().unwrap_or_else(|| root.absent("hosts", "host"));
    if !named && !table.gives(SOCKET.key) {
        let finding = if is_file {
            Finding::new("no host is configured").at(&table.heading(), "expected in this file")
        } else {
            Finding::new("no host is named, and there is no configuration file")
        };
        root.desk.report(finding.help(
            "name the host's control socket with `--socket`, or write `[[hosts]]` with `id` and `socket`",
        ));
        return None;
    }
    let id = table.need_text(&ID);
    let socket = table.need_text(&SOCKET);
    let (control, tokens) = door::control(&mut table, base, socket.as_ref());
    let operator_socket = door::host_socket(&mut table, base, control.as_ref());
    let deadline = table.number(&CALL_DEADLINE);
    let interval_ms = interval.map_or(INTERVAL_DEFAULT_MS, |found| found.value);
    if let Some(deadline) = &deadline
        && deadline.value > interval_ms
    {
        let why = "a call that outlives its tick holds up the next one";
        let title = "`hosts.call_deadline` is longer than the interval".to_owned();
        table.desk.report(match interval {
            Some(interval) => contradiction(title, deadline, interval, Unit::Millis, why),
            None => Finding::new(title)
                .at(
                    &deadline.spot,
                    format!("found {}", Unit::Millis.show(deadline.value)),
                )
                .note(format!(
                    "allowed: at most {}, the default interval; {why}",
                    Unit::Millis.show(interval_ms)
                )),
        });
    }
    let pools = pools(&mut table);
    table.finish();
    let default_deadline_ms = CALL_DEADLINE_DEFAULT_MS.min(interval_ms);
    let id = if named {
        id?.value
    } else {
        id.map_or_else(|| ID_DEFAULT.to_owned(), |id| id.value)
    };
    Some(Host {
        id: HostId::from(id),
        control: control?,
        tokens,
        operator_socket: operator_socket?,
        call_deadline_ms: deadline.map_or(default_deadline_ms, |found| found.value),
        pools,
    })
}

/// The one host's id alone, if one is given that can be one.
pub(super) fn host_id(root: &mut Section<'_>) -> Option<String> {
    let tables = root.sections("hosts", |_| "host".to_owned())?;
    let mut tables = tables.into_iter();
    let mut table = match (tables.next(), tables.next()) {
        (Some(one), None) => one,
        (Some(_), Some(_)) => return None,
        (None, _) => root.absent("hosts", "host"),
    };
    table.text(&ID).map(|id| id.value)
}

/// Which profile a pool follows.
fn pools(host: &mut Section<'_>) -> Vec<(PoolName, Found<String>)> {
    let mut table = host.section("pools");
    let mut pools = Vec::new();
    for (name, key, given) in table.entries() {
        if !is_plain_name(&name) {
            let title = format!("`{}` is not a pool's name", shorten(&name));
            table
                .desk
                .report(Finding::new(title).at(&key, "found here").note(ID.why));
            continue;
        }
        let rule = TextRule {
            key: "pools",
            what: "the name of a profile",
            takes: is_plain_name,
            why: "a profile is named like its file, without `.toml`",
        };
        if let Some(value) = table.checked_text(&given, &rule) {
            pools.push((
                PoolName::from(name),
                Found {
                    value,
                    spot: given.spot,
                },
            ));
        }
    }
    table.finish();
    pools
}

pub(super) fn ledger(root: &mut Section<'_>, base: &Path) -> LedgerConfig {
    let mut table = root.section("ledger");
    let directory = table.text(&DIRECTORY);
    let max_bytes = table.number(&LEDGER_BYTES);
    table.finish();
    LedgerConfig {
        directory: directory.map_or_else(
            || base.join(DIRECTORY_DEFAULT),
            |found| located(base, &found),
        ),
        max_bytes: max_bytes.map_or(LEDGER_BYTES_DEFAULT, |found| found.value),
    }
}

fn log(root: &mut Section<'_>) -> LogConfig {
    let mut table = root.section("log");
    let format = table.word(
        "format",
        &FORMATS,
        "`human` is one line of text an event, `json` one object",
    );
    let level = table.word("level", &LEVELS, "each writes what is to its left as well");
    table.finish();
    let default = LogConfig::default();
    LogConfig {
        format: format.map_or(default.format, |found| found.value),
        level: level.map_or(default.level, |found| found.value),
    }
}

/// A lease is renewed each tick, so it has to live longer than one, or every trial ends with it.
fn check_lease(
    desk: &Desk<'_>,
    mode: Mode,
    interval: Option<&Found<u64>>,
    ttl: Option<&Found<u64>>,
) {
    let interval_ms = interval.map_or(INTERVAL_DEFAULT_MS, |found| found.value);
    let why = "in mode `act` the lease must last two intervals: it is renewed once in each, and trials end with it";
    let title = "`lease.ttl` is shorter than two intervals".to_owned();
    match (ttl, interval) {
        _ if mode != Mode::Act => {}
        (Some(ttl), Some(interval)) if ttl.value < 2 * interval.value => {
            desk.report(contradiction(title, ttl, interval, Unit::Millis, why));
        }
        (Some(ttl), None) if ttl.value < 2 * interval_ms => {
            let found = format!("found {}", Unit::Millis.show(ttl.value));
            desk.report(Finding::new(title).at(&ttl.spot, found).note(why));
        }
        (None, Some(interval)) if TTL_MS_MAX < 2 * interval.value => {
            let finding = Finding::new("`interval` is longer than half of the longest lease")
                .at(
                    &interval.spot,
                    format!("found {}", Unit::Millis.show(interval.value)),
                )
                .note(why);
            desk.report(finding);
        }
        _ => {}
    }
}

/// A path of the file is relative to the file; one from elsewhere is relative to where the sidecar was started.
pub(super) fn located(base: &Path, found: &Found<String>) -> PathBuf {
    if found.spot.is_override() {
        PathBuf::from(&found.value)
    } else {
        base.join(&found.value)
    }
}

pub(super) fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

/// The machine and the process: two sidecars by mistake do not take each other's lease, and a person sees who holds it.
fn default_holder() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine: String = machine
        .trim()
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    let machine = if machine.is_empty() {
        "trimtab"
    } else {
        &machine
    };
    format!("{machine}-{}", std::process::id())
}
