//! The table of packets of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shoal_model::cluster::NodeId;
use shoal_model::cluster::mesh::{Mesh, MeshPort};

use super::{Backends, Marks, PortKey, families, key, node_address, node_mac, others};
use crate::plan::networks::Loopback6;
use crate::plan::ruleset::{
    Base, Chain, ChainKind, Data, Direction, Expression, Family, Field, FieldType, Hook, Interface,
    Is, Map, Rule, Ruleset, Side, interface_key,
};
use crate::subnet::Subnet;

const PRIORITY_MANGLE: i32 = -150;
const PRIORITY_DESTINATION_NAT: i32 = -100;
const PRIORITY_FILTER: i32 = 0;
/// Before everybody who masquerades.
const PRIORITY_SOURCE_NAT: i32 = 95;

const PUBLISH: &str = "publish";
/// What leaves by the mesh's bridge.
const LEAVING: &str = "leaving";

/// What the rules must know of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// This node.
    pub node: NodeId,
    /// Its index.
    pub index: u16,
    /// Name of the mesh's bridge.
    pub bridge: &'a str,
    /// Bits of marks.
    pub marks: Marks,
    /// The way of `[::1]`.
    pub loopback: Loopback6,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Subnets of its containers: their addresses mean nothing to other nodes.
    pub containers: &'a [Subnet],
    /// Ports that another program has here.
    pub refused: &'a BTreeSet<PortKey>,
}

/// Computes the whole table.
pub fn rules(mesh: &Mesh, backends: &Backends, host: &Host<'_>) -> Ruleset {
    let mut ruleset = Ruleset { chains: chains(host), maps: BTreeMap::new() };
    let nodes = others(mesh, host.node).map(|node| {
        let mark = host.marks.of(node.index).to_ne_bytes().to_vec();
        (node_mac(node.index).0.to_vec(), Data::Bytes(mark))
    });
    let key = vec![FieldType::Mac];
    let nodes = Map { key, data: vec![FieldType::Slot], elements: nodes.collect() };
    ruleset.maps.insert("node".to_owned(), nodes);
    let families = families(mesh, host.ipv6);
    for ipv4 in families.iter().copied() {
        add_family(&mut ruleset, mesh, host, ipv4);
    }
    for port in mesh.ports.iter().filter(|port| !host.refused.contains(&self::key(port))) {
        let all = backends.get(&self::key(port)).into_iter().flatten();
        for ipv4 in families.iter().copied() {
            let own: Vec<&SocketAddr> = all.clone().filter(|one| one.is_ipv4() == ipv4).collect();
            publish(&mut ruleset, port, &own, ipv4);
        }
    }
    ruleset
}

fn chains(host: &Host<'_>) -> BTreeMap<String, Chain> {
    let by = |interface| Expression::Interface(interface, Is::Equal, host.bridge.to_owned());
    let publish = || Rule(vec![Expression::DestinationLocal, Expression::Jump(PUBLISH.to_owned())]);
    let base =
        |kind, hook, priority, rules| Chain { base: Some(Base { kind, hook, priority }), rules };
    let mask = host.marks.mask();
    let remember = vec![
        Rule(vec![
            by(Interface::Input),
            Expression::New,
            Expression::Directed(Direction::Original),
            Expression::MarkConnectionBySource("node".to_owned()),
        ]),
        Rule(vec![
            by(Interface::Input),
            Expression::Directed(Direction::Reply),
            Expression::ConnectionMarked(mask),
            Expression::MarkFromConnection(mask),
        ]),
    ];
    let redirects = vec![
        Rule(vec![
            Expression::Redirect(Family::Ipv4),
            Expression::ConnectionMarked(mask),
            Expression::Drop,
        ]),
        Rule(vec![by(Interface::Output), Expression::Redirect(Family::Ipv6), Expression::Drop]),
    ];
    let leaving = vec![Rule(vec![by(Interface::Output), Expression::Jump(LEAVING.to_owned())])];
    let nat = |hook, priority, rules| base(ChainKind::Nat, hook, priority, rules);
    let filter = |hook, priority, rules| base(ChainKind::Filter, hook, priority, rules);
    let chains = [
        ("remember", filter(Hook::Prerouting, PRIORITY_MANGLE, remember)),
        ("redirects", filter(Hook::Output, PRIORITY_FILTER, redirects)),
        ("nat-prerouting", nat(Hook::Prerouting, PRIORITY_DESTINATION_NAT, vec![publish()])),
        ("nat-output", nat(Hook::Output, PRIORITY_DESTINATION_NAT, vec![publish()])),
        ("nat-postrouting", nat(Hook::Postrouting, PRIORITY_SOURCE_NAT, leaving)),
        (PUBLISH, Chain::default()),
        (LEAVING, Chain::default()),
    ];
    chains.map(|(name, chain)| (name.to_owned(), chain)).into()
}

/// Names, fields and types of a family.
struct Words {
    family: Family,
    kind: FieldType,
    source: Field,
    destination: Field,
    next_hop: Field,
    loopback: Subnet,
}

fn words(ipv4: bool) -> Words {
    if ipv4 {
        Words {
            family: Family::Ipv4,
            kind: FieldType::Ipv4,
            source: Field::Ipv4Source,
            destination: Field::Ipv4Destination,
            next_hop: Field::Ipv4NextHop,
            loopback: Subnet { address: Ipv4Addr::new(127, 0, 0, 0).into(), prefix: 8 },
        }
    } else {
        Words {
            family: Family::Ipv6,
            kind: FieldType::Ipv6,
            source: Field::Ipv6Source,
            destination: Field::Ipv6Destination,
            next_hop: Field::Ipv6NextHop,
            loopback: Subnet { address: Ipv6Addr::LOCALHOST.into(), prefix: 128 },
        }
    }
}

fn name(map: &str, ipv4: bool) -> String {
    format!("{map}{}", if ipv4 { 4 } else { 6 })
}

const PORT: [FieldType; 2] = [FieldType::Protocol, FieldType::Port];
const PORT_FIELDS: [Field; 2] = [Field::Protocol, Field::DestinationPort];

/// Maps and rules of a family, without ports.
fn add_family(ruleset: &mut Ruleset, mesh: &Mesh, host: &Host<'_>, ipv4: bool) {
    let words = words(ipv4);
    let maps = [
        // A specific address comes before a link, and that before all.
        ("at", [&[words.kind], &PORT[..]].concat(), Vec::new()),
        ("by", [&[FieldType::InterfaceName], &PORT[..]].concat(), Vec::new()),
        ("any", PORT.to_vec(), Vec::new()),
        ("lb", [&PORT[..], &[FieldType::Slot]].concat(), vec![words.kind, FieldType::Port]),
    ];
    for (map, key, data) in maps {
        ruleset.maps.insert(name(map, ipv4), Map { key, data, elements: BTreeMap::new() });
    }
    let source = Expression::RewriteSource(node_address(host.index, ipv4).address);
    let own = format!("own{}", if ipv4 { 4 } else { 6 });
    let hairpin = others(mesh, host.node).flat_map(|node| {
        let hop = node_address(node.index, ipv4).address;
        let addresses = node.addresses.iter().filter(move |one| one.is_ipv4() == ipv4);
        addresses.map(move |address| [bytes(*address), bytes(hop)].concat())
    });
    let elements = hairpin.map(|key| (key, Data::Jump(own.clone()))).collect();
    let hairpin = Map { key: vec![words.kind; 2], data: Vec::new(), elements };
    ruleset.maps.insert(name("hairpin", ipv4), hairpin);
    ruleset.chains.insert(own, Chain { base: None, rules: vec![Rule(vec![source.clone()])] });

    let mut leaving =
        vec![Rule(vec![Expression::Address(Side::Source, words.loopback), source.clone()])];
    let containers = host.containers.iter().filter(|subnet| subnet.is_ipv4() == ipv4);
    leaving.extend(containers.map(|subnet| {
        Rule(vec![
            Expression::Address(Side::Source, subnet.network()),
            Expression::DestinationRewritten,
            source.clone(),
        ])
    }));
    leaving.push(Rule(vec![
        Expression::Family(words.family),
        Expression::VerdictMap(vec![words.source, words.next_hop], name("hairpin", ipv4)),
    ]));
    if let Some(chain) = ruleset.chains.get_mut(LEAVING) {
        chain.rules.extend(leaving);
    }

    let look_up = |first: Option<Field>, map: &str| {
        let fields = first.into_iter().chain(PORT_FIELDS).collect();
        Rule(vec![
            Expression::Family(words.family),
            Expression::VerdictMap(fields, name(map, ipv4)),
        ])
    };
    let mut published = vec![
        look_up(Some(words.destination), "at"),
        look_up(Some(Field::InputName), "by"),
        look_up(None, "any"),
    ];
    if !ipv4 && host.loopback == Loopback6::Relayed {
        let own = Expression::Address(Side::Destination, words.loopback);
        published.insert(0, Rule(vec![own, Expression::Return]));
    }
    if let Some(chain) = ruleset.chains.get_mut(PUBLISH) {
        chain.rules.extend(published);
    }
}

/// Leads a port to these tasks. Without any nothing is rewritten: the socket that reserves the port lets clients try
/// again.
fn publish(ruleset: &mut Ruleset, port: &MeshPort, backends: &[&SocketAddr], ipv4: bool) {
    let Ok(count) = u32::try_from(backends.len()) else { return };
    if count == 0 || port.address.is_some_and(|address| address.is_ipv4() != ipv4) {
        return;
    }
    let (protocol, number) = key(port);
    let number = number.to_be_bytes();
    let port_key = vec![protocol as u8, 0, 0, 0, number[0], number[1], 0, 0];
    let (map, key) = match (port.address, port.interface.as_str()) {
        (Some(address), _) => ("at", [bytes(address), port_key.clone()].concat()),
        (None, "") => ("any", port_key.clone()),
        (None, link) => ("by", [interface_key(link), port_key.clone()].concat()),
    };
    let chain = format!("mod{count}");
    if let Some(map) = ruleset.maps.get_mut(&name(map, ipv4)) {
        map.elements.insert(key, Data::Jump(chain.clone()));
    }
    if let Some(map) = ruleset.maps.get_mut(&name("lb", ipv4)) {
        for (slot, backend) in (0_u32..).zip(backends) {
            let key = [port_key.clone(), slot.to_ne_bytes().to_vec()].concat();
            let target = backend.port().to_be_bytes();
            let data = [bytes(backend.ip()), vec![target[0], target[1], 0, 0]].concat();
            map.elements.insert(key, Data::Bytes(data));
        }
    }
    let words = words(ipv4);
    let fields = [&PORT_FIELDS[..], &[Field::Slot(count)]].concat();
    let rule = Rule(vec![
        Expression::Family(words.family),
        Expression::RewriteDestination(words.family, fields, name("lb", ipv4)),
    ]);
    let chain = ruleset.chains.entry(chain).or_default();
    if !chain.rules.contains(&rule) {
        chain.rules.push(rule);
    }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
