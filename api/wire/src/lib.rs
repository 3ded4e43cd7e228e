//! Docker Engine API: types of every version, and a client.
//!
//! The types are the wire's: names, null and absent as docker's clients expect them. Decode them with
//! [`json::decode`], which treats `null` as absent, as Go does.

pub mod client;
pub mod container;
pub mod exec;
pub mod host_config;
pub mod image;
pub mod json;
pub mod network;
pub mod shape;
pub mod stats;
pub mod swarm;
pub mod system;
pub mod version;
pub mod volume;

pub use version::ApiVersion;
