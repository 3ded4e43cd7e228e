//! What a daemon says of its own membership.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::NodeId;

/// State of this host with regard to a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LocalState {
    /// Not a member.
    #[default]
    Inactive,
    /// Joining, or starting.
    Pending,
    /// A member.
    Active,
    /// Broken; the message says why.
    Error,
    /// A manager that waits for its unlock key.
    Locked,
}

impl LocalState {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
            Self::Locked => "locked",
        }
    }
}

/// Membership of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// State.
    pub state: LocalState,
    /// Why, in case of an error.
    pub error: String,
    /// `None`: not a member.
    pub node: Option<NodeId>,
    /// Advertised address; empty: not a member.
    pub address: String,
    /// Whether this node is a manager that serves.
    pub is_manager: bool,
    /// Managers known to this node.
    pub managers: Vec<(NodeId, SocketAddr)>,
}
