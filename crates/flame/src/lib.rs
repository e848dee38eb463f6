//! Flame graphs of a running process, taken from outside: nothing is put into it, and it need not be prepared.
//!
//! ```text
//!  kernel's samples --session--> watch --stacks--> collect | past --> names --> tree --> draw | format
//!                    (counters)  (unwinding)       (a window | the ring)
//! ```
//!
//! The best of several ways to see into a process is found by trying, see [`ladder`]; each profile says how good it is, see
//! [`Quality`]. [`shoot`] takes one profile. [`desk`] is the profiler's own process, `trimtab-prof`, which answers
//! [questions](ask) over a pipe, so that its memory and its mistakes are not the sidecar's.

pub mod ask;
mod cage;
mod collect;
mod copied;
pub mod desk;
mod draw;
mod elf;
mod format;
pub mod keeper;
mod kind;
pub mod ladder;
mod module;
mod names;
mod own;
mod past;
pub mod push;
mod python;
mod quality;
mod record;
#[cfg(all(test, target_arch = "x86_64"))]
mod recorded;
mod scrape;
mod session;
mod space;
mod stacks;
mod states;
mod take;
mod task;
mod tree;
mod watch;

pub use draw::{SVG_BYTES_MAX, View};
pub use format::{Foreign, Format, Named, read_pprof, write_difference};
pub use kind::Kind;
pub use own::shoot_own;
pub use quality::Quality;
pub use take::shoot;
pub use tree::Tree;
