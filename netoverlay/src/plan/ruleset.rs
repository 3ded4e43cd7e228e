//! A ruleset of nf_tables as plain values: one table of family `inet`, or `netdev` for one link.
//!
//! Only the expressions that Shoal uses exist. Keys and data of maps are the kernel's bytes: fields one
//! after the other, each padded to four bytes, numbers of packets in network order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::endpoint::MacAddress;
use crate::subnet::Subnet;

/// The content of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// By name.
    pub chains: BTreeMap<String, Chain>,
    /// By name.
    pub maps: BTreeMap<String, Map>,
}

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel enters it; `None`: only jumped to.
    pub base: Option<Base>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// A place in the kernel's path of packets. The policy is always accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What the chain does.
    pub kind: ChainKind,
    /// Where.
    pub hook: Hook,
    /// Lower comes first.
    pub priority: i32,
}

/// What a base chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum ChainKind {
    Filter,
    Nat,
}

impl ChainKind {
    /// The kernel's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// The kernel's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names")]
#[repr(u32)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
    /// Frames that leave by the link of a table of family `netdev`.
    Egress = 101,
}

impl Hook {
    /// The kernel's number, in the family that the hook is of.
    pub const fn number(self) -> u32 {
        if matches!(self, Self::Egress) { 1 } else { self as u32 }
    }
}

/// A rule: all tests must hold, in order, until the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule(pub Vec<Expression>);

/// Address family of a packet; the value is the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Family {
    Ipv4 = 2,
    Ipv6 = 10,
}

impl Family {
    /// Of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// Whether a test must hold or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Is {
    Equal,
    Not,
}

/// Which of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Side {
    Source,
    Destination,
}

/// The direction of an interface name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Interface {
    Input,
    Output,
}

/// A part of a map's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Field {
    InputName,
    OutputName,
    Ipv4Source,
    Ipv6Source,
    Ipv4Destination,
    Ipv6Destination,
    /// Where the packet is routed to.
    Ipv4NextHop,
    Ipv6NextHop,
    Protocol,
    DestinationPort,
    /// A random number below this.
    Slot(u32),
}

/// The type of a field or of a part of a map's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FieldType {
    InterfaceName,
    Ipv4,
    Ipv6,
    Protocol,
    Port,
    /// A number of four bytes; a mark, too.
    Slot,
    /// An Ethernet address.
    Mac,
}

impl FieldType {
    /// Bytes it takes, padded to four.
    pub const fn padded_len(self) -> usize {
        match self {
            Self::InterfaceName | Self::Ipv6 => 16,
            Self::Mac => 8,
            Self::Ipv4 | Self::Protocol | Self::Port | Self::Slot => 4,
        }
    }

    /// Bytes of the value itself.
    pub const fn byte_len(self) -> usize {
        match self {
            Self::InterfaceName | Self::Ipv6 => 16,
            Self::Mac => 6,
            Self::Ipv4 | Self::Slot => 4,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::InterfaceName => "ifname",
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Slot => "mark",
            Self::Mac => "ether_addr",
        }
    }
}

impl Field {
    /// Its type.
    pub const fn kind(self) -> FieldType {
        match self {
            Self::InputName | Self::OutputName => FieldType::InterfaceName,
            Self::Ipv4Source | Self::Ipv4Destination | Self::Ipv4NextHop => FieldType::Ipv4,
            Self::Ipv6Source | Self::Ipv6Destination | Self::Ipv6NextHop => FieldType::Ipv6,
            Self::Protocol => FieldType::Protocol,
            Self::DestinationPort => FieldType::Port,
            Self::Slot(_) => FieldType::Slot,
        }
    }

    fn name(self) -> String {
        let name = match self {
            Self::InputName => "iifname",
            Self::OutputName => "oifname",
            Self::Ipv4Source => "ip saddr",
            Self::Ipv6Source => "ip6 saddr",
            Self::Ipv4Destination => "ip daddr",
            Self::Ipv6Destination => "ip6 daddr",
            Self::Ipv4NextHop => "rt ip nexthop",
            Self::Ipv6NextHop => "rt ip6 nexthop",
            Self::Protocol => "meta l4proto",
            Self::DestinationPort => "th dport",
            Self::Slot(count) => return format!("numgen random mod {count}"),
        };
        name.to_owned()
    }
}

/// A direction of a tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Direction {
    Original,
    Reply,
}

/// One test or action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The packet's family.
    Family(Family),
    /// The interface it came by or leaves by.
    Interface(Interface, Is, String),
    /// Its address lies within a subnet. Tests the family too.
    Address(Side, Subnet),
    /// Its destination is an address of this host.
    DestinationLocal,
    /// It belongs to a connection that was let through.
    Established,
    /// Its connection's destination was rewritten.
    DestinationRewritten,
    /// It leaves by a bridge, whosever.
    LeavesByBridge,
    /// Sets these bits of the packet's mark.
    SetMark(u32),
    /// Clears these bits of the packet's mark.
    ClearMark(u32),
    /// Takes the verdict of a map; goes on with the next rule when the key is not in it.
    VerdictMap(Vec<Field>, String),
    /// Rewrites the destination to address and port of a map; next rule when the key is not in it.
    RewriteDestination(Family, Vec<Field>, String),
    /// Rewrites the destination to an address of a map and leaves the port; next rule when the key is not in it.
    RewriteAddress(Family, Vec<Field>, String),
    /// Rewrites the source to the leaving interface's address.
    Masquerade,
    /// Rewrites the source to this address. Tests the family too.
    RewriteSource(IpAddr),
    /// It is the first packet of its connection.
    New,
    /// It goes in this direction of its connection.
    Directed(Direction),
    /// Its connection's mark has one of these bits.
    ConnectionMarked(u32),
    /// Sets the connection's mark to what a map says of the frame's source; next rule when that is not in it.
    MarkConnectionBySource(String),
    /// Sets the packet's mark to these bits of the connection's.
    MarkFromConnection(u32),
    /// A neighbour is told of a better way.
    Redirect(Family),
    /// The frame goes to this address.
    FrameTo(MacAddress),
    /// Rewrites the frame's destination to what a map says of these bits of the packet's mark; next rule when they
    /// are not in it.
    RewriteFrame(u32, String),
    /// Final for this table.
    Accept,
    /// Final.
    Drop,
    /// Ends this chain and goes on where it was jumped to.
    Return,
    /// Goes through another chain, and comes back.
    Jump(String),
}

/// A map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Types of the key's fields.
    pub key: Vec<FieldType>,
    /// Types of the data; empty: verdicts.
    pub data: Vec<FieldType>,
    /// Key to data, as bytes.
    pub elements: BTreeMap<Vec<u8>, Data>,
}

/// What a key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A jump to a chain.
    Jump(String),
    /// The bytes of the data's fields.
    Bytes(Vec<u8>),
}

impl Map {
    /// An empty map of verdicts by interface name.
    pub fn jumps_by_interface() -> Self {
        Self { key: vec![FieldType::InterfaceName], data: Vec::new(), elements: BTreeMap::new() }
    }
}

/// The bytes of an interface name as a key.
pub fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(FieldType::InterfaceName.padded_len(), 0);
    key
}

/// Changes when the encoding of an expression changes, so that a new release replaces old rules.
const ENCODING: u64 = 1;

impl Rule {
    /// Names the rule's content; kept beside the rule in the kernel, to compare it by.
    pub fn fingerprint(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ ENCODING;
        for byte in self.to_string().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("shoal-{hash:016x}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, expression) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{expression}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family(family) => write!(f, "meta nfproto {}", family_name(*family)),
            Self::Interface(interface, is, name) => {
                let interface = if *interface == Interface::Input { "iifname" } else { "oifname" };
                let is = if *is == Is::Equal { "" } else { "!= " };
                write!(f, "{interface} {is}\"{name}\"")
            }
            Self::Address(side, subnet) => {
                let family = if subnet.is_ipv4() { "ip" } else { "ip6" };
                let side = if *side == Side::Source { "saddr" } else { "daddr" };
                write!(f, "{family} {side} {subnet}")
            }
            Self::DestinationLocal => f.write_str("fib daddr type local"),
            Self::Established => f.write_str("ct state established,related"),
            Self::LeavesByBridge => f.write_str("meta oifkind \"bridge\""),
            Self::SetMark(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
            Self::ClearMark(bits) => write!(f, "meta mark set meta mark & {:#010x}", !bits),
            Self::DestinationRewritten => f.write_str("ct status dnat"),
            Self::VerdictMap(fields, map) => write!(f, "{} vmap @{map}", field_names(fields)),
            Self::RewriteDestination(family, fields, map)
            | Self::RewriteAddress(family, fields, map) => {
                let family = if *family == Family::Ipv4 { "ip" } else { "ip6" };
                write!(f, "dnat {family} to {} map @{map}", field_names(fields))
            }
            Self::Masquerade => f.write_str("masquerade"),
            Self::RewriteSource(address) => {
                let family = if address.is_ipv4() { "ip" } else { "ip6" };
                write!(f, "snat {family} to {address}")
            }
            Self::New => f.write_str("ct state new"),
            Self::Directed(Direction::Original) => f.write_str("ct direction original"),
            Self::Directed(Direction::Reply) => f.write_str("ct direction reply"),
            Self::ConnectionMarked(bits) => write!(f, "ct mark & {bits:#010x} != 0"),
            Self::MarkConnectionBySource(map) => write!(f, "ct mark set ether saddr map @{map}"),
            Self::MarkFromConnection(bits) => write!(f, "meta mark set ct mark & {bits:#010x}"),
            Self::Redirect(Family::Ipv4) => f.write_str("icmp type redirect"),
            Self::Redirect(Family::Ipv6) => f.write_str("icmpv6 type nd-redirect"),
            Self::FrameTo(mac) => write!(f, "ether daddr {mac}"),
            Self::RewriteFrame(bits, map) => {
                write!(f, "ether daddr set meta mark & {bits:#010x} map @{map}")
            }
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

fn family_name(family: Family) -> &'static str {
    if family == Family::Ipv4 { "ipv4" } else { "ipv6" }
}

fn field_names(fields: &[Field]) -> String {
    fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(" . ")
}

/// Readable, close to nft's own language: for golden tests and logs.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, map) in &self.maps {
            let types = |types: &[FieldType]| {
                types.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" . ")
            };
            let data = if map.data.is_empty() { "verdict".to_owned() } else { types(&map.data) };
            writeln!(f, "map {name} {{ {} : {data}", types(&map.key))?;
            for (key, data) in &map.elements {
                writeln!(f, "  {} : {}", show(&map.key, key), show_data(&map.data, data))?;
            }
            writeln!(f, "}}")?;
        }
        for (name, chain) in &self.chains {
            write!(f, "chain {name} {{")?;
            if let Some(base) = chain.base {
                let kind = base.kind.as_str();
                let hook = format!("{:?}", base.hook).to_lowercase();
                write!(f, " type {kind} hook {hook} priority {}", base.priority)?;
            }
            writeln!(f)?;
            for rule in &chain.rules {
                writeln!(f, "  {rule}")?;
            }
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

fn show_data(types: &[FieldType], data: &Data) -> String {
    match data {
        Data::Jump(chain) => format!("jump {chain}"),
        Data::Bytes(bytes) => show(types, bytes),
    }
}

fn show(types: &[FieldType], mut bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    for kind in types {
        let (field, rest) = bytes.split_at(kind.padded_len().min(bytes.len()));
        bytes = rest;
        shown.push(match (kind, field) {
            (FieldType::InterfaceName, name) => {
                String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()
            }
            (FieldType::Ipv4, &[a, b, c, d]) => IpAddr::from([a, b, c, d]).to_string(),
            (FieldType::Ipv6, bytes) => <[u8; 16]>::try_from(bytes)
                .map_or_else(|_| "?".to_owned(), |bytes| IpAddr::from(bytes).to_string()),
            (FieldType::Mac, bytes) => <[u8; 6]>::try_from(bytes.get(..6).unwrap_or_default())
                .map_or_else(|_| "?".to_owned(), |bytes| MacAddress(bytes).to_string()),
            (FieldType::Protocol, &[number, ..]) => match number {
                6 => "tcp".to_owned(),
                17 => "udp".to_owned(),
                132 => "sctp".to_owned(),
                other => other.to_string(),
            },
            (FieldType::Slot, &[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]).to_string(),
            (FieldType::Port, &[high, low, ..]) => u16::from_be_bytes([high, low]).to_string(),
            _ => "?".to_owned(),
        });
    }
    shown.join(" . ")
}
