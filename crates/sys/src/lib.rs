//! The few system calls that Trimtab needs and the standard library does not offer, each behind a safe function.
//!
//! This is the only crate with unsafe code. Every unsafe block stands beside the reason why it is sound.

pub mod clock;
#[cfg(feature = "count-alloc")]
pub mod count_alloc;
pub mod fail;
pub mod heap;
#[cfg(feature = "jemalloc")]
pub mod jemalloc;
pub mod peer;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub mod perf;
pub mod plain;
pub mod process;
pub mod secret;
pub mod token;
