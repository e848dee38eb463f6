//! The reference host: a service with three pools that do real work, and the service behind it in a process of its own.
//!
//! `reference_host` runs it, and `demo` runs it from its own binary.

mod accounts;
mod api;
mod catalogue;
pub(crate) mod child;
mod downstream;
pub(crate) mod host;
mod jobs;
mod line;
pub(crate) mod settings;
mod web;

pub(crate) use downstream::{DownstreamOptions, run as run_downstream};
