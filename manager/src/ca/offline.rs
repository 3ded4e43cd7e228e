//! A manager whose certificate expired while the whole cluster was off signs itself a new one.
//!
//! No manager can reach another then: all certificates have expired. But each has the root's key in its replica of
//! the store, and the node's own key on disk. So it may do what the leader would do, for itself only.

use shoal_base::random::Random;
use shoal_identity::files::Stored;
use shoal_identity::request::{self, NodeKey};
use shoal_identity::root::{self, Issue};
use shoal_identity::{chain, credentials, pem};
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::{Cluster, Node, NodeId};
use shoal_model::error::{Classified, ErrorKind};

use super::{issue, signing};

/// A manager cannot sign for itself.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read the node's certificate")]
    Pem(#[source] pem::Error),
    #[error(transparent)]
    Chain(#[from] chain::Error),
    #[error(transparent)]
    Trust(#[from] chain::TrustError),
    #[error("certificate is of node `{found}`, and this is node `{node}`")]
    OtherNode { node: NodeId, found: NodeId },
    #[error("node `{node}` is no manager")]
    NotManager { node: NodeId },
    #[error("node `{node}` was removed from the cluster")]
    Revoked { node: NodeId },
    #[error("failed to sign with the cluster's root")]
    Sign(#[source] root::Error),
    #[error("failed to make a new key")]
    Key(#[source] request::Error),
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::OtherNode { .. } | Self::NotManager { .. } | Self::Revoked { .. } => {
                ErrorKind::Forbidden
            }
            Self::Sign(source) => source.kind(),
            _ => ErrorKind::DataLoss,
        }
    }
}

/// What is stored after `stored` was renewed with the root in the local replica of `cluster`.
///
/// # Errors
/// When the expired certificate is not this cluster's, the node is no manager in the replica, or the root's key is
/// outside the cluster.
pub fn renew(
    cluster: &Cluster,
    node: &Node,
    stored: &Stored,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Stored, Error> {
    let certificates = pem::certificates(stored.chain.as_bytes()).map_err(Error::Pem)?;
    let roots = chain::Trust::new(&stored.trust)?.roots;
    let identity = chain::verify_expired(&certificates, &roots, cluster.id, now)?.identity;
    if identity.node != node.id {
        return Err(Error::OtherNode { node: node.id, found: identity.node });
    }
    if node.role != NodeRole::Manager {
        return Err(Error::NotManager { node: node.id });
    }
    if cluster.revoked.iter().any(|(revoked, _)| *revoked == node.id) {
        return Err(Error::Revoked { node: node.id });
    }
    let key = NodeKey::generate().map_err(Error::Key)?;
    let request = key.request().map_err(Error::Key)?;
    let identity = shoal_identity::PeerIdentity { role: node.role, ..identity };
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let chain = signing::local_signer(cluster, now)
        .and_then(|signer| signer.sign(&request, issue, random))
        .map_err(Error::Sign)?;
    Ok(Stored {
        trust: issue::trust_bundle(&cluster.root),
        chain,
        key,
        data_keys: stored.data_keys.clone(),
        unlock_version: stored.unlock_version,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shoal_base::random::SystemRandom;

    use super::*;
    use crate::ca::testing::{NOW, cluster, node};

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn stored(cluster: &Cluster, node: &Node) -> Stored {
        let key = NodeKey::generate().unwrap();
        let identity = shoal_identity::PeerIdentity {
            node: node.id,
            role: NodeRole::Manager,
            cluster: cluster.id,
        };
        let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now: NOW };
        let signer = signing::local_signer(cluster, NOW).unwrap();
        let chain = signer.sign(&key.request().unwrap(), issue, &SystemRandom).unwrap();
        let trust = cluster.root.certificate.clone();
        Stored { trust, chain, key, data_keys: Vec::new(), unlock_version: 0 }
    }

    #[test]
    fn after_a_year_without_power_a_manager_has_a_certificate_again() {
        let (cluster, node) = (cluster(), node(1, NodeRole::Manager));
        let old = stored(&cluster, &node);
        let later = NOW.after(YEAR);
        let new = renew(&cluster, &node, &old, later, &SystemRandom).unwrap();
        let certificates = pem::certificates(new.chain.as_bytes()).unwrap();
        let roots = chain::Trust::new(&new.trust).unwrap().roots;
        let facts = chain::verify(&certificates, &roots, Some(cluster.id), later).unwrap();
        assert_eq!((facts.identity.node, facts.public_key), (node.id, new.key.public()));
    }

    #[test]
    fn a_worker_a_removed_node_and_another_node_sign_nothing() {
        let (mut cluster, manager) = (cluster(), node(1, NodeRole::Manager));
        let old = stored(&cluster, &manager);
        let later = NOW.after(YEAR);
        let mut worker = manager.clone();
        worker.role = NodeRole::Worker;
        let refused = |cluster: &Cluster, node: &Node| {
            renew(cluster, node, &old, later, &SystemRandom).unwrap_err()
        };
        assert!(matches!(refused(&cluster, &worker), Error::NotManager { .. }));
        let other = node(2, NodeRole::Manager);
        assert!(matches!(refused(&cluster, &other), Error::OtherNode { .. }));
        cluster.revoked.push((manager.id, later));
        assert!(matches!(refused(&cluster, &manager), Error::Revoked { .. }));
    }
}
