//! Links: bridges, veth pairs, what exists.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, InfoVxlan,
    IpVlanFlags, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode, State,
};

use super::socket::{Acknowledge, Error, Message, Socket, flag};
use crate::endpoint::MacAddress;
use crate::network::Driver;
use crate::parent::{Flag, Mode};

const NEW_LINK: u16 = libc::RTM_NEWLINK;
const DEL_LINK: u16 = libc::RTM_DELLINK;
const GET_LINK: u16 = libc::RTM_GETLINK;
const SET_LINK: u16 = libc::RTM_SETLINK;

/// What is asked of a new bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge<'a> {
    /// Name of the link.
    pub name: &'a str,
    /// Fixed, so that it does not change with the ports.
    pub mac: MacAddress,
    /// Largest packet, bytes.
    pub mtu: u32,
}

/// What is asked of a new veth pair, whose peer is created inside a sandbox.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// Name on the host.
    pub name: &'a str,
    /// Bridge that the host's end becomes a port of.
    pub bridge_index: u32,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Name in the sandbox.
    pub peer_name: &'a str,
    /// Address of the peer.
    pub peer_mac: MacAddress,
    /// The sandbox's namespace.
    pub namespace: BorrowedFd<'a>,
}

/// What is asked of a new link on a parent, inside a sandbox.
#[derive(Debug)]
pub struct SubLink<'a> {
    /// Name in the sandbox.
    pub name: &'a str,
    /// Index of the parent, on the host.
    pub parent: u32,
    /// Tells macvlan from ipvlan, too.
    pub mode: Mode,
    /// Of ipvlan.
    pub flag: Option<Flag>,
    /// Its address; `None`: the parent's.
    pub mac: Option<MacAddress>,
    /// The sandbox's namespace.
    pub namespace: BorrowedFd<'a>,
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`; `None` for physical and loopback links.
    pub kind: Option<InfoKind>,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Its address, when it is an Ethernet link.
    pub mac: Option<MacAddress>,
    /// Administratively up.
    pub up: bool,
    /// Carries packets: it has a carrier, and the kernel has taken note of it.
    pub operational: bool,
}

fn message(kind: u16, flags: u16, link: &LinkMessage) -> Message {
    let mut payload = vec![0; link.buffer_len()];
    link.emit(&mut payload);
    Message { kind, flags, payload }
}

fn empty(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.interface_family = AddressFamily::Unspec;
    link.header.index = index;
    link
}

/// Creates a bridge, down.
pub fn create_bridge(bridge: &Bridge<'_>) -> Message {
    let mut link = empty(0);
    link.attributes = vec![
        LinkAttribute::IfName(bridge.name.to_owned()),
        LinkAttribute::Mtu(bridge.mtu),
        LinkAttribute::Address(bridge.mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::ForwardDelay(0)])),
        ]),
    ];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// Creates a veth pair: the host's end is up and a port of the bridge; the peer, in the sandbox, is down.
///
/// The peer must not be created up: the kernel answers ENOTCONN.
pub fn create_veth(pair: &VethPair<'_>) -> Message {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(pair.peer_name.to_owned()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::Address(pair.peer_mac.0.to_vec()),
        LinkAttribute::NetNsFd(pair.namespace.as_raw_fd()),
    ];
    let mut link = empty(0);
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(pair.name.to_owned()),
        LinkAttribute::Mtu(pair.mtu),
        LinkAttribute::Controller(pair.bridge_index),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// Creates a link on a parent, inside a sandbox, down.
pub fn create_sub_link(wanted: &SubLink<'_>) -> Message {
    let mut link = empty(0);
    link.attributes = vec![
        LinkAttribute::IfName(wanted.name.to_owned()),
        LinkAttribute::Link(wanted.parent),
        LinkAttribute::NetNsFd(wanted.namespace.as_raw_fd()),
        LinkAttribute::LinkInfo(sub_link_info(wanted.mode, wanted.flag)),
    ];
    if let Some(mac) = wanted.mac {
        link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

fn sub_link_info(mode: Mode, flag: Option<Flag>) -> Vec<LinkInfo> {
    let macvlan = |mode| {
        let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
        vec![LinkInfo::Kind(InfoKind::MacVlan), LinkInfo::Data(data)]
    };
    let ipvlan = |mode| {
        let flags = match flag {
            Some(Flag::Private) => IpVlanFlags::Private,
            Some(Flag::Vepa) => IpVlanFlags::Vepa,
            Some(Flag::Bridge) | None => IpVlanFlags::empty(),
        };
        let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)]);
        vec![LinkInfo::Kind(InfoKind::IpVlan), LinkInfo::Data(data)]
    };
    match mode {
        Mode::Bridge => macvlan(MacVlanMode::Bridge),
        Mode::Private => macvlan(MacVlanMode::Private),
        Mode::Vepa => macvlan(MacVlanMode::Vepa),
        Mode::Passthru => macvlan(MacVlanMode::Passthrough),
        Mode::L2 => ipvlan(IpVlanMode::L2),
        Mode::L3 => ipvlan(IpVlanMode::L3),
        Mode::L3s => ipvlan(IpVlanMode::L3S),
    }
}

/// Asks for a link on a parent without saying which: refused with EOPNOTSUPP where the kernel has no such
/// links, and otherwise with another error.
pub fn probe(driver: Driver) -> Message {
    let mode = if driver == Driver::Macvlan { Mode::Bridge } else { Mode::L2 };
    let mut link = empty(0);
    link.attributes = vec![LinkAttribute::LinkInfo(sub_link_info(mode, None))];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// Creates a link that swallows what is sent, up.
pub fn create_dummy(name: &str) -> Message {
    let mut link = empty(0);
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]),
    ];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// Creates a VLAN of a link, up.
pub fn create_vlan(name: &str, below: u32, number: u16) -> Message {
    let mut link = empty(0);
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Link(below),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(number)])),
        ]),
    ];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// What is asked of a new VXLAN link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan<'a> {
    /// Name of the link.
    pub name: &'a str,
    /// VXLAN id.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Largest packet inside, bytes.
    pub mtu: u32,
    /// What carries it is IPv6.
    pub over_ipv6: bool,
}

/// Creates a VXLAN link, down, that learns nothing, floods nothing, and answers for the neighbours it is told of.
pub fn create_vxlan(wanted: &Vxlan<'_>) -> Message {
    let mut data = vec![
        InfoVxlan::Id(wanted.vni),
        InfoVxlan::Port(wanted.port),
        InfoVxlan::Learning(false),
        InfoVxlan::Proxy(true),
    ];
    if wanted.over_ipv6 {
        data.push(InfoVxlan::Group6(std::net::Ipv6Addr::UNSPECIFIED));
    }
    let mut link = empty(0);
    link.attributes = vec![
        LinkAttribute::IfName(wanted.name.to_owned()),
        LinkAttribute::Mtu(wanted.mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(data)),
        ]),
    ];
    message(NEW_LINK, flag::CREATE | flag::EXCLUSIVE, &link)
}

/// Moves a link to another namespace.
pub fn move_to(index: u32, namespace: BorrowedFd<'_>) -> Message {
    let mut link = empty(index);
    link.attributes = vec![LinkAttribute::NetNsFd(namespace.as_raw_fd())];
    message(SET_LINK, 0, &link)
}

/// Makes a link a port of a bridge.
pub fn set_master(index: u32, bridge: u32) -> Message {
    let mut link = empty(index);
    link.attributes = vec![LinkAttribute::Controller(bridge)];
    message(SET_LINK, 0, &link)
}

/// Sets a link up.
pub fn set_up(index: u32) -> Message {
    let mut link = empty(index);
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    message(SET_LINK, 0, &link)
}

/// Changes a link's largest packet.
pub fn set_mtu(index: u32, mtu: u32) -> Message {
    let mut link = empty(index);
    link.attributes = vec![LinkAttribute::Mtu(mtu)];
    message(SET_LINK, 0, &link)
}

/// Lets a bridge port send a frame back to where it came from: a container that reaches itself by a
/// published port needs it where bridged packets pass netfilter.
pub fn set_hairpin(index: u32) -> Message {
    use netlink_packet_core::DefaultNla;
    const PORT_MODE: u16 = 4;
    const PROTOCOL_INFO_NESTED: u16 = 12 | 0x8000;
    let mut link = empty(index);
    link.header.interface_family = AddressFamily::Bridge;
    let attribute = [5_u16.to_ne_bytes(), PORT_MODE.to_ne_bytes(), [1, 0], [0, 0]].concat();
    link.attributes = vec![LinkAttribute::Other(DefaultNla::new(PROTOCOL_INFO_NESTED, attribute))];
    message(SET_LINK, 0, &link)
}

/// Removes a link.
pub fn delete(index: u32) -> Message {
    message(DEL_LINK, 0, &empty(index))
}

/// Removes a link by name.
pub fn delete_named(name: &str) -> Message {
    let mut link = empty(0);
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    message(DEL_LINK, 0, &link)
}

/// All links of the socket's namespace.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let replies = socket.dump(&message(GET_LINK, 0, &empty(0)))?;
    replies
        .iter()
        .filter(|reply| reply.kind == NEW_LINK)
        .map(|reply| parse(&reply.payload))
        .collect()
}

/// The link of this name, if there is one.
///
/// # Errors
/// The kernel's refusal.
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut link = empty(0);
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    match socket.ask(&message(GET_LINK, 0, &link)) {
        Ok(reply) => parse(&reply.payload).map(Some),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a link by name; absent is fine.
///
/// # Errors
/// The kernel's refusal.
pub fn remove(socket: &mut Socket, name: &str) -> Result<(), Error> {
    match socket.transact(&[delete_named(name)], Acknowledge::Each) {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

fn parse(payload: &[u8]) -> Result<Link, Error> {
    let message =
        LinkMessage::parse(payload).map_err(|_| Error::Malformed { what: "link message" })?;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        master: None,
        mtu: 0,
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        operational: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::OperState(state) => link.operational = state == State::Up,
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok().map(MacAddress),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.into_iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    Ok(link)
}
