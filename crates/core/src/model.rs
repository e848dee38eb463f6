//! What a pool's counters say about the service behind it.
//!
//! Each formula stands alone, named and tested: how long a job is in service, by size ([`cells`]); the curve through that
//! ([`shape`]); how uneven the work is ([`work`]); what arrives ([`arrivals`]); when the service is no longer the one that
//! was learnt ([`surprise`]); and what memory a size would take ([`footprint`]). Nothing here decides.

pub mod arrivals;
pub mod cells;
pub mod flow;
pub mod footprint;
pub mod shape;
pub mod surprise;
pub mod tally;
pub mod work;
