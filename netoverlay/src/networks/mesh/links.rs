//! Links, entries and routes of the mesh in the host's namespace.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink_packet_route::link::InfoKind;

use super::super::Inner;
use super::super::host::{has_ipv6, set_sysctl};
use super::Part;
use crate::error::Error;
use crate::kernel::link::{self, Vxlan};
use crate::kernel::neighbour;
use crate::kernel::socket::{self, Acknowledge, Message, Socket};
use crate::kernel::sysctl;
use crate::kernel::way::{self, Way};
use crate::network::Network;
use crate::plan::mesh::{self, Ways, families, nowhere};
use crate::plan::overlay::{self, Forwarding};

/// Messages per datagram.
const CHUNK: usize = 128;
/// The kernel's `RT_TABLE_MAIN`.
const MAIN_TABLE: u32 = 254;

fn fail(step: &'static str) -> impl FnOnce(socket::Error) -> Error {
    move |source| Error::Mesh { step, source }
}

fn vxlan_name(vni: u32) -> String {
    format!("vx-{vni:06x}")
}

impl Inner {
    /// Another program must not look at our bits: its routes would get our packets, and ours those of it.
    pub(super) fn check_marks(&self) -> Result<(), Error> {
        let mask = self.settings.mesh.marks.mask();
        let rules = way::mark_rules(&mut self.host.route()).map_err(fail("read the rules of"))?;
        match rules.iter().find(|rule| !rule.is_ours && rule.mask & mask != 0) {
            Some(rule) => Err(Error::MarksTaken { mask, priority: rule.priority }),
            None => Ok(()),
        }
    }

    /// Makes links, entries and routes; answers the routes that nobody needs once the rules say so.
    pub(super) fn make_ways(&self, part: &Part<'_>) -> Result<Vec<Way>, Error> {
        let name = &self.settings.mesh.bridge;
        let ipv6 = has_ipv6();
        set_bridge_parameters(name)?;
        let mut socket = self.host.route();
        let found = link::find(&mut socket, name).map_err(fail("look at the bridge of"))?;
        let gone = || Error::NotABridge { bridge: name.clone() };
        let bridge = found.ok_or_else(gone)?.index;
        let vxlan = make_vxlan(&mut socket, part, bridge)?;
        let ways = mesh::ways(part.view, part.mesh, part.node, ipv6);
        make_entries(&mut socket, bridge, vxlan, &ways)?;
        let families = families(part.mesh, ipv6);
        self.make_mark_rules(&mut socket, &families)?;
        let mut wanted: BTreeSet<Way> = ways
            .routes
            .iter()
            .map(|(task, hop)| Way {
                destination: Some(*task),
                via: *hop,
                link: bridge,
                table: MAIN_TABLE,
            })
            .collect();
        wanted.extend(families.iter().map(|ipv4| Way {
            destination: None,
            via: nowhere(*ipv4),
            link: bridge,
            table: self.settings.mesh.table,
        }));
        make_routes(&mut socket, &wanted)
    }

    fn make_mark_rules(&self, socket: &mut Socket, families: &BTreeSet<bool>) -> Result<(), Error> {
        let settings = &self.settings.mesh;
        let wanted =
            families.iter().map(|ipv4| way::marked(*ipv4, settings.marks.mask(), settings.table));
        let wanted: Vec<_> = wanted.collect();
        let present = way::mark_rules(socket).map_err(fail("read the rules of"))?;
        let ours = present.iter().filter(|rule| rule.is_ours);
        let superfluous = ours.filter(|rule| !wanted.contains(rule)).map(way::remove_rule);
        let missing = wanted.iter().filter(|rule| !present.contains(rule)).map(way::add_rule);
        let messages: Vec<Message> = superfluous.chain(missing).collect();
        socket.transact(&messages, Acknowledge::Each).map_err(fail("change the rules of"))
    }

    pub(super) fn remove_ways(&self, stale: &[Way]) -> Result<(), Error> {
        let messages: Vec<Message> = stale.iter().map(way::remove).collect();
        let mut socket = self.host.route();
        for chunk in messages.chunks(CHUNK) {
            match socket.transact(chunk, Acknowledge::Each) {
                // It went with its link meanwhile.
                Err(error) if error.errno() == Some(libc::ESRCH) => {}
                other => other.map_err(fail("remove the routes of"))?,
            }
        }
        Ok(())
    }

    /// Removes routes and rules of ours; absent is fine.
    pub(in crate::networks) fn remove_all_ways(&self) -> Result<(), Error> {
        let mut socket = self.host.route();
        let routes = way::list(&mut socket).map_err(fail("read the routes of"))?;
        let rules = way::mark_rules(&mut socket).map_err(fail("read the rules of"))?;
        let ours = rules.iter().filter(|rule| rule.is_ours).map(way::remove_rule);
        let messages: Vec<Message> = ours.collect();
        socket.transact(&messages, Acknowledge::Each).map_err(fail("remove the rules of"))?;
        drop(socket);
        self.remove_ways(&routes)
    }

    pub(in crate::networks) fn remove_mesh_links(&self, network: &Network) -> Result<(), Error> {
        let Some(options) = network.mesh else { return Ok(()) };
        let removed = link::remove(&mut self.host.route(), &vxlan_name(options.vni));
        removed.map_err(fail("remove the VXLAN link of"))
    }
}

/// What comes from a client by way of another node has no route back over this link: the kernel's strict check must
/// not see it. Without any check on the host there is none here.
fn set_bridge_parameters(bridge: &str) -> Result<(), Error> {
    let all = sysctl::get("ipv4/conf/all/rp_filter");
    let is_checked = all.is_ok_and(|value| value.is_some_and(|value| value != "0"));
    let key = |name: &str| format!("ipv4/conf/{bridge}/{name}");
    set_sysctl(&key("rp_filter"), if is_checked { "2" } else { "0" })?;
    set_sysctl(&key("send_redirects"), "0")
}

fn make_vxlan(socket: &mut Socket, part: &Part<'_>, bridge: u32) -> Result<u32, Error> {
    let name = vxlan_name(part.mesh.vni);
    let find =
        |socket: &mut Socket| link::find(socket, &name).map_err(fail("look at the VXLAN link of"));
    let gone = || Error::NotABridge { bridge: name.clone() };
    let make = fail("make the VXLAN link of");
    let own = part.mesh.nodes.iter().find(|node| node.id == part.node);
    let found = match find(socket)?.filter(|link| link.kind == Some(InfoKind::Vxlan)) {
        Some(found) => found,
        None => {
            let wanted = Vxlan {
                name: &name,
                vni: part.mesh.vni,
                port: part.view.data_path_port,
                mtu: part.mesh.mtu,
                over_ipv6: own.and_then(|node| node.data_path).is_some_and(|one| one.is_ipv6()),
            };
            let created = socket.transact(&[link::create_vxlan(&wanted)], Acknowledge::Each);
            created.map_err(make)?;
            find(socket)?.ok_or_else(gone)?
        }
    };
    if found.master != Some(bridge) || !found.up {
        let messages = [link::set_master(found.index, bridge), link::set_up(found.index)];
        let joined = socket.transact(&messages, Acknowledge::Each);
        joined.map_err(fail("join the VXLAN link of"))?;
    }
    Ok(found.index)
}

fn make_entries(socket: &mut Socket, bridge: u32, vxlan: u32, ways: &Ways) -> Result<(), Error> {
    let read = |socket: &mut Socket, index| {
        neighbour::list(socket, index).map_err(fail("read the entries of"))
    };
    let frames = read(socket, vxlan)?;
    let present = Forwarding { neighbours: read(socket, bridge)?.neighbours, ..Default::default() };
    let wanted = Forwarding { neighbours: ways.neighbours.clone(), ..Default::default() };
    let frames = overlay::steps(&frames, &ways.frames);
    let neighbours = overlay::steps(&present, &wanted);
    let messages: Vec<Message> = frames
        .iter()
        .map(|step| neighbour::step(vxlan, step))
        .chain(neighbours.iter().map(|step| neighbour::step(bridge, step)))
        .collect();
    for chunk in messages.chunks(CHUNK) {
        let changed = socket.transact(chunk, Acknowledge::Each);
        changed.map_err(fail("change the entries of"))?;
    }
    Ok(())
}

fn make_routes(socket: &mut Socket, wanted: &BTreeSet<Way>) -> Result<Vec<Way>, Error> {
    let present = way::list(socket).map_err(fail("read the routes of"))?;
    let missing = wanted.iter().filter(|one| !present.contains(one)).map(way::set);
    let messages: Vec<Message> = missing.collect();
    for chunk in messages.chunks(CHUNK) {
        let set = socket.transact(chunk, Acknowledge::Each);
        set.map_err(fail("set the routes of"))?;
    }
    // One with another next hop was replaced.
    let place = |way: &Way| (way.table, way.destination, way.via.is_ipv4());
    let places: BTreeSet<(u32, Option<IpAddr>, bool)> = wanted.iter().map(place).collect();
    Ok(present.into_iter().filter(|one| !places.contains(&place(one))).collect())
}
