//! What a service embeds so that its pools, queues and timeouts can be resized while it runs.

mod counters;
pub mod fuse;
pub mod knob;
#[cfg(feature = "layer")]
pub mod layer;
mod limit;
pub mod part;
pub mod pool;
mod sharded;
pub mod tasks;
