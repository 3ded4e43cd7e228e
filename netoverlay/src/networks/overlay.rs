//! Overlay networks on this node: one namespace each, with a bridge and a VXLAN link, made with the first endpoint
//! and removed with the last. What is in it follows the view.
//!
//! Everything here is under one lock, which comes before that of the state.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::{Arc, MutexGuard, PoisonError};

use netlink_packet_route::link::InfoKind;
use shoal_model::NetworkId;
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId};

use super::Inner;
use super::balance::Balanced;
use super::overlay_watch::Lifetime;
use crate::endpoint::{Endpoint, MacAddress};
use crate::error::Error;
use crate::kernel::link::{self, VethPair, Vxlan};
use crate::kernel::namespace::{self, Namespace};
use crate::kernel::neighbour;
use crate::kernel::socket::{Acknowledge, Message};
use crate::network::{Network, OverlayOptions};
use crate::plan::overlay::{self, Forwarding};
use crate::plan::turn::Turn;
use crate::store::{KnownView, Written};

const BRIDGE: &str = "br0";
/// Until the first member has a lower one; the bridge has no address.
const BRIDGE_MAC: MacAddress = MacAddress([0x02, 0x42, 0, 0, 0, 1]);

/// The id under which this host knows a network of the cluster.
pub fn network_id(network: ClusterNetworkId) -> NetworkId {
    let half = network.to_bytes();
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&half);
    bytes[16..].copy_from_slice(&half);
    NetworkId::from_bytes(bytes)
}

/// All overlay networks of this node.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    places: BTreeMap<NetworkId, Place>,
    views: BTreeMap<NetworkId, KnownView>,
    /// What the disk has of them; missing: not known.
    written: BTreeMap<NetworkId, Written>,
    /// Networks that go with their last endpoint.
    left: BTreeSet<NetworkId>,
    pub(super) balanced: Balanced,
}

impl Overlays {
    pub(super) fn view(&self, network: &NetworkId) -> Option<Arc<NetworkView>> {
        self.views.get(network).map(|known| Arc::clone(&known.view))
    }
}

#[derive(Debug)]
struct Place {
    namespace: Namespace,
    bridge: u32,
    vxlan: u32,
    /// Entries as they were made last, and of which view; `None`: they must be read.
    entries: Option<(Arc<NetworkView>, Forwarding)>,
    /// Ends the watch over the namespace.
    _watch: Lifetime,
}

fn vxlan_name(options: OverlayOptions) -> String {
    format!("vx-{:06x}", options.vni)
}

impl Inner {
    pub(super) fn overlays(&self) -> MutexGuard<'_, Overlays> {
        self.overlays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the views of before a restart.
    pub(super) fn load_views(&self) -> Result<(), Error> {
        let views = self.store.views()?;
        let known = views.into_iter().map(|known| (network_id(known.view.network), known));
        self.overlays().views = known.collect();
        Ok(())
    }

    pub(super) fn views(&self) -> Vec<Arc<NetworkView>> {
        self.overlays().views.values().map(|known| Arc::clone(&known.view)).collect()
    }

    pub(super) fn has_view(&self, network: &NetworkId) -> bool {
        self.overlays().views.contains_key(network)
    }

    /// Makes a network of the cluster known, or changes what is known of it.
    pub(super) fn define_overlay(&self, network: Network) -> Result<Arc<Network>, Error> {
        self.overlays().left.remove(&network.id);
        {
            let state = self.state();
            if let Some(known) = state.networks.get(&network.id) {
                return Ok(Arc::clone(&known.network));
            }
            let name = &network.spec.name;
            if state.networks.values().any(|other| other.network.spec.name == *name) {
                return Err(Error::NetworkExists { name: name.clone() });
            }
        }
        self.store.write_network(&network)?;
        let id = network.id.clone();
        let mut state = self.state();
        state.add_network(network);
        Ok(Arc::clone(&state.entry(&id)?.network))
    }

    /// Puts a view into effect as far as this node has endpoints on the network.
    pub(super) fn apply_view(
        self: &Arc<Self>,
        view: Arc<NetworkView>,
        node: NodeId,
    ) -> Result<(), Error> {
        let id = network_id(view.network);
        let known = KnownView { view, node };
        let mut overlays = self.overlays();
        self.write_view(&mut overlays, &id, &known)?;
        let is_mesh = known.view.mesh.is_some();
        overlays.views.insert(id.clone(), known);
        overlays.left.remove(&id);
        if is_mesh {
            drop(overlays);
            return self.follow_mesh(&id);
        }
        self.apply_overlay(&mut overlays, &id)
    }

    /// Brings a view to the disk, by what changed where that is possible.
    fn write_view(
        &self,
        overlays: &mut Overlays,
        id: &NetworkId,
        known: &KnownView,
    ) -> Result<(), Error> {
        // Whatever fails below: then it is written as a whole.
        let written = overlays.written.remove(id);
        let before = overlays
            .views
            .get(id)
            .filter(|before| before.node == known.node && before.view.version < known.view.version);
        let changed = match before.zip(written) {
            Some((before, written)) => {
                self.store.write_change(id, &before.view, &known.view, written)?
            }
            None => None,
        };
        let written = match changed {
            Some(written) => written,
            None => self.store.write_view(id, known)?,
        };
        overlays.written.insert(id.clone(), written);
        Ok(())
    }

    /// Makes namespace, entries and tables of a network as its view says, when it has endpoints here.
    fn apply_overlay(
        self: &Arc<Self>,
        overlays: &mut Overlays,
        id: &NetworkId,
    ) -> Result<(), Error> {
        let (network, members) = {
            let state = self.state();
            let Some(entry) = state.networks.get(id) else { return Ok(()) };
            (Arc::clone(&entry.network), entry.endpoints().cloned().collect::<BTreeSet<_>>())
        };
        if members.is_empty() {
            overlays.balanced.forget_network(id);
            return Ok(());
        }
        let made = self.ensure_place(overlays, &network);
        let made = made.and_then(|()| self.forward(overlays, &network));
        let mut errors: Vec<Error> = made.err().into_iter().collect();
        errors.extend(self.balance_members(overlays, id, &members));
        Error::collect(errors)
    }

    /// For a repair: all networks that have endpoints here. Leftovers of others go.
    pub(super) fn repair_overlays(self: &Arc<Self>) -> Result<(), Error> {
        let mut overlays = self.overlays();
        let ids: Vec<NetworkId> = {
            let state = self.state();
            let networks = state.networks.values().map(|entry| &entry.network);
            networks.filter(|one| one.overlay.is_some()).map(|one| one.id.clone()).collect()
        };
        let mut errors = Vec::new();
        for id in ids {
            overlays.places.remove(&id);
            errors.extend(self.apply_overlay(&mut overlays, &id).err());
            errors.extend(self.vacate_locked(&mut overlays, &id).err());
        }
        Error::collect(errors)
    }

    /// Compares the namespace of a network with what it must be; whether it was not so.
    pub(super) fn mend_overlay(self: &Arc<Self>, id: &NetworkId) -> Result<bool, Error> {
        let mut overlays = self.overlays();
        let Some(place) = overlays.places.get_mut(id) else { return Ok(false) };
        let name = id.to_string();
        let fail = |step| move |source| Error::Overlay { network: name.clone(), step, source };
        let vxlan = place.vxlan;
        let links = link::list(place.namespace.route()).map_err(fail("look at"))?;
        let bridge = place.bridge;
        let up = |index: u32| links.iter().any(|link| link.index == index && link.up);
        let joined = links.iter().any(|one| one.index == vxlan && one.master == Some(bridge));
        if up(vxlan) && up(bridge) && joined {
            let name = id.to_string();
            let fail =
                |source| Error::Overlay { network: name, step: "read the entries of", source };
            let current = neighbour::list(place.namespace.route(), vxlan).map_err(fail)?;
            if place.entries.as_ref().is_some_and(|(_, made)| *made == current) {
                return Ok(false);
            }
            place.entries = None;
        } else {
            overlays.places.remove(id);
        }
        self.apply_overlay(&mut overlays, id).map(|()| true)
    }

    /// No task of this node is on the network any more: what is known of it goes, now or with the last endpoint.
    pub(super) fn leave_overlay(&self, id: &NetworkId) -> Result<(), Error> {
        let mut overlays = self.overlays();
        overlays.left.insert(id.clone());
        if self.is_mesh(&overlays, id) {
            drop(overlays);
            return self.vacate_mesh(id);
        }
        self.vacate_locked(&mut overlays, id)
    }

    fn is_mesh(&self, overlays: &Overlays, id: &NetworkId) -> bool {
        let state = self.state();
        let made = state.networks.get(id).is_some_and(|entry| entry.network.mesh.is_some());
        made || overlays.views.get(id).is_some_and(|known| known.view.mesh.is_some())
    }

    /// What is known of the mesh's network; `None`: this node was told nothing, or is to leave it (`true`).
    pub(super) fn known_mesh(&self, id: &NetworkId) -> (Option<KnownView>, bool) {
        let overlays = self.overlays();
        (overlays.views.get(id).cloned(), overlays.left.contains(id))
    }

    /// The networks that are, or shall be, the mesh's.
    pub(super) fn mesh_networks(&self) -> BTreeSet<NetworkId> {
        let overlays = self.overlays();
        let views = overlays.views.iter().filter(|(_, known)| known.view.mesh.is_some());
        views.map(|(id, _)| id.clone()).collect()
    }

    /// Forgets what was told of a network that was left.
    pub(super) fn forget_view(&self, id: &NetworkId) -> Result<(), Error> {
        let mut overlays = self.overlays();
        self.store.remove_view(id)?;
        overlays.views.remove(id);
        overlays.written.remove(id);
        overlays.left.remove(id);
        Ok(())
    }

    /// Removes what nobody on this node needs any more of a network.
    pub(super) fn vacate(&self, id: &NetworkId) -> Result<(), Error> {
        self.vacate_locked(&mut self.overlays(), id)
    }

    fn vacate_locked(&self, overlays: &mut Overlays, id: &NetworkId) -> Result<(), Error> {
        let network = {
            let state = self.state();
            match state.networks.get(id) {
                Some(entry) if entry.endpoints().next().is_some() => return Ok(()),
                Some(entry) => Some(Arc::clone(&entry.network)),
                None => None,
            }
        };
        if let Some(network) = network.as_ref().filter(|network| network.overlay.is_some()) {
            self.remove_place(overlays, network)?;
        }
        if overlays.left.contains(id) {
            self.store.remove_view(id)?;
            self.store.remove_network(id)?;
            overlays.views.remove(id);
            overlays.written.remove(id);
            overlays.balanced.forget_network(id);
            overlays.left.remove(id);
            self.state().networks.remove(id);
        }
        Ok(())
    }

    /// The VXLAN link goes first: its id is free again at once, while the kernel takes its time for a namespace.
    fn remove_place(&self, overlays: &mut Overlays, network: &Network) -> Result<(), Error> {
        let name = || network.spec.name.clone();
        let Some(options) = network.overlay else { return Ok(()) };
        let path = self.store.overlay(&network.id);
        if !namespace::is_pinned(&path) {
            overlays.places.remove(&network.id);
            return Ok(());
        }
        let fail = |step| move |source| Error::OverlayNamespace { network: name(), step, source };
        let mut namespace = match overlays.places.remove(&network.id) {
            Some(place) => place.namespace,
            None => Namespace::open(&path).map_err(fail("open"))?,
        };
        let removed = link::remove(namespace.route(), &vxlan_name(options));
        removed.map_err(|source| Error::Overlay { network: name(), step: "remove", source })?;
        drop(namespace);
        namespace::unpin(&path).map_err(fail("remove"))
    }

    /// Makes namespace, bridge and VXLAN link where they are missing.
    fn ensure_place(
        self: &Arc<Self>,
        overlays: &mut Overlays,
        network: &Network,
    ) -> Result<(), Error> {
        if overlays.places.contains_key(&network.id) {
            return Ok(());
        }
        let name = &network.spec.name;
        let unknown = || Error::NoSuchNetwork { name: name.clone() };
        let options = network.overlay.ok_or_else(unknown)?;
        let known = overlays.views.get(&network.id).ok_or_else(unknown)?;
        let fail =
            |step| move |source| Error::OverlayNamespace { network: name.clone(), step, source };
        let path = self.store.overlay(&network.id);
        let mut namespace = if namespace::is_pinned(&path) {
            Namespace::open(&path).map_err(fail("open"))?
        } else {
            namespace::unpin(&path).map_err(fail("clear"))?;
            let namespace = Namespace::create().map_err(fail("create"))?;
            namespace.pin(&path).map_err(fail("pin"))?;
            namespace
        };
        let fail = |step| move |source| Error::Overlay { network: name.clone(), step, source };
        let bridge = link::Bridge { name: BRIDGE, mac: BRIDGE_MAC, mtu: options.mtu };
        let bridge = match link::find(namespace.route(), BRIDGE).map_err(fail("look at"))? {
            Some(found) => found.index,
            None => {
                let create = link::create_bridge(&bridge);
                let made = namespace.route().transact(&[create], Acknowledge::Each);
                made.map_err(fail("make the bridge of"))?;
                let found = link::find(namespace.route(), BRIDGE).map_err(fail("look at"))?;
                found.ok_or_else(unknown)?.index
            }
        };
        let vxlan = vxlan_name(options);
        let present = link::find(namespace.route(), &vxlan).map_err(fail("look at"))?;
        if present.is_none_or(|link| link.kind != Some(InfoKind::Vxlan)) {
            let wanted = Vxlan {
                name: &vxlan,
                vni: options.vni,
                port: known.view.data_path_port,
                mtu: options.mtu,
                over_ipv6: is_over_ipv6(known),
            };
            self.move_vxlan(&wanted, &namespace).map_err(fail("make the VXLAN link of"))?;
        }
        if network.pool(false).is_some() {
            answer_for_ipv6(&namespace, &vxlan, name)?;
        }
        let found = link::find(namespace.route(), &vxlan).map_err(fail("look at"))?;
        let vxlan = found.ok_or_else(unknown)?.index;
        let messages = [link::set_master(vxlan, bridge), link::set_up(vxlan), link::set_up(bridge)];
        let set_up = namespace.route().transact(&messages, Acknowledge::Each);
        set_up.map_err(|source| match source.errno() {
            Some(libc::EADDRINUSE) => {
                let port = known.view.data_path_port;
                Error::VxlanPort { network: name.clone(), port }
            }
            _ => Error::Overlay { network: name.clone(), step: "set up the links of", source },
        })?;
        let watch = self.watch_place(&network.id, &namespace)?;
        let place = Place { namespace, bridge, vxlan, entries: None, _watch: watch };
        overlays.places.insert(network.id.clone(), place);
        Ok(())
    }

    /// Makes the link where it is to send from, the host's namespace, and moves it.
    fn move_vxlan(
        &self,
        wanted: &Vxlan<'_>,
        namespace: &Namespace,
    ) -> Result<(), crate::kernel::socket::Error> {
        let mut host = self.host.route();
        // Left behind by a daemon that was killed in between.
        link::remove(&mut host, wanted.name)?;
        host.transact(&[link::create_vxlan(wanted)], Acknowledge::Each)?;
        let Some(made) = link::find(&mut host, wanted.name)? else { return Ok(()) };
        let moved =
            host.transact(&[link::move_to(made.index, namespace.as_fd())], Acknowledge::Each);
        if moved.is_err() {
            link::remove(&mut host, wanted.name)?;
        }
        moved
    }

    /// Makes the entries as the view says; changes only what differs.
    fn forward(&self, overlays: &mut Overlays, network: &Network) -> Result<(), Error> {
        let name = &network.spec.name;
        let fail = |step| move |source| Error::Overlay { network: name.clone(), step, source };
        let (Some(place), Some(known)) =
            (overlays.places.get_mut(&network.id), overlays.views.get(&network.id))
        else {
            return Ok(());
        };
        // Whatever fails below: then they are read again.
        let (steps, entries) = match place.entries.take() {
            Some((view, mut entries)) => {
                let steps = entries.take(&Turn::between(&view, &known.view), known.node);
                (steps, entries)
            }
            None => {
                let current = neighbour::list(place.namespace.route(), place.vxlan);
                let current = current.map_err(fail("read the entries of"))?;
                let endpoints: Vec<_> = known.view.endpoints.iter().collect();
                let wanted = overlay::forwarding(&endpoints, known.node);
                (overlay::steps(&current, &wanted), wanted)
            }
        };
        let messages: Vec<Message> =
            steps.iter().map(|step| neighbour::step(place.vxlan, step)).collect();
        for chunk in messages.chunks(CHUNK) {
            let changed = place.namespace.route().transact(chunk, Acknowledge::Each);
            changed.map_err(fail("change the entries of"))?;
        }
        place.entries = Some((Arc::clone(&known.view), entries));
        Ok(())
    }

    /// Makes the veth pair of an endpoint: one end is a port of the network's bridge, the other in the sandbox.
    pub(super) fn wire_overlay(
        self: &Arc<Self>,
        network: &Network,
        options: OverlayOptions,
        endpoint: &Endpoint,
        sandbox: &Namespace,
    ) -> Result<(), Error> {
        let name = &network.spec.name;
        let mut overlays = self.overlays();
        self.ensure_place(&mut overlays, network)?;
        self.forward(&mut overlays, network)?;
        let unknown = || Error::NoSuchNetwork { name: name.clone() };
        let place = overlays.places.get_mut(&network.id).ok_or_else(unknown)?;
        let create = link::create_veth(&VethPair {
            name: &endpoint.host_interface(),
            bridge_index: place.bridge,
            mtu: options.mtu,
            peer_name: &endpoint.interface,
            peer_mac: endpoint.mac,
            namespace: sandbox.as_fd(),
        });
        let created = place.namespace.route().transact(&[create], Acknowledge::Each);
        created.map_err(|source| Error::Overlay { network: name.clone(), step: "join", source })
    }

    /// Removes the veth pair of an endpoint; absent is fine.
    pub(super) fn unwire_overlay(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let mut overlays = self.overlays();
        let Some(place) = overlays.places.get_mut(&endpoint.network) else { return Ok(()) };
        let removed = link::remove(place.namespace.route(), &endpoint.host_interface());
        let network = || endpoint.network_name.clone();
        removed.map_err(|source| Error::Overlay { network: network(), step: "leave", source })
    }

    /// Whether the bridge's end of an endpoint's pair carries packets.
    pub(super) fn is_overlay_up(&self, endpoint: &Endpoint) -> Result<bool, Error> {
        let mut overlays = self.overlays();
        let Some(place) = overlays.places.get_mut(&endpoint.network) else { return Ok(true) };
        let found = link::find(place.namespace.route(), &endpoint.host_interface());
        let network = || endpoint.network_name.clone();
        let found =
            found.map_err(|source| Error::Overlay { network: network(), step: "watch", source })?;
        Ok(found.is_none_or(|link| link.operational))
    }
}

/// Messages per datagram.
const CHUNK: usize = 128;

fn is_over_ipv6(known: &KnownView) -> bool {
    let endpoints = &known.view.endpoints;
    let own = endpoints.iter().find(|one| one.node == known.node && one.data_path.is_some());
    own.or_else(|| endpoints.first())
        .and_then(|one| one.data_path)
        .is_some_and(|address| address.is_ipv6())
}

/// Lets a link have IPv6 neighbours, without an address of its own.
fn answer_for_ipv6(namespace: &Namespace, link: &str, network: &str) -> Result<(), Error> {
    let values = [("addr_gen_mode", "1"), ("disable_ipv6", "0")];
    let set = namespace.run(|| {
        values.iter().try_for_each(|(name, value)| {
            super::host::set_sysctl(&format!("ipv6/conf/{link}/{name}"), value)
        })
    });
    set.map_err(|source| Error::OverlayNamespace {
        network: network.to_owned(),
        step: "set the parameters of",
        source,
    })?
}
