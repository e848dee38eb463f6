//! What a service embeds so that its pools, queues and timeouts can be resized while it runs.

mod control;
pub mod fuse;
pub mod governor;
pub mod host;
pub mod knob;
pub mod part;
mod process;
mod registry;
mod router;
mod server;
mod socket;
mod state_dir;
