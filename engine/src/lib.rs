//! The container engine of one host.

pub mod archive;
pub mod beneath;
pub mod files;
pub mod mounts;
pub mod runtime_spec;
pub mod seccomp;
pub mod stats;
pub mod top;
pub mod volumes;
