//! Routes of the mesh, marked as ours, and the rule that leads marked packets to a table of their own.
//!
//! Source: Linux `include/uapi/linux/rtnetlink.h`, `fib_rules.h`.

use std::net::IpAddr;

use super::nft::attributes::{self as read, Writer};
use super::socket::{Error, Message, Reply, Socket, flag};

const NEW_ROUTE: u16 = libc::RTM_NEWROUTE;
const DEL_ROUTE: u16 = libc::RTM_DELROUTE;
const GET_ROUTE: u16 = libc::RTM_GETROUTE;
const NEW_RULE: u16 = libc::RTM_NEWRULE;
const DEL_RULE: u16 = libc::RTM_DELRULE;
const GET_RULE: u16 = libc::RTM_GETRULE;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const HEADER_LEN: usize = 12;
/// Who made it: nobody else uses this number.
const OURS: u8 = 83;
const UNICAST: u8 = 1;
/// The table's number is in an attribute.
const TABLE_BEYOND: u8 = 252;

const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_TABLE: u16 = 15;
const RULE_PRIORITY: u16 = 6;
const RULE_MARK: u16 = 10;
const RULE_TABLE: u16 = 15;
const RULE_MASK: u16 = 16;
const RULE_OWNER: u16 = 21;
const TO_TABLE: u8 = 1;
const INVERT: u32 = 2;
/// Before all rules but the kernel's first one, for local addresses.
const PRIORITY: u32 = 100;

/// A route of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// One address; `None`: all that have no other.
    pub destination: Option<IpAddr>,
    /// Next hop.
    pub via: IpAddr,
    /// Index of the link.
    pub link: u32,
    /// Table.
    pub table: u32,
}

fn family(ipv4: bool) -> u8 {
    if ipv4 { FAMILY_IPV4 } else { FAMILY_IPV6 }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    ipv4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    read::find(attributes, kind)?.try_into().ok().map(u32::from_ne_bytes)
}

fn route(kind: u16, flags: u16, way: &Way) -> Message {
    let ipv4 = way.via.is_ipv4();
    let length = way.destination.map_or(0, |one| if one.is_ipv4() { 32 } else { 128 });
    let header = [family(ipv4), length, 0, 0, TABLE_BEYOND, OURS, 0, UNICAST, 0, 0, 0, 0];
    let mut writer = Writer::with_header(header);
    if let Some(destination) = way.destination {
        writer.bytes(ROUTE_DESTINATION, &bytes(destination));
    }
    writer
        .bytes(ROUTE_GATEWAY, &bytes(way.via))
        .bytes(ROUTE_LINK, &way.link.to_ne_bytes())
        .bytes(ROUTE_TABLE, &way.table.to_ne_bytes());
    Message { kind, flags, payload: writer.finish() }
}

/// Adds a route, or changes its next hop.
pub fn set(way: &Way) -> Message {
    route(NEW_ROUTE, flag::CREATE | flag::REPLACE, way)
}

/// Removes a route.
pub fn remove(way: &Way) -> Message {
    route(DEL_ROUTE, 0, way)
}

/// All routes of ours.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket) -> Result<Vec<Way>, Error> {
    let mut found = Vec::new();
    for ipv4 in [true, false] {
        let mut payload = vec![0; HEADER_LEN];
        payload[0] = family(ipv4);
        let replies = socket.dump(&Message { kind: GET_ROUTE, flags: 0, payload })?;
        found.extend(replies.iter().filter_map(parse_route));
    }
    Ok(found)
}

fn parse_route(reply: &Reply) -> Option<Way> {
    let header = reply.payload.get(..HEADER_LEN).filter(|_| reply.kind == NEW_ROUTE)?;
    let attributes = reply.payload.get(HEADER_LEN..)?;
    if header[5] != OURS || header[7] != UNICAST {
        return None;
    }
    Some(Way {
        destination: read::find(attributes, ROUTE_DESTINATION).and_then(address),
        via: read::find(attributes, ROUTE_GATEWAY).and_then(address)?,
        link: number(attributes, ROUTE_LINK)?,
        table: number(attributes, ROUTE_TABLE)?,
    })
}

/// A rule that looks at marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkRule {
    /// Family.
    pub ipv4: bool,
    /// Where it stands.
    pub priority: u32,
    /// What it compares.
    pub mark: u32,
    /// Bits that it compares.
    pub mask: u32,
    /// The table that it leads to.
    pub table: u32,
    /// Made by us.
    pub is_ours: bool,
}

fn rule(kind: u16, flags: u16, rule: &MarkRule) -> Message {
    let [a, b, c, d] = INVERT.to_ne_bytes();
    let header = [family(rule.ipv4), 0, 0, 0, 0, 0, 0, TO_TABLE, a, b, c, d];
    let mut writer = Writer::with_header(header);
    writer
        .bytes(RULE_PRIORITY, &rule.priority.to_ne_bytes())
        .bytes(RULE_MARK, &rule.mark.to_ne_bytes())
        .bytes(RULE_MASK, &rule.mask.to_ne_bytes())
        .bytes(RULE_TABLE, &rule.table.to_ne_bytes())
        .bytes(RULE_OWNER, &[OURS]);
    Message { kind, flags, payload: writer.finish() }
}

/// The rule of ours: packets that have any bit of `mask` look at `table`.
pub const fn marked(ipv4: bool, mask: u32, table: u32) -> MarkRule {
    MarkRule { ipv4, priority: PRIORITY, mark: 0, mask, table, is_ours: true }
}

/// Adds a rule as [`marked`] makes it; refused with EEXIST when it is there.
pub fn add_rule(wanted: &MarkRule) -> Message {
    rule(NEW_RULE, flag::CREATE | flag::EXCLUSIVE, wanted)
}

/// Removes such a rule.
pub fn remove_rule(present: &MarkRule) -> Message {
    rule(DEL_RULE, 0, present)
}

/// All rules that look at marks.
///
/// # Errors
/// The kernel's refusal.
pub fn mark_rules(socket: &mut Socket) -> Result<Vec<MarkRule>, Error> {
    let mut found = Vec::new();
    for ipv4 in [true, false] {
        let mut payload = vec![0; HEADER_LEN];
        payload[0] = family(ipv4);
        let replies = socket.dump(&Message { kind: GET_RULE, flags: 0, payload });
        // A kernel without IPv6 has none.
        let replies = match replies {
            Err(error) if error.errno() == Some(libc::EOPNOTSUPP) && !ipv4 => continue,
            other => other?,
        };
        found.extend(replies.iter().filter_map(|reply| parse_rule(reply, ipv4)));
    }
    Ok(found)
}

fn parse_rule(reply: &Reply, ipv4: bool) -> Option<MarkRule> {
    let attributes = reply.payload.get(HEADER_LEN..).filter(|_| reply.kind == NEW_RULE)?;
    let mask = number(attributes, RULE_MASK)?;
    Some(MarkRule {
        ipv4,
        priority: number(attributes, RULE_PRIORITY).unwrap_or_default(),
        mark: number(attributes, RULE_MARK).unwrap_or_default(),
        mask,
        table: number(attributes, RULE_TABLE).unwrap_or_default(),
        is_ours: read::find(attributes, RULE_OWNER) == Some(&[OURS]),
    })
}
