//! The simulator against closed forms, each event of the format, and both leagues.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be should stop there"
)]

mod bad;
mod collapses;
mod events;
mod host;
mod laws;
mod leagues;
mod outer;
mod support;
