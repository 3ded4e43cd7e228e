//! What tests of the authority share.

use shoal_base::random::SystemRandom;
use shoal_model::Timestamp;
use shoal_model::cluster::node::{IssueState, NodeCertificate, NodeRole};
use shoal_model::cluster::{Cluster, ClusterId, Node, NodeId};

use super::configure;

/// 2026-11-21T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_parts(1_795_219_200, 0);

pub(crate) fn cluster() -> Cluster {
    Cluster::new(ClusterId::from_bytes([1; 16]), configure::initial(NOW, &SystemRandom).unwrap())
}

pub(crate) fn node(number: u8, role: NodeRole) -> Node {
    Node {
        certificate: NodeCertificate { state: IssueState::Issued, role, ..Default::default() },
        ..Node::new(NodeId::from_bytes([number; 16]), role)
    }
}
