#![doc = include_str!("../README.md")]

pub mod batch;
mod control;
mod counters;
pub mod deadline;
mod dial;
pub mod fuse;
pub mod governor;
pub mod host;
pub mod knob;
#[cfg(feature = "layer")]
pub mod layer;
mod limit;
pub mod memory;
mod number;
pub mod object_pool;
pub mod part;
pub mod pipeline;
pub mod pool;
#[cfg(feature = "pprof")]
pub mod pprof;
mod process;
mod registry;
mod router;
mod server;
mod sharded;
pub mod slab;
mod socket;
mod state_dir;
pub mod tasks;
mod tcp;
pub mod threads;
mod timer;

pub use deadline::spawn;
