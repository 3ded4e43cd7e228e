//! What the routing mesh means for this node's kernel. Pure.
//!
//! A packet to a published port has its destination rewritten on the node that it comes to, and nothing else: it is
//! routed to the task's node, which routes it to the task. The task's node knows the other one by the frame's source,
//! keeps it in the mark of the connection, and sends what the task answers to a next hop that does not exist; on
//! its way out the frame's destination becomes the node that the mark says, where the rewriting is undone. So the
//! task sees the client's address, and a further node costs an element in two maps.
//!
//! Addresses of nodes in the mesh follow from their index. They are the next hops, and the source of those few
//! connections that would find no way back otherwise: from loopback addresses, from containers, and from a node's own
//! programs to a task on the same node by way of another one.

mod frames;
mod rules;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shoal_model::cluster::mesh::{Mesh, MeshNode, MeshPort};
use shoal_model::cluster::service::{PortPolicy, Protocol as ModelProtocol};
use shoal_model::cluster::view::ViewEndpoint;
use shoal_model::cluster::{NetworkView, NodeId, ServiceId};

use super::connections::Connection;
use super::overlay::Forwarding;
use super::ports::Protocol;
use crate::endpoint::MacAddress;
use crate::subnet::Subnet;

pub use frames::frames;
pub use rules::{Host, rules};

/// Addresses of nodes: of the block for tests between networks (RFC 2544), which nobody routes.
const NODES_IPV4: [u8; 2] = [198, 18];
const NODES_IPV4_LENGTH: u8 = 15;
/// The next hop that does not exist; in the same subnet.
const NOWHERE_IPV4: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
/// A unique local subnet; the index is the end of the address.
const NODES_IPV6: u128 = 0xfd73_686f_616c_6d65 << 64;
const NODES_IPV6_LENGTH: u8 = 64;
const NOWHERE_IPV6: u128 = NODES_IPV6 | 0xffff_fffe;
const NOWHERE: MacAddress = MacAddress([0x02, 0x1f, 0xff, 0xff, 0xff, 0xff]);

/// The address of a node's frames.
pub const fn node_mac(index: u16) -> MacAddress {
    let [high, low] = index.to_be_bytes();
    MacAddress([0x02, 0x1f, 0, 0, high, low])
}

/// The address of a node, with the length of the subnet of all.
pub fn node_address(index: u16, ipv4: bool) -> Subnet {
    let [high, low] = index.to_be_bytes();
    if ipv4 {
        let [a, b] = NODES_IPV4;
        Subnet { address: Ipv4Addr::new(a, b, high, low).into(), prefix: NODES_IPV4_LENGTH }
    } else {
        let address = Ipv6Addr::from_bits(NODES_IPV6 | u128::from(index));
        Subnet { address: address.into(), prefix: NODES_IPV6_LENGTH }
    }
}

/// The next hop of what goes back to the node that the mark says.
pub fn nowhere(ipv4: bool) -> IpAddr {
    if ipv4 { NOWHERE_IPV4.into() } else { Ipv6Addr::from_bits(NOWHERE_IPV6).into() }
}

/// Sixteen bits of a mark that are the mesh's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    shift: u8,
}

impl Default for Marks {
    /// The two in the middle of four bytes.
    fn default() -> Self {
        Self { shift: 8 }
    }
}

impl Marks {
    /// From bit `shift` on; `None`: beyond 16.
    pub fn new(shift: u8) -> Option<Self> {
        (shift <= 16).then_some(Self { shift })
    }

    /// All its bits.
    pub const fn mask(self) -> u32 {
        0xffff << self.shift
    }

    const fn of(self, index: u16) -> u32 {
        (index as u32) << self.shift
    }
}

/// What other nodes need, as entries of links and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Of the VXLAN link: where frames to other nodes go.
    pub frames: Forwarding,
    /// Of the bridge: the addresses of other nodes.
    pub neighbours: BTreeMap<IpAddr, MacAddress>,
    /// Tasks on other nodes, each by way of its node.
    pub routes: BTreeMap<IpAddr, IpAddr>,
}

/// The ways from `own` to everybody else. `ipv6`: whether this host has it.
pub fn ways(view: &NetworkView, mesh: &Mesh, own: NodeId, ipv6: bool) -> Ways {
    let mut ways = Ways::default();
    let mut indexes = BTreeMap::new();
    let families = families(mesh, ipv6);
    for node in others(mesh, own) {
        let Some(path) = node.data_path else { continue };
        let mac = node_mac(node.index);
        ways.frames.nodes.insert(mac, path);
        ways.frames.ports.insert(mac);
        indexes.insert(node.id, node.index);
        for ipv4 in families.iter().copied() {
            ways.neighbours.insert(node_address(node.index, ipv4).address, mac);
        }
    }
    for ipv4 in families.iter().copied() {
        ways.neighbours.insert(nowhere(ipv4), NOWHERE);
    }
    for endpoint in view.endpoints.iter().filter(|endpoint| endpoint.node != own) {
        let Some(index) = indexes.get(&endpoint.node) else { continue };
        for address in endpoint.addresses.iter().map(|prefix| prefix.address) {
            if families.contains(&address.is_ipv4()) {
                let hop = node_address(*index, address.is_ipv4()).address;
                ways.routes.insert(address, hop);
            }
        }
    }
    ways
}

/// The families of the mesh on a host, IPv4 as `true`.
pub fn families(mesh: &Mesh, ipv6: bool) -> BTreeSet<bool> {
    let subnets = mesh.subnets.iter().map(|subnet| subnet.gateway.is_ipv4());
    subnets.filter(|ipv4| *ipv4 || ipv6).collect()
}

fn others(mesh: &Mesh, own: NodeId) -> impl Iterator<Item = &MeshNode> {
    mesh.nodes.iter().filter(move |node| node.id != own)
}

/// A port of the nodes.
pub type PortKey = (Protocol, u16);

/// The ports of the mesh, each with the tasks that get its connections on this node.
pub type Backends = BTreeMap<PortKey, BTreeSet<SocketAddr>>;

/// The transport protocol in the words of this crate.
pub const fn protocol(protocol: ModelProtocol) -> Protocol {
    match protocol {
        ModelProtocol::Tcp => Protocol::Tcp,
        ModelProtocol::Udp => Protocol::Udp,
        ModelProtocol::Sctp => Protocol::Sctp,
    }
}

/// Names a port.
pub fn key(port: &MeshPort) -> PortKey {
    (protocol(port.protocol), port.published)
}

/// Where connections that come to `own` are led.
pub fn backends(view: &NetworkView, mesh: &Mesh, own: NodeId, ipv6: bool) -> Backends {
    let families = families(mesh, ipv6);
    let reachable: BTreeSet<NodeId> = others(mesh, own)
        .filter(|node| node.data_path.is_some())
        .map(|node| node.id)
        .chain([own])
        .collect();
    let mut by_service: BTreeMap<ServiceId, Vec<&ViewEndpoint>> = BTreeMap::new();
    for endpoint in view.endpoints.iter().filter(|one| one.healthy && reachable.contains(&one.node))
    {
        if let Some(service) = endpoint.service {
            by_service.entry(service).or_default().push(endpoint);
        }
    }
    let mut backends = Backends::new();
    for port in &mesh.ports {
        let healthy = || by_service.get(&port.service).into_iter().flatten();
        let is_local = healthy().any(|endpoint| endpoint.node == own);
        let only_local = match port.policy {
            PortPolicy::Mesh => false,
            PortPolicy::LocalFirst => is_local,
            PortPolicy::LocalOnly => true,
        };
        let chosen = healthy().filter(|endpoint| !only_local || endpoint.node == own);
        let addresses = chosen.flat_map(|endpoint| &endpoint.addresses).map(|one| one.address);
        let sockets = addresses
            .filter(|address| families.contains(&address.is_ipv4()))
            .map(|address| SocketAddr::new(address, port.target));
        backends.insert(key(port), sockets.collect());
    }
    backends
}

/// What tracked connections are compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alive {
    /// What is in effect.
    pub backends: Backends,
    /// Ports that lead somewhere else than before.
    pub changed: BTreeSet<PortKey>,
    /// Subnets of the mesh.
    pub subnets: Vec<Subnet>,
    /// Addresses of all tasks that have not ended.
    pub present: BTreeSet<IpAddr>,
}

/// Whether a connection goes to a task that no longer gets any: datagrams move on at once, and those that were led
/// nowhere too; a stream when its task is gone.
pub fn is_stale(connection: &Connection, alive: &Alive) -> bool {
    let protocol = match connection.protocol {
        number if number == Protocol::Udp as u8 => Protocol::Udp,
        number if number == Protocol::Tcp as u8 => Protocol::Tcp,
        _ => return false,
    };
    let key = (protocol, connection.destination.port());
    if !alive.changed.contains(&key) {
        return false;
    }
    let by = connection.answered_by;
    if !connection.is_rewritten {
        return protocol == Protocol::Udp && by == connection.destination;
    }
    if !alive.subnets.iter().any(|subnet| subnet.contains(by.ip())) {
        return false;
    }
    let is_backend = alive.backends.get(&key).is_some_and(|backends| backends.contains(&by));
    !is_backend && (protocol == Protocol::Udp || !alive.present.contains(&by.ip()))
}
