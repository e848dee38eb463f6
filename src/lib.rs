//! Trimtab: a sidecar that resizes a service's worker pools, queues and timeouts, and proves that each change helped.

pub mod cli;
pub mod config;
pub mod record;
pub mod serve;
pub mod signal;
pub mod telemetry;
pub mod view;
