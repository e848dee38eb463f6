//! Refusals: `application/problem+json` as RFC 9457 describes it, with a stable type for each way to be refused.

use crate::change::ChangeReceipt;
use crate::knob::KnobValue;
use crate::name::{Epoch, Generation, InstanceId, KnobName, PoolName, Revision};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The media type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Why a request was refused. A refused request changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ProblemKind {
    /// The body is not what the call takes.
    #[serde(rename = "urn:trimtab:problem:malformed")]
    Malformed,
    /// The caller's credentials are missing or unreadable.
    #[serde(rename = "urn:trimtab:problem:unauthenticated")]
    Unauthenticated,
    /// The caller may not do this.
    #[serde(rename = "urn:trimtab:problem:forbidden")]
    Forbidden,
    /// There is no such pool, knob, change or path.
    #[serde(rename = "urn:trimtab:problem:unknown")]
    Unknown,
    /// The path exists, the method does not.
    #[serde(rename = "urn:trimtab:problem:method")]
    Method,
    /// The request was made for an instance, epoch, generation or revision that is no longer in force.
    #[serde(rename = "urn:trimtab:problem:stale")]
    Stale,
    /// Another holder has the lease.
    #[serde(rename = "urn:trimtab:problem:leased")]
    Leased,
    /// The body is longer than the host reads.
    #[serde(rename = "urn:trimtab:problem:too-large")]
    TooLarge,
    /// The body is not JSON by its content type.
    #[serde(rename = "urn:trimtab:problem:media-type")]
    MediaType,
    /// A value is outside what the knob takes.
    #[serde(rename = "urn:trimtab:problem:value")]
    Value,
    /// An operator froze the host.
    #[serde(rename = "urn:trimtab:problem:frozen")]
    Frozen,
    /// An operator holds the knob.
    #[serde(rename = "urn:trimtab:problem:pinned")]
    Pinned,
    /// The pool changed too often within the last minute.
    #[serde(rename = "urn:trimtab:problem:too-soon")]
    TooSoon,
    /// Control is switched off in the host.
    #[serde(rename = "urn:trimtab:problem:disabled")]
    Disabled,
    /// The knob itself failed to apply the value.
    #[serde(rename = "urn:trimtab:problem:knob-failed")]
    KnobFailed,
    /// The host that the sidecar was to ask gave no answer, so what became of it is not known.
    #[serde(rename = "urn:trimtab:problem:silent")]
    Silent,
    /// A bug in the host's kit; the service itself goes on.
    #[serde(rename = "urn:trimtab:problem:internal")]
    Internal,
}

impl ProblemKind {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::Unknown => 404,
            Self::Method => 405,
            Self::Stale | Self::Leased => 409,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Value => 422,
            Self::Frozen | Self::Pinned => 423,
            Self::TooSoon => 429,
            Self::Internal => 500,
            Self::KnobFailed => 502,
            Self::Disabled => 503,
            Self::Silent => 504,
        }
    }

    /// The same words for every problem of this kind.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "the request is not well formed",
            Self::Unauthenticated => "the caller is not known",
            Self::Forbidden => "the caller may not do this",
            Self::Unknown => "there is no such thing here",
            Self::Method => "this path does not take that method",
            Self::Stale => "the request is out of date",
            Self::Leased => "another holder has the lease",
            Self::TooLarge => "the request is too large",
            Self::MediaType => "the request is not JSON",
            Self::Value => "the value is not allowed",
            Self::Frozen => "the host is frozen",
            Self::Pinned => "the knob is pinned",
            Self::TooSoon => "too many changes in a minute",
            Self::Internal => "the server failed",
            Self::KnobFailed => "the knob could not be set",
            Self::Disabled => "control is switched off",
            Self::Silent => "the host gave no answer",
        }
    }
}

/// Which of the fencing figures did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// The host was restarted.
    Instance,
    /// The lease is not in force.
    Epoch,
    /// The generation is not above the last one accepted.
    Generation,
    /// The pool's values changed since the plan was made.
    Revision,
}

/// What is in force where a request was out of date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InForce {
    /// The host's present run.
    pub instance: InstanceId,
    /// The epoch last granted.
    pub epoch: Epoch,
    /// The generation last accepted.
    pub generation: Generation,
    /// The revision of the pool that was named, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// What a knob would have taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Allowed {
    /// The knob.
    pub knob: KnobName,
    /// The value that was refused.
    pub value: KnobValue,
    /// The smallest value of this one change.
    pub min: u64,
    /// The largest value of this one change.
    pub max: u64,
    /// Values are the knob's minimum plus a multiple of this.
    pub granularity: u64,
    /// The words it takes, for a knob of kind `choice`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The stable kind.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case in words.
    pub detail: String,
    /// Which fencing figure did not fit, for `stale`; none where a trial is still open or has ended otherwise than asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// What is in force, for `stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<InForce>,
    /// The pool that was meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// What would have been taken, for `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Allowed>,
    /// Who holds the lease, for `leased`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When to try again, in milliseconds, for `leased`, `pinned`, `too-soon`, and `stale` while a trial is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What has become of the change, where a confirmation came too late for it or a rollback came after it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ChangeReceipt>,
}

impl Problem {
    /// A problem of a kind with its case in words; the rest is filled in by the caller.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            fence: None,
            in_force: None,
            pool: None,
            allowed: None,
            holder: None,
            retry_after_ms: None,
            receipt: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.title, self.status, self.detail)
    }
}

impl std::error::Error for Problem {}
