//! The words of Trimtab: what a host says about itself, what a sidecar may ask of it, and what the sidecar says about its
//! decisions.
//!
//! Every type here is data: it has a JSON shape, a meaning and a unit, and no behaviour beyond that. The control API between
//! a host and its sidecar is in [`state`], [`lease`], [`change`], [`operator`] and [`problem`]; what the sidecar itself
//! serves and writes to its ledger is in [`decision`] and [`view`], and what it may be told in [`command`].
//!
//! Requests refuse unknown fields, so that a misspelt knob is an error and not a silent nothing. Answers and the state ignore
//! them, so that a newer host still talks to an older sidecar. Durations are whole milliseconds and ratios are basis points,
//! and each such field carries its unit in its name.
//!
//! This crate depends on serde only.

pub mod change;
pub mod command;
pub mod configuration;
pub mod decision;
pub mod figure;
pub mod histogram;
pub mod knob;
pub mod lease;
pub mod name;
pub mod operator;
pub mod problem;
pub mod state;
pub mod view;

/// The version of the control API that these types describe, as it stands in [`state::HostState::api`].
pub const API_VERSION: u32 = 1;

/// The largest request body that a host accepts, in bytes.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The largest state that a host may send and a sidecar reads, in bytes.
pub const STATE_BYTES_MAX: usize = 1024 * 1024;

/// The paths of the control API.
pub mod path {
    /// `GET`: the whole state in one consistent read.
    pub const STATE: &str = "/trimtab/v1/state";
    /// `POST` takes or renews the lease, `DELETE` gives it back.
    pub const LEASE: &str = "/trimtab/v1/lease";
    /// `POST` applies a change as a trial; `/{generation}/confirm` and `/{generation}/rollback` below it end the trial.
    pub const CHANGES: &str = "/trimtab/v1/changes";
    /// `PUT` freezes, `DELETE` lifts the freeze; operator only.
    pub const FREEZE: &str = "/trimtab/v1/freeze";
    /// `PUT` and `DELETE` of `/{pool}/{knob}` below it hold and release one knob; operator only.
    pub const PINS: &str = "/trimtab/v1/pins";
    /// `POST` goes back to the baseline; operator only.
    pub const RESET: &str = "/trimtab/v1/reset";
}
