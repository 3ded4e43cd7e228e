//! Certificates, keys, join tokens and mTLS of a node.
//!
//! Pure, given time and randomness: [`root`], [`request`], [`token`], [`unlock`], [`renewal`], [`proof`],
//! [`chain`], [`peer`], [`rules`]. Effects: [`files`] (what a node keeps on disk), [`credentials`] and
//! [`tls`] (configurations that change under live listeners), [`listen`], [`authorize`] and [`connect`]
//! (both ends of calls between nodes), [`keeper`] (the one owner of all that), [`join`] and [`renew`] (how a node
//! gets its certificates).
//!
//! Source: swarmkit `ca/`. Deviations are listed in ADR 0006.

pub mod authorize;
pub mod chain;
pub mod connect;
pub mod credentials;
pub mod files;
pub mod join;
pub mod keeper;
pub mod listen;
pub mod peer;
pub mod pem;
pub mod proof;
pub mod renew;
pub mod renewal;
pub mod request;
pub mod root;
pub mod rules;
mod seal;
mod sec1;
pub mod tls;
pub mod token;
pub mod told;
pub mod unlock;
pub mod wire;

#[cfg(test)]
mod testing;

pub use credentials::Credentials;
pub use files::NodeFiles;
pub use keeper::Keeper;
pub use peer::{PeerIdentity, PeerInfo};
pub use root::Root;
pub use token::JoinToken;
pub use unlock::UnlockKey;
