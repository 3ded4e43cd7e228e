//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.
//!
//! No clock, no I/O, no randomness: time and ids are handed in ([`ids::Ids`]), so that every manager that
//! applies the same transactions has the same state, and a replay makes the same choices.

pub mod allocator;
pub mod constraint;
pub mod ids;
pub mod prefix;
#[cfg(test)]
pub(crate) mod samples;
pub mod scheduler;
pub mod store;
