//! Addresses and routes.

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::socket::{Error, Message, Socket, flag};
use crate::subnet::Subnet;

const NEW_ADDRESS: u16 = libc::RTM_NEWADDR;
const DEL_ADDRESS: u16 = libc::RTM_DELADDR;
const GET_ADDRESS: u16 = libc::RTM_GETADDR;
const NEW_ROUTE: u16 = libc::RTM_NEWROUTE;
const GET_ROUTE: u16 = libc::RTM_GETROUTE;

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_message(kind: u16, flags: u16, index: u32, address: Subnet) -> Message {
    let mut message = AddressMessage::default();
    message.header.family = family(address.address);
    message.header.prefix_len = address.prefix;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes =
        vec![AddressAttribute::Local(address.address), AddressAttribute::Address(address.address)];
    match address.address {
        IpAddr::V4(_) => {
            if let Some(IpAddr::V4(broadcast)) = address.broadcast() {
                message.attributes.push(AddressAttribute::Broadcast(broadcast));
            }
        }
        // Addresses are given out once: detection of duplicates only delays the first packet.
        IpAddr::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Message { kind, flags, payload }
}

/// Gives a link an address with its prefix length; the same one again is fine.
pub fn add_address(index: u32, address: Subnet) -> Message {
    address_message(NEW_ADDRESS, flag::CREATE | flag::REPLACE, index, address)
}

/// Takes an address from a link.
pub fn remove_address(index: u32, address: Subnet) -> Message {
    address_message(DEL_ADDRESS, 0, index, address)
}

/// Adds or replaces a default route.
pub fn set_default_route(index: u32, gateway: IpAddr) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = family(gateway);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::from(gateway)), RouteAttribute::Oif(index)];
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Message { kind: NEW_ROUTE, flags: flag::CREATE | flag::REPLACE, payload }
}

/// Adds or replaces a default route over a link without a gateway.
pub fn set_default_route_by_link(index: u32, ipv4: bool) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = if ipv4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Link;
    message.header.kind = RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Oif(index)];
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Message { kind: NEW_ROUTE, flags: flag::CREATE | flag::REPLACE, payload }
}

/// Lets answers to `[::1]` come in by a bridge: the kernel looks for loopback addresses by link. Refused with
/// EEXIST when the route is there.
///
/// Packets that come from outside with such an address never get to this route: the kernel drops them.
pub fn add_loopback6(index: u32) -> Message {
    /// Behind the kernel's own route over `lo`.
    const METRIC: u32 = 2048;
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.header.table = libc::RT_TABLE_LOCAL;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Local;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet6(std::net::Ipv6Addr::LOCALHOST)),
        RouteAttribute::Priority(METRIC),
        RouteAttribute::Oif(index),
    ];
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    Message { kind: NEW_ROUTE, flags: flag::CREATE | flag::EXCLUSIVE, payload }
}

/// The addresses of all links: index and address with prefix length.
///
/// # Errors
/// The kernel's refusal.
pub fn addresses(socket: &mut Socket) -> Result<Vec<(u32, Subnet)>, Error> {
    let message = AddressMessage::default();
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    let replies = socket.dump(&Message { kind: GET_ADDRESS, flags: 0, payload })?;
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| reply.kind == NEW_ADDRESS) {
        let message = AddressMessage::parse(&reply.payload[..])
            .map_err(|_| Error::Malformed { what: "address message" })?;
        let local = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        });
        if let Some(address) = address {
            found.push((
                message.header.index,
                Subnet { address, prefix: message.header.prefix_len },
            ));
        }
    }
    Ok(found)
}

/// The destinations of all unicast routes but default routes, with the index of their link.
///
/// # Errors
/// The kernel's refusal.
pub fn destinations(socket: &mut Socket) -> Result<Vec<(Option<u32>, Subnet)>, Error> {
    let message = RouteMessage::default();
    let mut payload = vec![0; message.buffer_len()];
    message.emit(&mut payload);
    let replies = socket.dump(&Message { kind: GET_ROUTE, flags: 0, payload })?;
    let mut found = Vec::new();
    for reply in replies.iter().filter(|reply| reply.kind == NEW_ROUTE) {
        let message = RouteMessage::parse(&reply.payload[..])
            .map_err(|_| Error::Malformed { what: "route message" })?;
        if message.header.kind != RouteType::Unicast {
            continue;
        }
        let link = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        for attribute in &message.attributes {
            let address = match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => IpAddr::V4(*address),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => IpAddr::V6(*address),
                _ => continue,
            };
            let prefix = message.header.destination_prefix_length;
            found.push((link, Subnet { address, prefix }));
        }
    }
    Ok(found)
}
