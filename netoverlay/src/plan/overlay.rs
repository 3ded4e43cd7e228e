//! What an overlay network's view means for this node's kernel: where frames go, and how connections to virtual
//! addresses are spread. Pure.
//!
//! Virtual addresses are rewritten in the namespace of whoever connects. Services with as many backends form a class
//! ([`Class`]), which has a map and a rule: the rule draws a number below the count, and the map leads virtual address and
//! number to a backend. An address that the map does not have goes on to the next rule. Ports stay as they are.
//!
//! No map holds verdicts: the kernel would walk all of it with each transaction (docs/adr/0015).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use shoal_model::cluster::NodeId;
use shoal_model::cluster::view::ViewEndpoint;

use super::connections::Connection;
use super::ports::Protocol;
use super::ruleset::{
    Base, Chain, ChainKind, Data, Expression, Family, Field, FieldType, Hook, Map, Rule, Ruleset,
};
use super::turn::Turn;
use crate::endpoint::MacAddress;

/// Before the kernel's own address rewriting of other tables.
const PRIORITY: i32 = -100;

/// Entries of a VXLAN link and of its bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// Which node has an address.
    pub nodes: BTreeMap<MacAddress, IpAddr>,
    /// Addresses that the bridge finds behind the VXLAN link.
    pub ports: BTreeSet<MacAddress>,
    /// For which neighbours the VXLAN link answers.
    pub neighbours: BTreeMap<IpAddr, MacAddress>,
}

/// One change of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Step {
    RemoveNeighbour(IpAddr),
    RemovePort(MacAddress),
    RemoveNode(MacAddress),
    SetNode(MacAddress, IpAddr),
    SetPort(MacAddress),
    SetNeighbour(IpAddr, MacAddress),
}

/// Where the other nodes' endpoints are, seen from `own`.
pub fn forwarding(endpoints: &[&ViewEndpoint], own: NodeId) -> Forwarding {
    let mut wanted = Forwarding::default();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.node != own) {
        let Some(node) = endpoint.data_path else { continue };
        let mac = MacAddress(endpoint.mac);
        wanted.nodes.insert(mac, node);
        wanted.ports.insert(mac);
        for prefix in &endpoint.addresses {
            wanted.neighbours.insert(prefix.address, mac);
        }
    }
    wanted
}

impl Forwarding {
    /// Goes on from the view whose entries these are. No two endpoints of a view have an address in common.
    pub fn take(&mut self, turn: &Turn<'_>, own: NodeId) -> Vec<Step> {
        let (left, came) = (forwarding(&turn.left, own), forwarding(&turn.came, own));
        let steps = steps(&left, &came);
        for mac in left.nodes.keys() {
            self.nodes.remove(mac);
            self.ports.remove(mac);
        }
        for address in left.neighbours.keys() {
            self.neighbours.remove(address);
        }
        self.nodes.extend(came.nodes);
        self.ports.extend(came.ports);
        self.neighbours.extend(came.neighbours);
        steps
    }
}

/// What makes `current` equal to `wanted`: nothing is answered for before it can be reached, nor after.
pub fn steps(current: &Forwarding, wanted: &Forwarding) -> Vec<Step> {
    let mut steps = Vec::new();
    let gone = current.neighbours.keys().filter(|one| !wanted.neighbours.contains_key(*one));
    steps.extend(gone.map(|address| Step::RemoveNeighbour(*address)));
    steps.extend(current.ports.difference(&wanted.ports).map(|mac| Step::RemovePort(*mac)));
    let gone = current.nodes.keys().filter(|mac| !wanted.nodes.contains_key(*mac));
    steps.extend(gone.map(|mac| Step::RemoveNode(*mac)));
    let differs = wanted.nodes.iter().filter(|(mac, node)| current.nodes.get(*mac) != Some(*node));
    steps.extend(differs.map(|(mac, node)| Step::SetNode(*mac, *node)));
    steps.extend(wanted.ports.difference(&current.ports).map(|mac| Step::SetPort(*mac)));
    let differs =
        wanted.neighbours.iter().filter(|(one, mac)| current.neighbours.get(*one) != Some(*mac));
    steps.extend(differs.map(|(address, mac)| Step::SetNeighbour(*address, *mac)));
    steps
}

/// Virtual addresses, each with the addresses of its service's healthy tasks.
pub type Backends = BTreeMap<IpAddr, Vec<IpAddr>>;

pub(super) fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Up to so many backends each count is a class of its own.
const EXACT: u32 = 16;
/// So often a number is drawn before the first backend is taken: of a class that is a quarter larger than the count one
/// draw of five finds none.
const DRAWS: usize = 4;

/// Services of one address family that have about as many backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    family: Family,
    /// Numbers that are drawn: at least as many as there are backends.
    size: u32,
}

impl Class {
    /// Of a virtual address with so many backends. Sizes grow by a quarter, so that a service that grows changes its class,
    /// and all its elements move, ever more rarely.
    pub fn of(vip: IpAddr, backends: &[IpAddr]) -> Self {
        let count = u32::try_from(backends.len()).expect("a service has few tasks");
        let mut size = count.min(EXACT);
        while size < count {
            size += size / 4;
        }
        Self { family: Family::of(vip), size }
    }

    /// Name of its map.
    pub(super) fn map(self) -> String {
        let family = if self.family == Family::Ipv4 { 4 } else { 6 };
        format!("lb{family}_{}", self.size)
    }

    /// Types of its map's keys and data.
    pub(super) fn types(self) -> (Vec<FieldType>, Vec<FieldType>) {
        let kind = if self.family == Family::Ipv4 { FieldType::Ipv4 } else { FieldType::Ipv6 };
        (vec![kind, FieldType::Slot], vec![kind])
    }

    /// Its rules: one where each number has a backend.
    pub(super) fn rules(self) -> Vec<Rule> {
        let field = match self.family {
            Family::Ipv4 => Field::Ipv4Destination,
            Family::Ipv6 => Field::Ipv6Destination,
        };
        let draw = |below: u32| {
            let fields = vec![field, Field::Slot(below)];
            let rewrite = Expression::RewriteAddress(self.family, fields, self.map());
            Rule(vec![Expression::Family(self.family), rewrite])
        };
        if self.size <= EXACT {
            return vec![draw(self.size)];
        }
        let mut rules = vec![draw(self.size); DRAWS];
        rules.push(draw(1));
        rules
    }
}

/// The chain that looks virtual addresses up.
pub(super) const CHAIN: &str = "output";

/// Key of a slot.
pub(super) fn slot_key(vip: IpAddr, slot: usize) -> Vec<u8> {
    let slot = u32::try_from(slot).expect("a service has few tasks");
    [bytes(vip), slot.to_ne_bytes().to_vec()].concat()
}

/// The table of a namespace from which connections to virtual addresses are made.
pub fn balancing(backends: &Backends) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let base = Base { kind: ChainKind::Nat, hook: Hook::Output, priority: PRIORITY };
    let mut output = Chain { base: Some(base), rules: Vec::new() };
    let classes: BTreeSet<Class> =
        backends.iter().map(|(vip, addresses)| Class::of(*vip, addresses)).collect();
    for class in classes {
        let (key, data) = class.types();
        ruleset.maps.insert(class.map(), Map { key, data, elements: BTreeMap::new() });
        output.rules.extend(class.rules());
    }
    for (vip, addresses) in backends {
        let map = ruleset.maps.entry(Class::of(*vip, addresses).map());
        map.and_modify(|map| {
            for (slot, address) in addresses.iter().enumerate() {
                map.elements.insert(slot_key(*vip, slot), Data::Bytes(bytes(*address)));
            }
        });
    }
    ruleset.chains.insert(CHAIN.to_owned(), output);
    ruleset
}

/// Whether a connection goes to a backend that its virtual address lost, or to a task that is gone: the same decision
/// as [`is_stale`], from what one change says.
pub fn is_left(
    connection: &Connection,
    lost: &BTreeSet<(IpAddr, IpAddr)>,
    gone: &BTreeSet<IpAddr>,
) -> bool {
    let (vip, backend) = (connection.destination.ip(), connection.answered_by.ip());
    let is_datagram = connection.protocol == Protocol::Udp as u8;
    connection.is_rewritten
        && vip != backend
        && ((is_datagram && lost.contains(&(vip, backend))) || gone.contains(&backend))
}

/// What connections are compared with.
#[derive(Debug, Default)]
pub struct Alive {
    /// Virtual addresses that are or were.
    pub virtual_ips: BTreeSet<IpAddr>,
    /// Addresses of all tasks that have not ended.
    pub present: BTreeSet<IpAddr>,
}

/// Whether a connection goes to a task that no longer is a backend: datagrams move on at once, a stream when its
/// task is gone.
pub fn is_stale(connection: &Connection, backends: &Backends, alive: &Alive) -> bool {
    let (vip, backend) = (connection.destination.ip(), connection.answered_by.ip());
    if !alive.virtual_ips.contains(&vip) || !connection.is_rewritten {
        return false;
    }
    if backends.get(&vip).is_some_and(|addresses| addresses.contains(&backend)) {
        return false;
    }
    connection.protocol == Protocol::Udp as u8 || !alive.present.contains(&backend)
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::view::{ViewService, mac_of};
    use shoal_model::cluster::{ClusterNetworkId, NetworkView, ServiceId, TaskId};

    use super::*;
    use crate::plan::spread::Spread;

    fn endpoint(number: u8, node: u8, healthy: bool) -> ViewEndpoint {
        let addresses = vec![format!("10.0.1.{number}/24").parse().unwrap()];
        ViewEndpoint {
            task: TaskId::from_bytes([number; 16]),
            service: Some(ServiceId::from_bytes([1; 16])),
            node: NodeId::from_bytes([node; 16]),
            data_path: Some([192, 0, 2, node].into()),
            mac: mac_of(&addresses),
            addresses,
            name: format!("web.{number}"),
            aliases: Vec::new(),
            healthy,
        }
    }

    fn view(endpoints: Vec<ViewEndpoint>) -> NetworkView {
        NetworkView {
            network: ClusterNetworkId::from_bytes([1; 16]),
            version: 1,
            data_path_port: 4789,
            services: vec![ViewService {
                id: ServiceId::from_bytes([1; 16]),
                name: "web".to_owned(),
                aliases: Vec::new(),
                virtual_ips: vec![[10, 0, 1, 2].into()],
            }],
            endpoints,
            mesh: None,
        }
    }

    #[test]
    fn frames_go_to_the_nodes_of_others() {
        let own = NodeId::from_bytes([1; 16]);
        let endpoints = [endpoint(5, 1, true), endpoint(6, 2, false)];
        let wanted = forwarding(&endpoints.each_ref(), own);
        let (mac, address): (_, IpAddr) =
            (MacAddress([0x02, 0x42, 10, 0, 1, 6]), [10, 0, 1, 6].into());
        let node = IpAddr::from([192, 0, 2, 2]);
        let set = [Step::SetNode(mac, node), Step::SetPort(mac), Step::SetNeighbour(address, mac)];
        assert_eq!(steps(&Forwarding::default(), &wanted), set);
        assert_eq!(steps(&wanted, &wanted), []);
        let mut moved = wanted.clone();
        moved.nodes.insert(mac, [192, 0, 2, 3].into());
        assert_eq!(steps(&moved, &wanted), [Step::SetNode(mac, node)]);
        let removed =
            [Step::RemoveNeighbour(address), Step::RemovePort(mac), Step::RemoveNode(mac)];
        assert_eq!(steps(&wanted, &Forwarding::default()), removed);
    }

    #[test]
    fn connections_are_spread_over_what_is_healthy() {
        let mut spread = Spread::default();
        spread.follow(&view(vec![
            endpoint(5, 1, true),
            endpoint(6, 2, true),
            endpoint(7, 2, false),
        ]));
        let shown = balancing(spread.backends()).to_string();
        expect_test::expect![[r#"
            map lb4_2 { ipv4_addr . mark : ipv4_addr
              10.0.1.2 . 0 : 10.0.1.5
              10.0.1.2 . 1 : 10.0.1.6
            }
            chain output { type nat hook output priority -100
              meta nfproto ipv4 dnat ip to ip daddr . numgen random mod 2 map @lb4_2
            }
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn datagrams_leave_a_removed_backend_and_streams_a_task_that_is_gone() {
        let backends = Backends::from([([10, 0, 1, 2].into(), vec![[10, 0, 1, 5].into()])]);
        let alive = Alive {
            virtual_ips: [IpAddr::from([10, 0, 1, 2])].into(),
            present: [IpAddr::from([10, 0, 1, 5]), [10, 0, 1, 6].into()].into(),
        };
        let stale = |protocol: Protocol, destination: &str, by: &str| {
            let connection = Connection {
                protocol: protocol as u8,
                destination: destination.parse().unwrap(),
                answered_by: by.parse().unwrap(),
                is_rewritten: destination != by,
            };
            is_stale(&connection, &backends, &alive)
        };
        assert!(!stale(Protocol::Udp, "10.0.1.2:53", "10.0.1.5:53"), "a backend");
        assert!(stale(Protocol::Udp, "10.0.1.2:53", "10.0.1.6:53"), "drains");
        assert!(!stale(Protocol::Tcp, "10.0.1.2:80", "10.0.1.6:80"), "drains");
        assert!(stale(Protocol::Tcp, "10.0.1.2:80", "10.0.1.7:80"), "gone");
        assert!(!stale(Protocol::Udp, "10.0.1.6:53", "10.0.1.6:53"), "asked directly");
        let (vip, address) = (IpAddr::from([10, 0, 1, 2]), |last| IpAddr::from([10, 0, 1, last]));
        let (lost, gone) = ([(vip, address(6)), (vip, address(7))].into(), [address(7)].into());
        let left = |protocol: Protocol, destination: &str, by: &str| {
            let connection = Connection {
                protocol: protocol as u8,
                destination: destination.parse().unwrap(),
                answered_by: by.parse().unwrap(),
                is_rewritten: destination != by,
            };
            is_left(&connection, &lost, &gone)
        };
        assert!(!left(Protocol::Udp, "10.0.1.2:53", "10.0.1.5:53"), "a backend");
        assert!(left(Protocol::Udp, "10.0.1.2:53", "10.0.1.6:53"), "drains");
        assert!(!left(Protocol::Tcp, "10.0.1.2:80", "10.0.1.6:80"), "drains");
        assert!(left(Protocol::Tcp, "10.0.1.2:80", "10.0.1.7:80"), "gone");
        assert!(!left(Protocol::Udp, "10.0.1.7:53", "10.0.1.7:53"), "asked directly");
    }
}
