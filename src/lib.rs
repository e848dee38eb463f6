//! Trimtab: a sidecar that resizes a service's worker pools, queues and timeouts, and proves that each change helped.

pub mod clock;
pub mod host_client;
pub mod sense;
