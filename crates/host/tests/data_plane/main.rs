//! The pool and the layer as a service and the control side use them.

mod deadline;
mod fuse;
mod interleavings;
#[cfg(feature = "layer")]
mod layer;
mod pool;
mod support;
