//! A seeded simulator of a host, in virtual time.
//!
//! A scenario file describes a plant, a load and what happens meanwhile. The simulator runs it with a controller at the knobs:
//! the very `trimtab_core::controller::Controller` of the sidecar, or one of its rivals, on the same jobs. It reads no clock to
//! simulate, and a seed gives the same run on any machine.

pub mod bad;
pub mod cli;
pub mod compare;
pub mod dice;
pub mod exec;
pub mod host;
pub mod journal;
pub mod number;
pub mod oracle;
pub mod outer;
pub mod parallel;
pub mod plant;
pub mod plants;
pub mod player;
pub mod plot;
pub mod pool;
pub mod rivals;
pub mod run;
pub mod scenario;
pub mod score;
pub mod sidecar;
pub mod table;
pub mod tally;
pub mod trace;
pub mod work;
pub mod world;
