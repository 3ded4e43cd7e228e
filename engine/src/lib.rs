//! The container engine of one host: containers, their records, shims, logs, execs, health and events.

pub mod container;
pub mod names;
pub mod networking;
pub mod shim_client;
