//! The first objects of a cluster: made once, by the node that begins it.

use shoal_base::random::Random;
use shoal_identity::files::DataKey;
use shoal_identity::request::NodeKey;
use shoal_identity::root::Issue;
use shoal_identity::{PeerIdentity, keeper, root};
use shoal_manager::ca::signing::local_signer;
use shoal_manager::ca::{configure, issue};
use shoal_model::Timestamp;
use shoal_model::cluster::node::{
    Availability, IssueState, ManagerAddress, NodeCertificate, NodeRole, NodeSpec,
};
use shoal_model::cluster::request::Init;
use shoal_model::cluster::{Cluster, ClusterId, Node, NodeId};
use shoal_model::error::{ErrorKind, Failure};

/// What a new cluster begins with.
pub(super) struct Founded {
    pub(super) cluster: Cluster,
    pub(super) node: Node,
    /// For the node's certificate directory.
    pub(super) stored: shoal_identity::files::Stored,
}

fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// Makes root, cluster and first node. Nothing is stored.
pub(super) fn found(
    request: &Init,
    manager: ManagerAddress,
    data_path: Option<std::net::IpAddr>,
    now: Timestamp,
    random: &dyn Random,
) -> Result<Founded, Failure> {
    let failed = |error: root::Error| Failure::from(error);
    let id = ClusterId::from_bytes(bytes(random));
    let root = configure::initial(now, random).map_err(failed)?;
    let mut cluster = Cluster {
        spec: request.spec.clone(),
        feature_level: crate::lab::feature_level(),
        ..Cluster::new(id, root)
    };
    if !request.address_pools.is_empty() {
        cluster.default_address_pool.clone_from(&request.address_pools);
    }
    if request.subnet_size != 0 {
        cluster.subnet_size = request.subnet_size;
    }
    if request.data_path_port != 0 {
        cluster.data_path_port = request.data_path_port;
    }
    cluster = configure::lock(&cluster, random);
    let (node, stored) =
        first_manager(&cluster, request.availability, manager, data_path, now, random)?;
    Ok(Founded { cluster, node, stored })
}

/// Makes a node that is the only manager of `cluster`, and what it keeps. Nothing is stored.
pub(super) fn first_manager(
    cluster: &Cluster,
    availability: Availability,
    manager: ManagerAddress,
    data_path: Option<std::net::IpAddr>,
    now: Timestamp,
    random: &dyn Random,
) -> Result<(Node, shoal_identity::files::Stored), Failure> {
    let failed = |error: root::Error| Failure::from(error);
    let id = NodeId::from_bytes(bytes(random));
    let identity = PeerIdentity { node: id, role: NodeRole::Manager, cluster: cluster.id };
    let internal = |error: &dyn std::fmt::Display| {
        Failure::new(ErrorKind::Internal, format!("failed to make the node's key: {error}"))
    };
    let key = NodeKey::generate().map_err(|error| internal(&error))?;
    let csr = key.request().map_err(|error| internal(&error))?;
    let issue = Issue { identity, expiry: cluster.spec.ca.node_cert_expiry, now };
    let chain = local_signer(cluster, now)
        .and_then(|signer| signer.sign(&csr, issue, random))
        .map_err(failed)?;
    let node = Node {
        spec: NodeSpec { role: NodeRole::Manager, availability, ..NodeSpec::default() },
        certificate: NodeCertificate {
            request: csr.into_bytes(),
            chain: chain.clone().into_bytes(),
            state: IssueState::Issued,
            error: String::new(),
            role: NodeRole::Manager,
        },
        manager: Some(manager),
        data_path,
        ..Node::new(id, NodeRole::Manager)
    };
    let stored = shoal_identity::files::Stored {
        trust: issue::trust_bundle(&cluster.root),
        chain,
        key,
        data_keys: vec![DataKey { id: 1, key: bytes(random) }],
        unlock_version: cluster.unlock_key_version,
    };
    Ok((node, stored))
}

/// The key that locks the new node's files, when the cluster is locked from the beginning.
pub(super) fn lock(cluster: &Cluster) -> Option<keeper::Lock> {
    let key = shoal_identity::UnlockKey::from_bytes(&cluster.unlock_key)?;
    Some(keeper::Lock { key, version: cluster.unlock_key_version })
}
