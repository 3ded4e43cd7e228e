//! The container engine of one host: containers, their records, shims, logs, execs, health and events.

pub mod archive;
pub mod beneath;
pub mod config;
pub mod container;
pub mod engine;
pub mod error;
pub mod events;
pub mod exec;
pub mod files;
pub mod image_source;
pub mod logs;
pub mod mounts;
pub mod names;
pub mod networking;
pub mod resolve;
pub mod runtime_spec;
pub mod seccomp;
pub mod shim_client;
pub mod signal;
pub mod stats;
pub mod sys;
pub mod top;
pub mod volumes;

mod assembled;
mod attach_ahead;
mod copy;
mod core;
mod etc_files;
mod links;
mod list;
mod observe;
mod prepare;

pub use copy::ByteStream;
pub use core::Parts;
pub use engine::Engine;
pub use error::Error;
