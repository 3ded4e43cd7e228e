//! What the user asks of a cluster or of this host's membership.

use super::node::Availability;
use super::service::ServiceSpec;
use super::{ClusterSpec, Node, Service};
use std::sync::Arc;

/// `swarm init`. Empty texts mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Init {
    /// `address:port` or `interface:port` where managers listen; empty: `0.0.0.0:2377`.
    pub listen: String,
    /// Address or interface, with or without a port, told to others.
    pub advertise: String,
    /// Address or interface for VXLAN.
    pub data_path: String,
    /// Zero: 4789.
    pub data_path_port: u16,
    /// Make a cluster of one from what is on disk.
    pub force_new_cluster: bool,
    /// Settings of the cluster.
    pub spec: ClusterSpec,
    /// Of this node.
    pub availability: Availability,
    /// CIDR; empty: `10.0.0.0/8`.
    pub address_pools: Vec<String>,
    /// Zero: 24.
    pub subnet_size: u32,
}

/// `swarm join`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// As in [`Init`].
    pub listen: String,
    /// As in [`Init`].
    pub advertise: String,
    /// As in [`Init`].
    pub data_path: String,
    /// `host:port` of managers.
    pub remotes: Vec<String>,
    /// Join token.
    pub token: String,
    /// Of this node.
    pub availability: Availability,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("listen", &self.listen)
            .field("advertise", &self.advertise)
            .field("remotes", &self.remotes)
            .finish_non_exhaustive()
    }
}

/// What else an update of the cluster does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotate {
    /// A new token for workers.
    pub worker_token: bool,
    /// A new token for managers.
    pub manager_token: bool,
    /// A new unlock key.
    pub unlock_key: bool,
}

/// An update of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceUpdate {
    /// The new wish; not looked at when `rollback` is set.
    pub spec: ServiceSpec,
    /// Go back to an earlier wish.
    pub rollback: bool,
    /// Which, by its number; `None`: the previous one.
    pub revision: Option<u64>,
    /// `None`: the request brings the credentials for the registry, or there are none.
    pub auth_from: Option<AuthFrom>,
}

/// Whose credentials for the registry an update keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthFrom {
    /// Those of the present wish.
    Spec,
    /// Those of the previous one.
    PreviousSpec,
}

/// A service with counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// The service.
    pub service: Arc<Service>,
    /// `None`: not asked for.
    pub counts: Option<ServiceCounts>,
}

/// How many tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ServiceCounts {
    pub running: u64,
    pub desired: u64,
    /// Jobs: tasks of this run that have ended well.
    pub completed: u64,
}

/// A node with its place in the consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node.
    pub node: Arc<Node>,
    /// `None`: not a manager.
    pub manager: Option<ManagerView>,
}

/// A manager as the others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ManagerView {
    pub is_leader: bool,
    pub is_reachable: bool,
}
