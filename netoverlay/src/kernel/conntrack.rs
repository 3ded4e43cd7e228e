//! The kernel's table of tracked connections, over ctnetlink.
//!
//! Source: Linux `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `nf_conntrack_common.h`.

use std::net::{IpAddr, SocketAddr};

use super::nft::attributes::{self as read, Writer};
use super::socket::{Acknowledge, Error, Message, Reply, Socket};
use crate::plan::connections::Connection;

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const STATISTICS: u16 = 5;
const STATISTICS_ENTRIES: u16 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IPV4_SOURCE: u16 = 1;
const IPV4_DESTINATION: u16 = 2;
const IPV6_SOURCE: u16 = 3;
const IPV6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// Source or destination rewritten.
const STATUS_REWRITTEN: u32 = 1 << 4 | 1 << 5;

/// How many connections the socket's namespace has.
///
/// # Errors
/// The kernel's refusal.
pub fn count(socket: &mut Socket) -> Result<u32, Error> {
    let reply = socket.ask(&message(STATISTICS, 0, |_| ()))?;
    Ok(read::number(body(&reply), STATISTICS_ENTRIES).unwrap_or(0))
}

/// Forgets the connections of a family that `is_stale` picks; answers how many those were.
///
/// # Errors
/// The kernel's refusal.
pub fn forget(
    socket: &mut Socket,
    ipv4: bool,
    is_stale: impl Fn(&Connection) -> bool,
) -> Result<usize, Error> {
    let family = if ipv4 { FAMILY_IPV4 } else { FAMILY_IPV6 };
    let all = socket.dump(&message(GET, family, |_| ()))?;
    let stale = all.iter().filter(|reply| parse(reply).is_some_and(|one| is_stale(&one)));
    let messages: Vec<Message> = stale.map(|reply| delete(family, body(reply))).collect();
    for chunk in messages.chunks(CHUNK) {
        match socket.transact(chunk, Acknowledge::Each) {
            // It ended by itself meanwhile.
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(messages.len())
}

/// Deletions per datagram.
const CHUNK: usize = 256;

fn delete(family: u8, connection: &[u8]) -> Message {
    message(DELETE, family, |writer| {
        // The id keeps a connection safe that took the place of this one meanwhile.
        for kind in [TUPLE_ORIGINAL, ID, ZONE] {
            let Some(value) = read::find(connection, kind) else { continue };
            if kind == TUPLE_ORIGINAL {
                writer.raw_nested(kind, value);
            } else {
                writer.bytes(kind, value);
            }
        }
    })
}

fn message(kind: u16, family: u8, write: impl FnOnce(&mut Writer)) -> Message {
    let mut writer = Writer::with_header([family, 0, 0, 0]);
    write(&mut writer);
    Message { kind: SUBSYSTEM << 8 | kind, flags: 0, payload: writer.finish() }
}

fn body(reply: &Reply) -> &[u8] {
    reply.payload.get(4..).unwrap_or_default()
}

fn parse(reply: &Reply) -> Option<Connection> {
    let bytes = body(reply);
    let original = read::find(bytes, TUPLE_ORIGINAL)?;
    let answer = read::find(bytes, TUPLE_REPLY)?;
    let protocol = *read::find(read::find(original, TUPLE_PROTOCOL)?, PROTOCOL_NUMBER)?.first()?;
    let status = read::number(bytes, STATUS)?;
    Some(Connection {
        protocol,
        destination: end(original, [IPV4_DESTINATION, IPV6_DESTINATION], DESTINATION_PORT)?,
        answered_by: end(answer, [IPV4_SOURCE, IPV6_SOURCE], SOURCE_PORT)?,
        is_rewritten: status & STATUS_REWRITTEN != 0,
    })
}

fn end(tuple: &[u8], [ipv4, ipv6]: [u16; 2], port: u16) -> Option<SocketAddr> {
    let addresses = read::find(tuple, TUPLE_ADDRESSES)?;
    let address: IpAddr = match (read::find(addresses, ipv4), read::find(addresses, ipv6)) {
        (Some(bytes), _) => <[u8; 4]>::try_from(bytes).ok()?.into(),
        (None, Some(bytes)) => <[u8; 16]>::try_from(bytes).ok()?.into(),
        (None, None) => return None,
    };
    let port = read::find(read::find(tuple, TUPLE_PROTOCOL)?, port)?;
    Some(SocketAddr::new(address, u16::from_be_bytes(port.try_into().ok()?)))
}
