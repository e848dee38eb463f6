//! The deciding part of Trimtab.
//!
//! Observations go in, decisions come out; each with its reason, evidence and expectation. Nothing here reads a clock, draws
//! a random number, writes a log or touches a file: time is in the observation, randomness is an argument, and a reason is a
//! return value. So a recorded run replays to the same decisions, bit for bit, on any machine.
//!
//! ```text
//! observation <- window <- signal <- regime <- policy <- guard <- controller
//! ```

pub mod decision;
pub mod moment;
pub mod observation;
pub mod profile;
