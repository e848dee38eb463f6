//! The sidecar as a real process beside a real host, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be should stop there"
)]

mod asking;
mod cage;
mod commands;
mod conform;
#[cfg(feature = "tls")]
mod door;
mod exec;
mod faults;
mod flame;
mod fuzz;
mod hands;
#[path = "../../xtask/src/inner_cargo.rs"]
mod inner_cargo;
mod lifecycle;
mod others;
mod pages;
mod reference;
mod reference_host;
mod reload;
mod replay;
mod shedding;
mod starts;
mod support;
mod terminal;
mod tuning;
mod tutorial;
