//! The controller against a modelled host, in virtual time.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds nothing where something must be should stop there"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the model's figures are far within range"
)]

mod choice;
mod closed_loop;
mod faults;
mod model;
mod others;
mod properties;
mod rules;
