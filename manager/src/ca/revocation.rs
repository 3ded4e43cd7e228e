//! Nodes that were removed although their certificates are still good.
//!
//! Pure. Source: swarmkit `manager/controlapi/node.go` `RemoveNode`, `manager/state/raft/raft.go` blacklist.

use std::collections::BTreeSet;
use std::time::Duration;

use shoal_identity::{peer, pem};
use shoal_model::Timestamp;
use shoal_model::cluster::{Cluster, Node, NodeId};

/// Clocks differ: a revocation outlives the certificate by a week.
pub const MARGIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// The cluster with `node` revoked until its certificate has expired; commit it together with the node's removal.
/// Afterwards the certificate is of no use, and cannot be renewed either: that needs the node in the store.
/// Revocations that have ended go.
pub fn revoke(cluster: &Cluster, node: &Node, now: Timestamp) -> Cluster {
    let mut cluster = cluster.clone();
    let end = end_of(&node.certificate.chain)
        .unwrap_or_else(|| now.after(cluster.spec.ca.node_cert_expiry))
        .after(MARGIN);
    cluster.revoked.retain(|(id, until)| *id != node.id && *until > now);
    cluster.revoked.push((node.id, end));
    cluster
}

/// The nodes that are refused.
pub fn revoked(cluster: &Cluster) -> BTreeSet<NodeId> {
    cluster.revoked.iter().map(|(node, _)| *node).collect()
}

fn end_of(chain: &[u8]) -> Option<Timestamp> {
    let certificates = pem::certificates(chain).ok()?;
    peer::facts(&certificates[0]).ok().map(|facts| facts.not_after)
}

#[cfg(test)]
mod tests {
    use shoal_base::random::SystemRandom;
    use shoal_identity::PeerIdentity;
    use shoal_identity::request::NodeKey;
    use shoal_identity::root::Issue;
    use shoal_model::cluster::node::NodeRole;

    use super::*;
    use crate::ca::signing;
    use crate::ca::testing::{NOW, cluster, node};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_revocation_outlives_the_certificate_by_a_week() {
        let cluster = cluster();
        let mut gone = node(3, NodeRole::Worker);
        let signer = signing::local_signer(&cluster, NOW).unwrap();
        let identity = PeerIdentity { node: gone.id, role: gone.role, cluster: cluster.id };
        let issue = Issue { identity, expiry: 10 * DAY, now: NOW };
        let request = NodeKey::generate().unwrap().request().unwrap();
        let chain = signer.sign(&request, issue, &SystemRandom).unwrap();
        gone.certificate.chain = chain.into_bytes();
        let after = revoke(&cluster, &gone, NOW);
        assert_eq!(after.revoked, [(gone.id, NOW.after((10 + 7) * DAY))]);
        assert_eq!(revoked(&after), BTreeSet::from([gone.id]));
    }

    #[test]
    fn what_has_ended_goes_and_a_node_is_there_once() {
        let mut cluster = cluster();
        let gone = node(3, NodeRole::Worker);
        let (old, live) = (NodeId::from_bytes([7; 16]), NodeId::from_bytes([8; 16]));
        cluster.revoked = vec![(old, NOW), (live, NOW.after(DAY)), (gone.id, NOW.after(DAY))];
        let after = revoke(&cluster, &gone, NOW);
        let end = NOW.after((90 + 7) * DAY);
        assert_eq!(after.revoked, [(live, NOW.after(DAY)), (gone.id, end)]);
    }
}
