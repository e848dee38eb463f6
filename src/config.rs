//! The sidecar's configuration and the workload profiles: read, checked as a whole, and only then believed.
//!
//! [`load`] either returns a configuration in which every value is in its range and no two contradict each other, or all that
//! is wrong with all files in one report. It reads files and nothing else: it opens no socket and makes no directory.
//!
//! Every key can be overridden from outside the file, by [`Overrides`].

mod change;
mod door;
mod draft;
mod error;
mod flame;
mod layers;
mod profile;
mod raw;
mod reach;
mod reference;
mod rule;
mod section;
mod serve;
mod show;
mod unit;
mod validate;
mod value;
mod watch;

pub(crate) use change::changes;
pub use door::IntakeConfig;
pub(crate) use error::steers;
pub use error::{ConfigError, ConfigErrors};
pub use flame::FlameConfig;
pub use reach::{Reach, reach};
pub use reference::example;
pub use serve::ServeConfig;
pub(crate) use watch::NewSet;
pub use watch::Watched;

use self::error::Finding;
use self::raw::Desk;
use crate::place::HostPlace;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use trimtab_core::profile::{Profile, Settings};
use trimtab_protocol::decision::Citation;

/// Everything that the sidecar is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the controller is told.
    pub settings: Settings,
    /// Where the host's control API is.
    pub control: HostPlace,
    /// The longest that one call to the host may take; at most the interval.
    pub call_deadline: Duration,
    /// For how long a lease is taken; it is renewed each tick.
    pub lease_ttl: Duration,
    /// The sidecar's own HTTP server.
    pub serve: ServeConfig,
    /// The graphs of where the host's time goes.
    pub flame: FlameConfig,
    /// Where operators' commands come in.
    pub intake: IntakeConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// The sidecar's own log.
    pub log: LogConfig,
    /// Where all that the controller is told is written; nowhere by default.
    pub recording: Option<PathBuf>,
    /// The files that this came from, the configuration first; built-in profiles are not among them.
    pub files: Vec<PathBuf>,
    /// The variables and options that overrode a key, by name.
    pub overrides: Vec<String>,
    /// Where each key that is not left out is set, by the key; those of profiles carry their own.
    pub origins: BTreeMap<String, Citation>,
    /// The directory of the profiles, where there is one.
    pub profiles_directory: Option<PathBuf>,
    /// What is watched for changes; nothing where there is no file.
    pub watched: Option<Watched>,
    /// Which directories a change of this configuration would show in.
    pub directories: Vec<PathBuf>,
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
/// A key's variable is `TRIMTAB__` and the key in capitals with `__` for each dot: `serve.address` is
/// `TRIMTAB__SERVE__ADDRESS`, the one host's socket is `TRIMTAB__HOST__SOCKET`, and `workers.max` of the profile `web` is
/// `TRIMTAB__PROFILE__WEB__WORKERS__MAX`. The value is written as in the file, without quotes; a list has commas. A variable
/// that is empty counts as not set. One that no key answers to is a mistake. Orchestrators make variables up from the names of
/// services, such as `TRIMTAB_PORT`; those have one `_` and are passed over, all but `TRIMTAB_CONFIG`, which names the file.
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
            let key = name.strip_prefix(VARIABLE_PREFIX);
            let key = key.or_else(|| (name == CONFIG_VARIABLE).then_some(CONFIG_KEY));
            if let Some(key) = key
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

    /// The variables that something overrides, without their beginning; the file's name is not among them.
    fn variables(&self) -> impl Iterator<Item = &str> {
        let variables = self.values.keys().map(String::as_str);
        variables.filter(|variable| *variable != CONFIG_KEY)
    }

    /// Who overrides a variable, and with what.
    fn get(&self, variable: &str) -> Option<(&str, &str)> {
        let (origin, value) = self.values.get(variable)?;
        Some((origin, value))
    }
}

const VARIABLE_PREFIX: &str = "TRIMTAB__";
/// The variable that names the configuration's file. It is no key of it.
const CONFIG_VARIABLE: &str = "TRIMTAB_CONFIG";
const CONFIG_KEY: &str = "CONFIG";

/// Reads and checks the configuration, its drop-in files and its profiles. Without a file all keys have their defaults, and
/// the host's socket must come from an override.
///
/// Beside `trimtab.toml` may be a directory `trimtab.d`, whose files, those that end in `.toml`, are read after it in the order
/// of their names. A key of a later file outranks that of an earlier one, and an override outranks them all.
///
/// # Errors
/// All that is wrong with all files.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    load_set(path, overrides).result
}

/// What came of reading all files of a configuration.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration, or all that is wrong.
    pub(crate) result: Result<Config, ConfigErrors>,
    /// Another number when any of the files is another one.
    pub(crate) fingerprint: u64,
    /// The directories to watch, as far as they are known.
    pub(crate) directories: Vec<PathBuf>,
}

/// Reads a configuration as [`load`] does, and says what it was made of.
pub(crate) fn load_set(path: Option<&Path>, overrides: &Overrides) -> Loaded {
    let desk = Desk::new(overrides);
    let base = path.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
    let sources = layers::sources(path, &desk);
    let mut directories: Vec<PathBuf> = path.map(layers::directories).unwrap_or_default();
    let parsed = layers::parsed(&sources, &desk);
    // What a file that is no TOML would have said is not known, so nothing is said to be missing either.
    let draft = (parsed.len() == sources.len() && !parsed.is_empty())
        .then(|| validate::read(&parsed, path.is_some(), base, &desk));
    if let Some(draft) = &draft {
        draft.check_files(&desk);
    }
    let mut findings = desk.take();
    let origins = desk.take_origins();
    let mut profiles = profile::built_in(&desk, &mut findings);
    let mut files: Vec<PathBuf> = Vec::new();
    if path.is_some() {
        files.extend(sources.iter().map(|source| PathBuf::from(source.name())));
    }
    if let Some((directory, spot)) = draft.as_ref().and_then(|draft| draft.profiles.as_ref()) {
        directories.push(directory.clone());
        match profile::directory(directory, &desk, &mut findings) {
            Ok(own) => {
                files.extend(
                    own.keys()
                        .map(|name| directory.join(format!("{name}.toml"))),
                );
                profiles.extend(own);
            }
            Err(error) => {
                let title = format!("cannot read the directory `{}`", directory.display());
                desk.saw(&title);
                let help = "leave `profiles` out to use the built-in profiles";
                findings.push(Finding::new(title).at(spot, error.to_string()).help(help));
            }
        }
    }
    let config = draft.and_then(|draft| draft.into_config(profiles, files, &desk));
    if findings.is_empty() {
        // A file that was refused may be the one that has the key.
        desk.report_unknown_variables();
    }
    findings.extend(desk.take());
    directories.sort();
    directories.dedup();
    let result = match config {
        Some(config) if findings.is_empty() => Ok(Config {
            origins,
            watched: path.map(|path| Watched {
                path: path.to_path_buf(),
                overrides: overrides.clone(),
                fingerprint: desk.fingerprint(),
            }),
            directories: directories.clone(),
            ..config
        }),
        _ => Err(ConfigErrors::from_findings(findings)),
    };
    Loaded {
        result,
        fingerprint: desk.fingerprint(),
        directories,
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
        profiles.extend(profile::file_profile(path, None, &desk));
        findings.extend(desk.take());
    }
    if findings.is_empty() {
        Ok(profiles)
    } else {
        Err(ConfigErrors::from_findings(findings))
    }
}

/// The profiles that are built in, with what the variables override.
///
/// # Errors
/// All that is wrong with the overrides.
pub fn built_in_profiles(overrides: &Overrides) -> Result<Vec<Profile>, ConfigErrors> {
    let desk = Desk::new(overrides);
    let mut findings = Vec::new();
    let profiles = profile::built_in(&desk, &mut findings);
    if findings.is_empty() {
        Ok(profiles.into_values().flatten().collect())
    } else {
        Err(ConfigErrors::from_findings(findings))
    }
}

#[cfg(test)]
mod tests;
