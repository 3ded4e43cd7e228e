//! Docker Engine API: types of every version, and a client.
//!
//! The types are the wire's: names, null and absent as docker's clients expect them. Decode them with
//! [`json::decode`], which treats `null` as absent, as Go does.

pub mod client;
pub mod json;
pub mod version;

pub use version::ApiVersion;
