//! The stage that reads the host and the machine.

pub mod cgroup;
pub mod process;
