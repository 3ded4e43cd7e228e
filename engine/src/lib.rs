//! The container engine of one host: containers, their records, shims, logs, execs, health and events.

pub mod networking;
