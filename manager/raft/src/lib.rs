//! Consensus behind plain types: managers agree on a sequence of opaque entries.
//!
//! [`Raft`] is the handle; a [`StateMachine`] gets the entries in order; a [`Connector`] reaches other
//! members; a [`Sealer`] encrypts what is written to disk. No other crate names openraft: its alphas
//! change, and its generic code takes minutes to compile (ADR 0005).

mod begin;
mod compact;
mod connect;
mod error;
mod full;
mod handle;
mod log;
mod machine;
mod member;
mod membership;
mod net;
mod probation;
pub mod quorum;
mod runtime;
pub mod seal;
mod settings;
mod snapshot;
mod status;
mod types;
mod wire;

pub use begin::{Fresh, begin_with};
pub use connect::{ConnectError, Connector, TcpConnector, endpoint};
pub use error::{
    BootstrapError, MembershipError, ProposeError, ReadError, StartError, TransferError,
};
pub use handle::{Begin, Proposed, Raft, Start};
pub use log::Error as LogError;
pub use machine::{SnapshotView, StateMachine};
pub use member::{Member, RaftId};
pub use net::server::Service;
pub use seal::{Key, KeyId, Keyring, Sealer};
pub use settings::limits;
pub use snapshot::Error as SnapshotError;
pub use status::{Follower, MemberStatus, Role, Status};
