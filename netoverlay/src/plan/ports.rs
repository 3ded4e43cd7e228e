//! Published ports as elements of four maps: by family, and by host address or any.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::diff::Change;
use super::ruleset::{Data, Expression, Family, Field, FieldType, Map, Rule};

/// Transport protocols that can be published; the value is the number in the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

impl Protocol {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is not a protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid protocol `{0}`: expected `tcp`, `udp` or `sctp`")]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// A port of the host that leads to a port of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host, unspecified for any, and port.
    pub host: SocketAddr,
    /// Address of the endpoint and its port.
    pub container: SocketAddr,
}

impl PublishedPort {
    /// Whether host and container have addresses of different families: nftables cannot rewrite one into
    /// the other.
    pub fn crosses_families(&self) -> bool {
        self.host.is_ipv4() != self.container.is_ipv4()
    }

    /// Whether the daemon listens on it: what crosses families, and what `[::1]` may reach.
    pub fn is_relayed(&self) -> bool {
        let loopback = matches!(
            self.host.ip(),
            IpAddr::V6(address) if address.is_unspecified() || address.is_loopback()
        );
        self.protocol != Protocol::Sctp && (loopback || self.crosses_families())
    }
}

/// The four maps, empty.
pub(super) fn maps() -> BTreeMap<String, Map> {
    let any = [FieldType::Protocol, FieldType::Port];
    let families = [("ports4", FieldType::Ipv4), ("ports6", FieldType::Ipv6)];
    let mut maps = BTreeMap::new();
    for (name, address) in families {
        let data = vec![address, FieldType::Port];
        let map = |key: Vec<FieldType>| Map { key, data: data.clone(), elements: BTreeMap::new() };
        maps.insert(name.to_owned(), map([&[address], &any[..]].concat()));
        maps.insert(format!("{name}-any"), map(any.to_vec()));
    }
    maps
}

/// The rules that look a packet up in the maps.
pub(super) fn rules() -> Vec<Rule> {
    let rule = |family, fields: &[Field], map: &str| {
        Rule(vec![
            Expression::Family(family),
            Expression::RewriteDestination(family, fields.to_vec(), map.to_owned()),
        ])
    };
    let any = [Field::Protocol, Field::DestinationPort];
    let with = |address| [&[address], &any[..]].concat();
    vec![
        rule(Family::Ipv4, &with(Field::Ipv4Destination), "ports4"),
        rule(Family::Ipv4, &any, "ports4-any"),
        rule(Family::Ipv6, &with(Field::Ipv6Destination), "ports6"),
        rule(Family::Ipv6, &any, "ports6-any"),
    ]
}

/// Map, key and data of a published port; `None`: the kernel cannot rewrite it.
pub(super) fn element(port: &PublishedPort) -> Option<(&'static str, Vec<u8>, Data)> {
    if port.crosses_families() {
        return None;
    }
    let map = match (port.host.is_ipv4(), port.host.ip().is_unspecified()) {
        (true, true) => "ports4-any",
        (true, false) => "ports4",
        (false, true) => "ports6-any",
        (false, false) => "ports6",
    };
    let mut key = Vec::new();
    if !port.host.ip().is_unspecified() {
        push_address(&mut key, port.host.ip());
    }
    key.extend([port.protocol as u8, 0, 0, 0]);
    push_port(&mut key, port.host.port());
    let mut data = Vec::new();
    push_address(&mut data, port.container.ip());
    push_port(&mut data, port.container.port());
    Some((map, key, Data::Bytes(data)))
}

fn push_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

fn push_port(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0]);
}

/// The changes that publish ports, without looking at the rest of the table.
pub fn publish(ports: &[PublishedPort]) -> Vec<Change> {
    let mut by_map = BTreeMap::<_, Vec<_>>::new();
    for (map, key, data) in ports.iter().filter_map(element) {
        by_map.entry(map).or_default().push((key, data));
    }
    let change = |(map, elements): (&str, _)| Change::AddElements { map: map.to_owned(), elements };
    by_map.into_iter().map(change).collect()
}

/// The changes that take published ports back.
pub fn withdraw(ports: &[PublishedPort]) -> Vec<Change> {
    let mut by_map = BTreeMap::<_, Vec<_>>::new();
    for (map, key, _) in ports.iter().filter_map(element) {
        by_map.entry(map).or_default().push(key);
    }
    let change = |(map, keys): (&str, _)| Change::RemoveElements { map: map.to_owned(), keys };
    by_map.into_iter().map(change).collect()
}
