//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.
//!
//! No clock, no I/O, no randomness: time and ids are handed in ([`ids::Ids`]), so that every manager that
//! applies the same transactions has the same state, and a replay makes the same choices.

pub mod constraint;
pub mod enforcer;
pub mod ids;
pub mod orchestrator;
pub mod restart;
pub mod store;
pub mod update;
