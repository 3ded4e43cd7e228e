//! Neighbours and forwarding entries of the links of an overlay network.
//!
//! Source: Linux `include/uapi/linux/neighbour.h`; iproute2 `bridge/fdb.c` for the states.

use std::net::IpAddr;

use super::nft::attributes as read;
use super::socket::{Error, Message, Reply, Socket, flag};
use crate::endpoint::MacAddress;
use crate::plan::overlay::{Forwarding, Step};

const NEW: u16 = libc::RTM_NEWNEIGH;
const DELETE: u16 = libc::RTM_DELNEIGH;
const GET: u16 = libc::RTM_GETNEIGH;
const FAMILY_BRIDGE: u8 = 7;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const NO_ARP: u16 = 0x40;
const PERMANENT: u16 = 0x80;
/// Of the link itself.
const SELF: u8 = 0x02;
/// Of the bridge that the link is a port of.
const MASTER: u8 = 0x04;
const DESTINATION: u16 = 1;
const LINK_ADDRESS: u16 = 2;
/// Of entries of a bridge: which.
const BRIDGE: u16 = 9;
const HEADER_LEN: usize = 12;

fn message(kind: u16, family: u8, index: u32, state: u16, flags: u8) -> Message {
    let mut payload = vec![family, 0, 0, 0];
    payload.extend(index.to_ne_bytes());
    payload.extend(state.to_ne_bytes());
    payload.extend([flags, 0]);
    let create = if kind == NEW { flag::CREATE | flag::REPLACE } else { 0 };
    Message { kind, flags: create, payload }
}

fn put(message: &mut Message, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("addresses are short");
    message.payload.extend(length.to_ne_bytes());
    message.payload.extend(kind.to_ne_bytes());
    message.payload.extend(value);
    message.payload.resize(message.payload.len().next_multiple_of(4), 0);
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The message that makes one step on the VXLAN link `index`.
pub fn step(index: u32, step: &Step) -> Message {
    let family = |address: &IpAddr| if address.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 };
    match step {
        Step::SetNode(mac, node) => {
            let mut new = message(NEW, FAMILY_BRIDGE, index, PERMANENT, SELF);
            put(&mut new, LINK_ADDRESS, &mac.0);
            put(&mut new, DESTINATION, &bytes(*node));
            new
        }
        Step::RemoveNode(mac) => {
            let mut delete = message(DELETE, FAMILY_BRIDGE, index, 0, SELF);
            put(&mut delete, LINK_ADDRESS, &mac.0);
            delete
        }
        Step::SetPort(mac) => {
            let mut new = message(NEW, FAMILY_BRIDGE, index, NO_ARP, MASTER);
            put(&mut new, LINK_ADDRESS, &mac.0);
            new
        }
        Step::RemovePort(mac) => {
            let mut delete = message(DELETE, FAMILY_BRIDGE, index, 0, MASTER);
            put(&mut delete, LINK_ADDRESS, &mac.0);
            delete
        }
        Step::SetNeighbour(address, mac) => {
            let mut new = message(NEW, family(address), index, PERMANENT, 0);
            put(&mut new, DESTINATION, &bytes(*address));
            put(&mut new, LINK_ADDRESS, &mac.0);
            new
        }
        Step::RemoveNeighbour(address) => {
            let mut delete = message(DELETE, family(address), index, 0, 0);
            put(&mut delete, DESTINATION, &bytes(*address));
            delete
        }
    }
}

/// What the VXLAN link `index` has of entries that somebody set; learned ones are left out.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket, index: u32) -> Result<Forwarding, Error> {
    let mut found = Forwarding::default();
    for family in [FAMILY_BRIDGE, FAMILY_IPV4, FAMILY_IPV6] {
        for reply in socket.dump(&message(GET, family, 0, 0, 0))? {
            if let Some(entry) = Entry::parse(&reply).filter(|entry| entry.index == index) {
                entry.add_to(&mut found);
            }
        }
    }
    Ok(found)
}

struct Entry {
    family: u8,
    index: u32,
    state: u16,
    flags: u8,
    of_bridge: bool,
    destination: Option<IpAddr>,
    mac: Option<MacAddress>,
}

impl Entry {
    fn parse(reply: &Reply) -> Option<Self> {
        let header = reply.payload.get(..HEADER_LEN).filter(|_| reply.kind == NEW)?;
        let attributes = reply.payload.get(HEADER_LEN..)?;
        let destination = read::find(attributes, DESTINATION).and_then(|value| {
            let ipv4 = <[u8; 4]>::try_from(value).map(IpAddr::from).ok();
            ipv4.or_else(|| <[u8; 16]>::try_from(value).map(IpAddr::from).ok())
        });
        let mac = read::find(attributes, LINK_ADDRESS);
        Some(Self {
            family: header[0],
            index: u32::from_ne_bytes(header[4..8].try_into().ok()?),
            state: u16::from_ne_bytes(header[8..10].try_into().ok()?),
            flags: header[10],
            of_bridge: read::find(attributes, BRIDGE).is_some(),
            destination,
            mac: mac.and_then(|value| value.try_into().ok()).map(MacAddress),
        })
    }

    fn add_to(self, found: &mut Forwarding) {
        let Some(mac) = self.mac else { return };
        match (self.family, self.destination) {
            (FAMILY_BRIDGE, Some(node)) if self.flags & SELF != 0 => {
                found.nodes.insert(mac, node);
            }
            (FAMILY_BRIDGE, None) if self.of_bridge && self.state & NO_ARP != 0 => {
                found.ports.insert(mac);
            }
            (FAMILY_IPV4 | FAMILY_IPV6, Some(address)) if self.state & PERMANENT != 0 => {
                found.neighbours.insert(address, mac);
            }
            _ => {}
        }
    }
}
