//! The deciding part of Trimtab.
//!
//! Observations go in, decisions come out; each with its reason, evidence and expectation. Nothing here reads a clock, draws
//! a random number, writes a log or touches a file: time is in the observation, randomness is an argument, and a reason is a
//! return value. So a recorded run replays to the same decisions, bit for bit, on any machine.
//!
//! ```text
//! observation <- window <- signal <- model <- regime <- policy <- guard <- controller
//! ```

pub mod ablation;
pub mod controller;
mod counts;
pub mod decision;
pub mod expression;
pub mod guard;
pub mod kind;
#[cfg(test)]
mod laws;
pub mod model;
#[cfg(test)]
#[path = "../tests/it/model.rs"]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    dead_code,
    reason = "the model's figures are far within range, and the laws need only some of its hands"
)]
mod model_host;
pub mod moment;
mod number;
pub mod observation;
pub mod policy;
pub mod profile;
pub mod recording;
pub mod regime;
pub mod signal;
#[cfg(test)]
mod testing;

#[cfg(test)]
extern crate self as trimtab_core;

pub mod trigger;
pub mod window;
