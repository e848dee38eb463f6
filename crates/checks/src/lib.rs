//! Checks that are too heavy to stand beside the code that they check.
//!
//! [`model`] drives the real governor of `trimtab-host` through every order of what two sidecars, an operator, somebody else and
//! time can do to one host, with crashes and with messages that are late, lost, twice or out of order. After each event the host
//! is held against [`spec`], which knows the promises and nothing of how they are kept. [`bug`] takes one rule out of the host,
//! so that a test sees each promise broken and noticed.
//!
//! [`campaign`] runs the real controller against the real governor for simulated hours, with a bad network, clock and disk, crashes,
//! and people.
//!
//! [`limits`] has the source of the host's movable limit, exchanged word for word but for one thing: its locks and atomics are
//! shuttle's, which decides at each of them which thread goes on. The tests run it through many schedules. [`looms`] has it once more with
//! locks and atomics of loom, which goes through all orders of few threads and knows what weak memory may show.

pub mod bug;
pub mod campaign;
pub mod host;
pub mod limits;
pub mod looms;
pub mod model;
pub mod spec;
