//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.
//!
//! No clock, no I/O, no randomness: time and ids are handed in ([`ids::Ids`]), so that every manager that
//! applies the same transactions has the same state, and a replay makes the same choices.

pub mod allocator;
pub mod assignment;
pub mod constraint;
pub mod control;
pub mod drain;
pub mod enforcer;
pub mod explain;
pub mod ids;
pub mod init;
pub mod invariants;
pub mod liveness;
pub mod mesh;
pub mod orchestrator;
pub mod platform;
pub mod prefix;
pub mod reaper;
pub mod restart;
#[cfg(test)]
pub(crate) mod samples;
pub mod scheduler;
pub mod store;
pub mod update;
pub mod view;
