//! The sidecar's configuration while it runs: what is in force, what was refused, what waits.

use crate::decision::Citation;
use serde::{Deserialize, Serialize};

/// What became of a set of configuration files that was read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReloadResult {
    /// It is in force.
    Applied,
    /// It has mistakes; what was in force stays so.
    Refused,
    /// It moves limits so far that an operator must approve it first.
    Waiting,
    /// An operator approved it; it is in force.
    Approved,
    /// An operator rejected it; what was in force stays so.
    Rejected,
    /// The files say again what is in force, so nothing waits any more.
    Withdrawn,
}

/// A key whose value is another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingChange {
    /// The key, such as `profile.web.workers.max`.
    pub key: String,
    /// The value before, as it is written in TOML; absent where the key is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value now; absent where the key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Where it is set now; absent where no file sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_by: Option<Citation>,
    /// Whether it takes effect only after a restart of the sidecar.
    #[serde(default)]
    pub needs_restart: bool,
    /// Whether it moves a limit so far that an operator must approve it.
    #[serde(default)]
    pub drastic: bool,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingProblem {
    /// The file; empty where no file is meant.
    pub file: String,
    /// The line, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What is allowed there, why, and what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The ledger's entry about a configuration that was read anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReloadRecord {
    /// What became of it.
    pub result: ReloadResult,
    /// The keys that changed.
    #[serde(default)]
    pub changes: Vec<SettingChange>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SettingProblem>,
}

/// How changes of the files are noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Watching {
    /// There is no file, so nothing is watched.
    #[default]
    Nothing,
    /// The system tells, and the files are read again now and then all the same.
    Events,
    /// The system cannot tell, so the files are read again and again.
    Rescans,
}

/// The sidecar's configuration: the answer of `/api/v1/configuration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigurationStatus {
    /// The files that what is in force came from.
    pub files: Vec<String>,
    /// How changes of the files are noticed.
    pub watching: Watching,
    /// Since when it is in force, in milliseconds since 1970.
    pub in_force_since_ms: u64,
    /// How often files were applied since the start of the sidecar, approvals included.
    pub applied: u64,
    /// How often files were refused.
    pub refused: u64,
    /// What is wrong with the newest files, if they were refused: what was in force before stays so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SettingProblem>,
    /// What would change, if the newest files wait for an operator's approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<SettingChange>,
    /// The keys that were changed and take effect only after a restart of the sidecar.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

/// One key with the value that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SettingInForce {
    /// The key, such as `serve.address` or `profile.web.workers.max`.
    pub key: String,
    /// Its value as it is written in TOML.
    pub value: String,
    /// Where it is set: a file, or the variable or option that overrides it; absent where it has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Citation>,
    /// Whether it can change while the sidecar runs.
    pub live: bool,
}

/// A profile as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileText {
    /// Its name.
    pub name: String,
    /// Its file; one that is part of the program begins with `built-in/`.
    pub file: String,
    /// What the file now says, whether that is in force or was refused; nothing where it cannot be read or holds no profile.
    pub text: String,
}

/// The configuration in full: the answer of `/api/v1/configuration/effective`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EffectiveConfiguration {
    /// Every key that has a value, in the order of the commented file; those of the profiles last.
    pub settings: Vec<SettingInForce>,
    /// The profiles by name.
    pub profiles: Vec<ProfileText>,
}

/// A profile's text that is to be checked and not applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProfileDraft {
    /// The profile's name.
    pub profile: String,
    /// The text that its file might have.
    pub text: String,
}

/// What would come of a profile's text: the answer of `/api/v1/configuration/check`. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DraftVerdict {
    /// What is wrong with it; with nothing wrong it could be in force.
    pub problems: Vec<SettingProblem>,
    /// The keys that would change.
    pub changes: Vec<SettingChange>,
    /// Whether an operator would have to approve it first.
    pub needs_approval: bool,
}
