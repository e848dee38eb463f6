//! The sidecar as a real process beside a real host, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be should stop there"
)]

mod commands;
mod conform;
mod faults;
mod flame;
mod lifecycle;
mod pages;
mod support;
mod tuning;
