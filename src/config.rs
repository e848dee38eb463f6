//! The sidecar's configuration and the workload profiles: read, checked as a whole, and only then believed.
//!
//! [`load`] either returns a configuration in which every value is in its range and no two contradict each other, or all that
//! is wrong with all files in one report. It reads files and nothing else: it opens no socket and makes no directory.
//!
//! Every key can be overridden from outside the file, by [`Overrides`].

mod door;
mod error;
mod profile;
mod raw;
mod section;
mod unit;
mod validate;
mod value;

pub use door::IntakeConfig;
pub(crate) use error::steers;
pub use error::{ConfigError, ConfigErrors};

use self::error::Finding;
use self::raw::{Desk, Source};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use trimtab_core::profile::{Profile, Settings};

/// Everything that the sidecar is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the controller is told.
    pub settings: Settings,
    /// The host's control socket.
    pub socket: PathBuf,
    /// The longest that one call to the host may take; at most the interval.
    pub call_deadline: Duration,
    /// For how long a lease is taken; it is renewed each tick.
    pub lease_ttl: Duration,
    /// The sidecar's own HTTP server.
    pub serve: ServeConfig,
    /// Where operators' commands come in.
    pub intake: IntakeConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// The sidecar's own log.
    pub log: LogConfig,
    /// The files that this came from, the configuration first; built-in profiles are not among them.
    pub files: Vec<PathBuf>,
    /// The variables and options that overrode a key, by name. A name that no key answers to is among them as well.
    pub overrides: Vec<String>,
}

/// The sidecar's own HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where it listens: always a loopback address.
    pub address: SocketAddr,
    /// Where health and metrics alone are shown, on any address; nowhere by default.
    pub health: Option<SocketAddr>,
    /// Names by which browsers may call it, besides the loopback ones.
    pub allowed_hosts: Vec<String>,
}

/// The ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The most that all its files may take together, in bytes.
    pub max_bytes: u64,
}

/// The sidecar's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for programs.
    pub format: LogFormat,
    /// The least important that is still written.
    pub level: LevelFilter,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Human,
            level: LevelFilter::INFO,
        }
    }
}

/// Values that override keys of the files.
///
/// A key's variable is `TRIMTAB_` and the key in capitals with `_` for the dots: `serve.address` is
/// `TRIMTAB_SERVE_ADDRESS`, the one host's socket is `TRIMTAB_HOST_SOCKET`, and `workers.max` of the profile `web` is
/// `TRIMTAB_PROFILE_WEB_WORKERS_MAX`. The value is written as in the file, without quotes; a list has commas. A variable that
/// is empty counts as not set. One that no key answers to is passed over, because orchestrators make such variables up from
/// the names of services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By the variable's name without its beginning: who set it, and to what.
    values: BTreeMap<String, (String, String)>,
}

impl Overrides {
    /// The overrides among a process's variables.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut overrides = Self::default();
        for (name, value) in vars {
            let Some(name) = name.to_str() else { continue };
            if let Some(key) = name.strip_prefix(VARIABLE_PREFIX)
                && !value.is_empty()
            {
                let value = value.to_string_lossy().into_owned();
                overrides
                    .values
                    .insert(key.to_owned(), (format!("${name}"), value));
            }
        }
        overrides
    }

    /// Overrides a key, such as `serve.address` or `host.socket`, over what a variable says; `origin` is what messages call
    /// the place, such as `--listen`.
    pub fn set(&mut self, key: &str, origin: &str, value: impl Into<String>) {
        self.values
            .insert(section::as_variable(key), (origin.to_owned(), value.into()));
    }

    /// The value that overrides a key, such as `config`, if there is one.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(&section::as_variable(key)).map(|(_, value)| value)
    }

    /// Who overrides something, by name.
    fn origins(&self) -> Vec<String> {
        self.values
            .values()
            .map(|(origin, _)| origin.clone())
            .collect()
    }

    /// Who overrides a variable, and with what.
    fn get(&self, variable: &str) -> Option<(&str, &str)> {
        let (origin, value) = self.values.get(variable)?;
        Some((origin, value))
    }
}

const VARIABLE_PREFIX: &str = "TRIMTAB_";

/// Reads and checks the configuration and its profiles. Without a file all keys have their defaults, and the host's socket
/// must come from an override.
///
/// # Errors
/// All that is wrong with all files.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    let desk = Desk::new(overrides);
    let source = match path {
        Some(path) => Source::read(path),
        None => Ok(Source::built_in("trimtab.toml", "")),
    };
    let base = path.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let draft = match source {
        Ok(source) => validate::read(&source, path.is_some(), base, &desk),
        Err(finding) => {
            desk.report(finding);
            None
        }
    };
    let mut findings = desk.take();
    let mut profiles = profile::built_in(&desk, &mut findings);
    let mut files: Vec<PathBuf> = path.into_iter().map(Path::to_path_buf).collect();
    if let Some((directory, spot)) = draft.as_ref().and_then(|draft| draft.profiles.as_ref()) {
        match profile::directory(directory, &desk, &mut findings) {
            Ok(own) => {
                files.extend(
                    own.keys()
                        .map(|name| directory.join(format!("{name}.toml"))),
                );
                profiles.extend(own);
            }
            Err(error) => findings.push(
                Finding::new(format!(
                    "cannot read the directory `{}`",
                    directory.display()
                ))
                .at(spot, error.to_string())
                .help("leave `profiles` out to use the built-in profiles"),
            ),
        }
    }
    let config = draft.and_then(|draft| draft.into_config(profiles, files, &desk));
    findings.extend(desk.take());
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(ConfigErrors::from_findings(findings)),
    }
}

/// Reads and checks profiles by themselves.
///
/// # Errors
/// All that is wrong with all files.
pub fn load_profiles(
    paths: &[PathBuf],
    overrides: &Overrides,
) -> Result<Vec<Profile>, ConfigErrors> {
    let desk = Desk::new(overrides);
    let mut findings = Vec::new();
    let mut profiles = Vec::new();
    for path in paths {
        profiles.extend(profile::file_profile(path, &desk));
        findings.extend(desk.take());
    }
    if findings.is_empty() {
        Ok(profiles)
    } else {
        Err(ConfigErrors::from_findings(findings))
    }
}

#[cfg(test)]
mod tests;
