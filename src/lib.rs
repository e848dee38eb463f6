//! Trimtab: a sidecar that resizes a service's worker pools, queues and timeouts, and proves that each change helped.
//!
//! ```text
//!  intake --Command--+                        intent (durable, before it is sent)
//!                    v                           ^
//!  sense --Observation--> decide --Orders--> act --+--Outcome--> record --watch<Arc<View>>--> serve
//!    ^                  (core, pure)         |
//!    +---------------- the host <------------+      the only circle, and it is outside the program
//! ```
//!
//! Each stage is a module that imports no other stage; [`app`] alone knows them all. What passes between them is defined in
//! `trimtab-core`, or, where it needs channels, in [`message`] and [`view`].

pub mod act;
pub mod app;
pub mod cage;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conform;
pub mod decide;
mod fail;
pub mod flame;
pub mod host_client;
pub mod intake;
pub mod message;
pub mod origin;
pub mod place;
pub mod record;
pub mod reload;
pub mod sense;
pub mod serve;
pub mod signal;
pub mod supervisor;
pub mod tape;
pub mod telemetry;
pub mod tls;
mod token;
pub mod view;
