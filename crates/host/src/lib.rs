//! What a service embeds so that its pools, queues and timeouts can be resized while it runs.

pub mod fuse;
pub mod governor;
pub mod knob;
pub mod part;
