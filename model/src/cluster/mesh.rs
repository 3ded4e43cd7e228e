//! What a node is told of the routing mesh: who takes part, and which ports lead where.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::service::{PortPolicy, Protocol};
use super::{IpPrefix, NodeId, ServiceId};

/// The routing mesh, as part of the view of its network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mesh {
    /// Name of the network.
    pub name: String,
    /// VXLAN id.
    pub vni: u32,
    /// MTU of the interfaces of containers.
    pub mtu: u32,
    /// At most one per family.
    pub subnets: Vec<MeshSubnet>,
    /// Nodes that have an index, by id.
    pub nodes: Vec<MeshNode>,
    /// Published ports, by protocol and number.
    pub ports: Vec<MeshPort>,
}

/// A subnet of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshSubnet {
    /// Without host part.
    pub subnet: IpPrefix,
    /// The address that every node has towards its own tasks.
    pub gateway: IpAddr,
}

/// A node that takes part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshNode {
    /// Node.
    pub id: NodeId,
    /// 1…65535, its own; its addresses in the mesh follow from it.
    pub index: u16,
    /// Where it takes VXLAN; `None`: not known yet.
    pub data_path: Option<IpAddr>,
    /// Addresses from which its own programs are known to connect.
    pub addresses: Vec<IpAddr>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MeshPort {
    /// Protocol.
    pub protocol: Protocol,
    /// On the nodes.
    pub published: u16,
    /// In the containers.
    pub target: u16,
    /// Service.
    pub service: ServiceId,
    /// Which of its tasks get connections.
    pub policy: PortPolicy,
    /// Only at this address of a node; `None`: at all.
    pub address: Option<IpAddr>,
    /// Only what comes in by this link of a node; empty: by all.
    pub interface: String,
}
