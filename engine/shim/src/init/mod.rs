//! The shim's own runtime: makes a container in a child process that waits, blocked, until it is
//! released, and runs the program. Effects.

pub(crate) mod caps;
pub(crate) mod devices;
pub(crate) mod fsroot;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod program;
pub(crate) mod rootfs;
pub(crate) mod setup;
pub(crate) mod sync;
pub(crate) mod user;
