//! Conversions wire ↔ model. Pure.

pub(crate) mod addresses;
pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod filters;
pub(crate) mod host;
pub(crate) mod host_out;
pub(crate) mod image;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod progress;
pub(crate) mod spec;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod time;
pub(crate) mod validate;
pub(crate) mod volume;
