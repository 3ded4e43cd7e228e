//! Who takes part in consensus.

use std::fmt;

use shoal_base::random::Random;
use shoal_model::cluster::NodeId;

/// Identity of one raft log. A node that lost its log comes back under another one, since votes it gave
/// and entries it acknowledged are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftId(pub u64);

impl RaftId {
    /// A fresh id; never zero, which is what an absent field of a message reads as.
    pub fn random(random: &dyn Random) -> Self {
        loop {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            let id = u64::from_be_bytes(bytes);
            if id != 0 {
                return Self(id);
            }
        }
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A member: a voter or a learner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id in this log.
    pub id: RaftId,
    /// The node it runs on.
    pub node: NodeId,
    /// Where its calls are served, as a [`crate::Connector`] understands it: `host:port`.
    pub address: String,
}
