//! Graphs of real processes: built, started and sampled here.
//!
//! Where the kernel or a missing tool makes a test impossible it says so by name and is passed over.

#![expect(
    clippy::print_stdout,
    reason = "what is passed over is said by name, and figures are there to be read"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be should stop there"
)]

mod attribution;
mod kinds;
mod privileges;
mod python;
mod targets;
