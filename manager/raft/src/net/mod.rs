//! Calls between members, over tonic.

pub(crate) mod client;
pub(crate) mod server;
