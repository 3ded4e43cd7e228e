//! The routing mesh on this node: its bridge in the host's namespace, the ways to the other nodes, the published
//! ports. Made with the first port or task, removed with the last.
//!
//! Everything here is under one lock, which comes before that of the overlay networks and that of the state.

mod links;
mod ports;

pub(super) use self::ports::retry;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use shoal_model::cluster::mesh::Mesh;
use shoal_model::cluster::{IpPrefix, NetworkView, NodeId};
use shoal_model::{NetworkId, Timestamp};

use self::ports::Reservation;
use super::Inner;
use super::host::{has_ipv6, loopback6};
use crate::error::Error;
use crate::network::{BridgeOptions, Driver, MeshOptions, Network, NetworkSpec, Pool};
use crate::plan::mesh::{self, Alive, Backends, Host, PortKey};
use crate::settings::MeshSettings;
use crate::store::KnownView;
use crate::subnet::Subnet;

/// What this process holds for the mesh.
#[derive(Debug, Default)]
pub(super) struct Meshed {
    /// Where the ports lead; empty also after a restart.
    backends: Backends,
    /// Addresses of all tasks on it.
    present: BTreeSet<IpAddr>,
    ports: BTreeMap<PortKey, Reservation>,
    refused: BTreeSet<PortKey>,
}

/// What the mesh is on this node.
struct Part<'a> {
    view: &'a NetworkView,
    mesh: &'a Mesh,
    node: NodeId,
    index: u16,
}

impl Inner {
    fn meshed(&self) -> MutexGuard<'_, Meshed> {
        self.meshed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the mesh as its view says.
    pub(super) fn follow_mesh(&self, id: &NetworkId) -> Result<(), Error> {
        self.make_mesh(&mut self.meshed(), id, false).map(drop)
    }

    /// For a repair: looks at everything. Answers how many changes the rules took.
    pub(super) fn repair_mesh(&self) -> Result<usize, Error> {
        let mut meshed = self.meshed();
        let mut changes = 0;
        for id in self.mesh_networks() {
            changes += self.make_mesh(&mut meshed, &id, true)?;
        }
        Ok(changes)
    }

    /// A container has gone, or this node is to leave: removes what nobody needs any more.
    pub(super) fn vacate_mesh(&self, id: &NetworkId) -> Result<(), Error> {
        let mut meshed = self.meshed();
        let (known, is_left) = self.known_mesh(id);
        if !is_left && known.is_some() {
            return self.make_mesh(&mut meshed, id, false).map(drop);
        }
        if self.has_members(id) {
            return Ok(());
        }
        self.remove_mesh(&mut meshed, id)?;
        self.forget_view(id)
    }

    fn has_members(&self, id: &NetworkId) -> bool {
        self.state().networks.get(id).is_some_and(|entry| entry.endpoints().next().is_some())
    }

    fn make_mesh(&self, meshed: &mut Meshed, id: &NetworkId, all: bool) -> Result<usize, Error> {
        let (Some(KnownView { view, node }), _) = self.known_mesh(id) else { return Ok(0) };
        let Some(mesh) = &view.mesh else { return Ok(0) };
        // The index comes soon after the node.
        let own = mesh.nodes.iter().find(|one| one.id == node);
        let Some(index) = own.map(|one| one.index) else { return Ok(0) };
        let is_needed = !mesh.ports.is_empty()
            || view.endpoints.iter().any(|endpoint| endpoint.node == node)
            || self.has_members(id);
        if !is_needed {
            return self.remove_mesh(meshed, id).map(|()| 0);
        }
        let part = Part { view: &view, mesh, node, index };
        let network = definition(id, &part, &self.settings.mesh)?;
        self.check_marks()?;
        let is_new = self.define_mesh(&network)?;
        if all || is_new {
            self.realize(&network)?;
        }
        let stale = self.make_ways(&part)?;
        let changes = self.make_rules(meshed, &part)?;
        self.remove_ways(&stale)?;
        Ok(changes)
    }

    /// Answers whether the bridge must be made or changed.
    fn define_mesh(&self, network: &Network) -> Result<bool, Error> {
        let other = {
            let state = self.state();
            let known = state.networks.get(&network.id);
            if known.is_some_and(|known| *known.network == *network) {
                return Ok(known.is_some_and(|known| known.bridge_index.is_none()));
            }
            let mut others = state.networks.values().map(|entry| &entry.network);
            others
                .find(|other| {
                    other.id != network.id
                        && (other.mesh.is_some() || other.spec.name == network.spec.name)
                })
                .cloned()
        };
        // The mesh of before goes with its last task.
        if let Some(other) = other {
            let bridge = self.settings.mesh.bridge.clone();
            return Err(Error::BridgeTaken { bridge, by: other.spec.name.clone() });
        }
        self.store.write_network(network)?;
        let mut state = self.state();
        match state.networks.get_mut(&network.id) {
            Some(entry) => entry.network = Arc::new(network.clone()),
            None => state.add_network(network.clone()),
        }
        Ok(true)
    }

    /// Reserves the ports, makes both tables, and forgets connections that were led elsewhere.
    fn make_rules(&self, meshed: &mut Meshed, part: &Part<'_>) -> Result<usize, Error> {
        let ipv6 = has_ipv6();
        self.reserve_mesh(meshed, part.mesh, ipv6);
        let backends = mesh::backends(part.view, part.mesh, part.node, ipv6);
        let containers: Vec<Subnet> =
            self.state().views().into_iter().flat_map(|bridge| bridge.subnets).collect();
        let MeshSettings { bridge, marks, .. } = &self.settings.mesh;
        let host = Host {
            node: part.node,
            index: part.index,
            bridge,
            marks: *marks,
            loopback: loopback6(),
            ipv6,
            containers: &containers,
            refused: &meshed.refused,
        };
        let packets = mesh::rules(part.mesh, &backends, &host);
        let frames = mesh::frames(part.mesh, part.node, *marks);
        let changes = self.host.apply_mesh(Some([packets, frames]))?;
        let endpoints = part.view.endpoints.iter().flat_map(|one| &one.addresses);
        let present: BTreeSet<IpAddr> = endpoints.map(|one| one.address).collect();
        let before = (&meshed.backends, &meshed.present);
        let alive = alive(part, before, &backends, present);
        if !alive.changed.is_empty() {
            let families = mesh::families(part.mesh, ipv6);
            let count = self.host.forget(&families, |one| mesh::is_stale(one, &alive))?;
            tracing::debug!(count, "connections of the routing mesh forgotten");
        }
        (meshed.backends, meshed.present) = (backends, alive.present);
        Ok(changes)
    }

    /// Removes everything of the mesh from this host; every step is attempted.
    fn remove_mesh(&self, meshed: &mut Meshed, id: &NetworkId) -> Result<(), Error> {
        let network = self.state().networks.get(id).map(|entry| Arc::clone(&entry.network));
        let Some(network) = network.filter(|network| network.mesh.is_some()) else {
            return Ok(());
        };
        let steps = [
            self.host.apply_mesh(None).map(drop),
            self.remove_all_ways(),
            self.remove_mesh_links(&network),
            self.remove_bridge(&network),
        ];
        Error::collect(steps.into_iter().filter_map(Result::err).collect())?;
        for reservation in std::mem::take(&mut meshed.ports).into_values() {
            reservation.give_back();
        }
        *meshed = Meshed::default();
        self.tell_refused(meshed, &[]);
        self.state().networks.remove(id);
        self.host.apply_rules(|| self.desired_rules())?;
        self.store.remove_network(id)
    }
}

/// The network as this host makes it.
fn definition(id: &NetworkId, part: &Part<'_>, host: &MeshSettings) -> Result<Network, Error> {
    let Part { mesh, index, .. } = part;
    let pools = mesh.subnets.iter().map(|one| {
        let IpPrefix { address, length } = one.subnet;
        let outside =
            || Error::NoSubnet { network: mesh.name.clone(), address: one.subnet.to_string() };
        let subnet = Subnet::new(address, length).ok_or_else(outside)?;
        Ok(Pool { subnet, range: None, gateway: one.gateway, auxiliary: BTreeMap::new() })
    });
    let pools = pools.collect::<Result<Vec<Pool>, Error>>()?;
    Ok(Network {
        id: id.clone(),
        created: Timestamp::from_nanos(0),
        spec: NetworkSpec {
            driver: Driver::Overlay,
            ipv4: pools.iter().any(|pool| pool.subnet.is_ipv4()),
            ipv6: pools.iter().any(|pool| !pool.subnet.is_ipv4()),
            ..NetworkSpec::bridge(mesh.name.clone())
        },
        pools,
        bridge: Some(BridgeOptions {
            name: host.bridge.clone(),
            mtu: mesh.mtu,
            inter_container: true,
            masquerade: true,
            publish_on: None,
            interface_prefix: "eth".to_owned(),
        }),
        parent: None,
        overlay: None,
        mesh: Some(MeshOptions { index: *index, vni: mesh.vni }),
    })
}

/// `before`: where ports led, and the tasks that there were.
fn alive(
    part: &Part<'_>,
    before: (&Backends, &BTreeSet<IpAddr>),
    now: &Backends,
    present: BTreeSet<IpAddr>,
) -> Alive {
    let subnets = part.mesh.subnets.iter();
    let subnets = subnets.filter_map(|one| Subnet::new(one.subnet.address, one.subnet.length));
    let has_gone = before.1.iter().any(|address| !present.contains(address));
    let keys = before.0.keys().chain(now.keys()).copied();
    let changed = keys.filter(|key| has_gone || before.0.get(key) != now.get(key));
    let changed = changed.collect();
    Alive { backends: now.clone(), changed, subnets: subnets.collect(), present }
}
