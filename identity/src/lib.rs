//! Certificates, keys, join tokens and mTLS of a node.
//!
//! Pure, given time and randomness: [`root`], [`request`], [`token`], [`unlock`], [`renewal`], [`proof`],
//! [`chain`], [`peer`]. Effects: [`files`] (what a node keeps on disk), [`credentials`] and [`tls`]
//! (configurations that change under live listeners).
//!
//! Source: swarmkit `ca/`; `design/` of the same repository. Deviations are listed in ADR 0006.

pub mod chain;
pub mod credentials;
pub mod files;
pub mod peer;
pub mod pem;
pub mod proof;
pub mod renewal;
pub mod request;
pub mod root;
mod seal;
mod sec1;
pub mod tls;
pub mod token;
pub mod unlock;

#[cfg(test)]
mod testing;

pub use credentials::Credentials;
pub use files::NodeFiles;
pub use peer::{PeerIdentity, PeerInfo};
pub use root::Root;
pub use token::JoinToken;
pub use unlock::UnlockKey;
