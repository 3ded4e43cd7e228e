//! The container engine of one host.

pub mod mounts;
pub mod runtime_spec;
pub mod seccomp;
