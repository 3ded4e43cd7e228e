//! The cluster's certificate authority.
//!
//! Any manager answers the calls of [`server`]: it writes requests into the store and waits for the answer there.
//! The leader alone signs ([`signing`]) and turns the cluster to another root ([`turn`]). Decisions are pure:
//! [`issue`], [`rotation`], [`configure`], [`revocation`]. The store is behind a port, [`CaStore`].
//!
//! Source: swarmkit `ca/server.go`, `ca/reconciler.go`, `manager/controlapi/ca_rotation.go`.

pub mod configure;
pub mod external;
pub mod follow;
pub mod issue;
pub mod offline;
pub mod port;
pub mod revocation;
pub mod rotation;
pub mod server;
pub mod signing;
pub mod stored;
pub mod turn;

#[cfg(test)]
pub(crate) mod testing;

pub use port::{CaStore, Change};
pub use server::CaServer;
pub use stored::StoredCa;
