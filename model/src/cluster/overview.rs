//! How a cluster is: for people who operate it.

use serde::{Deserialize, Serialize};

use super::node::{NodeRole, NodeState};
use super::{ClusterId, NodeId};
use crate::Timestamp;

/// How a cluster is now, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node that was asked.
    pub node: NodeId,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Term of the leader.
    pub term: u64,
    /// Last entry of the leader's log.
    pub last: Option<u64>,
    /// Last entry that a quorum has.
    pub committed: Option<u64>,
    /// Whether and how the managers agree.
    pub quorum: Quorum,
    /// Members of consensus.
    pub managers: Vec<Manager>,
    /// Certificates of nodes, those that end first in front.
    pub certificates: Vec<Certificate>,
    /// End of the root's life; `None`: it cannot be read.
    pub root_expires: Option<Timestamp>,
    /// Whether the cluster turns to another root.
    pub root_rotation: bool,
    /// Whether managers are locked when they start.
    pub autolock: bool,
    /// Lowest feature level among managers.
    pub feature_level: u32,
    /// What would stop writes.
    pub breaks: Vec<String>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// Managers that vote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// All.
    pub voters: usize,
    /// Those that answer the leader.
    pub reachable: usize,
    /// So many must.
    pub needed: usize,
}

impl Quorum {
    /// How many more may fail before writes stop; negative: that many must come back.
    pub fn margin(self) -> i64 {
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        signed(self.reachable) - signed(self.needed)
    }
}

/// A member of consensus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// Its node.
    pub node: NodeId,
    /// Empty: not known.
    pub hostname: String,
    /// Where the others reach it.
    pub address: String,
    /// Leads.
    pub leader: bool,
    /// Counts for the quorum; the others are catching up.
    pub voter: bool,
    /// Answers the leader.
    pub reachable: bool,
    /// Entries that it lacks.
    pub lag: u64,
    /// Release of Shoal; empty: not known.
    pub release: String,
}

/// Certificate of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose.
    pub node: NodeId,
    /// Empty: not known.
    pub hostname: String,
    /// Role in it.
    pub role: NodeRole,
    /// Whether the node is there to renew it.
    pub state: NodeState,
    /// Its end; `None`: there is none yet.
    pub expires: Option<Timestamp>,
}

/// `swarm restore`: what the new host says of itself, as in [`super::request::Init`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Restore {
    /// As in `init`.
    pub listen: String,
    /// As in `init`.
    pub advertise: String,
    /// As in `init`.
    pub data_path: String,
    /// Opens the backup.
    pub passphrase: String,
}

impl std::fmt::Debug for Restore {
    /// Without the passphrase: it must not reach logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .finish_non_exhaustive()
    }
}
