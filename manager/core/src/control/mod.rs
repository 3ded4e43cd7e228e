//! What users do to the cluster's objects, by docker's rules.
//!
//! Pure: a request and a transaction in, changes of the transaction or docker's refusal out. References are an
//! id, a name or a prefix of an id. The words of refusals are docker's, because clients see them.
//!
//! Source: swarmkit `manager/controlapi`, moby `daemon/cluster`.

pub mod attachments;
mod error;
pub mod find;
pub mod lists;
pub mod networks;
pub mod nodes;
mod references;
pub mod secrets;
pub mod services;
mod validate;

#[cfg(test)]
mod tests;

pub use error::{Error, Result};
