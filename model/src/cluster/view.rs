//! What a node is told about a network that its tasks use: who is there, under which names, and where.

mod change;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::mesh::Mesh;
use super::{ClusterNetworkId, IpPrefix, NodeId, ServiceId, TaskId};

pub use change::{ViewChange, ViewHead, ViewKey, ViewPart, differing};

/// One network as a whole. Two views of one network are ordered by their version on any manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// Network.
    pub network: ClusterNetworkId,
    /// Raft index of the state that it was made from.
    pub version: u64,
    /// UDP port of VXLAN, cluster-wide.
    pub data_path_port: u16,
    /// By task.
    pub endpoints: Vec<ViewEndpoint>,
    /// Services with endpoints here, by id.
    pub services: Vec<ViewService>,
    /// Of the network of the routing mesh.
    #[serde(default)]
    pub mesh: Option<Mesh>,
}

/// A task on the network. Those that have ended are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEndpoint {
    /// Task.
    pub task: TaskId,
    /// Its service; `None`: a plain container.
    pub service: Option<ServiceId>,
    /// Where it is.
    pub node: NodeId,
    /// Address of that node for VXLAN; `None`: not known yet, it cannot be reached.
    pub data_path: Option<IpAddr>,
    /// At most one per family.
    pub addresses: Vec<IpPrefix>,
    /// Of its interface, derived from the addresses.
    pub mac: [u8; 6],
    /// Name of its container.
    pub name: String,
    /// Further names of a plain container; those of tasks are their service's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Runs, is healthy where it has a check, and is not about to be stopped: it gets connections.
    pub healthy: bool,
}

/// A service on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewService {
    /// Service.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Further names of it on this network.
    pub aliases: Vec<String>,
    /// Its virtual addresses; empty: its name leads to the addresses of its tasks.
    pub virtual_ips: Vec<IpAddr>,
}

/// What a manager shows of a network: its view, and what nodes have of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewShown {
    /// The view.
    pub view: NetworkView,
    /// Hex digits of the digest of its parts.
    pub digest: String,
    /// Nodes that hold the network, by id.
    pub nodes: Vec<NodeViewShown>,
}

/// What a node has put into effect of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeViewShown {
    /// Node.
    pub node: NodeId,
    /// Where it takes VXLAN; `None`: not known.
    pub data_path: Option<IpAddr>,
    /// Version of its view.
    pub version: u64,
    /// Hex digits of the digest of the parts of its view.
    pub digest: String,
}

/// The address of the interface with these addresses: `02:42` and the last four bytes of the first.
///
/// Source: moby `libnetwork/netutils` GenerateMACFromIP.
pub fn mac_of(addresses: &[IpPrefix]) -> [u8; 6] {
    let ipv4 = addresses.iter().find(|prefix| prefix.address.is_ipv4());
    let [a, b, c, d] = match ipv4.or_else(|| addresses.first()).map(|prefix| prefix.address) {
        Some(IpAddr::V4(address)) => Ipv4Addr::octets(&address),
        Some(IpAddr::V6(address)) => {
            let [.., a, b, c, d] = Ipv6Addr::octets(&address);
            [a, b, c, d]
        }
        None => [0; 4],
    };
    [0x02, 0x42, a, b, c, d]
}

impl NetworkView {
    /// Whether both say the same, regardless of when.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.network == other.network
            && self.data_path_port == other.data_path_port
            && self.endpoints == other.endpoints
            && self.services == other.services
            && self.mesh == other.mesh
    }
}
