//! Nodes.
//!
//! Source: swarmkit `manager/controlapi/node.go`.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::manager::CaConfig;
use shoal_model::cluster::node::{NodeRole, NodeState};
use shoal_model::cluster::{Cluster, Node, NodeId, NodeSpec, Version};

use super::secrets::in_sequence;
use super::{Error, Result, find};
use crate::store::Txn;

/// A revoked certificate is remembered for so long after its end.
pub const REVOKED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What consensus says of a manager that shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// It has none.
    None,
    /// It may give it up.
    Free,
    /// The managers would lose their quorum without it: of `voters` so many answer, and so many must.
    #[allow(missing_docs, reason = "said above")]
    Needed { voters: usize, reachable: usize, needed: usize },
}

/// Changes the spec of a node.
///
/// # Errors
/// When the last manager or one that the quorum needs would be demoted, or the node was changed since `version`.
pub fn update(
    txn: &mut Txn,
    reference: &str,
    version: Version,
    spec: NodeSpec,
    seat: impl Fn(NodeId) -> Seat,
) -> Result<()> {
    let node = Arc::clone(find::node(txn, reference)?);
    if node.spec.role == NodeRole::Manager && spec.role == NodeRole::Worker {
        let managers = txn.managers().filter(|other| other.spec.role == NodeRole::Manager);
        if managers.count() == 1 {
            return Err(Error::precondition("attempting to demote the last manager of the swarm"));
        }
        match seat(node.id) {
            Seat::Free => {}
            Seat::None => {
                return Err(Error::Refused {
                    code: shoal_model::error::CallCode::NotFound,
                    text: "can't find manager in raft memberlist".to_owned(),
                });
            }
            Seat::Needed { voters, reachable, needed } => {
                return Err(Error::precondition(format!(
                    "can't remove member from the raft: this would result in a loss of quorum: {reachable} of \
                     {voters} managers would answer, {needed} must"
                )));
            }
        }
    }
    in_sequence(&node.meta, version)?;
    if node.spec != spec {
        txn.put_node(Node { spec, ..Node::clone(&node) })?;
    }
    Ok(())
}

/// Removes a node and revokes its certificate.
///
/// # Errors
/// When it is a manager, or is not down and `force` is not set.
pub fn remove(
    txn: &mut Txn,
    reference: &str,
    force: bool,
    seat: impl Fn(NodeId) -> Seat,
) -> Result<NodeId> {
    let node = Arc::clone(find::node(txn, reference)?);
    let id = node.id;
    if node.spec.role == NodeRole::Manager && seat(id) != Seat::None {
        return Err(Error::precondition(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to \
             worker before removal"
        )));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(Error::precondition(format!("node {id} is not down and can't be removed")));
    }
    if let Some(cluster) = txn.cluster() {
        let cluster = revoked(cluster, id, txn.at());
        txn.put_cluster(cluster)?;
    }
    txn.remove_node(id)?;
    Ok(id)
}

/// The cluster with the node's certificate refused until it has surely ended.
fn revoked(cluster: &Cluster, node: NodeId, now: Timestamp) -> Cluster {
    let mut cluster = cluster.clone();
    cluster.revoked.retain(|(other, end)| *other != node && end.after(REVOKED_KEPT) > now);
    // Its end is within the life of certificates from now; that may have been shortened since it was issued.
    let life = cluster.spec.ca.node_cert_expiry.max(CaConfig::default().node_cert_expiry);
    cluster.revoked.push((node, now.after(life)));
    cluster
}
